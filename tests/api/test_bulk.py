"""Bulk bodies: rows out of arbitrary pieces, in bounded memory, a bad one never costing its neighbours."""

import json
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from app.api.bulk import CHUNK_ROWS, BadRow, Line, Tally, chunks
from app.errors import Problem, WrongType

LIMIT = 1_000


def request(content_type: str, pieces: Sequence[bytes]) -> Request:
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    queue = iter([*messages, {"type": "http.request", "body": b"", "more_body": False}])

    async def receive() -> Any:
        return next(queue)

    return Request({"type": "http", "method": "POST", "headers": [(b"content-type", content_type.encode())]}, receive)


async def read(content_type: str, *pieces: bytes) -> list[Line | BadRow]:
    return [row async for chunk in _chunks(content_type, pieces) for row in chunk]


def _chunks(content_type: str, pieces: Sequence[bytes]) -> AsyncIterator[list[Line | BadRow]]:
    return chunks(request(content_type, pieces), max_row_bytes=LIMIT)


def values(rows: Sequence[Line | BadRow]) -> list[Any]:
    return [
        orjson.loads(row.value) if isinstance(row.value, bytes) else row.value for row in rows if isinstance(row, Line)
    ]


def cut(body: bytes, at: Sequence[int]) -> list[bytes]:
    edges = [0, *sorted(index % (len(body) + 1) for index in at), len(body)]
    return [body[start:end] for start, end in pairwise(edges)]


rows = st.lists(
    st.fixed_dictionaries({"a": st.text(max_size=8), "b": st.text(min_size=1, max_size=5)}), min_size=1, max_size=8
)
edges = st.lists(st.integers(0, 10_000), max_size=5)


@given(rows, edges)
async def test_ndjson_reads_the_same_however_it_is_cut(given_rows: list[dict[str, str]], at: list[int]) -> None:
    body = b"\n".join(orjson.dumps(row) for row in given_rows)
    assert values(await read("application/x-ndjson", *cut(body, at))) == given_rows


@given(rows, edges)
async def test_json_arrays_read_the_same_however_they_are_cut(given_rows: list[dict[str, str]], at: list[int]) -> None:
    assert values(await read("application/json", *cut(orjson.dumps(given_rows), at))) == given_rows


@given(
    st.lists(
        st.tuples(*[st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=6)] * 2), min_size=1
    ),
    edges,
)
async def test_csv_reads_the_same_however_it_is_cut(cells: list[tuple[str, str]], at: list[int]) -> None:
    lines = ["a,b", *(",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in cells)]
    found = values(await read("text/csv", *cut("\n".join(lines).encode(), at)))
    assert found == [{name: cell for name, cell in zip("ab", row, strict=True) if cell} for row in cells]


async def test_a_bad_line_keeps_its_number_and_its_neighbours() -> None:
    found = await read("application/x-ndjson", b'{"a":1}\n\n' + b"x" * (LIMIT + 1) + b'\n{"a":4}\n')
    assert [row.number for row in found] == [1, 3, 4]
    assert isinstance(found[1], BadRow)


async def test_csv_names_the_line_where_a_record_begins() -> None:
    found = await read("text/csv", b'a,b\n1,"x\ny"\n2,3,4\n5,\x81\n6,7\n')
    assert [(row.number, type(row)) for row in found] == [(2, Line), (4, BadRow), (5, BadRow), (6, Line)]


async def test_a_quote_left_open_is_one_bad_row() -> None:
    found = await read("text/csv", b'a,b\n1,2\n3,"4\n5,6\n')
    assert [(row.number, type(row)) for row in found] == [(2, Line), (3, BadRow), (4, Line)]


@pytest.mark.parametrize("body", [b"", b"\n\n", b"[]"])
async def test_a_body_without_a_row_is_a_problem(body: bytes) -> None:
    with pytest.raises(Problem, match="no row"):
        await read("application/json" if body == b"[]" else "application/x-ndjson", body)


@pytest.mark.parametrize("body", [b"{", b"{}", b'[{"a":1},', b"[1]]", b'"x"', b"[\xff]", b"nonsense", b'[{"a":1}] x'])
async def test_a_broken_json_array_changes_nothing(body: bytes) -> None:
    with pytest.raises(Problem) as caught:
        await anext(_chunks("application/json", [body]))
    assert caught.value.status == 400


async def test_another_content_type_is_refused() -> None:
    with pytest.raises(WrongType):
        await read("text/plain", b"x")


async def test_rows_are_handed_on_in_chunks() -> None:
    body = b"\n".join(b'{"a":%d}' % number for number in range(CHUNK_ROWS * 2 + 5))
    sizes = [len(chunk) async for chunk in _chunks("application/x-ndjson", cut(body, [10_000]))]
    assert sizes == [CHUNK_ROWS, CHUNK_ROWS, 5]


def test_the_answer_shows_the_first_hundred_errors_and_counts_all() -> None:
    tally = Tally(accepted=1)
    for line in range(150):
        tally.reject(line + 1, "no")
    body = json.loads(bytes(tally.response().body))
    assert (body["accepted"], body["rejected"], len(body["errors"])) == (1, 150, 100)


def test_when_no_row_was_good_the_answer_is_a_problem() -> None:
    tally = Tally()
    tally.reject(7, "no")
    response = tally.response(202)
    assert (response.status_code, response.media_type) == (422, "application/problem+json")
