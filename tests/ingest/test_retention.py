"""What is kept for a time only: raw payloads go, what was read out of them stays.

No service runs beside these tests but for the last: its clock would do the same steps."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from app.db import Pool
from app.ingest import retention
from tests.conftest import Headers
from tests.ingest.test_roads import Account, until

NOW = datetime.now(UTC)
OLD, YOUNG = NOW - timedelta(days=91), NOW - timedelta(days=89)
BEFORE = NOW - timedelta(days=90)


async def step(pool: Pool, what: retention.Step, before: datetime = BEFORE) -> int:
    async with pool.acquire() as connection, connection.transaction():
        return await what(connection, before)


async def all_steps(pool: Pool, what: retention.Step, before: datetime = BEFORE) -> int:
    total = 0
    while found := await step(pool, what, before):
        total += found
    return total


async def _receipts(pool: Pool, first: int, times: list[datetime]) -> None:
    await pool.executemany(
        "INSERT INTO receipts (id, correlation_id, gateway_id, received_at, status_text, fingerprint, verified, raw) "
        "VALUES ($1, 0, 1, $2, 'x', 1, true, 'payload')",
        [(first + n, at) for n, at in enumerate(times)],
    )


async def test_old_receipts_lose_their_payload_in_steps_and_young_ones_keep_it(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_ROWS", 4)
    await _receipts(pool, 1_000_001, [OLD] * 10 + [YOUNG] * 3)
    assert [await step(pool, retention.forget_receipts) for _ in range(4)] == [4, 4, 2, 0]
    left = "SELECT array_agg(id ORDER BY id) FROM receipts WHERE raw <> '' AND id > 1000000"
    assert await pool.fetchval(left) == [1_000_011, 1_000_012, 1_000_013]
    assert await pool.fetchval("SELECT count(*) FROM receipts WHERE status_text = 'x'") == 13
    # Later the same goes on behind them, and looks at nothing twice.
    assert await all_steps(pool, retention.forget_receipts, NOW) == 3


async def test_two_clocks_do_it_once(pool: Pool) -> None:
    await _receipts(pool, 2_000_001, [OLD] * 3)
    async with pool.acquire() as one, one.transaction():
        assert await retention.forget_receipts(one, BEFORE) == 3
        assert await step(pool, retention.forget_receipts) == 0  # another is at it
    assert await step(pool, retention.forget_receipts) == 0


async def test_replies_and_rejected_bodies_lose_theirs_and_stay(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "_ROWS", 2)
    for at in (OLD, OLD, OLD, YOUNG):
        await pool.execute(
            "INSERT INTO inbound (gateway_id, received_at, address, text, verified, raw, applied_at) "
            "VALUES (1, $1, '+34600000001', 'Hi', true, 'payload', $1)",
            at,
        )
        await pool.execute(
            "INSERT INTO rejected (id, gateway_id, received_at, reason, request, raw) "
            "VALUES (gen_random_uuid(), 1, $1, 'bad', $2, 'payload')",
            at,
            {"method": "GET", "query": "to=1"},
        )
    await pool.execute(
        "INSERT INTO rejected (id, gateway_id, received_at, reason, request, raw) VALUES ('aside', 1, $1, 'x', $2, 'payload')",
        OLD,
        {"row": {"status_text": "x"}},
    )
    assert await all_steps(pool, retention.forget_inbound) == 3
    assert await all_steps(pool, retention.forget_rejected) == 4
    for table in ("inbound", "rejected"):
        assert await pool.fetchval(f"SELECT count(*) FROM {table} WHERE raw <> ''") == 1
    assert await pool.fetchval("SELECT count(*) FROM inbound WHERE text = 'Hi'") == 4
    assert await pool.fetchval("SELECT count(*) FROM rejected WHERE request ? 'query'") == 1
    assert await pool.fetchval("SELECT request -> 'row' ->> 'status_text' FROM rejected WHERE id = 'aside'") == "x"


async def test_the_timeline_says_that_a_payload_was_removed_for_its_age(
    client: httpx.AsyncClient, admin: Headers, pool: Pool
) -> None:
    client.headers.update(admin)
    account = await Account.make(client)
    await account.messages({"address": "+34600000002", "provider_message_id": "aged"})
    await account.callback({"provider_message_id": "aged", "status": "DELIVRD"})
    await until(account.statuses, lambda found: found == ["received"])
    await pool.execute("UPDATE receipts SET raw = '' WHERE status_text = 'DELIVRD'")
    items = (await client.get(f"/v1/deliveries/{account.delivery}/messages")).json()["items"]
    message: Any = (await client.get(f"/v1/messages/{items[0]['id']}")).json()
    (receipt,) = [each for each in message["timeline"] if each["kind"] == "receipt"]
    assert receipt["raw"] == ""
    assert "Its raw payload was removed for its age." in receipt["rule"]
