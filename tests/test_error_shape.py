"""Whatever goes wrong, the answer is problem+json of one shape, and repeats nothing of what was sent."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import structlog
from fastapi import FastAPI
from starlette.types import Message

from app.main import create_app
from app.settings import Settings
from tests.conftest import Headers, KeyMaker


def assert_problem(response: httpx.Response, status: int) -> dict[str, object]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, object] = response.json()
    assert {"type", "title", "status", "detail"} <= body.keys()
    assert body["status"] == status
    assert isinstance(body["detail"], str)
    assert body["detail"]
    return body


async def test_unknown_address(client: httpx.AsyncClient, admin: Headers) -> None:
    assert_problem(await client.get("/v1/nothing", headers=admin), 404)
    assert_problem(await client.get("/v1/gateways/", headers=admin), 404)  # no redirect either


async def test_wrong_method_names_all_that_are_allowed(client: httpx.AsyncClient, admin: Headers) -> None:
    response = await client.put("/v1/gateways", headers=admin)
    assert_problem(response, 405)
    assert response.headers["allow"] == "GET, POST"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/quarantine/release", "POST"),  # and no address
        ("DELETE", "/v1/quarantine/release", "POST"),
        ("GET", "/v1/addresses/check", "POST"),
        ("DELETE", "/v1/addresses/check", "POST"),
        ("PUT", "/v1/addresses/+34600000000", "DELETE, GET"),
        ("PUT", "/v1/deliveries/1", "DELETE, GET, PATCH"),
        ("DELETE", "/v1/deliveries/1/messages", "GET, POST"),
        ("POST", "/v1/deliveries/1/audit/verify", "GET"),
        ("TRACE", "/v1/gateways", "GET, POST"),
        ("PUT", "/callbacks/nobody", "GET, POST"),
        ("DELETE", "/callbacks/nobody/reference", "GET, POST"),
        ("POST", "/r/token", "GET, HEAD"),
        ("POST", "/healthz", "GET"),
    ],
)
async def test_each_path_names_its_own_methods(
    client: httpx.AsyncClient, admin: Headers, method: str, path: str, allowed: str
) -> None:
    response = await client.request(method, path, headers=admin)
    assert_problem(response, 405)
    assert response.headers["allow"] == allowed


async def test_no_key_and_a_wrong_key(client: httpx.AsyncClient) -> None:
    for headers in ({}, {"Authorization": "Bearer nope"}, {"Authorization": "Basic eDp5"}, {"Authorization": "Bearer"}):
        response = await client.get("/v1/gateways", headers=headers)
        assert_problem(response, 401)
        assert response.headers["www-authenticate"] == "Bearer"


async def test_a_key_without_the_scope(client: httpx.AsyncClient, key: KeyMaker) -> None:
    headers = await key("receipts:write")
    assert "admin" in str(assert_problem(await client.get("/v1/keys", headers=headers), 403)["detail"])


@pytest.mark.parametrize("body", [b"{", b'{"name": "\xff"}', b"[" * 100_000, b"", b'{"a": ' + b"9" * 5_000 + b"}"])
async def test_malformed_json(client: httpx.AsyncClient, admin: Headers, body: bytes) -> None:
    response = await client.post("/v1/keys", content=body, headers=admin | {"Content-Type": "application/json"})
    assert_problem(response, 422 if body == b"" else 400)


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "nonsense", None])
async def test_wrong_content_type(client: httpx.AsyncClient, admin: Headers, content_type: str | None) -> None:
    headers = admin | ({"Content-Type": content_type} if content_type else {})
    response = await client.post("/v1/keys", content=b'{"name": "a", "scopes": ["admin"]}', headers=headers)
    assert_problem(response, 415)


async def test_wrong_fields_have_pointers_and_no_values(client: httpx.AsyncClient, admin: Headers) -> None:
    body = {"name": "SECRET VALUE", "scopes": ["SECRET SCOPE"], "more": "SECRET MORE"}
    response = await client.post("/v1/keys", json=body, headers=admin)
    problem = assert_problem(response, 422)
    errors = problem["errors"]
    assert isinstance(errors, list)
    assert {each["pointer"] for each in errors} == {"/name", "/scopes/0", "/more"}
    assert all(each["detail"] for each in errors)
    assert "SECRET" not in response.text


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "limit=99999999999999999999", "cursor=x"])
async def test_wrong_query_parameters(client: httpx.AsyncClient, admin: Headers, query: str) -> None:
    problem = assert_problem(await client.get(f"/v1/gateways?{query}", headers=admin), 422)
    errors = problem["errors"]
    assert isinstance(errors, list)
    assert errors[0]["pointer"] == f"?{query.partition('=')[0]}"


@pytest.mark.parametrize("text", ["a\0b", "a\nb", "\ud800"])
async def test_text_that_the_database_cannot_hold(client: httpx.AsyncClient, admin: Headers, text: str) -> None:
    escaped = text.encode("utf-16-be", "surrogatepass").hex()
    label = "".join(f"\\u{escaped[i : i + 4]}" for i in range(0, len(escaped), 4))
    body = f'{{"key": "odd", "kind": "generic", "auth": {{"mode": "none"}}, "label": "{label}"}}'
    headers = admin | {"Content-Type": "application/json"}
    assert_problem(await client.post("/v1/gateways", content=body.encode(), headers=headers), 422)


@pytest.mark.parametrize(
    "path", ["/v1/gateways/%00", "/v1/gateways/a%2Fb", "/v1/gateways/" + "x" * 3_000, "/v1/gateways/%FF"]
)
async def test_odd_names_are_not_there(client: httpx.AsyncClient, admin: Headers, path: str) -> None:
    response = await client.get(path, headers=admin)
    assert response.status_code in (404, 422)
    assert_problem(response, response.status_code)


async def test_a_body_that_says_it_is_too_large(client: httpx.AsyncClient, admin: Headers) -> None:
    response = await client.post("/v1/keys", json={"name": "x" * 1_000_001}, headers=admin)
    assert_problem(response, 413)


async def test_a_body_that_becomes_too_large(client: httpx.AsyncClient, admin: Headers) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(300):
            yield b" " * 10_000

    headers = admin | {"Content-Type": "application/json"}
    assert_problem(await client.post("/v1/keys", content=endless(), headers=headers), 413)


async def test_bulk_bodies_have_no_limit(client: httpx.AsyncClient, admin: Headers) -> None:
    row = b'{"gateway": "none", "provider_message_id": "1", "status": "delivered"}\n'
    headers = admin | {"Content-Type": "application/x-ndjson"}
    response = await client.post("/v1/receipts", content=row * 20_000, headers=headers)
    assert response.status_code == 422
    assert response.json()["rejected"] == 20_000


async def test_what_nobody_foresaw_has_an_id_that_the_log_has_too(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(app.state._state, "cursors", None)
    with structlog.testing.capture_logs() as logged:
        problem = assert_problem(await client.get("/v1/gateways?cursor=x", headers=admin), 500)
    (entry,) = [each for each in logged if each["event"] == "http.failed"]
    assert str(problem["detail"]).endswith(f"{entry['error_id']}.")


async def test_half_an_answer_is_broken_off(app: FastAPI) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)
        if message["type"] == "http.response.body":
            raise RuntimeError("half way")

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/healthz",
        "headers": [],
        "query_string": b"",
        "http_version": "1.1",
    }
    with pytest.raises(RuntimeError, match="half way"):
        await app(scope, receive, send)
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]


# --- the database away -----------------------------------------------------------------------------------------------


@pytest.fixture
async def lonely(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A service whose database is not there, from the start."""
    app = create_app(Settings(database_url="postgresql://nobody@127.0.0.1:9/none", data_dir=tmp_path))
    async with (
        asyncio.timeout(30),
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://acuse.test") as client,
    ):
        yield client


async def test_database_away_from_the_start(lonely: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """It starts, is alive, not ready, and says "later" quickly, to callbacks and callers alike: it cannot tell
    whether a gateway or a key exists."""
    assert (await lonely.get("/healthz")).status_code == 200
    async with asyncio.timeout(4):
        for path in ("/readyz", "/v1/gateways", "/callbacks/acme"):
            response = await lonely.get(path, headers={"Authorization": "Bearer some-key"})
            assert_problem(response, 503)
            assert int(response.headers["retry-after"]) > 0
    assert (await lonely.get("/metrics")).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/deliveries", 200),
        ("POST", "/v1/keys", 422),
        ("GET", "/v1/nothing", 404),
        ("PUT", "/v1/keys", 405),
        ("GET", "/v1/receipts/rejected/x", 404),
        ("GET", "/healthz", 200),
    ],
)
async def test_no_answer_is_kept_between_or_guessed_about(
    client: httpx.AsyncClient, admin: Headers, method: str, path: str, status: int
) -> None:
    for headers in (admin, {}):
        answer = await client.request(method, path, headers=headers)
        assert answer.status_code in (status, 401)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
