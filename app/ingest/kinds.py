"""The kinds of rows that are appended, each one line of one table: which table takes it, its mark on the spool, what it is called
when it is set aside, and its like. With it, how a row of any kind stands on the spool and among the dead letters, and comes back.

The *like* of a row is one of the same kind and gateway without anything that somebody else has said: it goes the same way as
the row that failed, into the same table by the same statement. What strikes it too is not the row's fault.
"""

import base64
import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

import orjson

from app.ingest import fast_rows
from app.ingest.fast_rows import PlainRow
from app.ingest.rows import InboundRow, InboxRow, RejectedRow, Shelved, clean
from app.links.clicks import ClickRow
from app.links.clicks import new_id as new_click_id

WholeRow = InboxRow | InboundRow | RejectedRow | ClickRow
Row = WholeRow | PlainRow
#: What waits in the inbox to be applied.
Kind = Literal["receipt", "reply", "click"]
#: What a probe says where something must be said.
PROBE = "acuse-probe"
#: A possible number that no phone has; a probe's decision about it is taken back with the probe.
PROBE_ADDRESS = "+34600000000"
_ESCAPED = "\\"


@dataclass(frozen=True, slots=True, kw_only=True)
class RowKind:
    """One kind of row: a table, and what must be known of it."""

    row: Any
    table: str
    #: What it is called when it is set aside.
    name: Shelved
    #: Before each row on the spool. Some are what they are because spools outlive versions: what an older one left is read.
    mark: bool | str
    #: The like of a row, harmless in everything but its kind and gateway; of None: one of nobody's.
    like: Callable[[Any], Any]


def new_id() -> str:
    """An id for what is set aside, known before it is stored, so that the sender can be told it."""
    return "rj_" + uuid.uuid4().hex


def kind_of(row: Row) -> RowKind:
    return KINDS[type(row)]


def like(row: Row) -> WholeRow:
    made: WholeRow = kind_of(row).like(row)
    return made


def whole(row: Row) -> WholeRow:
    """`row` with its fields."""
    return fast_rows.whole(row) if isinstance(row, bytes) else row


# --- the like of each ------------------------------------------------------------------------------------------------


def _receipt_like(row: InboxRow | PlainRow | None) -> InboxRow:
    found = None if row is None else whole(row)
    nothing: dict[str, Any] = dict.fromkeys(InboxRow._fields)
    said = {"provider_message_id": PROBE, "status": "sent", "status_text": PROBE, "fingerprint": 0, "verified": True}
    gateway_id = found.gateway_id if isinstance(found, InboxRow) else 0
    return InboxRow(**nothing | said | {"gateway_id": gateway_id, "received_at": datetime.now(UTC), "raw": b"probe"})


def _reply_like(row: InboundRow | None) -> InboundRow:
    gateway_id = row.gateway_id if row else 0
    return InboundRow(gateway_id, datetime.now(UTC), PROBE_ADDRESS, None, "STOP", None, True, b"probe")


def _rejected_like(row: RejectedRow | None) -> RejectedRow:
    gateway_id, kind = (row.gateway_id, row.kind) if row else (0, "unreadable")
    return RejectedRow(new_id(), gateway_id, datetime.now(UTC), PROBE, {"method": "POST"}, b"probe", kind)


def _click_like(row: ClickRow | None) -> ClickRow:
    message_id, delivery_id, link = (row.message_id, row.delivery_id, row.link) if row else (0, 0, 0)
    now, version = datetime.now(UTC), row.rules_version if row else 0
    return ClickRow(
        new_click_id(), message_id, delivery_id, link, now, True, [], "phone", PROBE, {}, None, version
    )  # fmt: skip


_RECEIPT = RowKind(row=InboxRow, table="inbox", name="receipt", mark=False, like=_receipt_like)
#: By the type of the row. Plain rows are receipts whose COPY was written beforehand.
KINDS: Mapping[type, RowKind] = {
    InboxRow: _RECEIPT,
    bytes: _RECEIPT,
    InboundRow: RowKind(row=InboundRow, table="inbound", name="reply", mark="inbound", like=_reply_like),
    RejectedRow: RowKind(row=RejectedRow, table="rejected", name="unreadable", mark=True, like=_rejected_like),
    ClickRow: RowKind(row=ClickRow, table="click_inbox", name="click", mark="click", like=_click_like),
}
BY_NAME: Mapping[str, RowKind] = {kind.name: kind for kind in KINDS.values()}
_BY_MARK: Mapping[bool | str, RowKind] = {kind.mark: kind for kind in KINDS.values()}


# --- on the spool, and back ------------------------------------------------------------------------------------------


def pack(row: Row) -> bytes:
    """A row as JSON for the spool; `unpack` gives it back equal."""
    values = [kind_of(row).mark, *whole(row)]
    try:
        return orjson.dumps(values, default=_packed)
    except TypeError:
        # Half a character, or a number of more than 64 bits: the standard library writes them with escapes.
        return json.dumps(values, default=_packed).encode()


def unpack(data: bytes) -> WholeRow:
    """Also what older versions packed, whose rows may lack the last fields. Raises `ValueError`, `TypeError` or `KeyError`
    for what none of them did."""
    try:
        mark, *values = orjson.loads(data)
    except orjson.JSONDecodeError:
        mark, *values = json.loads(data)
    row = _BY_MARK[mark].row
    if len(values) > len(row._fields):
        raise ValueError("more fields than are known")
    made: WholeRow = row(**{name: _read(name, value) for name, value in zip(row._fields, values, strict=False)})
    return made


def _packed(value: object) -> object:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(type(value))


def _read(name: str, value: Any) -> Any:
    """The value of field `name`, of the JSON that it was packed as."""
    read = _READ.get(name)
    return value if read is None else read(value)


def _time(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value)


_READ: Mapping[str, Callable[[Any], Any]] = {
    "received_at": _time,
    "occurred_at": _time,
    "clicked_at": _time,
    "price": lambda value: None if value is None else Decimal(str(value)),
    "raw": base64.b64decode,
}


# --- among the dead letters, and back --------------------------------------------------------------------------------


def refusal(error: Exception) -> str:
    """Why a row was set aside. It names the error's kind only: its text could hold an address."""
    return f"The database refused this row: {type(error).__name__}."


def set_aside(row: Row, reason: str) -> RejectedRow:
    """`row` as it stands on the shelf: whole, so that it can be put back as it was."""
    row, kind = whole(row), kind_of(row).name
    if isinstance(row, RejectedRow):  # the shelf itself did not take it: packed, nothing of it can be wrong any more
        packed = {"packed": base64.b64encode(pack(row)).decode()}
        return RejectedRow(row.id, row.gateway_id, row.received_at, reason, packed, b"", "spooled")
    kept = {"row": {name: _kept(value) for name, value in row._asdict().items() if name != "raw"}}
    if isinstance(row, ClickRow):
        seen = row.agent.encode("utf-8", "backslashreplace")
        return RejectedRow(new_id(), None, row.clicked_at, reason, kept, seen, kind)
    return RejectedRow(new_id(), row.gateway_id, row.received_at, reason, kept, row.raw, kind)


def put_back(kind: str, request: Mapping[str, Any], raw: bytes) -> WholeRow:
    """The row that was set aside. What no table could have held is cleaned, as the door does now. Raises `ValueError`,
    `TypeError` or `KeyError` for what is none."""
    if "packed" in request:
        return unpack(base64.b64decode(request["packed"]))
    if "row" not in request:
        return unpack(raw)
    row = BY_NAME[kind].row
    kept = request["row"] | ({"raw": base64.b64encode(raw)} if "raw" in row._fields else {})
    made: WholeRow = row(**{name: _read(name, _told(kept.get(name))) for name in row._fields})
    return made


def _kept(value: Any) -> Any:
    """As JSON that every database takes: what holds a NUL, half a character or a number beyond all bounds is written
    with escapes, and marked."""
    text = json.dumps(value, ensure_ascii=False, default=_packed)
    try:
        if "\\u0000" not in text:
            return orjson.loads(orjson.dumps(json.loads(text)))
    except (TypeError, ValueError):
        pass
    return {_ESCAPED: json.dumps(value, default=_packed)}


def _told(value: Any) -> Any:
    if isinstance(value, dict) and value.keys() == {_ESCAPED}:
        return _cleaned(json.loads(value[_ESCAPED]))
    return value


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value, len(value))
    if isinstance(value, dict):
        return {_cleaned(name): _cleaned(each) for name, each in value.items()}
    return [_cleaned(each) for each in value] if isinstance(value, list) else value
