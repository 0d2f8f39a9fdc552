"""Clicks applied: batch by batch, each in one transaction, in between receipts."""

from collections.abc import Sequence

from app import metrics
from app.db import Pool, is_away
from app.ingest.pipeline import TRANSIENT
from app.links import store
from app.logs import log

#: How often a click that is alone must fail before it is to blame.
_TRIES_ALONE = 3


class Clicks:
    """What cannot be applied is passed over: it stays in its inbox, where a later version finds it, and holds up nobody."""

    def __init__(self, pool: Pool, *, batch: int) -> None:
        self._pool = pool
        self._batch = batch
        self._passed_over: list[int] = []
        self._alone = 0  # how often in a row nothing of a batch could be applied

    async def step(self) -> int:
        """Applies one batch; returns how many clicks it took. Raises only what says that the database is away."""
        try:
            taken = await self._apply(self._batch, self._passed_over)
            self._alone = 0
            metrics.clicks_applied_total.inc(taken)
            return taken
        except TRANSIENT as error:
            log.info("clicks.retry", error=type(error).__name__)
            return 1
        except Exception as error:
            if is_away(error):
                raise
            log.error("clicks.batch_failed", error=type(error).__name__)
            return await self._one_by_one()

    async def _apply(self, limit: int, without: Sequence[int]) -> int:
        async with self._pool.acquire() as connection, connection.transaction():
            return await store.apply(connection, limit=limit, without=without)

    async def _one_by_one(self) -> int:
        """Applies what can be applied alone. When nothing can be, the clicks are hardly to blame: then they wait, unless
        they fail again and again."""
        rows = await self._pool.fetch(store.QUERIES["waiting"], self._batch, self._passed_over)
        culprits: list[int] = []
        for _ in rows:
            culprits += await self._applied_alone([*self._passed_over, *culprits])
        self._alone += 1
        if len(culprits) < len(rows) or self._alone >= _TRIES_ALONE * (1 if len(rows) == 1 else 1_000):
            self._alone = 0
            self._passed_over += culprits
            for seq in culprits:
                log.error("click.passed_over", seq=seq)
        return len(rows)

    async def _applied_alone(self, without: Sequence[int]) -> list[int]:
        """Applies the oldest click but those; if it fails, the place of it."""
        try:
            await self._apply(1, without)
        except Exception as error:
            if is_away(error):
                raise
            if isinstance(error, TRANSIENT):
                return []
            rows = await self._pool.fetch(store.QUERIES["waiting"], 1, without)
            return [row["seq"] for row in rows]
        return []
