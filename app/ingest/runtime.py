"""What runs beside the requests: inbox, worker and clock, started and stopped together."""

import asyncio
from collections.abc import Mapping
from typing import Any

from starlette.requests import HTTPConnection

from app.db import POOL_SIZES, Pool, create_pool
from app.ingest.clock import Clock
from app.ingest.inbox import Inbox
from app.ingest.refused import RefusedShelf
from app.ingest.spool import Spool
from app.ingest.worker import Worker
from app.settings import Settings
from app.tasks import ended

#: The worker's plans: always by index, whatever the statistics of a table that was empty a minute ago say.
WORKER_SETTINGS = {
    "jit": "off",
    "plan_cache_mode": "force_custom_plan",
    "enable_seqscan": "off",
    "enable_mergejoin": "off",
    "work_mem": "32MB",
    "random_page_cost": "1.1",
    "synchronous_commit": "on",
}
INBOX_SETTINGS = {"jit": "off", "synchronous_commit": "on"}


class Runtime:
    """Opens no connection before it is asked: a database that is away at the start is like one that goes away later."""

    def __init__(self, settings: Settings, database_url: str) -> None:
        self._settings = settings
        self._url = database_url
        self._tasks: list[asyncio.Task[None]] = []
        self.inbox: Inbox
        #: For flows that write facts (uploads, submissions): same settings as the worker's.
        self.pool: Pool
        #: Callbacks whose signature was refused.
        self.refused: RefusedShelf
        self._inbox_pool: Pool

    async def start(self) -> None:
        settings = self._settings
        self._inbox_pool = await create_pool(self._url, name="inbox", size=POOL_SIZES["inbox"], settings=INBOX_SETTINGS)
        self.pool = await create_pool(self._url, name="worker", size=POOL_SIZES["worker"], settings=WORKER_SETTINGS)
        spool = Spool(settings.data_dir / "spool", max_bytes=settings.spool_max_bytes)
        self.inbox = Inbox(self._inbox_pool, spool, settings)
        await self.inbox.start()
        self.refused = RefusedShelf(self.pool)
        self.refused.start()
        worker = Worker(self.pool, self.inbox.arrived, batch=settings.apply_batch)
        clock = _clock(self.pool, settings)
        self._tasks = [asyncio.create_task(worker.run()), asyncio.create_task(clock.run())]

    async def stop(self) -> None:
        """What was acknowledged is durable; what waits is made so. Batches under way are left to be claimed again."""
        await self.inbox.stop()
        await self.refused.stop()
        await ended(*self._tasks)
        for pool in (self.pool, self._inbox_pool):
            try:
                await asyncio.wait_for(pool.close(), 5)
            except TimeoutError:
                pool.terminate()

    def ready(self) -> Mapping[str, Any]:
        """Whether callbacks can be made durable, and where."""
        return {
            "database": not self.inbox.away,
            "spool": self.inbox.spool_usable(),
            "spooled": self.inbox.spooled,
            "queued": self.inbox.queued,
        }


def _clock(pool: Pool, settings: Settings) -> Clock:
    return Clock(
        pool,
        every_seconds=settings.clock_seconds,
        click_network_days=settings.click_network_days,
        click_text_days=settings.click_text_days,
        raw_days=settings.raw_days,
    )


async def run_worker(settings: Settings, database_url: str) -> None:
    """Only the worker and the clock, until cancelled: more hands for the inbox of a service that runs elsewhere."""
    pool = await create_pool(database_url, name="worker", size=4, settings=WORKER_SETTINGS)
    try:
        worker = Worker(pool, asyncio.Event(), batch=settings.apply_batch)
        await asyncio.gather(worker.run(), _clock(pool, settings).run())
    finally:
        pool.terminate()


def runtime_of(connection: HTTPConnection) -> Runtime:
    found: Runtime = connection.app.state.runtime
    return found
