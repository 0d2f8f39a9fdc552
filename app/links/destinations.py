"""What a link may lead to: `http` and `https` URLs in one exact, plain spelling, and nothing that two readers read apart.

`check` gives the value of a `Location` header. What browsers, proxies and libraries disagree about is refused and not
mended: backslashes, names and passwords, full-width letters and other dots in a host, numbers that are read as addresses.
"""

import re
import unicodedata
from collections.abc import Mapping
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from urllib.parse import quote, unquote_plus

import idna

#: Of a URL as it is registered, and of the `Location` made from it.
MAX_LENGTH = 2000

_DECIDED = re.compile(r"[/?#]")
_SCHEME = re.compile(r"(https?)://", re.IGNORECASE)
_PARTS = re.compile(r"(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?P<query>(?:\?[^#]*)?)(?P<fragment>(?:#.*)?)", re.DOTALL)
_PORT = re.compile(r":([0-9]{1,5})\Z")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\Z")
#: A host that ends like this is an IPv4 address to a browser: `127.1`, `0x7f000001`, `2130706433`.
_NUMERIC = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)\Z")
#: IDNA 2003 takes it for a dot. The other two are full-width and half-width forms, which go with those.
_IDEOGRAPHIC_DOT = "\u3002"
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
#: All that may stand in a path, a query or a fragment as it is; `%` only before two digits.
_AS_IT_IS = "!$&'()*+,-./:;=?@[]_~%"
_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
#: As in the text of a message (`deliveries.placeholders`; a test holds them equal).
_PLACEHOLDER = re.compile(r"(?<!\{)\{\{\s*([A-Za-z_][A-Za-z0-9_.-]{0,63})\s*(?:\|([^{}|]{0,200}))?\}\}(?!\})")


class Refused(ValueError):
    """Nobody is led there. The text is a sentence for whoever registers the link."""


def check(url: str) -> str:
    """The URL as a `Location`: ASCII, no blank, no control character. Raises `Refused`. `check(check(x)) == check(x)`."""
    if len(url) > MAX_LENGTH:
        raise Refused(f"A URL has at most {MAX_LENGTH} characters.")
    url = url.strip(" ")
    if unseen := _UNSEEN.search(url):
        raise Refused(f"The URL holds a character that nobody sees, U+{ord(unseen[0]):04X}.")
    if "\\" in url:
        raise Refused("The URL holds a backslash, which some read as a slash.")
    scheme = _SCHEME.match(url)
    if scheme is None:
        raise Refused("A link starts with http:// or https://.")
    parts = _PARTS.fullmatch(url, scheme.end())
    assert parts is not None
    path, query, fragment = (_quoted(parts[name]) for name in ("path", "query", "fragment"))
    location = f"{scheme[1].lower()}://{_authority(parts['authority'])}{path or '/'}{query}{fragment}"
    if len(location) > MAX_LENGTH:
        raise Refused(f"The URL has more than {MAX_LENGTH} characters once it is written for the web.")
    return location


def with_params(url: str, params: Mapping[str, str]) -> str:
    """A checked URL (or template) with more in its query. A name that the query has already keeps its value there, and is
    not given again: who wrote it into the URL meant it. The result may be too long for `check`."""
    rest, hash_, fragment = url.partition("#")
    query = rest.partition("?")[2]
    present = {unquote_plus(pair.partition("=")[0]) for pair in query.split("&")}
    added = "&".join(f"{_encoded(name)}={_encoded(value)}" for name, value in params.items() if name not in present)
    if not added:
        return url
    joint = "&" if query and not query.endswith("&") else "" if "?" in rest else "?"
    return f"{rest}{joint}{added}{hash_}{fragment}"


def template_error(template: str) -> str | None:
    """What is wrong with a URL that may hold `{{param}}`, as a sentence; None when it can be filled."""
    try:
        fill(template, {})
    except Refused as refused:
        return str(refused)
    return None


def fill(template: str, values: Mapping[str, str]) -> str:
    """The `Location` for one recipient: values percent-encoded, so that none adds a host, a folder or a parameter; nothing
    where there is no value. Raises `Refused` as `check` does, and for placeholders where the host is decided."""
    template = template.strip(" ")
    bare = _PLACEHOLDER.sub("", template)
    if "{{" in bare or "}}" in bare:
        raise Refused("The URL has braces that are no placeholder: {{name}} is one.")
    scheme = _SCHEME.match(template)
    decided = _DECIDED.search(template, scheme.end()) if scheme else None
    first = _PLACEHOLDER.search(template)
    if first and (decided is None or first.start() < decided.start()):
        raise Refused("A placeholder may stand in the path, the query and the fragment, never before or in the host.")
    return check(_PLACEHOLDER.sub(lambda found: _value(_chosen(found, values)), template))


def _chosen(found: re.Match[str], values: Mapping[str, str]) -> str:
    """As in the text of a message: a default stands where there is no value, or nothing but blanks."""
    value = values.get(found[1], "")
    return value if found[2] is None or value.strip() else found[2].strip()


def names(template: str) -> tuple[str, ...]:
    """The names of a template's placeholders, each once, in the order of first use."""
    return tuple(dict.fromkeys(found[1] for found in _PLACEHOLDER.finditer(template)))


def required(template: str) -> set[str]:
    """Those of them that stand somewhere without a default."""
    return {found[1] for found in _PLACEHOLDER.finditer(template) if found[2] is None}


def _authority(authority: str) -> str:
    if "@" in authority:
        raise Refused("The URL has a name or a password before its host, which makes it look like another's.")
    if authority.startswith("["):
        host, bracket, port = authority.partition("]")
        return f"[{_ipv6(host[1:] if bracket else '')}]{_port(port)}"
    host, colon, port = authority.partition(":")
    return _host(host) + _port(colon + port)


def _port(text: str) -> str:
    """`:8080` in its plain spelling; `text` is what follows the host."""
    if not text:
        return ""
    digits = _PORT.match(text)
    if digits is None or not 0 < int(digits[1]) < 65_536:
        raise Refused("A port is a number from 1 to 65535.")
    return f":{int(digits[1])}"


def _ipv6(text: str) -> str:
    try:
        address = IPv6Address(text)
    except AddressValueError as error:
        raise Refused("What stands in brackets is no IPv6 address.") from error
    if address.scope_id is not None:
        raise Refused("An address with a zone means something on one machine only.")
    return address.compressed


def _host(text: str) -> str:
    host = text.lower() if text.isascii() else _punycode(text)
    if not host:
        raise Refused("The URL has no host.")
    labels = host.split(".")
    if len(host) > 253 or not all(_LABEL.match(label) for label in labels):
        raise Refused(f"{text[:80]!r} is no host name.")
    if _NUMERIC.match(labels[-1]):
        try:
            return str(IPv4Address(host))
        except AddressValueError as error:
            raise Refused("A host that ends in a number is an IPv4 address, and this is none.") from error
    return host


def _punycode(text: str) -> str:
    """The name as the DNS has it. Raises for letters that are other letters in disguise, and for dots that are none."""
    if _IDEOGRAPHIC_DOT in text or any(unicodedata.normalize("NFKC", letter) != letter for letter in text):
        raise Refused("The host has full-width or otherwise disguised characters: write it plainly.")
    try:
        return idna.encode(unicodedata.normalize("NFC", text).lower(), uts46=False).decode("ascii")
    except UnicodeError as error:
        raise Refused(f"{text[:80]!r} is no host name.") from error


def _quoted(text: str) -> str:
    """A part of a URL with everything encoded that may not stand there; what is encoded already stays so."""
    start = text[:1] if text[:1] in ("?", "#") else ""
    return start + quote(_PERCENT.sub("%25", text[len(start) :]), safe=_AS_IT_IS)


def _value(value: str) -> str:
    """Two dots would lead out of the folder, and encoded they would as well."""
    return "" if value in (".", "..") else _encoded(value)


def _encoded(value: str) -> str:
    return quote(value, safe="", errors="replace")
