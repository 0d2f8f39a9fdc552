"""Reading the journals: the platform's own, and that of each delivery; and checking their chains."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from app import audit
from app.api import export
from app.api.paging import Cursor, Limit, Page
from app.errors import NotFound
from app.logs import masked
from app.platform import store
from app.platform.fields import reading
from app.security import Principal, Reader

router = APIRouter(prefix="/v1", tags=["audit"])

_CHUNK = 1_000
_ENTRY: dict[str, Any] = {
    "seq": 1,
    "at": "2026-11-23T08:00:00Z",
    "level": "info",
    "code": "DLV-STARTED",
    "text": "Sending began elsewhere.",
    "actor": "crm",
    "data": {},
    "hash": "5d41402abc4b2a76b9719d911017c592ae2f5c3b4c1f2d6e8a9b0c1d2e3f4a5b",
}
Level = Annotated[audit.Level | None, Query(description="Only entries of this level.")]
DeliveryId = Annotated[str, Path(max_length=40)]


class Entry(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [_ENTRY]})

    seq: int
    at: datetime
    level: str
    code: str
    text: str
    actor: str
    data: dict[str, Any]
    hash: str = Field(description="SHA-256 over the entry before and this one, hexadecimal.")


class EntryPage(Page[Entry]):
    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [_ENTRY], "next_cursor": None, "total": 1}]})


class Verdict(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"intact": True, "entries": 12, "broken_at": None}]})

    intact: bool
    entries: int = Field(description="Entries whose chain holds, from the first.")
    broken_at: int | None = Field(description="`seq` of the first that was altered or is missing.")


@router.get("/audit", response_model=EntryPage, responses=export.STREAMS, summary="The platform's own journal")
async def platform_journal(
    request: Request, principal: Reader, level: Level = None, limit: Limit = 100, cursor: Cursor = None
) -> Any:
    """What is not about one delivery: gateways, keys, quarantine, qualifications. Newest first."""
    return await _journal(request, principal, audit.PLATFORM, level, limit, cursor)


@router.get("/audit/verify", summary="Check the chain of the platform's journal")
async def verify_platform(request: Request, principal: Reader) -> Verdict:
    return await _verify(request, audit.PLATFORM)


@router.get(
    "/deliveries/{id}/audit",
    response_model=EntryPage,
    responses=export.STREAMS,
    summary="The journal of a delivery",
)
async def delivery_journal(
    request: Request,
    principal: Reader,
    id: DeliveryId,
    level: Level = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Any:
    """Newest first."""
    chain = await _chain(request, id)
    return await _journal(request, principal, chain, level, limit, cursor)


@router.get("/deliveries/{id}/audit/verify", summary="Check the chain of a delivery's journal")
async def verify_delivery(request: Request, principal: Reader, id: DeliveryId) -> Verdict:
    return await _verify(request, await _chain(request, id))


async def _journal(
    request: Request, principal: Principal, chain: int, level: str | None, limit: int, cursor: str | None
) -> Any:
    scope = f"audit:{chain}:{level}"
    before = request.app.state.cursors.open(scope, cursor)[0] if cursor else None
    form = export.wanted(request)
    if form != "json":
        return export.stream(form, tuple(Entry.model_fields), _all(request, principal, chain, level))
    async with reading(request) as connection:
        rows = await store.journal_before(connection, chain, level, before, limit + 1)
        total = await store.journal_length(connection, chain, level)
    more = request.app.state.cursors.seal(scope, [rows[limit - 1]["seq"]]) if len(rows) > limit else None
    return EntryPage(items=[Entry(**row) for row in _seen_by(principal, rows[:limit])], next_cursor=more, total=total)


async def _all(
    request: Request, principal: Principal, chain: int, level: str | None
) -> AsyncIterator[Sequence[Mapping[str, Any]]]:
    """The whole journal, some at a time; the connection goes back between chunks, however slowly they are read."""
    before: int | None = None
    while True:
        async with reading(request) as connection:
            rows = await store.journal_before(connection, chain, level, before, _CHUNK)
        if rows:
            yield _seen_by(principal, rows)
            before = rows[-1]["seq"]
        if len(rows) < _CHUNK:
            return


def _seen_by(principal: Principal, rows: Sequence[Any]) -> list[dict[str, Any]]:
    """Addresses that an entry names are masked for keys without `pii:read`."""
    if principal.may("pii:read"):
        return [dict(row) for row in rows]
    return [{**row, "text": masked(row["text"]), "data": masked(row["data"])} for row in rows]


async def _verify(request: Request, chain: int) -> Verdict:
    async with reading(request) as connection:
        entries, broken_at = await audit.verify(connection, chain)
    return Verdict(intact=broken_at is None, entries=entries, broken_at=broken_at)


async def _chain(request: Request, delivery_id: str) -> int:
    """Of a delivery that exists. Raises `NotFound`."""
    if delivery_id.isascii() and delivery_id.isdigit() and len(delivery_id) <= 18:
        async with reading(request) as connection:
            if await store.delivery_exists(connection, int(delivery_id)):
                return int(delivery_id)
    raise NotFound("There is no such delivery.")
