"""The fold and its books: the only place that writes `message_state` and a delivery's counters.

Everything here takes an open transaction of a plain asyncpg connection and leaves the commit to its caller.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.db import Connection, load_queries

QUERIES = load_queries(__file__)
_RECOMPUTE_CHUNK = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """What one fold changed in one delivery, of the messages of one gateway."""

    delivery_id: int
    gateway_id: int | None
    messages: int
    #: Of these, how many rest on a receipt (and not on a submission, the clock or an operator).
    by_receipt: int
    #: How many came to a final answer of the gateway: failed or received, and were neither before.
    finals: int
    #: Messages that failed, or had failed before.
    failures: Sequence[int]
    #: Those of them that have not failed before, or not with this error.
    new_failures: Sequence[int]
    #: Messages that are received, and were not before.
    successes: Sequence[int]
    #: Messages that were received before, and now are not, or since another time.
    revised: Sequence[int]


async def refold(connection: Connection, message_ids: Sequence[int], now: datetime) -> list[Changed]:
    """Folds these messages anew from their facts, and moves the counters by what changed.

    Holds their states until the commit. Facts committed by others before the lock was had are seen."""
    if not message_ids:
        return []
    await connection.execute(QUERIES["lock_states"], message_ids)
    rows = await connection.fetch(QUERIES["refold_messages"], message_ids, now)
    return [
        Changed(
            delivery_id=row["delivery_id"],
            gateway_id=row["gateway_id"],
            messages=row["changed"],
            by_receipt=row["by_receipt"],
            finals=row["finals"],
            failures=row["failures"] or (),
            new_failures=row["new_failures"] or (),
            successes=row["successes"] or (),
            revised=row["revised"] or (),
        )
        for row in rows
    ]


async def recompute(connection: Connection, delivery_id: int, now: datetime) -> dict[str, Any]:
    """Rebuilds a delivery's states and counters from facts: `{"drift", "counters", "states_changed"}`.

    `drift` is the sum of all differences between the counters that stood and those the facts give, plus the number of
    messages whose state was wrong; 0 is what it must be. Repairs what it finds."""
    await connection.execute(QUERIES["lock_delivery"], delivery_id)
    wrong = 0
    last = 0
    while ids := await _next_ids(connection, delivery_id, last):
        wrong += sum(changed.messages for changed in await refold(connection, ids, now))
        last = ids[-1]
    drift = await connection.fetchval(QUERIES["mend_counters"], delivery_id)
    counters = await connection.fetch(QUERIES["list_status_counters"], delivery_id)
    return {
        "drift": wrong + int(drift),
        "states_changed": wrong,
        "counters": {row["label"]: int(row["value"]) for row in counters},
    }


async def _next_ids(connection: Connection, delivery_id: int, after: int) -> list[int]:
    rows = await connection.fetch(QUERIES["list_ids"], delivery_id, after, _RECOMPUTE_CHUNK)
    return [row["id"] for row in rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What dropping and rebuilding a delivery's projections changed; nothing, if all is well."""

    delivery_id: int
    messages: int
    states: list[dict[str, Any]]
    counters: list[dict[str, Any]]
    #: Rows of the quarantine that were not what the facts give; the caller looks after those.
    quarantine: int = 0
    #: Messages whose own count of clicks was not what the clicks give; the caller looks after those, too.
    clicks: int = 0

    @property
    def empty(self) -> bool:
        return not self.states and not self.counters and not self.quarantine and not self.clicks


async def replay(connection: Connection, delivery_id: int, now: datetime) -> Difference:
    """Drops a delivery's projections and builds them anew from its facts. Others wait for the commit meanwhile."""
    await connection.execute(QUERIES["lock_delivery"], delivery_id)
    await connection.execute(QUERIES["create_former"])
    await connection.execute(QUERIES["take_states"], delivery_id)
    await connection.execute(QUERIES["take_counters"], delivery_id)
    await connection.execute(QUERIES["take_qualified"])
    last = messages = 0
    while ids := await _next_ids(connection, delivery_id, last):
        await refold(connection, ids, now)
        last, messages = ids[-1], messages + len(ids)
    states = await connection.fetch(QUERIES["compare_states"], delivery_id)
    counters = [
        *await connection.fetch(QUERIES["compare_counters"], delivery_id),
        *await connection.fetch(QUERIES["mend_clicks"], delivery_id),
    ]
    return Difference(
        delivery_id=delivery_id,
        messages=messages,
        states=[dict(row) for row in states],
        counters=[dict(row) for row in counters],
    )
