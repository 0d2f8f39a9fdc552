"""Operation × scope × field that may be personal, made from the routes: a route or a field that nobody decided about fails here.

The world holds one person: number, name, mail address, ids. A key that lacks `pii:read` must not find them in any answer, in any
format; one that has it finds what the entry of its route says.
"""

import csv
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import httpx
import orjson
import pytest
import pytest_asyncio
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from app.db import Pool
from app.openapi.document import operations
from app.privacy import FIELDS, OF, Class
from app.projections.fold import fold
from app.security import SCOPES
from tests.conftest import Headers, KeyMaker

NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)
NUMBER, QUOTED = "+34677123456", "%2B34677123456"
NAME, MAIL, RECIPIENT, REFERENCE = "Zenobia", "zenobia@persona.example", "crm-77-zz", "ref-88-zz"
#: What gives the person away, by what is looked for; the number with whatever between its digits.
SECRETS = {
    "number": re.compile(r"[^0-9A-Za-z]{0,4}".join("677123456")),
    "name": re.compile(NAME),
    "mail": re.compile("persona.example"),
    "recipient_id": re.compile(RECIPIENT),
    "reference": re.compile(REFERENCE),
}
#: Lists that grow while they are read.
GROWING = ("GET /v1/audit",)
STREAMS = ("application/json", "text/csv", "application/x-ndjson")
READ, WRITE, RECEIPTS = "deliveries:read", "deliveries:write", "receipts:write"
Q_READ, Q_WRITE, GATEWAYS, PII = "quarantine:read", "quarantine:write", "gateways:write", "pii:read"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What one operation needs, and what of the person it shows to a key with `pii:read`."""

    #: All of them; `any_of`: one of these besides.
    scopes: tuple[str, ...]
    any_of: tuple[str, ...] = ()
    shows: tuple[str, ...] = ()
    query: str = ""
    body: Any = None
    streams: bool = False
    #: Ends only when the reader goes.
    endless: bool = False
    #: Not called with enough scopes: it would change the world.
    writes: bool = False
    path: Mapping[str, str] = field(default_factory=dict)


def reads(*shows: str, scopes: tuple[str, ...] = (READ,), **more: Any) -> Entry:
    return Entry(scopes=scopes, shows=shows, **more)


def lists(*shows: str, scopes: tuple[str, ...] = (READ,), **more: Any) -> Entry:
    return Entry(scopes=scopes, shows=shows, streams=True, **more)


def writes(*scopes: str, **more: Any) -> Entry:
    return Entry(scopes=scopes, writes=True, **more)


def either(*shows: str, **more: Any) -> Entry:
    return Entry(scopes=(), any_of=(READ, GATEWAYS), shows=shows, **more)


MATRIX: Mapping[str, Entry] = {
    "POST /v1/receipts": writes(RECEIPTS),
    "GET /v1/receipts/unmatched": lists("number", "reference"),
    "GET /v1/receipts/unmatched/{id}": reads("number", path={"id": "{waiting}"}),
    "POST /v1/receipts/unmatched/retry": writes(RECEIPTS),
    "GET /v1/receipts/rejected": lists("number", "mail", "name"),
    "GET /v1/receipts/rejected/{id}": reads("number", "mail", "name", path={"id": "{rejected}"}),
    "POST /v1/receipts/rejected/retry": writes(RECEIPTS),
    "POST /v1/deliveries": writes(WRITE),
    "GET /v1/deliveries": lists("number", "mail"),
    "GET /v1/deliveries/{id}": reads("number", "mail"),
    "PATCH /v1/deliveries/{id}": writes(WRITE),
    "DELETE /v1/deliveries/{id}": writes(WRITE),
    "POST /v1/deliveries/{id}/copy": writes(WRITE),
    "POST /v1/deliveries/{id}/cancel": writes(WRITE),
    "POST /v1/deliveries/{id}/recompute": writes(WRITE),
    "POST /v1/deliveries/{id}/targets": writes(WRITE),
    "GET /v1/deliveries/{id}/targets": lists("number", "name", "mail", "recipient_id"),
    "DELETE /v1/deliveries/{id}/targets/{position}": writes(WRITE, path={"position": "1"}),
    "PATCH /v1/deliveries/{id}/targets/{position}": writes(WRITE, path={"position": "1"}),
    "POST /v1/deliveries/{id}/prepare": writes(WRITE),
    "GET /v1/deliveries/{id}/exclusions": lists("number", "recipient_id"),
    "GET /v1/deliveries/{id}/exclusions/causes": reads(),
    "POST /v1/deliveries/{id}/start": writes(WRITE),
    "POST /v1/deliveries/{id}/pause": writes(WRITE),
    "POST /v1/deliveries/{id}/resume": writes(WRITE),
    "GET /v1/deliveries/{id}/outbox": writes(WRITE, PII),
    "POST /v1/deliveries/{id}/proofs": writes(WRITE),
    "GET /v1/deliveries/{id}/proofs": lists("number", "name", "mail"),
    "POST /v1/deliveries/{id}/messages": writes(WRITE),
    "GET /v1/deliveries/{id}/messages": lists("number", "recipient_id", "reference"),
    "POST /v1/deliveries/{id}/submissions": writes(WRITE),
    "GET /v1/deliveries/{id}/summary": reads(),
    "GET /v1/deliveries/{id}/history": reads(),
    "GET /v1/deliveries/{id}/events": reads(endless=True),
    "POST /v1/tickets": writes(READ),
    "GET /v1/messages": lists("number", "recipient_id", "reference", query=f"?recipient_id={RECIPIENT}"),
    "GET /v1/messages/{id}": reads("number", "mail", "recipient_id", "reference", path={"id": "{message}"}),
    "GET /v1/messages/{id}/receipts/{receipt_id}": reads(
        "number", "mail", path={"id": "{message}", "receipt_id": "{receipt}"}
    ),
    "GET /v1/qualifications": lists("number", "mail"),
    "GET /v1/qualifications/{id}": reads("number", "mail", path={"id": "{qualification}"}),
    "POST /v1/qualifications/{id}/preview": reads(
        "number", body={"reason": "unreachable"}, path={"id": "{qualification}"}
    ),
    "PATCH /v1/qualifications/{id}": writes(WRITE, path={"id": "{qualification}"}),
    "GET /v1/quarantine": lists("number", "mail", scopes=(Q_READ,)),
    "GET /v1/deliveries/{id}/quarantine": lists("number", scopes=(Q_READ,), query="?origin=preparation"),
    "GET /v1/quarantine/{address}": reads("number", "mail", scopes=(Q_READ, PII)),
    "DELETE /v1/quarantine/{address}": writes(Q_WRITE, PII, query="?reason=x"),
    "POST /v1/quarantine/release": writes(Q_WRITE),
    "POST /v1/quarantine": writes(Q_WRITE),
    "GET /v1/breakers": lists("number", "mail", scopes=(Q_READ,), query="?state=all"),
    "POST /v1/breakers/{id}/apply": writes(Q_WRITE),
    "POST /v1/breakers/{id}/discard": writes(Q_WRITE),
    "POST /v1/addresses/check": reads("number", scopes=(Q_READ, PII), body=[NUMBER]),
    "GET /v1/addresses/{address}": reads("number", "recipient_id", "mail", scopes=(Q_READ, READ, PII)),
    "GET /v1/addresses/{address}/export": reads("number", "recipient_id", "mail", scopes=(Q_READ, READ, PII)),
    "GET /v1/erasures": lists(scopes=(Q_READ,)),
    "GET /v1/erasures/{id}": writes(Q_READ),
    "DELETE /v1/addresses/{address}": writes(Q_WRITE, PII, query="?reason=x"),
    "GET /v1/deliveries/{id}/links": reads("number", "mail"),
    "POST /v1/deliveries/{id}/links": writes(WRITE),
    "PATCH /v1/deliveries/{id}/links/{number}": writes(WRITE, path={"number": "0"}),
    "GET /v1/deliveries/{id}/clicks": lists("number", "recipient_id", "mail"),
    "GET /v1/inbound": lists("number", "mail", scopes=(Q_READ,)),
    "GET /v1/inbound/{id}": reads("number", "mail", scopes=(Q_READ,), path={"id": "{inbound}"}),
    "GET /v1/gateway-kinds": either(),
    "POST /v1/gateways": writes(GATEWAYS),
    "GET /v1/gateways": either("number", "mail", streams=True),
    "GET /v1/gateways/{key}": either("number", "mail", path={"key": "acme"}),
    "PATCH /v1/gateways/{key}": writes(GATEWAYS, path={"key": "acme"}),
    "DELETE /v1/gateways/{key}": writes(GATEWAYS, path={"key": "acme"}),
    "POST /v1/gateways/{key}/test": reads(
        "number",
        scopes=(GATEWAYS,),
        path={"key": "acme"},
        body={"provider_message_id": "677123456", "status": "failed", "error_text": f"no {NUMBER}", "address": NUMBER},
    ),
    "GET /v1/gateways/{key}/reply-rules": either("number", path={"key": "acme"}),
    "PUT /v1/gateways/{key}/reply-rules": writes(GATEWAYS, path={"key": "acme"}),
    "POST /v1/keys": writes("admin"),
    "GET /v1/keys": lists(scopes=("admin",)),
    "DELETE /v1/keys/{name}": writes("admin", path={"name": "nobody"}),
    "GET /v1/audit": lists("number", "mail", query="?limit=1000"),
    "GET /v1/audit/verify": reads(),
    "GET /v1/audit/head": reads(),
    "GET /v1/deliveries/{id}/audit": lists("number", "mail"),
    "GET /v1/deliveries/{id}/audit/verify": reads(),
    "GET /v1/deliveries/{id}/audit/head": reads(),
}
#: Of another sort than the API: open, or with doors of their own.
OPEN = {"GET /", "GET /healthz", "GET /readyz", "GET /metrics", "GET /docs", "GET /openapi.json"}


def routes(app: FastAPI) -> Iterator[str]:
    for route in iter_route_contexts(app.router.routes):
        path = getattr(route, "path", "")
        for method in (route.methods or set()) - {"HEAD"}:
            yield f"{method} {path.replace('{delivery_id}', '{id}')}"


def test_every_route_stands_in_the_matrix(app: FastAPI) -> None:
    api = {route for route in routes(app) if " /v1/" in route}
    assert api == set(MATRIX)
    assert {route for route in routes(app) if " /v1/" not in route and not route.startswith("GET /docs/")} <= OPEN


# --- the world -------------------------------------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def world(app: FastAPI, client: httpx.AsyncClient, admin: Headers, pool: Pool) -> dict[str, str]:
    auth = {"mode": "basic", "username": NUMBER, "secrets": ["a-secret-of-tests"]}
    gateway = {"key": "acme", "kind": "generic", "label": f"Desk {NUMBER} {MAIL}", "auth": auth}
    assert (await client.post("/v1/gateways", json=gateway, headers=admin)).status_code == 201
    rule = {"keyword": "INFO", "action": "none", "reply": f"Call {NUMBER}"}
    assert (await client.put("/v1/gateways/acme/reply-rules", json={"rules": [rule]}, headers=admin)).status_code == 200
    note = f"{MAIL} called from 677-123-456"
    rows = [{"address": NUMBER, "note": note}, {"address": "+34600000009", "note": note}]
    assert (await client.post("/v1/quarantine", json=rows, headers=admin)).status_code == 200
    released = await client.delete("/v1/quarantine/%2B34600000009", params={"reason": note}, headers=admin)
    assert released.status_code == 200
    delivery = {
        "label": "Sale 677.123.456", "sender": "Acme", "gateway": "acme", "default_region": "ES",
        "content": f"{{{{name}}}}, call (677) 123 456 or write to {MAIL}. STOP", "metadata": {"who": "677123456", "mail": MAIL},
    }  # fmt: skip
    made = await client.post("/v1/deliveries", json=delivery, headers=admin)
    id = int(made.json()["id"])
    url = f"/v1/deliveries/{id}"
    person = {"address": NUMBER, "recipient_id": RECIPIENT, "params": {"name": NAME, "mail": MAIL}}
    double = {"address": "600 000 001", "recipient_id": RECIPIENT, "params": {"name": NAME}}
    targets = [person, double, double]
    assert (await client.post(f"{url}/targets", json=targets, headers=admin)).json()["accepted"] == 3
    prepared = await client.post(f"{url}/prepare", params={"wait": 60}, headers=admin)
    assert prepared.json()["status"] == "prepared", prepared.text
    proof = {"addresses": [{"address": "+34677123455", "params": {"name": f"{NAME} {NUMBER} {MAIL}"}}]}
    assert (await client.post(f"{url}/proofs", json=proof, headers=admin)).status_code == 201
    async with pool.acquire() as connection, connection.transaction():
        found = await _facts(connection, id)
        await fold(connection, [int(found["message"])], NOW)
    await app.state.directory.refresh()
    return {"id": str(id), "address": QUOTED, "key": "acme", "number": "0", "name": "nobody"} | found


async def _facts(connection: Any, delivery: int) -> dict[str, str]:
    """What gateways, phones and browsers said, as it is stored."""
    raw = f"to={QUOTED}&from=677+123+456&mail={MAIL}&who={NAME}".encode()
    raw_of_receipt = f"to={QUOTED}&mail={MAIL}".encode()
    gateway = await connection.fetchval("SELECT id FROM gateways WHERE key = 'acme'")
    message = await connection.fetchval(
        "INSERT INTO messages (delivery_id, address, gateway_id, recipient_id, reference, created_at) "
        "VALUES ($1, $2, $3, $4, $5, $6) RETURNING id",
        delivery, NUMBER, gateway, RECIPIENT, REFERENCE, NOW,
    )  # fmt: skip
    qualification = await connection.fetchval(
        "INSERT INTO qualifications (implementation, status, error_code, failure_type, reason, sentence, state, first_text, "
        "updated_at) VALUES ('Acme', 'NO 677123456', '677123456', 'hard', 'user_unknown', 'Call 677123456', 'keep', $1, $2) "
        "RETURNING id",
        f"no {NUMBER} {MAIL}", NOW,
    )  # fmt: skip
    await connection.execute(
        "INSERT INTO counters (delivery_id, metric, gateway_id, label, bucket, value) "
        "VALUES ($1, 'status', $2, 'failed', $3, 1), "
        "(0, 'unknown', $2, 'W677123456', 0, 1)",
        delivery, gateway, qualification,
    )  # fmt: skip
    await connection.execute(
        "INSERT INTO submissions (message_id, gateway_id, submitted_at, recorded_at, provider_message_ids, error_text) "
        "VALUES ($1, $2, $3, $3, ARRAY['id-34677123456'], $4)",
        message, gateway, NOW, f"no {NUMBER}",
    )  # fmt: skip
    keys = {}
    for value, of in (("id-34677123456", message), ("unr-34677123456", None)):
        keys[value] = await connection.fetchval(
            "INSERT INTO correlations (gateway_id, kind, value, raw, message_id, origin, part, bearing, created_at, seen_at) "
            "VALUES ($1, 'id', $2, $2, $3, 'receipt', 1, true, $4, $4) RETURNING id",
            gateway, value, of, NOW,
        )  # fmt: skip
    await connection.execute(
        "INSERT INTO correlations (gateway_id, kind, value, raw, message_id, origin, bearing, created_at, seen_at) "
        "VALUES ($1, 'reference', $2, $2, NULL, 'receipt', true, $3, $3)",
        gateway, REFERENCE, NOW,
    )  # fmt: skip
    waiting = await connection.fetchval("SELECT max(id) FROM correlations")
    await connection.execute("UPDATE correlations SET via = $2 WHERE id = $1", keys["unr-34677123456"], waiting)
    for number, key in enumerate((*keys.values(), waiting), start=1):
        await connection.execute(
            "INSERT INTO receipts (id, correlation_id, gateway_id, received_at, status, status_text, error_code, error_text, "
            "network, qualification_id, fingerprint, verified, raw, details) "
            "VALUES ($1, $2, $3, $4, 'failed', 'W677123456', '677123456', $5, '677123456', $6, $1, true, $7, $8)",
            number, key, gateway, NOW, f"no {NUMBER} {MAIL}", qualification, raw_of_receipt, {"to": NUMBER, "n": 34677123456},
        )  # fmt: skip
    await connection.execute(
        "INSERT INTO rejected (id, kind, gateway_id, received_at, reason, request, raw) VALUES ('rj_1', 'unreadable', $1, $2, "
        "'It is no JSON.', $3, $4)",
        gateway, NOW, {"method": "GET", "query": f"to={QUOTED}", "reference": REFERENCE, "content_type": f"x; b={MAIL}"}, raw,
    )  # fmt: skip
    inbound = await connection.fetchval(
        "INSERT INTO inbound (gateway_id, received_at, address, recipient, text, provider_message_id, verified, raw, applied_at) "
        "VALUES ($1, $2, $3, '+34677123456', $4, 'mo-34677123456', true, $5, $2) RETURNING id",
        gateway, NOW, NUMBER, f"I am at 677 123 456 or {MAIL}", raw,
    )  # fmt: skip
    await connection.execute(
        "INSERT INTO links (delivery_id, number, label, source_url, template, tracked, params, in_content) "
        "VALUES ($1, 0, 'Call 677123456', $2, false, true, $3, true)",
        delivery, f"https://shop.example/?p={QUOTED}&m={MAIL}", {"who": "677123456"},
    )  # fmt: skip
    await connection.execute(
        "INSERT INTO clicks (id, message_id, delivery_id, link, clicked_at, human, reasons, device, agent, visit, network, "
        "rules_version) VALUES (1, $1, $2, 0, $3, true, '{}', 'phone', $4, '{}', '203.0.113.0/24', 1)",
        message, delivery, NOW, f"Phone/34677123456 ({MAIL})",
    )  # fmt: skip
    await connection.execute(
        "INSERT INTO counters (delivery_id, metric, gateway_id, label, bucket, value) "
        "VALUES ($1, 'clicks', 0, 'human', 0, 1)",
        delivery,
    )
    await connection.execute(
        "INSERT INTO breakers (gateway_id, qualification_id, opened_at, closed_at, decision, decided_by, note, failures, finals) "
        "VALUES ($1, $2, $3, $3, 'apply', 'tests', $4, 1, 1)",
        gateway, qualification, NOW, f"{MAIL} called from 677123456",
    )  # fmt: skip
    return {
        "message": str(message), "receipt": "1", "qualification": str(qualification), "waiting": str(keys["unr-34677123456"]),
        "inbound": str(inbound), "rejected": "rj_1",
    }  # fmt: skip


# --- who may ---------------------------------------------------------------------------------------------------------


def filled(operation: str, entry: Entry, world: Mapping[str, str]) -> tuple[str, str]:
    method, _, path = operation.partition(" ")
    values = {**world, **entry.path}
    if "/breakers/{id}" in path:
        values["id"] = "999999"
    return method, path.format(**values).format(**world) + entry.query


async def called(
    client: httpx.AsyncClient, operation: str, world: Mapping[str, str], headers: Headers
) -> httpx.Response:
    entry = MATRIX[operation]
    method, url = filled(operation, entry, world)
    body = {} if entry.body is None else {"content": orjson.dumps(entry.body)}
    more = {"Content-Type": "application/json"} if body else {}
    if not entry.endless:
        return await client.request(method, url, headers=headers | more, **body)  # type: ignore[arg-type]
    answer = await client.get(url.replace("/events", "/events"), headers=headers)
    return answer


@pytest.mark.parametrize("operation", MATRIX)
async def test_an_operation_is_open_to_its_scopes_and_to_no_others(
    operation: str, client: httpx.AsyncClient, key: KeyMaker, world: dict[str, str]
) -> None:
    entry = MATRIX[operation]
    assert (await called(client, operation, world, {})).status_code == 401
    enough = entry.scopes if len(entry.scopes) == 1 and not entry.any_of else ()
    for scope in SCOPES:
        if scope != "admin" and scope not in (*enough, *entry.any_of):
            answer = await called(client, operation, world, await key(scope))
            assert answer.status_code == 403, (scope, answer.text)
    for missing in entry.scopes if len(entry.scopes) > 1 else ():
        rest = await key(*(scope for scope in entry.scopes if scope != missing))
        assert (await called(client, operation, world, rest)).status_code == 403
    if not entry.writes and not entry.endless:
        for one in entry.any_of or ("",):
            answer = await called(client, operation, world, await key(*entry.scopes, *filter(None, (one,))))
            assert answer.status_code == 200, answer.text


# --- what they see ---------------------------------------------------------------------------------------------------

SHOWN = [
    (operation, accept)
    for operation, entry in MATRIX.items()
    if not entry.writes and not entry.endless
    for accept in (STREAMS if entry.streams else STREAMS[:1])
]


def told(answer: httpx.Response) -> set[str]:
    """What of the person stands in an answer, also where it is escaped."""
    text = answer.text + "\n" + unquote(answer.text.replace("+", " "))
    return {name for name, pattern in SECRETS.items() if pattern.search(text)}


@pytest.mark.parametrize(("operation", "accept"), SHOWN)
async def test_who_may_not_see_a_person_finds_nobody(
    operation: str, accept: str, client: httpx.AsyncClient, key: KeyMaker, world: dict[str, str]
) -> None:
    entry = MATRIX[operation]
    blind = tuple(scope for scope in (*entry.scopes, *entry.any_of) if scope != PII)
    answer = await called(client, operation, world, await key(*blind) | {"Accept": accept})
    assert answer.status_code == (403 if PII in entry.scopes else 200)
    found = told(answer)
    # A name in what somebody wrote is no number: texts are not left out whole (docs/api.md, What is masked).
    assert found <= ({"name"} if "/rejected" in operation else set()), answer.text


@pytest.mark.parametrize(("operation", "accept"), SHOWN)
async def test_who_may_see_a_person_does(
    operation: str, accept: str, client: httpx.AsyncClient, key: KeyMaker, world: dict[str, str]
) -> None:
    entry = MATRIX[operation]
    answer = await called(client, operation, world, await key(*entry.scopes, *entry.any_of, PII) | {"Accept": accept})
    assert answer.status_code == 200, answer.text
    assert told(answer) >= set(entry.shows), answer.text


@pytest.mark.parametrize("operation", [operation for operation, entry in MATRIX.items() if entry.streams])
async def test_streams_have_the_rows_and_columns_of_the_pages(
    operation: str, client: httpx.AsyncClient, admin: Headers, world: dict[str, str]
) -> None:
    """Whole, where pages of one row each are turned until the end."""
    _, url = filled(operation, MATRIX[operation], world)
    ndjson = (await client.get(url, headers=admin | {"Accept": STREAMS[2]})).text.splitlines()
    header, *cells = csv.reader(io.StringIO((await client.get(url, headers=admin | {"Accept": STREAMS[1]})).text))
    rows: list[dict[str, Any]] = []
    cursor = None
    while cursor is not None or not rows:
        parameters = httpx.URL(url).params.merge({"limit": 1} | ({"cursor": cursor} if cursor else {}))
        page = (await client.get(url.partition("?")[0], params=parameters, headers=admin)).json()
        rows += page["items"]
        cursor = page["next_cursor"]
        if not page["items"]:
            break
        if operation in GROWING and len(rows) >= 3:  # each request writes into the journal
            assert len(ndjson) >= len(rows)
            break
    else:
        assert len(ndjson) == len(cells) == len(rows)
    assert all(set(orjson.loads(line)) == set(row) == set(header) for line, row in zip(ndjson, rows, strict=False))


async def test_events_tell_of_figures_only(app: FastAPI, world: dict[str, str]) -> None:
    from app.stats.store import summary

    async with app.state.engine.connect() as connection:
        found = await summary(connection, int(world["id"]))
    assert found
    assert not told(httpx.Response(200, content=orjson.dumps(found)))


#: Errors that answer to what was sent with it.
WRONG = [
    ("GET", f"/v1/deliveries/{NUMBER}"),
    ("GET", f"/v1/deliveries?status={QUOTED}"),
    ("GET", f"/v1/deliveries?limit={QUOTED}"),
    ("GET", f"/v1/deliveries?cursor={QUOTED}"),
    ("GET", f"/v1/deliveries?unknown={MAIL}"),
    ("POST", "/v1/deliveries"),
    ("POST", "/v1/quarantine"),
    ("POST", "/v1/receipts"),
    ("POST", "/v1/deliveries/{id}/submissions"),
    ("POST", "/v1/deliveries/{id}/proofs"),
]


@pytest.mark.parametrize(("method", "url"), WRONG)
async def test_errors_repeat_nothing_of_what_was_sent(
    method: str, url: str, client: httpx.AsyncClient, key: KeyMaker, world: dict[str, str]
) -> None:
    headers = await key(*(scope for scope in SCOPES if scope not in (PII, "admin")))
    body = [
        {"address": f"{NUMBER}x", "label": 7, "status": NUMBER, "message_id": NUMBER, "recipient_id": {"a": RECIPIENT}}
    ]
    json = {"json": body} if method == "POST" else {}
    answer = await client.request(method, url.format(**world), headers=headers, **json)  # type: ignore[arg-type]
    assert answer.status_code in (404, 422) or "unknown" in url
    assert not told(answer)


# --- every field ------------------------------------------------------------------------------------------------------


def fields(app: FastAPI) -> set[str]:
    """The names of all fields of good answers, as the OpenAPI document tells them."""
    document, found, seen = app.openapi(), set(), set()

    def walk(schema: Any) -> None:
        if not isinstance(schema, Mapping):
            return
        if "$ref" in schema:
            name = schema["$ref"].rsplit("/", 1)[1]
            if name not in seen:
                seen.add(name)
                walk(document["components"]["schemas"].get(name))
        for name, each in schema.get("properties", {}).items():
            found.add(name)
            walk(each)
        for each in (schema.get("items"), schema.get("additionalProperties")):
            walk(each)
        for kind in ("anyOf", "oneOf", "allOf"):
            for each in schema.get(kind, ()):
                walk(each)

    for path, _, operation in operations(document):
        for status, response in operation["responses"].items():
            if status.startswith("2") and path.startswith("/v1/"):
                for content in response.get("content", {}).values():
                    walk(content.get("schema"))
    return found


def test_every_field_of_an_answer_has_a_class(app: FastAPI) -> None:
    known = set(FIELDS) | {name for of in OF.values() for name in of}
    assert not fields(app) - known


#: JSON Schemas of what an operator writes, about nobody; and what is never given out but whole.
SCHEMAS = {"GET /v1/gateway-kinds", "GET /v1/addresses/{address}/export"}


@pytest.mark.parametrize("operation", sorted({operation for operation, _ in SHOWN} - SCHEMAS))
async def test_every_field_that_is_answered_has_a_class(
    operation: str, client: httpx.AsyncClient, admin: Headers, world: dict[str, str]
) -> None:
    """Also of answers that the document does not describe field by field."""
    answer = await called(client, operation, world, admin)
    unknown: set[str] = set()

    def walk(value: Any) -> None:
        if isinstance(value, list):
            for each in value:
                walk(each)
        elif isinstance(value, dict):
            for name, each in value.items():
                found = FIELDS.get(name)
                if found is None:
                    unknown.add(name)
                if found in (None, Class.ROWS):
                    walk(each)

    walk(answer.json())
    assert not unknown
