"""The worker: claims batches of receipts and applies each in one transaction, for ever.

Any number of workers may run, here and on other hosts; `SKIP LOCKED` shares the work. A crash before the commit puts a
batch back, harmlessly. A batch that raises is taken apart, and the receipt to blame is set aside with its error.
Replies from phones and clicks are applied in between.
"""

import asyncio
import time

from app import metrics
from app.db import Pool, is_away
from app.ingest import pipeline
from app.ingest.clicks import Clicks
from app.ingest.inbox import new_id
from app.ingest.replies import Replies
from app.logs import log

#: Between two batches that were not full: waiting a little makes the next one larger, and so cheaper a receipt.
_PAUSE_SECONDS = 0.08
#: While receipts keep coming the worker rests as long as it worked, up to this: gateways wait for answers, nobody waits
#: for the worker, and what it leaves it catches up as soon as the burst is over.
_LONGEST_REST_SECONDS = 0.25
#: Longest sleep with nothing to do: receipts that other processes took in are seen after it.
_IDLE_SECONDS = 0.5
_AWAY_SECONDS = 0.5
#: How often a receipt that is alone in its batch must fail before it is to blame; a larger batch that fails whole is
#: tried a thousand times as often, for some hours.
_TRIES_ALONE = 3


class Worker:
    def __init__(self, pool: Pool, arrived: asyncio.Event, *, batch: int) -> None:
        self._pool = pool
        self._arrived = arrived
        self._batch = batch
        self._replies = Replies(pool)
        self._clicks = Clicks(pool, batch=batch)
        self._alone = 0  # how often in a row nothing of a batch could be applied

    async def run(self) -> None:
        """Until cancelled. Survives everything else: what it cannot apply it sets aside or tries again."""
        while True:
            began = time.perf_counter()
            self._arrived.clear()
            try:
                taken = await self.step()
            except Exception as error:
                if not is_away(error):
                    log.exception("worker.failed")
                await asyncio.sleep(_AWAY_SECONDS)
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
        return await self._replies.step() + await self._clicks.step() + await self._receipts()

    async def _receipts(self) -> int:
        began = time.perf_counter()
        try:
            taken = await self._apply()
        except pipeline.TRANSIENT as error:
            log.info("worker.retry", error=type(error).__name__)
            return 1
        except Exception as error:
            if is_away(error):
                raise
            return await self._take_apart(error)
        if taken:
            metrics.apply_batch_seconds.observe(time.perf_counter() - began)
            metrics.applied_total.inc(taken)
        return taken

    async def _apply(self, only: list[int] | None = None) -> int:
        async with self._pool.acquire() as connection, connection.transaction():
            return await pipeline.apply(connection, limit=self._batch, only=only)

    async def _take_apart(self, error: Exception) -> int:
        """Applies what can be applied of a batch that failed, and sets the rest aside.

        When nothing at all can be applied the receipts are hardly to blame (a schema from another version, a missing
        right): then they stay where they are, and the worker goes on trying."""
        log.error("worker.batch_failed", error=type(error).__name__)
        async with self._pool.acquire() as connection:
            ids = [row["id"] for row in await connection.fetch(pipeline.QUERIES["oldest_ids"], self._batch)]
        culprits = await self._culprits(ids, error)
        if len(culprits) == len(ids) and self._alone < _TRIES_ALONE * (1 if len(ids) == 1 else 1_000):
            self._alone += 1
            raise error
        self._alone = 0
        for receipt_id, cause in culprits:
            await self._set_aside(receipt_id, cause)
        return len(ids)

    async def _culprits(self, ids: list[int], error: Exception) -> list[tuple[int, Exception]]:
        """Applies all of `ids` but those that fail by themselves, which it returns with their errors."""
        if len(ids) <= 1:
            return [(id, error) for id in ids]
        found: list[tuple[int, Exception]] = []
        middle = len(ids) // 2
        for half in (ids[:middle], ids[middle:]):
            try:
                await self._retry(half)
            except Exception as cause:
                if is_away(cause):
                    raise
                found += await self._culprits(half, cause)
        return found

    async def _retry(self, ids: list[int]) -> None:
        for _ in range(5):
            try:
                await self._apply(ids)
            except pipeline.TRANSIENT:
                continue
            return

    async def _set_aside(self, receipt_id: int, error: Exception) -> None:
        """The reason names the error's kind only: its text could hold an address."""
        reason = f"This receipt could not be applied: {type(error).__name__}."
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(pipeline.QUERIES["set_aside"], receipt_id, new_id(), reason)
        metrics.poisoned_total.inc()
        log.error("receipt.set_aside", receipt_id=receipt_id, error=type(error).__name__)

    async def _wait(self) -> None:
        try:
            await asyncio.wait_for(self._arrived.wait(), _IDLE_SECONDS)
        except TimeoutError:
            return
