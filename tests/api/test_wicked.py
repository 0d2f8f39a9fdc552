"""No value in a path, a query or a body is answered with 5xx: wicked ones in every place that the OpenAPI document names.

The service and its database are real; a server error is what the service itself tells as one. Values that are taken change
only this module's database.
"""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import httpx
import orjson
import pytest
import pytest_asyncio
from fastapi import FastAPI

from app.main import create_app
from app.openapi.document import document, examples, operations
from app.settings import Settings
from tests.api.places import good_places
from tests.conftest import ADMIN_SECRET

DOCUMENT = document(create_app(Settings(database_url="postgresql://nobody@127.0.0.1:9/none")))
#: Answers that end only when the reader goes: there `step` alone is asked wickedly, in `history`.
ENDLESS = {"/v1/deliveries/{id}/events"}
TEXTS = (
    "", " ", "²", "٣", "-1", "0", "+1", "1e9", "1.5", "NaN", "true", "{}", str(2**31), str(2**63 - 1), str(2**63), str(2**64),
    "9" * 400, "x" * 4_000, "a\0b", "\n", "\u202e", "😀" * 50, ",", "-", "+34600123000", "acuse-²", "P999999999D", "99999999999d",
    "0000-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "1970-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59",
    "99999-01-01T00:00:00Z", "2026-02-30T00:00:00Z", "2026-01-01T00:00:00-24:00", "2199-12-31T23:59:59Z",
)  # fmt: skip
#: As they stand in a URL: no UTF-8, a lone surrogate as some write it, an escape that is none.
RAW = ("%ff", "%ed%a0%80", "%zz")
URL_VALUES = [*(quote(text, safe="") for text in TEXTS), *RAW]
#: What stands in JSON, as bytes: a lone surrogate is well-formed there.
BODY_VALUES = [
    *(orjson.dumps(text) for text in TEXTS), b'"\\ud800"', b'"\\udfff\\u0000"',
    *(str(number).encode() for number in (0, -1, 2**31, 2**63 - 1, 2**63, 2**64, -(2**63), 10**400)),
    b"1e9", b"1e400", b"-0.0", b"true", b"null", b"[]", b"{}", b'[null]', b'[""]', b'["\\ud800"]',
    b'{"a": "\\u0000"}', b'{"\\u0000": 1}', b'{"a": 1e400}', b'{"a": 18446744073709551616}', b"[" * 60 + b"]" * 60, b"NaN",
]  # fmt: skip


def schema_of(node: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in node:
        node = DOCUMENT["components"]["schemas"][node["$ref"].rpartition("/")[2]]
    return node


def places() -> Iterator[Any]:
    for path, method, operation in operations(DOCUMENT):
        if path not in ENDLESS:
            for parameter in operation.get("parameters", ()):
                if parameter["in"] in ("path", "query"):
                    where = f"{method.upper()} {path}"
                    yield pytest.param(where, parameter["in"], parameter["name"], id=f"{where} {parameter['name']}")


def fields(schema: Mapping[str, Any], way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The ways to all fields of a body, also within objects and lists."""
    schema = schema_of(schema)
    for kind in ("anyOf", "oneOf", "allOf"):
        for each in schema.get(kind, ()):
            yield from fields(each, way)
    for name, each in schema.get("properties", {}).items():
        yield (*way, name)
        yield from fields(each, (*way, name))
    if schema.get("items"):
        yield from fields(schema["items"], (*way, 0))


EXAMPLES = examples()
EXAMPLES["POST /v1/breakers/{id}/discard"] = EXAMPLES["POST /v1/breakers/{id}/apply"]


def bodies() -> Iterator[Any]:
    for path, method, operation in operations(DOCUMENT):
        media = operation.get("requestBody", {}).get("content", {}).get("application/json")
        where = f"{method.upper()} {path}"
        if media is not None:
            for way in sorted(set(fields(media["schema"])), key=str) or [()]:
                yield pytest.param(where, way, id=f"{where} {'/'.join(map(str, way))}")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def client(app: FastAPI) -> Any:
    transport = httpx.ASGITransport(app=app)
    headers = {"Authorization": f"Bearer {ADMIN_SECRET}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://acuse.test", headers=headers) as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def world(client: httpx.AsyncClient) -> dict[str, str]:
    """Good values for what is not the wicked one of a path: a gateway, a delivery with a message and a link, an error."""
    return await good_places(client) | {"gateway": "acme", "reference": "order-7", "token": "3fQ7xKz0"}


async def ask(client: httpx.AsyncClient, where: str, url: str, content: bytes | None = None) -> int:
    """The status; of 503 the one that stays: a busy machine may be too slow once, a value is answered alike again."""
    method = where.partition(" ")[0]
    headers = {"Content-Type": "application/json"} if content is not None else {}
    for seconds in (0.1, 1, 5, 0):
        answer = await client.request(method, url, content=content, headers=headers)
        if answer.status_code != 503:
            break
        await asyncio.sleep(seconds)
    return answer.status_code


@pytest.mark.parametrize(("where", "place", "name"), list(places()))
async def test_no_value_of_a_path_or_a_query_is_answered_with_5xx(
    where: str, place: str, name: str, client: httpx.AsyncClient, world: dict[str, str]
) -> None:
    path = where.partition(" ")[2]
    body = orjson.dumps(EXAMPLES.get(where, {}).get("request", {}).get("application/json", {}))
    content = body if where.startswith(("POST", "PUT", "PATCH")) else None
    failed = {}
    for value in URL_VALUES:
        url = path.format(**world | ({name: value} if place == "path" else {}))
        status = await ask(client, where, url + (f"?{name}={value}" if place == "query" else ""), content)
        if status >= 500:
            failed[value] = status
    assert not failed


def put(body: Any, way: tuple[Any, ...], value: str) -> Any:
    """`body` with `value` at the end of the way, which is made where it is not there."""
    if not way:
        return value
    first, *rest = way
    if isinstance(first, int):
        rows = body if isinstance(body, list) and body else [None]
        return [put(rows[0], tuple(rest), value), *rows[1:]]
    named = body if isinstance(body, dict) else {}
    return named | {first: put(named.get(first), tuple(rest), value)}


MARK = "value-to-be-put-in"


@pytest.mark.parametrize(("where", "way"), list(bodies()))
async def test_no_value_of_a_body_is_answered_with_5xx(
    where: str, way: tuple[Any, ...], client: httpx.AsyncClient, world: dict[str, str]
) -> None:
    """Each in the place of one field of the example, or as one more."""
    url = where.partition(" ")[2].format(**world)
    template = orjson.dumps(put(EXAMPLES[where]["request"]["application/json"], way, MARK))
    failed = {}
    for value in BODY_VALUES:
        status = await ask(client, where, url, template.replace(orjson.dumps(MARK), value))
        if status >= 500:
            failed[value] = status
    assert not failed


def test_all_operations_with_a_path_a_query_or_a_body_are_asked() -> None:
    assert len({each.values[0] for each in places()}) > 60
    assert len({each.values[0] for each in bodies()}) > 20
