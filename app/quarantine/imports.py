"""`POST /v1/quarantine`: opt-outs and dead numbers in bulk, from another system, a provider's list, a deactivation file."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, NamedTuple

from fastapi import APIRouter, Query, Request
from pydantic import AfterValidator, BaseModel, ConfigDict, TypeAdapter
from starlette.responses import Response

from app import audit
from app.api import bulk
from app.api.bulk import BadRow, Line, Tally, chunks, parts
from app.api.columns import Shape
from app.api.fields import Address, Region, SenderName, Time, refused
from app.api.reader import RowRefused, detail_of, read_address
from app.api.readings import AskedAddressReading, Reading
from app.api.uploads import journalled
from app.db import Connection, load_queries, pool_of, writing
from app.errors import Invalid
from app.quarantine import models
from app.quarantine.changing import Decision, record
from app.quarantine.models import Note
from app.quarantine.rules import OWN_ORIGINS
from app.quarantine.store import identities
from app.security import Principal, QuarantineWriter
from app.settings import settings_of

QUERIES = load_queries(__file__)

router = APIRouter(prefix="/v1", tags=["quarantine"])

IMPORTED = "QRT-IMPORTED"
Status = Literal["denylisted", "quarantined"]
_KINDS: dict[str, Literal["denylist", "quarantine"]] = {"denylisted": "denylist", "quarantined": "quarantine"}
#: Reasons that make sense of a number that must not be sent to.
Reason = Literal[
    "denylisted", "quarantined", "user_unknown", "account_disabled", "unreachable", "refused", "invalid_address"
]
_LEAD = timedelta(minutes=10)
_NOT_YET = datetime.min.replace(tzinfo=UTC)


def _of_a_list(origin: str) -> str:
    if origin in OWN_ORIGINS:
        raise refused("is what did not come by an import; name the list")
    return origin


ListName = Annotated[models.Origin, AfterValidator(_of_a_list)]


class Row(BaseModel):
    """One number. What is not given is as the query says."""

    model_config = ConfigDict(extra="forbid")

    address: Address
    status: Status | None = None
    reason: Reason | None = None
    sender: SenderName | None = None
    at: Time | None = None
    note: Note | None = None
    origin: ListName | None = None
    until: Time | None = None


_ROW = TypeAdapter(Row)
_SHAPE = Shape(fields=tuple(Row.model_fields), needs_address=True)


@router.post(
    "/quarantine",
    summary="Import opt-outs and dead numbers",
    openapi_extra=bulk.described({"type": "array", "items": {"type": "object"}}),
)
async def import_rows(
    request: Request,
    principal: QuarantineWriter,
    asked: AskedAddressReading,
    status: Annotated[Status, Query(description="Of rows that say none.")] = "denylisted",
    default_region: Annotated[Region | None, Query(description="Country of national numbers.", examples=["ES"])] = None,
    origin: Annotated[
        ListName, Query(description="The list, for rows that name none.", examples=["deactivations"])
    ] = "import",
    until: Annotated[Time | None, Query(description="Of rows that say none: they hold until then.")] = None,
) -> Response:
    """Bulk. `denylisted`: the person wants none; `quarantined`: the number is no more. With `sender` it holds for that
    sender only. `at` is when it was said: a START after it still counts. `until` is when it ends, as for numbers that an
    operator took back and gives out again; `origin` names the list (`deactivations`), and finds its rows. What stands already,
    and as long, counts as accepted and changes nothing, so an import that broke off can simply be sent again."""
    unsaid = _unsaid(status, default_region, origin, until, principal)
    reading, tally = Reading.of(request, asked, _SHAPE, default_region), Tally()
    most = settings_of(request).max_row_bytes
    if reading.dry_run:
        async for chunk in chunks(request, reading, max_row_bytes=most):
            tally.accepted += len(await _read(chunk, unsaid, tally))
        return tally.response(reading=reading.shown(principal, tally.errors))
    async with journalled(pool_of(request), audit.PLATFORM, IMPORTED, principal.name, tally) as upload:
        async for chunk in chunks(request, reading, max_row_bytes=most):
            decided = await _read(chunk, unsaid, tally)
            now = datetime.now(UTC)
            async with writing(request) as connection:
                new = await _new(connection, decided)
                moved = await record(connection, new, now)
                await upload.add(connection, moved.deliveries, accepted=len(decided), new=len(new))
            tally.accepted += len(decided)
    return tally.response(reading=reading.shown(principal, tally.errors))


class Unsaid(NamedTuple):
    """What rows mean that do not say it."""

    status: Status
    region: str | None
    origin: str
    until: datetime | None
    actor: str


def _unsaid(status: Status, region: str | None, origin: str, until: datetime | None, principal: Principal) -> Unsaid:
    if until is not None and until <= datetime.now(UTC):
        raise Invalid.field("?until", "This time is over.")
    return Unsaid(status, region, origin, until, principal.name)


async def _read(chunk: Sequence[Line | BadRow], unsaid: Unsaid, tally: Tally) -> Sequence[Decision]:
    now = datetime.now(UTC)
    found = []
    async for part in parts(chunk):
        for line in part:
            try:
                if isinstance(line, BadRow):
                    raise RowRefused(line.detail)
                found.append(_decision(line, unsaid, now))
            except Exception as error:  # a bad row costs itself, whatever is wrong with it
                tally.reject(line.number, detail_of(error))
    return found


def _decision(line: Line, unsaid: Unsaid, now: datetime) -> Decision:
    """Raises `ValueError` with a sentence that repeats nothing of the row's values."""
    row: Row = line.model(_ROW)
    address = read_address(row.address, unsaid.region)
    if row.at is not None and not (row.at.year >= 1990 and row.at <= now + _LEAD):
        raise RowRefused("at: this time cannot be when it was said.")
    until = row.until or unsaid.until
    if until is not None and until <= max(now, row.at or now):
        raise RowRefused("until: this time is over, or before it was said.")
    said = row.status or unsaid.status
    return Decision(
        address=address,
        kind=_KINDS[said],
        reason=row.reason or said,
        origin=row.origin or unsaid.origin,
        actor=unsaid.actor,
        # Their clock may be ahead; whatever is decided from now on comes after what we know now.
        at=min(row.at or now, now),
        sender=(row.sender or "") if said == "denylisted" else "",
        note=row.note,
        until=until,
    )


async def _new(connection: Connection, decided: Sequence[Decision]) -> list[Decision]:
    """Those that do not stand already for as long, under whatever name of the phone; of several alike in one chunk the first. One
    that stands under the pseudonym of an erased number is not written down again in clear."""
    names = await identities(connection, [each.address for each in decided])
    rows = await connection.fetch(QUERIES["find_statuses"], list({*names, *names.values()}))
    known: dict[tuple[str, str, str | None], datetime | None] = {
        (names.get(row["address"], row["address"]), row["sender"], _KINDS.get(row["status"])): row["clears_at"]
        for row in rows
    }
    found = []
    for each in decided:
        one = (names[each.address], each.sender, each.kind)
        until = known.get(one, _NOT_YET)
        if until is not None and (each.until is None or each.until > until):
            known[one] = each.until
            found.append(each)
    return found
