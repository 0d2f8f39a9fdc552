"""The background job that prepares deliveries, and starts those whose time has come. Any number of processes run one; each
delivery is taken up by one of them.

A preparation that breaks off, whatever the reason, goes on where it stood: in another process, after a restart, or here
a little later. Only one that fails at the same place again and again, with the database in order, is given up.
"""

import asyncio
import contextlib
from datetime import UTC, datetime

import asyncpg
from starlette.requests import HTTPConnection

from app import audit
from app.db import POOL_SIZES, Pool, create_pool, is_away, renew
from app.deliveries import codes
from app.deliveries.preparation import POOL_SETTINGS, QUERIES, Stopped, prepare
from app.deliveries.starting import Limits, start_due
from app.links.shortening import Links
from app.logs import log
from app.tasks import ended

#: Deliveries prepared at the same time by one process; each takes a connection, and of the rest one while it reads ahead.
_AT_ONCE = 2
#: How often it looks for what another process asked for, or left behind.
_LOOK_SECONDS = 2.0
_LONGEST_PAUSE_SECONDS = 30.0
#: Failures at one place, one after the other, until it is given up.
_TRIES = 3
#: Somebody else was faster or in the way; that passes.
_TRANSIENT = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
)


class Preparer:
    """Opens no connection before it is asked, like all that runs beside the requests."""

    def __init__(self, database_url: str, links: Links, limits: Limits) -> None:
        self._url = database_url
        self._links = links
        self._limits = limits
        self._pool: Pool
        self._looking: asyncio.Task[None] | None = None
        self._under_way: dict[int, asyncio.Task[None]] = {}
        self._wanted = asyncio.Event()

    async def start(self) -> None:
        self._pool = await create_pool(self._url, name="preparer", size=POOL_SIZES["preparer"], settings=POOL_SETTINGS)
        self._looking = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """What is under way is left as it stands; the next start goes on with it."""
        await ended(self._looking, *self._under_way.values())
        try:
            await asyncio.wait_for(self._pool.close(), 5)
        except TimeoutError:
            self._pool.terminate()

    def wake(self) -> None:
        """Something is to be prepared: do not wait for the next look."""
        self._wanted.set()

    async def _run(self) -> None:
        while True:
            self._wanted.clear()
            try:
                await self._look()
            except Exception as error:
                await renew(self._pool, error)
                if not is_away(error):
                    log.exception("preparer.failed")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), _LOOK_SECONDS)

    async def _look(self) -> None:
        await start_due(self._pool, datetime.now(UTC), self._limits)
        async with self._pool.acquire() as connection:
            waiting = [row["id"] for row in await connection.fetch(QUERIES["list_waiting"])]
        for id in waiting:
            if id not in self._under_way and len(self._under_way) < _AT_ONCE:
                self._under_way[id] = asyncio.create_task(self._prepare(id))

    async def _prepare(self, id: int) -> None:
        try:
            await self._until_done(id)
        finally:
            del self._under_way[id]
            self._wanted.set()

    async def _until_done(self, id: int) -> None:
        failures, pause = 0, 0.5
        where: tuple[str, int] | None = None
        while True:
            try:
                await prepare(self._pool, id, self._links)
                return
            except Stopped:
                log.info("preparation.stopped", delivery_id=id)
                return
            except Exception as error:
                await renew(self._pool, error)
                if is_away(error) or isinstance(error, _TRANSIENT):
                    log.warning("preparation.interrupted", delivery_id=id, error=type(error).__name__)
                else:
                    log.exception("preparation.failed", delivery_id=id)
                    stands = await self._stands(id)
                    failures = failures + 1 if stands == where else 1
                    where = stands
                    if failures >= _TRIES and await self._give_up(id, error):
                        return
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    async def _stands(self, id: int) -> tuple[str, int] | None:
        """Step and target up to which it came; None when nobody can tell now."""
        with contextlib.suppress(Exception):
            async with self._pool.acquire() as connection:
                row = await connection.fetchrow(QUERIES["find_step"], id)
                return (row["step"], row["done"]) if row else None
        return None

    async def _give_up(self, id: int, error: Exception) -> bool:
        """The delivery has failed, for good. False when that could not be written, either."""
        now = datetime.now(UTC)
        try:
            async with self._pool.acquire() as connection, connection.transaction():
                if await connection.fetchval(QUERIES["fail_preparation"], id, now):
                    await audit.append(
                        connection, id, codes.PREPARATION_FAILED, f"The preparation failed: {type(error).__name__}.",
                        at=now, actor="system", level="error", data={"error": type(error).__name__},
                    )  # fmt: skip
        except Exception:
            log.exception("preparation.not_given_up", delivery_id=id)
            return False
        return True


def preparer_of(connection: HTTPConnection) -> Preparer:
    found: Preparer = connection.app.state.preparer
    return found
