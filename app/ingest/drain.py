"""Whose fault it is, found by experiment: one way to isolate what is to blame, for all that is brought or applied.

An error's SQLSTATE says whom to suspect first (`db.suspect`), and no more. What fails alone, several times, while its like
commits beside it, is to blame, and set aside whole. What strikes its like too is the database's state, or a fault of our
own that strikes everybody: then it waits, and everything that is not struck goes on. What waits never holds up what is
behind it, and nothing good is set aside.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from app import metrics
from app.db import Connection, Pool, is_away, is_of_objects, sqlstate
from app.ingest.kinds import Row
from app.ingest.rows import Shelved
from app.ingest.store import append
from app.logs import log

ItemT = TypeVar("ItemT")

#: How often something must fail alone, its like committing in between each time, before it is to blame.
TRIES = 3
_PAUSE_SECONDS = 0.02
#: What we think of ourselves may be refused for a reason of its own: then so many neighbours are tried.
_MOST_REHEARSED = 5


class TakenBack(Exception):
    """Ends the inner transaction of an experiment."""


@asynccontextmanager
async def trying(pool: Pool) -> AsyncIterator[Connection]:
    """A connection whose work is taken back at the end of the block, within a transaction that commits."""
    async with pool.acquire() as connection, connection.transaction():
        with contextlib.suppress(TakenBack):
            async with connection.transaction():
                yield connection
                raise TakenBack


async def rehearse(pool: Pool, row: Row) -> None:
    """Appends `row` and takes it back."""
    async with trying(pool) as connection:
        await append(connection, [row])


@dataclass(kw_only=True)
class Drain(Generic[ItemT]):
    """Finds what is to blame among items that failed together.

    `apply` takes items in one transaction of its own; `alike` tries the like of one: same keys, same kind, harmless, and
    takes it back; `anything` tries what has nothing to do with it, but takes the same way; `rehearse` applies a neighbour
    and takes it back. `set_aside` keeps one whole, and says as what; None: it is gone."""

    apply: Callable[[Sequence[ItemT]], Awaitable[object]]
    alike: Callable[[ItemT], Awaitable[object]]
    anything: Callable[[ItemT], Awaitable[object]]
    rehearse: Callable[[ItemT], Awaitable[object]]
    set_aside: Callable[[ItemT, Exception], Awaitable[Shelved | None]]
    #: Items are taken strictly one after the other: behind one that waits all wait.
    in_order: bool = False
    #: Whether an item that looks like the database's fault has waited long enough to be to blame all the same.
    long_enough: Callable[[ItemT], bool] = field(default=lambda item: True)
    #: Why everything waits, after `isolate`; none: only what it returned waits, or nothing.
    trouble: Exception | None = field(default=None, init=False)
    _neighbours: bool = field(default=False, init=False)
    _items: Sequence[ItemT] = field(default=(), init=False)

    async def isolate(self, items: Sequence[ItemT], error: Exception) -> list[ItemT]:
        """Applies all of `items`, which failed together with `error`, but those that are to blame: they are set aside.
        Returns what has to wait."""
        self.trouble, self._neighbours, self._items = None, False, items
        waiting: list[ItemT] = []
        await self._part(items, error, waiting)
        return waiting

    async def _part(self, items: Sequence[ItemT], error: Exception, waiting: list[ItemT]) -> None:
        if await self._strikes_all(items[0], error) or (len(items) == 1 and not await self._judged(items[0], error)):
            waiting += items
        if len(items) == 1 or self.trouble is not None:
            return
        middle = len(items) // 2
        for half in (items[:middle], items[middle:]):
            if self.trouble is not None or (self.in_order and waiting):
                waiting += half
                continue
            try:
                await self.apply(half)
                self._neighbours = True
            except Exception as cause:
                await self._part(half, cause, waiting)

    async def _strikes_all(self, item: ItemT, error: Exception) -> bool:
        """Whether it is the database's state: it cannot be reached, or takes nothing else either."""
        if not is_away(error):
            return False
        if sqlstate(error) is None:
            self.trouble = error
            return True
        try:
            await self.anything(item)
        except Exception as struck:
            if is_away(struck):
                self.trouble = struck
                return True
        return False

    async def _judged(self, item: ItemT, error: Exception) -> bool:
        """Tries `item` alone, in turns with its like. True when it was applied, or set aside; else it waits."""
        for _ in range(TRIES):
            if not await self._others_commit(item, error):
                return False
            await asyncio.sleep(_PAUSE_SECONDS)
            try:
                await self.apply([item])
                self._neighbours = True
                return True
            except Exception as again:
                error = again
        if is_away(error) and not self.long_enough(item):
            return False
        return await self._is_set_aside(item, error)

    async def _others_commit(self, item: ItemT, error: Exception) -> bool:
        """Whether the like of `item` can be applied now. If it cannot, because its keys are what is wrong, it is enough
        that something else can; but not where the error may be about what others hold, or what is gone."""
        try:
            await self.alike(item)
            return True
        except Exception as struck:
            if is_away(struck) and sqlstate(struck) is None:
                self.trouble = struck
                return False
            if is_of_objects(error) or is_of_objects(struck):
                return False  # somebody holds what it needs, or it is the only one that needs what is not there
        if self._neighbours:
            return True
        beside = [each for each in self._items if each is not item][-_MOST_REHEARSED:]
        for trying, other in ((self.anything, item), *((self.rehearse, each) for each in beside)):
            try:
                await trying(other)
                return True
            except Exception:
                continue
        self.trouble = error  # it strikes whatever we try
        return False

    async def _is_set_aside(self, item: ItemT, error: Exception) -> bool:
        try:
            kind = await self.set_aside(item, error)
        except Exception as struck:
            log.error("poison.not_set_aside", error=type(struck).__name__)
            self.trouble = struck if is_away(struck) else None
            return False
        if kind is not None:
            metrics.set_aside_total.labels(kind).inc()
            log.error("poison.set_aside", kind=kind, error=type(error).__name__)
        return True
