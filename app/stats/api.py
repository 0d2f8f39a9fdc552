"""What is read about a delivery as a whole: summary, history, events."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import StreamingResponse

from app.api import export
from app.api.fields import DeliveryId, Id, Plain, Time
from app.api.listing import whole
from app.db import snapshot
from app.errors import Invalid, NotFound
from app.security import Principal, Reader, allowed, authenticate, by_ticket, hash_secret, secret_of
from app.server.tickets import LIFE, tickets_of
from app.stats import store
from app.stats.events import Streams, events
from app.stats.steps import MAX_POINTS, automatic, iso, minute, minutes_of

router = APIRouter(tags=["reading a delivery"])

#: The years between which PostgreSQL and clients agree about times.
_YEARS = range(1990, 2200)


class Parts(BaseModel):
    total: int
    received: int


class Rates(BaseModel):
    """Between 0 and 1; null where there is nothing to divide by."""

    success: float | None = Field(description="success / to_send")
    errors: float | None = Field(description="errors / to_send")
    no_receipt: float | None = Field(description="no_receipt / to_send")
    processed: float | None = Field(description="processed / to_send")
    success_of_processed: float | None = Field(description="success / processed")


class Latency(BaseModel):
    """From submission to received, from classes that grow by 5 %: the error is at most 5 %. Null before the first."""

    median_seconds: float | None
    p95_seconds: float | None


class Summary(BaseModel):
    """All from counters that move with the messages; proofs never count. Each figure opens, as a filter of the
    message list, exactly the rows that it counts."""

    id: str
    status: str = Field(description="Of the delivery.")
    paused_at: datetime | None = Field(description="Since when the delivery is paused.")
    targeted: int = Field(description="to_send + excluded")
    to_send: int = Field(description="Messages: the sum over `by_status`.")
    processed: int = Field(description="success + errors")
    success: int = Field(description="`received`, the only success.")
    errors: int = Field(description="`failed`.")
    no_receipt: int
    in_transit: int = Field(description="`pending`, `submitted`, `accepted`, `sent`.")
    cancelled: int
    excluded: int
    new_quarantines: int
    clicks: int = Field(description="Short URLs opened by people.")
    unique_clicks: int = Field(description="Messages of which a person opened a link.")
    machine_clicks: int = Field(description="By previews, scanners, prefetch; kept, and left out of the others.")
    replies: int = Field(description="What phones wrote that most likely answers its messages; repeats are left out.")
    opt_outs: int = Field(description="Replies that denylisted their phone.")
    by_status: dict[str, int]
    by_failure_type: dict[str, int] = Field(description="Of the failed; as qualified now.")
    by_reason: dict[str, int] = Field(description="Of the failed; as qualified now.")
    kept_away_by_reason: dict[str, int] = Field(
        description="Cancelled by the outbox, for their numbers were denylisted or quarantined since the preparation."
    )
    by_gateway: dict[str, dict[str, int]] = Field(description="By gateway key (`-`: none), messages by status.")
    excluded_by_reason: dict[str, int]
    parts: Parts
    cost: dict[str, str] = Field(description="By currency, where receipts carry a price.")
    contradictory: int = Field(description="Received, though a receipt also said failed.")
    doubtful: int = Field(description="Failed or without a receipt, though a person opened a link of it.")
    unknown_receipts: int = Field(description="Receipts with a status word that the adapter does not know.")
    click_through_rate: float | None = Field(description="unique_clicks / received")
    rates: Rates
    latency: Latency


@router.get("/v1/deliveries/{id}/summary", summary="The indicators of a delivery", response_model=Summary)
async def read_summary(request: Request, id: DeliveryId, _: Reader) -> dict[str, Any]:
    """Costs the same at ten messages and at a hundred million."""
    found = await _read(request, id)
    if found is None:
        raise NotFound("There is no such delivery.")
    return found


async def _read(request: Request, id: int) -> dict[str, Any] | None:
    async with snapshot(request) as connection:
        return await store.summary(connection, id)


# --- history ---------------------------------------------------------------------------------------------------------


class Point(BaseModel):
    at: datetime = Field(description="Begin of the step.")
    received: int
    failed: int
    sent: int
    accepted: int
    clicks: int


class History(BaseModel):
    """How many messages reached each status first, and people's clicks, step by step; steps without events are there
    too, as zeros."""

    model_config = ConfigDict(populate_by_name=True)

    step: str
    from_: datetime = Field(alias="from")
    to: datetime
    items: list[Point]


Step = Annotated[
    Plain | None,
    Query(
        max_length=20,
        description="`5m`, `1h`, `1d` or ISO 8601 (`PT5M`), whole minutes; days are UTC. None: a readable chart.",
        examples=["5m"],
    ),
]
From = Annotated[
    Time | None, Query(alias="from", description="None: the first event.", examples=["2026-11-23T08:00:00Z"])
]
To = Annotated[Time | None, Query(description="None: the last event.", examples=["2026-11-23T09:00:00Z"])]


@router.get(
    "/v1/deliveries/{id}/history",
    summary="A delivery over time",
    response_model=History,
    responses=export.STREAMS,
)
async def read_history(
    request: Request, id: DeliveryId, principal: Reader, step: Step = None, from_: From = None, to: To = None
) -> Any:
    """Counts by step, rounded outwards to whole steps. A step that would give over 2 000 points is refused."""
    async with snapshot(request) as connection:
        span = await store.span(connection, id)
        if span is None:
            raise NotFound("There is no such delivery.")
        start, end, width = _window(span, step, from_, to)
        found = await store.history(connection, id, start=start, end=end, step=width)
    zeros = dict.fromkeys(store.SERIES, 0)
    points = [Point(at=_time(at), **(zeros | dict(found.get(at, {})))) for at in range(start, end, width)]
    answer = History(step=iso(width), from_=_time(start), to=_time(end), items=points)
    return whole(request, principal, Point, points, answer)


def _window(span: store.Span, step: str | None, from_: datetime | None, to: datetime | None) -> tuple[int, int, int]:
    """First minute, end and step, in minutes since 1970. Raises `Invalid`."""
    created = minute(span.created_at)
    start = _minute(from_, "?from") if from_ else (created if span.first is None else span.first)
    end = _minute(to, "?to") if to else (start if span.last is None else max(span.last, start)) + 1
    if end <= start:
        raise Invalid.field("?to", "`to` must be after `from`.")
    width = automatic(start, end) if step is None else minutes_of(step)
    if width is None:
        raise Invalid.field(
            "?step", "A step is a number of minutes, hours or days: `5m`, `1h`, `1d`, or ISO 8601 as in `PT5M`."
        )
    start, end = start // width * width, -(-end // width) * width
    if (end - start) // width > MAX_POINTS:
        raise Invalid.field(
            "?step", f"This step gives over {MAX_POINTS} points: take a longer step, or a shorter time."
        )
    return start, end, width


def _minute(at: datetime, pointer: str) -> int:
    if at.year not in _YEARS:
        raise Invalid.field(pointer, "The time is out of range.")
    return minute(at)


def _time(minutes: int) -> datetime:
    return datetime.fromtimestamp(minutes * 60, UTC)


# --- events ----------------------------------------------------------------------------------------------------------


class NewTicket(BaseModel):
    model_config = ConfigDict(extra="forbid")

    delivery_id: Id | None = Field(None, description="Only for this delivery's events; none: for those of each.")


class Ticket(BaseModel):
    ticket: str = Field(description="To be given as `?ticket=` of an event stream.")
    expires_at: datetime = Field(description="In 60 s. A stream that is open by then goes on.")


@router.post("/v1/tickets", status_code=201, summary="A ticket for an event stream")
async def make_ticket(request: Request, principal: Reader, body: NewTicket | None = None) -> Ticket:
    """A browser's `EventSource` can send no header: `GET /v1/deliveries/{id}/events?ticket=` takes this in the place of the
    key, for 60 s. It opens nothing else, and ends with the key. Make a new one before the stream is opened again."""
    until = datetime.now(UTC) + LIFE
    only = None if body is None or body.delivery_id is None else str(int(body.delivery_id))
    return Ticket(ticket=tickets_of(request).make(hash_secret(secret_of(request)), only, until), expires_at=until)


async def follower(
    request: Request,
    ticket: Annotated[
        Plain | None, Query(max_length=400, description="In the place of the key: `POST /v1/tickets` makes one.")
    ] = None,
) -> Principal:
    if ticket is None:
        return allowed(await authenticate(request), "deliveries:read")
    return allowed(await by_ticket(request, ticket, request.path_params["id"]), "deliveries:read")


@router.get(
    "/v1/deliveries/{id}/events",
    summary="The summary, whenever it changes",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "Server-sent events named `summary`, at most one a second; comments as heartbeats.",
            "content": {"text/event-stream": {}},
        }
    },
)
async def follow(request: Request, id: DeliveryId, _: Annotated[Principal, Depends(follower)]) -> StreamingResponse:
    """Ends when the client goes, and after an hour (open it anew). 503 when too many are open. Takes a key in the header, or
    a ticket in the query (`POST /v1/tickets`)."""
    if await _read(request, id) is None:
        raise NotFound("There is no such delivery.")
    streams = streams_of(request)
    streams.check()
    return StreamingResponse(
        _followed(request, id, streams),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _followed(request: Request, id: int, streams: Streams) -> AsyncIterator[bytes]:
    with streams.one():
        async for event in events(lambda: _read(request, id), request.is_disconnected):
            yield event


def streams_of(request: Request) -> Streams:
    found: Streams = request.app.state.event_streams
    return found
