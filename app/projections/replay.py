"""The proof on the operator's own data that projections are what the facts say: `recompute` and `acuse replay`."""

from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from app.db import Connection, load_queries
from app.links import store as links
from app.messages import store as messages
from app.messages.store import Difference
from app.quarantine.store import reexamine_delivery

QUERIES = load_queries(__file__)


async def recompute(connection: Connection, delivery_id: int, now: datetime) -> dict[str, Any]:
    """Rebuilds a delivery's states and counters, and the health of the addresses that it failed to reach, from facts:
    `{"drift", "counters", "states_changed", "quarantine_changed"}`. Repairs what it finds; the caller commits."""
    clicked = await links.mend(connection, delivery_id)
    found = await messages.recompute(connection, delivery_id, now)
    wrong = await reexamine_delivery(connection, delivery_id, now)
    return found | {"drift": found["drift"] + wrong + clicked, "quarantine_changed": wrong}


async def replay(connection: Connection, delivery_id: int | None = None) -> AsyncGenerator[Difference, None]:
    """Drops and rebuilds the projections of one delivery, or of all, each in a transaction of its own.

    What differs is repaired by it, and told."""
    ids = [delivery_id] if delivery_id is not None else await _all(connection)
    for each in ids:
        async with connection.transaction():
            now = datetime.now(UTC)
            clicked = await links.mend(connection, each)
            difference = await messages.replay(connection, each, now)
            yield replace(difference, quarantine=await reexamine_delivery(connection, each, now), clicks=clicked)


async def _all(connection: Connection) -> list[int]:
    return [row["id"] for row in await connection.fetch(QUERIES["list_deliveries"])]
