"""A delivery's audience: targets in, and what was uploaded."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from app import audit
from app.api import bulk
from app.api.described import READING
from app.api.fields import DeliveryId
from app.api.listing import Found, Listing, PageAsked, listed, paged
from app.api.paging import Page
from app.api.readings import AskedAddressReading, Reading
from app.db import Connection, snapshot, writing
from app.deliveries import audience as targets
from app.deliveries import codes, lifecycle, starting, store
from app.deliveries.preparation import QUERIES
from app.deliveries.requests import allowed, existing, hold_alone
from app.security import Principal, Reader, Writer
from app.settings import settings_of

router = APIRouter(tags=["deliveries"])

Mode = Literal["append", "replace"]

_ROW_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "address": {"type": ["string", "null"]},
        "recipient_id": {"type": ["string", "null"]},
        "params": {"type": ["object", "null"]},
        "control": {"type": ["boolean", "null"]},
    },
    "additionalProperties": False,
}


class Uploaded(BaseModel):
    accepted: int
    rejected: int
    errors: list[dict[str, Any]] = Field(description="`{line, detail}` of the first 100.")
    total: int = Field(description="Targets that the delivery has now.")
    reading: dict[str, Any] = Field(description=READING)


# --- targets in ------------------------------------------------------------------------------------------------------


@router.post(
    "/v1/deliveries/{id}/targets",
    summary="Upload the audience",
    openapi_extra=bulk.described({"type": "array", "items": _ROW_SCHEMA}),
    responses={200: {"model": Uploaded}},
    response_model=None,
)
async def post_targets(
    request: Request,
    id: DeliveryId,
    principal: Writer,
    asked: AskedAddressReading,
    mode: Annotated[Mode, Query(description="`replace` takes the place of all earlier targets.")] = "append",
) -> Response:
    """Bulk, all of it or nothing: what broke off can be sent again. Rows with wrong types are rejected as rows; an
    address that is no number becomes an exclusion when the delivery is prepared. In CSV all columns besides `address`,
    `recipient_id` and `control` are params. 409 unless the delivery is `editing` or `prepared`; what was prepared must
    be prepared again."""
    async with snapshot(request) as connection:
        row = existing(await store.read(connection, id))
    reading = Reading.of(request, asked, targets.SHAPE, row["default_region"])
    allowed(lifecycle.after_edit, row["status"])
    settings = settings_of(request)
    async with targets.on_disk(request) as body:
        upload = targets.Upload(
            body=body, reading=reading, max_row_bytes=settings.max_row_bytes, delivery_id=id,
            most=settings.audience_max,
        )  # fmt: skip
        total = row["targets"]
        if reading.dry_run:
            upload.standing = total if mode == "append" else 0
            await upload.only_read()
        else:
            with suppress(_NothingAccepted):
                async with writing(request) as connection:
                    await _take(connection, upload, mode, principal)
                total = upload.total
    return upload.tally.response(total=total, reading=reading.shown(principal, upload.tally.errors))


class _NothingAccepted(Exception):
    """Not one row was good: nothing is changed, and what stood stays."""


async def _take(connection: Connection, upload: targets.Upload, mode: Mode, principal: Principal) -> None:
    """The delivery itself is held only at the end: a long upload must not keep anybody from cancelling."""
    standing, last = await _held_alone(connection, upload.delivery_id)
    if mode == "append":
        upload.standing, upload.before = standing, last
    else:
        await connection.execute(QUERIES["delete_targets"], upload.delivery_id)
    await upload.copy(connection)
    if not upload.tally.accepted:
        raise _NothingAccepted
    row = existing(await store.lock(connection, upload.delivery_id))
    allowed(lifecycle.after_edit, row["status"])
    now = datetime.now(UTC)
    await starting.take_back(connection, row, actor=principal.name, now=now, why=starting.CHANGED)
    await connection.execute(QUERIES["set_targets"], upload.delivery_id, upload.total, now)
    await _note(connection, upload, mode, principal, now)


async def _held_alone(connection: Connection, id: int) -> tuple[int, int]:
    """How many targets there are, and the last one's position, while nobody else uploads, prepares or starts. Raises
    `Conflict`."""
    await hold_alone(connection, id)
    row = await connection.fetchrow(QUERIES["find_targets_state"], id)
    found = existing(row)
    allowed(lifecycle.after_edit, found["status"])
    return found["targets"], found["last_position"]


async def _note(
    connection: Connection, upload: targets.Upload, mode: Mode, principal: Principal, now: datetime
) -> None:
    tally = upload.tally
    done = "added" if mode == "append" else "put in place of all others"
    text = f"Targets {done}: {tally.accepted}; rejected: {tally.rejected}; now: {upload.total}."
    data = {"mode": mode, "accepted": tally.accepted, "rejected": tally.rejected, "total": upload.total}
    level: audit.Level = "warning" if tally.rejected else "info"
    await audit.append(
        connection, upload.delivery_id, codes.TARGETS, text, at=now, actor=principal.name, level=level, data=data
    )  # fmt: skip


# --- what was uploaded -----------------------------------------------------------------------------------------------


class ShownTarget(BaseModel):
    """As it was uploaded or corrected; not yet read as a number."""

    position: int = Field(description="From 1; it stays when others are taken out.")
    address: str | None = Field(description="As given; masked without `pii:read`.")
    recipient_id: str | None
    params: dict[str, Any]
    control: bool


class TargetPage(Page[ShownTarget]):
    pass


@router.get("/v1/deliveries/{id}/targets", summary="The audience as uploaded", **paged(TargetPage))
async def list_targets(request: Request, id: DeliveryId, principal: Reader, page: PageAsked) -> Any:
    """In the order of the upload. Without `pii:read` addresses come masked, recipient ids and params as `•••`."""

    async def find(after: Sequence[Any] | None, limit: int, _: bool) -> Found:
        async with snapshot(request) as connection:
            row = existing(await store.read(connection, id))
            return Found(
                await store.targets(connection, id, after=after[0] if after else 0, limit=limit), row["targets"]
            )

    targets = Listing(
        scope=f"targets {id}", find=find, position=lambda row: [row["position"]],
        show=lambda rows: principal.all_shown(map(shown, rows)), model=ShownTarget,
    )  # fmt: skip
    return await listed(page, principal, targets)


def shown(row: Any) -> dict[str, Any]:
    names = ("position", "recipient_id", "params", "control")
    return {name: row[name] for name in names} | {"address": row["given"] or None}
