"""What the hot road asks is answered through indexes by a planner that knows nothing: a fresh database has no statistics for
its first minute, and that is when everything comes at once."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
import pytest_asyncio

from app.db import Connection, Pool, create_pool
from app.ingest.pipeline import QUERIES
from app.ingest.runtime import WORKER_SETTINGS
from app.ingest.store import QUERIES as INBOX
from app.links.store import QUERIES as CLICKS
from app.matching.sql import QUERIES as MATCHING
from app.messages.store import QUERIES as FOLD
from app.quarantine.store import QUERIES as QUARANTINE
from tests.messages.rows import add_delivery, add_gateway

LARGE = 30_000
BATCH = 200
#: Rows that one step of a plan may read or throw away for each row of the batch.
MOST_EACH = 5
GROW = (
    "correlations",
    "receipts",
    "messages",
    "message_state",
    "submissions",
    "inbox",
    "clicks",
    "click_inbox",
    "rejected",
)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def fresh(database_url: str) -> AsyncIterator[Pool]:
    """A database that nobody has analysed: 30 000 messages, their references, and receipts that came before the ids."""
    pool = await create_pool(database_url, name="worker", size=2, settings=WORKER_SETTINGS)
    async with pool.acquire() as connection:
        for table in GROW:
            await connection.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = false)")
        await _fill(connection)
        assert await connection.fetchval("SELECT count(*) FROM pg_stats WHERE tablename = ANY($1::text[])", GROW) == 0
    yield pool
    await pool.close()


async def _fill(connection: Connection) -> None:
    gateway = await add_gateway(connection, "acme")
    delivery = await add_delivery(connection)
    await connection.execute(
        "INSERT INTO messages (id, delivery_id, address, reference, gateway_id, proof, created_at) "
        "SELECT n, $1, '+346' || n, 'r' || n, $2, false, now() FROM generate_series(1, $3) n",
        delivery, gateway, LARGE,
    )  # fmt: skip
    await connection.execute(
        "INSERT INTO message_state (message_id, delivery_id, gateway_id, proof, status, occurred_at, updated_at, parts, "
        "parts_received, contradictory, unknown_receipts) SELECT n, $1, $2, false, 'submitted', now(), now(), 1, 0, false, 0 "
        "FROM generate_series(1, $3) n",
        delivery, gateway, LARGE,
    )  # fmt: skip
    await connection.execute(
        "INSERT INTO submissions (message_id, gateway_id, submitted_at, recorded_at, provider_message_ids) "
        "SELECT n, $1, now(), now(), '{}' FROM generate_series(1, $2) n",
        gateway, LARGE,
    )  # fmt: skip
    for kind, value, message, origin in (
        ("reference", "'r' || n", "n", "submission"),
        ("id", "'early' || n", "NULL", "receipt"),
        ("id", "'known' || n", "n", "submission"),
    ):
        await connection.execute(
            "INSERT INTO correlations (gateway_id, kind, value, raw, message_id, origin, bearing, created_at, seen_at) "
            f"SELECT $1, '{kind}', {value}, {value}, {message}, '{origin}', {message} IS NULL, now(), now() "
            "FROM generate_series(1, $2) n",
            gateway, LARGE,
        )  # fmt: skip
    await connection.execute(
        "INSERT INTO receipts (id, correlation_id, gateway_id, received_at, status, status_text, fingerprint, verified, raw) "
        "SELECT 1000000 + c.id, c.id, c.gateway_id, now(), 'sent', 'sent', c.id, true, '' FROM correlations c WHERE c.kind = 'id'"
    )
    await connection.execute(
        "INSERT INTO inbox (gateway_id, received_at, provider_message_id, reference, status, status_text, fingerprint, "
        "verified, raw) SELECT $1, now(), 'early' || n, 'r' || n, 'received', 'd', n, true, '' FROM generate_series(1, $2) n",
        gateway, LARGE,
    )  # fmt: skip
    click = (
        "SELECT n, n, $1, 0, now(), true, '{}', 'phone', 'x', '{}', NULL, 1 FROM generate_series($2::int, $3::int) n"
    )
    columns = (
        "id, message_id, delivery_id, link, clicked_at, human, reasons, device, agent, visit, network, rules_version"
    )
    await connection.execute(f"INSERT INTO clicks ({columns}) {click}", delivery, 1, LARGE // 2)
    await connection.execute(f"INSERT INTO click_inbox ({columns}) {click}", delivery, LARGE // 2 + 1, LARGE)


def nodes(plan: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return [plan, *(each for below in plan.get("Plans", []) for each in nodes(below))]


async def worst_step(connection: Connection, statement: str, *values: Any) -> tuple[float, Any]:
    """The rows that the busiest step of its plan reads, and the step."""
    plan = orjson.loads(await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", *values))[0]["Plan"]
    removed = ("Rows Removed by Filter", "Rows Removed by Join Filter", "Rows Removed by Index Recheck")

    def read(node: Mapping[str, Any]) -> float:
        return float((node["Actual Rows"] + sum(node.get(name, 0) for name in removed)) * node["Actual Loops"])

    worst = max(nodes(plan), key=read)
    return read(worst), worst


NAMES = list(range(1_000, 1_000 + BATCH))
KEYS = ([1] * BATCH, ["id"] * BATCH, [f"early{n}" for n in NAMES])
#: By name: the statement, and what it is asked in a transaction that holds a batch of early receipts.
ASKED: Mapping[str, tuple[str, tuple[Any, ...]]] = {
    "claim_receipt": (INBOX["claim_receipt"], (BATCH, [], None)),
    "claim_these": (INBOX["claim_receipt"], (BATCH, [], NAMES)),
    "claim_others": (INBOX["claim_receipt"], (BATCH, NAMES, None)),
    "remove_receipt": (INBOX["delete_receipt"], ()),
    "claim_click": (INBOX["claim_click"], (BATCH, [], None)),
    "remove_click": (INBOX["delete_click"], ()),
    "meet": (QUERIES["meet_keys"], ()),
    "link": (QUERIES["link_keys"], ()),
    "unqualified": (QUERIES["list_unqualified"], ()),
    "seen": (QUERIES["note_seen"], ()),
    "record": (QUERIES["record_receipts"], ()),
    "taken_keys": (MATCHING["find_taken_keys"], KEYS),
    "former_owners": (MATCHING["find_former_owners"], KEYS),
    "claim_keys": (
        MATCHING["claim_keys"], (*KEYS, KEYS[2], [None] * BATCH, NAMES, datetime.now(UTC)),
    ),
    "follow_references": (MATCHING["follow_references"], (NAMES,)),
    "claim_references": (MATCHING["claim_references"], ([1] * BATCH, NAMES, "acuse-", datetime.now(UTC))),
    "find_messages": (MATCHING["find_messages"], (1, NAMES, [f"r{n}" for n in NAMES])),
    "known_submissions": (MATCHING["find_submissions"], (NAMES,)),
    "submitted_among": (MATCHING["find_submitted"], (1, KEYS[2])),
    "lock_states": (FOLD["lock_states"], (NAMES,)),
    "refold": (FOLD["refold_messages"], (NAMES, datetime.now(UTC))),
    "outcomes": (QUARANTINE["list_outcomes"], ([f"+346{n}" for n in NAMES], 1_000)),
    "record_clicks": (CLICKS["record_clicks"], (2.0,)),
    "settle": (CLICKS["settle_clicks"], (NAMES, [None] * BATCH)),
}  # fmt: skip


async def read_by(connection: Connection, name: str) -> tuple[float, Any]:
    """What the busiest step of the statement reads, asked in the middle of applying a batch."""
    statement, values = ASKED[name]
    for kind in ("receipt", "click"):
        await connection.execute(INBOX[f"open_{kind}"])
        if "batch" in statement and not name.startswith("claim"):
            await connection.execute(INBOX[f"claim_{kind}"], BATCH, [], None)
    return await worst_step(connection, statement, *values)


@pytest.mark.parametrize("name", ASKED)
async def test_a_planner_without_statistics_reads_what_it_is_asked_about_and_no_more(fresh: Pool, name: str) -> None:
    async with fresh.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        read, step = await read_by(connection, name)
        await transaction.rollback()
    assert read <= BATCH * MOST_EACH, step


@pytest.mark.parametrize("name", [name for name, (text, _) in ASKED.items() if "message_state" in text])
async def test_statistics_of_before_the_first_failure_mislead_nobody(fresh: Pool, name: str) -> None:
    """They say that all messages are on their way, and stand for a minute or longer, while the receipts pour in."""
    async with fresh.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("ANALYZE message_state, messages")
        await connection.execute("UPDATE message_state SET status = 'failed'")
        read, step = await read_by(connection, name)
        await transaction.rollback()
        await connection.execute("VACUUM message_state")
    assert read <= BATCH * MOST_EACH, step


async def test_which_message_a_reply_answers_is_looked_for_among_the_newest_of_its_phone(fresh: Pool) -> None:
    """A provider's own phone has one message of every delivery, for years."""
    phone, others = "+34699000000", "+34699000001"
    async with fresh.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(
            "WITH made AS (INSERT INTO deliveries (label, sender, validity_seconds, tracking, metadata, status, created_at, "
            "updated_at) SELECT n, 'Acme', 302400, true, '{}', 'in_progress', now(), now() FROM generate_series(1, 3000) n "
            "RETURNING id) INSERT INTO messages (id, delivery_id, address, proof, created_at) "
            "SELECT 1000000 + id, id, $1, false, now() FROM made UNION ALL "  # and newer ones to many others
            "SELECT 2000000 + id, (SELECT max(id) FROM made), '+34698' || id, false, now() FROM made",
            phone,
        )
        await connection.execute(
            "INSERT INTO message_state (message_id, delivery_id, proof, status, occurred_at, updated_at, parts, parts_received, "
            "contradictory, unknown_receipts) SELECT id, delivery_id, false, 'sent', now(), now(), 1, 0, false, 0 FROM messages "
            "WHERE address = $1",
            phone,
        )
        await connection.execute(INBOX["open_reply"])
        await connection.execute(
            "INSERT INTO reply_batch (id, gateway_id, received_at, address, text, verified, raw) "
            "VALUES (1, 1, now(), $1, 'STOP', true, '')",
            phone,
        )
        names = ([1, 1], [phone, others])
        newest = await connection.fetchval("SELECT max(id) FROM messages WHERE address = $1", phone)
        (found,) = await connection.fetch(QUERIES["find_answered"], *names)
        read, step = await worst_step(connection, QUERIES["find_answered"], *names)
        await transaction.rollback()
    assert found["message_id"] == newest
    assert read <= 60, step


@pytest.mark.parametrize(
    ("columns", "values"),
    [("part_reference, part, parts", "'7', 1 + n % 250, 255"), ("provider_message_id", "'again'")],
)
async def test_one_piece_or_one_id_that_is_sent_for_ever_holds_nobody_up(
    fresh: Pool, columns: str, values: str
) -> None:
    async with fresh.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(
            f"INSERT INTO inbound (gateway_id, received_at, address, text, verified, raw, {columns}) "
            f"SELECT 1, now(), '+34697000000', 'text ' || n, true, '', {values} FROM generate_series(1, 3000) n"
        )
        await connection.execute(INBOX["open_reply"])
        await connection.execute(INBOX["claim_reply"], BATCH, [], None)
        assert len(await connection.fetch(QUERIES["list_replies"])) == BATCH
        read, step = await worst_step(connection, QUERIES["list_replies"])
        await transaction.rollback()
    assert read <= BATCH * 1_000, step
