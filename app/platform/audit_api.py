"""Reading the journals: the platform's own, and that of each delivery; and checking their chains."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from app import audit, audit_heads
from app.accounts import store
from app.api.fields import DeliveryId, Plain
from app.api.listing import Found, Listing, PageAsked, listed, paged
from app.api.paging import Page
from app.audit_heads import signer_of
from app.db import plain_snapshot, writing
from app.errors import Busy, Invalid, NotFound
from app.security import Principal, Reader

router = APIRouter(prefix="/v1", tags=["audit"])

Level = Annotated[audit.Level | None, Query(description="Only entries of this level.")]


class Entry(BaseModel):
    seq: int
    at: datetime
    level: str
    code: str
    text: str
    actor: str
    data: dict[str, Any] = Field(description="What was erased since is null.")
    personal: dict[str, str] = Field(
        description="Which of `data` stands beside the chain, because it may name somebody, and the hash of it that the "
        "chain holds."
    )
    hash: str = Field(description="SHA-256 over the entry before and this one, hexadecimal.")


class EntryPage(Page[Entry]):
    pass


class Verdict(BaseModel):
    intact: bool
    entries: int = Field(description="Entries whose chain holds, from the first.")
    broken_at: int | None = Field(
        description="`seq` of the first that was altered, is missing, or is not what was signed: then the chain was written "
        "anew."
    )


class Head(BaseModel):
    """How far a journal is, signed: whoever keeps it can show later that nothing before was written anew."""

    chain: str = Field(description="A delivery's id; 0: the platform's own journal.")
    seq: int
    hash: str = Field(description="Of the entry `seq`, hexadecimal.")
    at: datetime
    key_id: str = Field(description="Of the sealing key that the signature's key is derived from.")
    signature: str = Field(description="HMAC-SHA256, hexadecimal.")
    token: str = Field(description="All of it in one word, for `?head=` of `…/audit/verify`.")


Shown = Annotated[
    Plain | None,
    Query(max_length=2_000, description="A head given out earlier: its `token`, or the JSON object."),
]


@router.get("/audit", summary="The platform's own journal", **paged(EntryPage))
async def platform_journal(request: Request, principal: Reader, page: PageAsked, level: Level = None) -> Any:
    """What is not about one delivery: gateways, keys, quarantine, qualifications. Newest first."""
    return await _journal(page, principal, audit.PLATFORM, level)


@router.get("/audit/verify", summary="Check the chain of the platform's journal")
async def verify_platform(request: Request, principal: Reader, head: Shown = None) -> Verdict:
    """Each entry against the one before, and all against the heads that were signed; `head`: against one more."""
    return await _verify(request, audit.PLATFORM, head)


@router.get("/audit/head", summary="The signed head of the platform's journal")
async def platform_head(request: Request, principal: Reader) -> Head:
    return await _head(request, audit.PLATFORM)


@router.get(
    "/deliveries/{id}/audit",
    summary="The journal of a delivery",
    **paged(EntryPage),
)
async def delivery_journal(
    request: Request, principal: Reader, page: PageAsked, id: DeliveryId, level: Level = None
) -> Any:
    """Newest first."""
    chain = await _chain(request, id)
    return await _journal(page, principal, chain, level)


@router.get("/deliveries/{id}/audit/verify", summary="Check the chain of a delivery's journal")
async def verify_delivery(request: Request, principal: Reader, id: DeliveryId, head: Shown = None) -> Verdict:
    """Each entry against the one before, and all against the heads that were signed; `head`: against one more."""
    return await _verify(request, await _chain(request, id), head)


@router.get("/deliveries/{id}/audit/head", summary="The signed head of a delivery's journal")
async def delivery_head(request: Request, principal: Reader, id: DeliveryId) -> Head:
    return await _head(request, await _chain(request, id))


async def _journal(page: PageAsked, principal: Principal, chain: int, level: str | None) -> Any:
    async def find(after: Sequence[Any] | None, limit: int, counted: bool) -> Found:
        async with plain_snapshot(page.request) as connection:
            rows = await store.journal_before(connection, chain, level, after[0] if after else None, limit)
            return Found(rows, await store.journal_length(connection, chain, level) if counted else None)

    entries = Listing(
        scope=f"audit:{chain}:{level}", find=find, position=lambda row: [row["seq"]],
        show=lambda rows: principal.all_shown(map(_whole, rows)), model=Entry,
    )  # fmt: skip
    return await listed(page, principal, entries)


_COLUMNS = frozenset(("seq", "at", "level", "code", "text", "actor", "data", "hash", "beside"))


def _whole(row: Any) -> dict[str, Any]:
    """An entry with what may be personal beside it."""
    entry = {name: value for name, value in row.items() if name in _COLUMNS}
    data, hashes = audit.whole(row["data"], entry.pop("beside"))
    return entry | {"data": data, "personal": hashes}


async def _head(request: Request, chain: int) -> Head:
    signer = _signer(request)
    async with writing(request) as connection:
        head = await audit_heads.sign(connection, signer, chain, datetime.now(UTC))
    return Head(**head.shown())


def _signer(request: Request) -> audit_heads.Signer:
    signer: audit_heads.Signer | None = signer_of(request)
    if signer is None:
        raise Busy("The key that signs heads is not known yet.")
    return signer


async def _verify(request: Request, chain: int, given: str | None) -> Verdict:
    signer = _signer(request)
    one = () if given is None else (_shown_head(signer, chain, given),)
    async with plain_snapshot(request) as connection:
        known = await audit_heads.known(connection, signer, chain)
        entries, broken_at = await audit.verify(connection, chain, [*known, *one])
    return Verdict(intact=broken_at is None, entries=entries, broken_at=broken_at)


def _shown_head(signer: audit_heads.Signer, chain: int, given: str) -> audit.Known:
    """Raises `Invalid` for what was not given out here, or for another journal."""
    try:
        head = audit_heads.read(given)
    except audit_heads.NoHead:
        raise Invalid.field("?head", "This is not a head as `…/audit/head` gives it.") from None
    if head.chain != chain:
        raise Invalid.field("?head", "This is the head of another journal.")
    if not signer.holds(head):
        raise Invalid.field("?head", "This head was not signed here, or by a key that is not known any more.")
    return audit.Known(head.seq, head.hash)


async def _chain(request: Request, delivery_id: int) -> int:
    """Of a delivery that exists. Raises `NotFound`."""
    async with plain_snapshot(request) as connection:
        if await store.delivery_exists(connection, delivery_id):
            return delivery_id
    raise NotFound("There is no such delivery.")
