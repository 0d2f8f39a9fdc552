"""Raw payloads are kept for a time only. The clock takes them away in small steps.

Each table is gone through once, oldest first; how far that is stands in `platform`, so nothing is looked at twice and a
crash loses at most one step. What was read out of a payload stays: status, error, times and ids.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from app import installation
from app.db import Connection, Pool, load_queries

QUERIES = load_queries(__file__, "retention.sql")
#: Rows of one step, and steps of one tick: together more than any installation takes in meanwhile.
_ROWS = 2_000
_STEPS = 10
#: Of table `platform`: how far each table is.
_RECEIPTS, _INBOUND, _REJECTED = "raw_forgotten_receipts", "raw_forgotten_inbound", "raw_forgotten_rejected"
_BEGIN = "1970-01-01T00:00:00+00:00"

Step = Callable[[Connection, datetime], Awaitable[int]]


async def forget_payloads(pool: Pool, now: datetime, *, days: float) -> None:
    """Some of those older than `days` at `now`, each step in a transaction of its own. Any number of clocks may do so."""
    before = now - timedelta(days=days)
    for step in (forget_receipts, forget_inbound, forget_rejected):
        for _ in range(_STEPS):
            async with pool.acquire() as connection, connection.transaction():
                if not await step(connection, before):
                    break


async def forget_receipts(connection: Connection, before: datetime) -> int:
    """Receipts follow one another by id; how many it looked at."""
    mark = await _held(connection, _RECEIPTS, "0")
    if mark is None or not await connection.fetchval(QUERIES["has_due_receipts"], int(mark), before):
        return 0
    return int(await connection.fetchval(QUERIES["forget_receipts"], _RECEIPTS, int(mark), before, _ROWS))


async def forget_inbound(connection: Connection, before: datetime) -> int:
    """Replies that were applied; how many it took."""
    return await _by_time(connection, _INBOUND, "forget_inbound", before)


async def forget_rejected(connection: Connection, before: datetime) -> int:
    """What could not be read cannot be read again after that; the reason stays. A receipt that was read and set aside stays
    whole but for its payload."""
    return await _by_time(connection, _REJECTED, "forget_rejected", before)


async def _by_time(connection: Connection, mark: str, query: str, before: datetime) -> int:
    since = await _held(connection, mark, _BEGIN)
    if since is None:
        return 0
    last = await connection.fetch(QUERIES[query], datetime.fromisoformat(since), before, _ROWS)
    if last:
        newest = max(row["received_at"] for row in last)
        await installation.put(connection, mark, newest.isoformat())
    return len(last)


async def _held(connection: Connection, mark: str, first: str) -> str | None:
    """How far it is, held until the commit; None while another clock is at it. Waits for nobody."""
    if await installation.read(connection, mark) is None:
        await installation.add(connection, mark, first)
    value: str | None = await connection.fetchval(QUERIES["lock_mark"], mark)
    return value
