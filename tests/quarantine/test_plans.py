"""What receipts teach is found by indexes, also by a planner that nobody told to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
import pytest_asyncio

from app.db import Connection, Pool
from app.identities import SEVERAL_SPELLINGS
from app.ingest.runtime import WORKER_SETTINGS
from app.quarantine.store import QUERIES
from tests.messages.rows import BEGIN, Row, add_delivery, add_gateway, add_messages, add_qualifications

LARGE = 30_000
#: Tables that grow with what is sent; what a gateway or an error has one row of may be scanned.
GROW = {"messages", "message_state", "receipts", "quarantine", "decisions", "counters", "held"}


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    delivery: int
    messages: Sequence[int]
    addresses: Sequence[str]
    gateway: int
    error: int


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def world(pool: Pool) -> World:
    """One delivery that is the whole table, a tenth of it failed; every second address is known to the quarantine."""
    async with pool.acquire() as connection, connection.transaction():
        gateway = await add_gateway(connection, "acme")
        error = (await add_qualifications(connection))[0]
        delivery = await add_delivery(connection)
        rows = [
            Row(
                address=f"+34600{number:06d}",
                status="failed" if number % 10 == 0 else "received",
                gateway="acme",
                qualification=error if number % 10 == 0 else None,
            )
            for number in range(LARGE)
        ]
        ids = await add_messages(connection, delivery, rows)
        await connection.execute(
            "INSERT INTO receipts (id, correlation_id, gateway_id, received_at, status, status_text, fingerprint, verified, "
            "raw) SELECT s.message_id, s.message_id, $1, $2, s.status, '', 0, true, '' FROM message_state s",
            gateway,
            BEGIN,
        )
        await connection.execute("UPDATE message_state SET receipt_id = message_id")
        await connection.execute(
            "INSERT INTO quarantine (address, sender, status, reason, origin, errors, since, clears_at, delivery_id, "
            "updated_at) SELECT address, '', 'with_errors', 'unreachable', 'receipts', 1, $1::timestamptz, "
            "CASE WHEN id % 100 = 0 THEN $1 + interval '1 day' ELSE $1 + interval '30 days' END, $2, $1 "
            "FROM messages WHERE id % 2 = 0",
            BEGIN,
            delivery,
        )
        await connection.execute(
            "INSERT INTO decisions (address, kind, at, recorded_at, reason, origin, actor) "
            "SELECT address, 'release', $1, $1, 'not_defined', 'operator', 'tests' FROM messages",
            BEGIN,
        )
        await connection.execute(
            "INSERT INTO breakers (gateway_id, qualification_id, opened_at, failures, finals) VALUES ($1, $2, $3, 1, 1)",
            gateway,
            error,
            BEGIN,
        )
        await connection.execute(
            "INSERT INTO held (breaker_id, message_id, address) SELECT 1, id, address FROM messages"
        )
        await connection.execute(
            "INSERT INTO counters (delivery_id, metric, gateway_id, label, bucket, value) "
            "SELECT 0, m, $1, $2, b, 1 FROM generate_series(1, 15000) b, unnest('{failures,other}'::text[]) m",
            gateway,
            str(error),
        )
    await pool.execute("ANALYZE")
    return World(
        delivery=delivery,
        messages=ids,
        addresses=[row.address for row in rows],
        gateway=gateway,
        error=error,
    )


async def explained(pool: Pool, name: str, *values: Any) -> list[Mapping[str, Any]]:
    """Every node of the plan, as it ran; what it wrote is taken back."""
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        plan = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {QUERIES[name]}", *values)
        await transaction.rollback()
    return list(nodes(orjson.loads(plan)[0]["Plan"]))


def nodes(plan: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return [plan, *(each for below in plan.get("Plans", []) for each in nodes(below))]


def asked(name: str, world: World) -> tuple[Any, ...]:
    addresses, messages = list(world.addresses[500:540]), list(world.messages[500:540])
    values: dict[str, tuple[Any, ...]] = {
        "list_outcomes": (addresses, 2_000),
        "list_decisions": (addresses,),
        "find_standing": (addresses,),
        "list_failures": (messages,),
        "find_touched": (messages, messages[:3], list(SEVERAL_SPELLINGS)),
        "list_due": (BEGIN.replace(day=25), 100),
        "release_messages": ([1], messages),
        "count_window": (world.gateway, str(world.error), 14_000, 14_010),
        "delete_rows": (addresses, [""] * len(addresses)),
    }
    return values[name]


@pytest.mark.parametrize(
    "name",
    [
        "list_outcomes", "list_decisions", "find_standing", "list_failures", "find_touched", "list_due",
        "release_messages", "count_window", "delete_rows",
    ],
)  # fmt: skip
async def test_no_statement_of_the_hot_road_reads_more_than_it_was_asked_about(
    pool: Pool, world: World, name: str
) -> None:
    plan = await explained(pool, name, *asked(name, world))
    assert any(node.get("Relation Name") in GROW for node in plan)
    for node in plan:
        assert not (node["Node Type"] == "Seq Scan" and node["Relation Name"] in GROW), node
        assert node["Actual Rows"] * node["Actual Loops"] <= 1_000, node
        assert node.get("Rows Removed by Filter", 0) * node["Actual Loops"] <= 1_000, node


async def _as_before_the_receipts(connection: Connection) -> None:
    """Statistics of the moment in which three messages to each phone were recorded, and nothing had come of them: they stand
    for a minute, or longer, while the receipts pour in."""
    for name, value in WORKER_SETTINGS.items():
        await connection.execute("SELECT set_config($1, $2, true)", name, value)
    await connection.execute(
        "WITH more AS (INSERT INTO messages (delivery_id, address, proof, created_at) SELECT m.delivery_id, m.address, false, "
        "m.created_at FROM messages m, generate_series(1, 2) RETURNING id, delivery_id) INSERT INTO message_state (message_id, "
        "delivery_id, proof, status, occurred_at, updated_at, parts, parts_received, contradictory, unknown_receipts) "
        "SELECT id, delivery_id, false, 'submitted', now(), now(), 1, 0, false, 0 FROM more"
    )
    await connection.execute(
        "CREATE TEMPORARY TABLE was ON COMMIT DROP AS SELECT message_id, status FROM message_state"
    )
    await connection.execute("UPDATE message_state SET status = 'submitted'")
    await connection.execute("ANALYZE messages, message_state")
    await connection.execute(
        "UPDATE message_state s SET status = was.status FROM was WHERE was.message_id = s.message_id"
    )


@pytest.mark.parametrize("name", ["list_outcomes", "list_failures", "find_touched", "release_messages"])
async def test_statistics_of_before_the_first_receipt_mislead_nobody(pool: Pool, world: World, name: str) -> None:
    addresses, messages = list(world.addresses[500:900]), list(world.messages[500:900])
    values: dict[str, tuple[Any, ...]] = {
        "list_outcomes": (addresses, 2_000),
        "list_failures": (messages,),
        "find_touched": (messages, messages[:3], list(SEVERAL_SPELLINGS)),
        "release_messages": ([1], messages),
    }
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await _as_before_the_receipts(connection)
        plan = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {QUERIES[name]}", *values[name])
        await transaction.rollback()
        await connection.execute("VACUUM messages, message_state")
    for node in nodes(orjson.loads(plan)[0]["Plan"]):
        removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Join Filter", 0)
        assert (node["Actual Rows"] + removed) * node["Actual Loops"] <= 4 * len(messages), node


async def test_what_a_breaker_holds_from_before_is_found_through_the_failures_with_its_error(
    pool: Pool, world: World
) -> None:
    plan = await explained(pool, "hold_earlier", 2, world.gateway, world.error, BEGIN)
    assert (
        max(node["Actual Rows"] * node["Actual Loops"] for node in plan) <= LARGE // 4
    )  # a tenth failed; index entries of dead rows count, too
    states = [node for node in plan if node.get("Relation Name") == "message_state"]
    assert [node["Node Type"] for node in states if node["Node Type"] == "Seq Scan"] == []
