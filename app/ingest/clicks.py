"""Clicks applied: batch by batch, each in one transaction, in between receipts."""

from collections.abc import Sequence

from app import metrics
from app.db import Pool
from app.ingest.drain import Drain, TableDrain
from app.ingest.kinds import PROBE, new_id, trying
from app.links import store
from app.links.clicks import new_id as new_click_id


class Clicks:
    """One that cannot be applied costs neither its neighbours nor the receipts."""

    def __init__(self, pool: Pool, *, batch: int) -> None:
        self._pool = pool
        drain = Drain[int](
            kind="click", apply=self._apply, alike=self._alike, anything=self._anything, rehearse=self._rehearse,
            set_aside=self._set_aside,
        )  # fmt: skip
        self._drain = TableDrain(pool=pool, limit=batch, drain=drain, take=self._take, oldest=self._oldest)

    async def step(self) -> int:
        """Applies one batch; returns how many clicks it took."""
        taken = await self._drain.step()
        metrics.clicks_applied_total.inc(taken)
        return taken

    async def _take(self, limit: int, without: Sequence[int]) -> int:
        async with self._pool.acquire() as connection, connection.transaction():
            return await store.apply(connection, limit=limit, without=without)

    async def _oldest(self, limit: int, without: Sequence[int]) -> Sequence[int]:
        return [row["seq"] for row in await self._pool.fetch(store.QUERIES["list_waiting"], limit, without)]

    async def _apply(self, places: Sequence[int]) -> int:
        async with self._pool.acquire() as connection, connection.transaction():
            return await store.apply(connection, limit=len(places), only=places)

    async def _alike(self, place: int) -> None:
        async with trying(self._pool) as connection:
            made = await connection.fetchval(store.QUERIES["copy_click"], place, new_click_id(), PROBE)
            await store.apply(connection, limit=1, only=[made])

    async def _anything(self, place: int) -> None:
        async with trying(self._pool) as connection:
            made = await connection.fetchval(store.QUERIES["add_probe"], new_click_id(), PROBE)
            await store.apply(connection, limit=1, only=[made])

    async def _rehearse(self, place: int) -> None:
        async with trying(self._pool) as connection:
            await store.apply(connection, limit=1, only=[place])

    async def _set_aside(self, place: int, error: Exception) -> None:
        reason = f"This click could not be applied: {type(error).__name__}."
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(store.QUERIES["set_click_aside"], place, new_id(), reason)
