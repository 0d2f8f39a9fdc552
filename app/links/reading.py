"""Reads links and clicks: pages in the order of clicks' ids, totals that are sums of counters."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection


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


# --- the statements: each in a plan test -----------------------------------------------------------------------------

LINKS = text("""
SELECT l.number, l.label, l.source_url, l.template, l.tracked, l.params, l.in_content, coalesce(c.human, 0) AS clicks,
    coalesce(c.uniques, 0) AS unique_clicks, coalesce(c.machine, 0) AS machine_clicks
FROM deliveries d
LEFT JOIN links l ON l.delivery_id = d.id
LEFT JOIN LATERAL (
    SELECT sum(t.value) FILTER (WHERE t.metric = 'clicks' AND t.label = 'human') AS human,
        sum(t.value) FILTER (WHERE t.metric = 'clicks' AND t.label = 'machine') AS machine,
        sum(t.value) FILTER (WHERE t.metric = 'unique_link_clicks') AS uniques
    FROM counters t
    WHERE t.delivery_id = d.id AND t.metric IN ('clicks', 'unique_link_clicks') AND t.gateway_id = 0 AND t.bucket = l.number
) c ON true
WHERE d.id = :delivery ORDER BY l.number
""")

TOTAL = text("""
SELECT coalesce((
    SELECT sum(value) FROM counters t
    WHERE t.delivery_id = d.id AND t.metric = 'clicks' AND t.gateway_id = 0
        AND (CAST(:human AS boolean) IS NULL OR t.label = CASE WHEN CAST(:human AS boolean) THEN 'human' ELSE 'machine' END)
        AND (CAST(:link AS bigint) IS NULL OR t.bucket = CAST(:link AS bigint))
), 0)
FROM deliveries d WHERE d.id = :delivery
""")

# The row comparison leaves the planner no index but (delivery_id, id): a delivery's clicks in order.
CLICKS = text("""
SELECT c.id, c.message_id, m.address, m.recipient_id, c.link, l.label, c.clicked_at, c.human, c.reasons, c.device,
    coalesce(v.agent, c.agent) AS agent, c.network, c.times AS count
FROM clicks c
JOIN messages m ON m.id = c.message_id AND NOT m.proof
LEFT JOIN visitors v ON v.id = c.visitor
LEFT JOIN links l ON l.delivery_id = c.delivery_id AND l.number = c.link
WHERE (c.delivery_id, c.id) < (:delivery, :before) AND c.delivery_id >= :delivery
    AND (CAST(:human AS boolean) IS NULL OR c.human = CAST(:human AS boolean))
    AND (CAST(:link AS smallint) IS NULL OR c.link = CAST(:link AS smallint))
ORDER BY c.delivery_id DESC, c.id DESC LIMIT :limit
""")
