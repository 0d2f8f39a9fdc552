"""Links in a text, as a phone would find them: `http://` and `https://` in any case, and bare `www.` hosts.

A link ends at a blank, a quote, an angle bracket, `¿`, `¡`, a backslash, a character that is not seen, or full-width
punctuation, and where its script does (`scripts.py`). What closes a sentence or a bracket around it does not belong to it.
`{{name}}` in a link stays as it is.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.texts.placeholders import PLACEHOLDER
from app.texts.scripts import script_end

#: Spam runs use them, so carriers filter messages that hold them.
PUBLIC_SHORTENERS = frozenset(
    ["acortar.link", "adf.ly", "bit.do", "bit.ly", "bitly.com", "bl.ink", "buff.ly", "clck.ru", "cutt.ly", "dlvr.it",
     "goo.gl", "is.gd", "j.mp", "lnkd.in", "ow.ly", "rb.gy", "rebrand.ly", "s.id", "shorturl.at", "soo.gd", "t.co",
     "t.ly", "tiny.cc", "tinyurl.com", "tr.im", "trib.al", "u.to", "v.gd"]
)  # fmt: skip

# Zero-width and direction characters end a link: with them it would show another address than it opens.
_UNSEEN = r"\x00-\x20\x7f-\x9f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff"
_ENDS = rf"\s{_UNSEEN}<>\"`\\“”„‟‘‛‹›«»¿¡、。，；：！？（）「」『』【】《》"
# Possessive throughout: a placeholder can also be read letter by letter, and trying both ways takes exponential time.
_REST = rf"(?:[^{_ENDS}{{]++|{PLACEHOLDER}|{{)*+"
# Letters of any script, marks and digits, `-` `.` `_`: all of ASCII that is no part of a name is taken out.
_NAME = rf"(?:{PLACEHOLDER}|[^{_ENDS}\x21-\x2c/:-@\[-^{{-~…’])++"
_HOST = rf"(?:\[[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*\]|{_NAME})"
_AFTER = rf"(?::[0-9]{{1,5}}(?![0-9]))?(?:[/?#]{_REST})?"
_USERINFO = rf"(?:(?:[^{_ENDS}/?#@{{]++|{PLACEHOLDER}|{{)*+@)++"
# Cases are spelled out, for IGNORECASE would take `ſ` for `s`. No link begins inside a Latin word (other scripts may
# write it without a blank); `git+https://` is another scheme, and a `www.` in an address or a path belongs to that.
_LINK = re.compile(
    rf"(?<![0-9A-Za-zÀ-ɏ])(?:(?<!\+)(?P<scheme>[Hh][Tt][Tt][Pp][Ss]?)://(?P<userinfo>{_USERINFO})?(?P<host>{_HOST})"
    rf"|(?<![-.@/])(?P<bare>[Ww]{{3}}\.{_NAME})){_AFTER}"
)
_BEGIN = re.compile(r"[Hh][Tt][Tt][Pp][Ss]?://|[Ww]{3}\.")
#: So far a link is looked for at first: without an end, texts without blanks would be gone through once a link. One that comes
#: nearer to that than a placeholder is long, in the middle of which it may be cut off, is looked for anew.
_FIRST_LOOK = 2_048
_NEARLY = _FIRST_LOOK - 512
_OTHER = re.compile(rf"(?<![A-Za-z0-9+.-])(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://[^{_ENDS}]+")
_SHORTENER = re.compile(
    rf"(?<![0-9A-Za-zÀ-ɏ_.@/-])(?:www\.)?(?P<host>{'|'.join(map(re.escape, sorted(PUBLIC_SHORTENERS)))})(?=[/?#])",
    re.IGNORECASE,
)
_PLACEHOLDER = re.compile(PLACEHOLDER)
_DOTTED = re.compile(r"[^.]\.[^.]")
_TRAILING = frozenset(".,;:!?…'’")
_BRACKETS = {")": "(", "]": "[", "}": "{"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """`text` is what stands in the content from `start` to `end`."""

    start: int
    end: int
    text: str
    #: With its scheme, in lower case. A bare `www.` gets `http://`, as phones read it.
    url: str
    #: For comparing: in lower case, without the port; an IPv6 address with its brackets. May hold placeholders.
    host: str
    #: Whether a name or password stands before the host: a way to make a link look like another's.
    userinfo: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherScheme:
    """Something like a link, which phones may open or not, and which cannot be tracked."""

    start: int
    end: int
    text: str
    scheme: str


def find_links(content: str) -> list[Link]:
    """The links from left to right; they do not overlap. A placeholder's name is none: `{{www.example.com}}`."""
    inside = {place for found in _PLACEHOLDER.finditer(content) for place in range(found.start() + 1, found.end())}
    return [link for start, end in _stretches(content) if start not in inside and (link := _link(content, start, end))]


def _stretches(content: str) -> Iterator[tuple[int, int]]:
    """Where links stand, with the punctuation that follows them."""
    place = 0
    while begun := _BEGIN.search(content, place):
        start = begun.start()
        place = start + 1
        if found := _LINK.match(content, start, start + _FIRST_LOOK):
            place = _script_end_of(found)
            if place >= start + _NEARLY and (whole := _LINK.match(content, start)):
                place = _script_end_of(whole)
            yield start, place


def _script_end_of(found: re.Match[str]) -> int:
    start = found.start()
    host_start, host_end = (
        found.span("bare") if found["bare"] else (found.end("scheme") + len("://"), found.end("host"))
    )
    return start + script_end(found[0], host_start - start, host_end - start)


def other_schemes(content: str, links: Sequence[Link] | None = None) -> list[OtherScheme]:
    """Everything with `://` that is none of the `links` (found when not given), nor inside one."""
    links = find_links(content) if links is None else links
    return [
        OtherScheme(start=found.start(), end=found.start() + end, text=found[0][:end], scheme=found["scheme"].lower())
        for found in _OTHER.finditer(blanked(content, links))
        if (end := _end(_own(found))) > len(found["scheme"]) + len("://")
    ]


def _own(found: re.Match[str]) -> str:
    """What was found, to the end of its script."""
    start = len(found["scheme"]) + len("://")
    return found[0][: script_end(found[0], start, start)]


def public_shorteners(content: str, links: Sequence[Link]) -> list[str]:
    """Hosts of well-known public shorteners, each once: of `links`, and of `bit.ly/x` without a scheme."""
    hosts = [link.host.rstrip(".").removeprefix("www.") for link in links]
    bare = [found["host"].lower() for found in _SHORTENER.finditer(blanked(content, links))]
    return list(dict.fromkeys(host for host in hosts + bare if host in PUBLIC_SHORTENERS))


def blanked(content: str, links: Sequence[Link | OtherScheme]) -> str:
    """`content` with blanks in place of the links, so that everything else stays where it is."""
    for link in links:
        content = content[: link.start] + " " * (link.end - link.start) + content[link.end :]
    return content


def _link(content: str, start: int, end: int) -> Link | None:
    """The link without what only follows it; None when nothing worth the name is left."""
    text = content[start:end]
    text = text[: _end(text)]
    found = _LINK.fullmatch(text)
    if found is None:
        return None
    host: str = found["host"] or found["bare"]
    if not host.strip(".") or (found["bare"] and not _is_name(host[len("www.") :])):
        return None
    scheme, _, rest = text.partition("://") if found["scheme"] else ("http", "", text)
    return Link(
        start=start,
        end=start + len(text),
        text=text,
        url=f"{scheme.lower()}://{rest}",
        host=host.lower(),
        userinfo=found["userinfo"] is not None,
    )


def _is_name(host: str) -> bool:
    """Whether this can follow `www.`: a name with a dot inside, or one that a placeholder completes."""
    return _DOTTED.search(host) is not None or _PLACEHOLDER.search(host) is not None


def _end(text: str) -> int:
    """Where a link ends of which punctuation and closing brackets may be no part. Keeps a bracket opened inside."""
    surplus = {closing: text.count(closing) - text.count(opening) for closing, opening in _BRACKETS.items()}
    kept = max((found.end() for found in _PLACEHOLDER.finditer(text)), default=0)
    end = len(text)
    while end > kept:
        last = text[end - 1]
        if surplus.get(last, 0) > 0:
            surplus[last] -= 1
        elif last not in _TRAILING:
            break
        end -= 1
    return end
