"""Our own format: for providers without an adapter, for scripts, and for `POST /v1/receipts`.

    {"provider_message_id": "77", "status": "delivered", "occurred_at": "2026-03-04T10:15:42Z"}

The body is one JSON object, a JSON array, or lines of JSON (`Content-Type: application/x-ndjson`). A row names its
message by `provider_message_id` or `reference`, and has a `status`; all else is optional, and null or "" is absent. What
is optional never costs a receipt: where it cannot be read, it is left out, and a warning says so.
A message from a phone to us has a `type`, and may stand among receipts:

    {"type": "inbound", "from": "+34600000000", "to": "5555", "text": "STOP", "provider_message_id": "mo-1"}

`to` and `provider_message_id` are optional; give the id, so that a message sent again is recognised. So is `opt_out_type`,
STOP, START or HELP, where the provider itself took the message for one; and of a long message in pieces `part`, `parts` and
`part_reference`, which is common to them.
Own signature: `X-Acuse-Signature: sha256=` and the HMAC-SHA256 of the body, in hexadecimal, keyed with a secret.

Rows are read by hand, not by pydantic: the bulk endpoint reads tens of thousands a second (figures in README.md).
"""

import hmac
import math
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import orjson

from app.gateways import amounts, bounds, ids, smpp_text, times
from app.gateways.auth import header_octets, hmac_hex
from app.gateways.bodies import lines, read_items
from app.gateways.receipt import (
    MAX_ID_LENGTH,
    Adapter,
    Auth,
    Callback,
    Gateway,
    Inbound,
    Item,
    OptOut,
    Outcome,
    Qualification,
    Receipt,
    Unreadable,
)
from app.gateways.texts import TEXT_LENGTH, WORD_LENGTH, shown

SIGNATURE_HEADER = "x-acuse-signature"

#: Their words in any case. `no_receipt` is ours alone (the clock says it) and would be unknown here.
_WORDS = {
    Outcome.ACCEPTED: "pending submitted accepted queued scheduled buffered",
    Outcome.SENT: "sending sent enroute",
    Outcome.RECEIVED: "received delivered read",
    Outcome.FAILED: "failed undelivered undeliverable expired rejected deleted skipped canceled cancelled",
}
_UPPER = {
    **{spelling: smpp_text.OUTCOMES[word] for spelling, word in smpp_text.SPELLINGS.items()},
    **{word.upper(): outcome for outcome, words in _WORDS.items() for word in words.split()},
}
OUTCOMES: Mapping[str, Outcome] = {**{word.lower(): outcome for word, outcome in _UPPER.items()}, **_UPPER}


class Fault(Exception):
    """What is wrong with one row, as a sentence for its sender. It never repeats a value: it could be an address."""


class _Aside(Exception):
    """What is wrong with a field that a receipt is true without: the sentence goes along with it as a warning."""

    def __init__(self, sentence: str, *, instead: object = None, **details: object) -> None:
        """`instead`: what the field is read as nevertheless; None: it is left out."""
        super().__init__(sentence)
        self.instead = instead
        self.details = details


def parse(callback: Callback, gateway: Gateway) -> list[Item]:
    """Reads an object, an array or lines of JSON, item by item."""
    if callback.headers.get("content-type", "").lower().startswith("application/x-ndjson"):
        return _lines(callback.payload)
    return read_items(callback, lambda value, raw: _item(_with_reference(value, callback.reference), raw))


def _with_reference(value: object, reference: str | None) -> object:
    """The path's reference, for an object that has none itself."""
    if reference and isinstance(value, dict) and not value.get("reference"):
        return {**value, "reference": reference}
    return value


def verify_signature(callback: Callback, auth: Auth) -> bool:
    algorithm, _, given = callback.headers.get(SIGNATURE_HEADER, "").strip().partition("=")
    if algorithm.lower() != "sha256":
        return False
    digest = header_octets(given.lower())
    return any(secret and hmac.compare_digest(digest, hmac_hex(secret, callback.body)) for secret in auth.secrets)


def why_refused(callback: Callback, auth: Auth) -> str | None:
    if callback.headers.get(SIGNATURE_HEADER, "").strip().partition("=")[0].lower() != "sha256":
        return f"The header {SIGNATURE_HEADER} does not begin with `sha256=`."
    return "The signature is not that of this body by one of this gateway's secrets."


def read_row(line: bytes) -> tuple[str | None, Receipt] | str:
    """One line of NDJSON: the `gateway` that it names, and its receipt; or what is wrong with it, as a sentence."""
    try:
        value = orjson.loads(line)
    except ValueError:
        return "not JSON"
    return read_value(value, line)


def read_value(value: object, raw: bytes = b"") -> tuple[str | None, Receipt] | str:
    """As `read_row`, for a row that is parsed already. `raw` is kept as it is given."""
    if type(value) is not dict:
        return "a receipt must be a JSON object"
    try:
        gateway = value.get("gateway")
        if gateway is not None and type(gateway) is not str:
            return "gateway must be a string"
        return gateway or None, _receipt(value, raw)
    except Fault as fault:
        return str(fault)


def read_object(value: object, raw: bytes = b"") -> Receipt | str:
    """As `read_value`, without the gateway."""
    row = read_value(value, raw)
    return row if isinstance(row, str) else row[1]


def read_csv(row: Mapping[str, str], raw: bytes = b"") -> tuple[str | None, Receipt] | str:
    """As `read_value`, for a row of CSV, where all is text."""
    return read_value(dict(row), raw)


def _lines(body: bytes) -> list[Item]:
    return [_line(line) for line in lines(body)] or [Unreadable(reason="the body is empty", raw=body)]


def _line(line: bytes) -> Item:
    if fault := bounds.depth_fault(line):
        return Unreadable(reason=f"the receipt {fault}", raw=line)
    try:
        value = orjson.loads(line)
    except ValueError:
        return Unreadable(reason="not JSON", raw=line)
    return _item(value, line)


def _item(value: object, raw: bytes) -> Item:
    if type(value) is dict and value.get("type") == "inbound":
        return _inbound(value, raw)
    receipt = read_object(value, raw)
    return Unreadable(reason=receipt, raw=raw) if isinstance(receipt, str) else receipt


def _inbound(row: dict[str, Any], raw: bytes) -> Item:
    try:
        given = {name: read(name, row[name]) for name, read in _INBOUND.items() if row.get(name) not in (None, "")}
        part, parts = (
            _part(name, row[name]) if row.get(name) not in (None, "") else None for name in ("part", "parts")
        )
        piece = _piece(given.get("part_reference"), part, parts)
    except (Fault, _Aside) as fault:
        return Unreadable(reason=str(fault), raw=raw)
    if "from" not in given:
        return Unreadable(reason="from is missing: an inbound message needs its sender", raw=raw)
    return Inbound(
        sender=given["from"],
        recipient=given.get("to"),
        text=given.get("text", ""),
        provider_message_id=given.get("provider_message_id"),
        opt_out=OPT_OUTS.get(given.get("opt_out_type", "").upper()),
        raw=raw,
        **piece,
    )


def _piece(reference: str | None, part: int | None, parts: int | None) -> dict[str, Any]:
    """Which piece of which long message it is. Raises `Fault` where that is half told."""
    if reference is None and part is None and parts is None:
        return {}
    if reference is None or part is None or parts is None or part > parts:
        raise Fault("part_reference, part and parts belong together, and part is at most parts")
    return {"part_reference": reference, "part": part, "parts": parts} if parts > 1 else {}


def _receipt(row: dict[str, Any], raw: bytes) -> Receipt:
    """Reads each field by its own reader, and translates the status by `OUTCOMES`. Raises `Fault`."""
    fields: dict[str, Any] = {}
    aside: list[_Aside] = []
    unknown: list[str] = []
    for name, value in row.items():
        if value is None or value == "":
            continue
        reader = _READERS.get(name)
        if reader is not None:
            try:
                fields[name] = reader(name, value)
            except _Aside as told:
                aside.append(told)
                if told.instead is not None:
                    fields[name] = told.instead
        elif name != "gateway":
            unknown.append(name)
    if "status" not in fields:
        raise Fault("status is missing")
    if "provider_message_id" not in fields and "reference" not in fields:
        raise Fault("provider_message_id or reference is needed: nothing says which message this is about")
    if "parts" in fields and fields.get("part", 1) > fields["parts"]:
        del fields["part"], fields["parts"]
        aside.append(_Aside("part is greater than parts: neither was read"))
    status = fields["status"]
    outcome = OUTCOMES.get(status) or OUTCOMES.get(status.upper(), Outcome.UNKNOWN)
    if unknown or aside:
        return Receipt(outcome=outcome, raw=raw, details=_details(aside, unknown), **fields)
    return Receipt(outcome=outcome, raw=raw, **fields)


def _details(aside: list[_Aside], unknown: list[str]) -> dict[str, Any]:
    """Kept in `raw` and told, not refused: a receipt is true, whatever else its sender writes beside it."""
    found: dict[str, Any] = {
        "warnings": [str(each) for each in aside] + ([_unknown_fields(unknown)] if unknown else [])
    }
    for each in aside:
        found |= each.details
    return found


def _unknown_fields(names: list[str]) -> str:
    known = [name for name in names[:5] if _FIELD_NAME.fullmatch(name)]
    return f"fields that are not known were not read: {', '.join(known) or len(names)}"


def _word(name: str, value: object) -> str:
    if type(value) is not str:
        raise Fault(f"{name} must be a string")
    if len(value) > WORD_LENGTH:
        raise Fault(f"{name} is longer than {WORD_LENGTH} characters")
    if "\x00" in value:
        raise Fault(f"{name} contains a NUL character")
    return value


def _message(name: str, value: object) -> str:
    """A whole SMS, of many parts perhaps."""
    if type(value) is not str:
        raise Fault(f"{name} must be a string")
    return shown(value, 10 * TEXT_LENGTH)


def _id(name: str, value: object) -> str:
    if type(value) is not str:
        raise Fault(f"{name} must be a string")
    if len(value) > MAX_ID_LENGTH or "\x00" in value:
        raise Fault(ids.fault(name, value) or "")
    if value.isspace():
        raise Fault(f"{name} is blank")
    return value


# --- fields that a receipt is true without ---------------------------------------------------------------------------


def _shown(name: str, value: object) -> str:
    """For people: a longer text is cropped."""
    return shown(_written(name, value))


def _named(name: str, value: object) -> str:
    """A word that is counted or looked up."""
    if type(value) is str and len(value) <= WORD_LENGTH and "\x00" not in value:
        return value
    word = _written(name, value)
    if len(word) > WORD_LENGTH:
        raise _Aside(f"{name} was cropped to {WORD_LENGTH} characters", instead=shown(word, WORD_LENGTH))
    return shown(word)


def _written(name: str, value: object) -> str:
    """A whole number is an error code, a network, a phone number in many APIs, and as text it is the same."""
    if type(value) is str:
        return value
    number = _whole(value)
    if number is None:
        raise _Aside(f"{name} was not read: it must be a string")
    return str(number)


def _whole(value: object) -> int | None:
    """A whole number, also as programs write it that know no others than those with a point: 5.0."""
    if isinstance(value, float):
        value = Decimal(value) if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return int(value) if value.is_finite() and abs(value) < 10**15 and value == int(value) else None
    return value if type(value) is int and abs(value) < 10**18 else None


def _time(name: str, value: object) -> datetime:
    when = (times.rfc3339(value) or times.read(value)) if type(value) is str else None
    if when is None or when.year not in times.YEARS:
        raise _Aside(f"{name} was not read: it must be a time with its zone, such as 2026-03-04T10:15:42Z (RFC 3339)")
    if when.tzinfo is None:
        sentence = f"{name} was not read: it names no zone, as 2026-03-04T10:15:42Z does"
        raise _Aside(sentence, **{f"{name}_local": when.isoformat()})
    return when


def _part(name: str, value: object) -> int:
    number = int(value.partition(".")[0]) if type(value) is str and _SMALL.fullmatch(value) else _whole(value)
    if number is None or not 1 <= number <= 255:
        raise _Aside(f"{name} was not read: it must be a whole number from 1 to 255")
    return number


def _price(name: str, value: object) -> Decimal:
    found = amounts.amount(value)
    if found is None:
        raise _Aside(f"{name} was not read: it must be a decimal below a thousand million, such as 0.0071")
    kept = found.quantize(_MILLIONTH)
    if kept != found:
        raise _Aside(f"{name} was rounded to 6 digits behind the point", instead=kept)
    return found


def _currency(name: str, value: object) -> str:
    text = value.strip() if type(value) is str else ""
    if len(text) != 3 or not (text.isascii() and text.isalpha()):
        raise _Aside(f"{name} was not read: it must be three letters, such as EUR (ISO 4217)")
    return text.upper()


_FIELD_NAME = re.compile(r"[A-Za-z_]{1,40}")
_SMALL = re.compile(r"[0-9]{1,3}(\.0+)?", re.ASCII)
_MILLIONTH = Decimal("0.000001")
_READERS: Mapping[str, Callable[[str, object], Any]] = {
    "provider_message_id": _id,
    "reference": _id,
    "status": _word,
    "error_code": _named,
    "error_text": _shown,
    "occurred_at": _time,
    "price": _price,
    "currency": _currency,
    "network": _named,
    "part": _part,
    "parts": _part,
    "address": _named,
}

_INBOUND: Mapping[str, Callable[[str, object], str]] = {
    "from": _word,
    "to": _word,
    "text": _message,
    "provider_message_id": _id,
    "opt_out_type": _word,
    "part_reference": _word,
}
#: What a provider took a message for.
OPT_OUTS: Mapping[str, OptOut] = {"STOP": "denylist", "START": "allow", "HELP": "none"}

_CANCELLED = Qualification(
    failure_type="ignored",
    reason="error_ignored",
    sentence="The message was cancelled at the provider before it was sent. Says nothing about the phone.",
)

ADAPTER = Adapter(
    kind="generic",
    label="Generic (JSON)",
    source="Acuse: docs, POST /v1/receipts",
    methods=frozenset({"POST"}),
    parse=parse,
    auth_modes=("token", "basic", "bearer", "signature", "none"),
    verify_signature=verify_signature,
    signature_header=SIGNATURE_HEADER,
    why_refused=why_refused,
    # The states of SMPP by their words; an error code is whatever the sender means by it, and an operator qualifies it.
    qualifications={**smpp_text.QUALIFICATIONS, ("CANCELED", ""): _CANCELLED, ("CANCELLED", ""): _CANCELLED},
)
