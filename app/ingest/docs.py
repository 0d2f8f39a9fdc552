"""What OpenAPI says of the endpoints that stream their bodies and so declare no model: schemas and examples by hand."""

from typing import Any

import orjson

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
_BULK_EXAMPLE = {"accepted": 2, "rejected": 1, "errors": [{"line": 3, "detail": "There is no such gateway."}]}


def _bulk(
    properties: dict[str, Any], required: list[str], rows: list[dict[str, Any]], *, status: int = 200
) -> dict[str, Any]:
    row = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    lines = "\n".join(_line(each) for each in rows)
    header = list(dict.fromkeys(name for each in rows for name in each))
    table = "\n".join([",".join(header), *(",".join(str(each.get(name, "")) for name in header) for each in rows)])
    body = {
        "required": True,
        "content": {
            "application/x-ndjson": {"schema": {"type": "string"}, "example": lines},
            "text/csv": {"schema": {"type": "string"}, "example": table},
            "application/json": {"schema": {"type": "array", "items": row}, "example": rows},
        },
    }
    answers = {
        status: _answer("What became of the rows; the first 100 errors.", _BULK_ANSWER, _BULK_EXAMPLE),
        422: {
            "description": "Not one row could be accepted.",
            "content": {"application/problem+json": {"schema": _BULK_ANSWER}},
        },
    }
    return {"openapi_extra": {"requestBody": body}, "responses": answers, "response_model": None}


def _line(row: dict[str, Any]) -> str:
    return orjson.dumps(row).decode()


def _answer(description: str, schema: dict[str, Any], example: Any) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema, "example": example}}}


def _page(description: str, example: dict[str, Any]) -> dict[str, Any]:
    page = {"items": [example], "next_cursor": None, "total": 1}
    return {"responses": {200: _answer(description, {"type": "object"}, page)}, "response_model": None}


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
    [
        {"gateway": "acme", "provider_message_id": "2567", "status": "delivered", "occurred_at": "2026-11-23T08:00:00Z"},
        {"gateway": "acme", "reference": "order-13002", "status": "failed", "error_code": "069"},
    ],
    status=202,
)  # fmt: skip
MESSAGES = _bulk(
    {"address": _TEXT, **_IDS, "reference": _TEXT, "recipient_id": _TEXT, "gateway": _TEXT, "submitted_at": _TIME},
    ["address"],
    [
        {"address": "+34600000001", "provider_message_id": "2567", "recipient_id": "c-1"},
        {"address": "+34600000002", "provider_message_id": "2568", "reference": "order-13002"},
    ],
)
SUBMISSIONS = _bulk(
    {
        "message_id": _TEXT, "reference": _TEXT, **_IDS, "gateway": _TEXT, "submitted_at": _TIME, "error_code": _TEXT,
        "error_text": _TEXT,
    },
    [],
    [
        {"message_id": "1", "provider_message_id": "2567", "submitted_at": "2026-11-23T08:00:00Z"},
        {"message_id": "2", "error_code": "11", "error_text": "Invalid destination"},
    ],
)  # fmt: skip
_LINK_ROWS: list[dict[str, Any]] = [
    {"reference": "order-13002", "address": "+34600000002", "url": "https://shop.example/offer"},
    {"message_id": "17", "link": 0},
]
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
_REGISTERED = {
    "number": 0, "label": "Offer", "source_url": "https://shop.example/offer", "tracked": True, "params": {},
    "in_content": False, "type": "fixed",
}  # fmt: skip
_SHORT = {
    "line": 1, "message_id": "16", "reference": "order-13002", "link": 0, "short_url": "https://go.example/3kTq9Zp2",
}  # fmt: skip
LINKS: dict[str, Any] = {
    "openapi_extra": {
        "requestBody": {
            "required": True,
            "content": {
                "application/x-ndjson": {"schema": _TEXT, "example": "\n".join(map(_line, _LINK_ROWS))},
                "text/csv": {
                    "schema": _TEXT,
                    "example": "reference,address,link\norder-13002,+34600000002,0\norder-13003,+34600000003,0\n",
                },
                "application/json": {
                    "schema": {"oneOf": [_NEW_LINK_SCHEMA, {"type": "array", "items": _LINK_SCHEMA}]},
                    "example": {"url": "https://shop.example/offer", "label": "Offer"},
                },
            },
        }
    },
    "responses": {
        200: {
            "description": "A line for each row, with its short URL or with what is wrong; of a JSON object the link, as it "
            "stands already.",
            "content": {
                "application/x-ndjson": {"schema": _TEXT, "example": _line(_SHORT) + "\n"},
                "application/json": {"schema": {"type": "object"}, "example": _REGISTERED},
            },
        },
        201: _answer("The link, new.", {"type": "object"}, _REGISTERED),
        422: {
            "description": "Not one row could be accepted.",
            "content": {"application/problem+json": {"schema": _BULK_ANSWER}},
        },
    },
    "response_model": None,
}
_WAITING = {
    "id": "17", "gateway": "acme", "provider_message_id": "A07", "reference": None, "receipts": 2, "status": "DELIVRD",
    "since": "2026-11-23T08:00:00Z", "last_receipt_at": "2026-11-23T08:00:09Z",
    "cause": "No submission to acme has told this id yet.", "sample": "id:A07 stat:DELIVRD", "sample_bytes": 19,
}  # fmt: skip
_SET_ASIDE = {
    "id": "rj_0f3c", "kind": "unreadable", "gateway": "acme", "received_at": "2026-11-23T08:00:00Z",
    "reason": "The body is not JSON.",
    "request": {"method": "POST", "query": "", "content_type": "application/json", "reference": None}, "raw": "{",
    "raw_bytes": 1, "retried_at": None,
}  # fmt: skip
UNMATCHED = _page("What waits.", _WAITING)
REJECTED = _page("What was set aside, kept raw.", _SET_ASIDE)
ONE_UNMATCHED: dict[str, Any] = {
    "responses": {200: _answer("What waits.", {"type": "object"}, _WAITING)}, "response_model": None
}  # fmt: skip
ONE_REJECTED: dict[str, Any] = {
    "responses": {200: _answer("What was set aside.", {"type": "object"}, _SET_ASIDE)}, "response_model": None
}  # fmt: skip
RETRIED: dict[str, Any] = {
    "responses": {
        200: _answer("What became of them.", {"type": "object"}, {"renamed": 0, "matched": 12, "conflicts": 0})
    },
    "response_model": None,
}
