"""One number's page: everything about it, each part by an index."""

import re
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from app.addresses.erasure import QUERIES
from app.db import Pool
from tests.conftest import KeyMaker
from tests.ingest.test_roads import Account, until
from tests.quarantine.test_api import becomes, failed, make, qualified

NUMBER = "+34600300001"


async def read(client: httpx.AsyncClient, number: str = NUMBER, **headers: Any) -> dict[str, Any]:
    answer = await client.get(f"/v1/addresses/{quote(number)}", headers=headers)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_it_shows_messages_receipts_exclusions_replies_decisions_and_clicks(
    client: httpx.AsyncClient, pool: Pool
) -> None:
    account = await make(client)
    await qualified(client, account, "1", failure_type="hard", reason="user_unknown")
    await failed(account, NUMBER, "1")
    await becomes(client, NUMBER, "quarantined")
    body = {"label": "Next", "sender": "Acme", "content": "Hi", "gateway": account.key}
    delivery = (await client.post("/v1/deliveries", json=body)).json()["id"]
    await client.post(f"/v1/deliveries/{delivery}/targets", json=[{"address": NUMBER, "recipient_id": "c-1"}])
    assert (await client.post(f"/v1/deliveries/{delivery}/prepare")).status_code == 202
    await until(lambda: read(client), lambda page: page["totals"]["exclusions"] == 1)
    await account.callback({"type": "inbound", "from": NUMBER, "to": "5555", "text": "STOP now 600300001"})
    await until(lambda: read(client), lambda page: page["totals"]["decisions"] == 1)
    await pool.execute(
        "INSERT INTO clicks (id, message_id, delivery_id, link, clicked_at, human, reasons, device, agent, visit, rules_version) "
        "SELECT 7, id, delivery_id, 0, now(), false, '{head}', 'phone', '', '{}', 1 FROM messages WHERE address = $1",
        NUMBER,
    )
    page = await read(client)
    assert page["totals"] == {"messages": 1, "receipts": 1, "exclusions": 1, "inbound": 1, "decisions": 1, "clicks": 1}
    assert (page["address"], page["erased_at"], page["held"]) == (NUMBER, None, 0)
    assert page["health"] == (await client.get(f"/v1/quarantine/{quote(NUMBER)}")).json()
    (message,) = page["messages"]
    assert (message["status"], message["delivery_id"], message["receipts"]) == ("failed", account.delivery, 1)
    (exclusion,) = page["exclusions"]
    assert (exclusion["reason"], exclusion["delivery_id"], exclusion["recipient_id"]) == (
        "quarantined",
        delivery,
        "c-1",
    )
    assert exclusion["text"].startswith("In quarantine")
    (click,) = page["clicks"]
    assert (click["message_id"], click["human"], click["reasons"]) == (message["id"], False, ["head"])
    assert [each["action"] for each in page["inbound"]] == ["denylist"]
    (decision,) = page["decisions"]
    assert (decision["kind"], decision["origin"], decision["sender"]) == ("denylist", "reply", None)
    assert decision["inbound_id"] == page["inbound"][0]["id"]


async def test_it_needs_all_three_scopes(client: httpx.AsyncClient, key: KeyMaker) -> None:
    scopes = ("quarantine:read", "deliveries:read", "pii:read")
    for missing in scopes:
        headers = await key(*(scope for scope in scopes if scope != missing))
        assert (await client.get(f"/v1/addresses/{quote(NUMBER)}", headers=headers)).status_code == 403
    assert (await read(client, **await key(*scopes)))["address"] == NUMBER


async def test_a_number_nobody_knows_is_valid_and_empty(client: httpx.AsyncClient) -> None:
    page = await read(client, "+34600300999")
    assert page["health"]["status"] == "valid"
    assert page["messages"] == page["exclusions"] == page["inbound"] == page["decisions"] == page["clicks"] == []
    assert (await client.get("/v1/addresses/hello")).status_code == 422


async def test_of_many_the_newest_hundred_are_shown_and_all_are_counted(client: httpx.AsyncClient) -> None:
    account: Account = await make(client)
    number = "+34600300100"
    await account.messages(*({"address": number, "provider_message_id": f"many-{n}"} for n in range(120)))
    page = await read(client, number)
    assert (len(page["messages"]), page["totals"]["messages"]) == (100, 120)
    ids = [int(message["id"]) for message in page["messages"]]
    assert ids == sorted(ids, reverse=True)


@pytest.mark.parametrize(
    "name",
    [
        "list_messages",
        "list_exclusions",
        "list_inbound",
        "list_decisions",
        "list_clicks",
        "count_totals",
        "list_own_receipts",
        "list_own_targets",
    ],
)
async def test_each_part_goes_by_an_index(pool: Pool, name: str) -> None:
    query = QUERIES[name]
    arguments: list[Any] = [[1, 2]] if name == "list_own_receipts" else [[NUMBER]]
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL enable_seqscan = off")
        plan = await connection.fetch(f"EXPLAIN {query}", *arguments, *([100] if "$2" in query else []))
    scanned = re.findall(r"Seq Scan on (\w+)", "\n".join(row[0] for row in plan))
    assert set(scanned) <= {"breakers", "deliveries", "gateways"}
