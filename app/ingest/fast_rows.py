"""The fast lane of bulk receipts: rows that say only which message, what, and when.

Most rows of `POST /v1/receipts` are such. Each becomes at once the record of PostgreSQL's binary COPY that it would
become in the end: in a fifth of the time that reading, checking, flattening and encoding any row takes, or in half of
it where no two rows are of the same time. Whatever is not as plain as that takes the ordinary road. A property test
holds the two equal (tests/ingest/test_fast_rows.py).
"""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import blake2b
from struct import Struct
from typing import Any, NewType

import orjson

from app.gateways.generic import OUTCOMES
from app.gateways.receipt import Gateway, Outcome
from app.gateways.times import YEARS, rfc3339
from app.ingest.rows import InboxRow, said

#: A receipt as one record of a binary COPY of `COLUMNS` into the inbox.
PlainRow = NewType("PlainRow", bytes)

#: The columns that plain rows fill, in the order of their records.
COLUMNS = (
    "gateway_id", "verified", "received_at", "status", "status_text", "occurred_at", "fingerprint", "provider_message_id", "raw",
)  # fmt: skip
_NAMES = {"gateway", "provider_message_id", "status", "occurred_at"}
_ID_LENGTH = 64
_TIME_LENGTH = 32
#: Their word → ours, and how the text begins that the fingerprint is made of. Failures have a key to find: not plain.
_PLAIN = {
    word: (outcome.value, said(outcome, word, None, None, None, {}, None, None).partition("\0None\0{}")[0])
    for word, outcome in OUTCOMES.items()
    if outcome in (Outcome.ACCEPTED, Outcome.SENT, Outcome.RECEIVED)
}
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END = b"\xff\xff"
#: Each value of a record comes with its length before it.
_HEAD = Struct("!hiiibiq")  # how many values; gateway_id, verified, received_at
_LENGTH = Struct("!i")
_LENGTHS = tuple(map(_LENGTH.pack, range(_ID_LENGTH + 1)))
_NUMBERS = Struct("!iqiq")  # occurred_at, fingerprint


class Heads(dict[str, bytes]):
    """How the records of each gateway begin at one moment, `received_at`. A `KeyError`: its rows are not plain."""

    def __init__(self, gateway_of: Callable[[str], Gateway | None], received_at: datetime) -> None:
        super().__init__()
        self._gateway_of = gateway_of
        self._at = _microseconds(received_at)

    def __missing__(self, key: str) -> bytes:
        gateway = self._gateway_of(key)
        if gateway is None or gateway.options.receipt_id_format != "as_is":
            raise KeyError(key)
        head = _HEAD.pack(len(COLUMNS), 4, gateway.id, 1, True, 8, self._at)
        self[key] = head
        return head


def plain_row(line: bytes, heads: Heads) -> PlainRow | None:
    """The record of one line of NDJSON; None when it is not plain, for whatever reason."""
    try:
        row = orjson.loads(line)
        if len(row) != 4 or row.keys() != _NAMES:
            return None
        message_id = row["provider_message_id"]
        size = len(message_id)
        if not 0 < size <= _ID_LENGTH or not (message_id.isascii() and message_id.isprintable()) or " " in message_id:
            return None
        at = row["occurred_at"]
        what = _said(row["status"], at) if len(at) <= _TIME_LENGTH else None  # what is remembered is short
        if what is None:
            return None
        head = heads[row["gateway"]]
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return PlainRow(b"".join((head, what, _LENGTHS[size], message_id.encode(), _LENGTH.pack(len(line)), line)))


@lru_cache(maxsize=4_096)  # rows of one upload are often of the same seconds
def _said(word: str, at: str) -> bytes | None:
    """What a record says of status and time, with their fingerprint; None or an error when they are not plain."""
    outcome, begin = _PLAIN[word]
    occurred_at = rfc3339(at) if at.endswith("Z") else None
    if occurred_at is None or occurred_at.year not in YEARS:
        return None
    text = f"{begin}\0{occurred_at.timestamp()}\0{{}}\0None\0None"
    fingerprint = int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)
    words = b"".join(_LENGTH.pack(len(each)) + each for each in (outcome.encode(), word.encode()))
    return words + _NUMBERS.pack(8, _microseconds(occurred_at), 8, fingerprint)


async def copied(rows: Iterable[PlainRow]) -> AsyncIterator[bytes]:
    """All that a binary COPY of `COLUMNS` sends for `rows`."""
    yield b"".join((_SIGNATURE, *rows, _END))


def whole(row: PlainRow) -> InboxRow:
    """`row` with its fields: for the spool and the shelf, which are seldom needed."""
    fields: dict[str, Any] = dict.fromkeys(InboxRow._fields)
    for name, value in zip(COLUMNS, _values(row), strict=True):
        fields[name] = _READ.get(name, bytes.decode)(value)
    return InboxRow(**fields)


def _values(record: bytes) -> Iterator[bytes]:
    at = 2
    while at < len(record):
        (size,) = _LENGTH.unpack_from(record, at)
        yield record[at + 4 : at + 4 + size]
        at += 4 + size


def _number(value: bytes) -> int:
    return int.from_bytes(value, "big", signed=True)


def _time(value: bytes) -> datetime:
    return _EPOCH + _MICROSECOND * _number(value)


def _microseconds(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND


_READ: Mapping[str, Callable[[bytes], Any]] = {
    "gateway_id": _number,
    "verified": lambda value: value == b"\1",
    "received_at": _time,
    "occurred_at": _time,
    "fingerprint": _number,
    "raw": bytes,
}
