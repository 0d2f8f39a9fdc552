"""What OpenAPI says of receipts in bulk, and of what waits or was set aside."""

from typing import Any

from app.api.described import TEXT, TIME, answer, bulk

_PROPERTIES: dict[str, Any] = {
    "gateway": TEXT, "provider_message_id": TEXT, "reference": TEXT, "status": TEXT, "error_code": TEXT, "error_text": TEXT,
    "occurred_at": TIME, "price": {"type": ["string", "number"]}, "currency": TEXT, "network": TEXT, "part": {"type": "integer"},
    "parts": {"type": "integer"},
}  # fmt: skip
#: What a row may hold.
FIELDS = tuple(_PROPERTIES)
RECEIPTS = bulk(_PROPERTIES, ["gateway", "status"], status=202)
ONE_UNMATCHED: dict[str, Any] = {"responses": {200: answer("What waits.")}, "response_model": None}
ONE_REJECTED: dict[str, Any] = {"responses": {200: answer("What was set aside.")}, "response_model": None}
RETRIED: dict[str, Any] = {"responses": {200: answer("What became of them.")}, "response_model": None}
