"""The journals over HTTP: paged, filtered, streamed, checked."""

from datetime import UTC, datetime

import httpx
import orjson
import pytest

from app import audit
from app.db import Pool
from tests.conftest import Headers, KeyMaker

DELIVERY = 7


@pytest.fixture(scope="module", autouse=True)
async def _journal(pool: Pool, client: httpx.AsyncClient) -> None:
    await pool.execute(
        "INSERT INTO deliveries (id, label, sender, validity_seconds, tracking, metadata, status, created_at, updated_at) "
        "OVERRIDING SYSTEM VALUE VALUES ($1, 'x', 'x', 60, true, '{}'::jsonb, 'editing', now(), now())",
        DELIVERY,
    )
    async with pool.acquire() as connection, connection.transaction():
        for number in range(1, 6):
            level: audit.Level = "warning" if number == 3 else "info"
            data = {"number": number, "address": "+34600123000"}
            await audit.append(
                connection, DELIVERY, "DLV-TEST", "Called +34600123000.", at=datetime.now(UTC), actor="tests",
                level=level, data=data,
            )  # fmt: skip


async def test_newest_first_in_pages(client: httpx.AsyncClient, admin: Headers) -> None:
    first = (await client.get(f"/v1/deliveries/{DELIVERY}/audit?limit=3", headers=admin)).json()
    assert [each["seq"] for each in first["items"]] == [5, 4, 3]
    assert first["total"] == 5
    url = f"/v1/deliveries/{DELIVERY}/audit?limit=3&cursor={first['next_cursor']}"
    second = (await client.get(url, headers=admin)).json()
    assert [each["seq"] for each in second["items"]] == [2, 1]
    assert second["next_cursor"] is None
    other = f"/v1/audit?cursor={first['next_cursor']}"
    assert (await client.get(other, headers=admin)).status_code == 422  # a cursor of another list


async def test_by_level(client: httpx.AsyncClient, admin: Headers) -> None:
    page = (await client.get(f"/v1/deliveries/{DELIVERY}/audit?level=warning", headers=admin)).json()
    assert [each["data"]["number"] for each in page["items"]] == [3]
    assert page["total"] == 1
    assert (await client.get("/v1/audit?level=loud", headers=admin)).status_code == 422


async def test_whole_as_a_stream(client: httpx.AsyncClient, admin: Headers) -> None:
    url = f"/v1/deliveries/{DELIVERY}/audit"
    lines = (await client.get(url, headers=admin | {"Accept": "application/x-ndjson"})).text.splitlines()
    assert [orjson.loads(line)["seq"] for line in lines] == [5, 4, 3, 2, 1]


async def test_addresses_are_masked_without_the_scope(client: httpx.AsyncClient, key: KeyMaker) -> None:
    url = f"/v1/deliveries/{DELIVERY}/audit"
    blind, seeing = await key("deliveries:read"), await key("deliveries:read", "pii:read")
    for accept in ("application/json", "text/csv"):
        assert "600123000" not in (await client.get(url, headers=blind | {"Accept": accept})).text
        assert "600123000" in (await client.get(url, headers=seeing | {"Accept": accept})).text


@pytest.mark.parametrize("id", ["8", "0", "x", "-7", "99999999999999999999", "٧"])
async def test_no_such_delivery(client: httpx.AsyncClient, admin: Headers, id: str) -> None:
    assert (await client.get(f"/v1/deliveries/{id}/audit", headers=admin)).status_code == 404
    assert (await client.get(f"/v1/deliveries/{id}/audit/verify", headers=admin)).status_code == 404


async def test_an_altered_entry_shows(client: httpx.AsyncClient, admin: Headers, pool: Pool) -> None:
    url = f"/v1/deliveries/{DELIVERY}/audit/verify"
    assert (await client.get(url, headers=admin)).json() == {"intact": True, "entries": 5, "broken_at": None}
    assert (await client.get("/v1/audit/verify", headers=admin)).json()["intact"] is True
    await pool.execute("UPDATE audit SET actor = 'nobody' WHERE chain = $1 AND seq = 3", DELIVERY)
    assert (await client.get(url, headers=admin)).json() == {"intact": False, "entries": 2, "broken_at": 3}
