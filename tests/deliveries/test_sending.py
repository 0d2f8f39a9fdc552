"""Start and outbox: what is locked, what is given out, what is claimed, what the journal says."""

import asyncio
import random
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Any, get_args

import httpx
import orjson
import pytest
from fastapi import FastAPI

from app.deliveries import lifecycle, outbox
from app.deliveries.texts import Text
from app.matching.sql import QUERIES as MATCHING
from app.references import PREFIX
from tests.conftest import Headers, KeyMaker
from tests.deliveries.sending import Sending, address

NAMES: list[dict[str, Any]] = [{"name": "Ana"}, {"name": "Bo"}, {"name": "Cy"}]


@pytest.fixture
async def sending(app: FastAPI, client: httpx.AsyncClient, admin: Headers) -> Sending:
    return await Sending.make(app, client, admin)


def asked(sending: Sending, **fields: Any) -> outbox.Asked:
    given: dict[str, Any] = {
        "text": Text.of("Hello {{name}}", None),
        "after": 0,
        "limit": None,
        "gateway_id": None,
    } | fields
    return outbox.Asked(delivery_id=sending.id, sender="Acme", actor="tests", **given)


# --- start -----------------------------------------------------------------------------------------------------------


async def test_a_prepared_delivery_starts(sending: Sending) -> None:
    await sending.prepare(NAMES)
    answer = await sending.post("start")
    assert (answer.status_code, answer.json()["status"]) == (200, "in_progress")
    assert answer.json()["started_at"] is not None
    assert answer.json()["finished_at"] is None
    (entry,) = await sending.journal("DLV-STARTED")
    assert entry["data"] == {"messages": 3}


@pytest.mark.parametrize("status", [each for each in get_args(lifecycle.Status) if each != "prepared"])
async def test_a_delivery_starts_only_when_it_is_prepared(sending: Sending, status: str) -> None:
    await sending.prepare(NAMES)
    await sending.set_status(status)
    answer = await sending.post("start")
    assert answer.status_code == 409
    assert f"this one is {status.replace('_', ' ')}" in answer.json()["detail"]
    assert await sending.status() == status
    assert await sending.journal("DLV-STARTED") == []


async def test_an_error_of_the_preparation_stops_the_start_and_is_named(sending: Sending) -> None:
    findings = [
        {"level": "warning", "code": "no_opt_out", "text": "Nobody can opt out.", "data": {}},
        {"level": "error", "code": "missing", "text": "`name` is missing for 3 recipients.", "data": {}},
    ]
    await sending.prepare(NAMES, findings)
    answer = await sending.post("start")
    assert answer.status_code == 409
    assert [error["detail"] for error in answer.json()["errors"]] == ["`name` is missing for 3 recipients."]
    assert "`name` is missing" in answer.json()["detail"]
    assert await sending.status() == "prepared"
    await sending.prepare([], findings[:1])
    assert (await sending.post("start")).status_code == 200


async def test_from_the_start_on_the_content_is_locked(sending: Sending) -> None:
    await sending.started(1)
    answer = await sending.client.patch(sending.url, json={"content": "Other"}, headers=sending.headers)
    assert answer.status_code == 409


async def test_with_nothing_to_send_it_is_finished_at_once(sending: Sending) -> None:
    await sending.prepare([])
    answer = await sending.post("start")
    assert (answer.status_code, answer.json()["status"]) == (200, "finished")
    assert answer.json()["finished_at"] == answer.json()["started_at"] is not None
    assert [entry["code"] for entry in await sending.journal()][-2:] == ["DLV-STARTED", "DLV-FINISHED"]


async def test_a_delivery_that_is_being_prepared_or_uploaded_to_does_not_start(sending: Sending) -> None:
    await sending.prepare(NAMES)
    async with sending.app.state.pool.acquire() as connection, connection.transaction():
        assert await connection.fetchval(outbox.QUERIES["lock_handling"], sending.id)
        answer = await sending.post("start")
    assert (answer.status_code, await sending.status()) == (409, "prepared")
    assert (await sending.post("start")).status_code == 200


async def test_there_is_nothing_to_start_where_there_is_nothing(client: httpx.AsyncClient, admin: Headers) -> None:
    for path in ("start", "proofs"):
        body = {"addresses": [{"address": "+34600000001"}]} if path == "proofs" else None
        assert (await client.post(f"/v1/deliveries/999999/{path}", json=body, headers=admin)).status_code == 404
    for path in ("outbox", "proofs"):
        assert (await client.get(f"/v1/deliveries/999999/{path}", headers=admin)).status_code == 404


async def test_messages_sent_elsewhere_do_not_mix_with_an_audience(sending: Sending) -> None:
    rows = [{"address": "+34600000001", "provider_message_id": "mixed"}]
    await sending.prepare(NAMES)
    await sending.set_status("editing")
    assert (await sending.post("messages", rows)).status_code == 409
    await sending.set_status("in_progress")
    assert (await sending.post("messages", rows)).status_code == 409
    assert len(await sending.statuses()) == 3


@pytest.mark.slow
async def test_start_cancel_and_edit_at_once_have_one_winner_and_no_half_state(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers
) -> None:
    """Of two starts one wins at most; an edit and a start exclude each other; the cancel always has the last word."""
    chance = random.Random(7)
    outcomes: set[tuple[bool, bool]] = set()
    for _ in range(60):
        one = await Sending.make(app, client, admin)
        await one.prepare(NAMES)

        async def later(call: Awaitable[httpx.Response], wait: float) -> httpx.Response:
            await asyncio.sleep(wait)
            return await call

        edit = client.patch(one.url, json={"sender": "Other"}, headers=one.headers)
        calls = (one.post("start"), one.post("start"), edit, one.post("cancel"))
        answers = await asyncio.gather(*(later(call, chance.random() * 0.01) for call in calls))
        codes = [answer.status_code for answer in answers]
        assert set(codes) <= {200, 409}
        assert all(answer.json()["detail"] for answer in answers if answer.status_code == 409)
        started, edited = codes[:2].count(200), codes[2] == 200
        assert started + edited <= 1
        assert codes[3] == 200
        journal = [entry["code"] for entry in await one.journal()]
        assert (journal.count("DLV-STARTED"), journal.count("DLV-EDITED")) == (started, int(edited))
        assert journal[-1] == "DLV-CANCELLED"
        assert (await one.status(), await one.statuses()) == ("cancelled", ["cancelled"] * 3)
        await one.check_books()
        outcomes.add((started == 1, edited))
    assert len(outcomes) == 3, "a start, an edit, and neither have each come first"


# --- the outbox ------------------------------------------------------------------------------------------------------


async def test_the_outbox_gives_each_pending_message_its_text(sending: Sending) -> None:
    ids = await sending.prepare([{"name": "Ana"}, {"name": "{{name}}"}, {"name": "€" * 71}])
    await sending.post("start")
    rows = await sending.outbox()
    assert [row["message_id"] for row in rows] == [str(id) for id in ids]
    assert rows[0] == {
        "message_id": str(ids[0]),
        "reference": f"acuse-{ids[0]}",
        "address": address(1),
        "text": "Hello Ana, STOP to 25252",
        "parts": 1,
        "sender": "Acme",
    }
    assert rows[1]["text"] == "Hello {{name}}, STOP to 25252"
    assert (rows[2]["text"], rows[2]["parts"]) == (f"Hello {'€' * 71}, STOP to 25252", 2)


async def test_the_log_shows_the_reference_that_the_outbox_gives(sending: Sending) -> None:
    ids = await sending.started(2)
    items = (await sending.get("messages"))["items"]
    assert [item["reference"] for item in items] == [f"acuse-{id}" for id in ids]


async def test_the_outbox_goes_on_behind_the_last_message_that_the_reader_has(sending: Sending) -> None:
    ids = [str(id) for id in await sending.started(7)]
    seen: list[str] = []
    while rows := await sending.outbox(limit=3, after=seen[-1] if seen else "0"):
        assert len(rows) <= 3
        seen += [row["message_id"] for row in rows]
    assert seen == ids
    assert [row["message_id"] for row in await sending.outbox()] == ids, "nothing was reported: all is still pending"
    entries = await sending.journal("DLV-OUTBOX")
    assert [entry["data"]["given"] for entry in entries] == [3, 3, 1, 7]
    assert [entry["data"]["ending"] for entry in entries] == ["limit", "limit", "complete", "complete"]
    assert entries[1]["data"]["first_message_id"] == ids[3]
    assert entries[1]["data"]["last_message_id"] == ids[5]


async def test_chunks_join_without_gap_or_repetition(sending: Sending, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "CHUNK", 4)
    for count in (8, 9):
        one = await Sending.make(sending.app, sending.client, sending.headers)
        ids = await one.started(count)
        assert [int(row["message_id"]) for row in await one.outbox()] == ids
        assert [int(row["message_id"]) for row in await one.outbox(limit=5)] == ids[:5]


async def test_what_was_handed_over_or_is_a_proof_is_not_given_out(sending: Sending) -> None:
    ids = await sending.started(3)
    await sending.submit({"message_id": str(ids[1]), "provider_message_id": "taken"})
    proof = {"addresses": [{"address": "+34600000001", "params": {"name": "P"}}]}
    assert (await sending.post("proofs", proof)).status_code == 201
    assert [int(row["message_id"]) for row in await sending.outbox()] == [ids[0], ids[2]]


async def test_a_text_that_cannot_be_made_is_left_out_and_told(sending: Sending) -> None:
    ids = await sending.prepare([{"name": "Ana"}, None, {"name": ""}, {"name": "Cy"}])
    await sending.execute("UPDATE messages SET address = 'erased:0a1b' WHERE id = $1", ids[3])
    await sending.post("start")
    assert [int(row["message_id"]) for row in await sending.outbox()] == ids[:1]
    (entry,) = await sending.journal("DLV-OUTBOX")
    assert entry["level"] == "warning"
    assert entry["data"]["left_out_because"] == {"{{name}}": 2, "erased": 1}
    assert entry["data"]["left_out_message_ids"] == [str(id) for id in ids[1:]]


@pytest.mark.parametrize("status", [each for each in get_args(lifecycle.Status) if each != "in_progress"])
async def test_there_is_an_outbox_only_while_the_delivery_is_in_progress(sending: Sending, status: str) -> None:
    await sending.prepare(NAMES)
    await sending.set_status(status)
    answer = await sending.client.get(f"{sending.url}/outbox", headers=sending.headers)
    assert (answer.status_code, answer.headers["content-type"]) == (409, "application/problem+json")
    assert f"this one is {status.replace('_', ' ')}" in answer.json()["detail"]


async def test_a_delivery_sent_elsewhere_has_no_outbox(app: FastAPI, client: httpx.AsyncClient, admin: Headers) -> None:
    one = await Sending.make(app, client, admin, content=None)
    await one.post("messages", [{"address": "+34600000001", "provider_message_id": "elsewhere"}])
    assert (await client.get(f"{one.url}/outbox", headers=admin)).status_code == 409


async def test_the_outbox_needs_both_scopes(sending: Sending, key: KeyMaker) -> None:
    await sending.started(1)
    for scopes in (("deliveries:write",), ("deliveries:read", "pii:read")):
        answer = await sending.client.get(f"{sending.url}/outbox", headers=await key(*scopes))
        assert answer.status_code == 403
        assert "lacks the scope" in answer.json()["detail"]
    both = await key("deliveries:write", "pii:read")
    assert (await sending.client.get(f"{sending.url}/outbox", headers=both)).status_code == 200


@pytest.mark.parametrize("params", [{"after": "x"}, {"after": "-1"}, {"after": "1" * 19}, {"limit": "0"}])
async def test_what_cannot_be_asked_for_is_named(sending: Sending, params: dict[str, str]) -> None:
    await sending.started(1)
    answer = await sending.client.get(f"{sending.url}/outbox", params=params, headers=sending.headers)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == f"?{next(iter(params))}"


async def test_a_read_that_finds_nothing_leaves_no_entry(sending: Sending) -> None:
    ids = await sending.started(1)
    await sending.submit({"message_id": str(ids[0]), "provider_message_id": "n1"})
    assert await sending.outbox() == []
    assert await sending.journal("DLV-OUTBOX") == []


async def test_the_stream_ends_when_the_delivery_is_cancelled(
    sending: Sending, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "CHUNK", 2)
    ids = await sending.started(6)
    seen: list[int] = []
    async for lines in outbox.stream(sending.app.state.pool, asked(sending)):
        seen += [int(orjson.loads(line)["message_id"]) for line in lines.splitlines()]
        if len(seen) == 4:
            assert (await sending.post("cancel")).json()["status"] == "cancelled"
    assert seen == ids[:4]
    (entry,) = await sending.journal("DLV-OUTBOX")
    assert (entry["data"]["ending"], entry["data"]["given"]) == ("over", 4)
    assert await sending.statuses() == ["cancelled"] * 6
    await sending.check_books()


async def test_a_reader_that_goes_away_is_told_of_too(sending: Sending, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "CHUNK", 2)
    ids = await sending.started(6)
    gone = asyncio.Event()
    sent: list[bytes] = []

    async def receive() -> Any:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))
        if len(b"".join(sent).splitlines()) == 4:
            gone.set()
            await asyncio.sleep(5)  # a slow network: the disconnect is noticed here

    headers = [(name.lower().encode(), value.encode()) for name, value in sending.headers.items()]
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "GET",
        "scheme": "http", "path": f"{sending.url}/outbox", "raw_path": f"{sending.url}/outbox".encode(),
        "query_string": b"", "root_path": "", "headers": headers, "server": ("acuse.test", 80), "client": ("t", 1),
    }  # fmt: skip
    await asyncio.wait_for(sending.app(scope, receive, send), 5)
    for _ in range(100):
        if entries := await sending.journal("DLV-OUTBOX"):
            break
        await asyncio.sleep(0.02)
    assert [(entry["data"]["ending"], entry["data"]["given"]) for entry in entries] == [("broken_off", 4)]
    assert [int(row["message_id"]) for row in await sending.outbox(after=str(ids[3]))] == ids[4:]


async def test_no_connection_is_held_while_the_reader_is_slow(
    sending: Sending, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "CHUNK", 2)
    await sending.started(4)
    pool = sending.app.state.pool
    async for _ in outbox.stream(pool, asked(sending)):
        # nothing of ours is busy: every connection of the pool can be had at once
        held = [await pool.acquire(timeout=1) for _ in range(pool.get_max_size())]
        for connection in held:
            await pool.release(connection)


async def test_reading_again_claims_nothing_anew(sending: Sending) -> None:
    await sending.started(5)
    query = "SELECT id, xmin::text AS written_by FROM correlations WHERE value LIKE 'acuse-%' ORDER BY id"
    async with sending.app.state.pool.acquire() as connection:
        await sending.outbox()
        first = await connection.fetch(query)
        await sending.outbox()
        assert await connection.fetch(query) == first
        assert first


async def test_two_readers_at_once_see_the_same(sending: Sending) -> None:
    ids = await sending.started(50)
    reads = await asyncio.gather(*(sending.outbox() for _ in range(4)))
    for rows in reads:
        assert [int(row["message_id"]) for row in rows] == ids
    await sending.check_books()


async def test_the_last_chunk_costs_what_the_first_costs(sending: Sending) -> None:
    """Whatever the statistics say: those of a table that was empty a minute ago, too."""
    ids = await sending.started(20_000)
    async with sending.app.state.pool.acquire() as connection:
        gateway = await connection.fetchval("SELECT gateway_id FROM deliveries WHERE id = $1", sending.id)
        now = datetime.now(UTC)
        for analysed in (False, True):
            if analysed:
                await connection.execute("ANALYZE")
            for after in (ids[0] - 1, ids[-201]):
                chunk = (outbox.QUERIES["list_outbox"], sending.id, after, 100)
                claims = (
                    MATCHING["claim_references"],
                    [gateway] * 100,
                    [after + n for n in range(1, 101)],
                    PREFIX,
                    now,
                )
                for query, *values in (chunk, claims, claims):
                    for node in await explained(connection, query, *values):
                        assert node["Actual Rows"] * node["Actual Loops"] <= 100, (query, node)
                        assert node.get("Rows Removed by Filter", 0) <= 100, (query, node)


async def explained(connection: Any, query: str, *values: Any) -> list[dict[str, Any]]:
    """Every node of the plan, as it ran."""
    plan = orjson.loads(await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}", *values))
    return nodes(plan[0]["Plan"])


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(each for below in plan.get("Plans", []) for each in nodes(below))]


async def test_a_chunk_ends_by_the_bytes_of_its_texts_and_none_is_left_out(sending: Sending) -> None:
    ids = await sending.prepare([{"name": "ñ" * 1_000} | {f"p{n}": "ñ" * 1_000 for n in range(49)} for _ in range(30)])
    assert (await sending.post("start")).status_code == 200
    pool, read = sending.app.state.pool, asked(sending)
    chunks = [chunk async for chunk in outbox.stream(pool, read)]
    assert len(chunks) > 1
    assert [orjson.loads(line)["message_id"] for chunk in chunks for line in chunk.splitlines()] == [
        str(id) for id in ids
    ]
