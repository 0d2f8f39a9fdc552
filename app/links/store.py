"""All SQL of clicks. Takes an open transaction of a plain asyncpg connection and leaves the commit to its caller.

Counters move by what changed, as those of the fold do: a click that comes twice counts once, a verdict that is judged
anew moves what it counted for. `doubtful` is kept from both sides: here, and by the fold (`messages/queries.sql`).
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from app import installation
from app.db import Connection, load_queries
from app.links.machines import RULES_VERSION, TOO_SOON_SECONDS, Visit, judge

QUERIES = load_queries(__file__)
_NETWORKS = 5_000


async def apply(connection: Connection) -> None:
    """Turns the clicks that this transaction claimed (`click_batch`) into facts, and counts them."""
    row = await connection.fetchrow(QUERIES["record_clicks"], TOO_SOON_SECONDS)
    assert row is not None
    if row["ids"]:
        await _settle(connection, row["ids"], [None] * len(row["ids"]), row["messages"])
    if row["bursts"]:
        await _merge_bursts(connection, row["bursts"])


async def _merge_bursts(connection: Connection, rows: Sequence[Any]) -> None:
    """Each process's word for a burst is how many it has counted so far: the largest holds, and the processes' add up."""
    told: dict[int, Any] = {}
    counted: dict[int, dict[str, int]] = {}
    for id, *fields, by_process in rows:
        told[id] = fields
        counted[id] = _largest(counted.get(id, {}), by_process)
    await connection.execute(QUERIES["lock_states"], [fields[0] for fields in told.values()])
    standing = {row["id"]: row["counted"] for row in await connection.fetch(QUERIES["find_bursts"], list(told))}
    merged = {id: _largest(standing.get(id) or {}, counts) for id, counts in counted.items()}
    columns = list(zip(*((id, *told[id]) for id in merged), strict=True))
    totals = [sum(counts.values()) for counts in merged.values()]
    added = [total - sum((standing.get(id) or {}).values()) for id, total in zip(merged, totals, strict=True)]
    visits = [{"counted": counts} for counts in merged.values()]
    await connection.execute(QUERIES["put_bursts"], *columns, visits, totals)
    messages, deliveries, links = columns[1:4]
    await connection.execute(QUERIES["settle_bursts"], messages, deliveries, links, added)


def _largest(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    return {process: max(one.get(process, 0), other.get(process, 0)) for process in {**one, **other}}


async def _settle(
    connection: Connection, clicks: Sequence[int], was: Sequence[bool | None], messages: Sequence[int]
) -> None:
    await connection.execute(QUERIES["lock_states"], messages)
    await connection.execute(QUERIES["settle_clicks"], clicks, was)


async def rejudge(connection: Connection, delivery_id: int | None, after: int, limit: int) -> tuple[int, int, int]:
    """Judges the next `limit` clicks behind id `after` by the present rules: `(the last one's id, how many were looked
    at, how many changed sides)`; 0 looked at means the end."""
    rows = await connection.fetch(QUERIES["list_clicks"], delivery_id, after, limit)
    if not rows:
        return after, 0, 0
    # Before they are read for good: what is applied meanwhile to these messages waits, and what was is seen.
    messages = sorted({row["message_id"] for row in rows})
    await connection.execute(QUERIES["lock_states"], messages)
    anew = [(row["id"], judge(_visit(row))) for row in rows]
    changed = [
        (id, verdict)
        for (id, verdict), row in zip(anew, rows, strict=True)
        if (verdict.human, list(verdict.reasons), verdict.device, RULES_VERSION)
        != (row["human"], row["reasons"], row["device"], row["rules_version"])
    ]
    turned = await connection.fetch(
        QUERIES["rewrite_clicks"],
        [id for id, _ in changed],
        [verdict.human for _, verdict in changed],
        [" ".join(verdict.reasons) for _, verdict in changed],
        [verdict.device for _, verdict in changed],
        RULES_VERSION,
    )
    if turned:
        await connection.execute(
            QUERIES["settle_clicks"], [row["id"] for row in turned], [row["was"] for row in turned]
        )
        await connection.execute(QUERIES["refresh_first_clicks"], messages)
    return rows[-1]["id"], len(rows), len(turned)


def _visit(row: Any) -> Visit:
    visit = row["visit"]
    return Visit(
        method=visit.get("method", "GET"),
        agent=row["agent"],
        headers=visit.get("headers"),
        seconds_since_submission=row["seconds"],
    )


async def mend(connection: Connection, delivery_id: int) -> int:
    """Sets what stands by message to what the clicks give; returns how many messages were wrong.

    Their states are held until the commit. The counters are the caller's, who compares all of a delivery's at once."""
    rows = await connection.fetch(QUERIES["list_clicked_messages"], delivery_id)
    if not rows:
        return 0
    await connection.execute(QUERIES["lock_states"], [row["message_id"] for row in rows])
    return int(await connection.fetchval(QUERIES["mend_message_clicks"], delivery_id))


async def forget_header_texts(connection: Connection, before: datetime, limit: int) -> int:
    """Takes agents and headers away from up to `limit` of the clicks from before that time, whose verdicts stay as they are; how
    many it looked at. The caller commits."""
    await installation.add(connection, "click_texts_forgotten", "0")
    return int(await connection.fetchval(QUERIES["forget_header_texts"], _first_id(before), limit))


def _first_id(at: datetime) -> int:
    """No click from then on has a smaller id: ids follow time."""
    return max(int(at.timestamp() * 1_000) << 20, 0)


async def forget_networks(connection: Connection, now: datetime, *, days: float) -> int:
    """Takes the visitors' networks away from some of the clicks that are older than `days`; how many it looked at."""
    await installation.add(connection, "click_networks_forgotten", "0")
    before = _first_id(now - timedelta(days=days))
    return int(await connection.fetchval(QUERIES["forget_networks"], before, _NETWORKS))
