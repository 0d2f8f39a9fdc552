"""One number in texts: every way of writing it is found, and no other number is."""

import base64

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.addresses.spellings import Spellings

PSEUDONYM = "erased:" + "ab" * 16
OURS = Spellings("+34600123000", PSEUDONYM)
BRITISH = Spellings("+447911123456", PSEUDONYM)


@pytest.mark.parametrize(
    "text",
    [
        "+34600123000",
        "34600123000",
        "0034600123000",
        "01134600123000",
        "600123000",
        "0600123000",
        "%2B34600123000",
        "%2b34%20600%20123%20000",
        "+34 600 123 000",
        "+34-600-123-000",
        "(+34) 600.123.000",
        "+34 (0) 600 123 000",
        "600 12 30 00",
        "600\u00a0123\u00a0000",
        "call 600123000.",
        "id7+34600123000x",
        "to=34+600+123+000&a=1",
        "text=hi%2034600123000",
        "at 2026-11-24T16:00:00Z from 600123000, twice: 34600123000",
    ],
)
def test_every_way_of_writing_it_is_found(text: str) -> None:
    for found in (OURS.replace(text), OURS.replace(text.encode()).decode()):
        assert PSEUDONYM in found
        assert "123" not in found.replace(PSEUDONYM, "")


@pytest.mark.parametrize(
    "text",
    [
        "+33600123000",
        "+33 600 123 000",
        "0033 600 123 000",
        "33600123000",
        "134600123000",
        "9934600123000",
        "346001230001",
        "+346001230001",
        "6001230001",
        "1600123000",
        "+34600123001",
        "60012300",
        "id:17324600123000999",
    ],
)
def test_no_other_number_and_no_id_is_touched(text: str) -> None:
    assert OURS.replace(text) == text


@pytest.mark.parametrize(
    "text", ["07911 123456", "+44 (0)7911 123456", "7911123456", "00447911123456", "44 7911123456"]
)
def test_a_leading_zero_at_home_is_found_where_there_is_one(text: str) -> None:
    assert BRITISH.replace(text) == PSEUDONYM
    assert BRITISH.replace("+49 7911123456") == "+49 7911123456"


@pytest.mark.parametrize("coding", ["ascii", "utf-16-be", "utf-16-le"])
@pytest.mark.parametrize("before", ["", "a", "ab"])
def test_it_is_found_inside_words_of_hexadecimal_and_base64(before: str, coding: str) -> None:
    hidden = f"{before} +34600123000 STOP".encode(coding)
    for word, back in ((hidden.hex(), bytes.fromhex), (base64.b64encode(hidden).decode(), base64.b64decode)):
        found = OURS.replace(f'{{"payload": "{word}"}}')
        assert PSEUDONYM.encode() in back(orjson.loads(found)["payload"])


def test_json_stays_json() -> None:
    raw = b'{"to":34600123000,"from": 600123000 ,"text":"\\"x:34600123000,","list":[34600123000,1]}'
    assert orjson.loads(OURS.replace(raw)) == {
        "to": PSEUDONYM,
        "from": PSEUDONYM,
        "text": f'"x:{PSEUDONYM},',
        "list": [PSEUDONYM, 1],
    }
    assert OURS.replace({"a": [34600123000, 2.5, True, None], "600123000": {"b": "x"}}) == {
        "a": [PSEUDONYM, 2.5, True, None],
        PSEUDONYM: {"b": "x"},
    }


@given(st.text(max_size=200), st.binary(max_size=200))
def test_text_without_it_stays_as_it_is_whatever_it_is(text: str, data: bytes) -> None:
    assert OURS.replace(text) == text
    assert OURS.replace(data) == data
