"""What OpenAPI says of endpoints that stream their bodies and so declare no model: schemas, by hand."""

from typing import Any

from app.api.bulk import described

READING = (
    "How the body was read: `format`, `encoding`, `separator`, `columns` (names in the first line, and the field each is;"
    " null: not read), `rows`, `blank_lines`, `findings` (`{code, detail, line, count}`; the line is the first), and the"
    " `first_rows` as they were written (`before`, only with `pii:read`) and as they are read (`after`)."
)
BULK_READING = {
    "type": "object",
    "description": READING,
    "properties": {
        "format": {"enum": ["csv", "ndjson", "json"]},
        "encoding": {"type": "string"},
        "separator": {"type": ["string", "null"]},
        "columns": {"type": ["object", "null"], "additionalProperties": {"type": ["string", "null"]}},
        "dry_run": {"type": "boolean"},
        "rows": {"type": "integer"},
        "blank_lines": {"type": "integer"},
        "findings": {"type": "array", "items": {"type": "object"}},
        "first_rows": {"type": "array", "items": {"type": "object"}},
    },
}
_LINES = {
    "type": "array",
    "maxItems": 100,
    "items": {"type": "object", "properties": {"line": {"type": "integer"}, "detail": {"type": "string"}}},
}
_BULK_ANSWER = {
    "type": "object",
    "properties": {
        "accepted": {"type": "integer"},
        "rejected": {"type": "integer"},
        "errors": _LINES,
        "warnings": _LINES | {"description": "Only where there are some: of rows that were taken all the same."},
        "reading": BULK_READING,
    },
}
NOT_ONE = {
    "description": "Not one row could be accepted.",
    "content": {"application/problem+json": {"schema": _BULK_ANSWER}},
}


def bulk(properties: dict[str, Any], required: list[str], *, status: int = 200) -> dict[str, Any]:
    row = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    answers: dict[int | str, dict[str, Any]] = {
        200: answer("With `dry_run`: what would become of the rows.", _BULK_ANSWER)
    }
    answers |= {status: answer("What became of the rows; the first 100 errors.", _BULK_ANSWER), 422: NOT_ONE}
    return {"openapi_extra": described({"type": "array", "items": row}), "responses": answers, "response_model": None}


def answer(description: str, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema or {"type": "object"}}}}


TEXT = {"type": "string"}
TEXT_OR_NONE = {"type": ["string", "null"]}
TIME = {"type": "string", "format": "date-time"}
