"""What OpenAPI says of messages, submissions and short URLs in bulk."""

from typing import Any

from app.api.bulk import described
from app.api.described import NOT_ONE, TEXT, TEXT_OR_NONE, TIME, answer, bulk

_IDS = {"provider_message_id": TEXT, "provider_message_ids": {"type": "array", "items": TEXT}}
MESSAGES = bulk(
    {
        "address": TEXT,
        **_IDS,
        "reference": TEXT,
        "recipient_id": TEXT,
        "gateway": TEXT,
        "submitted_at": TIME,
        "metadata": {"type": "object"},
    },
    ["address"],
)
SUBMISSIONS = bulk(
    {
        "message_id": TEXT, "reference": TEXT, **_IDS, "gateway": TEXT, "submitted_at": TIME, "error_code": TEXT,
        "error_text": TEXT,
    },
    [],
)  # fmt: skip
_LINK_SCHEMA = {
    "type": "object",
    "properties": {
        "message_id": TEXT, "reference": TEXT, "address": TEXT, "recipient_id": TEXT, "gateway": TEXT, "url": TEXT,
        "link": {"type": "integer"},
    },
    "additionalProperties": False,
}  # fmt: skip
_NEW_LINK_SCHEMA = {
    "type": "object", "properties": {"url": TEXT, "label": TEXT_OR_NONE}, "required": ["url"], "additionalProperties": False,
}  # fmt: skip
LINKS: dict[str, Any] = {
    "openapi_extra": described({"oneOf": [_NEW_LINK_SCHEMA, {"type": "array", "items": _LINK_SCHEMA}]}),
    "responses": {
        200: {
            "description": "A line for each row, with its short URL or with what is wrong; of a JSON object the link, as it "
            "stands already.",
            "content": {"application/x-ndjson": {"schema": TEXT}, "application/json": {"schema": {"type": "object"}}},
        },
        201: answer("The link, new."),
        422: NOT_ONE,
    },
    "response_model": None,
}
