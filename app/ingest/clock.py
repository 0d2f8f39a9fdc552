"""What happens because time passes: messages without a receipt, deliveries that are over, errors of addresses that are
forgotten, visitors' networks that are not kept for longer, figures for operators."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from app import audit, metrics
from app.api.uploads import close_orphans
from app.db import Connection, Pool, is_away, load_queries
from app.ingest.pipeline import fold
from app.links.store import forget_networks
from app.logs import log
from app.quarantine.breaker import forget_minutes
from app.quarantine.store import examine_some, forget_errors

QUERIES = load_queries(__file__)
Step = Callable[[Connection, datetime], Awaitable[int]]
_CHUNK = 2_000
#: Counting what waits costs an index scan of all of it; operators need it now and then only.
_SURVEY_SECONDS = 5.0


class Clock:
    def __init__(self, pool: Pool, *, every_seconds: float, click_network_days: float = 30) -> None:
        self._pool = pool
        self._every = every_seconds
        self._network_days = click_network_days
        self._survey_at = 0.0

    async def run(self) -> None:
        """Until cancelled. Any number of clocks may run; each tick is idempotent."""
        while True:
            try:
                await self.tick(datetime.now(UTC))
            except Exception as error:
                if not is_away(error):
                    log.exception("clock.failed")
            await asyncio.sleep(self._every)

    async def tick(self, now: datetime) -> None:
        """What is due at `now`: each step in transactions of its own."""
        while await self._in_transaction(expire, now):
            pass
        await self._in_transaction(finish, now)
        for step in (forget_errors, examine_some):
            while await self._in_transaction(step, now):
                pass
        if time.monotonic() >= self._survey_at:
            self._survey_at = time.monotonic() + _SURVEY_SECONDS
            await self._in_transaction(survey, now)
            await self._in_transaction(forget_minutes, now)
            await self._in_transaction(close_orphans, now)
            while await self._in_transaction(self._forget_networks, now):
                pass

    async def _forget_networks(self, connection: Connection, now: datetime) -> int:
        return await forget_networks(connection, now, days=self._network_days)

    async def _in_transaction(self, step: Step, now: datetime) -> int:
        async with self._pool.acquire() as connection, connection.transaction():
            return await step(connection, now)


async def expire(connection: Connection, now: datetime) -> int:
    """Messages whose validity period is over without a final receipt: the clock says so, as a fact. How many it took."""
    ids = [row["id"] for row in await connection.fetch(QUERIES["expire"], now, _CHUNK)]
    await fold(connection, ids, now)
    return len(ids)


async def finish(connection: Connection, now: datetime) -> int:
    """Deliveries of which every message has a final status, or will never get one. How many it finished."""
    ids = [row["id"] for row in await connection.fetch(QUERIES["seem_over"], now)]
    rows = await connection.fetch(QUERIES["finish"], now, ids) if ids else []
    for row in rows:
        pending = int(row["pending"])
        text = (
            f"The validity period is over; messages never handed over: {pending}."
            if pending
            else "Every message has a final status."
        )
        await audit.append(
            connection, row["id"], "DLV-FINISHED", text, at=now, actor="system",
            level="warning" if pending else "info", data={"messages": int(row["messages"]), "pending": pending},
        )  # fmt: skip
    return len(rows)


async def survey(connection: Connection, now: datetime) -> int:
    """Counts what waits and what was rejected, by gateway, into the platform's counters and the metrics."""
    row = await connection.fetchrow(QUERIES["survey"])
    assert row is not None
    metrics.inbox_rows.set(row["inbox_rows"])
    metrics.oldest_inbox_seconds.set(_age(row["oldest_inbox"], now))
    metrics.oldest_unmatched_seconds.set(_age(row["oldest_unmatched"], now))
    await connection.execute(QUERIES["book_waiting"])
    return 0


def _age(since: datetime | None, now: datetime) -> float:
    return max((now - since).total_seconds(), 0.0) if since else 0.0
