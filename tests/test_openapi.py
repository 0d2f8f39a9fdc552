"""The OpenAPI document is complete: every operation says what it is for and shows what goes in and comes out."""

import re
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.main import create_app
from app.openapi.document import document, operations
from app.settings import Settings

APP: FastAPI = create_app(Settings(database_url="postgresql://nobody@127.0.0.1:9/none"))
DOCUMENT = document(APP)
OPERATIONS = [pytest.param(operation, id=f"{method} {path}") for path, method, operation in operations(DOCUMENT)]


def has_example(content: dict[str, Any]) -> bool:
    return all(_shows(media) for media in content.values())


def _shows(media: dict[str, Any]) -> bool:
    schema = _resolved(media.get("schema", {}))
    return any(name in each for each in (media, schema) for name in ("example", "examples"))


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref")
    if reference is None:
        return schema
    found: dict[str, Any] = DOCUMENT["components"]["schemas"][reference.rpartition("/")[2]]
    return found


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_has_a_summary_a_tag_and_an_id(operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert operation["tags"]
    assert operation["operationId"]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_request_body_has_an_example(operation: dict[str, Any]) -> None:
    assert has_example(operation.get("requestBody", {}).get("content", {}))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_good_answer_has_an_example(operation: dict[str, Any]) -> None:
    good = {status: answer for status, answer in operation["responses"].items() if status[0] in "23"}
    assert good
    for status, answer in good.items():
        assert status == "204" or (status == "302" and "Location" in answer["headers"]) or answer.get("content"), (
            f"{status} has no content"
        )
        json = {kind: media for kind, media in answer.get("content", {}).items() if kind == "application/json"}
        assert has_example(json or answer.get("content", {}))


def _response(answer: dict[str, Any]) -> dict[str, Any]:
    """What an operation says of one status, here or among the responses that many share."""
    found: dict[str, Any] = DOCUMENT
    for step in answer.get("$ref", "#").split("/")[1:]:
        found = found[step]
    return found if "$ref" in answer else answer


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_error_has_the_one_shape(operation: dict[str, Any]) -> None:
    for status, answer in operation["responses"].items():
        content = _response(answer).get("content", {})
        if status[0] in "45" and not (operation["tags"] == ["short URLs"] and "text/html" in content):
            assert list(content) == ["application/problem+json"]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_lists_its_statuses_one_by_one(operation: dict[str, Any]) -> None:
    """A `default` would stand for everything, and nothing could contradict the document."""
    statuses = set(operation["responses"])
    assert all(status.isdigit() for status in statuses)
    assert {"400", "414", "431"} <= statuses
    if "security" in operation:
        assert {"401", "403", "422", "429", "503"} <= statuses
    if "requestBody" in operation:
        assert {"408", "413"} <= statuses


def test_no_two_paths_are_one_url() -> None:
    """OpenAPI 3.1 forbids templates that differ in their parameters' names only."""
    shapes = [re.sub(r"\{[^}]+\}", "{}", path) for path in DOCUMENT["paths"]]
    assert len(shapes) == len(set(shapes))


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("get", "/v1/deliveries/{id}", "404"),
        ("get", "/v1/receipts/unmatched", "404"),
        ("get", "/v1/deliveries/{id}/outbox", "409"),
        ("post", "/v1/deliveries", "409"),
        ("delete", "/v1/keys/{name}", "409"),
        ("post", "/v1/receipts", "415"),
        ("get", "/callbacks/{gateway}", "405"),
        ("head", "/r/{token}", "429"),
    ],
)
def test_statuses_that_do_not_follow_at_first_sight(method: str, path: str, status: str) -> None:
    assert status in DOCUMENT["paths"][path][method]["responses"]


@pytest.mark.parametrize(
    ("path", "headers"), [("401", "WWW-Authenticate"), ("429", "Retry-After"), ("503", "Retry-After"), ("405", "Allow")]
)
def test_errors_name_the_headers_that_come_with_them(path: str, headers: str) -> None:
    operation = DOCUMENT["paths"]["/callbacks/{gateway}" if path == "405" else "/v1/gateways"]["get"]
    assert headers in _response(operation["responses"][path])["headers"]


def test_operation_ids_are_unique() -> None:
    ids = [operation["operationId"] for _, _, operation in operations(DOCUMENT)]
    assert len(ids) == len(set(ids))


def test_every_reference_leads_somewhere() -> None:
    for reference in _references(DOCUMENT):
        found: Any = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            assert step in found, reference
            found = found[step]


def _references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [each for value in node.values() for each in _references(value)]
    return [each for value in node for each in _references(value)] if isinstance(node, list) else []


def test_everything_but_the_public_doors_needs_a_key() -> None:
    public = {path for path, _, operation in operations(DOCUMENT) if "security" not in operation}
    assert public == {
        "/", "/healthz", "/readyz", "/metrics", "/callbacks/{gateway}", "/callbacks/{gateway}/{reference}",
        "/r/{token}",
    }  # fmt: skip


@pytest.mark.parametrize("path", ["/docs", "/openapi.json"])
async def test_the_document_is_served(path: str) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=APP), base_url="http://acuse.test") as client:
        assert (await client.get(path)).status_code == 200
