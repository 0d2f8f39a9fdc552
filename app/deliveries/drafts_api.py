"""A delivery made from another one, and one that is given up before anything was sent."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from app import audit
from app.accounts.directory import directory_of
from app.api.fields import DeliveryId, DryRun, Flag
from app.api.idempotency import once
from app.db import Connection, load_queries, snapshot, writing
from app.deliveries import codes, lifecycle, preparation, proofs, store
from app.deliveries.api import register_links, said
from app.deliveries.models import Delivery, Label, shown
from app.deliveries.requests import allowed, existing, hold_alone, note
from app.errors import Conflict
from app.security import Principal, Writer
from app.stats.store import main_figures

router = APIRouter(tags=["deliveries"])

QUERIES = load_queries(__file__, "drafts.sql")


# --- copy ------------------------------------------------------------------------------------------------------------


class Copy(BaseModel):
    model_config = ConfigDict(extra="forbid")

    label: Label | None = Field(None, description="None: that of the original.")
    targets: Annotated[Flag, Field(description="Also the audience, as it was uploaded and corrected.")] = True


class Copied(Delivery):
    copied_from: str = Field(description="The original's `id`.")
    copied: list[str] = Field(description="What was taken over. What was prepared, sent and counted never is.")


@router.post("/v1/deliveries/{id}/copy", status_code=201, summary="Copy a delivery", response_model=Copied)
async def copy(request: Request, id: DeliveryId, principal: Writer, body: Copy | None = None) -> Response:
    """A new delivery in `editing`, whatever the status of the original: with its label, content, settings, rules, metadata, what
    its links were given, and its audience unless `targets` is false. Takes `Idempotency-Key`."""
    wanted = body or Copy(targets=True)
    async with writing(request) as connection:

        async def make() -> Response:
            now = datetime.now(UTC)
            # Of the audience, which this takes as it stands; the delivery itself is not held: a long copy must keep nobody from
            # pausing or cancelling, nor the clock from what it has to do.
            await hold_alone(connection, id)
            old = existing(await store.find(connection, id))
            values = await _values(request, old, wanted)
            new = await store.create(connection, values, now)
            await register_links(request, connection, new, values)
            await connection.execute(QUERIES["copy_links"], id, new["id"])
            if wanted.targets and old["targets"]:
                await connection.execute(QUERIES["copy_targets"], id, new["id"])
                await connection.execute(preparation.QUERIES["set_targets"], new["id"], old["targets"], now)
                new = {**new, "targets": old["targets"]}
            taken = [name for name in store.EDITABLE_FIELDS if values[name] is not None and values[name] == old[name]]
            taken += ["targets"] if new["targets"] else []
            text = f"Created as a copy of DM{id}: {', '.join(taken)}."
            data = {"copied_from": str(id), "copied": taken, "targets": new["targets"]}
            await note(connection, new, codes.CREATED, text, principal, now, data, {"values": said(new)})
            answer = await _answer(request, new, principal, str(id), taken)
            headers = {"Location": f"/v1/deliveries/{new['id']}"}
            return Response(answer.model_dump_json(), 201, headers, "application/json")

        return await once(request, principal, connection, make)


async def _values(request: Request, old: Mapping[str, Any], wanted: Copy) -> dict[str, Any]:
    """The columns of the new one. A gateway that was deleted meanwhile is not taken over."""
    values = {name: old[name] for name in store.EDITABLE_COLUMNS}
    gateway = await directory_of(request).find(old["gateway"]) if old["gateway"] is not None else None
    values |= {"gateway_id": gateway.id if gateway else None, "gateway": old["gateway"] if gateway else None}
    return values | ({"label": wanted.label} if wanted.label is not None else {})


async def _answer(
    request: Request, row: Mapping[str, Any], principal: Principal, original: str, taken: list[str]
) -> Copied:
    async with snapshot(request) as connection:
        figures = await main_figures(connection, [row["id"]])
    delivery = principal.shown(shown(row, figures[row["id"]]))
    return Copied(**delivery, copied_from=original, copied=taken)


# --- delete ----------------------------------------------------------------------------------------------------------


class Deleted(BaseModel):
    """What is gone; with `dry_run`, what would be."""

    dry_run: bool
    id: str
    code: str
    targets: int
    messages: int = Field(description="That its preparation had made, and nobody was given.")
    excluded: int


@router.delete("/v1/deliveries/{id}", summary="Delete a draft", response_model=Deleted)
async def delete(
    request: Request,
    id: DeliveryId,
    principal: Writer,
    dry_run: DryRun = False,
) -> dict[str, Any]:
    """For good, with its audience; the journals keep that it was there. Only while it is `editing` or `prepared`, and of which no
    proof was made, since receipts may come for that: else 409, and what has not ended can be cancelled."""
    now = datetime.now(UTC)
    async with writing(request) as connection:
        await hold_alone(connection, id)
        row = existing(await store.lock(connection, id))
        allowed(lifecycle.check_delete, row["status"])
        if await connection.fetchval(proofs.QUERIES["count_proofs"], id):
            raise Conflict("Proofs of this delivery were made, and receipts may come for them: cancel it instead.")
        outcomes = await connection.fetchrow(QUERIES["count_outcomes"], id)
        assert outcomes is not None
        gone = {"targets": row["targets"], **outcomes}
        if not dry_run:
            await _delete(connection, row, gone, principal, now)
    return {"dry_run": dry_run, "id": str(id), "code": f"DM{id}", **gone}


async def _delete(
    connection: Connection, row: Mapping[str, Any], gone: Mapping[str, int], principal: Principal, now: datetime
) -> None:
    """All of it, in the caller's transaction: nobody is given anything of a draft, so that nobody waits for it."""
    id = row["id"]
    for name in preparation.DISCARDED:
        last = 0
        while found := await preparation.discard_chunk(connection, id, name, last):
            last = found["last"]
    await connection.execute(preparation.QUERIES["delete_targets"], id)
    for name in ("delete_preparation", "delete_links", "delete_link_blocks", "delete_counters", "delete_delivery"):
        await connection.execute(QUERIES[name], id)
    # The platform's journal comes before a delivery's, as everywhere.
    for chain, text in ((audit.PLATFORM, f"The draft DM{id} was deleted."), (id, "Deleted.")):
        await audit.append(
            connection, chain, codes.DELETED, text, at=now, actor=principal.name, data={"delivery_id": str(id), **gone},
            personal={"values": said(row)},
        )  # fmt: skip
