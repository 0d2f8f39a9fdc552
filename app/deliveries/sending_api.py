"""Sending from here: start, outbox, proofs. What became of the messages is reported to `POST …/submissions`."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response, StreamingResponse

from app.accounts.directory import directory_of
from app.api import excerpts
from app.api.fields import Address, AskedWhole, DeliveryId, DryRun, Flag, Id, Plain, Time
from app.api.idempotency import once
from app.api.listing import Found, Listing, PageAsked, listed, paged
from app.api.paging import Page
from app.db import Connection, plain_snapshot, pool_of, snapshot, writing
from app.deliveries import codes, lifecycle, outbox, proofs, starting, store
from app.deliveries.api import read
from app.deliveries.audience import LONGEST_ID
from app.deliveries.models import Delivery, GatewayKey, Metadata
from app.deliveries.preparation import QUERIES as PREPARATION
from app.deliveries.requests import allowed, existing, hold_alone, note, refuse_errors
from app.deliveries.texts import Text, link_texts
from app.errors import Conflict, Forbidden, Invalid
from app.links.routes import routes_of
from app.links.shortening import links_of
from app.matching.references import claim_references
from app.projections.fold import fold
from app.references import reference_of
from app.security import Reader, Writer
from app.texts.encoding import measure

router = APIRouter(tags=["deliveries"])

_NO_ID = 2**63 - 1
#: The header that tells a pause from an end.
PAUSED = "Acuse-Paused-At"
_OUTBOX: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "One line a message, in the order of their ids.",
        "content": {"application/x-ndjson": {"schema": {"type": "string"}}},
        "headers": {
            PAUSED: {
                "description": "While the delivery is paused: since when. Nothing is given; ask again later.",
                "schema": {"type": "string", "format": "date-time"},
            }
        },
    }
}


# --- start -----------------------------------------------------------------------------------------------------------


class Start(BaseModel):
    model_config = ConfigDict(extra="forbid")

    scheduled_at: Time | None = Field(None, description="When it starts by itself; without it now.")


@router.post("/v1/deliveries/{id}/start", summary="Start a delivery", response_model=Delivery)
async def start(
    request: Request, id: DeliveryId, principal: Writer, body: Start | None = None, dry_run: DryRun = False
) -> Delivery:
    """From `prepared` on its way: content and audience are locked, and the outbox gives out its messages. 409 in every
    other status, and when its preparation found errors. With nothing to send it is finished at once. With `scheduled_at` it
    stays `prepared` until then; a preparation that is too old by that time is made again. A change takes the time back.
    `dry_run` refuses what the start would, and shows the delivery as it would be."""
    now = datetime.now(UTC)
    at = body.scheduled_at if body else None
    async with writing(request, dry_run=dry_run) as connection:
        await hold_alone(connection, id)
        row = existing(await store.lock(connection, id))
        allowed(lifecycle.after_start if at is None else lifecycle.check_schedule, row["status"])
        await refuse_errors(connection, id, principal)
        if at is not None:
            await starting.schedule(connection, row, at, actor=principal.name, now=now)
        else:
            await starting.begin(connection, row, actor=principal.name, now=now)
        after = existing(await store.lock(connection, id))
    found = await read(request, id, principal)
    if dry_run:
        for name in ("status", "scheduled_at", "started_at", "finished_at"):
            setattr(found, name, after[name])
    return found


# --- the outbox ------------------------------------------------------------------------------------------------------

After = Annotated[
    Id | None,
    Query(description="Only behind this `message_id`: the last one that you have."),
]
Most = Annotated[AskedWhole | None, Query(ge=1, description="At most so many messages; without it all.")]


@router.get(
    "/v1/deliveries/{id}/outbox",
    summary="Messages to hand over",
    response_class=StreamingResponse,
    responses=_OUTBOX,
)
async def read_outbox(
    request: Request, id: DeliveryId, principal: Writer, after: After = None, limit: Most = None
) -> Response:
    """Every `pending` message with the text it gets, as NDJSON, while the delivery is `in_progress` (409 else). Give
    `reference` to the gateway, and report each message to `…/submissions`: until then it stays `pending`, and is given
    again to whoever does not ask behind it with `after`. The stream ends when the delivery is cancelled or paused; while it
    is paused it is empty, and the header `Acuse-Paused-At` says since when. Needs
    `deliveries:write` and `pii:read`: who sends must see whole addresses."""
    if not principal.may("pii:read"):
        raise Forbidden("The outbox gives out whole addresses: this key lacks the scope `pii:read`.")
    async with snapshot(request) as connection:
        row = existing(await store.read(connection, id))
    allowed(lifecycle.check_outbox, row["status"])
    if not row["content"] or not row["targets"]:
        raise Conflict("This delivery has no content or no audience: it is sent elsewhere, and has no outbox.")
    if row["paused_at"] is not None:
        headers = {PAUSED: starting.iso(row["paused_at"])}
        return Response(b"", headers=headers, media_type="application/x-ndjson")
    async with writing(request) as connection:
        shortener = await links_of(request).shortener(connection, id, row["sender"])
    asked = outbox.Asked(
        delivery_id=id, gateway_id=row["gateway_id"], sender=row["sender"], text=Text.of(row["content"], shortener),
        text_bytes=len(row["content"].encode()),
        after=int(after or 0), limit=limit, actor=principal.name,
    )  # fmt: skip
    routes = routes_of(request) if shortener is not None else None
    lines = outbox.stream(pool_of(request), asked, routes)
    return StreamingResponse(lines, media_type="application/x-ndjson")


# --- proofs ----------------------------------------------------------------------------------------------------------


class Like(BaseModel):
    """A target of the audience, by the recipient id that it was uploaded with."""

    model_config = ConfigDict(extra="forbid")

    recipient_id: Annotated[Plain, Field(min_length=1, max_length=LONGEST_ID)]


class ProofTo(BaseModel):
    model_config = ConfigDict(extra="forbid")

    address: Address = Field(description="E.164, or national with the delivery's default region.")
    params: Metadata = Field(
        default_factory=dict, description="Values for the placeholders of the content; those of `like` besides."
    )
    like: Like | None = Field(None, description="For this address; None: the one for all.")


class NewProofs(BaseModel):
    model_config = ConfigDict(extra="forbid")

    addresses: Annotated[list[ProofTo], Field(min_length=1, max_length=100)]
    like: Like | None = Field(
        None, description="The text that this recipient would get, made of the target's params. Needs `pii:read`."
    )
    gateway: GatewayKey | None = Field(None, description="None: the delivery's.")
    force: Annotated[Flag, Field(description="Also to quarantined addresses; never to denylisted ones.")] = False


class OutboxRow(BaseModel):
    """What whoever sends needs."""

    message_id: str
    reference: str = Field(description="Give it to the gateway, so that receipts name it.")
    address: str = Field(description="E.164; masked without `pii:read`.")
    text: str
    parts: int
    sender: str


class MadeProofs(BaseModel):
    """In the order of `addresses`."""

    items: list[OutboxRow]


class Proof(OutboxRow):
    """A proof as it was made, with what became of it."""

    gateway: str | None
    status: str
    created_at: datetime
    submitted_at: datetime | None
    updated_at: datetime


class ProofPage(Page[Proof]):
    pass


@router.post("/v1/deliveries/{id}/proofs", status_code=201, summary="Make proofs", response_model=MadeProofs)
async def make_proofs(request: Request, id: DeliveryId, body: NewProofs, principal: Writer) -> Response:
    """Messages to chosen addresses with the text as it is now, to be sent by you and reported to `…/submissions`. They
    count in no indicator and no list. Nothing is made when one of them cannot be. Takes `Idempotency-Key`."""
    if not principal.may("pii:read") and any((body.like, *(each.like for each in body.addresses))):
        raise Forbidden("A proof like a target holds what is known of somebody: this key lacks the scope `pii:read`.")
    gateway_id = await _gateway_id(request, body.gateway)
    ids: list[int] = []
    async with writing(request) as connection:

        async def make() -> Response:
            now = datetime.now(UTC)
            row = existing(await store.lock(connection, id))
            allowed(lifecycle.check_proofs, row["status"])
            if not row["content"]:
                raise Conflict("This delivery has no content yet: there is nothing to prove.")
            wanted = await _wanted(connection, id, body)
            text = await _text(request, connection, row)
            checked = await proofs.check(connection, row, text, wanted, force=body.force, tells=principal.sees_all)
            made = await proofs.make(connection, row, text, checked, gateway_id, now)
            ids.extend(each.id for each in made)
            await links_of(request).add_blocks(connection, id, ids)
            await fold(connection, ids, now)
            if known_by := gateway_id or row["gateway_id"]:
                await claim_references(connection, known_by, ids, now)
            data = {"proofs": len(ids), "first_message_id": str(ids[0]), "last_message_id": str(ids[-1])}
            data |= {"gateway": body.gateway or row["gateway"], "force": body.force}
            await note(connection, row, codes.PROOFS, f"Proofs were made: {len(ids)}.", principal, now, data)
            items = [principal.shown(each, "proof") for each in proofs.rows(made, row["sender"])]
            return Response(orjson.dumps({"items": items}), 201, media_type="application/json")

        answer = await once(request, principal, connection, make)
    if ids:
        await routes_of(request).announce(id)
        await routes_of(request).give(id, ids)
    return answer


async def _wanted(connection: Connection, id: int, body: NewProofs) -> list[proofs.Wanted]:
    """Each with its own params on top of those of the target that it is like. Raises `Invalid` when there is no such target."""
    likes = [each.like or body.like for each in body.addresses]
    asked = {like.recipient_id for like in likes if like is not None}
    rows = await connection.fetch(PREPARATION["find_targets_of"], id, sorted(asked)) if asked else []
    found: Mapping[str, Mapping[str, Any]] = {row["recipient_id"]: row["params"] for row in rows}
    wanted: list[proofs.Wanted] = []
    for number, (each, like) in enumerate(zip(body.addresses, likes, strict=True)):
        if like is not None and like.recipient_id not in found:
            pointer = f"/addresses/{number}/like" if each.like else "/like"
            raise Invalid.field(f"{pointer}/recipient_id", "The audience has no target with this recipient id.")
        params = {**found[like.recipient_id], **each.params} if like is not None else each.params
        wanted.append(proofs.Wanted(address=each.address, params=params))
    return wanted


async def _text(request: Request, connection: Connection, row: Mapping[str, Any]) -> Text:
    """As it is now, with short URLs for what is tracked now. The caller holds the delivery."""
    links = links_of(request)
    await links.register(connection, row["id"], link_texts(row["content"]), tracked=row["tracking"])
    return Text.of(row["content"], await links.shortener(connection, row["id"], row["sender"]))


async def _gateway_id(request: Request, key: str | None) -> int | None:
    """Raises `Invalid` when there is no such gateway."""
    gateway = await directory_of(request).find(key) if key is not None else None
    if key is not None and gateway is None:
        raise Invalid.field("/gateway", "There is no such gateway.")
    return gateway.id if gateway else None


@router.get("/v1/deliveries/{id}/proofs", summary="Proofs of a delivery", **paged(ProofPage))
async def list_proofs(request: Request, id: DeliveryId, principal: Reader, page: PageAsked) -> Any:
    """The newest first, each with the text that it was made with."""

    async def find(after: Sequence[Any] | None, limit: int, _: bool) -> Found:
        async with plain_snapshot(request) as connection:
            existing(await connection.fetchrow(proofs.QUERIES["has_delivery"], id))
            rows = await connection.fetch(_PROOFS, id, after[0] if after else _NO_ID, limit)
            return Found(rows, await connection.fetchval(proofs.QUERIES["count_proofs"], id))

    made = Listing(
        scope=f"proofs {id}", find=find, position=lambda row: [row["id"]],
        show=lambda rows: principal.all_shown(map(_proof, rows), "proof"), model=Proof,
    )  # fmt: skip
    return await listed(page, principal, made)


_PROOFS = excerpts.weighed_text(proofs.QUERIES["list_proofs"], weight="octet_length(params::text)", order="id DESC")


def _proof(row: Mapping[str, Any]) -> dict[str, Any]:
    text = row["params"]["text"]
    names = ("gateway", "status", "created_at", "submitted_at", "updated_at", "address")
    return {name: row[name] for name in names} | {
        "message_id": str(row["id"]),
        "reference": reference_of(row["id"]),
        "text": text,
        "parts": measure(text).parts,
        "sender": row["params"]["sender"],
    }
