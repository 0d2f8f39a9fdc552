"""What happens because time passes: messages without a receipt, deliveries that are over, errors of addresses that are
forgotten, visitors' networks and texts that are not kept for longer, figures for operators."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta

from app import audit
from app.api.uploads import close_orphans
from app.db import Connection, Pool, is_away, load_queries, renew
from app.ingest.retention import forget_payloads
from app.ingest.survey import survey
from app.links.store import forget_header_texts, forget_networks
from app.logs import log
from app.projections.fold import fold
from app.quarantine.breaker import forget_minutes
from app.quarantine.store import examine_some, forget_errors
from app.visitors import FIRST, forget_some

QUERIES = load_queries(__file__)
Step = Callable[[Connection, datetime], Awaitable[int]]
_CHUNK = 2_000
#: Operators need figures of what waits now and then only.
_SURVEY_SECONDS = 5.0
#: Visitors that are looked at in each survey, whether a click still refers to them.
_VISITORS = 500
#: Deliveries in progress that one tick looks at; the next tick goes on behind them, so that many of them make it no dearer.
_DELIVERIES = 200
_FORGET_MINUTES_SECONDS = 600.0


class Clock:
    def __init__(
        self,
        pool: Pool,
        *,
        every_seconds: float,
        click_network_days: float = 30,
        click_text_days: float = 365,
        raw_days: float = 90,
    ) -> None:
        self._pool = pool
        self._every = every_seconds
        self._network_days = click_network_days
        self._text_days = click_text_days
        self._raw_days = raw_days
        self._survey_at = 0.0
        self._forget_minutes_at = 0.0
        #: The last delivery that was asked whether it is over.
        self._asked = 0
        #: The last visitor that was looked at.
        self._visitor = FIRST

    async def run(self) -> None:
        """Until cancelled. Any number of clocks may run; each tick is idempotent."""
        while True:
            try:
                await self.tick(datetime.now(UTC))
            except Exception as error:
                await renew(self._pool, error)
                if not is_away(error):
                    log.exception("clock.failed")
            await asyncio.sleep(self._every)

    async def tick(self, now: datetime) -> None:
        """What is due at `now`: each step in transactions of its own."""
        while await self._in_transaction(expire, now):
            pass
        await self._in_transaction(self._finish_some, now)
        for step in (forget_errors, examine_some):
            while await self._in_transaction(step, now):
                pass
        if time.monotonic() >= self._survey_at:
            self._survey_at = time.monotonic() + _SURVEY_SECONDS
            await self._in_transaction(survey, now)
            await self._in_transaction(close_orphans, now)
            for forget in (self._forget_networks, self._forget_texts):
                while await self._in_transaction(forget, now):
                    pass
            await self._in_transaction(self._forget_visitors, now)
            await forget_payloads(self._pool, now, days=self._raw_days)
        if time.monotonic() >= self._forget_minutes_at:
            self._forget_minutes_at = time.monotonic() + _FORGET_MINUTES_SECONDS
            await self._in_transaction(forget_minutes, now)

    async def _finish_some(self, connection: Connection, now: datetime) -> int:
        ids = [row["id"] for row in await connection.fetch(QUERIES["list_running"], self._asked, _DELIVERIES)]
        self._asked = ids[-1] if len(ids) == _DELIVERIES else 0
        return await finish(connection, now, ids)

    async def _forget_networks(self, connection: Connection, now: datetime) -> int:
        return await forget_networks(connection, now, days=self._network_days)

    async def _forget_texts(self, connection: Connection, now: datetime) -> int:
        return await forget_header_texts(connection, now - timedelta(days=self._text_days), _CHUNK)

    async def _forget_visitors(self, connection: Connection, now: datetime) -> int:
        """A stretch at a time: what it costs does not grow with them."""
        self._visitor = await forget_some(connection, self._visitor, _VISITORS)
        return 0

    async def _in_transaction(self, step: Step, now: datetime) -> int:
        async with self._pool.acquire() as connection, connection.transaction():
            return await step(connection, now)


async def expire(connection: Connection, now: datetime) -> int:
    """Messages whose validity period is over without a final receipt: the clock says so, as a fact. How many it took."""
    ids = [row["id"] for row in await connection.fetch(QUERIES["expire_messages"], now, _CHUNK)]
    await fold(connection, ids, now)
    return len(ids)


async def finish(connection: Connection, now: datetime, deliveries: Sequence[int]) -> int:
    """Those of the deliveries of which every message has a final status, or will never get one. How many it finished."""
    ids = [row["id"] for row in await connection.fetch(QUERIES["lock_over"], now, deliveries)] if deliveries else []
    rows = await connection.fetch(QUERIES["finish_deliveries"], now, ids) if ids else []
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
