"""Random deliveries, written straight into the tables; their counters come from the fold's own query."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from app.db import Connection
from app.messages.store import QUERIES

BEGIN = datetime(2026, 11, 23, 8, tzinfo=UTC)
STATUSES = ("pending", "cancelled", "submitted", "accepted", "sent", "no_receipt", "failed", "received")
#: (failure type, reason) of the qualifications that random rows fail with.
ERRORS = (("hard", "user_unknown"), ("soft", "unreachable"), ("soft", "mailbox_full"), ("undefined", "refused"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One message as a test expects to read it."""

    address: str
    status: str
    gateway: str | None = None
    qualification: int | None = None
    proof: bool = False
    contradictory: bool = False
    parts: int = 1
    received_seconds: float = 5.0
    price: Decimal | None = None


async def add_gateway(connection: Connection, key: str, implementation: str = "Acme") -> int:
    id = await connection.fetchval(
        "INSERT INTO gateways (key, kind, label, implementation, options, auth, created_at, updated_at) "
        "VALUES ($1, 'generic', $1, $2, '{}', '{\"mode\": \"none\"}', $3, $3) RETURNING id",
        key,
        implementation,
        BEGIN,
    )
    return int(id)


async def add_qualifications(connection: Connection) -> list[int]:
    found = []
    for number, (failure_type, reason) in enumerate(ERRORS):
        found.append(
            await connection.fetchval(
                "INSERT INTO qualifications (implementation, status, error_code, failure_type, reason, sentence, state, "
                "updated_at) VALUES ('Acme', 'UNDELIV', $1, $2, $3, $4, 'keep', $5) RETURNING id",
                f"{number:03d}",
                failure_type,
                reason,
                f"It is {reason}.",
                BEGIN,
            )
        )
    return found


async def add_delivery(connection: Connection, label: str = "Test", status: str = "in_progress") -> int:
    id = await connection.fetchval(
        "INSERT INTO deliveries (label, sender, validity_seconds, tracking, metadata, status, created_at, updated_at) "
        "VALUES ($1, 'Acme', 302400, true, '{}', $2, $3, $3) RETURNING id",
        label,
        status,
        BEGIN,
    )
    return int(id)


def random_rows(seed: int, count: int, *, gateways: Sequence[str | None], qualifications: Sequence[int]) -> list[Row]:
    chance = random.Random(seed)
    rows = []
    for _ in range(count):
        status = chance.choice(STATUSES)
        rows.append(
            Row(
                address=f"+34600{chance.randrange(count // 3):06d}",
                status=status,
                gateway=chance.choice(gateways),
                qualification=chance.choice((*qualifications, None)) if status == "failed" else None,
                proof=chance.random() < 0.05,
                contradictory=status == "received" and chance.random() < 0.2,
                parts=chance.choice((1, 1, 2)),
                price=Decimal("0.0425") if chance.random() < 0.5 else None,
            )
        )
    return rows


async def add_messages(connection: Connection, delivery_id: int, rows: Sequence[Row]) -> list[int]:
    """Their ids, in the order of `rows`. The delivery's counters are made to fit."""
    keys = await connection.fetch("SELECT key, id FROM gateways")
    gateways = {row["key"]: row["id"] for row in keys} | {None: None}
    reserved = await connection.fetch(
        "SELECT nextval(pg_get_serial_sequence('messages', 'id')) AS id FROM generate_series(1, $1::int)", len(rows)
    )
    ids = sorted(row["id"] for row in reserved)
    await connection.copy_records_to_table(
        "messages",
        records=[
            (id, delivery_id, row.address, gateways[row.gateway], row.proof, BEGIN)
            for id, row in zip(ids, rows, strict=True)
        ],
        columns=("id", "delivery_id", "address", "gateway_id", "proof", "created_at"),
    )
    await connection.copy_records_to_table(
        "message_state",
        records=[_state(id, delivery_id, gateways[row.gateway], row) for id, row in zip(ids, rows, strict=True)],
        columns=_COLUMNS,
    )
    await connection.execute(
        "WITH sides AS (SELECT s.*, 1 AS sign FROM message_state s WHERE s.message_id = ANY($1::bigint[]) AND NOT s.proof) "
        f"INSERT INTO counters AS t SELECT * FROM {QUERIES['counted']} c "
        "ON CONFLICT (delivery_id, metric, gateway_id, label, bucket) DO UPDATE SET value = t.value + excluded.value",
        ids,
    )
    return ids


_COLUMNS = (
    "message_id", "delivery_id", "gateway_id", "proof", "status", "qualification_id", "occurred_at", "updated_at",
    "submitted_at", "parts", "parts_received", "accepted_at", "sent_at", "failed_at", "received_at", "contradictory",
    "unknown_receipts", "price", "currency",
)  # fmt: skip


def _state(id: int, delivery_id: int, gateway_id: int | None, row: Row) -> tuple[object, ...]:
    received = row.status == "received"
    failed_at = BEGIN + timedelta(seconds=3) if row.status == "failed" or row.contradictory else None
    received_at = BEGIN + timedelta(seconds=row.received_seconds) if received else None
    return (
        id, delivery_id, gateway_id, row.proof, row.status, row.qualification, BEGIN, BEGIN,
        BEGIN, row.parts, row.parts if received else 0, BEGIN, None, failed_at, received_at, row.contradictory,
        0, row.price, None if row.price is None else "EUR",
    )  # fmt: skip
