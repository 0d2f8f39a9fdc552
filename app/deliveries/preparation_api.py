"""Preparing a delivery, and whom that left out. `preparer.py` does the work in the background."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from pydantic import AfterValidator, BaseModel, Field

from app.api import export
from app.api.fields import AskedNumber, DeliveryId, Plain, Several, refused, with_plus
from app.api.listing import Found, Listing, PageAsked, listed, paged, whole
from app.api.paging import Page
from app.db import snapshot, writing
from app.deliveries import codes, lifecycle, reading, store
from app.deliveries.api import read
from app.deliveries.exclusions import CAUSES, sentence
from app.deliveries.models import Delivery
from app.deliveries.preparation import QUERIES
from app.deliveries.preparer import preparer_of
from app.deliveries.requests import allowed, existing, hold_alone, note
from app.errors import Conflict
from app.numbers import normalise
from app.privacy.masking import in_pieces
from app.security import Principal, Reader, Writer, asks

router = APIRouter()

LONGEST_WAIT_SECONDS = 60
_POLL_SECONDS = 0.1


# --- prepare ---------------------------------------------------------------------------------------------------------

Wait = Annotated[
    AskedNumber,
    Query(ge=0, le=LONGEST_WAIT_SECONDS, description="Answer when it is done, or after so many seconds."),
]


@router.post(
    "/v1/deliveries/{id}/prepare",
    tags=["deliveries"],
    status_code=202,
    summary="Prepare a delivery",
    response_model=Delivery,
)
async def prepare(request: Request, id: DeliveryId, principal: Writer, wait: Wait = 0) -> Delivery:
    """In the background its targets become messages or exclusions, its text is examined, and it is `prepared`. An earlier
    result is thrown away. It goes on over restarts of the service. 409 unless the delivery is `editing` or `prepared`,
    and without targets."""
    now = datetime.now(UTC)
    async with writing(request) as connection:
        await hold_alone(connection, id)
        row = existing(await store.lock(connection, id))
        status = allowed(lifecycle.after_prepare, row["status"])
        if not row["targets"]:
            raise Conflict("This delivery has no targets: upload its audience first.")
        await store.change(connection, id, {"status": status}, now)
        await connection.execute(QUERIES["begin_preparation"], id, now, principal.name)
        text = f"Preparing {row['targets']} targets."
        await note(connection, row, codes.PREPARING, text, principal, now, {"targets": row["targets"]})
    preparer_of(request).wake()
    await _done(request, id, wait)
    return await read(request, id, principal)


async def _done(request: Request, id: int, seconds: float) -> None:
    """Returns when the delivery is not `preparing` any more, and after so many seconds anyway."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        async with snapshot(request) as connection:
            if await reading.status(connection, id) != "preparing":
                return
        await asyncio.sleep(_POLL_SECONDS)


# --- whom it left out ------------------------------------------------------------------------------------------------


class Exclusion(BaseModel):
    position: int = Field(description="Of the target, as uploaded.")
    address: str | None = Field(
        description="E.164, or as given where it is no possible number; masked without `pii:read`."
    )
    recipient_id: str | None
    status: Literal["ignored"] = "ignored"
    reason: str
    text: str = Field(description="What happened, as a sentence.")
    detail: dict[str, Any] | None
    excluded_at: datetime


class ExclusionPage(Page[Exclusion]):
    pass


class Cause(BaseModel):
    reason: str
    text: str = Field(description="What the reason means.")
    count: int


COLUMNS = tuple(Exclusion.model_fields)
_COLUMNS = ("position", "address", "recipient_id", "reason", "detail", "excluded_at")


def _is_cause(reason: str) -> str:
    if reason not in CAUSES:
        raise refused(f"must be one of {', '.join(CAUSES)}")
    return reason


Reasons = Annotated[
    list[Annotated[Plain, Field(max_length=40), AfterValidator(_is_cause)]],
    Several,
    Query(description="One or several.", examples=[["double"]]),
]
Address = Annotated[
    Plain | None,
    Query(
        max_length=200,
        description="Exactly this number in E.164 (`+` as `%2B`); or a text that is no number, as it was given.",
        examples=["+34600123000"],
    ),
]


def asked_filter(reason: Reasons = [], address: Address = None) -> reading.Filter:  # noqa: B006 — FastAPI copies it
    return reading.Filter(reasons=tuple(sorted(set(reason))), address=None if address is None else _as_kept(address))


def _as_kept(address: str) -> str:
    written = with_plus(address)
    return normalise(written) or written


@router.get(
    "/v1/deliveries/{id}/exclusions",
    tags=["reading a delivery"],
    summary="Targets that are not sent to",
    **paged(ExclusionPage),
)
async def list_exclusions(
    request: Request,
    principal: Reader,
    page: PageAsked,
    id: DeliveryId,
    asked: Annotated[reading.Filter, Depends(asked_filter)],
) -> Any:
    """In the order of the audience, each with its reason. They are no messages; their status is `ignored`. `address` needs
    `pii:read`."""
    asks(principal, number=asked.address)

    async def find(after: Sequence[Any] | None, limit: int, counted: bool) -> Found:
        async with snapshot(request) as connection:
            existing(await store.read(connection, id))
            rows = await reading.exclusions(connection, id, asked, after=after[0] if after else 0, limit=limit)
            return Found(rows, await reading.total(connection, id, asked) if counted else None)

    exclusions = Listing(
        scope=f"exclusions {id} {asked!r}", find=find, position=lambda row: [row["position"]],
        show=lambda rows: in_pieces(_item(row, principal) for row in rows), model=Exclusion,
    )  # fmt: skip
    return await listed(page, principal, exclusions)


def _item(row: Mapping[str, Any], principal: Principal) -> dict[str, Any]:
    """The sentence is made of what this key may see: it names other recipients."""
    seen = principal.shown({name: row[name] for name in _COLUMNS})
    names = ("position", "recipient_id", "reason", "detail", "excluded_at")
    return {name: seen[name] for name in names} | {
        "address": seen["address"] or None,
        "status": "ignored",
        "text": sentence(seen["reason"], seen["detail"]),
    }


@router.get(
    "/v1/deliveries/{id}/exclusions/causes",
    tags=["reading a delivery"],
    summary="Why targets are not sent to",
    response_model=list[Cause],
    responses=export.STREAMS,
)
async def list_causes(request: Request, id: DeliveryId, principal: Reader) -> Any:
    """By reason, in the order of the rules."""
    async with snapshot(request) as connection:
        existing(await store.read(connection, id))
        counts = await reading.causes(connection, id)
    causes = [
        Cause(reason=reason, text=text, count=counts[reason]) for reason, text in CAUSES.items() if counts.get(reason)
    ]
    return whole(request, principal, Cause, causes, causes)
