"""The clock: messages that nobody reported on, deliveries that are over. A late receipt still counts."""

from datetime import UTC, datetime, timedelta

import httpx

from app.db import Pool
from app.ingest.clock import Clock, expire, finish

from .test_roads import Account, until


async def test_without_a_receipt_the_clock_ends_the_message_and_the_delivery_and_a_late_receipt_still_counts(
    client: httpx.AsyncClient, pool: Pool
) -> None:
    account = await Account.make(client)
    await account.messages(
        {"address": "+34600000001", "provider_message_id": "c1", "submitted_at": "2026-11-01T08:00:00Z"},
        {"address": "+34600000002", "provider_message_id": "c2", "submitted_at": "2026-11-01T08:00:00Z"},
    )
    await account.callback({"provider_message_id": "c2", "status": "delivered"})
    await account.becomes("no_receipt", "received")
    delivery = f"/v1/deliveries/{account.delivery}"

    async def state() -> str:
        return str((await client.get(delivery)).json()["status"])

    await until(state, lambda found: found == "finished")
    await account.callback({"provider_message_id": "c1", "status": "delivered"})
    await account.becomes("received", "received")
    summary = (await client.get(f"{delivery}/summary")).json()
    assert (summary["no_receipt"], summary["success"]) == (0, 2)
    codes = [entry["code"] for entry in (await client.get(f"{delivery}/audit")).json()["items"]]
    assert {"DLV-STARTED", "DLV-FIRST-RECEIPT", "DLV-FINISHED"} <= set(codes)
    assert (await client.post(f"{delivery}/recompute")).json()["drift"] == 0


async def test_the_clock_waits_for_the_end_of_the_validity_period(client: httpx.AsyncClient, pool: Pool) -> None:
    account = await Account.make(client)
    sent = datetime.now(UTC) - timedelta(hours=80)
    await account.messages({"address": "+34600000001", "provider_message_id": "v1", "submitted_at": sent.isoformat()})
    async with pool.acquire() as connection, connection.transaction():
        await expire(connection, sent + timedelta(hours=83, minutes=59))
    assert await account.statuses() == ["accepted"]
    async with pool.acquire() as connection, connection.transaction():
        await expire(connection, sent + timedelta(hours=84, minutes=1))
    assert await account.statuses() == ["no_receipt"]


async def test_a_delivery_with_a_message_still_open_is_not_finished(client: httpx.AsyncClient, pool: Pool) -> None:
    account = await Account.make(client)
    await account.messages({"address": "+34600000001", "provider_message_id": "o1"}, {"address": "+34600000002"})
    await account.callback({"provider_message_id": "o1", "status": "failed"})
    await account.becomes("failed", "submitted")
    async with pool.acquire() as connection, connection.transaction():
        await finish(connection, datetime.now(UTC), [int(account.delivery)])
    assert (await client.get(f"/v1/deliveries/{account.delivery}")).json()["status"] == "in_progress"


async def test_a_delivery_opens_again_when_more_messages_come(client: httpx.AsyncClient, pool: Pool) -> None:
    account = await Account.make(client)
    await account.messages({"address": "+34600000001", "provider_message_id": "again1"})
    await account.callback({"provider_message_id": "again1", "status": "delivered"})
    await account.becomes("received")
    await Clock(pool, every_seconds=1).tick(datetime.now(UTC))
    assert (await client.get(f"/v1/deliveries/{account.delivery}")).json()["status"] == "finished"
    await account.messages({"address": "+34600000002", "provider_message_id": "again2"})
    assert (await client.get(f"/v1/deliveries/{account.delivery}")).json()["status"] == "in_progress"
