"""What is done every second reads a bounded number of rows, however many wait, were rejected, or are known."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest
import pytest_asyncio

from app.db import Pool, create_pool
from app.ingest.clock import Clock
from app.ingest.survey import ROWS, survey
from app.links.routes import Routes
from app.processes import Process
from tests.conftest import Headers
from tests.messages.rows import add_gateway

pytestmark = pytest.mark.slow

LARGE = 200_000
#: One tick's: a chunk of each figure, and what goes with it.
MOST = 3 * ROWS + 10_000
_READ = """
SELECT (SELECT sum(seq_tup_read) FROM pg_stat_user_tables) + (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes)
"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def large(database_url: str) -> AsyncIterator[Pool]:
    """One connection to a database with 200 000 of everything, and a thousand deliveries on their way."""
    pool = await create_pool(database_url, name="tests", size=1)
    async with pool.acquire() as connection:
        gateway = await add_gateway(connection, "acme")
        await connection.execute(
            "INSERT INTO correlations (gateway_id, kind, value, raw, origin, bearing, created_at, seen_at) "
            "SELECT $1, 'id', n::text, n::text, 'receipt', true, now(), now() FROM generate_series(1, $2) n",
            gateway, LARGE,
        )  # fmt: skip
        await connection.execute(
            "INSERT INTO rejected (id, gateway_id, received_at, reason, request, raw) "
            "SELECT 'rj_' || n, $1, now() - make_interval(secs => n / 1000), '-', '{}', '' FROM generate_series(1, $2) n",
            gateway, LARGE,
        )  # fmt: skip
        await connection.execute(
            "INSERT INTO link_blocks (first_id, last_id, delivery_id, added_at) "
            "SELECT n * 10, n * 10 + 5, 1 + n % 1000, now() - interval '1 hour' FROM generate_series(1, $1) n",
            LARGE,
        )
        await connection.execute(
            "INSERT INTO deliveries (label, sender, validity_seconds, tracking, metadata, status, created_at, updated_at) "
            "SELECT 'd', 'Acme', 3600, true, '{}', 'in_progress', now(), now() - interval '1 hour' FROM generate_series(1, 1000)"
        )
        await connection.execute(
            "INSERT INTO links (delivery_id, number, label, source_url, template, tracked, params, in_content) "
            "SELECT id, 0, 'l', 'https://shop.example/', false, true, '{}', true FROM deliveries"
        )
        await connection.execute(
            "INSERT INTO counters (delivery_id, metric, gateway_id, label, bucket, value) "
            "SELECT id, 'status', g, 'submitted', b, 1 FROM deliveries, generate_series(1, 5) g, generate_series(1, 4) b"
        )
        await connection.execute("VACUUM ANALYZE")
    yield pool
    await pool.close()


async def rows_read(pool: Pool) -> int:
    async with pool.acquire() as connection:
        await connection.execute("SELECT pg_stat_force_next_flush()")
        return int(await connection.fetchval(_READ))


async def figure(pool: Pool, metric: str) -> int:
    found = await pool.fetchval("SELECT sum(value) FROM counters WHERE delivery_id = 0 AND metric = $1", metric)
    return int(found or 0)


async def test_a_tick_of_the_clock_costs_the_same_with_200_000_unmatched_and_rejected(large: Pool) -> None:
    clock = Clock(large, every_seconds=1)
    await clock.tick(datetime.now(UTC))
    before = await rows_read(large)
    clock._survey_at = 0.0
    await clock.tick(datetime.now(UTC) + timedelta(seconds=10))
    assert 0 < await rows_read(large) - before <= MOST


async def test_between_two_surveys_a_tick_reads_next_to_nothing_and_every_delivery_gets_its_turn(large: Pool) -> None:
    clock = Clock(large, every_seconds=1)
    await clock.tick(datetime.now(UTC))
    await large.execute("UPDATE counters SET label = 'received' WHERE delivery_id = (SELECT max(id) FROM deliveries)")
    before = await rows_read(large)
    for _ in range(6):
        await clock.tick(datetime.now(UTC))
    assert await rows_read(large) - before <= 6 * 10_000
    assert await large.fetchval("SELECT status::text FROM deliveries ORDER BY id DESC LIMIT 1") == "finished"


async def test_the_figures_are_exact_when_all_has_been_counted_and_follow_what_goes(large: Pool) -> None:
    now = datetime.now(UTC) + timedelta(minutes=5)

    async def counted_through() -> None:
        nonlocal now
        for _ in range(2 * (LARGE // ROWS + 1)):
            now += timedelta(seconds=5)
            async with large.acquire() as connection, connection.transaction():
                await survey(connection, now)

    await counted_through()
    assert [await figure(large, metric) for metric in ("unmatched", "rejected")] == [LARGE, LARGE]
    await large.execute("DELETE FROM rejected WHERE id <> 'rj_1'")
    await counted_through()
    assert await figure(large, "rejected") == 1
    await large.execute("DELETE FROM rejected")
    await counted_through()
    assert await figure(large, "rejected") == 0


async def test_one_process_counts_at_a_time_and_another_does_not_wait_for_it(large: Pool, database_url: str) -> None:
    other = await create_pool(database_url, name="tests", size=1)
    now = datetime.now(UTC) + timedelta(hours=1)
    async with large.acquire() as connection, connection.transaction():
        await survey(connection, now)
        held = await connection.fetchval("SELECT value FROM platform WHERE key = 'survey'")
        async with asyncio.timeout(5), other.acquire() as second, second.transaction():
            await survey(second, now + timedelta(minutes=1))
    assert await other.fetchval("SELECT value FROM platform WHERE key = 'survey'") == held
    await other.close()


async def test_refreshing_routes_reads_what_is_new_and_not_200_000_blocks_again(large: Pool, database_url: str) -> None:
    routes = Routes(database_url, Process(), life_days=1)
    await routes.start()
    try:
        assert routes.of(10 * LARGE) is not None
        async with routes._pool.acquire() as connection:  # what the start has read must not be told later
            await connection.execute("SELECT pg_stat_force_next_flush()")
        before = await rows_read(large)
        await large.execute("INSERT INTO link_blocks (first_id, last_id, delivery_id) VALUES (7, 8, 1)")
        await large.execute("INSERT INTO link_blocks (first_id, last_id, delivery_id) VALUES (90000000, 90000001, 2)")
        routes._long_at = 0.0
        for _ in range(3):
            await routes.refresh()
            async with routes._pool.acquire() as connection:
                await connection.execute("SELECT pg_stat_force_next_flush()")
        assert routes.of(7) is not None
        assert routes.of(90_000_001) is not None
        assert await rows_read(large) - before <= 5_000
    finally:
        await routes.stop()


async def test_a_page_of_a_long_list_says_how_far_it_counted(
    client: httpx.AsyncClient, admin: Headers, large: Pool
) -> None:
    await large.execute(
        "INSERT INTO receipts (id, correlation_id, gateway_id, received_at, status, status_text, fingerprint, verified, raw) "
        "SELECT id, id, gateway_id, now(), 'sent', 'sent', 1, true, '' FROM correlations ORDER BY id LIMIT 3"
    )
    page = (await client.get("/v1/receipts/unmatched?limit=2", headers=admin)).json()
    assert (len(page["items"]), page["total"], page["at_least"]) == (2, None, 10_001)
    await large.execute("DELETE FROM rejected")
    short = (await client.get("/v1/receipts/rejected?limit=2", headers=admin)).json()
    assert (short["total"], "at_least" in short) == (0, False)
