"""The background job: what it takes up by itself, and when it gives up."""

import asyncio
from datetime import UTC, datetime

import httpx
import pytest
from fastapi import FastAPI

from app.deliveries import preparer
from tests.conftest import Headers

from .audience import Delivery, mobile


async def _becomes(delivery: Delivery, status: str) -> None:
    for _ in range(400):
        if (await delivery.get())["status"] == status:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"it does not become {status}")


async def test_what_another_process_left_behind_is_taken_up_by_itself(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers
) -> None:
    one = await Delivery.make(app, client, admin)
    await one.upload([mobile(1), mobile(2)])
    await one.begin(datetime.now(UTC))
    await _becomes(one, "prepared")
    await one.books_balance()


async def test_a_preparation_that_fails_at_one_place_again_and_again_is_given_up(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers
) -> None:
    one = await Delivery.make(app, client, admin)
    await one.upload([mobile(1)])
    async with app.state.pool.acquire() as connection:
        await connection.execute('UPDATE deliveries SET rules = \'{"colour": "red"}\' WHERE id = $1', one.id)
    assert (await one.post("prepare")).status_code in (202, 500)  # such rules cannot be shown, either
    for _ in range(400):
        async with app.state.pool.acquire() as connection:
            if await connection.fetchval("SELECT status = 'failed' FROM deliveries WHERE id = $1", one.id):
                break
        await asyncio.sleep(0.05)
    (entry,) = await one.journal("DLV-PREPARATION-FAILED")
    assert (entry["level"], entry["data"]) == ("error", {"error": "ValidationError"})


async def test_a_database_that_comes_back_is_no_failure(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More lost connections than tries: it goes on all the same."""
    monkeypatch.setattr(preparer, "_LONGEST_PAUSE_SECONDS", 0.05)
    one = await Delivery.make(app, client, admin)
    await one.upload([mobile(number) for number in range(20_000)])
    assert (await one.post("prepare")).status_code == 202
    for _ in range(6):
        async with app.state.pool.acquire() as connection:
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'acuse-preparer' "
                "AND datname = current_database()"
            )
        await asyncio.sleep(0.1)
    await _becomes(one, "prepared")
    await one.books_balance()
