"""The OpenAPI document: what FastAPI says of the routes, and what it cannot know.

That is: the callbacks and short URLs (plain routes, for speed), the key that every operation needs, and the one shape of
errors, which is described once and named by each operation.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app import openapi_errors
from app.gateways import GATEWAYS

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
    found["paths"] = {**_callbacks(), **_short_urls(), **found["paths"]}
    components = found.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas |= openapi_errors.SCHEMAS
    components["responses"] = openapi_errors.RESPONSES
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, with the scopes it was given."}
    }
    for path, method, operation in operations(found):
        _complete(path, method, operation)
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
    if method == "post" and "201" in operation["responses"]:
        operation.setdefault("parameters", []).append(_IDEMPOTENCY_KEY)
    openapi_errors.complete(path, method, operation, secured=secured)


# --- callbacks -------------------------------------------------------------------------------------------------------


def _callbacks() -> dict[str, Any]:
    reference = {"name": "reference", "in": "path", "required": True, "schema": {"type": "string", "maxLength": 255}}
    reference["description"] = "Our reference of the message, where the provider lets each message have its own URL."
    return {
        "/callbacks/{gateway}": {method: _callback(method, []) for method in ("get", "post")},
        "/callbacks/{gateway}/{reference}": {method: _callback(method, [reference]) for method in ("get", "post")},
    }


def _callback(method: str, parameters: list[Any]) -> dict[str, Any]:
    key = {"name": "gateway", "in": "path", "required": True, "schema": {"type": "string"}, "description": "Its key."}
    token = {"name": "token", "in": "query", "required": False, "schema": {"type": "string"}}
    token["description"] = "The secret, for auth mode `token`; or the header `X-Acuse-Token`."
    name = "_with_reference" if parameters else ""
    operation: dict[str, Any] = {
        "tags": ["callbacks"],
        "operationId": f"callback_{method}{name}",
        "summary": f"A gateway reports ({method.upper()})",
        "description": "In the provider's own format; which method and body, its kind says (`GET /v1/gateway-kinds`). "
        "2xx, with the answer the provider expects, only once the receipts are durable.",
        "parameters": [key, *parameters, token],
        "responses": {
            "200": {"description": "Durable; with the answer that its provider expects.", "content": _durable()},
            "400": {"description": "Unreadable; the answer names the id under which the raw body is kept."},
            "401": {"description": "The callback does not prove that it comes from the gateway."},
            "404": {"description": "There is no such gateway."},
            "405": {"description": "This gateway calls with another method: see `Allow`."},
            "413": {"description": "Larger than ACUSE_MAX_CALLBACK_BYTES."},
            "503": {"description": "Too much is waiting, or neither database nor spool can take it: send it again."},
        },
    }
    if method == "post":
        operation["requestBody"] = {
            "content": {
                "application/json": {"schema": {}, "example": {"provider_message_id": "77", "status": "delivered"}},
                "application/x-www-form-urlencoded": {
                    "schema": {"type": "string"},
                    "example": "MessageSid=SM77&MessageStatus=delivered",
                },
            }
        }
    return operation


def _durable() -> dict[str, Any]:
    """The bodies of all kinds' answers."""
    found: dict[str, Any] = {"text/plain": {"schema": {"type": "string"}, "example": ""}}
    for adapter in GATEWAYS.values():
        answers = [adapter.answer, *([adapter.reply(None)] if adapter.reply is not None else [])]
        for answer in answers:
            kind = answer.content_type.partition(";")[0]
            found.setdefault(kind, {"schema": {"type": "string"}, "example": answer.body.decode()})
    return found


# --- short URLs ------------------------------------------------------------------------------------------------------


def _short_urls() -> dict[str, Any]:
    return {"/r/{token}": {method: _short_url(method) for method in ("get", "head")}}


def _short_url(method: str) -> dict[str, Any]:
    token = {"name": "token", "in": "path", "required": True, "schema": {"type": "string"}, "example": "3fQ7xKz0"}
    token["description"] = "It names one link of one message, and checks itself."
    page = {"text/html": {"schema": {"type": "string"}, "example": "<!doctype html>…"}}
    location = {"schema": {"type": "string", "format": "uri"}, "example": "https://shop.example/offer?utm_source=sms"}
    return {
        "tags": ["short URLs"],
        "operationId": f"visit_{method}",
        "summary": f"A recipient opens a link ({method.upper()})",
        "description": "The same stands at `/{token}` on the hosts of ACUSE_SHORT_HOSTS. The click is kept, and counts when "
        "a person made it. Where it leads nowhere there is a small page in Spanish or English (`Accept-Language`).",
        "parameters": [token],
        "responses": {
            "302": {"description": "To the registered URL; never cached.", "headers": {"Location": location}},
            "404": {"description": "A wrong link.", "content": page},
            "405": {"description": "Only GET and HEAD."},
            "410": {"description": "Over, or its delivery was cancelled. The same page.", "content": page},
            "429": {"description": "Too many wrong links from this network: see `Retry-After`.", "content": page},
            "503": {"description": "It cannot be looked up now: see `Retry-After`.", "content": page},
        },
    }
