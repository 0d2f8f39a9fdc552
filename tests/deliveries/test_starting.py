"""A start at a time, and pauses: one process starts, nothing is lost by restarts, and a paused outbox gives nothing."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import httpx
import pytest
from fastapi import FastAPI

from app.deliveries import lifecycle, outbox, starting
from app.deliveries.preparer import Preparer
from app.ingest.clock import finish
from tests.conftest import Headers

from .audience import Delivery, mobile
from .sending import Sending

NAMES: list[dict[str, Any]] = [{"name": "Ana"}, {"name": "Bo"}, {"name": "Cy"}]
LIMITS = starting.Limits(oldest=timedelta(days=1), latest=timedelta(hours=2))


@pytest.fixture
async def sending(app: FastAPI, client: httpx.AsyncClient, admin: Headers) -> Sending:
    return await Sending.make(app, client, admin)


def later(**of: float) -> str:
    return (datetime.now(UTC) + timedelta(**of)).isoformat()


async def patch(sending: Sending | Delivery, body: Any) -> httpx.Response:
    return await sending.client.patch(sending.url, json=body, headers=sending.headers)


async def due(sending: Sending | Delivery, **ago: float) -> None:
    """As if its time had come so long ago."""
    async with sending.app.state.pool.acquire() as connection:
        at = datetime.now(UTC) - timedelta(**ago)
        await connection.execute("UPDATE deliveries SET scheduled_at = $2 WHERE id = $1", sending.id, at)


async def becomes(read: Callable[[], Awaitable[dict[str, Any]]], status: str) -> dict[str, Any]:
    for _ in range(600):
        found = await read()
        if found["status"] == status:
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(f"it does not become {status}: {found}")


# --- a time for the start --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["start", "patch"])
async def test_a_start_is_set_for_a_time_and_happens_by_itself(sending: Sending, way: str) -> None:
    await sending.prepare(NAMES)
    at = {"scheduled_at": later(seconds=3)}
    answer = await (sending.post("start", at) if way == "start" else patch(sending, at))
    assert (answer.status_code, answer.json()["status"]) == (200, "prepared"), answer.text
    assert datetime.fromisoformat(answer.json()["scheduled_at"]) == datetime.fromisoformat(at["scheduled_at"])
    assert answer.json()["started_at"] is None
    started = await becomes(sending.get, "in_progress")
    assert started["scheduled_at"] is None
    assert started["started_at"] >= answer.json()["scheduled_at"]
    assert [entry["code"] for entry in await sending.journal()][-2:] == ["DLV-SCHEDULED", "DLV-STARTED"]
    entry = (await sending.journal("DLV-STARTED"))[0]
    assert (entry["actor"], entry["data"]["messages"]) == ("system", 3)
    assert entry["data"]["scheduled_at"] == answer.json()["scheduled_at"]
    assert len(await sending.outbox()) == 3
    await sending.check_books()


async def test_many_processes_start_it_once(sending: Sending) -> None:
    await sending.prepare(NAMES)
    await due(sending, seconds=1)
    now, pool = datetime.now(UTC), sending.app.state.pool
    await asyncio.gather(*(starting.start_due(pool, now, LIMITS) for _ in range(4)))
    await becomes(sending.get, "in_progress")
    assert len(await sending.journal("DLV-STARTED")) == 1


async def test_one_that_somebody_holds_is_passed_over_and_taken_later(sending: Sending, database_url: str) -> None:
    await sending.prepare(NAMES)
    pool = sending.app.state.pool
    async with pool.acquire() as connection, connection.transaction():
        assert await connection.fetchval(outbox.QUERIES["lock_handling"], sending.id)
        await due(sending, seconds=1)
        await asyncio.wait_for(starting.start_due(pool, datetime.now(UTC), LIMITS), 20)
        assert await sending.status() == "prepared"
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT 1 FROM deliveries WHERE id = $1 FOR UPDATE", sending.id)
        await asyncio.wait_for(starting.start_due(pool, datetime.now(UTC), LIMITS), 20)
    await becomes(sending.get, "in_progress")
    assert len(await sending.journal("DLV-STARTED")) == 1


async def test_what_was_due_while_nobody_looked_is_started_by_the_next_process(
    sending: Sending, database_url: str
) -> None:
    own = sending.app.state.preparer
    await own.stop()
    try:
        await sending.prepare(NAMES)
        assert (await sending.post("start", {"scheduled_at": later(milliseconds=200)})).status_code == 200
        await asyncio.sleep(0.5)
        assert await sending.status() == "prepared"
        next_process = Preparer(database_url, sending.app.state.links, LIMITS)
        await next_process.start()
        try:
            await becomes(sending.get, "in_progress")
        finally:
            await next_process.stop()
    finally:
        await own.start()


@pytest.mark.parametrize("ago", [1, 3_600, 400 * 86_400])
async def test_a_time_that_is_past_is_refused_and_nothing_starts(sending: Sending, ago: int) -> None:
    await sending.prepare(NAMES)
    at = later(seconds=-ago)
    for answer in (await sending.post("start", {"scheduled_at": at}), await patch(sending, {"scheduled_at": at})):
        assert answer.status_code == 422
        (error,) = answer.json()["errors"]
        assert (error["pointer"], "This time is past" in error["detail"]) == ("/scheduled_at", True)
    assert await sending.status() == "prepared"


@pytest.mark.parametrize("status", [each for each in get_args(lifecycle.Status) if each != "prepared"])
async def test_only_what_is_prepared_gets_a_time(sending: Sending, status: str) -> None:
    await sending.prepare(NAMES)
    await sending.set_status(status)
    at = {"scheduled_at": later(days=1)}
    for answer in (await sending.post("start", at), await patch(sending, at)):
        assert (answer.status_code, f"this one is {status.replace('_', ' ')}" in answer.json()["detail"]) == (409, True)
    assert await sending.journal("DLV-SCHEDULED") == []


async def test_errors_of_the_preparation_forbid_a_time_as_they_forbid_the_start(sending: Sending) -> None:
    finding = {"level": "error", "code": "missing", "text": "`name` is missing.", "data": {}}
    await sending.prepare(NAMES, [finding])
    at = {"scheduled_at": later(days=1)}
    for answer in (await sending.post("start", at), await patch(sending, at)):
        assert (answer.status_code, "`name` is missing" in answer.json()["detail"]) == (409, True)


async def test_errors_found_since_stop_the_start_and_the_journal_says_why(sending: Sending) -> None:
    finding = {"level": "error", "code": "missing", "text": "`name` is missing.", "data": {}}
    await sending.prepare(NAMES, [finding])
    await due(sending, seconds=1)
    for _ in range(600):
        if entries := await sending.journal("DLV-NOT-STARTED"):
            break
        await asyncio.sleep(0.05)
    (entry,) = entries
    assert (entry["level"], entry["data"]["reason"]) == ("error", "`name` is missing.")
    shown = await sending.get()
    assert (shown["status"], shown["scheduled_at"]) == ("prepared", None)


async def test_what_was_due_too_long_ago_is_not_started_by_itself(sending: Sending) -> None:
    await sending.prepare(NAMES)
    await due(sending, hours=2, seconds=1)
    for _ in range(600):
        if entries := await sending.journal("DLV-NOT-STARTED"):
            break
        await asyncio.sleep(0.05)
    (entry,) = entries
    assert (entry["level"], "more than 2 h ago" in entry["text"]) == ("error", True)
    shown = await sending.get()
    assert (shown["status"], shown["scheduled_at"]) == ("prepared", None)
    assert (await sending.post("start")).status_code == 200


async def test_a_time_is_moved_and_taken_back(sending: Sending) -> None:
    await sending.prepare(NAMES)
    first, second = later(days=1), later(days=2)
    await sending.post("start", {"scheduled_at": first})
    await sending.post("start", {"scheduled_at": first})
    assert len(await sending.journal("DLV-SCHEDULED")) == 1
    moved = (await patch(sending, {"scheduled_at": second})).json()
    assert datetime.fromisoformat(moved["scheduled_at"]) == datetime.fromisoformat(second)
    for _ in range(2):
        back = (await patch(sending, {"scheduled_at": None})).json()
        assert (back["scheduled_at"], back["status"]) == (None, "prepared")
        assert back["updated_at"] > moved["updated_at"]
    entries = await sending.journal("DLV-SCHEDULED")
    assert len(entries) == 3
    assert entries[-1]["text"].endswith("is off: somebody took it back.")


async def test_a_start_by_hand_comes_before_its_time(sending: Sending) -> None:
    await sending.prepare(NAMES)
    await sending.post("start", {"scheduled_at": later(days=1)})
    answer = await sending.post("start")
    assert (answer.json()["status"], answer.json()["scheduled_at"]) == ("in_progress", None)
    assert "by hand" in (await sending.journal("DLV-STARTED"))[0]["text"]


async def test_the_time_is_changed_by_itself_only(sending: Sending) -> None:
    await sending.prepare(NAMES)
    answer = await patch(sending, {"scheduled_at": later(days=1), "content": "Other"})
    assert (answer.status_code, "by itself" in answer.text) == (422, True)


@pytest.mark.parametrize("change", ["content", "upload", "take out", "correct", "link", "cancel"])
async def test_a_change_takes_the_time_back(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers, change: str
) -> None:
    one = await Delivery.make(app, client, admin, content="Hello https://shop.example/offer STOP", tracking=False)
    await one.upload([mobile(1), mobile(2)])
    await one.prepare()
    at = (await patch(one, {"scheduled_at": later(days=1)})).json()
    calls: dict[str, tuple[str, str, Any]] = {
        "content": ("PATCH", "", {"content": "Other STOP"}),
        "upload": ("POST", "/targets", [{"address": mobile(3)}]),
        "take out": ("DELETE", "/targets/1", None),
        "correct": ("PATCH", "/targets/1", {"control": True}),
        "link": ("PATCH", "/links/0", {"params": {"utm_source": "sms"}}),
        "cancel": ("POST", "/cancel", None),
    }
    method, path, body = calls[change]
    answer = await client.request(method, f"{one.url}{path}", json=body, headers=admin)
    assert answer.status_code == 200, answer.text
    shown = await one.get()
    assert (shown["scheduled_at"], shown["status"]) == (None, "cancelled" if change == "cancel" else "editing")
    if change != "cancel":
        entry = (await one.journal("DLV-LINK-CHANGED" if change == "link" else "DLV-SCHEDULED"))[-1]
        assert "must be prepared again" in entry["text"]
        assert (entry["data"]["scheduled_at"], entry["data"]["before"]) == (None, at["scheduled_at"])
    await due(one, seconds=1)  # and whatever stands there, only what is prepared starts
    await starting.start_due(app.state.pool, datetime.now(UTC), LIMITS)
    assert (await one.get())["status"] == shown["status"]


@pytest.mark.parametrize("change", [{"label": "Other"}, {"metadata": {"order": 8}}, {"label": "A", "metadata": {}}])
async def test_what_no_message_has_anything_of_leaves_the_time(sending: Sending, change: dict[str, Any]) -> None:
    await sending.prepare(NAMES)
    at = (await patch(sending, {"scheduled_at": later(days=1)})).json()["scheduled_at"]
    answer = await patch(sending, change)
    assert (answer.status_code, answer.json()["status"], answer.json()["scheduled_at"]) == (200, "prepared", at)
    assert len(await sending.journal("DLV-SCHEDULED")) == 1


async def test_what_was_prepared_too_long_ago_is_prepared_again_before_it_starts(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers
) -> None:
    """Who opted out since then is heard."""
    one = await Delivery.make(app, client, admin)
    await one.upload([mobile(701), mobile(702)])
    first = await one.prepare()
    assert (await patch(one, {"scheduled_at": later(days=1)})).status_code == 200
    row = {"address": mobile(702), "status": "denylisted"}
    assert (await client.post("/v1/quarantine", json=[row], headers=admin)).status_code == 200
    async with app.state.pool.acquire() as connection:
        await connection.execute(
            "UPDATE preparations SET finished_at = finished_at - interval '25 hours' WHERE delivery_id = $1", one.id
        )
    await due(one, seconds=1)
    started = await becomes(one.get, "in_progress")
    assert started["preparation"]["started_at"] > first["preparation"]["started_at"]
    assert started["preparation"]["excluded"] == {"denylisted": 1}
    assert "more than 24 h ago" in (await one.journal("DLV-PREPARING"))[-1]["text"]
    codes = [entry["code"] for entry in (await one.get("audit"))["items"]]
    assert codes.index("DLV-STARTED") < codes.index("DLV-PREPARED")  # newest first
    await one.books_balance()


@pytest.mark.parametrize("paused", [False, True])
async def test_a_cancel_that_is_only_tried_shows_neither_time_nor_pause(sending: Sending, paused: bool) -> None:
    if paused:
        await sending.started(1)
        await sending.post("pause")
    else:
        await sending.prepare(NAMES)
        await sending.post("start", {"scheduled_at": later(days=1)})
    tried, done = (await sending.post("cancel?dry_run=true")).json(), (await sending.post("cancel")).json()
    assert (tried["status"], tried["scheduled_at"], tried["paused_at"]) == ("cancelled", None, None)
    assert tried | {"updated_at": None} == done | {"updated_at": None}


# --- a pause ---------------------------------------------------------------------------------------------------------


async def test_a_paused_delivery_gives_nothing_until_it_goes_on(sending: Sending) -> None:
    ids = await sending.started(3)
    paused = (await sending.post("pause")).json()
    assert (paused["status"], paused["paused_at"] is not None) == ("in_progress", True)
    answer = await sending.client.get(f"{sending.url}/outbox", headers=sending.headers)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["acuse-paused-at"] == paused["paused_at"]
    assert (await sending.get("summary"))["paused_at"] == paused["paused_at"]
    assert (await sending.post("resume")).json()["paused_at"] is None
    assert (await sending.get("summary"))["paused_at"] is None
    answer = await sending.client.get(f"{sending.url}/outbox", headers=sending.headers)
    assert "acuse-paused-at" not in answer.headers
    assert [int(row["message_id"]) for row in await sending.outbox()] == ids
    await sending.check_books()


async def test_pausing_and_going_on_twice_is_as_once(sending: Sending) -> None:
    await sending.started(1)
    assert (await sending.post("resume")).status_code == 200
    first = [(await sending.post("pause")).json() for _ in range(3)]
    assert len({each["paused_at"] for each in first}) == 1
    assert {(await sending.post("resume")).status_code for _ in range(3)} == {200}
    assert [len(await sending.journal(code)) for code in ("DLV-PAUSED", "DLV-RESUMED")] == [1, 1]


@pytest.mark.parametrize("status", [each for each in get_args(lifecycle.Status) if each != "in_progress"])
@pytest.mark.parametrize("what", ["pause", "resume"])
async def test_only_what_is_in_progress_is_paused(sending: Sending, status: str, what: str) -> None:
    await sending.prepare(NAMES)
    await sending.set_status(status)
    answer = await sending.post(what)
    assert (answer.status_code, status.replace("_", " ") in answer.json()["detail"]) == (409, True)
    await sending.set_status("cancelled")


async def test_a_stream_under_way_ends_with_the_pause(sending: Sending, monkeypatch: pytest.MonkeyPatch) -> None:
    from app.deliveries.texts import Text

    await sending.started(5)
    monkeypatch.setattr(outbox, "CHUNK", 2)
    asked = outbox.Asked(
        delivery_id=sending.id, gateway_id=None, sender="Acme", text=Text.of("Hello {{name}}", None), after=0, limit=None,
        actor="tests",
    )  # fmt: skip
    lines = outbox.stream(sending.app.state.pool, asked)
    assert (await anext(lines)).count(b"\n") == 2
    await sending.post("pause")
    assert [piece async for piece in lines] == []
    (entry,) = await sending.journal("DLV-OUTBOX")
    assert (entry["data"]["ending"], entry["data"]["given"]) == ("paused", 2)


async def test_what_was_given_before_the_pause_is_reported_and_received_during_it(sending: Sending) -> None:
    ids = await sending.started(2)
    await sending.post("pause")
    assert (await sending.submit({"message_id": str(ids[0]), "provider_message_id": f"p-{ids[0]}"}))["accepted"] == 1
    await sending.callback({"provider_message_id": f"p-{ids[0]}", "status": "delivered"})
    for _ in range(400):
        if await sending.message_status(ids[0]) == "received":
            break
        await asyncio.sleep(0.05)
    assert await sending.message_status(ids[0]) == "received"
    assert (await sending.post("cancel")).json()["paused_at"] is None
    await sending.check_books()


async def test_a_pause_does_not_use_up_the_validity_period(sending: Sending) -> None:
    await sending.started(1)
    await sending.post("pause")
    await sending.execute(
        "UPDATE deliveries SET started_at = now() - interval '100 hours', paused_at = now() - interval '99 hours' WHERE id = $1",
        sending.id,
    )  # fmt: skip
    assert await finished(sending, hours=0) == "in_progress"
    assert (await sending.post("resume")).status_code == 200
    assert await finished(sending, hours=80) == "in_progress"
    assert await finished(sending, hours=84) == "finished"


async def finished(sending: Sending, **later_by: float) -> str:
    async with sending.app.state.pool.acquire() as connection, connection.transaction():
        await finish(connection, datetime.now(UTC) + timedelta(**later_by), [sending.id])
    return await sending.status()
