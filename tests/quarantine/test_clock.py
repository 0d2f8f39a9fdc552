"""The clock forgets errors that are old enough, by the thresholds of the settings."""

import itertools
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest
import pytest_asyncio

from app.db import Pool
from app.ingest.clock import Clock
from app.quarantine.rules import Thresholds
from app.quarantine.store import forget_errors, reexamine
from app.quarantine.thresholds import read_thresholds, write_thresholds
from tests.messages.rows import BEGIN, Row, add_delivery, add_gateway, add_messages

SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)
#: When rows of `add_messages` fail.
FAILED_AT = BEGIN + 3 * SECOND
_serial = itertools.count(1)


@pytest_asyncio.fixture(autouse=True, loop_scope="session")
async def _usual_thresholds(pool: Pool) -> AsyncIterator[None]:
    yield
    async with pool.acquire() as connection:
        await write_thresholds(connection, Thresholds())


async def failed(pool: Pool, reason: str, now: datetime = FAILED_AT) -> str:
    """An address to which one message failed softly, examined at `now`."""
    name = f"clock-{next(_serial)}"
    address = f"+34600{next(_serial):06d}"
    async with pool.acquire() as connection, connection.transaction():
        await add_gateway(connection, name)
        error = await connection.fetchval(
            "INSERT INTO qualifications (implementation, status, error_code, failure_type, reason, sentence, state, updated_at) "
            "VALUES ($1, 'UNDELIV', '1', 'soft', $2, '-', 'keep', now()) RETURNING id",
            name,
            reason,
        )
        rows = [Row(address=address, status="failed", gateway=name, qualification=error)]
        await add_messages(connection, await add_delivery(connection), rows)
        await reexamine(connection, [address], now)
    return address


async def status(pool: Pool, address: str) -> str:
    row = await pool.fetchrow("SELECT status::text AS status FROM quarantine WHERE address = $1", address)
    return "valid" if row is None else str(row["status"])


@pytest.mark.parametrize(("reason", "days"), [("unreachable", 10), ("mailbox_full", 30)])
async def test_errors_are_forgotten_when_the_last_one_is_older_than_its_days(
    pool: Pool, reason: str, days: int
) -> None:
    address = await failed(pool, reason)
    clock = Clock(pool, every_seconds=1)
    seen = []
    for now in (FAILED_AT + days * DAY - SECOND, FAILED_AT + days * DAY, FAILED_AT + days * DAY + SECOND):
        await clock.tick(now)
        seen.append(await status(pool, address))
    assert seen == ["with_errors", "with_errors", "valid"]
    label = f"with_errors/{reason}/receipts"
    counted = "SELECT sum(value) FROM counters WHERE metric = 'quarantine' AND label = $1"
    assert await pool.fetchval(counted, label) == 0


async def test_the_thresholds_of_the_settings_are_gone_by(pool: Pool) -> None:
    short = Thresholds(
        soft_errors=3, interval=timedelta(hours=1), forgotten_after=2 * DAY, mailbox_forgotten_after=3 * DAY
    )
    async with pool.acquire() as connection:
        await write_thresholds(connection, short)
        assert await read_thresholds(connection) == short
    address, full = await failed(pool, "unreachable"), await failed(pool, "mailbox_full")
    clock = Clock(pool, every_seconds=1)
    await clock.tick(FAILED_AT + 2 * DAY)
    assert [await status(pool, each) for each in (address, full)] == ["with_errors", "with_errors"]
    await clock.tick(FAILED_AT + 2 * DAY + SECOND)
    assert [await status(pool, each) for each in (address, full)] == ["valid", "with_errors"]
    await clock.tick(FAILED_AT + 3 * DAY + SECOND)
    assert await status(pool, full) == "valid"


async def test_one_soft_error_is_enough_where_the_settings_say_so(pool: Pool) -> None:
    async with pool.acquire() as connection:
        await write_thresholds(connection, Thresholds(soft_errors=1))
    address = await failed(pool, "unreachable")
    assert await status(pool, address) == "quarantined"
    await Clock(pool, every_seconds=1).tick(FAILED_AT + 4_000 * DAY)
    assert await status(pool, address) == "quarantined"


async def test_errors_counted_under_longer_thresholds_are_forgotten_by_the_new_ones_when_their_time_comes(
    pool: Pool,
) -> None:
    """A change of the settings looks at an address again when its old time has come, or something happens to it."""
    address = await failed(pool, "unreachable")
    async with pool.acquire() as connection:
        await write_thresholds(connection, Thresholds(forgotten_after=20 * DAY))
    clock = Clock(pool, every_seconds=1)
    await clock.tick(FAILED_AT + 10 * DAY + SECOND)
    assert await status(pool, address) == "with_errors"
    await clock.tick(FAILED_AT + 20 * DAY + SECOND)
    assert await status(pool, address) == "valid"


async def test_the_clock_ends_though_an_address_stays(pool: Pool) -> None:
    """What is due and stays gets a later time: it does not come again in the same tick."""
    await failed(pool, "unreachable", FAILED_AT + DAY)
    async with pool.acquire() as connection:
        await write_thresholds(connection, Thresholds(forgotten_after=20 * DAY))
        async with connection.transaction():
            assert await forget_errors(connection, FAILED_AT + 11 * DAY) == 1
            assert await forget_errors(connection, FAILED_AT + 11 * DAY) == 0
