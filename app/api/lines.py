"""Bodies of lines: cut where they end, whatever pieces they come in, and NDJSON's are rows."""

from collections.abc import Iterator

from app.api.reader import TOO_LONG, BadRow, Line


class Splitter:
    """Physical lines out of arbitrary pieces; one over the limit is thrown away, and said so once.

    `cr`: a CR ends a line, too, with or without an LF."""

    def __init__(self, max_row_bytes: int, *, cr: bool = False) -> None:
        self._max = max_row_bytes
        self._cr = cr
        self._after_cr = False
        self._rest = bytearray()
        self._too_long = False

    def feed(self, data: bytes) -> list[bytes | None]:
        """The lines that end in `data`, without their ends; None for one that was too long."""
        if self._cr:
            data = self._with_lf(data)
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

    def _with_lf(self, data: bytes) -> bytes:
        if self._after_cr and data[:1] == b"\n":
            data = data[1:]
            self._after_cr = False
        if data:
            self._after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in data else data

    def _add(self, piece: bytes) -> None:
        if not self._too_long:
            self._rest += piece
            if len(self._rest) > self._max:
                self._rest, self._too_long = bytearray(), True

    def _close(self) -> bytes | None:
        line = None if self._too_long else bytes(self._rest.rstrip(b"\r"))
        self._rest, self._too_long = bytearray(), False
        return line


class Ndjson:
    def __init__(self, max_row_bytes: int) -> None:
        self._splitter = Splitter(max_row_bytes)
        self._number = 0

    def feed(self, data: bytes) -> Iterator[list[Line | BadRow]]:
        yield self._rows(self._splitter.feed(data))

    def end(self) -> Iterator[list[Line | BadRow]]:
        yield self._rows(self._splitter.end())

    def _rows(self, lines: list[bytes | None]) -> list[Line | BadRow]:
        first = self._number + 1
        self._number += len(lines)
        return [
            BadRow(number, TOO_LONG) if line is None else Line(number, line)
            for number, line in enumerate(lines, first)
            if line is None or (line and not line.isspace())
        ]
