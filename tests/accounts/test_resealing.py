"""Secrets in the database: none stands there in clear, all can be sealed anew, and a lost key costs what it sealed."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from app import sealing
from app.accounts import resealing, store
from app.accounts.directory import Gateways
from app.db import Connection, Pool
from app.links import signing as token_keys
from app.privacy.pseudonyms import load as pseudonyms
from app.sealing import KEY_ROW, Sealing, SealKey
from app.settings import Settings
from tests.conftest import Headers

SECRET = "a-secret-of-the-gateway"
OLD, NEW = "old-" + "o" * 40, "new-" + "n" * 40
REPORT = {"provider_message_id": "1", "status": "delivered"}


@pytest.fixture
async def connection(pool: Pool, app: FastAPI) -> AsyncIterator[Connection]:
    async with pool.acquire() as connection:
        yield connection


async def create(client: httpx.AsyncClient, admin: Headers, key: str, **auth: Any) -> None:
    body = {"key": key, "kind": "generic", "auth": {"mode": "token", "secrets": [SECRET]} | auth}
    answer = await client.post("/v1/gateways", json=body, headers=admin)
    assert answer.status_code == 201, answer.text


async def secrets_of(connection: Connection) -> tuple[Any, ...]:
    """Everything that is sealed, opened."""
    keys = await token_keys.load(connection)
    assert keys is not None
    auths = [(row.key, row.auth) for row in await store.all_gateways(connection)]
    cursors = await sealing.own_secret(connection, "cursor_key")
    return keys.secrets, (await pseudonyms(connection)).key, cursors, auths


async def stored(connection: Connection) -> str:
    rows = await connection.fetch(
        "SELECT key || value AS text FROM platform UNION ALL SELECT key || auth::text FROM gateways"
    )
    return "\n".join(row["text"] for row in rows)


async def test_no_secret_stands_in_the_database(
    client: httpx.AsyncClient, admin: Headers, connection: Connection
) -> None:
    await create(client, admin, "sealed", mode="basic", username="a-user-of-it")
    await client.patch(
        "/v1/gateways/sealed", headers=admin, json={"auth": {"mode": "token", "secrets": [SECRET, "another-one"]}}
    )
    await create(client, admin, "open", mode="none", secrets=[])
    keys, pseudonym_key, cursors, auths = await secrets_of(connection)
    assert dict(auths)["sealed"]["secrets"] == [SECRET, "another-one"]
    text = await stored(connection)
    for each in (SECRET, "another-one", "a-user-of-it", pseudonym_key.hex(), cursors.hex(), keys[0].hex()):
        assert each not in text
    assert await connection.fetchval("SELECT auth FROM gateways WHERE key = 'open'") == {"mode": "none"}


async def test_what_an_older_version_left_in_clear_is_sealed_once(
    client: httpx.AsyncClient, admin: Headers, connection: Connection
) -> None:
    await create(client, admin, "older")
    keys, pseudonym_key, cursors, _ = before = await secrets_of(connection)
    clear = {"token_key_0": keys[0], "address_key": pseudonym_key, "cursor_key": cursors}
    for name, secret in clear.items():
        await connection.execute("UPDATE platform SET value = $2 WHERE key = $1", name, secret.hex())
    auth = {"mode": "token", "secrets": [SECRET]}
    await connection.execute("UPDATE gateways SET auth = $1 WHERE key = 'older'", auth)
    assert await secrets_of(connection) == before, "it is read all the same"
    assert len((await resealing.survey(connection)).clear) == 4
    assert await resealing.seal_clear(connection) == 4
    assert await resealing.seal_clear(connection) == 0
    assert await secrets_of(connection) == before
    assert SECRET not in await stored(connection)


async def test_an_older_version_does_not_take_a_sealed_gateway_for_one_without_secrets(
    client: httpx.AsyncClient, admin: Headers, connection: Connection
) -> None:
    """It looks for `mode` first, and a gateway without one is "later" there (503) and never a wrong secret (401)."""
    await create(client, admin, "read-by-old")
    assert "mode" not in await connection.fetchval("SELECT auth FROM gateways WHERE key = 'read-by-old'")


async def test_all_is_sealed_anew_and_stopped_half_way_it_goes_on(
    client: httpx.AsyncClient, admin: Headers, connection: Connection, tmp_path: Path
) -> None:
    await create(client, admin, "resealed")
    before = await secrets_of(connection)
    ours = Sealing.of(Settings(data_dir=tmp_path, seal_keys=(SecretStr(NEW),)))
    await ours.install(connection)
    found = resealing.reseal(connection)
    first = await anext(found)
    assert first[1] == "sealed"
    await found.aclose()
    fates = {name: fate async for name, fate in resealing.reseal(connection)}
    assert fates[first[0]] == "done"
    assert {fate for name, fate in fates.items() if name != first[0]} <= {"sealed", "done"}
    assert fates["gateway resealed"] == "sealed"
    assert list((await resealing.survey(connection)).by_key) == [SealKey.of(NEW).id]
    assert await connection.fetchval("SELECT count(*) FROM platform WHERE key = $1", KEY_ROW) == 0
    assert await secrets_of(connection) == before
    assert {fate async for _, fate in resealing.reseal(connection)} == {"done"}


async def test_a_gateway_whose_key_is_lost_is_later_not_never(
    client: httpx.AsyncClient, admin: Headers, app: FastAPI, connection: Connection
) -> None:
    await create(client, admin, "lost")
    await create(client, admin, "neighbour")
    lost = {"sealed": SealKey.of(OLD).seal("gateways.lost.auth", b"{}")}
    await connection.execute("UPDATE gateways SET auth = $1 WHERE key = 'lost'", lost)
    rows = await store.all_gateways(connection)
    assert "lost" in Gateways(rows).unusable
    known = {row.id: app.state.directory.by_id(row.id) for row in rows}
    assert Gateways(rows, before=known).by_key["lost"].auth.secrets == (SECRET,), "what a process knows it keeps"

    app.state.directory._gateways = Gateways()  # as after a start
    app.state.directory._mark = None
    answer = await client.post(f"/callbacks/lost?token={SECRET}", json=REPORT)
    assert (answer.status_code, "retry-after" in answer.headers) == (503, True), answer.text
    assert (await client.post(f"/callbacks/neighbour?token={SECRET}", json=REPORT)).status_code == 200
    assert [fate async for name, fate in resealing.reseal(connection) if name == "gateway lost"] == ["lost"]
    shown = (await client.get("/v1/gateways/lost", headers=admin)).json()
    assert shown["auth"] == {"mode": "unreadable", "secrets": 0, "username": None}
    assert (await client.patch("/v1/gateways/lost", json={"label": "Lost"}, headers=admin)).status_code == 200
    assert await connection.fetchval("SELECT auth FROM gateways WHERE key = 'lost'") == lost, "nothing is thrown away"

    auth = {"mode": "token", "secrets": [SECRET]}
    assert (await client.patch("/v1/gateways/lost", json={"auth": auth}, headers=admin)).status_code == 200
    assert (await client.post(f"/callbacks/lost?token={SECRET}", json=REPORT)).status_code == 200
