"""What cannot be taken back can be tried before: `dry_run` answers as the deed would, refusals included, and changes nothing."""

from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.main import create_app
from app.openapi.document import document, operations
from app.settings import Settings
from tests.conftest import Headers
from tests.deliveries.audience import Delivery, mobile, put_away
from tests.deliveries.sending import Sending

#: What cannot be taken back. What is not here either adds what can be ended, is shown before by a preview, or is put back by
#: the same call with the old values. (Bulk bodies have theirs with their receipts of reading.)
IRREVERSIBLE = {
    ("DELETE", "/v1/addresses/{address}"),
    ("DELETE", "/v1/quarantine/{address}"),
    ("POST", "/v1/quarantine/release"),
    ("POST", "/v1/breakers/{id}/apply"),
    ("POST", "/v1/breakers/{id}/discard"),
    ("POST", "/v1/deliveries/{id}/start"),
    ("POST", "/v1/deliveries/{id}/cancel"),
    ("POST", "/v1/deliveries/{id}/recompute"),
    ("DELETE", "/v1/deliveries/{id}"),
    ("DELETE", "/v1/deliveries/{id}/targets/{position}"),
    ("DELETE", "/v1/gateways/{key}"),
    ("DELETE", "/v1/keys/{name}"),
}
TABLES = (
    "deliveries", "targets", "preparations", "messages", "exclusions", "submissions", "message_state", "quarantine", "decisions",
    "breakers", "held", "gateways", "api_keys", "links", "erased", "to_examine", "counters", "correlations", "qualifications",
    "meanings", "inbound", "idempotency", "uploads", "audit_private",
)  # fmt: skip
WHY = "?reason=a+test"


def test_every_operation_that_deletes_and_each_that_cannot_be_taken_back_has_it() -> None:
    found = document(create_app(Settings(database_url="postgresql://nobody@127.0.0.1:9/none")))
    with_it, deleting = set(), set()
    for path, method, operation in operations(found):
        names = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"}
        with_it |= {(method.upper(), path)} if "dry_run" in names else set()
        deleting |= {(method.upper(), path)} if method == "delete" else set()
    assert with_it >= IRREVERSIBLE >= deleting


async def everything(app: FastAPI) -> dict[str, Any]:
    async with app.state.pool.acquire() as connection:
        found = {
            table: await connection.fetchval(
                f"SELECT array_agg(t::text ORDER BY t::text) FROM (SELECT * FROM {table}) t"
            )
            for table in TABLES
        }
        found["journals"] = await connection.fetchval("SELECT count(*) FROM audit WHERE code <> 'PII-READ'")
        return found


async def tried(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers, method: str, url: str, body: Any = None
) -> Mapping[str, Any]:
    """The answer to a dry run, after which all is as before."""
    before = await everything(app)
    answer = await client.request(method, f"{url}{'&' if '?' in url else '?'}dry_run=true", headers=admin, json=body)
    assert await everything(app) == before
    assert answer.status_code == 200, answer.text
    found: Mapping[str, Any] = answer.json()
    return found


async def test_starting(app: FastAPI, client: httpx.AsyncClient, admin: Headers) -> None:
    delivery = await Sending.make(app, client, admin)
    refused = await client.post(f"{delivery.url}/start?dry_run=true", headers=admin)
    assert refused.status_code == 409
    await delivery.prepare([{"name": "Ana"}, {"name": "Eva"}])
    found = await tried(app, client, admin, "POST", f"{delivery.url}/start")
    assert (found["status"], found["indicators"]["to_send"]) == ("in_progress", 2)
    assert await delivery.status() == "prepared"
    assert (await delivery.post("start")).json()["status"] == "in_progress"


async def test_cancelling(app: FastAPI, client: httpx.AsyncClient, admin: Headers) -> None:
    delivery = await Sending.make(app, client, admin)
    await delivery.started(3)
    found = await tried(app, client, admin, "POST", f"{delivery.url}/cancel")
    done = (await delivery.post("cancel")).json()
    assert (found["status"], found["indicators"]) == ("cancelled", done["indicators"])
    assert found["indicators"]["cancelled"] == 3
    assert (await client.post(f"{delivery.url}/cancel?dry_run=true", headers=admin)).status_code == 200
    await delivery.set_status("finished")
    assert (await client.post(f"{delivery.url}/cancel?dry_run=true", headers=admin)).status_code == 409


async def test_recomputing(app: FastAPI, client: httpx.AsyncClient, admin: Headers) -> None:
    delivery = await Sending.make(app, client, admin)
    await delivery.started(2)
    await delivery.execute(
        "UPDATE counters SET value = value + 5 WHERE delivery_id = $1 AND label = 'pending'", delivery.id
    )
    assert (await tried(app, client, admin, "POST", f"{delivery.url}/recompute"))["drift"] == 5
    assert (await delivery.post("recompute")).json()["drift"] == 5
    assert (await delivery.post("recompute")).json()["drift"] == 0


@pytest.mark.parametrize("status", ["quarantined", "denylisted"])
async def test_releasing_one(app: FastAPI, client: httpx.AsyncClient, admin: Headers, status: str) -> None:
    number = mobile(100 + len(status))
    made = await client.post(f"/v1/quarantine?status={status}", json=[{"address": number}], headers=admin)
    assert made.status_code == 200, made.text
    url = f"/v1/quarantine/{number.replace('+', '%2B')}"
    found = await tried(app, client, admin, "DELETE", url + WHY)
    assert (found["status"], found["entries"]) == ("valid", [])
    assert (await client.get(url, headers=admin)).json()["status"] == status
    assert (await client.delete(url + WHY, headers=admin)).json()["status"] == "valid"
    assert (await client.delete(f"{url}{WHY}&dry_run=true", headers=admin)).status_code == 404


async def test_releasing_many(app: FastAPI, client: httpx.AsyncClient, admin: Headers) -> None:
    made = await client.post("/v1/quarantine?status=quarantined", json=[{"address": mobile(300)}], headers=admin)
    assert made.status_code == 200, made.text
    body = {"filter": {"origin": "import"}, "reason": "a test"}
    found = await tried(app, client, admin, "POST", "/v1/quarantine/release", body)
    assert found == {"addresses": 1, "dry_run": True}
    assert found == await tried(app, client, admin, "POST", "/v1/quarantine/release", body | {"dry_run": True})


@pytest.mark.parametrize("decision", ["apply", "discard"])
async def test_deciding_about_a_breaker(app: FastAPI, client: httpx.AsyncClient, admin: Headers, decision: str) -> None:
    delivery = await Sending.make(app, client, admin)
    (id,) = await delivery.started(1)
    async with app.state.pool.acquire() as connection:
        error = await connection.fetchval(
            "INSERT INTO qualifications (implementation, status, error_code, failure_type, reason, sentence, state, updated_at) "
            "VALUES ($1, 'UNDELIV', '069', 'hard', 'user_unknown', 'Gone.', 'keep', now()) RETURNING id",
            delivery.key,
        )
        breaker = await connection.fetchval(
            "INSERT INTO breakers (gateway_id, qualification_id, opened_at, failures, finals) "
            "SELECT g.id, $2, now(), 100, 100 FROM gateways g WHERE g.key = $1 RETURNING id",
            delivery.key, error,
        )  # fmt: skip
        await connection.execute("INSERT INTO held VALUES ($1, $2, $3)", breaker, id, mobile(400))
    found = await tried(app, client, admin, "POST", f"/v1/breakers/{breaker}/{decision}", {"reason": "a test"})
    assert (found["addresses"], found["messages"], found["breaker"]["closed_at"]) == (1, 1, None)
    done = await client.post(f"/v1/breakers/{breaker}/{decision}", json={"reason": "a test"}, headers=admin)
    assert (done.json()["messages"], done.json()["breaker"]["decision"]) == (1, decision)


async def test_deleting_a_gateway(app: FastAPI, client: httpx.AsyncClient, admin: Headers) -> None:
    delivery = await Sending.make(app, client, admin)
    url = f"/v1/gateways/{delivery.key}"
    assert await tried(app, client, admin, "DELETE", url) == {"key": delivery.key, "in_transit": 0}
    await delivery.started(2)
    await delivery.submit({"message_id": str((await delivery.outbox())[0]["message_id"]), "provider_message_id": "A1"})
    assert (await client.delete(f"{url}?dry_run=true", headers=admin)).status_code == 409
    assert (await tried(app, client, admin, "DELETE", f"{url}?force=true"))["in_transit"] >= 1
    assert (await client.get(url, headers=admin)).status_code == 200


async def test_deleting_a_key(app: FastAPI, client: httpx.AsyncClient, admin: Headers) -> None:
    made = await client.post("/v1/keys", json={"name": "crm", "scopes": ["admin"]}, headers=admin)
    found = await tried(app, client, admin, "DELETE", "/v1/keys/crm")
    assert (found["name"], found["scopes"]) == ("crm", ["admin"])
    theirs = {"Authorization": f"Bearer {made.json()['secret']}"}
    assert (await client.get("/v1/keys", headers=theirs)).status_code == 200
    assert (await client.delete("/v1/keys/crm", headers=admin)).status_code == 204
    assert (await client.get("/v1/keys", headers=theirs)).status_code == 401
    assert (await client.delete("/v1/keys/crm?dry_run=true", headers=admin)).status_code == 404


async def test_erasing_a_number(app: FastAPI, client: httpx.AsyncClient, admin: Headers) -> None:
    delivery = await Delivery.make(app, client, admin)
    await delivery.upload([mobile(500)])
    await delivery.prepare()
    async with app.state.pool.acquire() as connection, connection.transaction():
        await put_away(connection, mobile(501), "quarantined")
    url = f"/v1/addresses/{mobile(500).replace('+', '%2B')}{WHY}"
    assert (await tried(app, client, admin, "DELETE", url))["replaced"]
