"""Reads links and clicks: pages in the order of clicks' ids, totals that are sums of counters."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db import load_queries

QUERIES = load_queries(__file__, "reading.sql")
LINKS = text(QUERIES["list_links"])
TOTAL = text(QUERIES["count_clicks"])
CLICKS = text(QUERIES["list_clicks"])


async def links(connection: AsyncConnection, delivery_id: int) -> Sequence[RowMapping] | None:
    """A delivery's links with their figures, by number; None when there is no such delivery."""
    rows = (await connection.execute(LINKS, {"delivery": delivery_id})).mappings().all()
    if not rows:
        return None
    return [row for row in rows if row["number"] is not None]


async def clicks(
    connection: AsyncConnection,
    delivery_id: int,
    *,
    human: bool | None,
    link: int | None,
    before: int | None,
    limit: int,
) -> tuple[Sequence[dict[str, Any]], int] | None:
    """The `limit` clicks before id `before`, newest first, and how many there are in all; None: no such delivery."""
    asked = {"delivery": delivery_id, "human": human, "link": link}
    total = (await connection.execute(TOTAL, asked)).scalar_one_or_none()
    if total is None:
        return None
    values = asked | {"before": 2**63 - 1 if before is None else before, "limit": limit}
    rows = (await connection.execute(CLICKS, values)).mappings().all() if total else []
    return [dict(row) for row in rows], int(total)
