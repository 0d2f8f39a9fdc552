"""The examples of the OpenAPI document: each is as its schema says, and what is to be sent is taken by the service itself."""

import copy
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import httpx
import jsonschema_rs
import orjson
import pytest
import pytest_asyncio
from pydantic import AnyHttpUrl, SecretStr

from app.db import Pool
from app.main import create_app
from app.openapi.document import document, examples, operations
from app.settings import Settings
from tests.conftest import ADMIN_SECRET, Headers

DOCUMENT = document(create_app(Settings(database_url="postgresql://nobody@127.0.0.1:9/none")))
EXAMPLES = examples()
OPERATIONS = {f"{method.upper()} {path}": operation for path, method, operation in operations(DOCUMENT)}


def closed(node: Any) -> Any:
    """`node`, whose objects take no other fields than those that they name, so that no example shows one that is gone."""
    if isinstance(node, list):
        return [closed(each) for each in node]
    if not isinstance(node, dict):
        return node
    made = {name: closed(each) for name, each in node.items()}
    if isinstance(made.get("properties"), dict) and made.get("type") == "object":
        made.setdefault("additionalProperties", False)
    return made


SCHEMAS = closed(copy.deepcopy(DOCUMENT["components"]))


def shown() -> Iterator[Any]:
    """Every example that the document has, with its schema."""
    for name, operation in OPERATIONS.items():
        for place, answer in (("request", operation.get("requestBody", {})), *operation["responses"].items()):
            for media_type, media in answer.get("content", {}).items():
                found = [media["example"]] if "example" in media else []
                for each in found:
                    yield pytest.param(media.get("schema", {}), each, id=f"{name} {place} {media_type}")
        for parameter in operation.get("parameters", ()):
            for number, each in enumerate(parameter["schema"].get("examples", parameter.get("examples", ()))):
                yield pytest.param(parameter["schema"], each, id=f"{name} ?{parameter['name']} {number}")
    for name, schema in DOCUMENT["components"]["schemas"].items():
        for number, each in enumerate(schema.get("examples", ())):
            yield pytest.param({"$ref": f"#/components/schemas/{name}"}, each, id=f"{name} {number}")
        for field, each in schema.get("properties", {}).items():
            for number, example in enumerate(each.get("examples", ())):
                yield pytest.param(each, example, id=f"{name}.{field} {number}")


@pytest.mark.parametrize(("schema", "example"), list(shown()))
def test_every_example_is_as_its_schema_says(schema: dict[str, Any], example: Any) -> None:
    validator = jsonschema_rs.Draft202012Validator({**closed(schema), "components": SCHEMAS}, validate_formats=True)
    assert not [f"{error.instance_path}: {error.message}" for error in validator.iter_errors(example)]


def test_examples_are_of_operations_that_are_there() -> None:
    assert not set(EXAMPLES) - set(OPERATIONS)


# --- what is to be sent ----------------------------------------------------------------------------------------------

REQUESTS = [
    pytest.param(name, media_type, id=f"{name} {media_type}")
    for name, example in EXAMPLES.items()
    for media_type in example.get("request", ())
]


def test_every_request_with_a_body_is_tried() -> None:
    asked = {
        (name, media_type)
        for name, operation in OPERATIONS.items()
        for media_type in operation.get("requestBody", {}).get("content", ())
    }
    shared = {name for name, media_type in asked} - set(EXAMPLES)  # bodies whose schema is shown with another operation
    assert {(name, media_type) for name, media_type in asked if name not in shared} == {
        tuple(each.values) for each in REQUESTS
    }
    assert shared == {"POST /v1/breakers/{id}/discard"}


@pytest.fixture(scope="module")
def settings(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(
        database_url=database_url,
        data_dir=tmp_path_factory.mktemp("data"),
        admin_key=SecretStr(ADMIN_SECRET),
        public_url=AnyHttpUrl("https://sms.example.com"),
    )


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def world(client: httpx.AsyncClient, admin: Headers, pool: Pool) -> Mapping[str, Mapping[str, str]]:
    """Operation → parameters of its path: a gateway `acme`, deliveries in the state that each needs, messages 1 to 3."""
    gateway = {"key": "acme", "kind": "generic", "auth": {"mode": "none"}}
    await made(client, admin, "/v1/gateways", gateway)
    await made(client, admin, "/v1/gateways", gateway | {"key": "forms", "kind": "twilio"})
    delivery = {"label": "Sale", "sender": "Acme", "gateway": "acme", "default_region": "ES"}
    content = {"content": "Hello {{name}}, see https://shop.example/offer. STOP"}
    elsewhere = await made(client, admin, "/v1/deliveries", delivery)
    handed, linked = [await made(client, admin, "/v1/deliveries", delivery | {"gateway": "forms"}) for _ in range(2)]
    written, sold, changed, meant, ready = [
        await made(client, admin, "/v1/deliveries", delivery | content) for _ in range(5)
    ]
    rows = [{"address": "+34600000001"}, {"address": "+34600000002"}]
    await made(client, admin, f"/v1/deliveries/{handed['id']}/messages", rows)
    await made(client, admin, f"/v1/deliveries/{linked['id']}/messages", rows[:1])
    await made(client, admin, f"/v1/deliveries/{meant['id']}/targets", rows)
    named = [row | {"params": {"name": "Ana"}} for row in rows]
    await made(client, admin, f"/v1/deliveries/{ready['id']}/targets", named)
    prepared = await client.post(f"/v1/deliveries/{ready['id']}/prepare", params={"wait": 60}, headers=admin)
    assert prepared.json()["status"] == "prepared", prepared.text
    async with pool.acquire() as connection:
        qualification = await connection.fetchval("SELECT min(id) FROM qualifications")
        breaker = await connection.fetchval(
            "INSERT INTO breakers (gateway_id, qualification_id, opened_at, failures, finals) "
            "SELECT id, $1, now() - $2::interval, 1, 1 FROM gateways WHERE key = 'acme' RETURNING id",
            qualification,
            timedelta(minutes=5),
        )
    of = {
        "POST /v1/deliveries/{id}/messages": elsewhere, "POST /v1/deliveries/{id}/submissions": handed,
        "POST /v1/deliveries/{id}/links": linked, "PATCH /v1/deliveries/{id}/links/{number}": written,
        "POST /v1/deliveries/{id}/targets": sold, "POST /v1/deliveries/{id}/proofs": written,
        "PATCH /v1/deliveries/{id}": changed, "PATCH /v1/deliveries/{id}/targets/{position}": meant,
        "POST /v1/deliveries/{id}/copy": meant, "POST /v1/deliveries/{id}/start": ready,
    }  # fmt: skip
    at_key = {"key": "acme", "gateway": "acme", "reference": "order-13002"}
    return {name: at_key | {"id": of[name]["id"], "number": "0", "position": "1"} for name in of} | {
        "PATCH /v1/qualifications/{id}": {"id": str(qualification)},
        "POST /v1/qualifications/{id}/preview": {"id": str(qualification)},
        "POST /v1/breakers/{id}/apply": {"id": str(breaker)},
        "": at_key,
    }


async def made(client: httpx.AsyncClient, admin: Headers, url: str, body: Any) -> Any:
    answer = await client.post(url, json=body, headers=admin)
    assert answer.status_code in (200, 201), answer.text
    return answer.json()


@pytest.mark.parametrize(("name", "media_type"), REQUESTS)
async def test_every_request_that_is_shown_is_taken(
    name: str, media_type: str, client: httpx.AsyncClient, admin: Headers, world: Mapping[str, Mapping[str, str]]
) -> None:
    example = EXAMPLES[name]["request"][media_type]
    if name == "POST /v1/gateways":
        example = example | {"key": "acme-2"}  # the world has `acme` already
    content = example.encode() if isinstance(example, str) else orjson.dumps(example)
    method, _, path = name.partition(" ")
    parameters = dict(world.get(name, world[""]))
    if "form" in media_type and path.startswith("/callbacks"):
        parameters["gateway"] = "forms"
    answer = await client.request(
        method, path.format(**parameters), content=content, headers=admin | {"Content-Type": media_type}
    )
    assert answer.is_success, answer.text
    if "application/json" in answer.headers["content-type"]:
        told = OPERATIONS[name]["responses"][str(answer.status_code)]["content"]["application/json"]
        assert set(answer.json()) == set(_example(told)), answer.text
        if "accepted" in answer.json():
            assert answer.json()["rejected"] == 0, answer.text


def _example(media: Mapping[str, Any]) -> Any:
    """What the document shows of an answer."""
    if "example" in media:
        return media["example"]
    return DOCUMENT["components"]["schemas"][media["schema"]["$ref"].rpartition("/")[2]]["examples"][0]
