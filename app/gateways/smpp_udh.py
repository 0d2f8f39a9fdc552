"""The user data header that stands before the text of a long message (3GPP TS 23.040 §9.2.3.24), and what is behind it. Pure."""

from dataclasses import dataclass
from typing import NamedTuple

#: esm_class, bit 6: the text begins with a header.
UDHI = 0x40
#: Information elements of a message in pieces, with how many octets their reference has.
_PIECES = {0x00: 1, 0x08: 2}


class Piece(NamedTuple):
    """Which part of a long message a text is. `reference` is common to its parts."""

    reference: int
    part: int
    parts: int

    @property
    def sane(self) -> bool:
        """Both numbers are an octet on the wire."""
        return 1 < self.parts <= 255 and 1 <= self.part <= self.parts


@dataclass(frozen=True, slots=True)
class Headed:
    """What stands behind the header: all of the content, where there is none."""

    content: bytes | str
    piece: Piece | None = None


def headed(content: bytes | str, esm_class: int) -> Headed:
    """`content` without its header. One that is announced (`UDHI`) and not well formed is left where it is. One that is not
    announced is taken off only where it is, octet for octet, that of a piece, which begins no text."""
    octets = content if isinstance(content, bytes) else content[:256].encode("latin-1", "replace")
    if not octets or (esm_class & UDHI == 0 and octets[:3] not in (b"\x05\x00\x03", b"\x06\x08\x04")):
        return Headed(content)
    end = octets[0] + 1
    elements = _elements(octets[1:end]) if 1 < end <= len(octets) else None
    if elements is None:
        return Headed(content)
    piece = _piece(elements)
    if esm_class & UDHI == 0 and piece is None:
        return Headed(content)
    return Headed(content[end:], piece)


def _elements(header: bytes) -> dict[int, bytes] | None:
    """By identifier; None where lengths do not fit. Of one that comes twice the last holds (§9.2.3.24)."""
    found: dict[int, bytes] = {}
    at = 0
    while at < len(header):
        if at + 2 > len(header) or at + 2 + header[at + 1] > len(header):
            return None
        found[header[at]] = header[at + 2 : at + 2 + header[at + 1]]
        at += 2 + header[at + 1]
    return found


def _piece(elements: dict[int, bytes]) -> Piece | None:
    for identifier, width in _PIECES.items():
        value = elements.get(identifier)
        if value is not None and len(value) == width + 2:
            piece = Piece(int.from_bytes(value[:width], "big"), value[width + 1], value[width])
            if piece.sane:
                return piece
    return None
