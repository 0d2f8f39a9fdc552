"""One set of thresholds for the installation: who changes it is named, and nobody turns it round unseen."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from app.db import Pool
from app.doctor import examined
from app.processes import LIVING, Process, beat
from app.quarantine.rules import Thresholds
from app.quarantine.thresholds import packed, read_thresholds, settle
from app.settings import Settings

FIVE, SEVEN, NINE = (Thresholds(soft_errors=each) for each in (5, 7, 9))


@pytest_asyncio.fixture(autouse=True, loop_scope="session")
async def _nothing_settled(pool: Pool) -> AsyncIterator[None]:
    await pool.execute("DELETE FROM platform WHERE key LIKE 'quarantine_thresholds%'")
    await pool.execute("DELETE FROM processes")
    await pool.execute("DELETE FROM audit WHERE code = 'QRT-THRESHOLDS'")
    yield


async def started(pool: Pool, wanted: Thresholds, name: str, *, lives: bool = True) -> bool:
    process = Process(name=name, thresholds=packed(wanted))
    async with pool.acquire() as connection, connection.transaction():
        taken = await settle(connection, wanted, process, datetime.now(UTC))
        if lives:
            await beat(connection, process, datetime.now(UTC))
    return taken


async def present(pool: Pool) -> Thresholds:
    async with pool.acquire() as connection:
        return await read_thresholds(connection)


async def entries(pool: Pool) -> list[Any]:
    return await pool.fetch("SELECT text, data FROM audit WHERE chain = 0 AND code = 'QRT-THRESHOLDS' ORDER BY seq")


async def test_the_first_start_writes_them_and_one_with_the_same_settings_changes_nothing(pool: Pool) -> None:
    assert await started(pool, SEVEN, "a")
    assert await started(pool, SEVEN, "b")
    assert (await present(pool), await entries(pool)) == (SEVEN, [])


async def test_a_newer_start_with_other_settings_changes_them_and_the_journal_says_what_and_who(pool: Pool) -> None:
    await started(pool, FIVE, "old:1")
    assert await started(pool, Thresholds(soft_errors=7, interval=timedelta(hours=12)), "new:2")
    (entry,) = await entries(pool)
    assert "new:2" in entry["text"]
    assert "ACUSE_QUARANTINE_SOFT_ERRORS: 5 → 7" in entry["text"]
    assert entry["data"]["changed"] == {
        "ACUSE_QUARANTINE_SOFT_ERRORS": [5, 7], "ACUSE_QUARANTINE_INTERVAL_HOURS": [24.0, 12.0],
    }  # fmt: skip


async def test_a_process_that_comes_back_with_replaced_settings_does_not_turn_them_round(pool: Pool) -> None:
    await started(pool, FIVE, "old")
    await started(pool, SEVEN, "new")
    with capture_logs() as logs:
        for _ in range(3):
            assert not await started(pool, FIVE, "old again")
    assert await present(pool) == SEVEN
    assert len(await entries(pool)) == 1
    assert {each["event"] for each in logs} == {"quarantine.thresholds_differ"}
    assert logs[0]["installation_and_settings"] == {"ACUSE_QUARANTINE_SOFT_ERRORS": [7, 5]}
    assert logs[0]["held_by"] == ["new"]


async def test_settings_that_nobody_alive_holds_to_any_more_may_come_back_in_the_journal(pool: Pool) -> None:
    await started(pool, FIVE, "one")
    await started(pool, SEVEN, "two")
    await pool.execute("UPDATE processes SET seen_at = seen_at - $1::interval", LIVING)
    assert await started(pool, FIVE, "three")
    assert [entry["data"]["process"] for entry in await entries(pool)] == ["two", "three"]


@pytest.mark.parametrize(("errors", "state"), [(5, "ok"), (9, "warning")])
async def test_doctor_names_settings_that_are_not_the_installations(
    pool: Pool, database_url: str, settings: Settings, errors: int, state: str
) -> None:
    await started(pool, FIVE, "one")
    here = settings.model_copy(update={"quarantine_soft_errors": errors})
    check = next(each for each in await examined(here, database_url) if each.name == "thresholds")
    assert check.state == state
    assert ("ACUSE_QUARANTINE_SOFT_ERRORS 5 (here 9)" in check.finding) == (state == "warning")
