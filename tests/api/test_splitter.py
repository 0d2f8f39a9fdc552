"""JSON arrays cut into rows of bytes: the same rows as any parser sees, in whatever pieces they come, in linear time."""

import json
import time
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.api.arrays import Splitter
from app.errors import Problem

LIMIT = 100_000
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=6),
    st.sampled_from(['"', "\\", '\\"', "],[", "}{", "[[", "é\U0001f600", ' , "']),
)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=12,
)
blanks = st.sampled_from(["", " ", "\n", "\r\n\t "])


def pieces(body: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted(index % (len(body) + 1) for index in at), len(body)]
    return [body[start:end] for start, end in pairwise(edges)]


def split(body: list[bytes], limit: int = LIMIT) -> list[bytes | None]:
    splitter = Splitter(limit)
    rows = [row for piece in body for some in splitter.feed(piece) for row in some]
    splitter.end()
    return rows


@given(st.lists(values, max_size=5), st.lists(st.integers(0, 10_000), max_size=8), st.booleans(), blanks)
@settings(max_examples=300)
def test_the_rows_are_those_of_a_parser_however_the_array_is_cut(
    given_rows: list[Any], at: list[int], ascii: bool, blank: str
) -> None:
    inner = f"{blank},{blank}".join(
        json.dumps(row, ensure_ascii=ascii, indent=len(blank) or None) for row in given_rows
    )
    body = f"{blank}[{blank}{inner}{blank}]{blank}".encode()
    found = split(pieces(body, at))
    assert [json.loads(row or b"?") for row in found] == json.loads(body)
    assert split([body[place : place + 1] for place in range(len(body))]) == found


@given(st.text('[]{},"\\ 1a', max_size=12), st.lists(st.integers(0, 20), max_size=3))
@settings(max_examples=500)
def test_what_is_no_array_is_never_taken_for_one(text: str, at: list[int]) -> None:
    body = f"[{text}]".encode()
    try:
        whole: Any = json.loads(body)
    except ValueError:
        whole = None
    try:
        rows = split(pieces(body, at))
        found = [json.loads(row or b"?") for row in rows]
    except (Problem, ValueError):
        found = None
    assert found == whole


@pytest.mark.parametrize(
    "row",
    [
        b'"' + b"x" * 5_000_000 + b'"',
        b'{"a":"' + b'\\"' * 2_500_000 + b'"}',
        b"[" * 2_500_000 + b"]" * 2_500_000,
        b'{"a":' * 500_000 + b"1" + b"}" * 500_000,
        b"9" * 5_000_000,
        b"[" + b"1," * 2_500_000 + b"1]",
        b"1" + b" " * 5_000_000,
    ],
    ids=["text", "escapes", "arrays", "objects", "digits", "values", "blanks"],
)
def test_a_row_without_end_costs_itself_and_is_not_kept(row: bytes) -> None:
    body = b'[{"a":1},' + row + b',{"b":2}]'
    began = time.process_time()
    found = split([body[at : at + 16_384] for at in range(0, len(body), 16_384)])
    assert found == [b'{"a":1}', None, b'{"b":2}']
    assert time.process_time() - began < 30  # linear: quadratic work would take hours


@pytest.mark.parametrize("piece", [b'"x', b'{"a": "', b"[", b" ", b"1", b'{"a":1},', b"\\"])
def test_many_small_pieces_cost_no_more_than_their_bytes(piece: bytes) -> None:
    splitter = Splitter(LIMIT)
    began = time.process_time()
    list(splitter.feed(b"["))
    for _ in range(100_000):
        list(splitter.feed(piece))
    assert time.process_time() - began < 10
