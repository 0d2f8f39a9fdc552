"""The references of messages that are sent from here become keys, so that receipts which only echo them are matched."""

from collections.abc import Sequence
from datetime import datetime

from app.db import Connection
from app.matching.sql import QUERIES
from app.projections.fold import fold
from app.references import PREFIX


async def claim_references(
    connection: Connection, gateway_id: int, message_ids: Sequence[int], now: datetime
) -> list[int]:
    """From now on receipts of this gateway that echo our reference belong to these messages. Those that receipts had
    been waiting for are folded, and returned. Claiming again costs a look-up; the caller commits."""
    waited = await claim(connection, [gateway_id] * len(message_ids), message_ids, now)
    await fold(connection, waited, now)
    return waited


async def claim(
    connection: Connection, gateway_ids: Sequence[int], message_ids: Sequence[int], now: datetime
) -> list[int]:
    """The same for each pair of gateway and message; returns, sorted, the messages that the caller must fold."""
    rows = await connection.fetch(QUERIES["claim_references"], gateway_ids, message_ids, PREFIX, now)
    waited = [row for row in rows if row["waited"]]
    if waited:
        await connection.execute(QUERIES["follow_references"], [row["id"] for row in waited])
    return sorted({row["message_id"] for row in waited})
