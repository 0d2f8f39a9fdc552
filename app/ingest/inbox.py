"""The durable inbox: group commit, and the spool when the database is away.

What waits for a few milliseconds goes to the database in one COPY, and each waiting request is answered after that
commit. The queue is bounded: a caller beyond it is told to come back. Clicks have a queue of their own (`offer`), so that
neither takes the other's place: who clicks does not wait for long, and is never told to come back. This is the seam where
a replicated log could take PostgreSQL's place: append (`put`, `offer`), claim and finish (`worker.py`).

When a commit fails, experiment tells whose fault it is (`drain.py`): one row is set aside, or a table is *away*, and then
its rows go to the spool until it takes rows again (`outage.py`).
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from starlette.requests import HTTPConnection

from app import metrics
from app.db import Pool, is_away
from app.errors import Busy
from app.ingest.drain import Drain
from app.ingest.fast_rows import whole
from app.ingest.kinds import Row, copy, kind_of, new_id, refusal, rehearse, set_aside
from app.ingest.outage import Outage
from app.ingest.rows import pack
from app.ingest.spool import Spool, SpoolFull
from app.ingest.spooled import bring_all
from app.links.clicks import ClickRow
from app.logs import log
from app.settings import Settings

__all__ = ["Inbox", "Row", "copy", "new_id"]

Request = tuple[Sequence[Row], asyncio.Future[None]]
#: Of each queue: while one waits for its commit the other gathers.
_WRITERS = 2
_PROBE_SECONDS = 0.25
_ADOPT_SECONDS = 5.0
_LOOK_SECONDS = 1.0


@dataclass(slots=True)
class _Queue:
    """Requests that wait for the next group commit, and how many rows they have."""

    waiting: deque[Request] = field(default_factory=deque)
    rows: int = 0
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, request: Request) -> None:
        self.waiting.append(request)
        self.rows += len(request[0])
        self.wake.set()

    def take(self, limit: int) -> list[Request]:
        """Up to `limit` rows, and at least one request."""
        taken: list[Request] = []
        count = 0
        while self.waiting and (not taken or count + len(self.waiting[0][0]) <= limit):
            request = self.waiting.popleft()
            taken.append(request)
            count += len(request[0])
        self.rows -= count
        return taken


class Inbox:
    def __init__(self, pool: Pool, spool: Spool, settings: Settings) -> None:
        self._pool = pool
        self._spool = spool
        self._settings = settings
        self._receipts, self._clicks = _Queue(), _Queue()
        self._tasks: list[asyncio.Task[None]] = []
        self._commits: set[asyncio.Task[None]] = set()
        self._closing = False
        #: Set whenever rows reached the database; the worker waits for it.
        self.arrived = asyncio.Event()
        self.outage = Outage(pool, spool)
        self._bringing = asyncio.Lock()

    async def start(self) -> None:
        queues = [self._receipts, self._clicks] * _WRITERS
        self._tasks = [asyncio.create_task(self._write(queue)) for queue in queues]
        self._tasks.append(asyncio.create_task(self._drain_for_ever()))

    async def stop(self) -> None:
        """Makes everything that waits durable, then ends."""
        self._closing = True
        for queue in (self._receipts, self._clicks):
            queue.wake.set()
        *writers, drainer = self._tasks
        await asyncio.gather(*writers)
        drainer.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await drainer
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
        if self._closing or self._receipts.rows + len(rows) > max(self._settings.inbox_queue, len(rows)):
            raise Busy("Too many receipts are waiting to be stored; send this again.", retry_after=1)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._receipts.add((rows, done))
        await done

    def offer(self, row: ClickRow) -> asyncio.Future[None] | None:
        """Done once `row` is durable, or lost; who does not wait for it leaves it to become so. None when the queue is
        full: then the click is lost, and counted as such."""
        if self._closing or self._clicks.rows >= self._settings.inbox_queue:
            metrics.clicks_lost_total.inc()
            return None
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._clicks.add(((row,), done))
        return done

    # --- writers ---------------------------------------------------------------------------------------------------

    async def _write(self, queue: _Queue) -> None:
        while queue.waiting or not self._closing:
            if not queue.waiting:
                queue.wake.clear()
                await queue.wake.wait()
                continue
            requests = queue.take(self._settings.inbox_batch)
            try:
                await self._make_durable([row for rows, _ in requests for row in rows])
            except Exception as error:
                told = _told(error)
                if queue is self._clicks:
                    metrics.clicks_lost_total.inc(len(requests))
                self._answer(requests, None if queue is self._clicks else told)
            else:
                self._answer(requests, None)

    @staticmethod
    def _answer(requests: Iterable[Request], error: Exception | None) -> None:
        for _, done in requests:
            if done.done():  # the caller went away, or did not wait; its rows are durable all the same
                continue
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)

    async def _make_durable(self, rows: Sequence[Row]) -> None:
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
            drain = self._drain_of(rows[0])
            waiting = await drain.isolate(rows, error)
            self.arrived.set()
            error = drain.trouble or error
        if waiting:
            if is_away(error):
                await self.outage.begins(table, error)
            await self._to_spool(table, waiting)

    def _drain_of(self, row: Row) -> Drain[Row]:
        """The experiment for rows like `row`. What cannot be decided within a moment waits in the spool, and is there."""

        async def shelve(item: Row, error: Exception) -> None:
            await self._commit_in_time([set_aside(item, refusal(error))])

        return Drain(
            kind=kind_of(row).shelved, apply=self._commit_in_time, alike=self.outage.tries,
            anything=self.outage.tries, rehearse=self._rehearse, set_aside=shelve,
        )  # fmt: skip

    async def _rehearse(self, row: Row) -> None:
        await self.outage.tries(row, rehearse)

    async def _to_spool(self, table: str, rows: Sequence[Row]) -> None:
        await self._spool.append([pack(row if isinstance(row, ClickRow) else whole(row)) for row in rows], table)
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
            await copy(connection, rows)

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


def _told(error: Exception) -> Exception:
    if isinstance(error, SpoolFull):
        log.error("spool.full", reason=str(error))
        return Busy("The database is away and the local spool is full; send this again.", retry_after=30)
    return error


def inbox_of(connection: HTTPConnection) -> Inbox:
    found: Inbox = connection.app.state.inbox
    return found
