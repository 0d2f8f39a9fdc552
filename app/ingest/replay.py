"""`acuse replay`: the proof on the operator's own data that projections are what the facts say."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime

from app.db import Connection
from app.messages.store import Difference
from app.messages.store import replay as replay_delivery


async def replay(connection: Connection, delivery_id: int | None = None) -> AsyncGenerator[Difference, None]:
    """Drops and rebuilds the projections of one delivery, or of all, each in a transaction of its own.

    What differs is repaired by it, and told."""
    ids = [delivery_id] if delivery_id is not None else await _all(connection)
    for each in ids:
        async with connection.transaction():
            yield await replay_delivery(connection, each, datetime.now(UTC))


async def _all(connection: Connection) -> list[int]:
    return [row["id"] for row in await connection.fetch("SELECT id FROM deliveries ORDER BY id")]
