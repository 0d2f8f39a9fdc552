"""Operators' decisions about addresses: import, release of one or of many, requalifying. Facts first, health after.

Each function takes an open transaction and leaves the commit to its caller. What concerns many addresses queues them
for examination in the same transaction; `drain` then examines them, chunk by chunk, and survives a crash in between.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Select, case, func, literal, select
from sqlalchemy.dialects.postgresql import insert

from app.db import Connection, Pool, compiled
from app.quarantine.reading import RELEASABLE, Filter, conditions
from app.quarantine.rules import Event, Meaning, Origin, health, reach
from app.quarantine.store import (
    CHUNK,
    QUERIES,
    Moved,
    examine_some,
    known,
    read_meanings,
    reexamine,
)
from app.quarantine.store import identities as identities_of
from app.quarantine.thresholds import read_thresholds
from app.tables import decisions, gateways, qualifications, quarantine, to_examine

#: Requalifying moves the health of addresses that failed so lately.
REQUALIFIED_BACK = timedelta(days=30)
_WAIT_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What somebody decided about one address. `sender` "": whoever sends."""

    address: str
    kind: Literal["denylist", "allow", "quarantine", "release"]
    reason: str
    origin: Origin
    actor: str
    at: datetime
    sender: str = ""
    note: str | None = None
    #: None: for good.
    until: datetime | None = None


async def record(connection: Connection, decided: Sequence[Decision], now: datetime) -> Moved:
    """Records decisions, and examines their addresses at once; says what that moved."""
    rows = [
        (
            each.address,
            each.sender,
            each.kind,
            each.at,
            now,
            each.reason,
            each.origin,
            each.actor,
            each.note,
            each.until,
        )
        for each in decided
    ]
    await connection.executemany(QUERIES["add_decision"], rows)
    return await reexamine(connection, sorted({each.address for each in decided}), now)


async def release_many(
    connection: Connection, asked: Filter, *, actor: str, note: str, now: datetime, dry_run: bool
) -> tuple[int, Mapping[int, int]]:
    """Releases every address that `asked` finds among those with errors or in quarantine; returns how many, and those of
    them by the delivery that had put them into quarantine."""
    found = _found(asked)
    if dry_run:
        return int(await connection.fetchval(*compiled(select(func.count()).select_from(found.subquery())))), {}
    f = found.cte("f").prefix_with("MATERIALIZED", dialect="postgresql")
    columns = {
        "address": f.c.address, "sender": literal(""), "kind": literal("release", decisions.c.kind.type), "at": literal(now),
        "recorded_at": literal(now), "reason": literal("not_defined"), "origin": literal("operator"),
        "actor": literal(actor), "note": literal(note),
    }  # fmt: skip
    decided = insert(decisions).from_select(list(columns), select(*columns.values())).cte("decided")
    queued = insert(to_examine).from_select(["address"], select(f.c.address).order_by(f.c.address))
    moved = select(f.c.delivery_id, func.count().label("addresses")).group_by(f.c.delivery_id)
    rows = await connection.fetch(*compiled(moved.add_cte(decided, queued.on_conflict_do_nothing().cte("queued"))))
    by_delivery = {row["delivery_id"]: row["addresses"] for row in rows}
    count = sum(by_delivery.values())
    by_delivery.pop(None, None)
    return count, by_delivery


def _found(asked: Filter) -> Select[Any]:
    joined = quarantine.outerjoin(gateways, gateways.c.id == quarantine.c.gateway_id).outerjoin(
        qualifications, qualifications.c.id == quarantine.c.qualification_id
    )
    return (
        select(
            quarantine.c.address,
            case((quarantine.c.status == "quarantined", quarantine.c.delivery_id)).label("delivery_id"),
        )
        .select_from(joined)
        .where(*conditions(asked), quarantine.c.status.in_(RELEASABLE), quarantine.c.sender == literal(""))
    )


async def drain(pool: Pool, now: datetime) -> None:
    """Returns once no address waits for examination, or half a minute has passed: then the clock goes on with it."""
    until = asyncio.get_running_loop().time() + _WAIT_SECONDS
    while asyncio.get_running_loop().time() < until:
        async with pool.acquire() as connection:
            async with connection.transaction():
                if await examine_some(connection, now):
                    continue
            if not await connection.fetchval(QUERIES["has_waiting"]):
                return
        await asyncio.sleep(0.05)  # somebody else has the rest in hand


# --- requalifying ----------------------------------------------------------------------------------------------------


async def requalified(connection: Connection, before: Any, after: Any, now: datetime) -> None:
    """Notes that an error means something else for failures of the last 30 days, and queues their addresses.

    `before` and `after` are the qualification's row."""
    meanings = await _meanings(connection, before)
    if len(meanings) == 1:
        await _note_meaning(connection, before, None, now)
    changed = _meaning(after, now - REQUALIFIED_BACK)
    await _note_meaning(connection, after, changed.since, now)
    await connection.execute(QUERIES["enqueue_failed_with"], before["id"], reach(meanings, changed))


async def _meanings(connection: Connection, row: Any) -> Sequence[Meaning]:
    """How the error was qualified over time; one that never changed means what its row says."""
    return (await read_meanings(connection, [row["id"]])).get(row["id"]) or [_meaning(row, None)]


async def _note_meaning(connection: Connection, row: Any, since: datetime | None, now: datetime) -> None:
    await connection.execute(
        QUERIES["add_meaning"], row["id"], now, since, row["failure_type"], row["reason"], row["state"]
    )


async def would_move(connection: Connection, before: Any, after: Any, now: datetime) -> int:
    """How many addresses would change their status if the error `before` meant `after`. Writes nothing."""
    meanings = await _meanings(connection, before)
    changed = _meaning(after, now - REQUALIFIED_BACK)
    supposed = {before["id"]: [*meanings, changed]}
    rows = await connection.fetch(QUERIES["list_failed_with"], before["id"], reach(meanings, changed))
    addresses = [row["address"] for row in rows]
    moved = 0
    for start in range(0, len(addresses), CHUNK):
        moved += await _would_move(connection, addresses[start : start + CHUNK], supposed, now)
    return moved


async def _would_move(
    connection: Connection, addresses: Sequence[str], supposed: dict[int, list[Meaning]], now: datetime
) -> int:
    identities = await identities_of(connection, addresses)
    thresholds = await read_thresholds(connection)

    def statuses(events: Sequence[Event]) -> dict[str, str]:
        return {scope: found.status for scope, found in health(events, now, thresholds).items()}

    now_known = await known(connection, identities)
    then_known = await known(connection, identities, supposed)
    return sum(statuses(now_known[name]) != statuses(then_known[name]) for name in now_known)


def _meaning(row: Any, since: datetime | None) -> Meaning:
    return Meaning(
        since=since, failure_type=row["failure_type"], reason=row["reason"], ignored=row["state"] == "ignore"
    )
