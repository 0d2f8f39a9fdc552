"""The fast lane of bulk receipts: rows that say only which message, what, and when.

Most rows of `POST /v1/receipts` are such. They become inbox rows at once, in about a third of the time that reading,
checking and flattening any row takes; whatever is not as plain as that takes the ordinary road. A property test holds
the two equal (tests/ingest/test_plain.py).
"""

from collections.abc import Callable
from datetime import datetime
from hashlib import blake2b

import orjson

from app.gateways.generic import OUTCOMES
from app.gateways.receipt import Gateway, Outcome
from app.gateways.times import rfc3339
from app.ingest.rows import YEARS, InboxRow, said

_NAMES = {"gateway", "provider_message_id", "status", "occurred_at"}
_ID_LENGTH = 64
#: Their word → ours, and how the text begins that the fingerprint is made of. Failures have a key to find: not plain.
_PLAIN = {
    word: (outcome.value, said(outcome, word, None, None, None, {}, None, None).partition("\0None\0{}")[0])
    for word, outcome in OUTCOMES.items()
    if outcome in (Outcome.ACCEPTED, Outcome.SENT, Outcome.RECEIVED)
}


def plain_row(line: bytes, gateway_of: Callable[[str], Gateway | None], received_at: datetime) -> InboxRow | None:
    """The inbox row of one line of NDJSON; None when it is not plain, for whatever reason."""
    try:
        row = orjson.loads(line)
        if len(row) != 4 or row.keys() != _NAMES:
            return None
        message_id, at = row["provider_message_id"], row["occurred_at"]
        outcome, begin = _PLAIN[row["status"]]
        occurred_at = rfc3339(at) if at.endswith("Z") else None
        gateway = gateway_of(row["gateway"])
        if not (message_id.isascii() and message_id.isprintable() and len(message_id) <= _ID_LENGTH):
            return None
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    if gateway is None or occurred_at is None or occurred_at.year not in YEARS or " " in message_id or not message_id:
        return None
    if gateway.options.receipt_id_format != "as_is":
        return None
    digest = blake2b(f"{begin}\0{occurred_at.timestamp()}\0{{}}\0None\0None".encode(), digest_size=8).digest()
    return InboxRow(
        gateway.id, received_at, message_id, None, None, outcome, row["status"], None, None, None, occurred_at,
        None, None, None, None, None, int.from_bytes(digest, "big", signed=True), gateway.auth.mode != "none", line, None,
    )  # fmt: skip
