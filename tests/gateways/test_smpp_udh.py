"""User data headers: what stands before the text of a long message, and which part of it that is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gateways.smpp_udh import UDHI, Piece, headed

STOP = b"STOP sending"


@pytest.mark.parametrize(
    ("header", "piece"),
    [
        ("050003cc0201", Piece(0xCC, 1, 2)),
        ("050003cc0202", Piece(0xCC, 2, 2)),
        ("060804abcd0301", Piece(0xABCD, 1, 3)),
        ("0b05040b8423f00003120201", Piece(0x12, 1, 2)),  # ports before the piece
        ("0a2201000003cc02012400", Piece(0xCC, 1, 2)),  # a header of other elements, too
        ("06050415811581", None),  # ports only
        ("0403020203", None),  # an element that nobody knows
        ("050003cc0101", None),  # one of one
        ("050003cc0203", None),  # three of two
        ("050003cc0200", None),
        ("050003cc0001", None),
        ("0400020201", None),  # a piece of the wrong length
    ],
)
def test_an_announced_header_is_taken_off_and_says_which_part_it_is(header: str, piece: Piece | None) -> None:
    found = headed(bytes.fromhex(header) + STOP, UDHI)
    assert (found.content, found.piece) == (STOP, piece)


@pytest.mark.parametrize("content", [b"", b"STOP", b"\x00STOP", b"\x05", b"\xff" + STOP, b"\x05\x00\x09abcSTOP"])
def test_what_is_no_header_is_left_where_it_is(content: bytes) -> None:
    assert headed(content, UDHI).content == content


@pytest.mark.parametrize(
    ("content", "left"),
    [
        (bytes.fromhex("050003cc0201") + STOP, STOP),  # a centre that forgets to say so
        (bytes.fromhex("060804abcd0301") + STOP, STOP),
        (bytes.fromhex("050003cc0101") + STOP, None),
        (bytes.fromhex("06050415811581") + STOP, None),
        (STOP, None),
    ],
)
def test_a_header_that_nobody_announced_is_taken_off_only_where_it_is_a_pieces(
    content: bytes, left: bytes | None
) -> None:
    assert headed(content, 0).content == (content if left is None else left)


def test_a_text_that_somebody_else_decoded_loses_its_header_too() -> None:
    found = headed("\x05\x00\x03\xcc\x02\x01STOP ☃", UDHI)
    assert (found.content, found.piece) == ("STOP ☃", Piece(0xCC, 1, 2))


@given(st.binary() | st.text(), st.integers(0, 255))
def test_any_content_is_read_and_never_grows(content: bytes | str, esm_class: int) -> None:
    found = headed(content, esm_class)
    assert type(found.content) is type(content)
    assert content.endswith(found.content)  # type: ignore[arg-type]
    assert found.piece is None or found.piece.sane
