"""What preparation has to say about a delivery's text, before anybody gets it. An error stops the start."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from unicodedata import combining, normalize

from app.texts.encoding import MAX_PARTS, UCS2_SINGLE, Size, in_gsm7, measure, nearest, why_ucs2
from app.texts.hosts import private_reach
from app.texts.placeholders import Template
from app.texts.scripts import foreign_word
from app.texts.urls import Link, blanked, find_links, other_schemes, public_shorteners

#: What a text may say so that people know how to opt out. The shipped reply rules act on the same words; a test holds them equal.
OPT_OUT_WORDS = (
    "STOP", "STOPALL", "UNSUBSCRIBE", "REVOKE", "OPTOUT", "OPT OUT", "CANCEL", "END", "QUIT", "BAJA", "PARAR", "ALTO", "ARRET",
)  # fmt: skip
#: More parts than these are seldom meant, and many carriers take no more.
MANY_PARTS = 10
#: Describing a link measures the whole text again; a thousand of them would hold up everybody for seconds.
MANY_LINKS = 50
_OPT_OUT_PATHS = ("unsubscribe", "baja", "optout", "opt-out")
_NAMED = 8
_SHOWN = 80
_WORD = re.compile(r"[^\W_]+")
_ENCODINGS = {"gsm7": ("GSM-7", "septets"), "ucs2": ("UCS-2", "UTF-16 units")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    level: Literal["info", "warning", "error"]
    #: A stable slug; the sentence may be reworded.
    code: str
    text: str
    #: Plain JSON.
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A text with what is known about how it will be sent."""

    content: str
    links: tuple[Link, ...]
    #: For each placeholder the longest value in the audience; one that is not here is left out.
    longest: Mapping[str, str]
    #: Characters of a short URL, all in GSM-7; None when links stay as they are.
    short_url_length: int | None
    #: Links, as they stand in the content, that stay as they are all the same.
    kept: Collection[str] = ()
    #: Whether links may lead to this machine or a private network.
    private_links: bool = False

    def text(self, *, keep: Link | None = None) -> str:
        """The longest text that will be sent, links made short (but the one to `keep`)."""
        return self.filled(self._shortened(keep))

    def filled(self, content: str) -> str:
        return Template.parse(content).filled(self.longest)

    @property
    def visible(self) -> str:
        """The content with blanks for the links that short URLs will replace."""
        return blanked(self.content, [link for link in self.links if self.shortens(link)])

    def shortens(self, link: Link) -> bool:
        return self.short_url_length is not None and link.text not in self.kept

    def _shortened(self, keep: Link | None) -> str:
        pieces: list[str] = []
        end = 0
        for link in self.links:
            if link is not keep and self.shortens(link):
                # Digits, because between stray braces they make no placeholder.
                pieces += self.content[end : link.start], "0" * (self.short_url_length or 0)
                end = link.end
        return "".join([*pieces, self.content[end:]])


def examine(
    content: str | None,
    *,
    tracking: bool,
    longest: Mapping[str, str] | None = None,
    short_url_length: int | None = None,
    kept: Collection[str] = (),
    private_links: bool = False,
    opt_out_words: Iterable[str] = OPT_OUT_WORDS,
) -> list[Finding]:
    """Everything there is to say about `content`.

    `longest` gives for each placeholder the longest value in the audience; without it placeholders count nothing.
    With `tracking` and `short_url_length` the parts are those of the text with short URLs in place of all links but those
    that are `kept`. Links to a private host are errors unless `private_links`."""
    if content is None or not content.strip():
        return [Finding(level="error", code="content_missing", text="The delivery has no text.")]
    draft = Draft(
        content=content,
        links=tuple(find_links(content)),
        longest=longest or {},
        short_url_length=short_url_length if tracking else None,
        kept=kept,
        private_links=private_links,
    )
    return [
        *malformed(content),
        *parts(measure(draft.text())),
        *ucs2(draft),
        *links(draft),
        *doubtful_links(draft),
        *private_links_of(draft),
        *run_on_links(draft),
        *opt_out(draft, opt_out_words),
    ]


def malformed(content: str) -> Iterator[Finding]:
    for each in Template.parse(content).malformed:
        yield Finding(
            level="error",
            code="placeholder_malformed",
            text=f"`{each.snippet}` at character {each.position + 1} is no placeholder: write {{{{name}}}}, the name with "
            "letters, digits and . _ - and at most 64 of them, or {{name|default}}.",
            data={"position": each.position, "snippet": each.snippet},
        )


def parts(size: Size) -> Iterator[Finding]:
    name, unit = _ENCODINGS[size.encoding]
    yield Finding(
        level="info",
        code="parts",
        text=f"The longest text takes {_count(size.parts, 'part')}: {size.units} {unit} in {name}, "
        f"of {size.per_part} a part.",
        data=size._asdict(),
    )
    if size.parts > MAX_PARTS:
        yield Finding(
            level="error",
            code="too_long",
            text=f"The longest text takes {size.parts} parts; no message can have more than {MAX_PARTS}.",
            data={"parts": size.parts, "limit": MAX_PARTS},
        )
    elif size.parts > MANY_PARTS:
        yield Finding(
            level="warning",
            code="many_parts",
            text=f"The longest text takes {size.parts} parts; many carriers take no more than {MANY_PARTS}.",
            data={"parts": size.parts, "limit": MANY_PARTS},
        )


def ucs2(draft: Draft) -> Iterator[Finding]:
    """Which characters force UCS-2, where they come from, and what the text would take in GSM-7."""
    text = draft.text()
    size = measure(text)
    if size.encoding == "gsm7":
        return
    characters = _forcing(draft)
    plain = in_gsm7(text)
    instead = measure(plain) if plain is not None else None
    named = ", ".join(dict.fromkeys(each["character"] for each in characters))
    yield Finding(
        level="warning",
        code="ucs2",
        text=f"{named} {'forces' if len(characters) == 1 else 'force'} UCS-2: {UCS2_SINGLE} characters a part. "
        f"{_comparison(size, instead)}",
        data={"characters": characters, "parts": size.parts, "gsm7": instead._asdict() if instead else None},
    )


def links(draft: Draft) -> Iterator[Finding]:
    """Each link, and what its short URL saves or costs against sending it as it is."""
    size = measure(draft.text())
    for link in draft.links[:MANY_LINKS]:
        length = len(draft.filled(link.text))
        data: dict[str, Any] = {"url": link.url, "length": length}
        effect = ""
        if draft.short_url_length is not None and draft.shortens(link):
            saved = length - draft.short_url_length
            saved_parts = measure(draft.text(keep=link)).parts - size.parts
            data |= {"short_length": draft.short_url_length, "saved_characters": saved, "saved_parts": saved_parts}
            effect = f" {_effect(draft.short_url_length, saved, saved_parts)}"
        yield Finding(
            level="info",
            code="link",
            text=f"The link {cropped(link.text)} has {_count(length, 'character')}.{effect}",
            data=data,
        )
    if len(draft.links) > MANY_LINKS:
        yield Finding(
            level="warning",
            code="many_links",
            text=f"The text has {len(draft.links)} links; only the first {MANY_LINKS} are described.",
            data={"links": len(draft.links), "limit": MANY_LINKS},
        )


def doubtful_links(draft: Draft) -> Iterator[Finding]:
    """Links that mislead, that carriers filter, or that phones may not open."""
    for link in draft.links:
        if link.userinfo:
            yield Finding(
                level="error",
                code="link_userinfo",
                text=f"The link {cropped(link.text)} has a name before its host {cropped(link.host)}, as forged links have.",
                data={"url": link.url, "host": link.host},
            )
        if "{{" in link.host:
            yield Finding(
                level="warning",
                code="link_host_placeholder",
                text=f"The host of {cropped(link.text)} comes from a placeholder: nobody can tell where the link leads.",
                data={"url": link.url, "host": link.host},
            )
    for host in public_shorteners(draft.content, draft.links):
        yield Finding(
            level="warning",
            code="public_shortener",
            text=f"{host} is a public shortener: carriers filter messages with its links.",
            data={"host": host},
        )
    for other in other_schemes(draft.content, draft.links):
        yield Finding(
            level="warning",
            code="link_not_http",
            text=f"{cropped(other.text)} is no http or https link: phones may not open it, and clicks are not counted.",
            data={"text": other.text, "scheme": other.scheme},
        )


def private_links_of(draft: Draft) -> Iterator[Finding]:
    """Links that the phones of an audience cannot open."""
    for link in draft.links:
        if reach := private_reach(link.host):
            yield Finding(
                level="warning" if draft.private_links else "error",
                code="link_private",
                text=f"The link {cropped(link.text)} leads to {reach}: the phones of an audience cannot open it.",
                data={"url": link.url, "host": link.host},
            )


def run_on_links(draft: Draft) -> Iterator[Finding]:
    """Links that end where another script begins, when that may have been meant otherwise, or be taken along by phones. (What a
    phone takes along behind a short URL is passed over by the redirect.)"""
    for link in draft.links[:MANY_LINKS]:
        behind = foreign_word(draft.content, link.end)
        doubtful = not draft.content[link.end - 1].isalnum()
        if behind and (doubtful or not draft.shortens(link)):
            yield Finding(
                level="warning",
                code="link_runs_on",
                text=f"The link {cropped(link.text)} ends before {cropped(behind)}. If that belongs to it, write it "
                "percent-encoded; if not, put a blank between, for some phones take it along.",
                data={"url": link.url, "behind": cropped(behind)},
            )


def opt_out(draft: Draft, words: Iterable[str]) -> Iterator[Finding]:
    """Whether the text says how to opt out: one of `words` outside of links, or an https link that is for it."""
    words = list(words)
    content = blanked(draft.content, [*draft.links, *other_schemes(draft.content, draft.links)])
    said = f" {_words(draft.filled(content))} "
    if any(f" {folded} " in said for word in words if (folded := _words(word))):
        return
    if any(_is_for_opting_out(link) for link in draft.links):
        return
    yield Finding(
        level="warning",
        code="opt_out_missing",
        text=f"The text does not say how to opt out: none of {', '.join(words)}, and no https link for it.",
        data={"words": words},
    )


def _is_for_opting_out(link: Link) -> bool:
    return link.url.startswith("https://") and any(path in link.text.lower() for path in _OPT_OUT_PATHS)


def _words(text: str) -> str:
    """The words in one form, a blank between: without case, accents and punctuation."""
    decomposed = normalize("NFKD", text.casefold())
    return " ".join(_WORD.findall("".join(each for each in decomposed if not combining(each))))


def _forcing(draft: Draft) -> list[dict[str, Any]]:
    """The first characters that force UCS-2: in the content with their position, in a param with its placeholder."""
    places: list[tuple[str, dict[str, Any]]] = [
        (character, {"position": position}) for character, position in why_ucs2(draft.visible, _NAMED)
    ]
    for name in Template.parse(draft.visible).names:
        places += [(each, {"placeholder": name}) for each, _ in why_ucs2(draft.longest.get(name, ""), _NAMED)]
    return [
        {"character": _readable(character), **place, "nearest": nearest(character)}
        for character, place in places[:_NAMED]
    ]


def _comparison(size: Size, instead: Size | None) -> str:
    if instead is None:
        return "It is written in an alphabet that GSM-7 does not have."
    gain = f"instead of {size.parts}" if instead.parts != size.parts else "as well"
    return f"With characters of GSM-7 only it would take {_count(instead.parts, 'part')} {gain}."


def _readable(character: str) -> str:
    """Itself, or its code point where nobody would see it."""
    seen = character.isprintable() and not combining(character)
    return character if seen else f"U+{ord(character):04X}"


def _effect(short_length: int, saved: int, saved_parts: int) -> str:
    changes = [_change(saved, "character"), _change(saved_parts, "part")]
    return f"Its short URL of {short_length} {' and '.join(filter(None, changes)) or 'takes as much'}."


def _change(saved: int, noun: str) -> str:
    return f"{'saves' if saved > 0 else 'costs'} {_count(abs(saved), noun)}" if saved else ""


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def cropped(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
