"""The worker: claims batches of receipts and applies each in one transaction, for ever.

Any number of workers may run, here and on other hosts; `SKIP LOCKED` shares the work. A crash before the commit puts a
batch back, harmlessly. What becomes of a batch that raises: app/ingest/drain.py. Replies from phones and clicks are
applied in between, each kind for itself: what holds up one does not hold up another.
"""

import asyncio
import time
from collections.abc import Sequence

from app import metrics
from app.db import Pool
from app.ingest import pipeline
from app.ingest.clicks import Clicks
from app.ingest.drain import Drain, TableDrain
from app.ingest.kinds import PROBE, new_id, trying
from app.ingest.replies import Replies
from app.logs import log

#: Between two batches that were not full: waiting a little makes the next one larger, and so cheaper a receipt.
_PAUSE_SECONDS = 0.08
#: While receipts keep coming the worker rests as long as it worked, up to this: gateways wait for answers, nobody waits
#: for the worker, and what it leaves it catches up as soon as the burst is over.
_LONGEST_REST_SECONDS = 0.25
#: Longest sleep with nothing to do: receipts that other processes took in are seen after it.
_IDLE_SECONDS = 0.5


class Receipts:
    """Applies receipts batch by batch. One that cannot be applied does not cost its neighbours."""

    def __init__(self, pool: Pool, *, batch: int) -> None:
        self._pool = pool
        drain = Drain[int](
            kind="receipt", apply=self._apply, alike=self._alike, anything=self._anything, rehearse=self._rehearse,
            set_aside=self._set_aside,
        )  # fmt: skip
        self._drain = TableDrain(pool=pool, limit=batch, drain=drain, take=self._take, oldest=self._oldest)

    async def step(self) -> int:
        """Applies one batch; returns how many receipts it took."""
        began = time.perf_counter()
        taken = await self._drain.step()
        if taken:
            metrics.apply_batch_seconds.observe(time.perf_counter() - began)
            metrics.applied_total.inc(taken)
        return taken

    async def _take(self, limit: int, without: Sequence[int]) -> int:
        async with self._pool.acquire() as connection, connection.transaction():
            return await pipeline.apply(connection, limit=limit, without=without)

    async def _oldest(self, limit: int, without: Sequence[int]) -> Sequence[int]:
        return [row["id"] for row in await self._pool.fetch(pipeline.QUERIES["oldest_ids"], limit, without)]

    async def _apply(self, ids: Sequence[int]) -> int:
        async with self._pool.acquire() as connection, connection.transaction():
            return await pipeline.apply(connection, only=ids)

    async def _alike(self, id: int) -> None:
        async with trying(self._pool) as connection:
            made = await connection.fetchval(pipeline.QUERIES["receipt_alike"], id, PROBE)
            await pipeline.apply(connection, only=[made])

    async def _anything(self, id: int) -> None:
        async with trying(self._pool) as connection:
            made = await connection.fetchval(pipeline.QUERIES["receipt_of_another"], PROBE)
            await pipeline.apply(connection, only=[made])

    async def _rehearse(self, id: int) -> None:
        async with trying(self._pool) as connection:
            await pipeline.apply(connection, only=[id])

    async def _set_aside(self, id: int, error: Exception) -> None:
        """The reason names the error's kind only: its text could hold an address."""
        reason = f"This receipt could not be applied: {type(error).__name__}."
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(pipeline.QUERIES["set_aside"], id, new_id(), reason)


class Worker:
    def __init__(self, pool: Pool, arrived: asyncio.Event, *, batch: int) -> None:
        self._arrived = arrived
        self._batch = batch
        self._receipts = Receipts(pool, batch=batch)
        self._replies = Replies(pool)
        self._clicks = Clicks(pool, batch=batch)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            began = time.perf_counter()
            self._arrived.clear()
            try:
                taken = await self.step()
            except Exception:
                log.exception("worker.failed")
                await asyncio.sleep(_IDLE_SECONDS)
                continue
            if not taken:
                await self._wait()
            elif self._arrived.is_set():
                await asyncio.sleep(min(max(time.perf_counter() - began, _PAUSE_SECONDS), _LONGEST_REST_SECONDS))
            elif taken < self._batch:
                await asyncio.sleep(_PAUSE_SECONDS)

    async def step(self) -> int:
        """Applies one batch; returns how many replies, clicks and receipts it took, 0 when there were none. Replies
        come first: receipts that cannot be applied must not keep a STOP from being heard."""
        return await self._replies.step() + await self._clicks.step() + await self._receipts.step()

    async def _wait(self) -> None:
        try:
            await asyncio.wait_for(self._arrived.wait(), _IDLE_SECONDS)
        except TimeoutError:
            return
