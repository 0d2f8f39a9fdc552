"""Who posts receipts by an API key vouches for them, also where the gateway's own callbacks prove nothing."""

import itertools

import httpx
import pytest

from app.db import Pool

_serial = itertools.count(1)
NDJSON, CSV, JSON = "application/x-ndjson", "text/csv", "application/json"
AT = "2026-11-01T08:00:00Z"
PLAIN = '{"gateway":"%s","provider_message_id":"v","status":"sent","occurred_at":"' + AT + '"}'
FAILED = '{"gateway":"%s","provider_message_id":"v","status":"failed","error_code":"069"}'


async def gateway(client: httpx.AsyncClient) -> str:
    key = f"vouched-{next(_serial)}"
    new = {"key": key, "kind": "generic", "auth": {"mode": "none"}}
    assert (await client.post("/v1/gateways", json=new)).status_code == 201
    return key


async def verified(pool: Pool, key: str) -> list[bool]:
    """Of all receipts of the gateway, applied or not yet."""
    query = """SELECT r.verified
    FROM (SELECT gateway_id, verified FROM inbox UNION ALL SELECT gateway_id, verified FROM receipts) r
    JOIN gateways g ON g.id = r.gateway_id WHERE g.key = $1"""
    return [row["verified"] for row in await pool.fetch(query, key)]


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (NDJSON, PLAIN + "\n"),  # the fast rows
        (NDJSON, FAILED + "\n"),
        (CSV, "gateway,provider_message_id,status\n%s,v,delivered\n"),
        (JSON, "[" + PLAIN + "]"),
        (JSON, "[" + FAILED + "]"),
    ],
)
async def test_receipts_in_bulk_count_as_verified(
    client: httpx.AsyncClient, pool: Pool, content_type: str, body: str
) -> None:
    key = await gateway(client)
    answer = await client.post("/v1/receipts", content=body % key, headers={"Content-Type": content_type})
    assert (answer.status_code, answer.json()["accepted"]) == (202, 1)
    assert await verified(pool, key) == [True]


async def test_callbacks_that_prove_nothing_do_not(client: httpx.AsyncClient, pool: Pool) -> None:
    key = await gateway(client)
    said = {"provider_message_id": "v", "status": "delivered"}
    assert (await client.post(f"/callbacks/{key}", json=said)).status_code == 200
    assert await verified(pool, key) == [False]
