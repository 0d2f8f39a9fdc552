"""How a text travels: GSM-7 when every character has a place there, else UCS-2; and in how many parts.

GSM-7 is the default alphabet with its extension table (3GPP TS 23.038 §6.2.1). Of accented letters it has only
à è é ì ò ù ñ ü ö ä å æ ø ß Ä Å Æ Ç É Ñ Ö Ø Ü: á í ó ú ç ê and most others force UCS-2. The national shift tables (§6.2.1.2)
are left out: few gateways use them, and one that does only needs fewer parts than said here.

A part of a long message loses six octets to the header that joins the parts (TS 23.040 §9.2.3.24.1, 8-bit reference):
153 septets or 67 UTF-16 units are left. No part ends inside an extension character or a surrogate pair.
"""

import re
from codecs import charmap_build, charmap_encode
from collections.abc import Callable
from typing import Literal, NamedTuple
from unicodedata import normalize

Encoding = Literal["gsm7", "ucs2"]

#: In the order of the standard, without the escape (0x1B), which is no character of a text.
BASIC = (
    "@£$¥èéùìòÇ\nØø\rÅå"
    "Δ_ΦΓΛΩΠΨΣΘΞÆæßÉ"
    " !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§"
    "¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
#: Each takes two septets: an escape and a code.
EXTENSION = "\f^{}\\[~]|€"

#: What a message of one part holds, and what each part of a longer one does.
GSM7_SINGLE, GSM7_JOINED = 160, 153
UCS2_SINGLE, UCS2_JOINED = 70, 67
#: The header counts the parts in one octet.
MAX_PARTS = 255

# One octet a character and not the standard's codes: 1-127 are BASIC, from 128 on EXTENSION. So `isascii` tells at once
# whether there is anything to escape. A charmap of C speed must map NUL to 0, though no NUL is in GSM-7.
_CODES = charmap_build(("\0" + BASIC + EXTENSION).ljust(256, "\ufffe"))
_EXTENDED = bytes(range(128, 128 + len(EXTENSION)))
_FOREIGN = re.compile(f"[^{re.escape(BASIC + EXTENSION)}]")
#: What NFKD does not take apart. Not a transliteration: only what stands in Western texts, most of it unseen by its writer.
_NEAREST = str.maketrans(
    {
        **dict.fromkeys("‘’‚‛′`´ʼ‹›", "'"),
        **dict.fromkeys("“”„‟″«»", '"'),
        **dict.fromkeys("‐‑‒–—―−", "-"),
        **dict.fromkeys("•·", "*"),
        **{"\t": " ", "œ": "oe", "Œ": "OE", "ł": "l", "Ł": "L", "ı": "i", "đ": "d", "Đ": "D", "×": "x"},
    }
)


class Size(NamedTuple):
    """A tuple, because a million are made in one preparation."""

    encoding: Encoding
    #: Septets, or UTF-16 code units.
    units: int
    #: At least 1: an empty SMS is one, of 0 units. May be over `MAX_PARTS`; then no phone can take it.
    parts: int
    #: What each part can hold.
    per_part: int


def measure(text: str) -> Size:
    """What `text` takes on its way. Never raises: a lone surrogate counts as the unit that it is."""
    try:
        octets, units = charmap_encode(text, "strict", _CODES)
    except UnicodeEncodeError:
        return _in_ucs2(text)
    if "\0" in text:
        return _in_ucs2(text)
    if not octets.isascii():
        return _with_extension(octets)
    if units <= GSM7_SINGLE:
        return Size("gsm7", units, 1, GSM7_SINGLE)
    return Size("gsm7", units, -(-units // GSM7_JOINED), GSM7_JOINED)


def why_ucs2(text: str, limit: int = 8) -> list[tuple[str, int]]:
    """The first characters that force UCS-2, each once, with the index of its first place; none for GSM-7."""
    first: dict[str, int] = {}
    for found in _FOREIGN.finditer(text):
        first.setdefault(found[0], found.start())
        if len(first) == limit:
            break
    return list(first.items())


def nearest(character: str) -> str:
    """What could stand in GSM-7 for a character that is not in it: `a` for `á`; "" when nothing is near (emoji, Ж)."""
    return _FOREIGN.sub("", normalize("NFKD", character.translate(_NEAREST)).translate(_NEAREST))


def in_gsm7(text: str) -> str | None:
    """`text` in GSM-7 by nearest characters, emoji and signs left out; None when letters would be lost."""
    composed = normalize("NFC", text)
    if any(each.isalpha() and not nearest(each) for each in set(_FOREIGN.findall(composed))):
        return None
    return _FOREIGN.sub(lambda found: nearest(found[0]), composed)


def _with_extension(octets: bytes) -> Size:
    units = 2 * len(octets) - len(octets.translate(None, _EXTENDED))
    if units <= GSM7_SINGLE:
        return Size("gsm7", units, 1, GSM7_SINGLE)
    septets = octets
    for code in _EXTENDED:
        septets = septets.replace(bytes([code]), bytes([0, code]))
    return Size("gsm7", units, _packed(units, GSM7_JOINED, lambda at: septets[at - 1] == 0), GSM7_JOINED)


def _in_ucs2(text: str) -> Size:
    octets = text.encode("utf-16-be", "surrogatepass")
    units = len(octets) // 2
    if units <= UCS2_SINGLE:
        return Size("ucs2", units, 1, UCS2_SINGLE)

    def splits_pair(at: int) -> bool:
        return octets[2 * at - 2] & 0xFC == 0xD8 and octets[2 * at] & 0xFC == 0xDC

    return Size("ucs2", units, _packed(units, UCS2_JOINED, splits_pair), UCS2_JOINED)


def _packed(units: int, per_part: int, splits_pair: Callable[[int], bool]) -> int:
    """Parts when each takes as much as it can, and a pair that would be split goes to the next as a whole."""
    parts, begin = 1, 0
    while units - begin > per_part:
        begin += per_part
        begin -= splits_pair(begin)
        parts += 1
    return parts
