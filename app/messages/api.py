"""The delivery log, and one message with everything that explains it."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncConnection

from app.api.excerpts import cut
from app.api.fields import DeliveryId, MessageId, Plain, known_id
from app.api.listing import Found, Listing, PageAsked, listed, paged
from app.api.paging import LongPage, Page
from app.db import snapshot
from app.errors import Invalid, NotFound
from app.gateways.receipt import FailureType
from app.messages import reading
from app.messages.asking import Status, asked_filter, asked_names, id_keys
from app.messages.names import candidates
from app.messages.timeline import Known, by_part, kept_away, said, timeline
from app.privacy.masking import in_pieces
from app.references import reference_of
from app.security import Principal, Reader, asks

router = APIRouter(tags=["reading a delivery"])


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
    metadata: dict[str, Any] | None = Field(None, description="What the row said besides, if it was sent elsewhere.")
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


class ItemPage(LongPage[Item]):
    pass


class FoundMessage(Item):
    """A message as the search finds it."""

    delivery_id: str
    delivery_label: str
    proof: bool = Field(description="No figure of its delivery counts it.")
    timeline: str = Field(description="Where every fact about it is told: `GET` this path.")


class FoundPage(Page[FoundMessage]):
    pass


COLUMNS = tuple(Item.model_fields)


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
    `total` comes from the counters, unless a filter by time makes it a count; then it is null beyond 10 000, with
    `at_least`. Proofs are not part of it. `address` needs `pii:read`."""
    _ask(principal, asked)
    messages = Listing(
        scope=f"messages {id} {asked!r}",
        find=lambda after, limit, counted: _find(
            request, id, asked, after=after[0] if after else 0, limit=limit, counted=counted
        ),
        position=lambda row: [row["id"]], show=lambda rows: principal.all_shown(map(_item, rows)), model=Item,
    )  # fmt: skip
    return await listed(page, principal, messages)


def _ask(principal: Principal, asked: reading.Filter) -> None:
    asks(
        principal, number=asked.address,
        words=(asked.reference, asked.recipient_id, asked.provider_message_id, *asked.error_codes),
    )  # fmt: skip


async def _find(request: Request, id: int, asked: reading.Filter, *, after: int, limit: int, counted: bool) -> Found:
    """Rows behind message `after`, and the total, both of one moment. Raises `NotFound` and `Invalid`."""
    async with snapshot(request) as connection:
        cells = await reading.cells(connection, id)
        if cells is None:
            raise NotFound("There is no such delivery.")
        if asked.gateway not in (None, reading.NO_GATEWAY) and not any(c.gateway == asked.gateway for c in cells):
            await _must_exist(connection, asked.gateway)
        keys = id_keys(request, asked.provider_message_id)
        found = await reading.find(connection, id, cells, asked, after=after, limit=limit, keys=keys, counted=counted)
        rows = await reading.details(connection, found.ids) if found.ids else []
        return Found([dict(row) for row in rows], found.total, at_least=found.at_least)


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


# --- finding one -----------------------------------------------------------------------------------------------------


@router.get("/v1/messages", summary="Find messages", **paged(FoundPage))
async def find_messages(
    request: Request, principal: Reader, page: PageAsked, asked: Annotated[reading.Filter, Depends(asked_names)]
) -> Any:
    """Of all deliveries, proofs among them, newest first: by `reference`, `recipient_id`, `provider_message_id` or `address`, one
    of them at least. Each with what became of it and why; `timeline` leads to every fact. Of one name the newest 10 000 are
    looked through. `address`, and what could be a number, needs `pii:read`."""
    if not asked.names_some:
        raise Invalid.field(
            "?reference", "Give at least one of `reference`, `recipient_id`, `provider_message_id` and `address`."
        )
    _ask(principal, asked)

    async def find(after: Sequence[Any] | None, limit: int, _: bool) -> Found:
        async with snapshot(request) as connection:
            ids = await candidates(connection, asked, id_keys(request, asked.provider_message_id), None)
            behind = [id for id in reversed(ids) if after is None or id < after[0]][:limit]
            return Found(await reading.found(connection, behind), len(ids))

    async def show(rows: Sequence[Any]) -> Sequence[dict[str, Any]]:
        seen = await principal.all_shown(_found(row) for row in rows)
        return [each | {"timeline": f"/v1/messages/{each['id']}"} for each in seen]

    messages = Listing(
        scope=f"found messages {asked!r}", find=find, position=lambda row: [row["id"]], show=show, model=FoundMessage
    )  # fmt: skip
    return await listed(page, principal, messages)


def _found(row: Mapping[str, Any]) -> dict[str, Any]:
    more = {"delivery_id": str(row["delivery_id"]), "delivery_label": row["delivery_label"], "proof": row["proof"]}
    return _item(row) | more


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
        metadata = await reading.metadata(connection, id)
    more = {name: rows[0][name] for name in ("proof", "created_at", "deadline", "unknown_receipts")}
    explained, parts = await asyncio.to_thread(_explain, known)  # folding hundreds of receipts takes its time
    entries = await in_pieces(_entry(principal, entry) for entry in explained)
    return Message(
        **principal.shown(_item(dict(rows[0]))),
        **more,
        **principal.shown({"metadata": metadata}, "message"),
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
