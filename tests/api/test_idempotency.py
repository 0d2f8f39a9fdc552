"""`Idempotency-Key`: the same request gives the same answer again, and creates nothing twice."""

import asyncio
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.db import Pool
from tests.conftest import Headers, KeyMaker


def keyed(headers: Headers, key: str) -> Headers:
    return headers | {"Idempotency-Key": key}


def gateway(key: str) -> dict[str, Any]:
    return {"key": key, "kind": "generic", "auth": {"mode": "none"}}


async def test_the_same_again_gives_the_same_answer(client: httpx.AsyncClient, admin: Headers) -> None:
    first = await client.post("/v1/gateways", json=gateway("same"), headers=keyed(admin, "k1"))
    again = await client.post("/v1/gateways", json=gateway("same"), headers=keyed(admin, "k1"))
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.content == again.content
    assert again.headers["content-type"] == "application/json"
    assert again.headers["idempotency-replayed"] == "true"


async def test_another_body_or_address_is_a_conflict(client: httpx.AsyncClient, admin: Headers) -> None:
    await client.post("/v1/gateways", json=gateway("one"), headers=keyed(admin, "k2"))
    assert (await client.post("/v1/gateways", json=gateway("two"), headers=keyed(admin, "k2"))).status_code == 409
    body = {"name": "one", "scopes": ["admin"]}
    assert (await client.post("/v1/keys", json=body, headers=keyed(admin, "k2"))).status_code == 409


async def test_of_several_at_once_one_creates(client: httpx.AsyncClient, admin: Headers, pool: Pool) -> None:
    tries = [client.post("/v1/gateways", json=gateway("race"), headers=keyed(admin, "k3")) for _ in range(5)]
    answers = await asyncio.gather(*tries)
    assert {each.status_code for each in answers} == {201}
    assert len({each.content for each in answers}) == 1
    assert await pool.fetchval("SELECT count(*) FROM gateways WHERE key = 'race'") == 1


async def test_a_refused_request_leaves_no_mark(client: httpx.AsyncClient, admin: Headers) -> None:
    await client.post("/v1/gateways", json=gateway("taken"), headers=admin)
    assert (await client.post("/v1/gateways", json=gateway("taken"), headers=keyed(admin, "k4"))).status_code == 409
    await client.delete("/v1/gateways/taken", headers=admin)
    assert (await client.post("/v1/gateways", json=gateway("taken"), headers=keyed(admin, "k4"))).status_code == 201


async def test_a_secret_shown_once_is_repeated_and_stored_nowhere(
    client: httpx.AsyncClient, admin: Headers, pool: Pool
) -> None:
    body = {"name": "secretive", "scopes": ["deliveries:read"]}
    first = await client.post("/v1/keys", json=body, headers=keyed(admin, "k5"))
    again = await client.post("/v1/keys", json=body, headers=keyed(admin, "k5"))
    assert first.json()["secret"] == again.json()["secret"]
    stored = await pool.fetchval("SELECT answer FROM idempotency WHERE key = 'k5'")
    assert first.json()["secret"].encode() not in stored
    assert b"secretive" not in stored


async def test_keys_belong_to_the_api_key_they_came_with(client: httpx.AsyncClient, key: KeyMaker) -> None:
    mine, theirs = await key("gateways:write"), await key("gateways:write")
    assert (await client.post("/v1/gateways", json=gateway("mine"), headers=keyed(mine, "k6"))).status_code == 201
    assert (await client.post("/v1/gateways", json=gateway("mine"), headers=keyed(theirs, "k6"))).status_code == 409


async def test_marks_are_forgotten_after_a_day(client: httpx.AsyncClient, admin: Headers, pool: Pool) -> None:
    await client.post("/v1/gateways", json=gateway("old"), headers=keyed(admin, "k7"))
    await pool.execute("UPDATE idempotency SET created_at = created_at - interval '25 hours'")
    assert (await client.post("/v1/gateways", json=gateway("old"), headers=keyed(admin, "k7"))).status_code == 409
    assert (await client.post("/v1/gateways", json=gateway("new"), headers=keyed(admin, "k7"))).status_code == 201


@pytest.mark.parametrize("key", ["", "x" * 256, "ñ"])
async def test_odd_keys_are_refused(client: httpx.AsyncClient, admin: Headers, key: str) -> None:
    headers = [*admin.items(), ("Idempotency-Key", key.encode("latin-1"))]
    response = await client.post("/v1/gateways", json=gateway("odd"), headers=headers)  # type: ignore[arg-type]
    assert response.status_code == 422


async def test_a_failure_half_way_leaves_nothing(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object, **__: object) -> None:
        raise OSError

    with monkeypatch.context() as patched:
        patched.setattr("app.accounts.administering.audit.append", away)
        response = await client.post("/v1/gateways", json=gateway("half"), headers=keyed(admin, "k8"))
        assert response.status_code == 503
    assert await pool.fetchval("SELECT count(*) FROM idempotency WHERE key = 'k8'") == 0
    assert (await client.post("/v1/gateways", json=gateway("half"), headers=keyed(admin, "k8"))).status_code == 201
