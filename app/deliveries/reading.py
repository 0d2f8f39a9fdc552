"""Exclusions as they are read: pages by keyset, totals from the counters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import column, func, select, true, values
from sqlalchemy.ext.asyncio import AsyncConnection

from app.identities import spellings
from app.tables import counters, deliveries
from app.tables import exclusions as table


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """What exclusions are narrowed to; all that is given must hold. `address` in whatever spelling of the phone."""

    reasons: Sequence[str] = ()
    address: str | None = None


async def status(connection: AsyncConnection, id: int) -> str | None:
    found: str | None = await connection.scalar(select(deliveries.c.status).where(deliveries.c.id == id))
    return found


async def exclusions(
    connection: AsyncConnection, id: int, asked: Filter, *, after: int, limit: int
) -> list[Mapping[str, Any]]:
    """Those behind target `after`, in the order of the audience."""
    query = select(table).where(table.c.delivery_id == id, table.c.position > after)
    if asked.address is not None:
        query = query.where(table.c.address.in_(spellings(asked.address)))
        if asked.reasons:
            query = query.where(table.c.reason.in_(asked.reasons))
    elif asked.reasons:
        # The next of each reason by its index: one ordered scan for all would read past every other reason's rows.
        reason = values(column("reason", table.c.reason.type), name="asked").data([(each,) for each in asked.reasons])
        of_one = query.where(table.c.reason == reason.c.reason).order_by(table.c.position).limit(limit).lateral("e")
        return await _rows(
            connection, select(of_one).select_from(reason.join(of_one, true())), of_one.c.position, limit
        )
    return await _rows(connection, query, table.c.position, limit)


async def _rows(connection: AsyncConnection, query: Any, position: Any, limit: int) -> list[Mapping[str, Any]]:
    return [dict(row) for row in (await connection.execute(query.order_by(position).limit(limit))).mappings()]


async def total(connection: AsyncConnection, id: int, asked: Filter) -> int:
    """From the counters; those of one address are few, and counted."""
    if asked.address is None:
        counts = await causes(connection, id)
        return sum(count for reason, count in counts.items() if not asked.reasons or reason in asked.reasons)
    query = select(func.count()).where(table.c.delivery_id == id, table.c.address.in_(spellings(asked.address)))
    if asked.reasons:
        query = query.where(table.c.reason.in_(asked.reasons))
    return int((await connection.execute(query)).scalar_one())


async def causes(connection: AsyncConnection, id: int) -> dict[str, int]:
    """How many were excluded for each reason."""
    rows = await connection.execute(
        select(counters.c.label, counters.c.value).where(
            counters.c.delivery_id == id, counters.c.metric == "excluded", counters.c.value > 0
        )
    )
    return {label: int(value) for label, value in rows}
