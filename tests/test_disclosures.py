"""Who read whole numbers stands in the journal: added up by the hour, and each stream by itself."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI

from app.api import export
from app.db import Pool, create_pool
from app.privacy.disclosures import CODE, MOST_WAITING, Disclosures, Given
from app.security import Principal
from tests.conftest import Headers, KeyMaker

NOW = datetime(2026, 11, 23, 8, 20, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


async def entries(pool: Pool, actor: str) -> list[dict[str, Any]]:
    rows = await pool.fetch(
        "SELECT text, data FROM audit WHERE chain = 0 AND code = $1 AND actor = $2 ORDER BY seq", CODE, actor
    )
    return [dict(row["data"]) for row in rows]


async def test_pages_are_one_entry_a_key_operation_and_hour(app: FastAPI, pool: Pool) -> None:
    clock = Clock()
    disclosures = Disclosures(clock)
    for rows in (100, 20):
        disclosures.add("crm", "GET /v1/inbound", rows)
    disclosures.add("crm", "GET /v1/quarantine", 3)
    await disclosures.flush(pool)
    assert await entries(pool, "crm") == []  # the hour is not over
    clock.now += timedelta(hours=1)
    disclosures.add("crm", "GET /v1/inbound", 7)
    await disclosures.flush(pool)
    await disclosures.flush(pool)
    hour = "2026-11-23T08:00:00+00:00"
    assert await entries(pool, "crm") == [
        {"operation": "GET /v1/inbound", "rows": 120, "since": hour, "export": False},
        {"operation": "GET /v1/quarantine", "rows": 3, "since": hour, "export": False},
    ]
    await disclosures.stop(pool)
    assert (await entries(pool, "crm"))[2]["rows"] == 7


async def test_while_the_database_is_away_they_are_kept(database_url: str, pool: Pool, app: FastAPI) -> None:
    disclosures = Disclosures(Clock())
    away = await create_pool("postgresql://nobody@127.0.0.1:1/nothing", name="tests", size=1)
    disclosures.exported("away", "GET /v1/inbound", NOW, 5, ended=True)
    await disclosures.flush(away)
    disclosures.exported("away", "GET /v1/inbound", NOW, 2, ended=True)
    await disclosures.flush(pool)
    assert [each["rows"] for each in await entries(pool, "away")] == [7]
    await away.close()


def test_what_waits_is_bounded_and_adds_up() -> None:
    disclosures = Disclosures(Clock())
    for number in range(3 * MOST_WAITING):
        disclosures.add(f"key-{number}", "GET /v1/inbound", 1)
    assert len(disclosures._waiting) <= 2 * MOST_WAITING + 1
    assert disclosures._waiting.total() == 3 * MOST_WAITING


@pytest.mark.parametrize("form", ["csv", "ndjson"])
@pytest.mark.parametrize("breaks", [False, True])
async def test_a_stream_is_noted_with_the_rows_that_it_gave_also_when_it_breaks_off(
    form: Any, breaks: bool, pool: Pool
) -> None:
    name = f"{form}-{breaks}"
    disclosures = Disclosures(Clock())
    principal = Principal(name=name, scopes=frozenset({"pii:read"}), given=Given(disclosures, name, "GET /v1/x"))

    async def chunks() -> AsyncIterator[Sequence[dict[str, Any]]]:
        yield await principal.all_shown([{"address": "+34677123456"}] * 3)
        yield await principal.all_shown([{"address": "+34677123457"}] * 2)

    body = export.stream(form, ("address",), chunks(), principal).body_iterator
    async for piece in body:
        if breaks and b"677" in piece:
            break
    if breaks:
        await body.aclose()  # type: ignore[attr-defined]
        await asyncio.sleep(0.05)
    await disclosures.flush(pool)
    (entry,) = await entries(pool, name)
    assert (entry["rows"], entry["export"], entry["ending"]) == (
        (3, True, "broken_off") if breaks else (5, True, "complete")
    )


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def delivery(client: httpx.AsyncClient, admin: Headers) -> str:
    made = await client.post("/v1/deliveries", json={"label": "x", "sender": "Acme"}, headers=admin)
    url = f"/v1/deliveries/{made.json()['id']}"
    rows = [{"address": f"+3467712345{digit}"} for digit in range(5)]
    assert (await client.post(f"{url}/targets", json=rows, headers=admin)).status_code == 200
    assert (await client.post("/v1/quarantine", json=rows, headers=admin)).status_code == 200
    return url


async def test_reading_by_the_api_is_noted_and_reading_masked_is_not(
    app: FastAPI, client: httpx.AsyncClient, key: KeyMaker, pool: Pool, delivery: str
) -> None:
    blind = await key("deliveries:read", "quarantine:read")
    seeing = await key("deliveries:read", "quarantine:read", "pii:read")
    names = [row["name"] for row in await pool.fetch("SELECT name FROM api_keys ORDER BY created_at DESC LIMIT 2")]
    for headers in (seeing, blind):
        for _ in range(2):
            assert (await client.get(f"{delivery}/targets?limit=2", headers=headers)).status_code == 200
        await client.get("/v1/quarantine", headers=headers | {"Accept": "text/csv"})
    await client.post("/v1/addresses/check", json=["+34677123450", "+34677123451"], headers=seeing)
    await app.state.disclosures.flush(pool, everything=True)
    (found,) = [noted for name in names if (noted := await entries(pool, name))]
    told = {(each["operation"], each["export"]): each["rows"] for each in found}
    assert told == {
        ("GET /v1/deliveries/{id}/targets", False): 4,
        ("GET /v1/quarantine", True): 5,
        ("POST /v1/addresses/check", False): 2,
    }
    journal = await pool.fetch("SELECT text, data FROM audit WHERE code = $1", CODE)
    assert "677123" not in str([dict(row) for row in journal])
