"""Start, cancel and prepare of one delivery at the same time, many times: one winner, clear answers, no half state."""

import asyncio
import random
from collections.abc import Awaitable

import httpx
import pytest
from fastapi import FastAPI

from tests.conftest import Headers
from tests.deliveries.sending import Sending, address

pytestmark = pytest.mark.slow

ROUNDS = 30
TARGETS = 150


async def test_start_cancel_and_prepare_at_once(app: FastAPI, client: httpx.AsyncClient, admin: Headers) -> None:
    chance = random.Random(3)
    outcomes: set[tuple[int, ...]] = set()
    for number in range(ROUNDS):
        one = await Sending.make(app, client, admin)
        rows = [{"address": address(place), "params": {"name": f"N{place}"}} for place in range(TARGETS)]
        assert (await one.post("targets", rows)).status_code == 200
        if number % 2:
            assert (await one.post("prepare?wait=20")).json()["status"] == "prepared"
        # Start, prepare, cancel, start, prepare.
        calls = [one.post(what) for what in ("start", "prepare", "cancel", "start", "prepare")]
        answers = await asyncio.gather(*(later(call, chance.random() * 0.2) for call in calls))
        codes = tuple(answer.status_code for answer in answers)
        assert set(codes) <= {200, 202, 409}, codes
        assert all(answer.json()["detail"] for answer in answers if answer.status_code == 409)
        started = [codes[0], codes[3]].count(200)
        assert (codes[2], started <= 1) == (200, True)
        await nothing_is_left_of_it(one)
        journal = [entry["code"] for entry in await one.journal()]
        assert (journal.count("DLV-STARTED"), journal.count("DLV-CANCELLED")) == (started, 1)
        assert {"DLV-STARTED", "DLV-PREPARED"}.isdisjoint(journal[journal.index("DLV-CANCELLED") :])
        outcomes.add((number % 2, *codes))
    assert len(outcomes) > 5, "the rounds were all alike"


async def later(call: Awaitable[httpx.Response], wait: float) -> httpx.Response:
    await asyncio.sleep(wait)
    return await call


async def nothing_is_left_of_it(one: Sending) -> None:
    """It is cancelled for good: no message goes out, and none comes behind the cancel."""
    assert await one.status() == "cancelled"
    counted = (await one.get())["indicators"]
    assert counted["to_send"] == counted["cancelled"] in (0, TARGETS)
    await asyncio.sleep(0.1)  # a preparer that had not noticed would write now
    assert (await one.get())["indicators"] == counted
    assert (await one.client.get(f"{one.url}/outbox", headers=one.headers)).status_code == 409
    await one.check_books()
