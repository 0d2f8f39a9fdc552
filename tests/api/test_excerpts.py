"""Answers are measured in bytes: what is long is cut in lists, whole under its own address, and holds nobody up."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI

from app.api.excerpts import EXCERPT, PAGE_BYTES, cut, text_of
from app.db import Pool
from app.projections.fold import fold
from tests.conftest import Headers, KeyMaker

NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)
#: Of one body: nearly as much as a callback may have.
LONG = 999_000
#: What an answer may have, whatever lies in the database; and how long anybody waits for the event loop. Without the bounds it
#: is hundreds of megabytes and ten seconds and more.
MOST_BYTES = 4_000_000
MOST_LAG_SECONDS = 0.4


@asynccontextmanager
async def ticking() -> AsyncIterator[list[float]]:
    """How long the loop kept a timer of a millisecond waiting."""
    lags: list[float] = [0.0]

    async def tick() -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            lags.append(time.perf_counter() - before)

    task = asyncio.ensure_future(tick())
    try:
        yield lags
    finally:
        task.cancel()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def world(app: FastAPI, pool: Pool) -> dict[str, str]:
    """300 rejected bodies, 150 receipts of one message, 100 keys that wait: with bodies of a megabyte each. And deliveries,
    targets, journal entries as long as they may be."""
    async with pool.acquire() as connection, connection.transaction():
        gateway = await connection.fetchval(
            "INSERT INTO gateways (key, kind, label, implementation, options, auth, created_at, updated_at) "
            "VALUES ('acme', 'generic', 'Acme', 'Acme', '{}', '{\"mode\": \"none\"}', $1, $1) RETURNING id",
            NOW,
        )
        body = f"+34677123456 {'x' * LONG}".encode()
        await connection.execute(
            "INSERT INTO rejected (id, kind, gateway_id, received_at, reason, request, raw) SELECT 'rj_' || n, 'unreadable', $1, "
            "$2, 'It is no JSON.', jsonb_build_object('query', repeat('q', 100000)), $3 FROM generate_series(1, 300) n",
            gateway, NOW, body,
        )  # fmt: skip
        delivery = await connection.fetchval(
            "INSERT INTO deliveries (label, sender, content, validity_seconds, tracking, metadata, status, created_at, "
            "updated_at) SELECT 'Sale', 'Acme', repeat('ñ', 10000), 3600,"
            " true, '{}', 'in_progress', $1, $1 FROM generate_series(1, 120) "
            "RETURNING id",
            NOW,
        )
        message = await connection.fetchval(
            "INSERT INTO messages (delivery_id, address, gateway_id, created_at) VALUES ($1, '+34677123456', $2, $3) "
            "RETURNING id",
            delivery, gateway, NOW,
        )  # fmt: skip
        known = await _key(connection, gateway, "A1", message)
        await _receipts(connection, gateway, [known] * 150, body, 1)
        waiting = [await _key(connection, gateway, f"B{n}", None) for n in range(100)]
        await _receipts(connection, gateway, waiting, body, 1_000)
        await connection.execute(
            "INSERT INTO targets (delivery_id, position, given, params, control) SELECT $1, n, '+34677123456', "
            "(SELECT jsonb_object_agg('p' || i, repeat('ñ', 1000)) FROM generate_series(1, 50) i), false "
            "FROM generate_series(1, 200) n",
            delivery,
        )
        await connection.execute(
            "INSERT INTO audit (chain, seq, at, level, code, text, actor, data, hash) SELECT $1, n, $2, 'info', 'DLV-EDITED', "
            "'Changed.', 'tests', jsonb_build_object('content', repeat('ñ', 20000)), '\\x00' FROM generate_series(1, 200) n",
            delivery, NOW,
        )  # fmt: skip
        await connection.execute("INSERT INTO audit_heads (chain, seq, hash) VALUES ($1, 200, '\\x00')", delivery)
        await connection.execute(
            "INSERT INTO inbound (gateway_id, received_at, address, text, verified, raw, applied_at) SELECT $1, $2, "
            "'+34677123456', repeat('ñ', 4990) || ' 677123456', true, $3, $2 FROM generate_series(1, 300)",
            gateway, NOW, body,
        )  # fmt: skip
        await fold(connection, [message], NOW)
    await app.state.directory.refresh()
    inbound = await pool.fetchval("SELECT min(id) FROM inbound")
    return {"message": str(message), "delivery": str(delivery), "waiting": str(waiting[0]), "inbound": str(inbound)}


async def _key(connection: Any, gateway: int, value: str, message: int | None) -> int:
    found = await connection.fetchval(
        "INSERT INTO correlations (gateway_id, kind, value, raw, message_id, origin, part, bearing, created_at, seen_at) "
        "VALUES ($1, 'id', $2, $2, $3, 'receipt', 1, true, $4, $4) RETURNING id",
        gateway, value, message, NOW,
    )  # fmt: skip
    return int(found)


async def _receipts(connection: Any, gateway: int, keys: list[int], body: bytes, first: int) -> None:
    await connection.execute(
        "INSERT INTO receipts (id, correlation_id, gateway_id, received_at, status, status_text, fingerprint, verified, raw, "
        "details) SELECT $1 + n, k, $2, $3, 'sent', 'sent', n, true, $4, jsonb_build_object('more', repeat('x', 100000)) "
        "FROM unnest($5::bigint[]) WITH ORDINALITY AS t (k, n)",
        first, gateway, NOW, body, keys,
    )  # fmt: skip


LISTS = {
    "rejected": "/v1/receipts/rejected?limit=1000",
    "unmatched": "/v1/receipts/unmatched?limit=1000",
    "a message": "/v1/messages/{message}",
    "deliveries": "/v1/deliveries?limit=1000",
    "targets": "/v1/deliveries/{delivery}/targets?limit=1000",
    "a journal": "/v1/deliveries/{delivery}/audit?limit=1000",
    "inbound": "/v1/inbound?limit=1000",
}


@pytest.mark.slow
@pytest.mark.parametrize("url", LISTS.values(), ids=LISTS)
@pytest.mark.parametrize("pii", [(), ("pii:read",)], ids=["masked", "whole"])
async def test_no_list_is_long_or_holds_anybody_up(
    url: str, pii: tuple[str, ...], client: httpx.AsyncClient, key: KeyMaker, world: dict[str, str]
) -> None:
    headers = await key("deliveries:read", "quarantine:read", *pii)
    async with ticking() as lags:
        answer = await client.get(url.format(**world), headers=headers)
    assert answer.status_code == 200
    assert len(answer.content) < MOST_BYTES
    assert max(lags) < MOST_LAG_SECONDS
    assert ("677123456" in answer.text.replace("+34677123456", "677123456")) <= bool(pii)


#: How many rows each list has in all.
ROWS = {"rejected": 300, "unmatched": 100, "deliveries": 120, "targets": 200, "a journal": 200, "inbound": 300}


@pytest.mark.parametrize("name", ROWS)
async def test_pages_that_end_early_go_on_until_all_is_shown(
    name: str, client: httpx.AsyncClient, admin: Headers, world: dict[str, str]
) -> None:
    url, seen, cursor = LISTS[name], [], None
    for _ in range(200):
        page = (
            await client.get(url.format(**world), params={"cursor": cursor} if cursor else {}, headers=admin)
        ).json()
        seen += [str(item.get("id") or item.get("position") or item.get("seq")) for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) == ROWS[name]


async def test_a_stream_of_long_rows_comes_in_pieces_and_whole(
    client: httpx.AsyncClient, admin: Headers, world: dict[str, str]
) -> None:
    url = f"/v1/deliveries/{world['delivery']}/audit"
    async with ticking() as lags:
        answer = await client.get(url, headers=admin | {"Accept": "application/x-ndjson"})
    assert answer.text.count("\n") == 200
    assert max(lags) < MOST_LAG_SECONDS


#: Where the whole stands, which field it is, and how long.
WHOLE = [
    ("/v1/receipts/rejected/rj_7", "raw", LONG),
    ("/v1/receipts/unmatched/{waiting}", "sample", LONG),
    ("/v1/messages/{message}/receipts/2", "raw", LONG),
    ("/v1/inbound/{inbound}", "text", 4_990),
]


@pytest.mark.parametrize(("url", "field", "length"), WHOLE)
async def test_what_a_list_cuts_is_whole_under_its_own_address(
    url: str, field: str, length: int, client: httpx.AsyncClient, key: KeyMaker, admin: Headers, world: dict[str, str]
) -> None:
    whole = (await client.get(url.format(**world), headers=admin)).json()
    assert len(whole[field]) > length
    assert whole[f"{field}_bytes"] == len(whole[field].encode())
    assert "677123456" in whole[field]
    blind = await key("deliveries:read", "quarantine:read")
    async with ticking() as lags:
        masked = (await client.get(url.format(**world), headers=blind)).json()
    assert "677123456" not in masked[field]
    assert len(masked[field]) > length - 100
    assert max(lags) < MOST_LAG_SECONDS
    for gone in (
        "/v1/receipts/rejected/rj_x",
        "/v1/receipts/unmatched/0",
        "/v1/messages/1/receipts/999",
        "/v1/inbound/x",
    ):
        assert (await client.get(gone, headers=admin)).status_code == 404


async def test_a_list_says_how_long_the_whole_is(
    client: httpx.AsyncClient, admin: Headers, world: dict[str, str]
) -> None:
    rejected = (await client.get("/v1/receipts/rejected?limit=1", headers=admin)).json()["items"][0]
    assert (len(rejected["raw"]), rejected["raw_bytes"]) == (EXCERPT, LONG + 13)
    assert len(rejected["request"]["query"]) < 2_000
    waiting = (await client.get("/v1/receipts/unmatched?limit=1", headers=admin)).json()["items"][0]
    assert (len(waiting["sample"]), waiting["sample_bytes"]) == (EXCERPT, LONG + 13)
    message = (await client.get(f"/v1/messages/{world['message']}", headers=admin)).json()
    receipt = message["timeline"][-1]
    assert (len(receipt["raw"]), receipt["raw_bytes"]) == (EXCERPT, LONG + 13)
    assert (message["timeline_complete"], message["timeline_omitted"]) == (True, 0)


@pytest.mark.parametrize("text", ["ñandú", "日本語", "a🦊b", "plain"])
def test_an_excerpt_ends_between_two_characters(text: str) -> None:
    raw = text.encode()
    for size in range(1, len(raw)):
        assert text.startswith(text_of(raw[:size], len(raw)))
    assert text_of(raw, len(raw)) == text
    assert text_of(b"a\xff", 2) == "a\\xff"


def test_what_is_short_is_not_cut() -> None:
    assert cut({"raw": "x" * EXCERPT, "n": None}, "raw", "n") == {"raw": "x" * EXCERPT, "n": None}
    assert PAGE_BYTES < MOST_BYTES
