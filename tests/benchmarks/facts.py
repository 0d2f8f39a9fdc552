"""Messages by the hundred thousand, written as facts straight into the database and folded by the service's own fold.

The same rows that `POST /v1/deliveries/{id}/messages` and receipts would leave, some times faster.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from app.db import Connection, Pool
from app.messages.store import refold

_FOLD = 5_000
#: Number n of a delivery has the address +34600000000 + n, whatever delivery it is.
_FIRST_ADDRESS = 34_600_000_000


def address(number: int) -> str:
    return f"+{_FIRST_ADDRESS + number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What gateways said about a share of the messages: those whose number modulo `of` lies in `numbers`."""

    numbers: range
    of: int
    status: str
    code: str | None = None
    failure_type: str = "undefined"
    reason: str = "not_defined"


async def record(
    pool: Pool, delivery: int, gateways: Sequence[int], *, prefix: str, messages: int, said: Sequence[Said] = ()
) -> None:
    """`messages` messages with one provider id each (`prefix` + 0000000 …), evenly over `gateways`, and what was `said`."""
    async with pool.acquire() as connection:
        await connection.execute(
            "UPDATE deliveries SET status = 'in_progress', started_at = coalesce(started_at, now()) WHERE id = $1",
            delivery,
        )
        await connection.execute(_MESSAGES, delivery, list(gateways), messages, _FIRST_ADDRESS)
        await connection.execute(_SUBMISSIONS, delivery, prefix, messages, _FIRST_ADDRESS)
        await connection.execute(_CORRELATIONS, delivery)
        for each in said:
            qualification = None if each.code is None else await _qualification(connection, gateways[0], each)
            numbers = (each.of, each.numbers.start, each.numbers.stop - 1)
            await connection.execute(
                _RECEIPTS, delivery, _FIRST_ADDRESS, *numbers, each.status, each.code, qualification
            )
        await connection.execute("ANALYZE messages, submissions, correlations, receipts")
        await fold(connection, delivery)
        await connection.execute("ANALYZE message_state, counters")


async def fold(connection: Connection, delivery: int) -> None:
    last = 0
    while True:
        rows = await connection.fetch(
            "SELECT id FROM messages WHERE delivery_id = $1 AND id > $2 ORDER BY id LIMIT $3", delivery, last, _FOLD
        )
        if not rows:
            return
        async with connection.transaction():
            await refold(connection, [row["id"] for row in rows], datetime.now(UTC))
        last = rows[-1]["id"]


async def _qualification(connection: Connection, gateway: int, said: Said) -> int:
    found: int = await connection.fetchval(
        """
        INSERT INTO qualifications
            (implementation, status, error_code, failure_type, reason, sentence, state, first_seen_at, last_seen_at, updated_at)
        SELECT implementation, $2, $3, $4::failure_type, $5, 'Made up for a benchmark.', 'keep', now(), now(), now()
        FROM gateways WHERE id = $1
        ON CONFLICT (implementation, status, error_code) DO UPDATE SET last_seen_at = now() RETURNING id""",
        gateway, said.status.upper(), said.code, said.failure_type, said.reason,
    )  # fmt: skip
    return found


_MESSAGES = """
INSERT INTO messages (delivery_id, address, recipient_id, gateway_id, created_at)
SELECT $1, '+' || ($4::bigint + n), 'R' || n, ($2::int[])[1 + n % cardinality($2::int[])], now() - interval '1 hour'
FROM generate_series(0, $3::int - 1) AS n"""

_SUBMISSIONS = """
INSERT INTO submissions (message_id, gateway_id, submitted_at, recorded_at, provider_message_ids)
SELECT id, gateway_id, now() - interval '1 hour' * (1 - n / $3::float8), now(), ARRAY[$2 || lpad(n::text, 7, '0')]
FROM (SELECT id, gateway_id, substr(address, 2)::bigint - $4::bigint AS n FROM messages WHERE delivery_id = $1) AS m
ORDER BY id"""

_CORRELATIONS = """
INSERT INTO correlations (gateway_id, kind, value, raw, message_id, origin, part, bearing, created_at, seen_at)
SELECT s.gateway_id, 'id', s.provider_message_ids[1], s.provider_message_ids[1], m.id, 'submission', 1, true, now(), now()
FROM messages m JOIN submissions s ON s.message_id = m.id WHERE m.delivery_id = $1 ORDER BY m.id"""

_RECEIPTS = """
INSERT INTO receipts (id, correlation_id, qualification_id, gateway_id, received_at, status, status_text, error_code,
    occurred_at, fingerprint, verified, raw)
SELECT nextval(pg_get_serial_sequence('inbox', 'id')), c.id, $8::int, s.gateway_id, now(), $6::text::message_status, $6, $7::text,
    s.submitted_at + interval '1 second' * (1 + m.id % 60), m.id, true, convert_to('{"status":"' || $6 || '"}', 'UTF8')
FROM messages m
JOIN submissions s ON s.message_id = m.id
JOIN correlations c ON c.message_id = m.id
WHERE m.delivery_id = $1 AND (substr(m.address, 2)::bigint - $2::bigint) % $3::int BETWEEN $4::int AND $5::int
ORDER BY m.id"""
