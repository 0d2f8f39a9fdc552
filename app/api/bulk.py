"""Bulk bodies as streams of rows: NDJSON, CSV with a header, or a JSON array; a million rows in bounded memory.

A row that cannot be read becomes a `BadRow` and never costs its neighbours. A JSON array is one document: its syntax
is checked whole, on disk, before the first row is handed out, so that a broken one changes nothing; then its rows are
bytes, as those of NDJSON are.
"""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from app.api import arrays
from app.api.decoding import in_utf8
from app.api.lines import Ndjson
from app.api.reader import BadRow, Line, Pace, pieces
from app.api.readings import CONTENT_TYPES, JSON, NDJSON, Reading
from app.api.sheets import Sheet
from app.errors import Problem

__all__ = ["BadRow", "Line", "Reading", "Tally", "chunks", "described", "parts", "rows"]

#: Rows handed on at a time: small enough that callbacks do not wait for an upload, large enough for one COPY.
CHUNK_ROWS = 1_000
#: The same in bytes: a thousand rows of the largest size would be four hundred times this.
CHUNK_BYTES = 250_000
ItemT = TypeVar("ItemT")
#: Rows that are worked on before the event loop's others are thought of.
PART_ROWS = 20
#: Lines are cut off in C: larger pieces are as quick.
_NDJSON_PIECE_BYTES = 65_536
#: CSV is read cell by cell: smaller pieces take as long.
_CSV_PIECE_BYTES = 4_096
_SHOWN_ERRORS = 100


def described(json: dict[str, Any]) -> dict[str, Any]:
    """What OpenAPI says of a bulk body, for `openapi_extra`; `json` is the schema of its JSON."""
    text = {"schema": {"type": "string"}}
    content = {kind: {"schema": json} if kind == "application/json" else text for kind in CONTENT_TYPES}
    return {"requestBody": {"required": True, "content": content}}


@dataclass(slots=True)
class Tally:
    """The answer in the making."""

    accepted: int = 0
    rejected: int = 0
    errors: list[dict[str, Any]] = field(default_factory=list)
    #: Of rows that are taken all the same.
    warnings: list[dict[str, Any]] = field(default_factory=list)

    def warn(self, line: int, detail: str) -> None:
        if len(self.warnings) < _SHOWN_ERRORS:
            self.warnings.append({"line": line, "detail": detail})

    def reject(self, line: int, detail: str) -> None:
        self.rejected += 1
        if len(self.errors) < _SHOWN_ERRORS:
            self.errors.append({"line": line, "detail": detail})

    def response(self, status: int = 200, **more: Any) -> Response:
        """`{accepted, rejected, errors}`, `warnings` where there are some, and `more`; when not one row was good, the same
        as a problem with 422."""
        for told in (self.errors, self.warnings):
            told.sort(key=lambda each: int(each["line"]))
        body: dict[str, Any] = {"accepted": self.accepted, "rejected": self.rejected, "errors": self.errors, **more}
        if self.warnings:
            body["warnings"] = self.warnings
        if self.accepted or not self.rejected:
            return Response(orjson.dumps(body), status, media_type="application/json")
        shown = [{"pointer": f"/{error['line'] - 1}", **error} for error in self.errors]
        problem = {
            "type": "about:blank",
            "title": "Unprocessable Content",
            "status": 422,
            "detail": "No row could be accepted.",
        }
        return Response(orjson.dumps(problem | body | {"errors": shown}), 422, media_type="application/problem+json")


async def chunks(
    request: Request, reading: Reading | None = None, *, max_row_bytes: int
) -> AsyncIterator[list[Line | BadRow]]:
    """The rows of the request's body, some at a time. Raises `WrongType` or a 400 `Problem` before the first of them."""
    try:
        async for chunk in rows(request.stream(), reading or Reading.of(request), max_row_bytes=max_row_bytes):
            yield chunk
    except ClientDisconnect as error:
        raise Problem("The body ended early; rows read so far may have been taken. Send it again.") from error


async def rows(
    body: AsyncIterable[bytes], reading: Reading, *, max_row_bytes: int, bare: str | None = None
) -> AsyncIterator[list[Line | BadRow]]:
    """The rows of `body`, which comes in any pieces, some at a time. Raises a 400 `Problem` before the first of them.

    `reading` is what is known about it, and hears the rest. `bare`: in a JSON array a text by itself is a row with only this
    field."""
    body = in_utf8(body, reading.charset, reading.is_in)
    if reading.content_type == JSON:
        source = arrays.read(pieces(body), max_row_bytes=max_row_bytes, bare=bare)
    elif reading.content_type == NDJSON:
        source = _lines(pieces(body, _NDJSON_PIECE_BYTES), lambda: Ndjson(max_row_bytes))
    else:
        source = _lines(pieces(body, _CSV_PIECE_BYTES), lambda: Sheet(max_row_bytes, reading))
    any_row, pace = False, Pace()
    async for chunk in _chunked(source):
        any_row = True
        reading.has_read(chunk)
        yield chunk
        await pace.turn()  # who takes the rows may wait for nothing: when all of them are bad
    if not any_row:
        raise Problem("The body holds no row.")


async def parts(chunk: Sequence[ItemT]) -> AsyncIterator[Sequence[ItemT]]:
    """`chunk` (of rows, or of a callback's items) in parts; between them others have their turn, for what is done with one
    can take its time."""
    pace = Pace()
    for start in range(0, len(chunk), PART_ROWS):
        yield chunk[start : start + PART_ROWS]
        await pace.turn()


#: Rows as they come, and of how many bytes they are.
Source = AsyncIterator[tuple[int, Sequence[Line | BadRow]]]


async def _lines(body: AsyncIterable[bytes], begin: Callable[[], Ndjson | Sheet]) -> Source:
    """`begin` makes the reader once the first piece is there: by then the encoding that was said or marked is known."""
    reader, pace = None, Pace()
    async for data in body:
        reader = reader or begin()
        size = len(data)
        for some in reader.feed(data):
            yield size, some
            size = 0
            await pace.turn()
    for some in reader.end() if reader else ():
        yield 0, some
        await pace.turn()


async def _chunked(source: Source) -> AsyncIterator[list[Line | BadRow]]:
    """What comes in any number of rows, in chunks that are bounded in rows and in bytes."""
    waiting: list[Line | BadRow] = []
    size = 0
    async for more, some in source:
        waiting.extend(some)
        size += more
        while len(waiting) >= CHUNK_ROWS:
            yield waiting[:CHUNK_ROWS]
            del waiting[:CHUNK_ROWS]
            size = 0
        if size >= CHUNK_BYTES and waiting:
            yield waiting
            waiting, size = [], 0
    if waiting:
        yield waiting
