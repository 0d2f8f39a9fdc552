"""CSV as spreadsheets write it: separator and encoding are found, and nothing that a table has around its rows costs one.

A quote opens a cell only where the cell begins. One that never closes costs its own line; those behind it are read as if it
were not there, each byte at most `_AGAIN` times on average. A line's bytes are looked at as bytes, which is what they are in
UTF-8 and in Windows-1252 alike.
"""

import csv
import re
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from string import whitespace

from app.api.columns import MOST_COLUMNS, SEPARATORS, has_address, matched
from app.api.decoding import UTF8, WINDOWS
from app.api.lines import Splitter
from app.api.reader import TOO_LONG, BadRow, Line
from app.api.readings import Reading
from app.errors import Problem

#: Lines in one go: of such as are read again there can be a hundred thousand.
_SOME_LINES = 500
#: How often the bytes behind open quotes are read again, on average. Each line of `a",",` closes a quote and opens one: beyond
#: this a quote costs its line where the line does not close it.
_AGAIN = 3
#: What stands for nothing at a line's ends: blanks, and the mark by which DOS ends a file.
_BLANK = b" \t\x1a"
_SEP_LINE = re.compile(rb'\s*"?sep=(["\x20-\x7e\t])"?[\s,;|]*', re.IGNORECASE)
_QUOTED = re.compile(r'"(?:[^"]|"")*+"?')
_WITHIN = re.compile(rb'(?:[^"]++|"")*+')
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
NOT_CLOSED = "A quote is not closed."
_NOT_DOUBLED = "A quote within a quoted cell is not doubled."
_MIXED = "A row is well-formed UTF-8, though one before it is not: it was read as Windows-1252 like that one."
_WHOLE, _OPEN, _BROKEN = range(3)
Row = Line | BadRow


class Sheet:
    """A header, then records, out of arbitrary pieces of bytes. What it finds out goes to its `Reading`."""

    def __init__(self, max_row_bytes: int, reading: Reading) -> None:
        self._splitter = Splitter(max_row_bytes, cr=True)
        self._max = max_row_bytes
        self._reading = reading
        self._undecided = reading.encoding is None
        self._codec = UTF8
        self._separator = ""
        self._byte = b""
        #: All cells with a separator behind them.
        self._cells = _WITHIN
        self._nothing = _BLANK
        #: The name in a row of each column; empty before the header.
        self._names: list[str] = []
        self._width = 0
        self._unread = False
        #: Lines of a record whose quote is open, and how many bytes these are.
        self._open: list[bytes] = []
        self._bytes = 0
        #: How many bytes may still be read again.
        self._spare = 0
        self._number = 0
        self._began = 0

    def feed(self, data: bytes) -> Iterator[list[Row]]:
        self._spare += _AGAIN * len(data)
        yield from self._rows(self._splitter.feed(data))

    def end(self) -> Iterator[list[Row]]:
        yield from self._rows(self._splitter.end())
        while self._open:
            again: deque[bytes | None] = deque()
            yield [self._given_up(again)]
            yield from self._rows(again)

    def _rows(self, lines: Iterable[bytes | None]) -> Iterator[list[Row]]:
        todo = deque(lines)
        while todo:
            found: list[Row] = []
            for _ in range(min(_SOME_LINES, len(todo))):
                line = todo.popleft()
                self._number += 1
                if line is not None and not self._open and self._names and b'"' not in line:
                    row = self._plain(line)
                else:
                    row = self._any(line, todo)
                if row is not None:
                    found.append(row)
            yield found

    # --- one line ----------------------------------------------------------------------------------------------------

    def _plain(self, line: bytes) -> Row | None:
        """A line without a quote is a record."""
        if line[:1] in self._nothing and not line.strip(self._nothing):
            self._reading.blank += 1
            return None
        if self._undecided and not line.isascii():
            self._decide(line)
        try:
            cells = self._text(line, self._number).split(self._separator, self._width)
        except UnicodeDecodeError:
            return self._undecoded(self._number)
        if len(cells) > self._width:
            rest = cells.pop().rstrip(self._separator + whitespace)
            if rest:
                return self._too_wide(self._number, self._width + 1 + rest.count(self._separator))
        return self._line(self._number, cells, line)

    def _any(self, line: bytes | None, todo: deque[bytes | None]) -> Row | None:
        """Any line: of the header, of a record with quotes, or one that was too long."""
        if line is None:
            if self._open:
                return self._given_up(todo, None)
            if not self._names:
                raise Problem("The CSV's first line is too long.")
            return BadRow(self._number, TOO_LONG)
        if not self._open:
            if not self._names and self._before_header(line):
                return None
            self._began, self._bytes = self._number, 0
        self._bytes += len(line) + 1
        if self._bytes > self._max + 1:
            return self._given_up(todo, line)
        state = self._state(line, inside=bool(self._open))
        if state == _BROKEN:
            if self._open:
                return self._given_up(todo, line)
            return self._refused(self._number, _NOT_DOUBLED)
        if state == _WHOLE and not self._open:
            return self._record(line)
        if self._spare < 0 and not self._open:
            return self._refused(self._number, NOT_CLOSED)
        self._open.append(line)
        if state == _OPEN:
            return None
        record, self._open = b"\n".join(self._open), []
        return self._record(record)

    def _given_up(self, todo: deque[bytes | None], *last: bytes | None) -> Row:
        """The open quote costs its own line; those behind it, and `last`, are read again."""
        again, self._open = [*self._open[1:], *last], []
        self._spare -= self._bytes
        self._number = self._began
        todo.extendleft(reversed(again))
        return self._refused(self._began, NOT_CLOSED)

    def _refused(self, number: int, detail: str) -> BadRow:
        if not self._names:  # without it no row can be read, and the next line is none
            raise Problem(f"The CSV's first line cannot be read: {detail[0].lower()}{detail[1:]}")
        return BadRow(number, detail)

    def _state(self, line: bytes, *, inside: bool) -> int:
        """Whether a quote is open behind `line`; `inside`: before it one is."""
        at = 0
        if inside:
            at = _end(_WITHIN, line, 0)
            if at == len(line):
                return _OPEN
            if line[at + 1 : at + 2] != self._byte:
                return _WHOLE if at + 1 == len(line) else _BROKEN
            at += 2
        at = _end(self._cells, line, at)
        if line[at : at + 1] != b'"':
            return _WHOLE
        at = _end(_WITHIN, line, at + 1)
        if at == len(line):
            return _OPEN
        return _WHOLE if at + 1 == len(line) else _BROKEN

    # --- one record --------------------------------------------------------------------------------------------------

    def _record(self, record: bytes) -> Row | None:
        if self._undecided and not record.isascii():
            self._decide(record)
        try:
            text = self._text(record, self._began)
            cells = next(csv.reader([text], delimiter=self._separator, strict=True), [])
        except UnicodeDecodeError:
            return self._undecoded(self._began)
        except csv.Error as error:
            return self._refused(self._began, f"The row is not CSV: {error}.")
        if not self._names:
            self._header(cells)
            return None
        if self._number > self._began:
            self._reading.find("several_lines", "A cell in quotes goes over several lines.", self._began)
        if len(cells) > self._width and any(map(str.strip, cells[self._width :])):
            return self._too_wide(self._began, len(cells))
        return self._line(self._began, cells, record)

    def _line(self, number: int, cells: list[str], record: bytes) -> Line:
        row = {name: cell for name, cell in zip(self._names, cells, strict=False) if cell}
        if self._unread:
            row.pop("", None)
        if self._reading.samples:
            self._reading.sample(number, record.decode(self._codec))
        return Line(number, row, True)

    def _too_wide(self, number: int, cells: int) -> BadRow:
        return BadRow(number, f"The row has {cells} fields, the header {self._width}.")

    def _decide(self, record: bytes) -> None:
        """By the first row with a byte over 127, if it can be read at all."""
        for encoding in (UTF8, WINDOWS):
            try:
                record.decode(encoding)
            except UnicodeDecodeError:
                continue
            self._codec, self._undecided = encoding, False
            self._reading.is_in(encoding)
            return

    def _text(self, record: bytes, number: int) -> str:
        if self._codec == WINDOWS and not record.isascii():
            with suppress(UnicodeDecodeError):
                record.decode(UTF8)
                self._reading.find("mixed_encodings", _MIXED, number)
        return record.decode(self._codec)

    def _undecoded(self, number: int) -> BadRow:
        said = self._reading.encoding
        return self._refused(number, f"The row is not {said.upper() if said else 'UTF-8'}.")

    # --- the header --------------------------------------------------------------------------------------------------

    def _before_header(self, line: bytes) -> bool:
        """Whether `line` says nothing of the columns: a blank one, or one that names the separator. If it does, it tells the
        separator."""
        if line.startswith(_WORKBOOKS):
            raise Problem("This is a workbook, not CSV: save it as CSV (UTF-8) first.")
        if b"\0" in line:
            raise Problem("The CSV's first line holds NUL characters. If it is UTF-16, say so by `charset=utf-16le`.")
        if not line.strip(_BLANK + b",;|"):
            self._reading.blank += 1
            return True
        if (
            not self._separator
            and (named := _SEP_LINE.fullmatch(line))
            and named[1] not in b'" '
            and not named[1].isalnum()
        ):
            self._separated(named[1].decode())
            return True
        if not self._separator:
            self._separated(self._found_separator(line.decode(UTF8, "replace")))
        return False

    def _separated(self, separator: str) -> None:
        self._separator = self._reading.separator = separator
        self._byte = separator.encode()
        self._nothing = _BLANK + self._byte
        one = re.escape(self._byte)
        self._cells = re.compile(rb'(?:(?:"(?:[^"]++|"")*+"|(?!")[^%b]*+)%b)*+' % (one, one))

    def _found_separator(self, line: str) -> str:
        """The one by which the column of the numbers is found; else the one that stands there most often."""
        outside = _QUOTED.sub("", line)
        candidates = sorted((each for each in SEPARATORS if each in outside), key=outside.count, reverse=True)
        if self._reading.shape.needs_address:
            for each in candidates:
                if has_address(_cells_of(line, each), self._reading.address_column):
                    return each
        return candidates[0] if candidates else ","

    def _header(self, cells: list[str]) -> None:
        columns = [cell.strip() for cell in cells]
        while columns and not columns[-1]:  # what stands behind the last separator is no column
            columns.pop()
        if len(columns) > MOST_COLUMNS:
            raise Problem(f"The CSV has more than {MOST_COLUMNS} columns.")
        named = [each for each in columns if each]
        if not named or len(set(named)) < len(named):
            raise Problem("The CSV's first line must name each column once.")
        reading = self._reading
        self._names = matched(columns, reading.shape, reading.address_column, self._separator)
        self._width = len(columns)
        self._unread = "" in self._names
        reading.has_columns(columns, self._names)


def _cells_of(line: str, separator: str) -> list[str]:
    """So many as there may be columns; none where one is longer than `csv` takes, for which the header is refused."""
    try:
        cells = next(csv.reader([line], delimiter=separator), [])
    except csv.Error:
        return []
    return [cell.strip() for cell in cells[:MOST_COLUMNS]]


def _end(pattern: re.Pattern[bytes], line: bytes, at: int) -> int:
    found = pattern.match(line, at)
    assert found is not None, "it matches nothing, too"
    return found.end()
