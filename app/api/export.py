"""Whole lists as streams: CSV or NDJSON, whatever their size, in bounded memory.

CSV is opened in spreadsheets, which run cells that begin with `= + - @` (or a tab or return) as formulas: such a cell
gets a leading apostrophe. Cells that are only a sign and digits, an E.164 number above all, whole or masked
(`+34600•••000`), cannot run and stay as they are, so that what is exported can be imported.
"""

import csv
import io
import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import orjson
from fastapi import Request
from starlette.responses import StreamingResponse

Format = Literal["json", "csv", "ndjson"]
Chunks = AsyncIterator[Sequence[Mapping[str, Any]]]
_MEDIA: Mapping[str, Format] = {
    "application/json": "json",
    "text/csv": "csv",
    "application/x-ndjson": "ndjson",
    "application/ndjson": "ndjson",
}
_NDJSON = orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_NUMBER = re.compile(r"[+-][\d•.]+", re.ASCII)
#: For the OpenAPI document of a list that can be streamed.
STREAMS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A page; or, by `Accept`, everything as a stream; no row of it appears twice.",
        "content": {"text/csv": {"schema": {"type": "string"}}, "application/x-ndjson": {"schema": {"type": "string"}}},
    }
}


def wanted(request: Request) -> Format:
    """The format that the request's `Accept` prefers; JSON where it names none of ours."""
    best: tuple[float, Format] = (0.0, "json")
    for part in request.headers.get("accept", "").split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        weight = next((_weight(piece) for piece in parameters if piece.startswith("q=")), 1.0)
        if name in _MEDIA and weight > best[0]:
            best = (weight, _MEDIA[name])
    return best[1]


def stream(form: Literal["csv", "ndjson"], columns: Sequence[str], chunks: Chunks) -> StreamingResponse:
    """All rows of `chunks`. An error on the way breaks the connection off: nobody takes a part for the whole."""
    if form == "csv":
        return StreamingResponse(_csv(columns, chunks), media_type="text/csv; charset=utf-8")
    return StreamingResponse(_ndjson(chunks), media_type="application/x-ndjson")


async def _csv(columns: Sequence[str], chunks: Chunks) -> AsyncIterator[bytes]:
    yield _lines([columns])
    async for rows in chunks:
        yield _lines([_cell(row.get(name)) for name in columns] for row in rows)


async def _ndjson(chunks: Chunks) -> AsyncIterator[bytes]:
    async for rows in chunks:
        yield b"".join(orjson.dumps(row, default=str, option=_NDJSON) for row in rows)


def _lines(rows: Iterable[Sequence[str]]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer).writerows(rows)
    return buffer.getvalue().encode()


def _cell(value: object) -> str:
    """One value as CSV writes it: times RFC 3339, booleans `true`/`false`, nothing for None, no formulas."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    text = str(value)
    return "'" + text if text.startswith(_FORMULA) and not _NUMBER.fullmatch(text) else text


def _weight(parameter: str) -> float:
    try:
        return float(parameter[2:])
    except ValueError:
        return 0.0
