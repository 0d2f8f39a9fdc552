"""What can go wrong with each operation: its real statuses in the OpenAPI document, all of one shape.

They follow from what an operation is: one with a key can be refused for it, one with a body for the body, one that writes
can meet another state. What does not follow stands in the two tables here. A test compares every answer that the
tests' clients get with the document.
"""

from collections.abc import Iterator, Mapping
from typing import Any

_EXAMPLE = {
    "type": "about:blank",
    "title": "Unprocessable Content",
    "status": 422,
    "detail": "The request is not valid: `label` is missing.",
    "errors": [{"pointer": "/label", "detail": "`label` is missing."}],
}
_PROBLEM: dict[str, Any] = {
    "type": "object",
    "title": "Problem",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "A sentence for people."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "detail"],
                "properties": {
                    "pointer": {"type": "string", "description": "JSON pointer into the body, or `?name` of a query."},
                    "line": {"type": "integer", "description": "Of a bulk body."},
                    "detail": {"type": "string"},
                },
            },
        },
    },
    "examples": [_EXAMPLE],
}
SCHEMAS: dict[str, Any] = {"Problem": _PROBLEM}

_RETRY_AFTER = {"Retry-After": {"description": "Seconds.", "schema": {"type": "string", "pattern": "^[0-9]+$"}}}
_CHALLENGE = {"WWW-Authenticate": {"description": "`Bearer`.", "schema": {"type": "string"}}}
_ALLOW = {"Allow": {"description": "The methods that this path takes.", "schema": {"type": "string"}}}
#: By status: name among the document's responses, what it means, and the headers that come with it.
_ERRORS: Mapping[str, tuple[str, str, Mapping[str, Any]]] = {
    "400": ("Unreadable", "The request or its body cannot be read: no HTTP, not well-formed JSON.", {}),
    "401": ("Unauthenticated", "No API key, or none that is valid.", _CHALLENGE),
    "403": ("Forbidden", "The key lacks a scope; `detail` names it.", {}),
    "404": ("NotFound", "What the path or a filter names is not there.", {}),
    "405": ("NotAllowed", "This path does not take this method.", _ALLOW),
    "408": ("TooSlow", "The request did not come whole in time.", {}),
    "409": ("Conflict", "The present state forbids it, or the `Idempotency-Key` was used for another request.", {}),
    "413": ("TooLarge", "The body is too large.", {}),
    "414": ("LongUrl", "The URL is too long.", {}),
    "415": ("WrongType", "The body's `Content-Type` is none of those that are taken.", {}),
    "422": ("Invalid", "A field or parameter is wrong or unknown; `errors` says which.", {}),
    "429": ("TooMany", "Too many requests with this key, or too many wrong keys from this network.", _RETRY_AFTER),
    "431": ("LongHeaders", "The headers are too large, or too many.", {}),
    "503": ("Away", "Not now: the database is away, or too much is waiting. Send it again.", _RETRY_AFTER),
}
#: Writing operations that meet no state: they store nothing.
_STATELESS = ("/preview", "/test", "/check")
#: Beyond the rules: (method, path) → statuses.
_MORE: Mapping[tuple[str, str], frozenset[str]] = {
    ("get", "/v1/deliveries/{id}/outbox"): frozenset({"409"}),
    ("get", "/v1/receipts/unmatched"): frozenset({"404"}),
    ("post", "/v1/receipts/unmatched/retry"): frozenset({"404"}),
    ("get", "/v1/receipts/rejected"): frozenset({"404"}),
    ("post", "/v1/receipts/rejected/retry"): frozenset({"404"}),
}


def _response(status: str) -> dict[str, Any]:
    _, description, headers = _ERRORS[status]
    response: dict[str, Any] = {"description": description, "content": _content()}
    return response | ({"headers": dict(headers)} if headers else {})


def _content() -> dict[str, Any]:
    return {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}, "example": _EXAMPLE}}


RESPONSES: dict[str, Any] = {name: _response(status) for status, (name, _, _) in _ERRORS.items()}


def complete(path: str, method: str, operation: dict[str, Any], *, secured: bool) -> None:
    """Puts every error that `operation` can answer into its responses, each in the one shape."""
    responses = operation["responses"]
    for status, response in list(responses.items()):
        if status in _ERRORS and not {"text/html", "application/problem+json"} & set(response.get("content", {})):
            responses[status] = _own(status, response)
    for status in sorted(_statuses(path, method, operation, secured=secured)):
        responses.setdefault(status, {"$ref": f"#/components/responses/{_ERRORS[status][0]}"})


def _own(status: str, response: Mapping[str, Any]) -> dict[str, Any]:
    """An error that its operation describes in its own words; FastAPI's of a wrong field are nobody's."""
    if "HTTPValidationError" in str(response):
        return {"$ref": f"#/components/responses/{_ERRORS[status][0]}"}
    return _response(status) | {"description": response["description"]}


def _statuses(path: str, method: str, operation: Mapping[str, Any], *, secured: bool) -> Iterator[str]:
    yield from ("400", "414", "431")
    if "requestBody" in operation:
        yield from ("408", "413")
    if not secured:
        return
    yield from ("401", "403", "422", "429", "503")
    if "requestBody" in operation:
        yield "415"
    if "{" in path:
        yield "404"
    if method != "get" and not path.endswith(_STATELESS):
        yield "409"
    yield from _MORE.get((method, path), ())
