"""Streams of whole lists: which format is meant, and CSV that is safe to open."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.requests import Request

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


@pytest.mark.parametrize("formula", ["=1+1", "+SUM(A1)", "-2+3", "@x", "\tx", "+34600=1", '=HYPERLINK("http://x")'])
async def test_a_cell_that_would_run_as_a_formula_is_defused(formula: str) -> None:
    assert (await written(formula)).lstrip('"').startswith("'")


@pytest.mark.parametrize("number", ["+34600123123", "+34600•••123", "-12.5"])
async def test_numbers_with_a_sign_stay_as_they_are(number: str) -> None:
    assert await written(number) == number


async def test_values_are_written_as_the_api_writes_them() -> None:
    assert await written(datetime(2026, 11, 23, 8, tzinfo=UTC)) == "2026-11-23T08:00:00Z"
    assert (await written(True), await written(None), await written(7)) == ("true", '""', "7")
