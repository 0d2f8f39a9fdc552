"""The worker: claims batches of receipts and applies each in one transaction, for ever.

Any number of workers may run, here and on other hosts; `SKIP LOCKED` shares the work. A crash before the commit leaves a
batch where it was. What becomes of a batch that raises: app/ingest/applying.py. Replies from phones and clicks are applied
in between, each kind for itself: what holds up one does not hold up another.
"""

import asyncio
import time

from app import metrics
from app.db import Pool
from app.ingest.applying import Applier
from app.logs import log

#: Replies of one batch.
_REPLIES = 500
#: Between two batches that were not full: waiting a little makes the next one larger, and so cheaper a receipt.
_PAUSE_SECONDS = 0.08
#: While receipts keep coming the worker rests as long as it worked, up to this: gateways wait for answers, nobody waits
#: for the worker, and what it leaves it catches up as soon as the burst is over.
_LONGEST_REST_SECONDS = 0.25
#: Longest sleep with nothing to do: receipts that other processes took in are seen after it.
_IDLE_SECONDS = 0.5


class Worker:
    def __init__(self, pool: Pool, arrived: asyncio.Event, *, batch: int) -> None:
        self._arrived = arrived
        self._batch = batch
        self._receipts = Applier("receipt", pool, batch)
        self._replies = Applier("reply", pool, _REPLIES)
        self._clicks = Applier("click", pool, batch)

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
        replies, clicks = await self._replies.step(), await self._clicks.step()
        metrics.clicks_applied_total.inc(clicks)
        began = time.perf_counter()
        receipts = await self._receipts.step()
        if receipts:
            metrics.apply_batch_seconds.observe(time.perf_counter() - began)
            metrics.applied_total.inc(receipts)
        return replies + clicks + receipts

    async def _wait(self) -> None:
        try:
            await asyncio.wait_for(self._arrived.wait(), _IDLE_SECONDS)
        except TimeoutError:
            return
