"""What OpenAPI says of the endpoints that stream their bodies and so declare no model: their schemas, by hand."""

from typing import Any

from app.api.bulk import described

_BULK_ANSWER = {
    "type": "object",
    "properties": {
        "accepted": {"type": "integer"},
        "rejected": {"type": "integer"},
        "errors": {
            "type": "array",
            "maxItems": 100,
            "items": {"type": "object", "properties": {"line": {"type": "integer"}, "detail": {"type": "string"}}},
        },
    },
}
_NOT_ONE = {
    "description": "Not one row could be accepted.",
    "content": {"application/problem+json": {"schema": _BULK_ANSWER}},
}


def _bulk(properties: dict[str, Any], required: list[str], *, status: int = 200) -> dict[str, Any]:
    row = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    answers = {status: _answer("What became of the rows; the first 100 errors.", _BULK_ANSWER), 422: _NOT_ONE}
    return {"openapi_extra": described({"type": "array", "items": row}), "responses": answers, "response_model": None}


def _answer(description: str, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema or {"type": "object"}}}}


_TEXT = {"type": "string"}
_TEXT_OR_NONE = {"type": ["string", "null"]}
_TIME = {"type": "string", "format": "date-time"}
_IDS = {"provider_message_id": _TEXT, "provider_message_ids": {"type": "array", "items": _TEXT}}

RECEIPTS = _bulk(
    {
        "gateway": _TEXT, "provider_message_id": _TEXT, "reference": _TEXT, "status": _TEXT, "error_code": _TEXT,
        "error_text": _TEXT, "occurred_at": _TIME, "price": {"type": ["string", "number"]}, "currency": _TEXT, "network": _TEXT,
        "part": {"type": "integer"}, "parts": {"type": "integer"},
    },
    ["gateway", "status"],
    status=202,
)  # fmt: skip
MESSAGES = _bulk(
    {"address": _TEXT, **_IDS, "reference": _TEXT, "recipient_id": _TEXT, "gateway": _TEXT, "submitted_at": _TIME},
    ["address"],
)
SUBMISSIONS = _bulk(
    {
        "message_id": _TEXT, "reference": _TEXT, **_IDS, "gateway": _TEXT, "submitted_at": _TIME, "error_code": _TEXT,
        "error_text": _TEXT,
    },
    [],
)  # fmt: skip
_LINK_SCHEMA = {
    "type": "object",
    "properties": {
        "message_id": _TEXT, "reference": _TEXT, "address": _TEXT, "recipient_id": _TEXT, "gateway": _TEXT, "url": _TEXT,
        "link": {"type": "integer"},
    },
    "additionalProperties": False,
}  # fmt: skip
_NEW_LINK_SCHEMA = {
    "type": "object", "properties": {"url": _TEXT, "label": _TEXT_OR_NONE}, "required": ["url"], "additionalProperties": False,
}  # fmt: skip
LINKS: dict[str, Any] = {
    "openapi_extra": described({"oneOf": [_NEW_LINK_SCHEMA, {"type": "array", "items": _LINK_SCHEMA}]}),
    "responses": {
        200: {
            "description": "A line for each row, with its short URL or with what is wrong; of a JSON object the link, as it "
            "stands already.",
            "content": {"application/x-ndjson": {"schema": _TEXT}, "application/json": {"schema": {"type": "object"}}},
        },
        201: _answer("The link, new."),
        422: _NOT_ONE,
    },
    "response_model": None,
}
UNMATCHED: dict[str, Any] = {"responses": {200: _answer("What waits.")}, "response_model": None}
REJECTED: dict[str, Any] = {"responses": {200: _answer("What was set aside, kept raw.")}, "response_model": None}
ONE_REJECTED: dict[str, Any] = {"responses": {200: _answer("What was set aside.")}, "response_model": None}
RETRIED: dict[str, Any] = {"responses": {200: _answer("What became of them.")}, "response_model": None}
