"""The OpenAPI document: what FastAPI says of the routes, and what it cannot know.

That is: the callbacks and short URLs, the key that every operation needs, the one shape of errors, which is described once and
named by each operation, and the examples, which stand in `examples/*.json`: operation → `request` or status → media type.
"""

from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app.openapi import doors, errors

TAGS = [
    {"name": "gateways", "description": "Accounts at SMS providers, and the kinds of them."},
    {"name": "keys", "description": "API keys and their scopes."},
    {"name": "deliveries", "description": "SMS sends: create, change, record what was sent."},
    {"name": "reading a delivery", "description": "Summary, history, events."},
    {"name": "messages", "description": "The delivery log, and one message's timeline."},
    {"name": "receipts", "description": "Status reports: in bulk, unmatched, rejected."},
    {"name": "qualifications", "description": "What errors mean."},
    {"name": "addresses", "description": "One number: may it be sent to, what is known about it, forgetting it."},
    {"name": "audit", "description": "The journals and their chains."},
    {"name": "callbacks", "description": "The door for gateways, in each provider's own format."},
    {"name": "short URLs", "description": "The door for recipients."},
    {"name": "machines", "description": "Health and metrics."},
]
DESCRIPTION = """Acuse tells the truth about SMS deliveries: receipts in, delivery log and summary out.

Times are RFC 3339 in UTC, addresses E.164 (masked for keys without `pii:read`), ids opaque strings. Lists take `limit`
and `cursor`; `Accept: text/csv` or `application/x-ndjson` streams all of one. Errors are RFC 9457
`application/problem+json`. POSTs that create take an `Idempotency-Key`: the same key and body get the same answer again
for 24 h, another body 409."""

_METHODS = ("get", "put", "post", "patch", "delete", "head")
_OPEN = ("/callbacks/", "/r/", "/healthz", "/readyz", "/metrics")
_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    "description": "The same key and body give the same answer again for 24 h; another body, 409.",
}


def install(app: FastAPI) -> None:
    """Makes `app.openapi` give the whole document, made once."""

    def whole() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = document(app)
        return app.openapi_schema

    app.openapi = whole  # type: ignore[method-assign]


def document(app: FastAPI) -> dict[str, Any]:
    found = get_openapi(title=app.title, version=app.version, description=DESCRIPTION, routes=app.routes, tags=TAGS)
    found["paths"] = {**doors.callbacks(), **doors.short_urls(), **found["paths"]}
    components = found.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas |= errors.SCHEMAS
    components["responses"] = errors.RESPONSES
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, with the scopes it was given."}
    }
    for path, method, operation in operations(found):
        _complete(path, method, operation)
    for name, example in examples().items():
        method, _, path = name.partition(" ")
        _show(found["paths"][path][method.lower()], example, schemas)
    return found


def operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """All of them: path, method, operation."""
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                yield path, method, item[method]


def _complete(path: str, method: str, operation: dict[str, Any]) -> None:
    secured = path != "/" and not path.startswith(_OPEN)
    if secured:
        operation["security"] = [{"bearer": []}]
    if method == "post" and "201" in operation["responses"] and path != "/v1/tickets":
        operation.setdefault("parameters", []).append(_IDEMPOTENCY_KEY)
    errors.complete(path, method, operation, secured=secured)


def examples() -> dict[str, dict[str, dict[str, Any]]]:
    """Of all operations, by `METHOD path`: `request` or status → media type → example."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for file in files("app.openapi").joinpath("examples").iterdir():
        found |= orjson.loads(file.read_bytes())
    return found


def _show(operation: Mapping[str, Any], example: Mapping[str, Mapping[str, Any]], schemas: Mapping[str, Any]) -> None:
    """An example of what has a schema of its own is shown with that, once for all who use it; of a page, one of its item's,
    too."""
    for place, by_type in example.items():
        content = (operation["requestBody"] if place == "request" else operation["responses"][place])["content"]
        for media_type, value in by_type.items():
            media = content[media_type]
            schema = _named(media["schema"], schemas) if "schema" in media else None
            if schema is None:
                media["example"] = value
                continue
            schema["examples"] = [value]
            item = _named(schema["properties"].get("items", {}).get("items", {}), schemas)
            if item is not None:
                item.setdefault("examples", value["items"][:1])


def _named(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> dict[str, Any] | None:
    """The schema of the document's components that `schema` refers to, if it does."""
    found: dict[str, Any] | None = schemas.get(schema.get("$ref", "").rpartition("/")[2])
    return found
