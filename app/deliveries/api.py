"""Deliveries: create, list, read, change, cancel, recompute."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from app import audit
from app.accounts.directory import directory_of
from app.api.fields import DeliveryId, DryRun, Plain, Several, Time
from app.api.idempotency import once
from app.api.listing import Found, Listing, PageAsked, listed, paged
from app.api.paging import Page
from app.db import POOL_TIMEOUT_SECONDS, Connection, pool_of, snapshot, writing
from app.deliveries import codes, lifecycle, starting, store
from app.deliveries.models import Delivery, DeliveryChange, NewDelivery, Recomputed, shown
from app.deliveries.requests import allowed, existing, hold_alone, note, refuse_errors
from app.deliveries.texts import link_texts
from app.errors import Invalid
from app.links.shortening import links_of
from app.projections.fold import fold
from app.projections.replay import recompute
from app.security import Principal, Reader, Writer
from app.settings import settings_of
from app.stats.store import main_figures, pending_messages

router = APIRouter(tags=["deliveries"])

#: Changes that move what a message's fold rests on.
_FOLDED = frozenset({"gateway_id", "validity_seconds"})


# --- create and read -------------------------------------------------------------------------------------------------


@router.post("/v1/deliveries", status_code=201, summary="Create a delivery", response_model=Delivery)
async def create(request: Request, body: NewDelivery, principal: Writer) -> Response:
    """Starts in `editing`, without messages. Takes `Idempotency-Key`."""
    values = await _columns(request, body.model_dump())
    if values["validity_seconds"] is None:
        values["validity_seconds"] = settings_of(request).default_validity_seconds
    async with writing(request) as connection:

        async def make() -> Response:
            now = datetime.now(UTC)
            row = await store.create(connection, values, now)
            await register_links(request, connection, row, values)
            await note(connection, row, codes.CREATED, "Created.", principal, now, {}, {"values": said(row)})
            answer = (await _shown(request, row, principal)).model_dump_json()
            return Response(answer, 201, {"Location": f"/v1/deliveries/{row['id']}"}, "application/json")

        return await once(request, principal, connection, make)


Statuses = Annotated[list[lifecycle.Status], Several, Query(description="One or several.", examples=[["in_progress"]])]
Text = Annotated[
    Plain | None, Query(max_length=200, description="Part of the label or the sender, or the code.", examples=["DM1"])
]
After = Annotated[Time | None, Query(description="From this time on.", examples=["2026-11-23T00:00:00Z"])]
Before = Annotated[Time | None, Query(description="Before this time.", examples=["2026-11-24T00:00:00Z"])]


@router.get("/v1/deliveries", summary="List deliveries", **paged(Page[Delivery]))
async def list_deliveries(
    request: Request,
    principal: Reader,
    page: PageAsked,
    status: Statuses = [],  # noqa: B006 — FastAPI copies it
    q: Text = None,
    created_after: After = None,
    created_before: Before = None,
) -> Any:
    """Newest first, each with its main indicators. `q` looks through what the key may see."""
    asked = store.Filter(
        statuses=sorted(set(status)), q=q, masked=not principal.sees_all, created_after=created_after,
        created_before=created_before,
    )  # fmt: skip

    async def find(after: Sequence[Any] | None, limit: int, counted: bool) -> Found:
        async with snapshot(request) as connection:
            rows = await store.page(connection, asked, before=after[0] if after else None, limit=limit)
            total = await store.total(connection, asked) if counted else None
            figures = await main_figures(connection, [row["id"] for row in rows])
        return Found([{**row, "figures": figures[row["id"]]} for row in rows], total)

    deliveries = Listing(
        scope=f"deliveries {asked!r}", find=find, position=lambda row: [row["id"]],
        show=lambda rows: principal.all_shown(shown(row, row["figures"]) for row in rows), model=Delivery,
    )  # fmt: skip
    return await listed(page, principal, deliveries)


@router.get("/v1/deliveries/{id}", summary="Read a delivery", response_model=Delivery)
async def read(request: Request, id: DeliveryId, principal: Reader) -> Delivery:
    """With its main indicators; the summary has all of them."""
    async with snapshot(request) as connection:
        row = existing(await store.read(connection, id))
        figures = await main_figures(connection, [row["id"]])
    return Delivery(**principal.shown(shown(row, figures[row["id"]])))


async def _shown(request: Request, row: Mapping[str, Any], principal: Principal) -> Delivery:
    async with snapshot(request) as connection:
        figures = await main_figures(connection, [row["id"]])
    return Delivery(**principal.shown(shown(row, figures[row["id"]])))


# --- change ----------------------------------------------------------------------------------------------------------


@router.patch("/v1/deliveries/{id}", summary="Change a delivery", response_model=Delivery)
async def change(request: Request, id: DeliveryId, body: DeliveryChange, principal: Writer) -> Delivery:
    """`label` and `metadata` at any time; all else is 409 from the start on, and what was `prepared` goes back to `editing`,
    and must be prepared again."""
    wanted = await _columns(request, body.model_dump(exclude_unset=True))
    now = datetime.now(UTC)
    if "scheduled_at" in body.model_fields_set:
        await _set_time(request, id, body.scheduled_at, principal, now)
        return await read(request, id, principal)
    async with writing(request) as connection:
        old = existing(await store.lock(connection, id))
        changed = {name: value for name, value in wanted.items() if value != old[name]}
        noted_only = wanted.keys() <= lifecycle.NOTED
        status = old["status"] if noted_only else allowed(lifecycle.after_edit, old["status"])
        if not changed:
            return await _shown(request, old, principal)
        if not noted_only:
            await starting.take_back(connection, old, actor=principal.name, now=now, why=starting.CHANGED)
        new = await store.change(connection, id, changed | {"status": status}, now)
        await register_links(request, connection, new, changed)
        if changed.keys() & _FOLDED:
            await _fold_anew(request, connection, old, changed, now)
        was, is_now = said(old), said(new)
        changes = {name: {"old": was[name], "new": value} for name, value in is_now.items() if value != was[name]}
        text = f"Changed {', '.join(name for name in changes if name != 'status')}."
        await note(connection, new, codes.EDITED, text, principal, now, {}, {"changes": changes})
    return await _shown(request, new, principal)


async def _set_time(request: Request, id: int, at: datetime | None, principal: Principal, now: datetime) -> None:
    """The time of its start, or none; its status stays."""
    async with writing(request) as connection:
        await hold_alone(connection, id)
        row = existing(await store.lock(connection, id))
        if at is None:
            await starting.take_back(connection, row, actor=principal.name, now=now)
        else:
            allowed(lifecycle.check_schedule, row["status"])
            await refuse_errors(connection, id, principal)
            await starting.schedule(connection, row, at, actor=principal.name, now=now)


async def register_links(
    request: Request, connection: Connection, row: Mapping[str, Any], changed: Mapping[str, Any]
) -> None:
    """The delivery's links follow its content, and its own switch. What is wrong with them preparation says."""
    links = links_of(request)
    if "content" in changed:
        await links.register(connection, row["id"], link_texts(row["content"]), tracked=row["tracking"])
    if "tracking" in changed:
        await links.follow_tracking(connection, row["id"], tracked=row["tracking"])


async def _fold_anew(
    request: Request, connection: Connection, old: Mapping[str, Any], changed: Mapping[str, Any], now: datetime
) -> None:
    """What was prepared keeps the gateway that it was prepared for, until it is prepared again: only proofs move."""
    if old["targets"] and ("gateway_id" not in changed or old["gateway_id"] is not None):
        await fold(connection, await store.proofs(connection, old["id"]), now)
    else:
        await recompute(connection, old["id"], now)


@router.post("/v1/deliveries/{id}/cancel", summary="Cancel a delivery", response_model=Delivery)
async def cancel(request: Request, id: DeliveryId, principal: Writer, dry_run: DryRun = False) -> Delivery:
    """Ends it; messages not handed over yet become `cancelled`, all others go on to be reported. 409 once it is over;
    a second call finishes what an interrupted first one left. `dry_run` shows the delivery as it would be."""
    now = datetime.now(UTC)
    if dry_run:
        return await _if_cancelled(request, id, principal)
    async with pool_of(request).acquire(timeout=POOL_TIMEOUT_SECONDS) as connection:
        async with connection.transaction():
            old = existing(await store.lock(connection, id))
            if old["status"] != "cancelled":
                await store.change(connection, id, _cancelled(old), now)
                data = {"changes": {"status": {"old": old["status"], "new": "cancelled"}}}
                await note(connection, old, codes.CANCELLED, "Cancelled.", principal, now, data)
        await _cancel_messages(request, connection, id, now)
    return await read(request, id, principal)


async def _if_cancelled(request: Request, id: int, principal: Principal) -> Delivery:
    async with snapshot(request) as connection:
        row = existing(await store.read(connection, id))
        after = row if row["status"] == "cancelled" else {**row, **_cancelled(row)}
        figures = (await main_figures(connection, [id]))[id]
        pending = await pending_messages(connection, id)
    figures = figures | {"cancelled": figures["cancelled"] + pending, "in_transit": figures["in_transit"] - pending}
    return Delivery(**principal.shown(shown(after, figures)))


def _cancelled(row: Mapping[str, Any]) -> dict[str, Any]:
    """What changes of a delivery that is cancelled. Raises `Conflict`."""
    return {"status": allowed(lifecycle.after_cancel, row["status"]), "scheduled_at": None, "paused_at": None}


async def _cancel_messages(request: Request, connection: Connection, id: int, now: datetime) -> None:
    """In transactions of their own: a million messages must not hold up the receipts of others."""
    last = 0
    while True:
        async with connection.transaction():
            ids = await store.cancel_pending(connection, id, now, last)
            if not ids:
                return
            await fold(connection, ids, now)
        last = ids[-1]


@router.post(
    "/v1/deliveries/{id}/recompute", summary="Rebuild states and counters from facts", response_model=Recomputed
)
async def recompute_one(request: Request, id: DeliveryId, principal: Writer, dry_run: DryRun = False) -> dict[str, Any]:
    """The proof that the books balance: it reports the drift it found, and mends it, unless that was a dry run."""
    now = datetime.now(UTC)
    async with writing(request, dry_run=dry_run) as connection:
        row = existing(await store.lock(connection, id))
        found: dict[str, Any] = await recompute(connection, id, now)
        level: audit.Level = "warning" if found["drift"] else "info"
        text = f"Recomputed: drift {found['drift']}."
        await audit.append(
            connection, row["id"], codes.RECOMPUTED, text, at=now, actor=principal.name, level=level, data=found
        )  # fmt: skip
    return found


# --- small parts -----------------------------------------------------------------------------------------------------


async def _columns(request: Request, fields: dict[str, Any]) -> dict[str, Any]:
    """The body's fields as columns: the gateway by its id. Raises `Invalid` when there is no such gateway."""
    if "gateway" not in fields:
        return fields
    key = fields.pop("gateway")
    gateway = await directory_of(request).find(key) if key is not None else None
    if key is not None and gateway is None:
        raise Invalid.field("/gateway", "There is no such gateway.")
    return fields | {"gateway_id": gateway.id if gateway else None}


def said(row: Mapping[str, Any]) -> dict[str, Any]:
    """A delivery's values by the API's names. The journal keeps them beside its chain: they may name somebody."""
    return {name: row[name] for name in (*store.EDITABLE_FIELDS, "status")}
