"""Every operation under /v1, and what it answers when it is asked wrongly: one table, and nothing in it is silent.

unknown: a query parameter that it does not know. type: a value of another type, in the query or the body. method: one that the
path does not take. large: a body beyond what it takes. id: one in the path that cannot be. cursor: one that it did not give out.
`-`: it has none. The answers are the service's own, on its database.
"""

import asyncio
import itertools
from collections.abc import Iterator, Mapping
from string import ascii_lowercase
from typing import Any

import httpx
import orjson
import pytest
import pytest_asyncio
from fastapi import FastAPI

from app.main import create_app
from app.openapi.document import document, operations
from app.settings import Settings
from tests.api.lag import lag
from tests.api.places import good_places
from tests.conftest import Headers

COLUMNS = ("unknown", "type", "method", "large", "id", "cursor")
TABLE = """
POST   /v1/receipts                                  422 422 405 422 -   -
GET    /v1/receipts/unmatched                        422 422 405 422 -   422
GET    /v1/receipts/unmatched/{id}                   422 -   405 422 404 -
POST   /v1/receipts/unmatched/retry                  422 -   405 413 -   -
GET    /v1/receipts/rejected                         422 422 405 422 -   422
GET    /v1/receipts/rejected/{id}                    422 -   405 422 404 -
POST   /v1/receipts/rejected/retry                   422 422 405 413 -   -
GET    /v1/deliveries                                422 422 405 422 -   422
POST   /v1/deliveries                                422 422 405 413 -   -
GET    /v1/deliveries/{id}                           422 -   405 422 404 -
PATCH  /v1/deliveries/{id}                           422 422 405 413 404 -
POST   /v1/deliveries/{id}/cancel                    422 422 405 413 404 -
POST   /v1/deliveries/{id}/recompute                 422 422 405 413 404 -
GET    /v1/deliveries/{id}/targets                   422 422 405 422 404 422
POST   /v1/deliveries/{id}/targets                   422 422 405 422 404 -
POST   /v1/deliveries/{id}/prepare                   422 422 405 413 404 -
GET    /v1/deliveries/{id}/exclusions                422 422 405 422 404 422
GET    /v1/deliveries/{id}/exclusions/causes         422 -   405 422 404 -
POST   /v1/deliveries/{id}/start                     422 422 405 413 404 -
GET    /v1/deliveries/{id}/outbox                    422 422 405 422 404 -
GET    /v1/deliveries/{id}/proofs                    422 422 405 422 404 422
POST   /v1/deliveries/{id}/proofs                    422 422 405 413 404 -
GET    /v1/deliveries/{id}/messages                  422 422 405 422 404 422
POST   /v1/deliveries/{id}/messages                  422 422 405 422 404 -
POST   /v1/deliveries/{id}/submissions               422 422 405 422 404 -
GET    /v1/deliveries/{id}/summary                   422 -   405 422 404 -
GET    /v1/deliveries/{id}/history                   422 422 405 422 404 -
GET    /v1/deliveries/{id}/events                    422 401 405 422 404 -
DELETE /v1/deliveries/{id}                           422 422 405 413 404 -
POST   /v1/deliveries/{id}/copy                      422 422   405 413 404 -
DELETE /v1/deliveries/{id}/targets/{position}        422 422 405 413 404 -
PATCH  /v1/deliveries/{id}/targets/{position}        422 422 405 413 404 -
POST   /v1/deliveries/{id}/pause                     422 -   405 413 404 -
POST   /v1/deliveries/{id}/resume                    422 -   405 413 404 -
POST   /v1/tickets                                   422 422 405 413 -   -
GET    /v1/messages                                  422 422 405 422 -   422
GET    /v1/messages/{id}                             422 -   405 422 404 -
GET    /v1/messages/{id}/receipts/{receipt_id}       422 -   405 422 404 -
GET    /v1/qualifications                            422 422 405 422 -   422
GET    /v1/qualifications/{id}                       422 -   405 422 404 -
PATCH  /v1/qualifications/{id}                       422 422 405 413 404 -
POST   /v1/qualifications/{id}/preview               422 422 405 413 404 -
GET    /v1/quarantine                                422 422 405 422 -   422
POST   /v1/quarantine                                422 422 405 422 -   -
GET    /v1/deliveries/{id}/quarantine                422 422 405 422 404 422
GET    /v1/quarantine/{address}                      422 -   405 422 422 -
DELETE /v1/quarantine/{address}                      422 422 405 413 422 -
POST   /v1/quarantine/release                        422 422 405 413 -   -
GET    /v1/breakers                                  422 422 405 422 -   422
POST   /v1/breakers/{id}/apply                       422 422 405 413 404 -
POST   /v1/breakers/{id}/discard                     422 422 405 413 404 -
POST   /v1/addresses/check                           422 422 405 200 -   -
GET    /v1/addresses/{address}                       422 -   405 422 422 -
DELETE /v1/addresses/{address}                       422 422 405 413 422 -
GET    /v1/addresses/{address}/export                422 -   405 422 422 -
GET    /v1/erasures                                  422 422 405 422 -   422
GET    /v1/erasures/{id}                             422 -   405 422 422 -
GET    /v1/deliveries/{id}/links                     422 -   405 422 404 -
POST   /v1/deliveries/{id}/links                     422 422 405 422 404 -
GET    /v1/deliveries/{id}/clicks                    422 422 405 422 404 422
PATCH  /v1/deliveries/{id}/links/{number}            422 422 405 413 404 -
GET    /v1/gateway-kinds                             422 -   405 422 -   -
GET    /v1/gateways                                  422 422 405 422 -   422
POST   /v1/gateways                                  422 422 405 413 -   -
GET    /v1/gateways/{key}                            422 -   405 422 404 -
PATCH  /v1/gateways/{key}                            422 422 405 413 404 -
DELETE /v1/gateways/{key}                            422 422 405 413 404 -
POST   /v1/gateways/{key}/test                       200 200 405 413 404 -
GET    /v1/keys                                      422 422 405 422 -   422
POST   /v1/keys                                      422 422 405 413 -   -
DELETE /v1/keys/{name}                               422 422 405 413 404 -
GET    /v1/audit                                     422 422 405 422 -   422
GET    /v1/audit/verify                              422 422 405 422 -   -
GET    /v1/audit/head                                422 -   405 422 -   -
GET    /v1/deliveries/{id}/audit                     422 422 405 422 404 422
GET    /v1/deliveries/{id}/audit/verify              422 422 405 422 404 -
GET    /v1/deliveries/{id}/audit/head                422 -   405 422 404 -
GET    /v1/gateways/{key}/reply-rules                422 -   405 422 404 -
PUT    /v1/gateways/{key}/reply-rules                422 422 405 413 404 -
GET    /v1/inbound                                   422 422 405 422 -   422
GET    /v1/inbound/{id}                              422 -   405 422 404 -
"""
ROWS = {
    (method, path): dict(zip(COLUMNS, answers, strict=True))
    for method, path, *answers in (line.split() for line in TABLE.strip().splitlines())
}
DOCUMENT = document(create_app(Settings(database_url="postgresql://nobody@127.0.0.1:9/none")))
OPERATIONS: Mapping[tuple[str, str], dict[str, Any]] = {
    (method.upper(), path): operation for path, method, operation in operations(DOCUMENT) if path.startswith("/v1/")
}
#: What takes the body or the query of somebody else, and says in its answer what it makes of it.
TAKES_ANYTHING = ("POST", "/v1/gateways/{key}/test")
#: Answered in 200 row by row: a list to check has as many lines as it had.
ANSWERED_BY_ROW = {("POST", "/v1/addresses/check")}
TITLES = {
    400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 405: "Method Not Allowed", 409: "Conflict",
    413: "Content Too Large", 415: "Unsupported Media Type", 422: "Unprocessable Content",
}  # fmt: skip


def cells(column: str) -> Iterator[Any]:
    for (method, path), answers in ROWS.items():
        if answers[column] != "-":
            yield pytest.param(method, path, int(answers[column]), id=f"{method} {path}")


@pytest.fixture(scope="module")
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"short_hosts": ("s.example",)})


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def client(app: FastAPI, admin: Headers) -> Any:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://acuse.test", headers=admin) as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def good(client: httpx.AsyncClient) -> dict[str, str]:
    """Of each parameter of a path a value that is there, or could be."""
    found = await good_places(client)
    draft = {"label": "Sale", "sender": "Acme", "gateway": found["key"], "default_region": "ES"}
    return found | {"draft": (await client.post("/v1/deliveries", json=draft)).json()["id"]}


def url_of(path: str, good: dict[str, str]) -> str:
    """Targets are for a delivery that nothing was sent of."""
    return path.format(**good | ({"id": good["draft"]} if path.endswith("/targets") else {}))


def test_the_table_has_every_operation_and_no_other() -> None:
    assert ROWS.keys() == OPERATIONS.keys()


def test_the_table_knows_what_each_operation_has() -> None:
    for (method, path), answers in ROWS.items():
        names = {each["name"] for each in OPERATIONS[method, path].get("parameters", ())}
        assert (answers["cursor"] != "-") == ("cursor" in names), path
        assert (answers["id"] != "-") == ("{" in path), path


def told(answer: httpx.Response, status: int) -> dict[str, Any]:
    """A refusal in the one shape, with the one title of its status."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["status"] == status
    assert problem["title"] == TITLES[status]
    assert problem["detail"].endswith((".", "?", "!"))
    return problem


@pytest.mark.parametrize(("method", "path", "status"), list(cells("unknown")))
async def test_an_unknown_query_parameter_is_refused_by_its_name(
    method: str, path: str, status: int, client: httpx.AsyncClient, good: dict[str, str]
) -> None:
    known = [e["name"] for e in OPERATIONS[method, path].get("parameters", ()) if e["in"] == "query"]
    typo = f"{known[0]}s" if known and f"{known[0]}s" not in known else "no_such"
    for name in ("no_such", typo):
        answer = await client.request(method, f"{url_of(path, good)}?{name}=1")
        if (method, path) == TAKES_ANYTHING:
            assert answer.status_code == status
            continue
        problem = told(answer, status)
        assert [each["pointer"] for each in problem["errors"]] == [f"?{name}"]
        assert f"`{name}`" in problem["detail"]


def typed(operation: Mapping[str, Any]) -> str | None:
    """A query parameter that is no free text."""
    for each in operation.get("parameters", ()):
        schema = orjson.dumps(each["schema"])
        if each["in"] == "query" and any(
            word in schema for word in (b'"integer"', b'"boolean"', b'"number"', b"enum", b"const", b"date-time")
        ):
            return str(each["name"])
    return None


@pytest.mark.parametrize(("method", "path", "status"), list(cells("type")))
async def test_a_value_of_another_type_is_refused_and_its_field_is_named(
    method: str, path: str, status: int, client: httpx.AsyncClient, good: dict[str, str]
) -> None:
    operation = OPERATIONS[method, path]
    name = typed(operation) or ("ticket" if path.endswith("/events") else "head" if path.endswith("verify") else None)
    if "requestBody" in operation:
        bulk = "application/x-ndjson" in operation["requestBody"]["content"]
        content = b"[5]" if bulk else b"{" if (method, path) == TAKES_ANYTHING else b"5"
        headers = {"Content-Type": "application/json"}
        answer = await client.request(method, url_of(path, good), content=content, headers=headers)
        if (method, path) in ANSWERED_BY_ROW:
            assert answer.status_code == 200
            assert answer.json()["items"][0]["allowed"] is False
            return
        if (method, path) == TAKES_ANYTHING:
            assert (answer.status_code, answer.json()["items"][0]["type"]) == (status, "unreadable")
            return
        told(answer, status)
    else:
        problem = told(await client.request(method, f"{url_of(path, good)}?{name}=²"), status)
        assert status != 422 or any(each["pointer"] == f"?{name}" for each in problem["errors"])


@pytest.mark.parametrize(("method", "path", "status"), list(cells("method")))
async def test_a_method_that_the_path_does_not_take_is_refused_with_those_that_it_does(
    method: str, path: str, status: int, client: httpx.AsyncClient, good: dict[str, str]
) -> None:
    taken = {known for known, of in OPERATIONS if of == path}
    for other in ("PUT", "DELETE", "TRACE"):
        if other not in taken:
            answer = await client.request(other, url_of(path, good))
            told(answer, status)
            assert set(answer.headers["allow"].split(", ")) >= taken


@pytest.mark.parametrize(("method", "path", "status"), list(cells("large")))
async def test_a_body_that_is_too_large_is_refused_and_so_is_any_where_none_is_taken(
    method: str, path: str, status: int, client: httpx.AsyncClient, good: dict[str, str]
) -> None:
    content = b'[{"address": "' + b"x" * 1_100_000 + b'"}]'
    headers = {"Content-Type": "application/json"}
    answer = await client.request(method, url_of(path, good), content=content, headers=headers)
    if (method, path) in ANSWERED_BY_ROW:
        assert answer.status_code == status
        assert answer.json()["items"][0]["text"] == "The row is too long."
    else:
        told(answer, status)


@pytest.mark.parametrize(("method", "path", "status"), list(cells("id")))
async def test_an_id_that_cannot_be_is_not_there(
    method: str, path: str, status: int, client: httpx.AsyncClient, good: dict[str, str]
) -> None:
    body = OPERATIONS[method, path].get("requestBody", {}).get("content", {}).get("application/json")
    example = (body or {}).get("example") or {}
    names = [each["name"] for each in OPERATIONS[method, path]["parameters"] if each["in"] == "path"]
    url = path.format(**good | {names[-1]: "%C2%B2"})
    if method == "DELETE" and "{address}" in path:
        url += "?reason=a+request"
    answer = await client.request(method, url, json=None if body is None else example)
    assert answer.status_code in (status, 422) if body is not None else answer.status_code == status, answer.text
    told(answer, answer.status_code)


@pytest.mark.parametrize(("method", "path", "status"), list(cells("cursor")))
async def test_a_cursor_that_the_list_did_not_give_out_is_refused(
    method: str, path: str, status: int, client: httpx.AsyncClient, good: dict[str, str]
) -> None:
    more = "&reference=order-7" if path == "/v1/messages" else ""
    for accept in ("application/json", "text/csv"):
        answer = await client.get(f"{url_of(path, good)}?cursor=x{more}", headers={"Accept": accept})
        assert [each["pointer"] for each in told(answer, status)["errors"]] == ["?cursor"]


# --- more of the same kind -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "named", "says"),
    [
        ("/v1/deliveries?stauts=failed", "?stauts", "is it `status`?"),
        ("/v1/deliveries?Status=failed", "?Status", "is it `status`?"),
        ("/v1/deliveries?page=2", "?page", "there are"),
        ("/v1/deliveries?limit=5&limit=6", "?limit", "once"),
        ("/v1/deliveries?limit[]=5", "?limit[]", "limit"),
        ("/v1/deliveries?=x", "?…", "no parameter"),
        ("/v1/deliveries?%2B34600123123", "?…", "no parameter"),
        ("/v1/audit/head?limit=5", "?limit", "takes none"),
        ("/v1/gateways?offset", "?offset", "there are"),
    ],
)
async def test_names_with_a_slip_are_told_with_the_right_one(
    url: str, named: str, says: str, client: httpx.AsyncClient
) -> None:
    problem = told(await client.get(url), 422)
    (error,) = problem["errors"]
    assert says in error["detail"]
    assert error["pointer"] in (named, "?…")
    assert "600123123" not in orjson.dumps(problem).decode()


async def test_thousands_of_unknown_names_hold_nobody_up(client: httpx.AsyncClient, good: dict[str, str]) -> None:
    names = map("".join, itertools.islice(itertools.product(ascii_lowercase, repeat=3), 16_000))
    url = f"/v1/deliveries/{good['id']}/messages?{'&'.join(names)}"
    async with lag() as seen:
        await asyncio.sleep(0)  # it watches from here
        problem = told(await client.get(url), 422)
        await asyncio.sleep(0)
    assert len(problem["errors"]) == 20
    assert seen.worst < 0.15


async def test_a_filter_of_several_values_may_be_given_several_times(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/deliveries?status=editing&status=finished")).status_code == 200


async def test_who_has_no_key_is_not_told_which_parameters_there_are(app: FastAPI) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://acuse.test") as client:
        assert (await client.get("/v1/deliveries?no_such=1")).status_code == 401


@pytest.mark.parametrize("content", [b"", b"{}", b" {} ", b"null"])
async def test_a_body_that_says_nothing_is_none(
    content: bytes, client: httpx.AsyncClient, good: dict[str, str]
) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await client.post(f"/v1/deliveries/{good['id']}/recompute", content=content, headers=headers)
    assert answer.status_code == 200


@pytest.mark.parametrize(("method", "path"), [each for each in ROWS if "requestBody" not in OPERATIONS[each]])
async def test_an_empty_body_where_none_is_taken_changes_nothing(
    method: str, path: str, client: httpx.AsyncClient, good: dict[str, str]
) -> None:
    """Some clients name a length of 0 in whatever they send, and an operation may look at its key twice."""
    url = url_of(path, good | {"id": "999999", "key": "nobody", "name": "nobody"})
    answers = [
        await client.request(method, url, params={"dry_run": "true"} if method == "DELETE" else None, headers=headers)
        for headers in ({}, {"Content-Length": "0"})
    ]
    assert answers[0].status_code < 500
    assert answers[1].status_code == answers[0].status_code, answers[1].text


async def test_a_dry_run_that_is_asked_for_in_the_body_of_a_delete_deletes_nothing(client: httpx.AsyncClient) -> None:
    made = await client.post("/v1/keys", json={"name": "stays", "scopes": ["admin"]})
    assert made.status_code == 201
    told(await client.request("DELETE", "/v1/keys/stays", json={"dry_run": True}), 422)
    names = [each["name"] for each in (await client.get("/v1/keys")).json()["items"]]
    assert "stays" in names


async def test_callbacks_and_short_urls_take_whatever_comes(client: httpx.AsyncClient, good: dict[str, str]) -> None:
    receipt = {"provider_message_id": "A1", "status": "delivered"}
    assert (await client.post("/callbacks/acme?utm=1&utm=2", json=receipt)).status_code == 200
    assert (await client.get("/r/none?fbclid=1")).status_code == 404
