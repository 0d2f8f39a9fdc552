"""The audience: who a delivery is for, row by row as it was uploaded. Preparation reads it.

One upload is one transaction. The body is first written to disk, so that a slow client holds nothing; then all of it goes
into the table in one COPY, or nothing does.
"""

import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import IO, Any, NamedTuple

from starlette.requests import ClientDisconnect, Request

from app.api import bulk
from app.api.bulk import BadRow, Line, Reading, Tally
from app.api.columns import Shape
from app.api.reader import RowRefused, detail_of
from app.db import Connection
from app.errors import Problem, TooLarge
from app.numbers import normalise

_FIELDS = frozenset({"address", "recipient_id", "params", "control"})
#: In CSV all other columns are params.
SHAPE = Shape(fields=("address", "recipient_id", "control"), needs_address=True, others="params")
COLUMNS = ("delivery_id", "position", "given", "recipient_id", "params", "control")
#: What is longer cannot be meant as a number.
LONGEST_ADDRESS = 200
LONGEST_ID = 255
MOST_PARAMS = 50
LONGEST_NAME = 64
LONGEST_VALUE = 1_000
_PIECE_BYTES = 65_536
_MEMORY_BYTES = 1_000_000
_SAID = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False, "": False}


class Target(NamedTuple):
    given: str
    recipient_id: str | None
    params: dict[str, Any] | None
    control: bool


# --- one row ---------------------------------------------------------------------------------------------------------


def read(line: Line) -> Target:
    """The row, checked. Raises `ValueError` with a sentence. An address that is no number is kept: preparation excludes
    it and says why."""
    value = line.read()
    if not isinstance(value, Mapping):
        raise RowRefused("The row is not a JSON object.")
    if line.csv:
        value = _from_csv(value)
    elif not value.keys() <= _FIELDS:
        raise RowRefused(f"A target has no other fields than {', '.join(sorted(_FIELDS))}.")
    return checked(value)


def checked(value: Mapping[str, Any]) -> Target:
    """A target by its fields. Raises `ValueError` with a sentence that begins with the field's name."""
    params = value.get("params")
    control = value.get("control")
    if control is not None and control.__class__ is not bool:
        raise RowRefused("control: this must be true or false.")
    return Target(
        _address(value.get("address")),
        _recipient(value.get("recipient_id")),
        _params(params) if params is not None else None,
        control is True,
    )


def _from_csv(row: Mapping[str, str]) -> dict[str, Any]:
    """All columns besides the known ones are params; what is empty is left out by the reader."""
    if "params" in row:
        raise RowRefused("params: in CSV each param is a column of its own.")
    control = row.get("control", "").strip().lower()
    if control not in _SAID:
        raise RowRefused("control: this must be one of true, false, 1, 0, yes, no.")
    params = {name: cell for name, cell in row.items() if name not in _FIELDS}
    known = {"address": row.get("address"), "recipient_id": row.get("recipient_id")}
    return {**known, "control": _SAID[control], "params": params}


def _address(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RowRefused("address: this must be a text.")
    address = value.strip().replace("\0", "�")
    if len(address) > LONGEST_ADDRESS:
        raise RowRefused(f"address: this must have at most {LONGEST_ADDRESS} characters.")
    return _storable("address", address)


def _recipient(value: object) -> str | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > LONGEST_ID:
        raise RowRefused(f"recipient_id: this must be a text of at most {LONGEST_ID} characters.")
    return _storable("recipient_id", value)


def _params(params: object) -> dict[str, Any] | None:
    if not isinstance(params, dict):
        raise RowRefused("params: this must be an object.")
    if not params:
        return None
    if len(params) > MOST_PARAMS:
        raise RowRefused(f"params: there must be at most {MOST_PARAMS}.")
    for name, value in params.items():
        if len(name) > LONGEST_NAME:
            raise RowRefused(f"params: a name must have at most {LONGEST_NAME} characters.")
        _storable("params", name)
        if value.__class__ is str:
            if len(value) > LONGEST_VALUE:
                raise RowRefused(f"params: a value must have at most {LONGEST_VALUE} characters.")
            _storable("params", value)
        elif value is not None and not isinstance(value, bool | int | float):
            raise RowRefused("params: a value must be a text, a number, true, false or null.")
    return _within_bigint(params)


def _within_bigint(params: dict[str, Any]) -> dict[str, Any]:
    """Raises for a number that JSON libraries disagree about, or have rounded."""
    if any(value.__class__ in (int, float) and abs(value) >= 2**63 for value in params.values()):
        raise RowRefused("params: a number is too large; give it as a text.")
    return params


def _storable(name: str, text: str) -> str:
    """Raises for what PostgreSQL cannot hold: NUL and lone surrogates."""
    if text.isascii():
        if "\0" in text:
            raise RowRefused(f"{name}: NUL characters are not allowed.")
    elif "\0" in text or any("\ud800" <= each <= "\udfff" for each in text):
        raise RowRefused(f"{name}: there are characters that are none.")
    return text


# --- a whole upload --------------------------------------------------------------------------------------------------


@asynccontextmanager
async def on_disk(request: Request) -> AsyncIterator[IO[bytes]]:
    """The request's body, whole. Raises a 400 `Problem` when it breaks off."""
    with tempfile.SpooledTemporaryFile(max_size=_MEMORY_BYTES) as file:
        try:
            async for piece in request.stream():
                file.write(piece)
        except ClientDisconnect as error:
            raise Problem("The body ended early; nothing of it was kept. Send it again.") from error
        file.seek(0)
        yield file


@dataclass(slots=True, kw_only=True)
class Upload:
    """Rows on their way into the table."""

    body: IO[bytes]
    reading: Reading
    max_row_bytes: int
    delivery_id: int
    #: How many targets there may be, how many stand already, and the last one's position: some before it may be taken out.
    most: int
    standing: int = 0
    before: int = 0
    tally: Tally = field(default_factory=Tally)

    @property
    def total(self) -> int:
        return self.standing + self.tally.accepted

    async def copy(self, connection: Connection) -> None:
        """All rows in one COPY. Raises `TooLarge`, and a 400 `Problem` for a body that cannot be read."""
        await connection.copy_records_to_table("targets", records=self._records(), columns=COLUMNS)

    async def only_read(self) -> None:
        """Reads all rows, and says of each whether preparation could send to it, as far as its number tells. Raises as `copy`."""
        async for _ in self._records():
            pass

    async def _records(self) -> AsyncIterator[tuple[Any, ...]]:
        tally, id, position = self.tally, self.delivery_id, self.before
        judged = self.reading.dry_run
        async for chunk in bulk.rows(self._pieces(), self.reading, max_row_bytes=self.max_row_bytes):
            async for part in bulk.parts(chunk):
                for line in part:
                    try:
                        if isinstance(line, BadRow):
                            raise RowRefused(line.detail)
                        target = read(line)
                    except Exception as error:  # a bad row costs itself, whatever is wrong with it
                        tally.reject(line.number, detail_of(error))
                        continue
                    position += 1
                    if judged:
                        self._judge(line.number, target)
                    yield id, position, *target
            tally.accepted = position - self.before
            if self.total > self.most:
                raise TooLarge(
                    f"An audience has at most {self.most} targets, and this upload would make more; nothing of it was kept."
                )

    def _judge(self, line: int, target: Target) -> None:
        if not target.given:
            self.reading.find("address_not_specified", "A row has no number: preparation leaves it out.", line)
        elif normalise(target.given, self.reading.region) is None:
            self.reading.find("invalid_address", "A row's number is none: preparation leaves it out.", line)

    async def _pieces(self) -> AsyncIterator[bytes]:
        while piece := self.body.read(_PIECE_BYTES):
            yield piece
