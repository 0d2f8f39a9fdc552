"""A receipt as the inbox keeps it, and an inbound message: one flat row, made safe for the database at the door. (A click
is made in `app/links/clicks.py`; what is known of each kind stands in `kinds.py`.)

The row is cropped and cleaned here once, so that nothing a gateway sends can make a whole COPY fail.
"""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from hashlib import blake2b
from typing import Any, Literal, NamedTuple

from app.gateways.ids import canonical
from app.gateways.receipt import MAX_ID_LENGTH, Gateway, Inbound, Outcome, Receipt
from app.gateways.times import YEARS
from app.inbound.rules import number
from app.qualifications.rules import KEY_LENGTH, SOURCE_LENGTH, failure_key, of_source

_STATUS_LENGTH = 64
_CODE_LENGTH = 64
_TEXT_LENGTH = 500
_MESSAGE_LENGTH = 5_000
_NUMBER_LENGTH = 64
_SMALLINT = 32_767
_MOST_MONEY = Decimal(10) ** 12
#: What is written down; a table, because an enum's `value` is slow.
_STATUS = {each: None if each is Outcome.UNKNOWN else each.value for each in Outcome}


class InboxRow(NamedTuple):
    """Columns of table `inbox`, in the order of COPY. `status` None: a word the adapter does not know."""

    gateway_id: int
    received_at: datetime
    provider_message_id: str | None
    raw_message_id: str | None
    reference: str | None
    status: str | None
    status_text: str
    error_code: str | None
    error_text: str | None
    failure_key: str | None
    occurred_at: datetime | None
    part: int | None
    parts: int | None
    price: Decimal | None
    currency: str | None
    network: str | None
    fingerprint: int
    verified: bool
    raw: bytes
    details: Mapping[str, Any] | None


class InboundRow(NamedTuple):
    """Columns of table `inbound`, in the order of COPY."""

    gateway_id: int
    received_at: datetime
    address: str
    recipient: str | None
    text: str
    provider_message_id: str | None
    verified: bool
    raw: bytes
    opt_out: str | None = None
    part_reference: str | None = None
    part: int | None = None
    parts: int | None = None


#: Of what is set aside: a callback that could not be read, one whose signature failed; a receipt, a reply or a click that
#: could not be stored or applied; a row of a spool that could not be read.
Shelved = Literal["unreadable", "refused", "receipt", "reply", "click", "spooled"]


class RejectedRow(NamedTuple):
    """Columns of table `rejected`, in the order of COPY."""

    id: str
    gateway_id: int | None
    received_at: datetime
    reason: str
    request: Mapping[str, Any]
    raw: bytes
    kind: Shelved = "unreadable"


def inbox_row(gateway: Gateway, receipt: Receipt, received_at: datetime, *, vouched: bool = False) -> InboxRow:
    """`receipt` as it goes into the inbox of `gateway`. `received_at` is ours: aware, UTC. `vouched`: an API key posted it,
    which vouches for what it says even where the gateway's own callbacks prove nothing."""
    status_text = clean(receipt.status, _STATUS_LENGTH) or ""
    error_code = clean(receipt.error_code, _CODE_LENGTH)
    error_text = clean(receipt.error_text, _TEXT_LENGTH)
    raw_id = clean(receipt.provider_message_id, MAX_ID_LENGTH)
    message_id = raw_id and canonical(raw_id, gateway.options.receipt_id_format)
    occurred_at = _sane(receipt.occurred_at)
    failed = receipt.outcome is Outcome.FAILED
    return InboxRow(
        gateway.id,
        received_at,
        message_id or None,
        raw_id if raw_id != message_id else None,
        clean(receipt.reference, MAX_ID_LENGTH) or None,
        _STATUS[receipt.outcome],
        status_text,
        error_code,
        error_text,
        _key(receipt, error_code, error_text) if failed else None,
        occurred_at,
        _small(receipt.part),
        _small(receipt.parts),
        _money(receipt.price),
        clean(receipt.currency, 8),
        clean(receipt.network, 32),
        fingerprint(status_text, error_code, error_text, occurred_at, receipt),
        vouched or gateway.auth.mode != "none",
        receipt.raw,
        receipt.details or None,
    )


def inbound_row(gateway: Gateway, message: Inbound, received_at: datetime) -> InboundRow:
    """`message` as it is kept. Who wrote it is in E.164 wherever it is a possible number, else as the gateway wrote it."""
    return InboundRow(
        gateway.id,
        received_at,
        sender_number(gateway, message) or clean(message.sender.strip(), _NUMBER_LENGTH) or "",
        clean(message.recipient, _NUMBER_LENGTH) or None,
        clean(message.text, _MESSAGE_LENGTH) or "",
        clean(message.provider_message_id, MAX_ID_LENGTH) or None,
        gateway.auth.mode != "none",
        message.raw,
        message.opt_out,
        clean(message.part_reference, _NUMBER_LENGTH),
        _small(message.part),
        _small(message.parts),
    )


def sender_number(gateway: Gateway, message: Inbound) -> str | None:
    """Who wrote `message`, in E.164; None when that is no phone number, or nobody can tell which."""
    return number(message.sender, gateway.options.country, message.numbering)


def _key(receipt: Receipt, error_code: str | None, error_text: str | None) -> str:
    """Last part of the qualification's key: the adapter's own where the gateway has no field for a code."""
    key = clean(receipt.failure_key, KEY_LENGTH) or failure_key(error_code, error_text)
    return key if receipt.failure_source is None else of_source(key, clean(receipt.failure_source, SOURCE_LENGTH) or "")


def fingerprint(
    status_text: str, error_code: str | None, error_text: str | None, occurred_at: datetime | None, receipt: Receipt
) -> int:
    """Equal for repeats of the same report about the same id: 64 bits over what the gateway said and when it happened.

    The raw body is left out on purpose: some providers count their attempts in it."""
    details = receipt.details
    local = details and (details.get("occurred_at_local") or details.get("done_date_raw"))
    text = said(
        receipt.outcome, status_text, error_code, error_text, occurred_at, local, receipt.failure_key, receipt.part
    )
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)


def said(
    outcome: Outcome,
    status_text: str,
    error_code: str | None,
    error_text: str | None,
    occurred_at: datetime | None,
    local: object,
    failure_key: str | None,
    part: int | None,
) -> str:
    """What a fingerprint is made of. Once there are receipts it must not change: repeats are recognised by it."""
    at = occurred_at and occurred_at.timestamp()
    return f"{outcome}\0{status_text}\0{error_code}\0{error_text}\0{at}\0{local}\0{failure_key}\0{part}"


def clean(text: str | None, longest: int) -> str | None:
    """`text` cropped, without what PostgreSQL cannot hold: NUL and lone surrogates become U+FFFD."""
    if text is None:
        return None
    if len(text) > longest:
        text = text[:longest]
    if "\0" in text:
        text = text.replace("\0", "�")
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _small(number: int | None) -> int | None:
    return number if number is not None and 0 <= number <= _SMALLINT else None


def _money(price: Decimal | None) -> Decimal | None:
    return price if price is not None and price.is_finite() and abs(price) < _MOST_MONEY else None


def _sane(at: datetime | None) -> datetime | None:
    return at if at is not None and at.year in YEARS else None
