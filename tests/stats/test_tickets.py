"""A ticket stands for a key in the query of an event stream: for a minute, and for nothing else."""

import asyncio
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from fastapi import FastAPI

from app.accounts.store import insert_key
from app.db import Pool
from app.security import hash_secret, new_secret
from app.server.tickets import LIFE, Tickets
from tests.conftest import ADMIN_SECRET, Headers, KeyMaker

NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)
HASH = hash_secret(ADMIN_SECRET)


async def delivery(client: httpx.AsyncClient, admin: Headers) -> str:
    made = await client.post("/v1/deliveries", json={"label": "Sale", "sender": "Acme"}, headers=admin)
    return str(made.json()["id"])


async def first(app: FastAPI, url: str) -> tuple[int, bytes]:
    """Status and first bytes of a stream, which is then left."""
    sent: list[bytes] = []
    status = 0
    come, asked = asyncio.Event(), False

    async def receive() -> dict[str, object]:
        nonlocal asked
        if asked:
            await come.wait()
            return {"type": "http.disconnect"}
        asked = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, object]) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = int(str(message["status"]))
        else:
            sent.append(bytes(message.get("body", b"")))  # type: ignore[call-overload]
            come.set()

    path, _, query = url.partition("?")
    scope = {
        "type": "http", "method": "GET", "path": path, "query_string": query.encode(), "headers": [], "http_version": "1.1",
        "client": ("127.0.0.1", 1), "server": ("acuse.test", 80), "scheme": "http", "root_path": "",
    }  # fmt: skip
    await app(scope, receive, send)  # type: ignore[arg-type]
    return status, b"".join(sent)


async def test_a_ticket_opens_an_event_stream_without_a_header(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers
) -> None:
    id = await delivery(client, admin)
    for body in (None, {}, {"delivery_id": id}):
        made = await client.post("/v1/tickets", headers=admin, json=body)
        assert made.status_code == 201, made.text
        left = datetime.fromisoformat(made.json()["expires_at"]) - datetime.now(UTC)
        assert timedelta(seconds=50) < left <= timedelta(seconds=60)
        status, body_read = await first(app, f"/v1/deliveries/{id}/events?ticket={made.json()['ticket']}")
        assert (status, body_read[:6]) == (200, b"retry:")


async def test_a_ticket_of_one_delivery_opens_no_other_and_nothing_else(
    client: httpx.AsyncClient, admin: Headers
) -> None:
    one, other = await delivery(client, admin), await delivery(client, admin)
    ticket = (await client.post("/v1/tickets", json={"delivery_id": one}, headers=admin)).json()["ticket"]
    assert (await client.get(f"/v1/deliveries/{other}/events?ticket={ticket}")).status_code == 401
    assert (await client.get(f"/v1/deliveries/{one}/summary?ticket={ticket}")).status_code == 401
    assert (await client.get(f"/v1/deliveries/{one}", headers={"Authorization": f"Bearer {ticket}"})).status_code == 401


async def test_a_ticket_ends_with_its_key(client: httpx.AsyncClient, admin: Headers) -> None:
    id = await delivery(client, admin)
    key = (await client.post("/v1/keys", json={"name": "page", "scopes": ["deliveries:read"]}, headers=admin)).json()
    theirs = {"Authorization": f"Bearer {key['secret']}"}
    ticket = (await client.post("/v1/tickets", headers=theirs)).json()["ticket"]
    assert (await client.delete("/v1/keys/page", headers=admin)).status_code == 204
    assert (await client.get(f"/v1/deliveries/{id}/events?ticket={ticket}")).status_code == 401


async def test_a_ticket_of_a_key_that_another_process_made_just_now_opens_a_stream(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers, pool: Pool
) -> None:
    id, key_hash = await delivery(client, admin), hash_secret(new_secret())
    async with pool.acquire() as connection:
        await insert_key(connection, "just-now", key_hash, ["deliveries:read"], datetime.now(UTC))
    ticket = app.state.tickets.make(key_hash, None, datetime.now(UTC) + LIFE)
    assert (await first(app, f"/v1/deliveries/{id}/events?ticket={ticket}"))[0] == 200


async def test_a_ticket_needs_the_scope_that_the_stream_needs(client: httpx.AsyncClient, key: KeyMaker) -> None:
    assert (await client.post("/v1/tickets", headers=await key("receipts:write"))).status_code == 403
    assert (await client.post("/v1/tickets")).status_code == 401


@pytest.mark.parametrize("ticket", ["", "x", "ñ", "A" * 100, "%00", "AAAA=="])
async def test_what_is_no_ticket_opens_nothing(client: httpx.AsyncClient, admin: Headers, ticket: str) -> None:
    id = await delivery(client, admin)
    answer = await client.get(f"/v1/deliveries/{id}/events", params={"ticket": ticket})
    assert answer.status_code == 401
    assert "POST /v1/tickets" in answer.json()["detail"]


def test_a_ticket_is_over_after_a_minute_and_nobody_else_can_make_one() -> None:
    ours, others = Tickets(b"k" * 32), Tickets(b"o" * 32)
    ticket = ours.make(HASH, None, NOW + LIFE)
    assert ours.open(ticket, "1", NOW + timedelta(seconds=59)) == HASH
    assert ours.open(ticket, "1", NOW + timedelta(seconds=60)) is None
    assert others.open(ticket, "1", NOW) is None
    assert ours.open(ours.make(HASH, "1", NOW + LIFE), "2", NOW) is None
    assert ours.make(HASH, None, NOW + LIFE) != ticket
