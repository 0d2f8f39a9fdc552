"""Bulk bodies as streams of rows: NDJSON, CSV with a header, or a JSON array; a million rows in bounded memory.

A row that cannot be read becomes a `BadRow` and never costs its neighbours. A JSON array is one document: its syntax
is checked whole, on disk, before the first row is handed out, so that a broken one changes nothing; then its rows are
bytes, as those of NDJSON are.
"""

import csv
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from app.api import arrays
from app.api.arrays import TOO_LONG
from app.api.reader import BadRow, Line, Pace, pieces
from app.errors import Problem, WrongType

__all__ = ["BadRow", "Line", "Tally", "chunks", "content_type", "described", "parts", "rows"]

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
#: Columns of CSV: what has more is no table of rows.
MOST_COLUMNS = 256
_SHOWN_ERRORS = 100
#: The kinds of body and what reads them.
CONTENT_TYPES = ("application/x-ndjson", "text/csv", "application/json")


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

    def reject(self, line: int, detail: str) -> None:
        self.rejected += 1
        if len(self.errors) < _SHOWN_ERRORS:
            self.errors.append({"line": line, "detail": detail})

    def response(self, status: int = 200, **more: int) -> Response:
        """`{accepted, rejected, errors}` and `more`; when not one row was good, the same as a problem with 422."""
        self.errors.sort(key=lambda error: int(error["line"]))
        body: dict[str, Any] = {"accepted": self.accepted, "rejected": self.rejected, "errors": self.errors, **more}
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


async def chunks(request: Request, *, max_row_bytes: int) -> AsyncIterator[list[Line | BadRow]]:
    """The rows of the request's body, some at a time. Raises `WrongType` or a 400 `Problem` before the first of them."""
    try:
        async for chunk in rows(request.stream(), content_type(request), max_row_bytes=max_row_bytes):
            yield chunk
    except ClientDisconnect as error:
        raise Problem("The body ended early; rows read so far may have been taken. Send it again.") from error


def content_type(request: Request) -> str:
    """One of `CONTENT_TYPES`. Raises `WrongType`."""
    said = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if said not in CONTENT_TYPES:
        raise WrongType(f"Send one of {', '.join(CONTENT_TYPES)}.")
    return said


async def rows(
    body: AsyncIterable[bytes], content_type: str, *, max_row_bytes: int, bare: str | None = None
) -> AsyncIterator[list[Line | BadRow]]:
    """The rows of `body`, which comes in any pieces, some at a time. Raises a 400 `Problem` before the first of them.

    `bare`: in a JSON array a text by itself is a row with only this field."""
    if content_type == "application/json":
        source = arrays.read(pieces(body), max_row_bytes=max_row_bytes, bare=bare)
    elif content_type == "application/x-ndjson":
        source = _lines(pieces(body, _NDJSON_PIECE_BYTES), _Ndjson(max_row_bytes))
    else:
        source = _lines(pieces(body, _CSV_PIECE_BYTES), _Csv(max_row_bytes))
    any_row, pace = False, Pace()
    async for chunk in _chunked(source):
        any_row = True
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


async def _lines(body: AsyncIterable[bytes], reader: "_Ndjson | _Csv") -> Source:
    async for data in body:
        yield len(data), reader.feed(data)
    yield 0, reader.end()


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


class _Splitter:
    """Physical lines out of arbitrary pieces; one over the limit is thrown away, and said so once."""

    def __init__(self, max_row_bytes: int) -> None:
        self._max = max_row_bytes
        self._rest = bytearray()
        self._too_long = False

    def feed(self, data: bytes) -> list[bytes | None]:
        """The lines that end in `data`, without their ends; None for one that was too long."""
        first, *others = data.split(b"\n")
        self._add(first)
        if not others:
            return []
        lines, most = [self._close()], self._max
        rest = others.pop()
        lines += [line.rstrip(b"\r") if len(line) <= most else None for line in others]
        self._add(rest)
        return lines

    def end(self) -> list[bytes | None]:
        return [self._close()] if self._rest or self._too_long else []

    def _add(self, piece: bytes) -> None:
        if not self._too_long:
            self._rest += piece
            if len(self._rest) > self._max:
                self._rest, self._too_long = bytearray(), True

    def _close(self) -> bytes | None:
        line = None if self._too_long else bytes(self._rest.rstrip(b"\r"))
        self._rest, self._too_long = bytearray(), False
        return line


class _Ndjson:
    def __init__(self, max_row_bytes: int) -> None:
        self._splitter = _Splitter(max_row_bytes)
        self._number = 0

    def feed(self, data: bytes) -> list[Line | BadRow]:
        return self._rows(self._splitter.feed(data))

    def end(self) -> list[Line | BadRow]:
        return self._rows(self._splitter.end())

    def _rows(self, lines: list[bytes | None]) -> list[Line | BadRow]:
        first = self._number + 1
        self._number += len(lines)
        return [
            BadRow(number, TOO_LONG) if line is None else Line(number, line)
            for number, line in enumerate(lines, first)
            if line is None or (line and not line.isspace())
        ]


class _Csv:
    """RFC 4180: a header, then records; a quoted field may hold line ends, so a record ends where its quotes are even.

    A quote that stays open takes no more lines with it than a row may have bytes, line ends included."""

    def __init__(self, max_row_bytes: int) -> None:
        self._splitter = _Splitter(max_row_bytes)
        self._max = max_row_bytes
        self._header: list[str] | None = None
        self._open: list[bytes] = []
        self._bytes = 0
        self._odd = False
        self._number = 0
        self._began = 0

    def feed(self, data: bytes) -> list[Line | BadRow]:
        return list(self._rows(self._splitter.feed(data)))

    def end(self) -> list[Line | BadRow]:
        rows = list(self._rows(self._splitter.end()))
        return [*rows, BadRow(self._began, "A quote is not closed.")] if self._open else rows

    def _rows(self, lines: Iterable[bytes | None]) -> Iterator[Line | BadRow]:
        for line in lines:
            self._number += 1
            if not self._open:
                self._began, self._bytes = self._number, 0
            self._bytes += 0 if line is None else len(line) + 1
            if line is None or self._bytes > self._max + 1:
                self._open, self._odd = [], False
                yield self._too_long()
                continue
            self._open.append(line)
            self._odd ^= bool(line.count(b'"') % 2)
            if not self._odd:
                record = b"\n".join(self._open)
                self._open = []
                yield from self._record(self._began, record)

    def _too_long(self) -> BadRow:
        if self._header is None:
            raise Problem("The CSV's first line is too long.")
        return BadRow(self._began, TOO_LONG)

    def _unread(self, number: int, error: Exception) -> BadRow:
        if self._header is None:  # without it no row can be read, and the next line is none
            raise Problem("The CSV's first line cannot be read.")
        return BadRow(
            number,
            "The row is not UTF-8." if isinstance(error, UnicodeDecodeError) else f"The row is not CSV: {error}.",
        )

    def _record(self, number: int, record: bytes) -> Iterator[Line | BadRow]:
        try:
            text = record.decode("utf-8-sig" if self._header is None else "utf-8")
            cells = next(csv.reader([text], strict=True), [])
        except (UnicodeDecodeError, csv.Error) as error:
            yield self._unread(number, error)
        else:
            if self._header is None:
                self._header = _header(cells)
            elif len(cells) > len(self._header):
                yield BadRow(number, f"The row has {len(cells)} fields, the header {len(self._header)}.")
            elif cells:
                yield Line(
                    number,
                    {name: cell for name, cell in zip(self._header, cells, strict=False) if cell != ""},
                    csv=True,
                )


def _header(cells: list[str]) -> list[str]:
    names = [cell.strip() for cell in cells]
    if len(names) > MOST_COLUMNS:
        raise Problem(f"The CSV has more than {MOST_COLUMNS} columns.")
    if not all(names) or len(set(names)) < len(names) or any("\0" in name for name in names):
        raise Problem("The CSV's first line must name each column once.")
    return names
