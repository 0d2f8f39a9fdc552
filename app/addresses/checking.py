"""Whether numbers may be sent to, by the rules of preparation that need no delivery (domain.md §7). Nothing is stored."""

from array import array
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.api.bulk import BadRow, Line, Tally, parts
from app.api.columns import Shape
from app.api.reader import RowRefused, detail_of
from app.deliveries.exclusions import sentence
from app.deliveries.rules import Rules
from app.identities import identity, spellings
from app.numbers import normalise, why_not
from app.privacy.pseudonyms import Pseudonyms

SHAPE = Shape(fields=("address",), needs_address=True, others="not read")
#: What came is no row at all: the one reason that preparation does not know.
UNREADABLE = "unreadable"


#: Rows of the quarantine by which the names given must not be sent to, with `address`.
KeptAway = Callable[[Sequence[str]], Awaitable[Sequence[Mapping[str, Any]]]]


class FirstLines:
    """In which line each number stood first: open addressing over plain 64-bit words, 16 to 40 bytes a number where a
    dictionary takes 150. A number has at most 15 digits, so it is its own key, and nothing is taken for a double by
    chance."""

    def __init__(self) -> None:
        self._mask = (1 << 12) - 1
        self._used = 0
        self._numbers = array("Q", bytes(8 << 12))
        self._lines = array("Q", bytes(8 << 12))

    def meet(self, address: str, line: int) -> int:
        """The line in which `address` stood first: `line` itself when this is it."""
        if self._used * 3 > self._mask * 2:
            self._grow()
        number = int(address[1:])
        place = self._place(number)
        if self._numbers[place]:
            return self._lines[place]
        self._numbers[place], self._lines[place] = number, line
        self._used += 1
        return line

    def _place(self, number: int) -> int:
        numbers, mask = self._numbers, self._mask
        place = (number * 0x9E3779B97F4A7C15 >> 20) & mask  # numbers follow one another; their places should not
        while numbers[place] and numbers[place] != number:
            place = (place + 1) & mask
        return place

    def _grow(self) -> None:
        numbers, lines = self._numbers, self._lines
        self._mask = self._mask * 2 + 1
        self._numbers, self._lines = (array("Q", bytes(8 * (self._mask + 1))) for _ in range(2))
        for number, line in zip(numbers, lines, strict=True):
            if number:
                place = self._place(number)
                self._numbers[place], self._lines[place] = number, line


@dataclass(slots=True, kw_only=True)
class Check:
    """One request's way through its rows, and what it counted."""

    region: str | None
    rules: Rules
    kept_away: KeptAway
    #: None while no number was ever erased.
    pseudonyms: Pseudonyms | None
    shown: Callable[[str | None], str | None]
    allowed: int = 0
    excluded: int = 0
    _first: FirstLines = field(default_factory=FirstLines)

    async def answer(self, chunk: Sequence[Line | BadRow]) -> list[dict[str, Any]]:
        """One answer a row, in order."""
        read = [_Row(line.number, *self._read(line)) async for part in parts(chunk) for line in part]
        await self._ask([row for row in read if row.reason is None])
        found = [self._told(row) for row in read]
        allowed = sum(row.reason is None for row in read)
        self.allowed += allowed
        self.excluded += len(read) - allowed
        return found

    def _read(self, line: Line | BadRow) -> tuple[str | None, str | None, Mapping[str, Any] | None]:
        """The number in E.164; a reason that comes before the quarantine, and its detail."""
        try:
            given = _given(line)
        except Exception as error:  # a bad row costs itself, whatever is wrong with it
            return None, UNREADABLE, {"text": detail_of(error)}
        if not given.strip():
            return None, "address_not_specified", None
        address = normalise(given, self.region)
        if address is None:
            return None, "invalid_address", {"region": self.region, "why": why_not(given, self.region)}
        first = self._first.meet(identity(address), line.number)
        return (address, None, None) if first == line.number else (address, "double", {"line": first})

    async def _ask(self, rows: Sequence["_Row"]) -> None:
        """The quarantine, then the rules: what no delivery needs to be known for."""
        names: dict[str, _Row] = {}
        for row in rows:
            assert row.address is not None
            known = spellings(row.address) if self.pseudonyms is None else self.pseudonyms.names(row.address)
            names |= dict.fromkeys(known, row)
        for away in await self.kept_away(list(names)) if names else ():
            row = names[away["address"]]
            if row.reason != "denylisted":
                row.reason = away["status"]
                row.detail = {"since": away["since"].isoformat()} | {
                    name: away[name] for name in ("reason", "origin", "sender")
                }
        for row in rows:
            if row.reason is None and (rule := self.rules.of_number(row.address or "")) is not None:
                row.reason, row.detail = "excluded_by_rule", rule

    def _told(self, row: "_Row") -> dict[str, Any]:
        return {
            "line": row.line,
            "address": self.shown(row.address),
            "allowed": row.reason is None,
            "reason": row.reason,
            "text": self._text(row),
        }

    def _text(self, row: "_Row") -> str | None:
        if row.reason is None:
            return None
        detail = row.detail or {}
        if row.reason == UNREADABLE:
            return str(detail["text"])
        if row.reason == "double":
            return f"The address stands in the list already: line {detail['line']} stays."
        return sentence(row.reason, row.detail)


@dataclass(slots=True)
class _Row:
    line: int
    address: str | None
    reason: str | None
    detail: Mapping[str, Any] | None


async def readable(chunk: Sequence[Line | BadRow], tally: Tally) -> None:
    """Counts the rows that are some, whatever the number in them."""
    async for part in parts(chunk):
        for line in part:
            try:
                _given(line)
                tally.accepted += 1
            except Exception as error:  # a bad row costs itself, whatever is wrong with it
                tally.reject(line.number, detail_of(error))


def _given(line: Line | BadRow) -> str:
    """The address as it was given. Raises `ValueError` with a sentence that repeats nothing of the row."""
    if isinstance(line, BadRow):
        raise RowRefused(line.detail)
    value = line.read()
    given = value.get("address") if isinstance(value, Mapping) else value
    if given is None:
        return ""
    if not isinstance(given, str):
        raise RowRefused("The row must be a text, or an object whose `address` is one.")
    return given
