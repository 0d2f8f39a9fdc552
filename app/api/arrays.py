"""JSON arrays as rows of bytes: cut at the commas between their items, in whatever pieces they come.

Only strings and brackets are followed here; what stands between two commas is a row as a line of NDJSON is one, with
the same limits. It is linear in the bytes, and holds no more than one row.
"""

import json
import re
import tempfile
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Sequence
from struct import Struct
from typing import IO

import orjson

from app.api.reader import TOO_LONG, BadRow, Line, Pace
from app.errors import Problem
from app.gateways import bounds

_TEXT = rb'"(?:[^"\\]++|\\.)*+"'
_FLAT = rb'(?:[^"{}\[\]]++|' + _TEXT + rb")*+"
_OBJECT = rb'\{(?:[^"{}\[\]]++|' + _TEXT + rb"|\{" + _FLAT + rb"\})*+\}"
_PLAIN = rb'[^ \t\r\n"{}\[\],]++'
#: The rows that most are: an object that holds at most objects of plain values, a text, a number; with the mark behind it.
_ROW = re.compile(
    rb"[ \t\r\n]*+(" + _OBJECT + rb"|" + _TEXT + rb"|" + _PLAIN + rb")[ \t\r\n]*+([,\]])",
    re.DOTALL,
)
_WITHIN_TEXT = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
#: What changes something: between two items, and within one, where commas do not count.
_MARK = re.compile(rb'"|[\[{]++|[\]},]')
_MARK_WITHIN = re.compile(rb'"|[\[{]++|[\]}]++')
_OPENING = b"[{"
_BROKEN = "The body is not well-formed JSON."
#: Rows at a time: a piece of two bytes a row has thousands of them, and others wait meanwhile.
_SOME_ROWS = 500
_MEMORY_BYTES = 1_000_000
_BLOCK_BYTES = 65_536
NO_OBJECT = "The row is not a JSON object."


class Splitter:
    """Items of one JSON array out of arbitrary pieces: their bytes, None for one that is too long."""

    def __init__(self, max_row_bytes: int) -> None:
        self._max = max_row_bytes
        self._began = self._ended = False
        self._row = bytearray()
        self._too_long = False
        self._after_comma = False
        self._depth = 0
        self._in_text = self._escaped = False

    def feed(self, data: bytes) -> Iterator[list[bytes | None]]:
        """The items that end in `data`, some at a time. Raises a 400 `Problem` when this is not an array, or goes on after
        its end."""
        at = 0
        if not self._began:
            data = data.lstrip(bounds.BLANK)
            if not data:
                return
            if data[:1] != b"[":
                raise Problem("The body must be a JSON array of objects.")
            self._began, at = True, 1
        while at < len(data) and not self._ended:
            rows: list[bytes | None] = []
            at = self._rows(data, at, rows)
            yield rows
        if self._ended and data[at:].strip(bounds.BLANK):
            raise Problem(_BROKEN)

    def end(self) -> None:
        """Raises a 400 `Problem` when the array is not closed."""
        if not self._ended:
            raise Problem(_BROKEN if self._began else "The body must be a JSON array of objects.")

    def _rows(self, data: bytes, at: int, rows: list[bytes | None]) -> int:
        """Goes on from `at`; returns how far it came: to the end of the array or of `data`, or to some rows."""
        start = at
        while at < len(data) and not self._ended and len(rows) < _SOME_ROWS:
            if start == at and self._between() and (whole := _ROW.match(data, at)):
                row: bytes = whole[1]
                rows.append(row if len(row) <= self._max else None)
                start = at = whole.end()
                self._separated(whole[2])
                continue
            at, mark = self._next_mark(data, at)
            if mark:
                self._add(data[start : at - 1])
                self._close(mark, rows)
                start = at
        self._add(data[start:at])
        return at

    def _between(self) -> bool:
        """Nothing of an item has come yet."""
        return not self._row and not self._too_long and not self._in_text and self._depth == 0

    def _next_mark(self, data: bytes, at: int) -> tuple[int, bytes]:
        """Behind the next comma or bracket that ends an item; or the end of `data`, and no mark."""
        while True:
            if self._in_text:
                at = self._behind_text(data, at)
            pattern = _MARK_WITHIN if self._depth else _MARK
            if self._in_text or (found := pattern.search(data, at)) is None:
                return len(data), b""
            at, mark = found.end(), found[0]
            if mark == b'"':
                self._in_text = True
            elif mark[0] in _OPENING:
                self._depth += len(mark)
            elif len(mark) <= self._depth:
                self._depth -= len(mark)
            else:  # the array's own bracket may stand in a row with those of its last item
                last = found.start() + self._depth
                self._depth = 0
                return last + 1, data[last : last + 1]

    def _behind_text(self, data: bytes, at: int) -> int:
        if self._escaped and at < len(data):
            self._escaped, at = False, at + 1
        found = _WITHIN_TEXT.match(data, at)
        assert found is not None
        at = found.end()
        if at < len(data):
            self._in_text, self._escaped = data[at] != ord('"'), data[at] != ord('"')
            at += 1
        return at

    def _add(self, piece: bytes) -> None:
        if not self._row:
            piece = piece.lstrip(bounds.BLANK)
        if not self._too_long:
            self._row += piece
            if len(self._row) > self._max:
                self._row, self._too_long = bytearray(), True

    def _close(self, mark: bytes, rows: list[bytes | None]) -> None:
        row = bytes(self._row.rstrip(bounds.BLANK))
        if row or self._too_long:
            rows.append(None if self._too_long else row)
        elif mark != b"]" or self._after_comma:
            raise Problem(_BROKEN)
        self._row, self._too_long = bytearray(), False
        self._separated(mark)

    def _separated(self, mark: bytes) -> None:
        if mark == b"}":
            raise Problem(_BROKEN)
        self._ended = mark == b"]"
        self._after_comma = mark == b","


# --- an array, checked whole -----------------------------------------------------------------------------------------


async def read(
    body: AsyncIterable[bytes], *, max_row_bytes: int, bare: str | None
) -> AsyncIterator[tuple[int, Sequence[Line | BadRow]]]:
    """The rows, some at a time, with how many bytes these are.

    Raises a 400 `Problem` before the first of them unless all of `body` is one array.

    Of a row that is too long, too deep or has too large a number only strings and brackets were checked: it is refused
    whatever it says."""
    splitter = Splitter(max_row_bytes)
    with tempfile.SpooledTemporaryFile(max_size=_MEMORY_BYTES) as spool:
        pace = Pace()
        async for piece in body:
            for some in splitter.feed(piece):
                spool.write(b"".join(_framed(row, bare) for row in some))
                await pace.turn()
        splitter.end()
        spool.seek(0)
        number = 0
        for frames in _blocks(spool):
            yield (
                sum(len(payload) for _, payload in frames),
                [
                    BadRow(at, payload.decode()) if bad else Line(at, payload)
                    for at, (bad, payload) in enumerate(frames, number + 1)
                ],
            )
            number += len(frames)


_FRAME = Struct("!?I")


def _framed(row: bytes | None, bare: str | None) -> bytes:
    """The row as it waits on disk, or what is wrong with it. Raises a 400 `Problem` when it is no JSON."""
    found = _row_fault(row, bare)
    if isinstance(found, bytes):
        return _FRAME.pack(False, len(found)) + found
    detail = found.encode()
    return _FRAME.pack(True, len(detail)) + detail


def _row_fault(row: bytes | None, bare: str | None) -> bytes | str:
    if row is None:
        return TOO_LONG
    if fault := bounds.depth_fault(row):
        return f"The row {fault}."
    try:
        value = orjson.loads(row)
    except orjson.JSONDecodeError:
        if fault := bounds.fault(row):
            return f"The row {fault}."
        _check_syntax(row)
        return "The row holds characters that are none, or a number that is too large."
    if isinstance(value, dict):
        return row
    return b'{"%s":%s}' % (bare.encode(), row) if bare is not None and isinstance(value, str) else NO_OBJECT


def _check_syntax(row: bytes) -> None:
    """Raises a 400 `Problem` unless `row` is JSON by its grammar: lone surrogates are written in it, and no text."""
    try:
        json.loads(row.decode(), parse_constant=_no_constant)
    except ValueError as error:
        raise Problem(_BROKEN) from error


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _blocks(spool: IO[bytes]) -> Iterator[list[tuple[bool, bytes]]]:
    """Frames in their order, a block of the file at a time."""
    rest, wanted = b"", _BLOCK_BYTES
    while block := spool.read(wanted):
        data, at, frames = rest + block, 0, []
        wanted = _BLOCK_BYTES
        while len(data) - at >= _FRAME.size:
            bad, size = _FRAME.unpack_from(data, at)
            if len(data) - at - _FRAME.size < size:
                wanted = max(wanted, size)
                break
            at += _FRAME.size
            frames.append((bad, data[at : at + size]))
            at += size
        rest = data[at:]
        if frames:
            yield frames
