"""The durable inbox: group commit, and the spool when the database is away.

What waits for a few milliseconds goes to the database in one COPY, and each waiting request is answered after that
commit. The queue is bounded: a caller beyond it is told to come back. Clicks have a queue of their own (`offer`), so that
neither takes the other's place: who clicks does not wait for long, and is never told to come back. This is the seam where
a replicated log could take PostgreSQL's place: append (`put`, `offer`), claim and finish (`worker.py`).
"""

import asyncio
import contextlib
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app import metrics
from app.db import Connection, Pool, is_away
from app.errors import Busy
from app.ingest.plain import COLUMNS, PlainRow, copied, whole
from app.ingest.rows import InboundRow, InboxRow, RejectedRow, Shelved, pack, unpack
from app.ingest.spool import Spool, SpoolFile, SpoolFull
from app.links.clicks import ClickRow
from app.logs import log
from app.settings import Settings

Row = InboxRow | InboundRow | RejectedRow | PlainRow | ClickRow
Request = tuple[Sequence[Row], asyncio.Future[None]]
#: Of each queue: while one waits for its commit the other gathers.
_WRITERS = 2
_PROBE_SECONDS = 0.25
_ADOPT_SECONDS = 5.0
_LOOK_SECONDS = 1.0
#: A database that does not answer the simplest question for this long hangs.
_PATIENCE_SECONDS = 1.0


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
        #: The database could not be reached at the last try; what comes goes to the spool.
        self.away = False
        #: Set while the database refuses or does not answer at all; one commit that was slow does not set it.
        self.unreachable = asyncio.Event()

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
        return self._spool.writable()

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
        if not self.away:
            began = time.perf_counter()
            try:
                await self._commit_in_time(rows)
            except Exception as error:
                if not is_away(error):
                    return await self._one_by_one(rows, error)
                self._now_away(error)
            else:
                metrics.inbox_commit_seconds.observe(time.perf_counter() - began)
                self.arrived.set()
                return None
        await self._spool.append([pack(row if isinstance(row, ClickRow) else whole(row)) for row in rows])
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

    async def _one_by_one(self, rows: Sequence[Row], error: Exception) -> None:
        """A row that the database refuses must not cost its neighbours: it goes to the shelf, raw, with the reason."""
        if len(rows) > 1:
            log.warning("inbox.batch_refused", rows=len(rows), error=type(error).__name__)
            for row in rows:
                await self._make_durable([row])
            return
        (row,) = rows
        if kept := instead(row, error):
            await self._make_durable(kept)

    # --- the database away, and back ---------------------------------------------------------------------------------

    def _now_away(self, error: Exception) -> None:
        if not self.away:
            log.error("database.away", error=type(error).__name__)
        self.away = True
        if not isinstance(error, TimeoutError):
            self.unreachable.set()

    async def _drain_for_ever(self) -> None:
        """Watches for the database's return, then brings it what the spools hold, this process's and dead ones'."""
        adopt_at = look_at = 0.0
        while True:
            try:
                if self.away or time.monotonic() >= look_at:
                    await self._look()
                    look_at = time.monotonic() + _LOOK_SECONDS
                if not self.away:
                    if time.monotonic() >= adopt_at:
                        await self._spool.adopt()
                        adopt_at = time.monotonic() + _ADOPT_SECONDS
                    await self.drain()
            except Exception as error:
                if is_away(error):
                    self._now_away(error)
                else:
                    log.exception("spool.drain_failed")
            await asyncio.sleep(_PROBE_SECONDS)

    async def _look(self) -> None:
        """Asks the database whether it is there, also when no receipts come: requests of the API depend on it."""
        if not await self._reachable():
            self._now_away(ConnectionError())
        elif self.away:
            self.away = False
            self.unreachable.clear()
            log.info("database.back", spooled=self._spool.rows)

    async def _reachable(self) -> bool:
        try:
            async with self._pool.acquire(timeout=_PATIENCE_SECONDS) as connection:
                # A server that is in recovery or read-only takes connections, and no receipts.
                return not await connection.fetchval("SELECT pg_is_in_recovery()", timeout=_PATIENCE_SECONDS)
        except Exception as error:
            if is_away(error):
                return False
            raise

    async def drain(self) -> None:
        """Brings all spooled rows to the inbox, each once however often this is interrupted."""
        if not self._spool.rows:
            return
        for file in self._spool.files():
            while await self._drain_some(file):
                pass

    async def _drain_some(self, file: SpoolFile) -> bool:
        async with self._pool.acquire() as connection, connection.transaction():
            last = await connection.fetchval(
                "INSERT INTO spool_progress (spool_id, last_id) VALUES ($1, 0) "
                "ON CONFLICT (spool_id) DO UPDATE SET last_id = spool_progress.last_id RETURNING last_id",
                file.id,
            )
            found = await self._spool.read(file, last, self._settings.inbox_batch)
            if found:
                await bring(connection, [unpack(row) for _, row in found])
                last = found[-1][0]
                await connection.execute("UPDATE spool_progress SET last_id = $2 WHERE spool_id = $1", file.id, last)
        await self._spool.forget(file, last)
        metrics.spool_rows.set(self._spool.rows)
        if found:
            self.arrived.set()
        return bool(found) and file in self._spool.files()  # an adopted file is gone once it is empty


def new_id() -> str:
    """An id for a rejected body, known before it is stored, so that the sender can be told it."""
    return "rj_" + uuid.uuid4().hex


def instead(row: Row, error: Exception) -> Sequence[Row]:
    """What is kept of a row that the database does not take; of a click nothing: nobody could mend it, so it is lost."""
    if not isinstance(row, ClickRow):
        return [refused(row, error)]
    log.error("click.refused", error=type(error).__name__)
    metrics.clicks_lost_total.inc()
    return []


def refused(row: InboxRow | InboundRow | RejectedRow | PlainRow, error: Exception) -> RejectedRow:
    """A receipt that the database does not take, for the shelf: raw, with the reason. Raises `error` for what is one."""
    row = whole(row)
    if isinstance(row, RejectedRow):
        raise error
    reason = f"The database refused this receipt: {type(error).__name__}."
    kind: Shelved = "reply" if isinstance(row, InboundRow) else "receipt"
    return RejectedRow(new_id(), row.gateway_id, row.received_at, reason, {}, row.raw, kind)


async def bring(connection: Connection, rows: Sequence[Row]) -> None:
    """Appends `rows` within the caller's transaction; those that the database refuses go to the shelf, alone."""
    try:
        async with connection.transaction():
            await copy(connection, rows)
    except Exception as error:
        if is_away(error):
            raise
        if len(rows) == 1:
            if kept := instead(rows[0], error):
                await copy(connection, kept)
            return
        middle = len(rows) // 2
        await bring(connection, rows[:middle])
        await bring(connection, rows[middle:])


async def copy(connection: Connection, rows: Sequence[Row]) -> None:
    """Appends `rows`; commits by itself when the caller has no transaction open."""
    kinds = set(map(type, rows))
    if len(kinds) == 1:
        await _COPIES[kinds.pop()](connection, rows)
        return
    async with connection.transaction():
        for kind, append in _COPIES.items():
            if kind in kinds:
                await append(connection, [row for row in rows if type(row) is kind])


async def _copy_receipts(connection: Connection, rows: Sequence[InboxRow]) -> None:
    """Without the columns that no row fills, usually more than half of them: that takes half the time."""
    columns = dict(zip(InboxRow._fields, zip(*rows, strict=True), strict=True))
    filled = {name: values for name, values in columns.items() if values.count(None) < len(rows)}
    records = zip(*filled.values(), strict=True)
    await connection.copy_records_to_table("inbox", records=records, columns=list(filled))


async def _copy_plain(connection: Connection, rows: Sequence[PlainRow]) -> None:
    await connection.copy_to_table("inbox", source=copied(rows), columns=COLUMNS, format="binary")


async def _copy_inbound(connection: Connection, rows: Sequence[InboundRow]) -> None:
    await connection.copy_records_to_table("inbound", records=rows, columns=InboundRow._fields)


async def _copy_clicks(connection: Connection, rows: Sequence[ClickRow]) -> None:
    await connection.copy_records_to_table("click_inbox", records=rows, columns=ClickRow._fields)


async def _copy_rejected(connection: Connection, rows: Sequence[RejectedRow]) -> None:
    await connection.copy_records_to_table("rejected", records=rows, columns=RejectedRow._fields)


#: How each kind of row is appended.
_COPIES: Mapping[type, Callable[[Connection, Sequence[Any]], Awaitable[None]]] = {
    InboxRow: _copy_receipts,
    bytes: _copy_plain,
    InboundRow: _copy_inbound,
    RejectedRow: _copy_rejected,
    ClickRow: _copy_clicks,
}


def _told(error: Exception) -> Exception:
    if isinstance(error, SpoolFull):
        log.error("spool.full", reason=str(error))
        return Busy("The database is away and the local spool is full; send this again.", retry_after=30)
    return error
