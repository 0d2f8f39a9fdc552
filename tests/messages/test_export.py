"""Streams of whole lists: which format is meant, and CSV that is safe to open."""

import csv
import io
import re
import time
import unicodedata
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from app.api import export
from app.api.export import stream, wanted


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", "json"), ("*/*", "json"), ("text/html", "json"), ("application/json", "json"), ("text/csv", "csv"),
        ("application/x-ndjson", "ndjson"), ("text/csv;q=0.1, application/x-ndjson;q=0.9", "ndjson"),
        ("application/json, text/csv;q=0.5", "json"), ("TEXT/CSV; charset=utf-8", "csv"), ("text/csv;q=0", "json"),
        ("text/csv;q=x", "json"),
    ],
)  # fmt: skip
def test_accept_chooses_the_format(accept: str, expected: str) -> None:
    assert wanted(Request({"type": "http", "headers": [(b"accept", accept.encode())]})) == expected


async def written(value: object) -> str:
    async def rows() -> AsyncIterator[Sequence[dict[str, Any]]]:
        yield [{"a": value}]

    body = stream("csv", ("a",), rows()).body_iterator
    return b"".join([chunk async for chunk in body]).decode().removeprefix("a\r\n").removesuffix("\r\n")  # type: ignore[misc]


FORMULAS = [
    "=1+1", "+SUM(A1)", "-2+3", "@x", "\tx", "\rx", "\nx", "+34600=1", '=HYPERLINK("http://x")', "＝1+1", "＋1+A1", "－1+A1",
    "＠SUM(1)", "﹦1", "\u2212A1", ";=1+1", "a;=1+1", "a;＝1", "a,=1+1", "a\t=1+1", "a\n=1+1", "a|=1", "x; \u200b=1", " =1+1",
    "\u200b=1+1", "\ufeff=1+1", "\x0b=1+1", "\x00=1", "\xa0=1", "\u3000=1", "\u202e=1", "\u2060@x", "\u3164=1", "\U000e0020=1",
    ";;=1", "+34600123123;=1+1", 'a;"=1+1"', '"=1+1"', 'x;"＝SUMA(1;2)', 'a; ""=1',
]  # fmt: skip


@pytest.mark.parametrize("formula", FORMULAS)
async def test_a_cell_that_would_run_as_a_formula_is_defused(formula: str) -> None:
    assert (await written(formula)).lstrip('"').startswith("'")


LONG = ("\t", "\n", "\t\u00a0", "; ", ';"', '"', ";=", "\t=", "+1", ";+1", "a\tb", "-", " ")


@pytest.mark.parametrize("end", ["", "x=", "=", "\t"])
@pytest.mark.parametrize("some", LONG)
async def test_a_long_cell_is_looked_through_once(some: str, end: str) -> None:
    before = time.process_time()
    await written(some * (100_000 // len(some)) + end)
    assert time.process_time() - before < 1  # it is a tenth of that; by the square it would be twenty


#: The rule by itself: a place where the cell or a part of it begins, and a sign behind what nobody sees.
_PLACE = re.compile(
    f'(?:^|(?<=[;,|\t\r\n]))(?=[{export._UNSEEN}"]*+(?![+-][\\d•.]+(?:[;,|\t\r\n]|$))[{export._SIGNS}])'
)


@given(st.text(st.sampled_from("=+-@;,|\t\r\n\" \u00a0\u200b＝−a1.•'\\2"), max_size=12))
async def test_an_apostrophe_stands_before_each_formula_and_nowhere_else(text: str) -> None:
    (cell,) = next(csv.reader(io.StringIO(await written(text), newline="")), [""])
    expected = text if re.fullmatch(r"[+-][\d•.]+", text) else _PLACE.sub("'", text)
    assert cell.removeprefix("'") == expected.removeprefix("'")  # the cell itself has its own test


@pytest.mark.parametrize("formula", FORMULAS)
async def test_no_part_of_a_cell_begins_with_a_formula_wherever_it_is_parted(formula: str) -> None:
    cell = next(csv.reader(io.StringIO(await written(formula), newline="")))[0]
    for part in re.split(r"[;,|\t\r\n]", cell):
        seen = "".join(each for each in part if unicodedata.category(each)[0] not in "CZ" and each != "\u3164")
        assert not unicodedata.normalize("NFKC", seen[:1]).startswith(("=", "+", "@")) or seen == "+34600123123"
        assert not seen.startswith(("-", "－", "\u2212"))


@pytest.mark.parametrize(
    "number",
    [
        "+34600123123",
        "+34600•••123",
        "-12.5",
        "•••",
        "Call me; +34600123123",
        "a-b",
        "20 % - off",
        "x=1",
        "me@x.example",
    ],
)
async def test_numbers_with_a_sign_stay_as_they_are(number: str) -> None:
    assert (await written(number)).strip('"') == number


@pytest.mark.parametrize(
    "value",
    [
        {"a": "x;=cmd"}, {"a": "x,＝1"}, ["|@a", -1, {"b": "; +1"}], {"a;=1": 1}, [1, -2, -3], {"a": "=1"}, {"q": 'x";=1'},
        {"a": ";\u200b=1"}, [], {},
    ],
)  # fmt: skip
async def test_a_nested_cell_is_the_same_json_and_no_part_of_it_a_formula(value: Any) -> None:
    cell = next(csv.reader(io.StringIO(await written(value), newline="")))[0]
    assert orjson.loads(cell) == value
    for part in re.split(r"[;|]", cell):
        assert not unicodedata.normalize("NFKC", part.strip(" \u200b")[:1]).startswith(("=", "+", "-", "@"))


async def test_a_stream_is_a_file_to_be_kept_and_not_to_be_guessed_about() -> None:
    async def rows() -> AsyncIterator[Sequence[dict[str, Any]]]:
        yield []

    answer = stream("csv", ("a",), rows())
    assert answer.headers["content-disposition"] == 'attachment; filename="acuse.csv"'
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_values_are_written_as_the_api_writes_them() -> None:
    assert await written(datetime(2026, 11, 23, 8, tzinfo=UTC)) == "2026-11-23T08:00:00Z"
    assert (await written(True), await written(None), await written(7)) == ("true", '""', "7")
