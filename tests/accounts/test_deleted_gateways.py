"""A receipt is never lost because its gateway was deleted: it is taken, and the gateway can be called to life again."""

import asyncio
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.db import Pool
from app.doctor import examined
from app.gateways.receipt import Gateway
from app.settings import Settings
from tests.conftest import Headers

SECRET, OTHER = "correct horse battery", "another horse battery"


def gateway(key: str, **fields: Any) -> dict[str, Any]:
    return {"key": key, "kind": "generic", "auth": {"mode": "token", "secrets": [SECRET]}} | fields


async def create(client: httpx.AsyncClient, admin: Headers, key: str, **fields: Any) -> httpx.Response:
    return await client.post("/v1/gateways", json=gateway(key, **fields), headers=admin)


async def delete(client: httpx.AsyncClient, admin: Headers, key: str, query: str = "") -> httpx.Response:
    return await client.delete(f"/v1/gateways/{key}{query}", headers=admin)


async def report(client: httpx.AsyncClient, key: str, id: str, secret: str = SECRET, status: str = "delivered") -> int:
    body = {"provider_message_id": id, "status": status}
    return (await client.post(f"/callbacks/{key}?token={secret}", json=body)).status_code


async def sent(client: httpx.AsyncClient, admin: Headers, key: str, *ids: str) -> str:
    """A delivery with messages of these ids, sent through the gateway; its id."""
    made = await client.post("/v1/deliveries", json={"label": "x", "sender": "Acme", "gateway": key}, headers=admin)
    rows = [{"address": f"+3460010{place:04d}", "provider_message_id": id} for place, id in enumerate(ids)]
    delivery: str = made.json()["id"]
    answer = await client.post(f"/v1/deliveries/{delivery}/messages", json=rows, headers=admin)
    assert answer.json()["accepted"] == len(ids), answer.text
    return delivery


async def received(client: httpx.AsyncClient, admin: Headers, delivery: str, wanted: int) -> None:
    for _ in range(200):
        summary = (await client.get(f"/v1/deliveries/{delivery}/summary", headers=admin)).json()
        if summary["success"] == wanted:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(summary)


async def test_with_messages_in_transit_it_says_how_many_unless_forced(
    client: httpx.AsyncClient, admin: Headers
) -> None:
    await create(client, admin, "busy")
    delivery = await sent(client, admin, "busy", "b1", "b2", "b3")
    assert await report(client, "busy", "b1") == 200
    await received(client, admin, delivery, 1)
    refused = await delete(client, admin, "busy")
    assert (refused.status_code, refused.json()["detail"][:2]) == (409, "2 ")
    assert (await client.get("/v1/gateways/busy", headers=admin)).status_code == 200
    assert (await delete(client, admin, "busy", "?force=true")).status_code == 204
    await create(client, admin, "idle")
    assert (await delete(client, admin, "idle")).status_code == 204


async def test_a_deleted_one_takes_its_receipts_and_cannot_be_named(
    client: httpx.AsyncClient, admin: Headers, app: FastAPI, settings: Settings, database_url: str
) -> None:
    await create(client, admin, "gone")
    delivery = await sent(client, admin, "gone", "g1", "g2")
    assert (await delete(client, admin, "gone", "?force=true")).status_code == 204
    assert await report(client, "gone", "g1", OTHER) == 401, "it proves itself as before"
    assert await report(client, "gone", "g1") == 200
    await received(client, admin, delivery, 1)
    row = {"gateway": "gone", "provider_message_id": "g2", "status": "delivered"}
    assert (await client.post("/v1/receipts", json=[row], headers=admin)).json()["accepted"] == 1
    await received(client, admin, delivery, 2)

    for answer, status in (
        (await client.get("/v1/gateways/gone", headers=admin), 404),
        (await client.patch("/v1/gateways/gone", json={"label": "x"}, headers=admin), 404),
        (await delete(client, admin, "gone"), 404),
        (await client.post("/v1/gateways/gone/test", json={}, headers=admin), 404),
        (
            await client.post("/v1/deliveries", json={"label": "x", "sender": "A", "gateway": "gone"}, headers=admin),
            422,
        ),
    ):
        assert answer.status_code == status, answer.text
    assert "gone" not in {item["key"] for item in (await client.get("/v1/gateways", headers=admin)).json()["items"]}
    rows = [{"address": "+34600109999", "provider_message_id": "g9", "gateway": "gone"}]
    named = await client.post(f"/v1/deliveries/{delivery}/messages", json=rows, headers=admin)
    assert "no such gateway" in named.text

    findings = {check.name: check for check in await examined(settings, database_url)}
    assert findings["gateways"].state == "warning"
    assert "gone was deleted" in findings["gateways"].finding
    assert "2 receipts since" in findings["gateways"].finding


async def test_what_could_not_be_read_of_a_deleted_one_is_listed(client: httpx.AsyncClient, admin: Headers) -> None:
    await create(client, admin, "listed")
    await delete(client, admin, "listed")
    assert (await client.post(f"/callbacks/listed?token={SECRET}", content=b"{")).status_code == 400
    shelf = (await client.get("/v1/receipts/rejected?gateway=listed", headers=admin)).json()
    assert [item["gateway"] for item in shelf["items"]] == ["listed"]


@pytest.mark.parametrize("after", [{}, {"options": {"receipt_id_format": "decimal"}}])
async def test_its_key_and_kind_revive_it_with_what_is_given_now(
    client: httpx.AsyncClient, admin: Headers, app: FastAPI, after: dict[str, Any]
) -> None:
    key = f"revived-{len(after)}"
    await create(client, admin, key, options={"receipt_id_format": "hexadecimal"})
    old: Gateway = app.state.directory.get(key)
    delivery = await sent(client, admin, key, "10", "11")
    assert await report(client, key, "a") == 200
    await received(client, admin, delivery, 1)
    await delete(client, admin, key, "?force=true")
    made = await create(client, admin, key, label="Again", auth={"mode": "token", "secrets": [OTHER]}, **after)
    assert (made.status_code, made.json()["label"]) == (201, "Again"), made.text
    new: Gateway = app.state.directory.get(key)
    assert new.id == old.id
    assert new.options.receipt_id_format == after.get("options", {}).get("receipt_id_format", "as_is")
    assert await report(client, key, "11", SECRET) == 401
    assert await report(client, key, "11", OTHER) == 200
    await received(client, admin, delivery, 2)
    assert (await client.get("/v1/receipts/unmatched?gateway=" + key, headers=admin)).json()["total"] == 0
    assert "GTW-REVIVED" in (await client.get("/v1/audit", headers=admin)).text
    assert (await create(client, admin, key)).status_code == 409, "now it is taken"


async def test_several_who_revive_it_at_once_make_one(client: httpx.AsyncClient, admin: Headers, pool: Pool) -> None:
    await create(client, admin, "raced")
    await delete(client, admin, "raced")
    tries = await asyncio.gather(*(create(client, admin, "raced") for _ in range(5)))
    assert sorted(each.status_code for each in tries) == [201, 409, 409, 409, 409]
    assert await pool.fetchval("SELECT count(*) FROM gateways WHERE key = 'raced'") == 1


async def test_another_kind_waits_until_its_retention_ends(
    client: httpx.AsyncClient, admin: Headers, app: FastAPI, pool: Pool
) -> None:
    await create(client, admin, "kinds")
    await delete(client, admin, "kinds")
    refused = await create(client, admin, "kinds", kind="kannel")
    assert refused.status_code == 409
    assert "kind generic" in refused.json()["detail"]
    await pool.execute("UPDATE gateways SET deleted_at = now() - interval '91 days' WHERE key = 'kinds'")
    await app.state.directory.refresh()
    assert await report(client, "kinds", "1") == 404
    assert (await create(client, admin, "kinds", kind="kannel")).status_code == 201


async def test_of_several_deleted_ones_the_newest_counts(
    client: httpx.AsyncClient, admin: Headers, app: FastAPI, pool: Pool
) -> None:
    """Older versions made a new gateway under the key of a deleted one."""
    for deleted in ("2 days", "1 day"):
        await pool.execute(
            "INSERT INTO gateways (key, kind, label, implementation, options, auth, created_at, updated_at, deleted_at) "
            "VALUES ('twice', 'generic', 'x', 'x', '{}', $1, now(), now(), now() - $2::text::interval)",
            {"mode": "token", "secrets": [SECRET]}, deleted,
        )  # fmt: skip
    newest = await pool.fetchval("SELECT id FROM gateways WHERE key = 'twice' ORDER BY deleted_at DESC LIMIT 1")
    await app.state.directory.refresh()
    assert app.state.directory.answering("twice").id == newest
    assert await report(client, "twice", "1") == 200
    assert (await create(client, admin, "twice")).status_code == 201
    assert app.state.directory.get("twice").id == newest


async def test_a_living_one_comes_before_a_deleted_one(app: FastAPI, client: httpx.AsyncClient, pool: Pool) -> None:
    await pool.execute(
        "INSERT INTO gateways (key, kind, label, implementation, options, auth, created_at, updated_at, deleted_at) VALUES "
        "('both', 'generic', 'x', 'x', '{}', '{\"mode\": \"none\"}', now(), now(), NULL), "
        "('both', 'generic', 'x', 'x', '{}', '{\"mode\": \"none\"}', now(), now(), now())"
    )
    await app.state.directory.refresh()
    living = await pool.fetchval("SELECT id FROM gateways WHERE key = 'both' AND deleted_at IS NULL")
    assert app.state.directory.answering("both").id == living
