"""What the OpenAPI document says of the doors for gateways and recipients: plain routes, for speed, that declare nothing."""

from typing import Any

from app.gateways import GATEWAYS


def callbacks() -> dict[str, Any]:
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
                "application/json": {"schema": {}},
                "application/x-www-form-urlencoded": {"schema": {"type": "string"}},
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


def short_urls() -> dict[str, Any]:
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
        "description": "The same stands at `/{token}` on the hosts of ACUSE_SHORT_HOSTS, where nothing else answers but a "
        "neutral page at `/`, and `robots.txt`. What phones take along behind a token is passed over: closing marks, a slash, "
        "`&…`. The click is kept, and counts when a person made it. Where it leads nowhere there is a small page in Spanish or "
        "English (`Accept-Language`).",
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
