"""The journal's chain: what people typed stands beside it and can be erased, and who rewrites it does not meet its signed
heads."""

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI

from app import audit, audit_heads
from app.db import Connection, Pool
from tests.conftest import ADMIN_SECRET, KeyMaker

_CHAINS = iter(range(1_001, 2_000))
NOTE = "Ana García wrote on Monday, from 600 12 30 00"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {ADMIN_SECRET}"}
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://acuse.test", headers=headers) as client:
        yield client


@pytest_asyncio.fixture
async def chain(pool: Pool) -> int:
    """A delivery with three entries in its journal; the second has a note that names somebody."""
    id = next(_CHAINS)
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(
            "INSERT INTO deliveries (id, label, sender, validity_seconds, tracking, metadata, status, created_at, updated_at) "
            "OVERRIDING SYSTEM VALUE VALUES ($1, 'x', 'x', 60, true, '{}'::jsonb, 'editing', now(), now())",
            id,
        )
        await _write(connection, id)
    return id


async def _write(connection: Connection, id: int, note: str = NOTE) -> None:
    personal: tuple[Mapping[str, Any] | None, ...] = (None, {"note": note, "floats": [1.0, 1e20, -0.0]}, {"note": None})
    for number, each in enumerate(personal):
        await audit.append(
            connection, id, "DLV-TEST", "Something.", at=datetime.now(UTC), actor="tests", data={"number": number},
            personal=each,
        )  # fmt: skip


async def verdict(client: httpx.AsyncClient, chain: int, **query: str) -> Any:
    answer = await client.get(f"/v1/deliveries/{chain}/audit/verify", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


INTACT = {"intact": True, "entries": 3, "broken_at": None}


# --- beside the chain ------------------------------------------------------------------------------------------------


async def test_what_people_typed_is_shown_and_stands_beside_the_chain(
    client: httpx.AsyncClient, chain: int, pool: Pool
) -> None:
    items = (await client.get(f"/v1/deliveries/{chain}/audit")).json()["items"]
    assert items[1]["data"] == {"number": 1, "note": NOTE, "floats": [1.0, 1e20, 0.0]}
    assert items[1]["personal"].keys() == {"note", "floats"}
    assert items[2]["personal"] == items[0]["personal"] == {}
    assert "García" not in str(await pool.fetch("SELECT * FROM audit"))
    assert await verdict(client, chain) == INTACT


async def test_erased_it_is_null_and_the_chain_still_holds(client: httpx.AsyncClient, chain: int, pool: Pool) -> None:
    await pool.execute("DELETE FROM audit_private WHERE chain = $1 AND name = 'note'", chain)
    items = (await client.get(f"/v1/deliveries/{chain}/audit")).json()["items"]
    assert items[1]["data"] == {"number": 1, "note": None, "floats": [1.0, 1e20, 0.0]}
    assert await verdict(client, chain) == INTACT


async def test_altered_it_shows(client: httpx.AsyncClient, chain: int, pool: Pool) -> None:
    await pool.execute("UPDATE audit_private SET value = '\"Bo\"' WHERE chain = $1 AND name = 'note'", chain)
    assert await verdict(client, chain) == {"intact": False, "entries": 1, "broken_at": 2}


async def test_without_the_scope_its_numbers_are_masked(chain: int, client: httpx.AsyncClient, key: KeyMaker) -> None:
    headers = await key("deliveries:read")
    for accept in ("application/json", "application/x-ndjson", "text/csv"):
        answer = await client.get(f"/v1/deliveries/{chain}/audit", headers=headers | {"Accept": accept})
        assert answer.status_code == 200
        assert "600 12 30 00" not in answer.text


async def test_two_like_values_have_unlike_hashes(client: httpx.AsyncClient, chain: int, pool: Pool) -> None:
    async with pool.acquire() as connection, connection.transaction():
        await _write(connection, chain)
    items = (await client.get(f"/v1/deliveries/{chain}/audit")).json()["items"]
    assert len({each["personal"].get("note") for each in items} - {None}) == 2


# --- signed heads ----------------------------------------------------------------------------------------------------


async def head(client: httpx.AsyncClient, chain: int | None) -> Any:
    answer = await client.get("/v1/audit/head" if chain is None else f"/v1/deliveries/{chain}/audit/head")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def rewritten(pool: Pool, chain: int) -> None:
    """The whole chain anew, with another note, and its head: by itself it holds."""
    async with pool.acquire() as connection, connection.transaction():
        for table in ("audit", "audit_private", "audit_heads"):
            await connection.execute(f"DELETE FROM {table} WHERE chain = $1", chain)
        await _write(connection, chain, "Somebody else wrote")
    async with pool.acquire() as connection:
        assert (await audit.verify(connection, chain)) == (3, None)


async def test_a_head_says_how_far_the_journal_is_and_is_the_same_when_asked_again(
    client: httpx.AsyncClient, chain: int, pool: Pool
) -> None:
    found = await head(client, chain)
    row = await pool.fetchrow("SELECT seq, hash FROM audit_heads WHERE chain = $1", chain)
    assert row is not None
    assert (found["chain"], found["seq"], found["hash"]) == (str(chain), row["seq"], row["hash"].hex())
    assert found.keys() == {"chain", "seq", "hash", "at", "key_id", "signature", "token"}
    assert await head(client, chain) == found
    assert (await head(client, None))["chain"] == "0"


async def test_a_chain_rewritten_with_its_head_does_not_meet_what_was_signed(
    client: httpx.AsyncClient, chain: int, pool: Pool
) -> None:
    await head(client, chain)
    await rewritten(pool, chain)
    assert await verdict(client, chain) == {"intact": False, "entries": 2, "broken_at": 3}
    await head(client, chain)  # signing the new one changes nothing
    assert (await verdict(client, chain))["broken_at"] == 3


@pytest.mark.parametrize("form", ["token", "object"])
async def test_nor_the_head_that_somebody_kept_when_the_signatures_went_too(
    client: httpx.AsyncClient, chain: int, pool: Pool, form: str
) -> None:
    found = await head(client, chain)
    kept = found["token"] if form == "token" else httpx.Response(200, json=found).text
    assert await verdict(client, chain, head=kept) == INTACT
    await rewritten(pool, chain)
    await pool.execute("DELETE FROM audit_signatures WHERE chain = $1", chain)
    assert await verdict(client, chain) == INTACT
    assert await verdict(client, chain, head=kept) == {"intact": False, "entries": 2, "broken_at": 3}


async def test_a_chain_that_lost_its_end_with_its_head_shows(client: httpx.AsyncClient, chain: int, pool: Pool) -> None:
    await head(client, chain)
    await pool.execute("DELETE FROM audit WHERE chain = $1 AND seq = 3", chain)
    await pool.execute(
        "UPDATE audit_heads SET seq = 2, hash = (SELECT hash FROM audit WHERE chain = $1 AND seq = 2) WHERE chain = $1",
        chain,
    )
    assert await verdict(client, chain) == {"intact": False, "entries": 2, "broken_at": 3}


async def test_a_journal_that_grew_still_meets_its_old_heads(client: httpx.AsyncClient, chain: int, pool: Pool) -> None:
    old = await head(client, chain)
    async with pool.acquire() as connection, connection.transaction():
        await _write(connection, chain)
    assert (await head(client, chain))["seq"] == 6
    assert await verdict(client, chain, head=old["token"]) == {"intact": True, "entries": 6, "broken_at": None}


@pytest.mark.parametrize("what", ["nothing", "cut", "forged", "of another", "[]", "{}", "number"])
async def test_what_is_no_head_is_refused(client: httpx.AsyncClient, chain: int, what: str) -> None:
    found = await head(client, chain)
    given = {
        "nothing": "",
        "cut": found["token"][:-30],
        "forged": httpx.Response(200, json=found | {"seq": 2}).text,
        "of another": (await head(client, None))["token"],
        "number": "1e999",
    }.get(what, what)
    answer = await client.get(f"/v1/deliveries/{chain}/audit/verify?head={quote(given)}")
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"] == "?head"


async def test_what_an_older_key_signed_still_counts() -> None:
    at, digest = datetime.now(UTC), bytes(32)
    old = audit_heads.Signer(lambda: [("old", b"1" * 32)])
    rotated = audit_heads.Signer(lambda: [("new", b"2" * 32), ("old", b"1" * 32)])
    other = audit_heads.Signer(lambda: [("old", b"3" * 32)])
    assert rotated.holds(old.sign(7, 1, digest, at))
    assert rotated.sign(7, 1, digest, at).key_id == "new"
    assert not other.holds(old.sign(7, 1, digest, at))


async def test_chains_that_grow_are_signed_once_an_hour_and_when_their_delivery_is_over(
    app: FastAPI, chain: int, pool: Pool
) -> None:
    now = datetime.now(UTC)

    async def signed(at: datetime) -> list[int]:
        async with pool.acquire() as connection, connection.transaction():
            await audit_heads.sign_some(connection, app.state.signer, at)
            rows = await connection.fetch("SELECT seq FROM audit_signatures WHERE chain = $1 ORDER BY seq", chain)
        return [row["seq"] for row in rows]

    assert await signed(now) == [3]
    async with pool.acquire() as connection, connection.transaction():
        await _write(connection, chain)
    assert await signed(now + timedelta(minutes=59)) == [3]
    assert await signed(now + timedelta(minutes=61)) == [3, 6]
    async with pool.acquire() as connection, connection.transaction():
        await _write(connection, chain)
        await connection.execute("UPDATE deliveries SET status = 'finished' WHERE id = $1", chain)
    assert await signed(now + timedelta(minutes=62)) == [3, 6, 9]
