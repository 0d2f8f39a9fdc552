"""The delivery log, and one message with everything that explains it."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from sqlalchemy.ext.asyncio import AsyncConnection

from app.api.excerpts import cut
from app.api.fields import E164, AskedFlag, DeliveryId, MessageId, Plain, Several, known_id
from app.api.listing import Found, Listing, PageAsked, listed, paged
from app.api.paging import Page
from app.db import snapshot
from app.errors import Invalid, NotFound
from app.gateways.receipt import FailureType
from app.messages import reading
from app.messages.timeline import Known, by_part, kept_away, said, timeline
from app.privacy.masking import in_pieces
from app.references import reference_of
from app.security import Principal, Reader, asks

router = APIRouter(tags=["reading a delivery"])


Status = Literal["pending", "cancelled", "submitted", "accepted", "sent", "no_receipt", "failed", "received"]


class Item(BaseModel):
    """One message of the delivery log."""

    id: str
    address: str = Field(description="E.164; masked without `pii:read`.")
    recipient_id: str | None
    reference: str | None
    status: Status
    failure_type: FailureType | None = Field(description="As qualified now; only of failed messages.")
    reason: str | None = Field(description="Why it failed; why the outbox cancelled it: `denylisted`, `quarantined`.")
    text: str | None = Field(description="What the error means and what to do.")
    error: str | None = Field(description="The error's key: implementation, status, code.")
    parts: int
    parts_received: int
    gateway: str | None
    submitted_at: datetime | None
    occurred_at: datetime = Field(description="When what decided the status happened.")
    updated_at: datetime = Field(description="When the message last changed here.")
    accepted_at: datetime | None = Field(description="First time that this status was reached; like the next three.")
    sent_at: datetime | None
    failed_at: datetime | None
    received_at: datetime | None
    contradictory: bool = Field(description="Received, though a receipt also said failed.")
    doubtful: bool = Field(description="Failed or without a receipt, though a person opened a link of it.")
    clicks: int = Field(description="By people.")
    machine_clicks: int
    price: str | None
    currency: str | None


class Part(BaseModel):
    part: int
    provider_message_id: str
    status: Status
    receipts: int
    receipt_id: str | None
    occurred_at: datetime


class Effect(BaseModel):
    before: Status | None
    after: Status
    changed: bool


class Entry(BaseModel):
    """One fact. Besides these fields it has those of its kind."""

    model_config = ConfigDict(extra="allow")

    kind: Literal["created", "submission", "receipt", "no_receipt", "cancelled", "click"]
    at: datetime = Field(description="When it took effect: not before the message was known.")
    rule: str
    effect: Effect


class Message(Item):
    delivery_id: str
    proof: bool
    created_at: datetime
    deadline: datetime | None = Field(description="After this it is `no_receipt`.")
    unknown_receipts: int
    by_part: list[Part] = Field(description="Each provider id with its own status.")
    timeline: list[Entry] = Field(description="Every fact in the order in which they took effect.")
    timeline_complete: bool = Field(
        description=f"False: only the first {reading.MOST_RECEIPTS} receipts, {reading.MOST_SUBMISSIONS} submissions and "
        f"{reading.MOST_CLICKS} clicks are shown."
    )
    timeline_omitted: int = Field(description="How many facts are not shown.")


class Receipt(BaseModel):
    """What a gateway said, whole."""

    receipt_id: str
    gateway: str | None
    provider_message_id: str | None
    reference: str | None
    status: Status | None = Field(description="Null: a word that the adapter does not know.")
    status_text: str
    error_code: str | None
    error_text: str | None
    occurred_at: datetime | None = Field(description="The gateway's own time.")
    received_at: datetime
    price: str | None
    currency: str | None
    network: str | None
    verified: bool
    details: dict[str, Any] | None
    qualification: dict[str, Any] | None
    raw: str | None
    encoding: Literal["utf-8", "base64", "hidden"]
    raw_bytes: int


class ItemPage(Page[Item]):
    pass


COLUMNS = tuple(Item.model_fields)


# --- filters ---------------------------------------------------------------------------------------------------------


_Word = Annotated[Plain, StringConstraints(pattern=r"^[a-z_]{1,40}$")]
Statuses = Annotated[list[Status], Several, Query(description="One or several.", examples=[["failed"]])]
Types = Annotated[list[FailureType], Several, Query(description="One or several.", examples=[["hard"]])]
Reasons = Annotated[list[_Word], Several, Query(description="One or several.", examples=[["user_unknown"]])]
GatewayKey = Annotated[
    Plain | None, Query(max_length=200, description="A gateway's key; `-`: messages without one.", examples=["acme"])
]
Address = Annotated[
    E164 | None,
    Query(max_length=40, description="Exactly this number, in E.164 (`+` as `%2B`).", examples=["+34600123000"]),
]
Doubtful = Annotated[
    AskedFlag | None, Query(description="Failed or without a receipt though a person opened a link of it; or not.")
]
Contradictory = Annotated[AskedFlag | None, Query(description="Received though also reported as failed; or not.")]


def asked_filter(
    status: Statuses = [],  # noqa: B006 — FastAPI copies it
    failure_type: Types = [],  # noqa: B006
    reason: Reasons = [],  # noqa: B006
    gateway: GatewayKey = None,
    address: Address = None,
    contradictory: Contradictory = None,
    doubtful: Doubtful = None,
) -> reading.Filter:
    return reading.Filter(
        statuses=tuple(sorted(set(status))),
        failure_types=tuple(sorted(set(failure_type))),
        reasons=tuple(sorted(set(reason))),
        gateway=gateway,
        address=address,
        contradictory=contradictory,
        doubtful=doubtful,
    )


# --- the log ---------------------------------------------------------------------------------------------------------


@router.get(
    "/v1/deliveries/{id}/messages",
    summary="The delivery log",
    **paged(ItemPage),
)
async def list_messages(
    request: Request,
    principal: Reader,
    page: PageAsked,
    id: DeliveryId,
    asked: Annotated[reading.Filter, Depends(asked_filter)],
) -> Any:
    """In the order in which they were recorded. Filters combine at will. A page costs the same wherever it stands;
    `total` comes from the counters. Proofs are not part of it. `address` needs `pii:read`."""
    asks(principal, number=asked.address)
    messages = Listing(
        scope=f"messages {id} {asked!r}",
        find=lambda after, limit, _: _find(request, id, asked, after=after[0] if after else 0, limit=limit),
        position=lambda row: [row["id"]], show=lambda rows: principal.all_shown(map(_item, rows)), model=Item,
    )  # fmt: skip
    return await listed(page, principal, messages)


async def _find(request: Request, id: int, asked: reading.Filter, *, after: int, limit: int) -> Found:
    """Rows behind message `after`, and the total, both of one moment. Raises `NotFound` and `Invalid`."""
    async with snapshot(request) as connection:
        cells = await reading.cells(connection, id)
        if cells is None:
            raise NotFound("There is no such delivery.")
        if asked.gateway not in (None, reading.NO_GATEWAY) and not any(c.gateway == asked.gateway for c in cells):
            await _must_exist(connection, asked.gateway)
        found = await reading.find(connection, id, cells, asked, after=after, limit=limit)
        rows = await reading.details(connection, found.ids) if found.ids else []
        return Found([dict(row) for row in rows], found.total)


async def _must_exist(connection: AsyncConnection, gateway: str | None) -> None:
    if gateway is not None and not await reading.gateway_exists(connection, gateway):
        raise Invalid.field("?gateway", "There is no such gateway.")


def _item(row: Mapping[str, Any]) -> dict[str, Any]:
    failed = row["status"] == "failed"
    unknown = reading.UNQUALIFIED if failed else (None, None)
    key = (row["implementation"], row["error_status"], row["error_code"])
    names = set(COLUMNS) - {"id", "reference", "failure_type", "reason", "text", "error", "price"}
    values = {name: row[name] for name in names} | {
        "id": str(row["id"]),
        "reference": row["reference"] or (reference_of(row["id"]) if row["ours"] else None),
        "failure_type": row["failure_type"] or unknown[0],
        "reason": row["reason"] or unknown[1],
        "text": row["sentence"]
        or (kept_away(row["reason"]) if row["status"] == "cancelled" and row["reason"] else None),
        "error": " ".join(("SR", *filter(None, key))) if row["implementation"] else None,
        "price": None if row["price"] is None else f"{row['price'].normalize():f}",
    }
    return {name: values[name] for name in COLUMNS}


# --- one message -----------------------------------------------------------------------------------------------------


@router.get("/v1/messages/{id}", summary="One message, explained", response_model=Message)
async def read_message(request: Request, principal: Reader, id: MessageId) -> Message:
    """Its state, its parts, and every fact that touched it, in order: the beginning of the raw payload, the rule that was
    applied, and the status before and after. Without `pii:read` whatever looks like a phone number is masked."""
    async with snapshot(request) as connection:
        rows = await reading.details(connection, [id])
        if not rows:
            raise NotFound("There is no such message.")
        known = Known(message=dict(rows[0]), **await reading.known_facts(connection, id))  # type: ignore[arg-type]
        omitted = await reading.left_out(connection, id)
    more = {name: rows[0][name] for name in ("proof", "created_at", "deadline", "unknown_receipts")}
    explained, parts = await asyncio.to_thread(_explain, known)  # folding hundreds of receipts takes its time
    entries = await in_pieces(_entry(principal, entry) for entry in explained)
    return Message(
        **principal.shown(_item(dict(rows[0]))),
        **more,
        delivery_id=str(rows[0]["delivery_id"]),
        by_part=[Part(**principal.shown(part)) for part in parts],
        timeline=[Entry(**entry) for entry in entries],
        timeline_complete=not omitted,
        timeline_omitted=omitted,
    )


def _explain(known: Known) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    return timeline(known), by_part(known)


def _entry(principal: Principal, entry: Mapping[str, Any]) -> dict[str, Any]:
    seen = principal.shown(entry, entry["kind"])
    return cut(seen, "raw") if "raw" in seen else seen


@router.get(
    "/v1/messages/{id}/receipts/{receipt_id}", summary="One receipt of a message, whole", response_model=Receipt
)
async def read_receipt(
    request: Request,
    principal: Reader,
    id: MessageId,
    receipt_id: Annotated[Plain, Path(description="Of the timeline.", examples=["7"], max_length=40)],
) -> Receipt:
    """As the timeline tells it, with its whole payload."""
    async with snapshot(request) as connection:
        row = await reading.receipt(connection, id, known_id(receipt_id) or 0)
    if row is None:
        raise NotFound("There is no such receipt.")
    found = said(dict(row))
    raw = found.pop("raw")
    seen = principal.shown(found | {"raw": ""})
    if seen["raw"] is not None:
        seen["raw"] = await principal.long_text(raw)
    return Receipt(**seen)
