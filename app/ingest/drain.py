"""Whose fault it is, found by experiment: one way to isolate what is to blame, for all that is brought or applied.

An error's SQLSTATE says whom to suspect first (`db.suspect`), and no more. What fails alone, several times, while its like
commits beside it, is to blame, and set aside whole. What strikes its like too is the database's state, or a fault of our
own that strikes everybody: then it waits, and everything that is not struck goes on. What waits never holds up what is
behind it, and nothing good is set aside.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import asyncpg

from app import metrics
from app.db import Pool, is_away, is_of_objects, renew, sqlstate, suspect
from app.ingest.rows import Shelved
from app.logs import log

ItemT = TypeVar("ItemT")

#: How often something must fail alone, its like committing in between each time, before it is to blame.
TRIES = 3
_PAUSE_SECONDS = 0.02
#: What looks like the database's state is tried alone for so long before it is to blame: a lock on one message ends.
_PATIENCE_SECONDS = 3.0
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.5, 30.0
#: How long a table is left alone after it failed for everybody.
_REST_SECONDS = 0.5
#: What we think of ourselves may be refused for a reason of its own: then so many neighbours are tried.
_MOST_REHEARSED = 5
#: Passed over at the same time; more than that are no exceptions.
_MOST_WAITING = 5_000
#: Somebody else was in the way: the same is tried again, at once, so often.
_IN_THE_WAY = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError, asyncpg.LockNotAvailableError)
_TRIES_IN_THE_WAY = 3


@dataclass(kw_only=True)
class Drain(Generic[ItemT]):
    """Finds what is to blame among items that failed together.

    `apply` takes items in one transaction of its own; `alike` tries the like of one: same keys, same kind, harmless, and
    takes it back; `anything` tries what has nothing to do with it, but takes the same way; `rehearse` applies a neighbour
    and takes it back. `set_aside` keeps one whole."""

    kind: Shelved
    apply: Callable[[Sequence[ItemT]], Awaitable[object]]
    alike: Callable[[ItemT], Awaitable[object]]
    anything: Callable[[ItemT], Awaitable[object]]
    rehearse: Callable[[ItemT], Awaitable[object]]
    set_aside: Callable[[ItemT, Exception], Awaitable[object]]
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
            await self.set_aside(item, error)
        except Exception as struck:
            log.error("poison.not_set_aside", kind=self.kind, error=type(struck).__name__)
            self.trouble = struck if is_away(struck) else None
            return False
        metrics.set_aside_total.labels(self.kind).inc()
        log.error("poison.set_aside", kind=self.kind, error=type(error).__name__)
        return True


@dataclass(slots=True)
class _Wait:
    since: float
    until: float = 0.0
    tries: int = 0


@dataclass(kw_only=True)
class TableDrain:
    """Applies what waits in a table, by id, oldest first. An id that has to wait is passed over for a while."""

    pool: Pool
    limit: int
    drain: Drain[int]
    #: `(limit, without)`: applies the oldest but those of `without`; how many it took.
    take: Callable[[int, Sequence[int]], Awaitable[int]]
    #: `(limit, without)`: which ids `take` would take.
    oldest: Callable[[int, Sequence[int]], Awaitable[Sequence[int]]]
    _waiting: dict[int, _Wait] = field(default_factory=dict, init=False)
    _rests_until: float = field(default=0.0, init=False)
    _in_the_way: int = field(default=0, init=False)
    _struck: str | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.drain.long_enough = self._long_enough

    async def step(self) -> int:
        """Applies one batch; returns how many it took. Never raises for what the database or an item is to blame for."""
        now = time.monotonic()
        if now < self._rests_until:
            return 0
        due = [id for id, wait in self._waiting.items() if wait.until <= now]
        without = [id for id, wait in self._waiting.items() if wait.until > now]
        try:
            taken = await self.take(self.limit, without)
        except Exception as error:
            try:
                return await self._failed(error, without)
            except Exception as another:
                return await self._rest(another)
        self._in_the_way = 0
        for id in due:
            del self._waiting[id]
        self._well()
        return taken

    async def _failed(self, error: Exception, without: Sequence[int]) -> int:
        if isinstance(error, _IN_THE_WAY) and self._in_the_way < _TRIES_IN_THE_WAY:
            self._in_the_way += 1
            log.info("drain.retry", kind=self.drain.kind, error=type(error).__name__)
            return 1
        self._in_the_way = 0
        await renew(self.pool, error)
        ids = await self.oldest(self.limit, without)
        if not ids:
            return await self._rest(error)
        if suspect(error) != "database":
            log.error("drain.batch_failed", kind=self.drain.kind, items=len(ids), error=type(error).__name__)
        waiting = await self.drain.isolate(ids, error)
        for id in set(ids) - set(waiting):
            self._waiting.pop(id, None)
        if self.drain.trouble is not None or len(self._waiting) + len(waiting) > _MOST_WAITING:
            return await self._rest(self.drain.trouble or error)
        self._pass_over(waiting, error)
        self._well()
        return len(ids)

    def _pass_over(self, ids: Sequence[int], error: Exception) -> None:
        now = time.monotonic()
        fresh = 0
        for id in ids:
            fresh += id not in self._waiting
            wait = self._waiting.setdefault(id, _Wait(now))
            wait.until = now + min(_FIRST_WAIT_SECONDS * 2**wait.tries, _LONGEST_WAIT_SECONDS)
            wait.tries += 1
        if fresh:
            log.warning("drain.passed_over", kind=self.drain.kind, items=fresh, error=type(error).__name__)

    def _long_enough(self, id: int) -> bool:
        wait = self._waiting.get(id)
        return wait is not None and wait.tries >= TRIES and time.monotonic() - wait.since >= _PATIENCE_SECONDS

    async def _rest(self, error: Exception) -> int:
        """The database's state, or a fault of ours that strikes everybody: it is said once, and tried again and again."""
        await renew(self.pool, error)
        self._rests_until = time.monotonic() + _REST_SECONDS
        what = sqlstate(error) or type(error).__name__
        if what != self._struck:
            self._struck = what
            ours = None if is_away(error) else error
            log.error("drain.waits", kind=self.drain.kind, error=type(error).__name__, sqlstate=what, exc_info=ours)
        return 0

    def _well(self) -> None:
        if self._struck is not None:
            log.info("drain.goes_on", kind=self.drain.kind)
            self._struck = None
