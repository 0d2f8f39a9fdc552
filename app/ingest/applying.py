"""What waits in the inbox is applied: oldest first, one kind at a time, batch by batch, each in one transaction.

One that cannot be applied costs neither its neighbours nor the other kinds: it is passed over for a while, or set aside whole
(`drain.py` finds out which).
"""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from app.db import TRANSIENT, Connection, Pool, is_away, renew, sqlstate, suspect
from app.ingest import clicks, pipeline, probes, replies
from app.ingest.drain import TRIES, Drain, trying
from app.ingest.kinds import Kind, WholeRow, set_aside
from app.ingest.rows import Shelved
from app.ingest.store import append, claim, finish, last_place, read, waiting
from app.logs import log

#: What looks like the database's state is tried alone for so long before it is to blame: a lock on one message ends.
_PATIENCE_SECONDS = 3.0
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.5, 30.0
#: How long a kind is left alone after it failed for everybody.
_REST_SECONDS = 0.5
#: Passed over at the same time; more than that are no exceptions.
_MOST_WAITING = 5_000
#: Somebody else was in the way: the same is tried again, at once, so often.
_TRIES_IN_THE_WAY = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """How a kind is applied, and what is tried when that fails."""

    #: `(connection, limit, only, without)`: claims, applies and finishes; how many it took.
    apply: Callable[[Connection, int, Sequence[int] | None, Sequence[int]], Awaitable[int]]
    #: A row that has nothing to do with any that waits, and goes the same way; none where nothing can go it.
    another: Callable[[Connection], Awaitable[WholeRow | None]]


APPLIED: Mapping[Kind, Applied] = {
    "receipt": Applied(apply=pipeline.apply, another=probes.some_receipt),
    "reply": Applied(apply=replies.apply, another=probes.some_reply),
    "click": Applied(apply=clicks.apply, another=probes.some_click),
}


@dataclass(slots=True)
class _Wait:
    since: float
    until: float = 0.0
    tries: int = 0


class Applier:
    """Applies one kind. A place that has to wait is passed over for a while."""

    def __init__(self, kind: Kind, pool: Pool, limit: int) -> None:
        self._kind, self._pool, self._limit = kind, pool, limit
        self._how = APPLIED[kind]
        self._drain = Drain(
            apply=self._apply, alike=self._alike, anything=self._anything, rehearse=self._rehearse,
            set_aside=self._set_aside, long_enough=self._long_enough,
        )  # fmt: skip
        self._idle = True
        self._waiting: dict[int, _Wait] = {}
        self._rests_until = 0.0
        self._in_the_way = 0
        self._struck: str | None = None

    async def step(self) -> int:
        """Applies one batch; returns how many it took. Never raises for what the database or an item is to blame for."""
        now = time.monotonic()
        if now < self._rests_until:
            return 0
        due = [id for id, wait in self._waiting.items() if wait.until <= now]
        without = [id for id, wait in self._waiting.items() if wait.until > now]
        try:
            taken = await self._take(without)
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
        if isinstance(error, TRANSIENT) and self._in_the_way < _TRIES_IN_THE_WAY:
            self._in_the_way += 1
            log.info("drain.retry", kind=self._kind, error=type(error).__name__)
            return 1
        self._in_the_way = 0
        await renew(self._pool, error)
        ids = await waiting(self._pool, self._kind, self._limit, without)
        if not ids:
            return await self._rest(error)
        if suspect(error) != "database":
            log.error("drain.batch_failed", kind=self._kind, items=len(ids), error=type(error).__name__)
        left = await self._drain.isolate(ids, error)
        for id in set(ids) - set(left):
            self._waiting.pop(id, None)
        if self._drain.trouble is not None or len(self._waiting) + len(left) > _MOST_WAITING:
            return await self._rest(self._drain.trouble or error)
        self._pass_over(left, error)
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
            log.warning("drain.passed_over", kind=self._kind, items=fresh, error=type(error).__name__)

    def _long_enough(self, id: int) -> bool:
        wait = self._waiting.get(id)
        return wait is not None and wait.tries >= TRIES and time.monotonic() - wait.since >= _PATIENCE_SECONDS

    async def _rest(self, error: Exception) -> int:
        """The database's state, or a fault of ours that strikes everybody: it is said once, and tried again and again."""
        await renew(self._pool, error)
        self._rests_until = time.monotonic() + _REST_SECONDS
        what = sqlstate(error) or type(error).__name__
        if what != self._struck:
            self._struck = what
            ours = None if is_away(error) else error
            log.error("drain.waits", kind=self._kind, error=type(error).__name__, sqlstate=what, exc_info=ours)
        return 0

    def _well(self) -> None:
        if self._struck is not None:
            log.info("drain.goes_on", kind=self._kind)
            self._struck = None

    # --- in one transaction each -------------------------------------------------------------------------------------

    async def _take(self, without: Sequence[int]) -> int:
        """Looks first, when there was nothing the last time: that costs less than a claim in vain."""
        if self._idle and not await waiting(self._pool, self._kind, 1, without):
            return 0
        async with self._pool.acquire() as connection, connection.transaction():
            taken = await self._how.apply(connection, self._limit, None, without)
        self._idle = not taken
        return taken

    async def _apply(self, places: Sequence[int]) -> int:
        async with self._pool.acquire() as connection, connection.transaction():
            return await self._how.apply(connection, len(places), places, ())

    async def _rehearse(self, place: int) -> None:
        async with trying(self._pool) as connection:
            await self._how.apply(connection, 1, [place], ())

    async def _alike(self, place: int) -> None:
        async with trying(self._pool) as connection:
            row = await read(connection, self._kind, place)
            await self._try(connection, row and probes.like(row))

    async def _anything(self, place: int) -> None:
        async with trying(self._pool) as connection:
            await self._try(connection, await self._how.another(connection))

    async def _try(self, connection: Connection, row: WholeRow | None) -> None:
        if row is None:
            return
        await append(connection, [row])
        await self._how.apply(connection, 1, [await last_place(connection)], ())

    async def _set_aside(self, place: int, error: Exception) -> Shelved | None:
        """The reason names the error's kind only: its text could hold an address."""
        reason = f"This {self._kind} could not be applied: {type(error).__name__}."
        async with self._pool.acquire() as connection, connection.transaction():
            if not await claim(connection, self._kind, 1, only=[place]):
                return None
            row = await read(connection, self._kind, place)
            assert row is not None
            await append(connection, [set_aside(row, reason)])
            await finish(connection, self._kind, applied=False)
        return self._kind
