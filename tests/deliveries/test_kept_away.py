"""A STOP is heard until the last moment: whoever was put away since the preparation is not sent to, and it is said why."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.deliveries import outbox
from app.deliveries.texts import Text
from tests.conftest import Headers
from tests.deliveries.sending import Sending, address


@pytest.fixture
async def sending(app: FastAPI, client: httpx.AsyncClient, admin: Headers) -> AsyncIterator[Sending]:
    made = await Sending.make(app, client, admin)
    yield made
    await made.execute("DELETE FROM quarantine")  # the next one's messages go to the same numbers
    await made.execute("DELETE FROM decisions")


async def say(sending: Sending, place: int, text: str, **more: Any) -> None:
    """The phone of target `place` writes, and is heard."""
    phone = address(place)
    await sending.callback({"type": "inbound", "from": phone, "to": "25252", "text": text, **more})
    for _ in range(200):
        found = await sending.client.get("/v1/inbound", params={"address": phone}, headers=sending.headers)
        if all(row["applied_at"] for row in found.json()["items"]):
            return
        sending.app.state.inbox.arrived.set()
        await asyncio.sleep(0.05)
    raise AssertionError("nobody heard it")


async def put_away(sending: Sending, *rows: dict[str, Any]) -> None:
    answer = await sending.client.post("/v1/quarantine", json=list(rows), headers=sending.headers)
    assert answer.status_code == 200, answer.text
    assert answer.json()["rejected"] == 0, answer.text


async def check(sending: Sending, ids: list[int], reason: str) -> None:
    """Messages `ids`, and only they, ended cancelled for `reason`: in the log, in the figures, in the journal."""
    for id in ids:
        message = await sending.message(id)
        assert (message["status"], message["reason"]) == ("cancelled", reason)
        assert f"{reason} since the preparation" in message["text"]
        assert f"{reason} since the preparation" in message["timeline"][-1]["rule"]
    summary = await sending.get("summary")
    assert (summary["cancelled"], summary["kept_away_by_reason"]) == (len(ids), {reason: len(ids)})
    assert summary["to_send"] == sum(summary["by_status"].values())
    entries = await sending.journal("DLV-KEPT-AWAY")
    assert sorted(each for entry in entries for each in entry["data"]["message_ids"]) == sorted(map(str, ids))
    assert sum(entry["data"]["by_reason"][reason] for entry in entries) == len(ids)
    await sending.check_books()


async def test_a_stop_between_preparation_and_start(sending: Sending) -> None:
    ids = await sending.prepare([{"name": "A"}, {"name": "B"}, {"name": "C"}])
    await say(sending, 2, "STOP")
    await sending.post("start")
    assert [row["message_id"] for row in await sending.outbox()] == [str(ids[0]), str(ids[2])]
    await check(sending, [ids[1]], "denylisted")
    assert [row["message_id"] for row in await sending.outbox()] == [str(ids[0]), str(ids[2])]
    assert len(await sending.journal("DLV-KEPT-AWAY")) == 1  # it is said once


async def test_a_stop_between_two_pages_of_the_outbox(sending: Sending) -> None:
    ids = await sending.started(4)
    first = await sending.outbox(limit=2)
    await say(sending, 3, "baja")
    second = await sending.outbox(after=first[-1]["message_id"], limit=2)
    assert [row["message_id"] for row in first + second] == [str(ids[0]), str(ids[1]), str(ids[3])]
    await check(sending, [ids[2]], "denylisted")


async def test_a_stop_while_the_outbox_is_being_read(sending: Sending) -> None:
    ids = await sending.started(outbox.CHUNK + 3)
    asked = outbox.Asked(
        delivery_id=sending.id, gateway_id=None, sender="Acme", text=Text.of("Hello {{name}}", None), after=0, limit=None,
        actor="tests",
    )  # fmt: skip
    lines = outbox.stream(sending.app.state.pool, asked)
    assert len((await anext(lines)).splitlines()) == outbox.CHUNK
    await say(sending, outbox.CHUNK + 2, "STOP")
    assert [len(each.splitlines()) async for each in lines] == [2]
    await check(sending, [ids[-2]], "denylisted")


async def test_a_number_that_was_quarantined_since(sending: Sending) -> None:
    ids = await sending.started(3)
    await put_away(sending, {"address": address(1), "status": "quarantined", "reason": "user_unknown"})
    assert [row["message_id"] for row in await sending.outbox()] == [str(ids[1]), str(ids[2])]
    await check(sending, [ids[0]], "quarantined")


async def test_an_opt_out_to_one_sender_keeps_away_from_that_sender_alone(sending: Sending) -> None:
    ids = await sending.started(2)
    path = f"/v1/gateways/{sending.key}/reply-rules"
    rules = {"rules": [{"keyword": "STOP", "action": "denylist", "scope": "sender"}]}
    assert (await sending.client.put(path, json=rules, headers=sending.headers)).status_code == 200
    await say(sending, 1, "STOP", to="Other")
    await say(sending, 2, "STOP", to="Acme")
    assert [row["message_id"] for row in await sending.outbox()] == [str(ids[0])]
    await check(sending, [ids[1]], "denylisted")


async def test_whoever_opted_in_again_before_the_page_is_sent_to(sending: Sending) -> None:
    ids = await sending.started(1)
    await say(sending, 1, "STOP")
    await say(sending, 1, "START")
    assert [row["message_id"] for row in await sending.outbox()] == [str(ids[0])]
    assert await sending.journal("DLV-KEPT-AWAY") == []
    await sending.check_books()


async def test_when_all_of_them_were_put_away_nothing_is_given_out_and_the_read_ends(sending: Sending) -> None:
    ids = await sending.started(3)
    await put_away(sending, *({"address": address(place), "status": "denylisted"} for place in (1, 2, 3)))
    assert await sending.outbox() == []
    await check(sending, ids, "denylisted")


async def test_one_that_was_sent_all_the_same_is_what_its_gateway_says(sending: Sending) -> None:
    (id,) = await sending.started(1)
    assert len(await sending.outbox()) == 1  # given out before
    await say(sending, 1, "STOP")
    assert await sending.outbox() == []
    await sending.submit({"message_id": str(id), "provider_message_id": f"late-{id}"})
    message = await sending.message(id)
    assert (message["status"], message["reason"]) == ("accepted", None)
    assert (await sending.get("summary"))["kept_away_by_reason"] == {"denylisted": 1}
    await sending.check_books()


async def test_what_somebody_cancels_has_no_such_reason(sending: Sending) -> None:
    (id,) = await sending.started(1)
    await sending.post("cancel")
    message = await sending.message(id)
    assert (message["status"], message["reason"], message["text"]) == ("cancelled", None, None)
    assert (await sending.get("summary"))["kept_away_by_reason"] == {}


async def test_a_reply_names_what_it_answers_and_counts_in_its_delivery(sending: Sending) -> None:
    ids = await sending.started(3)
    await sending.submit(*({"message_id": str(id), "provider_message_id": f"answered-{id}"} for id in ids))
    await say(sending, 1, "STOP")
    await say(sending, 2, "thank you")
    await say(sending, 3, "please stop")
    summary = await sending.get("summary")
    assert (summary["replies"], summary["opt_outs"]) == (3, 1)
    shown = (await sending.get())["indicators"]
    assert (shown["replies"], shown["opt_outs"]) == (3, 1)
    asked = {"delivery_id": str(sending.id)}
    page = (await sending.client.get("/v1/inbound", params=asked, headers=sending.headers)).json()
    assert page["total"] == 3
    assert [row["message_id"] for row in page["items"][::-1]] == [str(id) for id in ids]
    opted_out = await sending.client.get("/v1/inbound", params=asked | {"action": "denylist"}, headers=sending.headers)
    assert (opted_out.json()["total"], len(opted_out.json()["items"])) == (1, 1)
    entries = await sending.journal("DLV-REPLIES")
    assert sum(entry["data"]["replies"] for entry in entries) == 3
    assert sum(entry["data"]["opt_outs"] for entry in entries) == 1
    await sending.check_books()


async def test_a_stop_in_another_spelling_of_the_phone_is_heard_and_names_its_message(sending: Sending) -> None:
    ids = await sending.started(2)
    given, other = "+5511987654321", "+551187654321"
    await sending.execute("UPDATE messages SET address = $2 WHERE id = $1", ids[0], given)
    await sending.callback({"type": "inbound", "from": other, "to": "Acme", "text": "STOP"})
    found: list[dict[str, Any]] = []
    for _ in range(200):
        page = await sending.client.get("/v1/inbound", params={"address": other}, headers=sending.headers)
        found = page.json()["items"]
        if found and found[0]["applied_at"]:
            break
        sending.app.state.inbox.arrived.set()
        await asyncio.sleep(0.05)
    assert (found[0]["action"], found[0]["message_id"]) == ("denylist", str(ids[0]))
    assert [row["message_id"] for row in await sending.outbox()] == [str(ids[1])]
    await check(sending, [ids[0]], "denylisted")


# --- while a delivery waits ------------------------------------------------------------------------------------------


async def in_progress(sending: Sending) -> None:
    for _ in range(600):
        if await sending.status() == "in_progress":
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it did not start by itself")


async def test_a_stop_between_preparation_and_a_start_at_a_time(sending: Sending) -> None:
    ids = await sending.prepare([{"name": "A"}, {"name": "B"}, {"name": "C"}])
    at = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    assert (await sending.post("start", {"scheduled_at": at})).status_code == 200
    await say(sending, 2, "STOP")
    await sending.execute("UPDATE deliveries SET scheduled_at = now() WHERE id = $1", sending.id)  # and now it is due
    await in_progress(sending)
    assert [row["message_id"] for row in await sending.outbox()] == [str(ids[0]), str(ids[2])]
    await check(sending, [ids[1]], "denylisted")


async def test_a_stop_during_a_pause(sending: Sending) -> None:
    ids = await sending.started(4)
    first = await sending.outbox(limit=2)
    await sending.post("pause")
    await say(sending, 3, "STOP")
    assert await sending.outbox(after=first[-1]["message_id"]) == []
    assert (await sending.get("summary"))["cancelled"] == 0  # nobody is judged before the message is to be given out
    await sending.post("resume")
    second = await sending.outbox(after=first[-1]["message_id"])
    assert [row["message_id"] for row in second] == [str(ids[3])]
    await check(sending, [ids[2]], "denylisted")


async def test_a_stop_between_the_start_at_a_time_a_page_and_a_pause(sending: Sending) -> None:
    """Each place where a delivery waits, one after the other, and somebody says STOP in each of them."""
    ids = await sending.prepare([{"name": f"N{number}"} for number in range(9)])
    at = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    await sending.post("start", {"scheduled_at": at})
    await say(sending, 1, "STOP")
    await sending.execute("UPDATE deliveries SET scheduled_at = now() WHERE id = $1", sending.id)
    await in_progress(sending)
    first = await sending.outbox(limit=3)
    await say(sending, 5, "STOP")
    second = await sending.outbox(after=first[-1]["message_id"], limit=2)
    await sending.post("pause")
    await say(sending, 8, "STOP")
    await sending.post("resume")
    third = await sending.outbox(after=second[-1]["message_id"])
    assert [int(row["message_id"]) for row in first + second + third] == [
        ids[place - 1] for place in (2, 3, 4, 6, 7, 9)
    ]
    await check(sending, [ids[0], ids[4], ids[7]], "denylisted")
