"""API keys: the secret is shown once, and somebody can always make another key."""

import asyncio

import httpx
import pytest

from app.db import Pool
from app.security import hash_secret
from tests.conftest import ADMIN_SECRET, Headers


async def test_created_used_listed_and_deleted(client: httpx.AsyncClient, admin: Headers, pool: Pool) -> None:
    body = {"name": "crm", "scopes": ["deliveries:read", "deliveries:read"]}
    made = (await client.post("/v1/keys", json=body, headers=admin)).json()
    assert made["scopes"] == ["deliveries:read"]
    headers = {"Authorization": f"Bearer {made['secret']}"}
    assert (await client.get("/v1/gateways", headers=headers)).status_code == 200
    listed = await client.get("/v1/keys", headers=admin)
    assert {"name", "scopes", "created_at"} == set(listed.json()["items"][0])
    assert made["secret"] not in listed.text + (await client.get("/v1/audit", headers=admin)).text
    assert await pool.fetchval("SELECT hash FROM api_keys WHERE name = 'crm'") == hash_secret(made["secret"])
    assert (await client.delete("/v1/keys/crm", headers=admin)).status_code == 204
    assert (await client.get("/v1/gateways", headers=headers)).status_code == 401
    assert (await client.delete("/v1/keys/crm", headers=admin)).status_code == 404


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"name": "Not A Slug", "scopes": ["admin"]}, "/name"),
        ({"name": "env-admin", "scopes": ["admin"]}, "/name"),
        ({"name": "system", "scopes": ["admin"]}, "/name"),
        ({"name": "x", "scopes": []}, "/scopes"),
        ({"name": "x", "scopes": ["everything"]}, "/scopes/0"),
        ({"name": "x"}, "/scopes"),
    ],
)
async def test_wrong_keys(client: httpx.AsyncClient, admin: Headers, body: dict[str, object], pointer: str) -> None:
    response = await client.post("/v1/keys", json=body, headers=admin)
    assert response.status_code == 422
    assert [each["pointer"] for each in response.json()["errors"]] == [pointer]


async def test_a_name_is_taken_once(client: httpx.AsyncClient, admin: Headers) -> None:
    body = {"name": "twice", "scopes": ["deliveries:read"]}
    codes = [(await client.post("/v1/keys", json=body, headers=admin)).status_code for _ in range(2)]
    assert codes == [201, 409]


async def test_the_last_admin_stays_even_when_two_delete_each_other(client: httpx.AsyncClient, admin: Headers) -> None:
    assert (await client.delete("/v1/keys/env-admin", headers=admin)).status_code == 409
    body = {"name": "second", "scopes": ["admin"]}
    second = {"Authorization": f"Bearer {(await client.post('/v1/keys', json=body, headers=admin)).json()['secret']}"}
    both = await asyncio.gather(
        client.delete("/v1/keys/env-admin", headers=second), client.delete("/v1/keys/second", headers=admin)
    )
    codes = sorted(each.status_code for each in both)
    assert codes[0] == 204
    assert codes[1] in (401, 409)


async def test_the_key_of_the_settings_exists(pool: Pool) -> None:
    scopes = await pool.fetchval("SELECT scopes FROM api_keys WHERE hash = $1", hash_secret(ADMIN_SECRET))
    assert scopes in (None, ["admin"])  # the test before may have deleted it
