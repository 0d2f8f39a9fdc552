"""A delivery in progress that is held up for a while: its outbox gives nothing, and all else goes on."""

from datetime import UTC, datetime

from fastapi import APIRouter, Request

from app.api.fields import DeliveryId
from app.db import writing
from app.deliveries import codes, lifecycle, store
from app.deliveries.api import read
from app.deliveries.models import Delivery
from app.deliveries.requests import allowed, existing, note
from app.deliveries.starting import QUERIES, said
from app.security import Writer

router = APIRouter(tags=["deliveries"])


@router.post("/v1/deliveries/{id}/pause", summary="Pause a delivery", response_model=Delivery)
async def pause(request: Request, id: DeliveryId, principal: Writer) -> Delivery:
    """Its outbox gives nothing from now on, and who reads it now is given no more; messages given out before can still be
    reported, and their receipts come in. 409 unless it is `in_progress`; paused twice is as paused once."""
    now = datetime.now(UTC)
    async with writing(request) as connection:
        row = existing(await store.lock(connection, id))
        allowed(lifecycle.check_pause, row["status"])
        if row["paused_at"] is None:
            await store.change(connection, id, {"paused_at": now}, now)
            await note(connection, row, codes.PAUSED, "Paused: the outbox gives nothing.", principal, now, {})
    return await read(request, id, principal)


@router.post("/v1/deliveries/{id}/resume", summary="Go on with a paused delivery", response_model=Delivery)
async def resume(request: Request, id: DeliveryId, principal: Writer) -> Delivery:
    """Its outbox gives again what is `pending`, and its validity period is longer by the pause. 409 unless it is `in_progress`;
    one that is not paused goes on anyway."""
    now = datetime.now(UTC)
    async with writing(request) as connection:
        row = existing(await store.lock(connection, id))
        allowed(lifecycle.check_pause, row["status"])
        if row["paused_at"] is not None:
            await connection.execute(QUERIES["release_paused"], id, now)
            text = f"Going on after the pause since {said(row['paused_at'])}."
            seconds = round((now - row["paused_at"]).total_seconds(), 3)
            await note(connection, row, codes.RESUMED, text, principal, now, {"seconds": seconds})
    return await read(request, id, principal)
