"""Who read whole numbers: in the platform's journal, and never in the way of an answer.

Pages are counted in memory, and one entry stands for each key, operation and hour once that hour is over, or the process stops.
A stream has an entry of its own, also one that broke off. Both are written behind; while the database is away they wait, and
beyond some thousands they are added up. Each process tells of itself.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.requests import HTTPConnection

from app import audit
from app.db import POOL_TIMEOUT_SECONDS, Pool
from app.logs import log
from app.tasks import ended

CODE = "PII-READ"
#: How often it is looked whether an hour is over.
FLUSH_SECONDS = 20.0
#: Entries that wait at the most.
MOST_WAITING = 5_000
_HOUR = timedelta(hours=1)
#: Stands for operations that there was no room to tell apart.
_OTHERS = "others"


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """One entry: what `key` read by `operation` (method and route), from `begin` on. `ended`: of a stream, whether it did
    or broke off; None: pages of an hour."""

    key: str
    operation: str
    begin: datetime
    ended: bool | None = None

    @property
    def export(self) -> bool:
        return self.ended is not None


class Disclosures:
    """What was read and is not in the journal yet. `start` and `stop` belong to the life of the process."""

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now
        self._waiting: Counter[Read] = Counter()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def add(self, key: str, operation: str, rows: int) -> None:
        """Rows of a page."""
        hour = self._now().replace(minute=0, second=0, microsecond=0)
        self._keep(Read(key=key, operation=operation, begin=hour), rows)

    def exported(self, key: str, operation: str, begin: datetime, rows: int, *, ended: bool) -> None:
        """Rows of a stream that began at `begin`. It is written soon."""
        if rows:
            self._keep(Read(key=key, operation=operation, begin=begin, ended=ended), rows)
            self._wake.set()

    def _keep(self, read: Read, rows: int) -> None:
        if read not in self._waiting and len(self._waiting) >= MOST_WAITING:
            hour = read.begin.replace(minute=0, second=0, microsecond=0)
            read = Read(key=read.key, operation=_OTHERS, begin=hour)
            if read not in self._waiting and len(self._waiting) >= 2 * MOST_WAITING:
                read = Read(key=_OTHERS, operation=_OTHERS, begin=hour)
        self._waiting[read] += rows

    def start(self, pool: Pool) -> None:
        self._task = asyncio.create_task(self._flushing(pool))

    async def stop(self, pool: Pool) -> None:
        """Writes what there is, the hour that is not over included; what cannot be written now is said in the log."""
        await ended(self._task)
        await self.flush(pool, everything=True)
        if self._waiting:
            log.warning("disclosures.lost", entries=len(self._waiting), rows=self._waiting.total())

    async def _flushing(self, pool: Pool) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), FLUSH_SECONDS)
            self._wake.clear()
            await self.flush(pool)

    async def flush(self, pool: Pool, *, everything: bool = False) -> None:
        """Writes streams, and the pages of hours that are over; `everything`: of this hour, too. Raises nothing: what cannot be
        written waits for the next time."""
        over = self._now() - _HOUR
        due = {read: rows for read, rows in self._waiting.items() if everything or read.export or read.begin <= over}
        if not due:
            return
        try:
            async with pool.acquire(timeout=POOL_TIMEOUT_SECONDS) as connection, connection.transaction():
                for read, rows in due.items():
                    await audit.append(
                        connection, audit.PLATFORM, CODE, _sentence(read, rows), at=self._now(), actor=read.key,
                        data=_data(read, rows),
                    )  # fmt: skip
        except Exception as error:
            log.warning("disclosures.not_noted", error=type(error).__name__, entries=len(due))
            return
        for read, rows in due.items():
            self._waiting[read] -= rows  # more may have come meanwhile
            if not self._waiting[read]:
                del self._waiting[read]


def _sentence(read: Read, rows: int) -> str:
    if not read.export:
        return f"Whole numbers were read in the hour from {read.begin:%Y-%m-%dT%H:%MZ} on: {rows} rows."
    return f"Whole numbers were given out as a stream{'' if read.ended else ', which broke off'}: {rows} rows."


def _data(read: Read, rows: int) -> dict[str, Any]:
    data = {"operation": read.operation, "rows": rows, "since": read.begin.isoformat(), "export": read.export}
    return data | ({"ending": "complete" if read.ended else "broken_off"} if read.export else {})


class Given:
    """What one request gives out whole. Counts for its key and operation at once; as a stream, when that ends."""

    __slots__ = ("_begin", "_disclosures", "_key", "_operation", "_rows")

    def __init__(self, disclosures: Disclosures, key: str, operation: str) -> None:
        self._disclosures, self._key, self._operation = disclosures, key, operation
        self._begin: datetime | None = None
        self._rows = 0

    def count(self, rows: int = 1) -> None:
        if self._begin is None:
            self._disclosures.add(self._key, self._operation, rows)
        else:
            self._rows += rows

    def begin_stream(self) -> None:
        self._begin = datetime.now(UTC)

    def end_stream(self, *, ended: bool) -> None:
        if self._begin is not None:
            self._disclosures.exported(self._key, self._operation, self._begin, self._rows, ended=ended)


def disclosures_of(connection: HTTPConnection) -> Disclosures:
    found: Disclosures = connection.app.state.disclosures
    return found
