"""The worker: what it cannot apply it sets aside, alone, and nothing it cannot judge."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
import pytest_asyncio

from app.db import Pool
from app.gateways.receipt import Auth, Gateway, Options, Outcome, Receipt
from app.ingest.kinds import put_back
from app.ingest.rows import inbox_row
from app.ingest.store import append
from app.ingest.worker import Worker


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def gateway(pool: Pool) -> Gateway:
    id = await pool.fetchval(
        "INSERT INTO gateways (key, kind, label, implementation, options, auth, created_at, updated_at) "
        "VALUES ('acme', 'generic', 'Acme', 'Acme', '{}', '{}', now(), now()) RETURNING id"
    )
    return Gateway(id=id, key="acme", kind="generic", implementation="Acme", options=Options(), auth=Auth(mode="none"))


@pytest_asyncio.fixture(loop_scope="session")
async def poison(pool: Pool) -> AsyncIterator[None]:
    """Receipts whose status is POISON make the database raise."""
    await pool.execute("TRUNCATE inbox, receipts, rejected")
    await pool.execute(
        "CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF new.status_text = 'POISON' THEN RAISE 'poison'; END IF; RETURN new; END $$"
    )
    await pool.execute("CREATE TRIGGER poison BEFORE INSERT ON receipts FOR EACH ROW EXECUTE FUNCTION poison()")
    yield
    await pool.execute("DROP FUNCTION poison() CASCADE")


def worker(pool: Pool, batch: int = 100) -> Worker:
    return Worker(pool, asyncio.Event(), batch=batch)


async def arrive(pool: Pool, gateway: Gateway, *statuses: str) -> None:
    rows = [
        inbox_row(
            gateway,
            Receipt(outcome=Outcome.SENT, status=status, provider_message_id=f"w{n}", raw=b"x"),
            datetime.now(UTC),
        )
        for n, status in enumerate(statuses)
    ]
    async with pool.acquire() as connection:
        await append(connection, rows)


async def counts(pool: Pool) -> tuple[int, int, int]:
    row = await pool.fetchrow(
        "SELECT (SELECT count(*) FROM inbox), (SELECT count(*) FROM receipts), (SELECT count(*) FROM rejected)"
    )
    assert row is not None
    return tuple(row)


@pytest.mark.usefixtures("poison")
async def test_poison_is_set_aside_without_its_neighbours_and_can_be_put_back(pool: Pool, gateway: Gateway) -> None:
    await arrive(pool, gateway, *["SENT"] * 7, "POISON", *["SENT"] * 5, "POISON", "SENT")
    await worker(pool).step()
    assert await counts(pool) == (0, 13, 2)
    rejected = await pool.fetch("SELECT kind, reason, request, raw FROM rejected")
    for row in rejected:
        assert (row["kind"], "RaiseError" in row["reason"]) == ("receipt", True)
    await pool.execute("DROP TRIGGER poison ON receipts")
    async with pool.acquire() as connection:
        await append(connection, [put_back(row["kind"], row["request"], row["raw"]) for row in rejected])
    await worker(pool).step()
    assert await counts(pool) == (0, 15, 2)


@pytest.mark.usefixtures("poison")
async def test_a_receipt_alone_is_to_blame_when_its_like_can_be_applied(pool: Pool, gateway: Gateway) -> None:
    await arrive(pool, gateway, "POISON")
    await worker(pool).step()
    assert await counts(pool) == (0, 0, 1)


async def test_what_strikes_every_receipt_sets_none_aside(pool: Pool, gateway: Gateway) -> None:
    await pool.execute("TRUNCATE inbox, receipts, rejected")
    await arrive(pool, gateway, "SENT", "SENT")
    hand = worker(pool)
    await pool.execute("ALTER TABLE receipts RENAME TO receipts_elsewhere")
    try:
        for _ in range(4):
            assert await hand.step() == 0
            await asyncio.sleep(0.3)
        assert await pool.fetchval("SELECT count(*) FROM inbox") == 2
    finally:
        await pool.execute("ALTER TABLE receipts_elsewhere RENAME TO receipts")
    await asyncio.sleep(0.6)
    await hand.step()
    assert await counts(pool) == (0, 2, 0)


async def test_workers_share_the_inbox_and_none_takes_a_receipt_twice(pool: Pool, gateway: Gateway) -> None:
    await pool.execute("TRUNCATE inbox, receipts, rejected")
    await arrive(pool, gateway, *["SENT"] * 500)
    hands = [worker(pool, batch=20) for _ in range(3)]
    while any([await asyncio.gather(*(hand.step() for hand in hands))][0]):
        pass
    assert await counts(pool) == (0, 500, 0)
