"""The kinds of rows that are appended: of each how it is copied, how it stands on the shelf, and what its like is.

A *probe* is a row of the same kind and gateway without anything that somebody else has said: it goes the same way as the
row that failed, into the same table by the same statement, and is taken back within a transaction that commits. What
strikes it too is not the row's fault.
"""

import base64
import contextlib
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from app.db import Connection, Pool
from app.ingest.fast_rows import COLUMNS, PlainRow, copied, whole
from app.ingest.rows import InboundRow, InboxRow, RejectedRow, Shelved, clean, field_of, pack, packed_value, unpack
from app.links.clicks import ClickRow
from app.links.clicks import new_id as new_click_id

Row = InboxRow | InboundRow | RejectedRow | PlainRow | ClickRow
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
    shelved: Shelved
    copy: Callable[[Connection, Sequence[Any]], Awaitable[None]]
    #: The like of a row, harmless in everything but its kind and gateway.
    probe: Callable[[Any], Row]


def new_id() -> str:
    """An id for what is set aside, known before it is stored, so that the sender can be told it."""
    return "rj_" + uuid.uuid4().hex


def kind_of(row: Row) -> RowKind:
    return KINDS[type(row)]


async def copy(connection: Connection, rows: Sequence[Row]) -> None:
    """Appends `rows`; commits by itself when the caller has no transaction open."""
    kinds = set(map(type, rows))
    if len(kinds) == 1:
        await KINDS[kinds.pop()].copy(connection, rows)
        return
    async with connection.transaction():
        for type_, kind in KINDS.items():
            if type_ in kinds:
                await kind.copy(connection, [row for row in rows if type(row) is type_])


class TakenBack(Exception):
    """Ends the inner transaction of a probe."""


@asynccontextmanager
async def trying(pool: Pool) -> AsyncIterator[Connection]:
    """A connection whose work is taken back at the end of the block, within a transaction that commits."""
    async with pool.acquire() as connection, connection.transaction():
        with contextlib.suppress(TakenBack):
            async with connection.transaction():
                yield connection
                raise TakenBack


async def probe(pool: Pool, row: Row) -> None:
    """Appends the like of `row` and takes it back. Raises what strikes rows of this kind, whatever they say."""
    like = kind_of(row).probe(row)
    async with trying(pool) as connection:
        await copy(connection, [like])


async def rehearse(pool: Pool, row: Row) -> None:
    """The same with the row itself."""
    async with trying(pool) as connection:
        await copy(connection, [row])


# --- how each is copied ----------------------------------------------------------------------------------------------


async def _copy_receipts(connection: Connection, rows: Sequence[InboxRow]) -> None:
    """Without the columns that no row fills, usually more than half of them: that takes half the time."""
    columns = dict(zip(InboxRow._fields, zip(*rows, strict=True), strict=True))
    filled = {name: values for name, values in columns.items() if values.count(None) < len(rows)}
    records = zip(*filled.values(), strict=True)
    await connection.copy_records_to_table("inbox", records=records, columns=list(filled))


async def _copy_plain(connection: Connection, rows: Sequence[PlainRow]) -> None:
    await connection.copy_to_table("inbox", source=copied(rows), columns=COLUMNS, format="binary")


async def _copy_inbound(connection: Connection, rows: Sequence[InboundRow]) -> None:
    await connection.copy_records_to_table("inbound", records=rows, columns=InboundRow._fields)


async def _copy_clicks(connection: Connection, rows: Sequence[ClickRow]) -> None:
    await connection.copy_records_to_table("click_inbox", records=rows, columns=ClickRow._fields)


async def _copy_rejected(connection: Connection, rows: Sequence[RejectedRow]) -> None:
    await connection.copy_records_to_table("rejected", records=rows, columns=RejectedRow._fields)


# --- the like of each ------------------------------------------------------------------------------------------------


def _receipt_like(row: InboxRow | PlainRow) -> InboxRow:
    gateway_id = whole(row).gateway_id
    nothing: dict[str, Any] = dict.fromkeys(InboxRow._fields)
    said = {"provider_message_id": PROBE, "status": "sent", "status_text": PROBE, "fingerprint": 0, "verified": True}
    return InboxRow(**nothing | said | {"gateway_id": gateway_id, "received_at": datetime.now(UTC), "raw": b"probe"})


def _reply_like(row: InboundRow) -> InboundRow:
    now = datetime.now(UTC)
    return InboundRow(row.gateway_id, now, PROBE_ADDRESS, None, "STOP", None, True, b"probe")


def _rejected_like(row: RejectedRow) -> RejectedRow:
    return RejectedRow(new_id(), row.gateway_id, datetime.now(UTC), PROBE, {"method": "POST"}, b"probe", row.kind)


def _click_like(row: ClickRow) -> ClickRow:
    now = datetime.now(UTC)
    return ClickRow(
        new_click_id(), row.message_id, row.delivery_id, row.link, now, True, [], "phone", PROBE, {}, None,
        row.rules_version,
    )  # fmt: skip


#: By the type of the row. Plain rows are receipts whose COPY was written beforehand.
KINDS: Mapping[type, RowKind] = {
    InboxRow: RowKind(
        row=InboxRow, table="inbox", shelved="receipt", copy=_copy_receipts, probe=_receipt_like
    ),
    bytes: RowKind(row=InboxRow, table="inbox", shelved="receipt", copy=_copy_plain, probe=_receipt_like),
    InboundRow: RowKind(row=InboundRow, table="inbound", shelved="reply", copy=_copy_inbound, probe=_reply_like),
    RejectedRow: RowKind(
        row=RejectedRow, table="rejected", shelved="unreadable", copy=_copy_rejected, probe=_rejected_like
    ),
    ClickRow: RowKind(row=ClickRow, table="click_inbox", shelved="click", copy=_copy_clicks, probe=_click_like),
}  # fmt: skip


# --- on the shelf, and back ------------------------------------------------------------------------------------------


def refusal(error: Exception) -> str:
    """Why a row was set aside. It names the error's kind only: its text could hold an address."""
    return f"The database refused this row: {type(error).__name__}."


def set_aside(row: Row, reason: str) -> RejectedRow:
    """`row` as it stands on the shelf: whole, so that it can be put back as it was."""
    row = row if isinstance(row, ClickRow) else whole(row)
    if isinstance(row, RejectedRow):  # the shelf itself did not take it: packed, nothing of it can be wrong any more
        packed = {"packed": base64.b64encode(pack(row)).decode()}
        return RejectedRow(row.id, row.gateway_id, row.received_at, reason, packed, b"", "spooled")
    kept = {"row": {name: _kept(value) for name, value in row._asdict().items() if name != "raw"}}
    if isinstance(row, ClickRow):
        seen = row.agent.encode("utf-8", "backslashreplace")
        return RejectedRow(new_id(), None, row.clicked_at, reason, kept, seen, "click")
    return RejectedRow(new_id(), row.gateway_id, row.received_at, reason, kept, row.raw, kind_of(row).shelved)


def put_back(kind: str, request: Mapping[str, Any], raw: bytes) -> Row:
    """The row that was set aside, here or by the statements of that name. What no table could have held is cleaned, as
    the door does now. Raises `ValueError`, `TypeError` or `KeyError` for what is none."""
    if "packed" in request:
        return unpack(base64.b64decode(request["packed"]))
    if "row" not in request:
        return unpack(raw)
    row = next(each.row for each in KINDS.values() if each.shelved == kind)
    kept = request["row"] | ({"raw": base64.b64encode(raw)} if "raw" in row._fields else {})
    made: Row = row(**{name: field_of(name, _told(kept.get(name))) for name in row._fields})
    return made


def _kept(value: Any) -> Any:
    """As JSON that every database takes: what holds a NUL, half a character or a number beyond all bounds is written
    with escapes, and marked."""
    text = json.dumps(value, ensure_ascii=False, default=packed_value)
    try:
        if "\\u0000" not in text:
            return orjson.loads(orjson.dumps(json.loads(text)))
    except (TypeError, ValueError):
        pass
    return {_ESCAPED: json.dumps(value, default=packed_value)}


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
