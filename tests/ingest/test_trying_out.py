"""Trying a callback out: everything is read and shown, nothing is stored."""

from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.db import Pool
from app.ingest.trying_out import effect
from tests.conftest import Headers, KeyMaker

RECEIPT_TEXT = "id:77 sub:001 dlvrd:001 submit date:2611230800 done date:2611230801 stat:UNDELIV err:069 text:Hello"


@pytest.fixture(scope="module", autouse=True)
async def _gateways(client: httpx.AsyncClient, admin: Headers) -> None:
    for kind in ("generic", "kannel", "smpp", "twilio"):
        body = {"key": kind, "kind": kind, "auth": {"mode": "none"}}
        assert (await client.post("/v1/gateways", json=body, headers=admin)).status_code == 201


async def tried(client: httpx.AsyncClient, headers: Headers, kind: str, body: str | bytes, type: str) -> dict[str, Any]:
    response = await client.post(f"/v1/gateways/{kind}/test", content=body, headers=headers | {"Content-Type": type})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


@pytest.mark.parametrize(
    ("kind", "type", "body"),
    [
        ("generic", "application/json", '{"provider_message_id": "77", "status": "undelivered", "error_code": "069"}'),
        (
            "generic",
            "application/json",
            '{"body": {"provider_message_id": "77", "status": "failed", "error_code": "069"}}',
        ),
        ("smpp", "text/plain", RECEIPT_TEXT),
        ("smpp", "application/json", f'{{"body": {{"text": "{RECEIPT_TEXT}"}}}}'),
        ("twilio", "application/x-www-form-urlencoded", "MessageSid=77&MessageStatus=undelivered&ErrorCode=069"),
        ("twilio", "application/json", '{"body": "MessageSid=77&MessageStatus=undelivered&ErrorCode=069"}'),
        ("kannel", "text/plain", "http://x/callbacks/kannel?type=2&fid=77&reply=UNDELIV%20err:069"),
        ("kannel", "application/json", '{"method": "get", "query": {"type": 2, "fid": "77"}}'),
    ],
)
async def test_every_way_to_give_a_callback(
    client: httpx.AsyncClient, admin: Headers, kind: str, type: str, body: str
) -> None:
    answer = await tried(client, admin, kind, body, type)
    (item,) = answer["items"]
    assert item["type"] == "receipt", answer
    assert (item["status"], item["canonical_id"]) == ("failed", "77")
    assert item["fields"]["provider_message_id"] == "77"
    assert item["qualification"]["implementation"] == kind
    assert item["message"] is None
    assert "unmatched" in item["effect"]
    assert answer["verified"] is True  # mode none


async def test_nothing_is_stored(client: httpx.AsyncClient, admin: Headers, pool: Pool) -> None:
    tables = ("inbox", "receipts", "rejected", "correlations", "audit", "counters")
    before = [await pool.fetchval(f"SELECT count(*) FROM {table}") for table in tables]
    await tried(client, admin, "generic", '{"provider_message_id": "1", "status": "delivered"}', "application/json")
    await tried(client, admin, "generic", "not json", "application/json")
    assert [await pool.fetchval(f"SELECT count(*) FROM {table}") for table in tables] == before


async def test_what_cannot_be_read_says_why(client: httpx.AsyncClient, admin: Headers) -> None:
    (item,) = (await tried(client, admin, "generic", "{", "application/json"))["items"]
    assert (item["type"], item["raw"]) == ("unreadable", "{")
    assert item["reason"]


async def test_the_matched_message_is_found_under_its_canonical_id(
    client: httpx.AsyncClient, admin: Headers, app: FastAPI, pool: Pool
) -> None:
    change = {"options": {"receipt_id_format": "hexadecimal"}}
    assert (await client.patch("/v1/gateways/generic", json=change, headers=admin)).status_code == 200
    await pool.execute(
        "INSERT INTO correlations (gateway_id, kind, value, raw, message_id, origin, bearing, created_at, seen_at) "
        "VALUES ($1, 'id', '255', '255', 7, 'submission', true, now(), now())",
        app.state.directory.get("generic").id,
    )
    await pool.execute(
        "INSERT INTO message_state (message_id, delivery_id, proof, status, occurred_at, updated_at, parts, "
        "parts_received, contradictory, unknown_receipts) VALUES (7, 3, false, 'accepted', now(), now(), 1, 0, false, 0)"
    )
    body = '{"provider_message_id": "FF", "status": "delivered"}'
    (item,) = (await tried(client, admin, "generic", body, "application/json"))["items"]
    assert item["canonical_id"] == "255"
    assert item["message"] == {
        "id": "7", "delivery_id": "3", "status": "accepted", "parts": 1, "parts_received": 0, "matched_by": "id",
    }  # fmt: skip
    assert item["effect"] == "The message would change from accepted to received."


async def test_addresses_are_masked_without_the_scope(client: httpx.AsyncClient, key: KeyMaker) -> None:
    body = (
        '{"provider_message_id": "77", "status": "failed", "address": "+34600123000", "error_text": "to +34600123000"}'
    )
    blind = await tried(client, await key("gateways:write"), "generic", body, "application/json")
    assert "600123000" not in str(blind)
    seeing = await tried(client, await key("gateways:write", "pii:read"), "generic", body, "application/json")
    assert "+34600123000" in str(seeing)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ('{"method": "DELETE", "body": "x"}', "/method"),
        ('{"headers": [1], "body": "x"}', "/headers"),
        ('{"query": 1}', "/query"),
        ('{"reference": 1, "body": "x"}', "/reference"),
    ],
)
async def test_wrong_wrappers(client: httpx.AsyncClient, admin: Headers, body: str, pointer: str) -> None:
    headers = admin | {"Content-Type": "application/json"}
    response = await client.post("/v1/gateways/generic/test", content=body, headers=headers)
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == pointer


async def test_no_such_gateway(client: httpx.AsyncClient, admin: Headers) -> None:
    assert (await client.post("/v1/gateways/nobody/test", json={}, headers=admin)).status_code == 404


def state(status: str, parts: int = 1, parts_received: int = 0) -> dict[str, Any]:
    return {"status": status, "parts": parts, "parts_received": parts_received}


@pytest.mark.parametrize(
    ("status", "message", "says"),
    [
        ("received", None, "unmatched"),
        (None, state("sent"), "nobody knows"),
        ("received", state("sent"), "from sent to received"),
        ("failed", state("received"), "contradiction"),
        ("sent", state("received"), "would stay received, which is stronger than sent."),
        ("received", state("received"), "already"),
        ("received", state("sent", parts=3), "One of 3 parts"),
        ("received", state("sent", parts=3, parts_received=2), "from sent to received"),
        ("sent", state("accepted", parts=3), "One of 3 parts would be sent"),
        ("failed", state("sent", parts=3), "from sent to failed"),
    ],
)
async def test_effects(app: FastAPI, status: str | None, message: dict[str, Any] | None, says: str) -> None:
    assert says in effect(status, message, app.state.directory.get("twilio"))
