"""Bulk bodies as streams of rows: NDJSON, CSV with a header, or a JSON array; a million rows in bounded memory.

A row that cannot be read becomes a `BadRow` and never costs its neighbours. A JSON array is one document: its syntax
is checked whole, on disk, before the first row is handed out, so that a broken one changes nothing.
"""

import csv
import tempfile
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import ijson
import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from app.errors import Problem, WrongType

#: Rows handed on at a time: small enough that callbacks do not wait for an upload, large enough for one COPY.
CHUNK_ROWS = 1_000
_SHOWN_ERRORS = 100
_MEMORY_BYTES = 1_000_000
#: The kinds of body and what reads them.
CONTENT_TYPES = ("application/x-ndjson", "text/csv", "application/json")


class Line(NamedTuple):
    """One row: bytes of JSON (NDJSON), or an object already read: of a JSON array, or of CSV with all values text."""

    number: int
    value: bytes | Mapping[str, Any]
    csv: bool = False


class BadRow(NamedTuple):
    number: int
    detail: str


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
        source = _json_array(body, bare)
    else:
        source = _lines(body, _Ndjson(max_row_bytes) if content_type == "application/x-ndjson" else _Csv(max_row_bytes))
    any_row = False
    async for chunk in source:
        any_row = True
        yield chunk
    if not any_row:
        raise Problem("The body holds no row.")


async def _lines(body: AsyncIterable[bytes], reader: "_Ndjson | _Csv") -> AsyncIterator[list[Line | BadRow]]:
    waiting: list[Line | BadRow] = []
    async for data in body:
        waiting.extend(reader.feed(data))
        while len(waiting) >= CHUNK_ROWS:
            yield waiting[:CHUNK_ROWS]
            del waiting[:CHUNK_ROWS]
    waiting.extend(reader.end())
    for start in range(0, len(waiting), CHUNK_ROWS):
        yield waiting[start : start + CHUNK_ROWS]


class _Splitter:
    """Physical lines out of arbitrary pieces; one over the limit is thrown away, and said so once."""

    def __init__(self, max_row_bytes: int) -> None:
        self._max = max_row_bytes
        self._rest = b""
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
        self._rest = b"" if self._too_long else self._rest + piece
        if len(self._rest) > self._max:
            self._rest, self._too_long = b"", True

    def _close(self) -> bytes | None:
        line = None if self._too_long else self._rest.rstrip(b"\r")
        self._rest, self._too_long = b"", False
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
            BadRow(number, "The row is too long.") if line is None else Line(number, line)
            for number, line in enumerate(lines, first)
            if line is None or (line and not line.isspace())
        ]


class _Csv:
    """RFC 4180: a header, then records; a quoted field may hold line ends, so a record ends where its quotes are even."""

    def __init__(self, max_row_bytes: int) -> None:
        self._splitter = _Splitter(max_row_bytes)
        self._max = max_row_bytes
        self._header: list[str] | None = None
        self._open: list[bytes] = []
        self._odd = False
        self._number = 0
        self._began = 0

    def feed(self, data: bytes) -> Iterator[Line | BadRow]:
        return self._rows(self._splitter.feed(data))

    def end(self) -> Iterator[Line | BadRow]:
        yield from self._rows(self._splitter.end())
        if self._open:
            yield BadRow(self._began, "A quote is not closed.")

    def _rows(self, lines: Iterable[bytes | None]) -> Iterator[Line | BadRow]:
        for line in lines:
            self._number += 1
            began = self._began if self._open else self._number
            if line is None or sum(map(len, self._open)) > self._max:
                self._open, self._odd = [], False
                yield BadRow(began, "The row is too long.")
                continue
            self._began = began
            self._open.append(line)
            self._odd ^= bool(line.count(b'"') % 2)
            if not self._odd:
                record = b"\n".join(self._open)
                self._open = []
                yield from self._record(began, record)

    def _record(self, number: int, record: bytes) -> Iterator[Line | BadRow]:
        try:
            text = record.decode("utf-8-sig" if self._header is None else "utf-8")
            cells = next(csv.reader([text], strict=True), [])
        except UnicodeDecodeError:
            yield BadRow(number, "The row is not UTF-8.")
        except csv.Error as error:
            yield BadRow(number, f"The row is not CSV: {error}.")
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
    if not all(names) or len(set(names)) < len(names):
        raise Problem("The CSV's first line must name each column once.")
    return names


async def _json_array(pieces: AsyncIterable[bytes], bare: str | None) -> AsyncIterator[list[Line | BadRow]]:
    with tempfile.SpooledTemporaryFile(max_size=_MEMORY_BYTES) as body:
        async for data in pieces:
            body.write(data)
        body.seek(0)
        _check_syntax(body)
        body.seek(0)
        chunk: list[Line | BadRow] = []
        for number, value in enumerate(ijson.items(body, "item", use_float=False), start=1):
            if bare is not None and isinstance(value, str):
                value = {bare: value}
            chunk.append(
                Line(number, value) if isinstance(value, dict) else BadRow(number, "The row is not a JSON object.")
            )
            if len(chunk) == CHUNK_ROWS:
                yield chunk
                chunk = []
        if chunk:
            yield chunk


def _check_syntax(body: Any) -> None:
    """Raises a 400 `Problem` unless `body` is one well-formed JSON array."""
    try:
        events = ijson.basic_parse(body)
        if next(events, (None,))[0] != "start_array":
            raise Problem("The body must be a JSON array of objects.")
        for _ in events:
            pass
    except (ijson.JSONError, UnicodeDecodeError) as error:
        raise Problem("The body is not well-formed JSON.") from error
