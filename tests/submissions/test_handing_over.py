"""Messages sent from here: submissions by our own reference, receipts that come early or only echo it, and the end."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.db import Pool
from app.ingest.clock import Clock, finish
from app.locks import Lock
from tests.conftest import Headers
from tests.deliveries.sending import Sending, make_gateway
from tests.ingest.test_roads import until

pytestmark = pytest.mark.slow


@pytest.fixture
async def sending(app: FastAPI, client: httpx.AsyncClient, admin: Headers) -> Sending:
    return await Sending.make(app, client, admin)


async def becomes(sending: Sending, *wanted: str) -> None:
    await until(sending.statuses, lambda found: found == list(wanted))


async def waits(sending: Sending, count: int) -> None:
    await until(sending.waiting, lambda items: len(items) == count)


def ours(id: int) -> str:
    return f"acuse-{id}"


# --- submissions -----------------------------------------------------------------------------------------------------


async def test_messages_are_reported_by_id_or_by_reference(sending: Sending) -> None:
    first, second, third, fourth = await sending.started(4)
    await sending.outbox(limit=2)
    answer = await sending.submit(
        {"message_id": str(first), "provider_message_id": "ho-1"},
        {"reference": ours(second), "provider_message_id": "ho-2"},
        {"reference": ours(third), "error_code": "11", "error_text": "Invalid destination"},
        {"reference": ours(fourth)},
    )
    assert (answer["accepted"], answer["errors"]) == (4, [])
    assert await sending.statuses() == ["accepted", "accepted", "failed", "submitted"]
    await sending.check_books()


async def test_our_reference_names_only_messages_of_this_delivery_that_are_sent_from_here(sending: Sending) -> None:
    (own,) = await sending.started(1)
    other = await Sending.make(sending.app, sending.client, sending.headers, content=None)
    await other.post("messages", [{"address": "+34600000001", "provider_message_id": "foreign"}])
    (foreign,) = (await other.get("messages"))["items"]
    answer = (
        await other.post("submissions", [{"reference": ours(int(foreign["id"]))}, {"reference": ours(own)}])
    ).json()
    assert [error["detail"] for error in answer["errors"]] == ["This delivery has no such message."] * 2


async def test_our_references_cannot_be_given_to_messages_sent_elsewhere(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers
) -> None:
    one = await Sending.make(app, client, admin, content=None)
    rows = [{"address": "+34600000001", "reference": "acuse-7"}, {"address": "+34600000002", "reference": "acuse-7a"}]
    answer = (await one.post("messages", rows)).json()
    assert (answer["accepted"], [error["line"] for error in answer["errors"]]) == (1, [1])


async def test_a_submission_sent_again_changes_nothing(sending: Sending) -> None:
    (id,) = await sending.started(1)
    row = {"reference": ours(id), "provider_message_id": "again-1"}
    for _ in range(3):
        assert (await sending.submit(row))["accepted"] == 1
    message = await sending.message(id)
    assert [fact["kind"] for fact in message["timeline"]].count("submission") == 1


# --- receipts that only echo our reference -----------------------------------------------------------------------------


async def test_a_receipt_that_only_echoes_our_reference_finds_its_message(sending: Sending) -> None:
    await sending.started(2)
    row, _ = await sending.outbox()
    await sending.callback({"reference": row["reference"], "status": "delivered"})
    await becomes(sending, "received", "pending")
    assert await sending.waiting() == []
    await sending.check_books()


async def test_a_receipt_with_our_reference_teaches_the_providers_id(sending: Sending) -> None:
    await sending.started(1)
    (row,) = await sending.outbox()
    await sending.callback({"reference": row["reference"], "provider_message_id": "taught-1", "status": "sent"})
    await becomes(sending, "sent")
    await sending.callback({"provider_message_id": "taught-1", "status": "delivered"})
    await becomes(sending, "received")


async def test_receipts_before_the_outbox_wait_and_their_message_is_not_given_out_again(sending: Sending) -> None:
    first, second, third = await sending.started(3)
    await sending.callback({"reference": ours(first), "status": "delivered"})
    await sending.callback({"reference": ours(second), "provider_message_id": "early-2", "status": "sent"})
    await waits(sending, 2)
    assert await sending.statuses() == ["pending"] * 3
    assert [int(row["message_id"]) for row in await sending.outbox()] == [third]
    assert await sending.statuses() == ["received", "sent", "pending"]
    await sending.callback({"provider_message_id": "early-2", "status": "delivered"})
    await becomes(sending, "received", "received", "pending")
    await sending.check_books()


async def test_a_receipt_whose_word_is_unknown_leaves_the_message_in_the_outbox(sending: Sending) -> None:
    (id,) = await sending.started(1)
    await sending.callback({"reference": ours(id), "status": "quite odd"})
    await waits(sending, 1)
    assert [int(row["message_id"]) for row in await sending.outbox()] == [id]


async def test_receipts_before_the_submission_wait_for_it_without_any_outbox(sending: Sending) -> None:
    first, second, third = await sending.started(3)
    await sending.callback({"reference": ours(first), "status": "delivered"})
    await sending.callback({"reference": ours(second), "provider_message_id": "sub-2", "status": "failed"})
    await sending.callback({"provider_message_id": "sub-3", "status": "delivered"})
    await waits(sending, 3)
    answer = await sending.submit(
        {"message_id": str(first)},
        {"message_id": str(second)},
        {"reference": ours(third), "provider_message_id": "sub-3"},
    )
    assert answer["accepted"] == 3
    assert await sending.statuses() == ["received", "failed", "received"]
    assert await sending.waiting() == []
    await sending.check_books()


async def test_the_reference_is_known_to_the_gateway_that_the_submission_names(sending: Sending) -> None:
    (id,) = await sending.started(1)
    other = await make_gateway(sending.client, sending.headers)
    await sending.callback({"reference": ours(id), "status": "delivered"}, gateway=other)
    await sending.outbox()
    await sending.submit({"message_id": str(id), "gateway": other})
    await becomes(sending, "received")
    assert (await sending.message(id))["gateway"] == other


async def test_a_receipt_by_our_reference_and_the_outbox_at_once_always_meet(sending: Sending) -> None:
    ids = await sending.started(40)
    for id in ids:
        await asyncio.gather(
            sending.callback({"reference": ours(id), "status": "delivered"}),
            sending.outbox(after=str(id - 1), limit=1),
        )
    await becomes(sending, *["received"] * 40)
    assert await sending.waiting() == []
    await sending.check_books()


async def test_outbox_submissions_and_receipts_may_come_in_any_order(sending: Sending) -> None:
    """The same facts in the expected order and in random ones, some at the same time: the same statuses."""
    expected = await played(sending, random.Random(0), shuffled=False)
    assert set(expected) == {"received", "failed", "accepted", "sent"}
    for seed in range(1, 13):
        one = await Sending.make(sending.app, sending.client, sending.headers)
        assert await played(one, random.Random(seed), shuffled=True) == expected, seed
        assert await one.waiting() == []
        await one.check_books()


async def played(sending: Sending, chance: random.Random, *, shuffled: bool) -> list[str]:
    first, second, third, fourth, fifth = await sending.started(5)
    facts: list[Callable[[], Awaitable[Any]]] = [
        lambda: sending.outbox(),
        lambda: sending.submit({"message_id": str(first), "provider_message_ids": ["a1", "a2"]}),
        lambda: sending.submit({"reference": ours(second), "provider_message_id": "b1"}),
        lambda: sending.submit({"reference": ours(third)}, {"message_id": str(fourth), "provider_message_id": "d1"}),
        lambda: sending.callback({"provider_message_id": "a1", "status": "delivered"}),
        lambda: sending.callback({"provider_message_id": "a2", "reference": ours(first), "status": "delivered"}),
        lambda: sending.callback({"reference": ours(second), "status": "failed", "error_code": "7"}),
        lambda: sending.callback({"provider_message_id": "b1", "status": "sent"}),
        lambda: sending.callback({"provider_message_id": "c1", "reference": ours(third), "status": "accepted"}),
        lambda: sending.callback({"provider_message_id": "c1", "status": "delivered"}),
        lambda: sending.callback({"reference": ours(fifth), "status": "sent"}),
    ]  # fmt: skip
    if shuffled:
        chance.shuffle(facts)
    while facts:
        at_once = chance.randint(1, 3) if shuffled else 1
        await asyncio.gather(*(fact() for fact in facts[:at_once]))
        facts = facts[at_once:]
        await asyncio.sleep(chance.random() * 0.1)
    if shuffled:
        await sending.outbox()
    await until(sending.waiting, lambda items: items == [])
    await until(lambda: queued(sending), lambda count: count == 0)
    return await sending.statuses()


async def queued(sending: Sending) -> int:
    async with sending.app.state.pool.acquire() as connection:
        return int(await connection.fetchval("SELECT count(*) FROM inbox"))


# --- cancel ------------------------------------------------------------------------------------------------------------


async def test_what_was_handed_over_before_the_cancel_still_counts(sending: Sending) -> None:
    first, second, _ = await sending.started(3)
    await sending.outbox()
    await sending.post("cancel")
    assert await sending.statuses() == ["cancelled"] * 3
    assert (await sending.submit({"message_id": str(first), "provider_message_id": "late-1"}))["accepted"] == 1
    await sending.callback({"reference": ours(second), "status": "delivered"})
    await becomes(sending, "accepted", "received", "cancelled")
    await sending.callback({"provider_message_id": "late-1", "status": "delivered"})
    await becomes(sending, "received", "received", "cancelled")
    assert await sending.status() == "cancelled"
    await sending.check_books()


async def test_a_failed_delivery_takes_no_submissions(sending: Sending) -> None:
    (id,) = await sending.started(1)
    await sending.set_status("failed")
    assert (await sending.post("submissions", [{"message_id": str(id)}])).status_code == 409


# --- the end -----------------------------------------------------------------------------------------------------------


async def ended(sending: Sending, pool: Pool, now: datetime) -> str:
    async with pool.acquire() as connection, connection.transaction():
        await finish(connection, now, [sending.id])
    return await sending.status()


async def test_it_is_finished_when_the_last_final_status_is_in(sending: Sending, pool: Pool) -> None:
    first, second = await sending.started(2)
    await sending.submit({"message_id": str(first), "provider_message_id": "end-1"})
    await sending.callback({"provider_message_id": "end-1", "status": "delivered"})
    await becomes(sending, "received", "pending")
    assert await ended(sending, pool, datetime.now(UTC)) == "in_progress"
    await sending.submit({"message_id": str(second), "error_code": "11"})
    await until(sending.status, lambda found: found == "finished")
    (entry,) = await sending.journal("DLV-FINISHED")
    assert (entry["level"], entry["data"]) == ("info", {"messages": 2, "pending": 0})


async def test_what_was_never_handed_over_does_not_keep_it_open_for_ever(sending: Sending, pool: Pool) -> None:
    first, _, _ = await sending.started(3)
    await sending.submit({"message_id": str(first), "error_code": "11"})
    started = datetime.now(UTC)
    assert await ended(sending, pool, started + timedelta(hours=83, minutes=59)) == "in_progress"
    assert await ended(sending, pool, started + timedelta(hours=84, minutes=1)) == "finished"
    (entry,) = await sending.journal("DLV-FINISHED")
    assert (entry["level"], entry["data"]) == ("warning", {"messages": 3, "pending": 2})
    assert "never handed over: 2" in entry["text"]


async def test_what_is_in_transit_keeps_it_open_after_the_validity_period(sending: Sending, pool: Pool) -> None:
    first, _ = await sending.started(2)
    await sending.submit({"message_id": str(first), "provider_message_id": "open-1"})
    assert await ended(sending, pool, datetime.now(UTC) + timedelta(hours=85)) == "in_progress"


async def test_messages_handed_over_after_the_end_open_it_again(sending: Sending, pool: Pool) -> None:
    first, second = await sending.started(2)
    assert await ended(sending, pool, datetime.now(UTC) + timedelta(hours=85)) == "finished"
    await sending.submit({"message_id": str(first), "error_code": "11"})
    assert await sending.status() == "finished", "it failed at once: nothing is on its way"
    await sending.submit({"message_id": str(second), "provider_message_id": "re-1"})
    assert await sending.status() == "in_progress"
    await sending.callback({"provider_message_id": "re-1", "status": "delivered"})
    await becomes(sending, "failed", "received")
    await until(sending.status, lambda found: found == "finished")
    codes = [entry["code"] for entry in await sending.journal()]
    assert codes[codes.index("DLV-FINISHED") :].count("DLV-FINISHED") == 2
    assert codes.count("DLV-REOPENED") == 1
    await sending.check_books()


async def test_no_delivery_ends_while_somebody_records_its_submissions(sending: Sending, pool: Pool) -> None:
    (id,) = await sending.started(1)
    await sending.submit({"message_id": str(id), "error_code": "11"})
    async with pool.acquire() as recording, recording.transaction():
        await recording.execute("SELECT pg_advisory_xact_lock($1, hashint8($2))", Lock.RECORDING, sending.id)
        await sending.set_status("in_progress")
        assert await ended(sending, pool, datetime.now(UTC)) == "in_progress"
    await Clock(pool, every_seconds=1).tick(datetime.now(UTC))
    assert await sending.status() == "finished"
