"""Files as spreadsheets write them: cases of public reports, by kind; and that no file holds up the loop or grows."""

import base64
import csv
import gc
import io
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.bulk import BadRow, Line, Reading, rows
from app.api.columns import Shape, _letters
from app.api.decoding import charset
from app.api.sheets import NOT_CLOSED
from app.deliveries import audience
from app.errors import Problem
from tests.api.lag import lag

CASES = Path(__file__).parents[1] / "cases" / "uploads"
LIMIT = 100_000
TABLE = Shape(fields=("address",), needs_address=True, others="params")


def cases() -> Iterator[Any]:
    for file in sorted(CASES.glob("*.json")):
        for case in json.loads(file.read_text()):
            yield pytest.param(case, id=f"{file.stem}: {case['id']}")


def body_of(case: dict[str, Any]) -> bytes:
    return base64.b64decode(case["base64"]) if "base64" in case else str(case["body"]).encode()


async def chunks(body: bytes, reading: Reading, step: int) -> AsyncIterator[list[Line | BadRow]]:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), step):
            yield body[start : start + step]

    async for chunk in rows(pieces(), reading, max_row_bytes=LIMIT):
        yield chunk


async def read(body: bytes, reading: Reading, step: int = LIMIT) -> list[Line | BadRow]:
    return [row async for chunk in chunks(body, reading, step) for row in chunk]


def reading_of(case: dict[str, Any]) -> Reading:
    said = case.get("content_type", "text/csv")
    column = case.get("query", "").removeprefix("?address_column=").replace("%20", " ")
    return Reading(
        content_type=said.partition(";")[0], charset=charset(said), shape=audience.SHAPE, address_column=column or None
    )


@pytest.mark.parametrize("step", [1, 7, LIMIT])
@pytest.mark.parametrize("case", list(cases()))
async def test_a_file_is_read_as_it_is_meant_however_it_is_cut(case: dict[str, Any], step: int) -> None:
    reading = reading_of(case)
    if "refused" in case:
        with pytest.raises(Problem) as caught:
            await read(body_of(case), reading, step)
        assert caught.value.status == 400
        assert all(each in caught.value.detail for each in case["refused"])
        return
    found = await read(body_of(case), reading, step)
    targets = [audience.read(row) for row in found if isinstance(row, Line)]
    assert [[target.given, target.params] for target in targets] == case["rows"]
    assert [row.number for row in found if isinstance(row, BadRow)] == case.get("rejected", [])
    assert reading.encoding == case.get("encoding", reading.encoding)
    assert reading.separator == case.get("separator", reading.separator)


CHARSETS = (
    "utf8 utf-16 utf-16be utf-32 utf-32be latin1 ansi windows-1250 windows-1258 cp437 cp866 iso-8859-2 iso-8859-16 macintosh"
    " koi8-u gbk gb18030 big5 shift_jis euc-jp euc-kr"
)


@pytest.mark.parametrize("said", CHARSETS.split())
async def test_whatever_charset_is_taken_what_can_be_read_is_read(said: str) -> None:
    python = {"utf-16": "utf-16-le", "utf-32": "utf-32-le", "ansi": "cp1252", "macintosh": "mac-roman"}.get(said, said)
    reading = Reading(content_type="text/csv", charset=charset(f"text/csv; charset={said}"), shape=TABLE)
    body = "address,name\n1,Ana\n2,".encode(python) + b"\x81\xff\xff\xff\n\n"
    found = await read(body, reading, 3)
    assert found[0] == Line(2, {"address": "1", "name": "Ana"}, csv=True)


# --- what is told ----------------------------------------------------------------------------------------------------


async def test_the_reading_tells_what_it_found() -> None:
    reading = Reading(content_type="text/csv", shape=TABLE)
    body = 'Móvil;Nombre;;n\n1;"a\nb";x;\n;;;\n2;José\n'.encode("cp1252") + "3;María\n".encode()
    await read(body, reading)
    assert (reading.encoding, reading.separator, reading.rows, reading.blank) == ("windows-1252", ";", 3, 1)
    assert reading.columns == {"Móvil": "address", "Nombre": "params.Nombre", "n": "params.n"}
    assert [(each.code, each.line, each.count) for each in reading.findings.values()] == [
        ("unnamed_column", None, 1), ("several_lines", 2, 1), ("mixed_encodings", 6, 1),
    ]  # fmt: skip


@pytest.mark.parametrize(("others", "code"), [("refused", "unknown_column"), ("not read", "column_not_read")])
async def test_a_column_that_is_not_known_is_told(others: Any, code: str) -> None:
    reading = Reading(content_type="text/csv", shape=Shape(fields=("address",), needs_address=True, others=others))
    (row,) = await read(b"address,name\n1,Ana\n", reading)
    assert isinstance(row, Line)
    assert row.value == ({"address": "1"} if others == "not read" else {"address": "1", "name": "Ana"})
    assert reading.columns == {"address": "address", "name": None}
    (finding,) = reading.findings.values()
    assert (finding.code, "`name`" in finding.detail) == (code, True)


_TEXT = st.text(st.characters(codec="cp1252", exclude_categories=("Cc", "Cs")) | st.just("\n"), max_size=8)


@given(
    st.lists(st.tuples(_TEXT, _TEXT), min_size=1, max_size=6),
    st.sampled_from(",;\t|"),
    st.sampled_from(["utf-8-sig", "utf-16", "cp1252"]),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.integers(1, 50),
)
async def test_what_a_spreadsheet_writes_is_read_again(
    cells: list[tuple[str, str]], separator: str, encoding: str, end: str, step: int
) -> None:
    """Whatever stands in the cells, which separator, encoding and line ends it has, and however it is cut."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, lineterminator=end)
    if end == "\r":  # it would leave a line end bare between CRs
        writer = csv.writer(text, delimiter=separator, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerow(["Móvil", "first", "second"])
    writer.writerows([f"+34{number}", *row] for number, row in enumerate(cells))
    reading = Reading(content_type="text/csv", shape=TABLE)
    found = await read(text.getvalue().encode(encoding), reading, step)
    names = ("address", "first", "second")
    expected = [dict(zip(names, (f"+34{n}", *row), strict=True)) for n, row in enumerate(cells)]
    rows_as_read = [row.value if isinstance(row, Line) else row for row in found]
    assert rows_as_read == [{name: cell for name, cell in row.items() if cell} for row in expected]
    assert reading.separator == separator


# --- quotes, at length -----------------------------------------------------------------------------------------------

_CELL = st.text(st.sampled_from('a",;\n é'), max_size=5)


@given(st.lists(st.tuples(_CELL, _CELL, st.booleans()), min_size=1, max_size=12), st.integers(1, 40))
async def test_whatever_stands_in_a_line_its_neighbours_are_read(lines: list[tuple[str, str, bool]], step: int) -> None:
    """Between well-formed rows stand others; those that could go on over a line's end are left out here."""
    body = "address,name\n"
    good = []
    for number, (one, other, wild) in enumerate(lines):
        if wild:
            body += f"{one}{other}".replace("\n", "").removeprefix('"').replace(',"', ",") + "\n"
        cell = other.replace('"', '""')
        body += f'+34{number},"x{cell}"\n'
        good.append((f"+34{number}", f"x{other}"))
    found = await read(body.encode(), Reading(content_type="text/csv", shape=TABLE), step)
    values = [row.value for row in found if isinstance(row, Line)]
    table = [(row.get("address"), row.get("name")) for row in values if isinstance(row, dict)]
    assert [row for row in table if row in good] == good


async def test_a_quote_that_never_closes_costs_its_line_however_much_is_behind_it() -> None:
    behind = [f"+34{number},x" for number in range(30_000)]
    body = "\n".join(["address,name", '+1,"Ana', *behind, '+2,"Bob', *behind])
    found = await read(body.encode(), Reading(content_type="text/csv", shape=TABLE))
    assert [(row.number, row.detail) for row in found if isinstance(row, BadRow)] == [
        (2, NOT_CLOSED), (30_003, NOT_CLOSED),
    ]  # fmt: skip
    assert len(found) == 60_002


# --- time ------------------------------------------------------------------------------------------------------------

HEAD = b"address,name\n"
LONG: dict[str, bytes] = {
    "an open quote and empty lines": HEAD + (b'1,"' + b"\n" * 99_000) * 3,
    "open quotes": HEAD + b'"a\n' * 100_000,
    "open quotes and blanks": HEAD + b'"\n \n' * 70_000,
    "quotes that close and open": HEAD + b'a",",\n' * 140_000,
    "quotes that close and open, and a long cell": (HEAD + b'a",",\n' * 9_000 + b"1," + b"x" * 90_000 + b"\n") * 5,
    "quotes and commas": HEAD + (b'"",' * 33_000 + b"\n") * 7,
    "commas": HEAD + (b"," * 99_000 + b"\n") * 14,
    "cells": HEAD + (b"a," * 49_000 + b"\n") * 14,
    "quotes": HEAD + (b'"' * 99_000 + b"\n") * 14,
    "cells in quotes": HEAD + (b'"a",' * 24_000 + b"\n") * 14,
    "CRs": HEAD + b"\r" * 700_000,
    "short lines": HEAD + b"1\n" * 170_000,
    "one byte of Windows-1252": HEAD + b"1,\xe9\n" * 70_000,
    "nothing that can be decoded": HEAD + b"1,\x81\n" * 70_000,
    "UTF-16": b"\xff\xfe" + (HEAD + b"1,a\n" * 100_000).decode().encode("utf-16-le"),
    "UTF-16 that is none": b"\xff\xfe" + HEAD.decode().encode("utf-16-le") + b"\x00\xd8" * 170_000,
    "sep lines": b"sep=;\n" * 70_000,
    "a wide header": b",".join(b"c%d" % n for n in range(9_000)),
    "a wide header with all separators": b"".join(b"c%d" % n + b",;\t|"[n % 4 :][:1] for n in range(15_000)),
}


@pytest.fixture
def no_collection() -> Iterator[None]:
    """A collection of garbage goes through whatever else the test process has."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize("body", LONG.values(), ids=LONG)
async def test_no_file_holds_up_the_loop(body: bytes) -> None:
    async with lag() as seen:
        with suppress(Problem):
            async for _ in chunks(body, Reading(content_type="text/csv", shape=TABLE), 65_536):
                pass
    assert seen.worst < 0.05  # it is some milliseconds


@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize("said", ["big5", "shift_jis", "gb18030", "iso-8859-6", "utf-32le"])
async def test_no_charset_holds_up_the_loop_where_nothing_can_be_read(said: str) -> None:
    body = HEAD.decode().encode(said) + b"\x80\xff" * 90_000
    async with lag() as seen:
        async for _ in chunks(body, Reading(content_type="text/csv", charset=said, shape=TABLE), 65_536):
            pass
    assert seen.worst < 0.05  # it is some milliseconds


@pytest.mark.parametrize("header", [b"phone," + b"x" * 200_000, b'phone,"' + b"x" * 200_000 + b'"', b"x" * 200_000])
async def test_a_name_that_is_longer_than_a_cell_may_be_is_refused_whatever_a_row_may_have(header: bytes) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield header + b"\n1,2\n"

    with pytest.raises(Problem, match="first line cannot be read"):
        await anext(rows(body(), Reading(content_type="text/csv", shape=TABLE), max_row_bytes=1_000_000))


async def test_names_of_columns_are_not_kept_however_long_they_are() -> None:
    _letters.cache_clear()
    for number in range(50):
        header = f"address,{number}{'é' * 40_000}\n1,2\n"
        await read(header.encode(), Reading(content_type="text/csv", shape=TABLE))
    assert _letters.cache_info().currsize <= 1


def test_every_kind_of_file_has_at_least_four_cases() -> None:
    sizes: Sequence[int] = [len(json.loads(file.read_text())) for file in CASES.glob("*.json")]
    assert len(sizes) >= 8
    assert min(sizes) >= 4
