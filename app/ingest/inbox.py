"""The door of the inbox: rows are durable when it answers, in the database or, while that is away, on the local spool.

Receipts and replies wait in one group commit (`put`), clicks in another (`offer`), so that neither takes the other's place:
who clicks does not wait for long, and is never told to come back.

When a commit fails, experiment tells whose fault it is (`drain.py`): one row is set aside, or a table is *away*, and then
its rows go to the spool until it takes rows again (`outage.py`).
"""

import asyncio
import time
from collections.abc import Sequence

from starlette.requests import HTTPConnection

from app import metrics
from app.db import Pool, is_away
from app.errors import Busy
from app.ingest.drain import Drain
from app.ingest.group_commit import GroupCommit
from app.ingest.kinds import Row, kind_of, like, pack, refusal, set_aside
from app.ingest.outage import Outage
from app.ingest.rows import Shelved
from app.ingest.spool import Spool, SpoolFull
from app.ingest.spooled import bring_all
from app.ingest.store import append
from app.links.clicks import ClickRow
from app.logs import log
from app.settings import Settings
from app.tasks import ended

_PROBE_SECONDS = 0.25
_ADOPT_SECONDS = 5.0
_LOOK_SECONDS = 1.0


class Inbox:
    def __init__(self, pool: Pool, spool: Spool, settings: Settings) -> None:
        self._pool = pool
        self._spool = spool
        self._settings = settings
        room = {"most_rows": settings.inbox_queue, "batch": settings.inbox_batch}
        self._receipts = GroupCommit(self._make_durable, _told, **room)
        self._clicks = GroupCommit(self._make_durable, _lost, **room)
        self._watch: asyncio.Task[None] | None = None
        self._commits: set[asyncio.Task[None]] = set()
        #: Set whenever rows reached the database; the worker waits for it.
        self.arrived = asyncio.Event()
        self.outage = Outage(pool, spool)
        self._bringing = asyncio.Lock()

    async def start(self) -> None:
        self._receipts.start()
        self._clicks.start()
        self._watch = asyncio.create_task(self._drain_for_ever())

    async def stop(self) -> None:
        """Makes everything that waits durable, then ends."""
        await asyncio.gather(self._receipts.stop(), self._clicks.stop())
        await ended(self._watch)
        await self._spool.close()

    @property
    def queued(self) -> int:
        return self._receipts.rows + self._clicks.rows

    @property
    def spooled(self) -> int:
        return self._spool.rows

    def spool_usable(self) -> bool:
        return self._spool.usable()

    @property
    def away(self) -> bool:
        """The database, or a table that takes what comes, was away at the last try: that goes to the spool."""
        return bool(self.outage.tables)

    async def put(self, rows: Sequence[Row]) -> None:
        """Returns once `rows` are durable, all of them. Raises `Busy` when the queue or the spool is full."""
        if not rows:
            return
        done = self._receipts.add(rows)
        if done is None:
            raise Busy("Too many receipts are waiting to be stored; send this again.", retry_after=1)
        await done

    def offer(self, row: ClickRow) -> asyncio.Future[None] | None:
        """Done once `row` is durable, or lost; who does not wait for it leaves it to become so. None when the queue is
        full: then the click is lost, and counted as such."""
        done = self._clicks.add((row,))
        if done is None:
            metrics.clicks_lost_total.inc()
        return done

    # --- made durable ------------------------------------------------------------------------------------------------

    async def _make_durable(self, rows: Sequence[Row]) -> None:
        """Commits what gathered meanwhile, of many requests, in one go; to the spool when the database is away."""
        if not self.outage.tables:
            began = time.perf_counter()
            try:
                await self._commit_in_time(rows)
            except Exception as error:
                await self._each_kind(rows, error)
            else:
                metrics.inbox_commit_seconds.observe(time.perf_counter() - began)
                self.arrived.set()
            return
        await self._each_kind(rows, None)

    async def _each_kind(self, rows: Sequence[Row], error: Exception | None) -> None:
        """Makes rows durable table by table: what is the matter with one is not with another. `error`: they failed
        together."""
        tables: dict[str, list[Row]] = {}
        for row in rows:
            tables.setdefault(kind_of(row).table, []).append(row)
        for table, some in tables.items():
            if table in self.outage.tables:
                await self._to_spool(table, some)
            else:
                await self._one_kind(table, some, error if len(tables) == 1 else None)

    async def _one_kind(self, table: str, rows: Sequence[Row], error: Exception | None) -> None:
        if error is None:
            try:
                await self._commit_in_time(rows)
                self.arrived.set()
                return
            except Exception as found:
                error = found
        waiting: Sequence[Row] = rows
        if not is_away(error):
            log.warning("inbox.batch_refused", rows=len(rows), error=type(error).__name__)
            drain = self._drain()
            waiting = await drain.isolate(rows, error)
            self.arrived.set()
            error = drain.trouble or error
        if waiting:
            if is_away(error):
                await self.outage.begins(table, error)
            await self._to_spool(table, waiting)

    def _drain(self) -> Drain[Row]:
        """The experiment. What cannot be decided within a moment waits in the spool, and is there."""

        async def shelve(item: Row, error: Exception) -> Shelved:
            dead = set_aside(item, refusal(error))
            await self._commit_in_time([dead])
            return dead.kind

        async def alike(item: Row) -> None:
            await self.outage.tries(like(item))

        return Drain(
            apply=self._commit_in_time, alike=alike, anything=alike, rehearse=self.outage.tries, set_aside=shelve
        )

    async def _to_spool(self, table: str, rows: Sequence[Row]) -> None:
        await self._spool.append([pack(row) for row in rows], table)
        metrics.spool_rows.set(self._spool.rows)

    async def _commit_in_time(self, rows: Sequence[Row]) -> None:
        """Raises `TimeoutError` on the dot, even when a hung server keeps the cancelled COPY from ending. Should that
        COPY be committed after all, its rows come a second time through the spool, as repeats that change nothing."""
        commit = asyncio.create_task(self._commit(rows))
        self._commits.add(commit)
        commit.add_done_callback(self._commits.discard)
        await asyncio.wait({commit}, timeout=self._settings.commit_timeout_seconds)
        if not commit.done():
            commit.add_done_callback(lambda late: late.cancelled() or late.exception())
            commit.cancel()
            raise TimeoutError
        commit.result()

    async def _commit(self, rows: Sequence[Row]) -> None:
        async with self._pool.acquire() as connection:
            await append(connection, rows)

    # --- the database away, and back ---------------------------------------------------------------------------------

    async def _drain_for_ever(self) -> None:
        """Watches for the database's return, then brings it what the spools hold, this process's and dead ones'."""
        adopt_at = look_at = 0.0
        while True:
            try:
                if self.away or time.monotonic() >= look_at:
                    await self.outage.look()
                    await self._spool.look_again()
                    look_at = time.monotonic() + _LOOK_SECONDS
                if time.monotonic() >= adopt_at:
                    await self._spool.adopt()
                    adopt_at = time.monotonic() + _ADOPT_SECONDS
                await self.drain()
            except Exception as error:
                if is_away(error):
                    await self.outage.begins(None, error)
                else:
                    log.exception("spool.drain_failed")
            await asyncio.sleep(_PROBE_SECONDS)

    async def drain(self) -> None:
        """Brings all spooled rows to the inbox, each once however often this is interrupted."""
        async with self._bringing:
            if await bring_all(self._pool, self._spool, self.outage, limit=self._settings.inbox_batch):
                self.arrived.set()
        metrics.spool_rows.set(self._spool.rows)


def _told(error: Exception, _: int) -> Exception:
    if isinstance(error, SpoolFull):
        log.error("spool.full", reason=str(error))
        return Busy("The database is away and the local spool is full; send this again.", retry_after=30)
    return error


def _lost(error: Exception, clicks: int) -> None:
    """Who clicked has gone on already, or goes on all the same."""
    _told(error, clicks)
    metrics.clicks_lost_total.inc(clicks)


def inbox_of(connection: HTTPConnection) -> Inbox:
    found: Inbox = connection.app.state.inbox
    return found
