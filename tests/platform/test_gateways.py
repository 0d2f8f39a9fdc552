"""Gateways by the API: what is accepted, what is refused, what is never shown."""

import asyncio
from typing import Any

import httpx
import orjson
import pytest
from fastapi import FastAPI

from app.db import Connection, Pool
from app.gateways import GATEWAYS
from app.gateways.receipt import Gateway
from tests.conftest import Headers, KeyMaker

SECRET = "correct horse battery"


def gateway(key: str, **fields: Any) -> dict[str, Any]:
    return {"key": key, "kind": "generic", "auth": {"mode": "token", "secrets": [SECRET]}} | fields


async def create(client: httpx.AsyncClient, admin: Headers, key: str, **fields: Any) -> dict[str, Any]:
    response = await client.post("/v1/gateways", json=gateway(key, **fields), headers=admin)
    assert response.status_code == 201, response.text
    body: dict[str, Any] = response.json()
    return body


async def test_created_read_listed_and_never_a_secret(client: httpx.AsyncClient, admin: Headers) -> None:
    made = await create(client, admin, "acme", label="Acme Spain")
    assert made["callback_url"] == "http://acuse.test/callbacks/acme"
    assert made["auth"] == {"mode": "token", "secrets": 1, "username": None}
    assert made["options"]["receipt_id_format"] == "as_is"
    one = await client.get("/v1/gateways/acme", headers=admin)
    assert one.json() == made | {"receipts": 0, "unmatched": 0, "rejected": 0, "unknown_statuses": {}, "hint": None}
    everything = await client.get("/v1/gateways", headers=admin)
    assert made in everything.json()["items"]
    journal = await client.get("/v1/audit", headers=admin)
    assert "GTW-CREATED" in journal.text
    assert all(SECRET not in answer.text for answer in (one, everything, journal))


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"kind": "nonsense"}, "/kind"),
        ({"key": "Not A Slug"}, "/key"),
        ({"key": "-dash"}, "/key"),
        ({"key": "x" * 64}, "/key"),
        ({"key": "line\n"}, "/key"),
        ({"label": "two\nlines"}, "/label"),
        ({"more": 1}, "/more"),
        ({"options": {"nonsense": 1}}, "/options/nonsense"),
        ({"options": {"receipt_id_format": "octal"}}, "/options/receipt_id_format"),
        ({"auth": None}, "/auth"),
        ({"auth": {}}, "/auth/mode"),
        ({"auth": {"mode": "magic"}}, "/auth/mode"),
        ({"auth": {"mode": "signature", "secrets": [SECRET]}, "kind": "kannel"}, "/auth/mode"),
        ({"auth": {"mode": "token"}}, "/auth/secrets"),
        ({"auth": {"mode": "token", "secrets": []}}, "/auth/secrets"),
        ({"auth": {"mode": "token", "secrets": [""]}}, "/auth/secrets/0"),
        ({"auth": {"mode": "token", "secrets": [SECRET, "short"]}}, "/auth/secrets/1"),
        ({"kind": "twilio", "auth": {"mode": "signature", "secrets": [SECRET, "sha512:" + SECRET]}}, "/auth/secrets/1"),
        ({"kind": "twilio", "auth": {"mode": "signature", "secrets": ["sha256:short"]}}, "/auth/secrets/0"),
        ({"auth": {"mode": "token", "secrets": [SECRET], "username": "joe"}}, "/auth/username"),
        ({"auth": {"mode": "basic", "secrets": [SECRET]}}, "/auth/username"),
        ({"auth": {"mode": "basic", "username": "a:b", "secrets": [SECRET]}}, "/auth/username"),
        ({"auth": {"mode": "none", "secrets": [SECRET]}}, "/auth/secrets"),
    ],
)
async def test_what_is_wrong_is_pointed_at(
    client: httpx.AsyncClient, admin: Headers, fields: dict[str, Any], pointer: str
) -> None:
    response = await client.post("/v1/gateways", json=gateway("wrong") | fields, headers=admin)
    assert response.status_code == 422, response.text
    assert [each["pointer"] for each in response.json()["errors"]] == [pointer]
    assert SECRET not in response.text
    assert (await client.get("/v1/gateways/wrong", headers=admin)).status_code == 404


async def test_auth_must_be_said(client: httpx.AsyncClient, admin: Headers) -> None:
    response = await client.post("/v1/gateways", json={"key": "open", "kind": "generic"}, headers=admin)
    assert [each["pointer"] for each in response.json()["errors"]] == ["/auth"]
    await create(client, admin, "open", auth={"mode": "none"})


async def test_a_key_is_taken_once(client: httpx.AsyncClient, admin: Headers) -> None:
    tries = [client.post("/v1/gateways", json=gateway("once"), headers=admin) for _ in range(5)]
    assert sorted(each.status_code for each in await asyncio.gather(*tries)) == [201, 409, 409, 409, 409]


async def test_scopes(client: httpx.AsyncClient, admin: Headers, key: KeyMaker) -> None:
    await create(client, admin, "scoped")
    reader, writer, other = await key("deliveries:read"), await key("gateways:write"), await key("receipts:write")
    for headers, status in ((reader, 200), (writer, 200), (other, 403)):
        assert (await client.get("/v1/gateways/scoped", headers=headers)).status_code == status
        assert (await client.get("/v1/gateway-kinds", headers=headers)).status_code == status
    for headers, status in ((reader, 403), (other, 403), (writer, 200)):
        response = await client.patch("/v1/gateways/scoped", json={"label": "New"}, headers=headers)
        assert response.status_code == status


async def test_shipped_qualifications_are_there_from_the_start(
    client: httpx.AsyncClient, admin: Headers, pool: Pool
) -> None:
    await create(client, admin, "shipped", kind="smpp", implementation="Shipped")
    rows = await pool.fetch("SELECT * FROM qualifications WHERE implementation = 'Shipped'")
    wanted = {(status.upper(), code) for status, code in GATEWAYS["smpp"].qualifications if status != "*"}
    assert {(row["status"], row["error_code"]) for row in rows} == wanted
    assert {row["state"] for row in rows} <= {"keep"}
    await pool.execute("UPDATE qualifications SET reason = 'mine' WHERE implementation = 'Shipped'")
    await create(client, admin, "shipped-2", kind="smpp", implementation="Shipped")
    assert await pool.fetchval("SELECT count(*) FROM qualifications WHERE reason = 'mine'") == len(wanted)


async def test_patch_merges_options_and_replaces_auth(client: httpx.AsyncClient, admin: Headers, app: FastAPI) -> None:
    await create(client, admin, "patched", options={"receipts_per": "message"})
    change = {"options": {"receipt_id_format": "decimal"}, "auth": {"mode": "bearer", "secrets": [SECRET, "x" * 8]}}
    response = await client.patch("/v1/gateways/patched", json=change, headers=admin)
    assert response.status_code == 200, response.text
    assert response.json()["options"]["receipts_per"] == "message"
    assert response.json()["options"]["receipt_id_format"] == "decimal"
    assert response.json()["rekeyed"] is not None
    known: Gateway = app.state.directory.get("patched")
    assert (known.auth.mode, known.auth.secrets) == ("bearer", (SECRET, "x" * 8))
    response = await client.patch("/v1/gateways/patched", json={"options": {"receipts_per": None}}, headers=admin)
    assert response.json()["options"]["receipts_per"] == "part"
    assert response.json()["rekeyed"] is None
    journal = (await client.get("/v1/audit?limit=2", headers=admin)).json()["items"]
    assert journal[1]["data"]["changed"]["auth"] == {"from": "token", "to": "bearer", "secrets_replaced": True}


async def test_a_change_of_formats_and_its_rekeying_stand_or_fall_together(
    client: httpx.AsyncClient, admin: Headers, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(connection: Connection, gateway: Gateway) -> dict[str, int]:
        raise OSError("away")

    await create(client, admin, "together")
    monkeypatch.setattr("app.platform.gateways.rekey", fails)
    change = {"options": {"receipt_id_format": "decimal"}}
    assert (await client.patch("/v1/gateways/together", json=change, headers=admin)).status_code == 503
    one = (await client.get("/v1/gateways/together", headers=admin)).json()
    assert one["options"]["receipt_id_format"] == "as_is"


@pytest.mark.parametrize("change", [{"kind": "kannel"}, {"key": "other"}, {"options": {"more": 1}}, {"label": ""}])
async def test_what_cannot_be_changed(client: httpx.AsyncClient, admin: Headers, change: dict[str, Any]) -> None:
    await client.post("/v1/gateways", json=gateway("fixed"), headers=admin)
    assert (await client.patch("/v1/gateways/fixed", json=change, headers=admin)).status_code == 422


async def test_pages_and_streams(client: httpx.AsyncClient, admin: Headers) -> None:
    for name in ("page-1", "page-2", "page-3"):
        await create(client, admin, name)
    found: list[str] = []
    cursor: str | None = ""
    total = None
    while cursor is not None:
        page = (await client.get(f"/v1/gateways?limit=2{cursor and '&cursor=' + cursor}", headers=admin)).json()
        found += [item["key"] for item in page["items"]]
        cursor, total = page["next_cursor"], page["total"]
    assert found == sorted(found)
    assert len(found) == total
    lines = (await client.get("/v1/gateways", headers=admin | {"Accept": "application/x-ndjson"})).text.splitlines()
    assert [orjson.loads(line)["key"] for line in lines] == found
    table = await client.get("/v1/gateways", headers=admin | {"Accept": "text/csv"})
    assert len(table.text.splitlines()) == len(found) + 1
    assert SECRET not in table.text


async def test_kinds_are_json_schema(client: httpx.AsyncClient, admin: Headers) -> None:
    kinds = {each["kind"]: each for each in (await client.get("/v1/gateway-kinds", headers=admin)).json()["items"]}
    assert set(kinds) == set(GATEWAYS)
    modes = [each["properties"]["mode"]["const"] for each in kinds["twilio"]["auth"]["oneOf"]]
    assert modes == list(GATEWAYS["twilio"].auth_modes)
    assert kinds["smpp"]["options"]["properties"]["on_status_conflict"]["enum"] == ["reject", "tlv", "text"]


async def test_figures_come_from_the_counters(
    client: httpx.AsyncClient, admin: Headers, app: FastAPI, pool: Pool
) -> None:
    await create(client, admin, "counted")
    id = app.state.directory.get("counted").id
    rows = [("unmatched", ""), ("rejected", ""), ("receipts", ""), ("unknown", "PARKED"), ("unknown", "LOST")]
    await pool.executemany(
        "INSERT INTO counters (delivery_id, metric, gateway_id, label, bucket, value) VALUES (0, $1, $2, $3, 0, $4)",
        [(metric, id, label, count) for count, (metric, label) in enumerate(rows, start=1)],
    )
    one = (await client.get("/v1/gateways/counted", headers=admin)).json()
    assert one["receipts"] == 3
    assert (one["unmatched"], one["rejected"]) == (0, 0), "those of its lists, whatever the counters say"
    assert one["unknown_statuses"] == {"PARKED": 4, "LOST": 5}
