"""The other side's clock may be minutes ahead: what an operator or a START decides now comes after all that is known now."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.ingest.test_roads import Account, until
from tests.quarantine.test_api import becomes, failed, health, make, number, qualified

Decide = Callable[[httpx.AsyncClient, Account, str], Awaitable[None]]


def ahead(minutes: float) -> str:
    return (datetime.now(UTC) + timedelta(minutes=minutes)).isoformat()


async def allowed(client: httpx.AsyncClient, address: str) -> bool:
    (item,) = (await client.post("/v1/addresses/check", json=[address])).json()["items"]
    return bool(item["allowed"])


async def release_one(client: httpx.AsyncClient, account: Account, address: str) -> None:
    answer = await client.delete(f"/v1/quarantine/{quote(address)}", params={"reason": "checked by hand"})
    assert answer.json()["status"] == "valid"


async def release_many(client: httpx.AsyncClient, account: Account, address: str) -> None:
    body = {"filter": {"gateway": account.key}, "reason": "an outage"}
    assert (await client.post("/v1/quarantine/release", json=body)).json()["addresses"] > 0


async def start(client: httpx.AsyncClient, account: Account, address: str) -> None:
    reply = {"type": "inbound", "from": address, "to": "Acme", "text": "START"}
    assert (await account.callback(reply)).status_code == 200


@pytest.mark.parametrize("minutes", [0.2, 4, 9.9])
@pytest.mark.parametrize("decide", [release_one, release_many])
async def test_a_release_undoes_a_failure_that_we_have_whatever_its_time(
    client: httpx.AsyncClient, decide: Decide, minutes: float
) -> None:
    account, address = await make(client), number()
    await qualified(client, account, "77", failure_type="hard", reason="user_unknown")
    await failed(account, address, "77", occurred_at=ahead(minutes))
    await becomes(client, address, "quarantined")
    await decide(client, account, address)
    assert (await health(client, address))["status"] == "valid"
    assert await allowed(client, address)
    await failed(account, address, "77")
    await becomes(client, address, "quarantined")


async def test_a_start_undoes_an_opt_out_that_the_provider_dated_ahead(client: httpx.AsyncClient) -> None:
    account, address = await make(client), number()
    await qualified(client, account, "21610", failure_type="hard", reason="denylisted")
    await failed(account, address, "21610", occurred_at=ahead(4))

    async def scopes() -> Any:
        return [each["status"] for each in (await health(client, address))["entries"]]

    await until(scopes, lambda found: found == ["denylisted"])
    await start(client, account, address)
    await until(scopes, lambda found: found == [])
    assert await allowed(client, address)


async def test_what_is_said_again_and_later_about_a_failure_that_we_had_does_not_undo_a_release(
    client: httpx.AsyncClient,
) -> None:
    account, address = await make(client), number()
    await qualified(client, account, "77", failure_type="hard", reason="user_unknown")
    id = await failed(account, address, "77", occurred_at=ahead(4))
    await becomes(client, address, "quarantined")
    await release_one(client, account, address)
    again = {"provider_message_id": id, "status": "UNDELIV", "error_code": "77", "occurred_at": ahead(6)}
    await account.callback(again)

    async def receipts() -> Any:
        (message,) = (await client.get(f"/v1/addresses/{quote(address)}")).json()["messages"]
        timeline = (await client.get(f"/v1/messages/{message['id']}")).json()["timeline"]
        return [each["kind"] for each in timeline].count("receipt")

    await until(receipts, lambda found: found == 2)
    assert (await health(client, address))["status"] == "valid"


async def test_a_submission_that_failed_ahead_of_our_clock_is_undone_by_a_release(client: httpx.AsyncClient) -> None:
    account, address = await make(client), number()
    delivery = {"label": account.key, "sender": "Acme", "gateway": account.key, "content": "Hello"}
    id = (await client.post("/v1/deliveries", json=delivery)).json()["id"]
    await client.post(f"/v1/deliveries/{id}/targets", json=[{"address": address}])
    assert (await client.post(f"/v1/deliveries/{id}/prepare?wait=10")).status_code in (200, 202)
    assert (await client.post(f"/v1/deliveries/{id}/start")).status_code == 200
    (message,) = (await client.get(f"/v1/deliveries/{id}/messages")).json()["items"]
    row = {"message_id": message["id"], "error_code": "11", "submitted_at": ahead(4)}
    answer = await client.post(f"/v1/deliveries/{id}/submissions", json=[row])
    assert answer.json()["accepted"] == 1, answer.text
    params = {"implementation": account.key, "error_code": "11"}
    (known,) = (await client.get("/v1/qualifications", params=params)).json()["items"]
    hard = {"failure_type": "hard", "reason": "user_unknown", "state": "keep"}
    assert (await client.patch(f"/v1/qualifications/{known['id']}", json=hard)).status_code == 200
    await becomes(client, address, "quarantined")
    await release_one(client, account, address)
    assert await allowed(client, address)


async def test_an_imported_opt_out_dated_ahead_is_lifted_by_what_is_decided_now(client: httpx.AsyncClient) -> None:
    address = number()
    rows = [{"address": address, "at": ahead(5)}]
    assert (await client.post("/v1/quarantine", json=rows)).json()["accepted"] == 1
    assert (await health(client, address))["status"] == "denylisted"
    answer = await client.delete(f"/v1/quarantine/{quote(address)}", params={"reason": "asked for it"})
    assert answer.json()["status"] == "valid"


async def test_a_failure_from_before_we_heard_of_it_stands_at_its_own_time(client: httpx.AsyncClient) -> None:
    account, address = await make(client), number()
    await qualified(client, account, "77", failure_type="hard", reason="user_unknown")
    two_days_ago = datetime.now(UTC).replace(microsecond=0) - timedelta(days=2)
    await failed(account, address, "77", occurred_at=two_days_ago.isoformat())
    found = await becomes(client, address, "quarantined")
    assert datetime.fromisoformat(found["entries"][0]["since"]) == two_days_ago
