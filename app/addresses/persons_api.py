"""What a person may ask for: all that is known about the number; and the certificates of those that were erased."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from app import audit
from app.addresses import certificates, models, reading
from app.addresses.erasure import QUERIES
from app.addresses.export import everything
from app.api import export
from app.api.fields import PathAddress, Plain
from app.api.listing import Found, Listing, PageAsked, listed, paged
from app.db import POOL_TIMEOUT_SECONDS, plain_snapshot, pool_of, writing
from app.errors import NotFound
from app.privacy import pseudonyms
from app.privacy.masking import mask
from app.privacy.pseudonyms import pseudonyms_of
from app.security import NumberReader, Principal, QuarantineReader, Reader

router = APIRouter(prefix="/v1", tags=["addresses"])

EXPORTED = "ADR-EXPORTED"
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "All of it, as one JSON document or as NDJSON.",
        "content": {"application/json": {}, "application/x-ndjson": {"schema": {"type": "string"}}},
    }
}


@router.get("/addresses/{address}/export", summary="All that is known about one number", responses=_ANSWERS)
async def export_one(
    request: Request, number: PathAddress, principal: QuarantineReader, reader: Reader, _: NumberReader
) -> Response:
    """For the person who asks: messages with what was uploaded for them, their submissions, keys, receipts (raw) and clicks;
    exclusions, replies, decisions, quarantine. One JSON document `{address, erased_at, exported_at, items}`, or NDJSON by
    `Accept`, each item with its `kind`. Needs `quarantine:read`, `deliveries:read` and `pii:read`; each time leaves an
    entry in the journal. An erased number is found by the number and by its pseudonym."""
    maker, now = pseudonyms_of(request), datetime.now(UTC)
    async with writing(request) as connection:
        names = await reading.names_of(connection, number, maker)
        data = {"address": mask(number), "pseudonym": maker.of(number)}
        text = "All that is known about a number was exported."
        await audit.append(connection, audit.PLATFORM, EXPORTED, text, at=now, actor=principal.name, data=data)
    chunks = export.noted(_counted(everything(pool_of(request), names.all), principal), principal)
    if export.wanted(request) == "ndjson":
        return export.stream("ndjson", (), chunks)
    head = {"address": names.shown, "erased_at": names.erased_at, "exported_at": now}
    return export.document(chunks, head)


async def _counted(
    chunks: AsyncIterator[list[dict[str, Any]]], principal: Principal
) -> AsyncIterator[list[dict[str, Any]]]:
    async for items in chunks:
        principal.reads(len(items))
        yield items


# --- certificates ----------------------------------------------------------------------------------------------------


@router.get("/erasures", summary="Numbers that were erased", **paged(models.CertificatePage))
async def list_certificates(request: Request, principal: QuarantineReader, page: PageAsked) -> Any:
    """Their certificates, newest first. They name nobody."""

    async def find(after: Sequence[Any] | None, limit: int, _: bool) -> Found:
        at, name = after or (None, None)
        async with plain_snapshot(request) as connection:
            before = None if at is None else datetime.fromisoformat(at)
            rows = await connection.fetch(QUERIES["list_certificates"], before, name, limit)
            return Found(rows, await connection.fetchval(QUERIES["count_erased"]))

    erasures = Listing(
        scope="erasures", find=find, position=lambda row: [row["erased_at"].isoformat(), row["pseudonym"]],
        show=lambda rows: principal.all_shown(map(certificates.shown, rows)), model=models.Certificate,
    )  # fmt: skip
    return await listed(page, principal, erasures)


@router.get("/erasures/{id}", summary="The certificate of an erasure", response_model=models.Certificate)
async def certificate(
    request: Request,
    principal: QuarantineReader,
    id: Annotated[Plain, Path(max_length=60, pattern=r"^[!-~]+$", description="Of the certificate, or the pseudonym.")],
) -> models.Certificate:
    name = id if id.startswith(pseudonyms.PREFIX) else pseudonyms.PREFIX + id
    async with pool_of(request).acquire(timeout=POOL_TIMEOUT_SECONDS) as connection:
        row = await connection.fetchrow(QUERIES["find_certificate"], name)
    if row is None:
        raise NotFound("There is no such certificate.")
    return models.Certificate(**principal.shown(certificates.shown(row)))
