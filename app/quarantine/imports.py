"""`POST /v1/quarantine`: opt-outs and dead numbers in bulk, from another system, a provider's list, a deactivation file."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, TypeAdapter
from starlette.responses import Response

from app import audit
from app.api import bulk
from app.api.bulk import BadRow, Line, Tally, chunks, parts
from app.api.fields import Address, Region, SenderName, Time
from app.api.reader import RowRefused, detail_of
from app.api.uploads import journalled
from app.db import Connection, load_queries, pool_of, writing
from app.identities import identity, spellings
from app.numbers import normalise, unread, why_not
from app.quarantine.changing import Decision, record
from app.quarantine.models import Note
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


class Row(BaseModel):
    """One number. What is not given is as the query says."""

    model_config = ConfigDict(extra="forbid")

    address: Address
    status: Status | None = None
    reason: Reason | None = None
    sender: SenderName | None = None
    at: Time | None = None
    note: Note | None = None


_ROW = TypeAdapter(Row)


@router.post(
    "/quarantine",
    summary="Import opt-outs and dead numbers",
    openapi_extra=bulk.described({"type": "array", "items": {"type": "object"}}),
)
async def import_rows(
    request: Request,
    principal: QuarantineWriter,
    status: Annotated[Status, Query(description="Of rows that say none.")] = "denylisted",
    default_region: Annotated[Region | None, Query(description="Country of national numbers.", examples=["ES"])] = None,
) -> Response:
    """Bulk. `denylisted`: the person wants none; `quarantined`: the number is no more. With `sender` it holds for that
    sender only. `at` is when it was said: a START after it still counts. What stands already counts as accepted and
    changes nothing, so an import that broke off can simply be sent again."""
    tally = Tally()
    async with journalled(pool_of(request), audit.PLATFORM, IMPORTED, principal.name, tally) as upload:
        async for chunk in chunks(request, max_row_bytes=settings_of(request).max_row_bytes):
            decided = await _read(chunk, status, default_region, principal, tally)
            now = datetime.now(UTC)
            async with writing(request) as connection:
                new = await _new(connection, decided)
                moved = await record(connection, new, now)
                await upload.add(connection, moved.deliveries, accepted=len(decided), new=len(new))
            tally.accepted += len(decided)
    return tally.response()


async def _read(
    chunk: Sequence[Line | BadRow], status: Status, region: str | None, principal: Principal, tally: Tally
) -> Sequence[Decision]:
    now = datetime.now(UTC)
    found = []
    async for part in parts(chunk):
        for line in part:
            try:
                if isinstance(line, BadRow):
                    raise RowRefused(line.detail)
                found.append(_decision(line, status, region, principal, now))
            except Exception as error:  # a bad row costs itself, whatever is wrong with it
                tally.reject(line.number, detail_of(error))
    return found


def _decision(line: Line, status: Status, region: str | None, principal: Principal, now: datetime) -> Decision:
    """Raises `ValueError` with a sentence that repeats nothing of the row's values."""
    row: Row = line.model(_ROW)
    address = normalise(row.address, region)
    if address is None:
        raise RowRefused(f"address: {unread(why_not(row.address, region), region)}")
    if row.at is not None and not (row.at.year >= 1990 and row.at <= now + _LEAD):
        raise RowRefused("at: this time cannot be when it was said.")
    said = row.status or status
    return Decision(
        address=address,
        kind=_KINDS[said],
        reason=row.reason or said,
        origin="import",
        actor=principal.name,
        at=row.at or now,
        sender=(row.sender or "") if said == "denylisted" else "",
        note=row.note,
    )


async def _new(connection: Connection, decided: Sequence[Decision]) -> list[Decision]:
    """Those that do not stand already, in whatever spelling; of several alike in one chunk the first."""
    asked = {name for each in decided for name in spellings(each.address)}
    rows = await connection.fetch(QUERIES["find_statuses"], list(asked))
    known: set[tuple[str, str, str | None]] = {
        (identity(row["address"]), row["sender"], _KINDS.get(row["status"])) for row in rows
    }
    found = []
    for each in decided:
        one = (identity(each.address), each.sender, each.kind)
        if one not in known:
            known.add(one)
            found.append(each)
    return found
