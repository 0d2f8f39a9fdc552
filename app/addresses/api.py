"""One number: may it be sent to, what is known about it, and forgetting it."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from datetime import UTC, datetime
from tempfile import SpooledTemporaryFile
from typing import IO, Annotated, Any, Literal

import asyncpg
from fastapi import APIRouter, Depends, Query, Request
from pydantic import ValidationError
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from app import audit
from app.addresses import models, reading
from app.addresses.checking import SHAPE, Check, readable
from app.addresses.disks import spool_holds_rows
from app.addresses.erasure import QUERIES, Asked
from app.addresses.phones import erase_phone
from app.addresses.spellings import Spellings
from app.api import bulk, export
from app.api.bulk import BadRow, Line, Tally
from app.api.fields import AskedFlag, PathAddress, PathNumber, Plain, Region, SenderName
from app.api.readings import AskedAddressReading, Reading
from app.db import POOL_TIMEOUT_SECONDS, Connection, plain, pool_of, snapshot
from app.deliveries.rules import Rules
from app.errors import Busy, Invalid, Problem, TooLarge
from app.ingest.inbox import inbox_of
from app.links.routes import routes_of
from app.privacy import pseudonyms
from app.privacy.masking import mask, mask_numbers
from app.privacy.pseudonyms import pseudonyms_of
from app.problems import field_errors
from app.quarantine.api import explained_in
from app.security import NumberReader, Principal, QuarantineReader, QuarantineWriter, Reader
from app.settings import settings_of

router = APIRouter(prefix="/v1", tags=["addresses"])

ERASED = "ADR-ERASED"
#: Of a list to check: two million rows and more. It waits on disk until it is whole.
MOST_BYTES = 128_000_000
_MEMORY_BYTES = 1_000_000
_PIECE_BYTES = 65_536
_SPOOL_WAIT_SECONDS = 3.0


# --- may they be sent to ---------------------------------------------------------------------------------------------

_COLUMNS = ("line", "address", "allowed", "reason", "text")
_ANSWERS: dict[int | str, dict[str, Any]] = {200: {"content": {"application/json": {}, **export.TEXTS}}}
Countries = Annotated[Plain | None, Query(max_length=1000, examples=["ES,PT"])]
Choice = Literal["exclude", "send"]


def asked_rules(
    request: Request,
    landlines: Choice = "exclude",
    premium_rate: Choice = "exclude",
    countries_only: Countries = None,
    countries_except: Countries = None,
) -> Any:
    """The same rules as a delivery's (`rules`)."""
    countries = {"only": countries_only, "except": countries_except}
    given = {name: codes.split(",") for name, codes in countries.items() if codes is not None}
    values: dict[str, Any] = {"landlines": landlines, "premium_rate": premium_rate}
    try:
        return Rules(**values, **({"countries": given} if given else {}))
    except ValidationError as error:
        (first, *_) = field_errors(error.errors(), prefix="/rules")
        raise Invalid.field("?countries_only" if countries_only else "?countries_except", first["detail"]) from None


def asked_region(
    default_region: Annotated[Region | None, Query(description="Country of national numbers.", examples=["ES"])] = None,
) -> str | None:
    return default_region


@router.post(
    "/addresses/check",
    summary="Check whether numbers may be sent to",
    openapi_extra=bulk.described({"type": "array", "items": {}}),
    responses=_ANSWERS,
)
async def check(
    request: Request,
    principal: QuarantineReader,
    _: NumberReader,
    region: Annotated[str | None, Depends(asked_region)],
    rules: Annotated[Any, Depends(asked_rules)],
    asked: AskedAddressReading,
    sender: Annotated[SenderName, Query(description="Opt-outs to this sender count, too.")] = "",
) -> Response:
    """Bulk; one answer a row, in order, as JSON, or as CSV or NDJSON by `Accept`. The rules are those of preparation that
    need no delivery: no address, no possible number, a double in this list, opted out, in quarantine, left out by a rule.
    Nothing is stored. The list is read whole, to disk, before the answer begins. Needs `quarantine:read` and `pii:read`."""
    reading = Reading.of(request, asked, SHAPE, region)
    async with AsyncExitStack() as cleaning:
        body = cleaning.enter_context(_on_disk())
        await _receive(request, body)
        most = settings_of(request).max_row_bytes
        chunks = bulk.rows(_pieces(body), reading, max_row_bytes=most, bare="address")
        if reading.dry_run:
            tally = Tally()
            async for chunk in chunks:
                await readable(chunk, tally)
            return tally.response(reading=reading.shown(principal, tally.errors))
        first = await anext(chunks)
        checking = await _checking(request, principal, region, rules, sender)
        answered = _answered(checking, first, chunks, cleaning.pop_all(), principal)
    form = export.wanted(request)
    if form != "json":
        response = export.stream(form, _COLUMNS, answered, principal)
        response.headers.update(reading.in_header(principal))
        return response

    def tail() -> dict[str, Any]:
        return {"allowed": checking.allowed, "excluded": checking.excluded, "reading": reading.shown(principal)}

    return export.document(answered, {}, tail)


@contextmanager
def _on_disk() -> Iterator[IO[bytes]]:
    with SpooledTemporaryFile(max_size=_MEMORY_BYTES) as file:
        yield file


async def _receive(request: Request, body: IO[bytes]) -> None:
    """The whole body, before anything is answered: who sends it may read the answer only after that."""
    size = 0
    try:
        async for data in request.stream():
            size += len(data)
            if size > MOST_BYTES:
                raise TooLarge(f"Send at most {MOST_BYTES} bytes at a time.")
            body.write(data)
    except ClientDisconnect as error:
        raise Problem("The body ended early. Send it again.") from error
    body.seek(0)


async def _pieces(body: IO[bytes]) -> AsyncIterator[bytes]:
    while data := body.read(_PIECE_BYTES):
        yield data


async def _checking(request: Request, principal: Principal, region: str | None, rules: Any, sender: str) -> Check:
    async def kept_away(names: Sequence[str]) -> Sequence[Mapping[str, Any]]:
        async with pool_of(request).acquire(timeout=POOL_TIMEOUT_SECONDS) as connection:
            return [dict(row) for row in await connection.fetch(QUERIES["find_kept_away"], names, sender)]

    async with pool_of(request).acquire(timeout=POOL_TIMEOUT_SECONDS) as connection:
        any_erased = await pseudonyms.any_erased(connection)
    return Check(
        region=region,
        rules=rules,
        kept_away=kept_away,
        pseudonyms=pseudonyms_of(request) if any_erased else None,
        shown=lambda address: address,
    )


async def _answered(
    checking: Check,
    first: list[Line | BadRow],
    rest: AsyncIterator[list[Line | BadRow]],
    cleaning: AsyncExitStack,
    principal: Principal,
) -> AsyncIterator[list[dict[str, Any]]]:
    async with cleaning:
        found = await checking.answer(first)
        principal.reads(len(found))
        yield found
        async for chunk in rest:
            found = await checking.answer(chunk)
            principal.reads(len(found))
            yield found


# --- what is known about one -----------------------------------------------------------------------------------------


@router.get("/addresses/{address}", summary="Everything about one number", response_model=models.Address)
async def read(
    request: Request, number: PathAddress, principal: QuarantineReader, _: Reader, __: NumberReader
) -> models.Address:
    """Its health with the evidence, and the newest hundred each of messages, exclusions, replies and decisions, with
    their totals. Needs `quarantine:read`, `deliveries:read` and `pii:read`. An erased number is found by the number and by its
    pseudonym."""
    async with snapshot(request) as connection:
        health = await explained_in(connection, number, principal)
        driver = await plain(connection)
        names = await reading.names_of(driver, number, pseudonyms_of(request))
        facts = await reading.page(driver, names.all)
    return models.Address(
        address=names.shown,
        erased_at=names.erased_at,
        health=health.model_dump(),
        **facts,
    )


# --- forgetting one --------------------------------------------------------------------------------------------------

Reason = Annotated[
    Plain,
    Query(min_length=1, max_length=500, description="Why: for people, kept in the journal.", examples=["A request"]),
]


@router.delete("/addresses/{address}", summary="Erase a number", response_model=models.Certificate)
async def erase_one(
    request: Request,
    number: PathNumber,
    principal: QuarantineWriter,
    _: NumberReader,
    reason: Reason,
    dry_run: Annotated[AskedFlag, Query(description="Only say what would be replaced, by table.")] = False,
) -> models.Certificate:
    """The number becomes a keyed hash everywhere, and what else is known of the person goes: params and `recipient_id`,
    foreign references, reply texts, what people typed about it, agents and networks of its clicks. Opt-outs and quarantine
    still hold for the number, later receipts still count, and no counter changes. It cannot be undone. Needs
    `quarantine:write` and `pii:read`. Takes some seconds, and minutes with tens of millions of rows; a second time it finds
    only what came after the first. What providers and phones send about it later is new, and needs another time."""
    await _nothing_waits(request, number)
    now = datetime.now(UTC)
    asked = Asked(
        spellings=Spellings(number, pseudonyms_of(request).of(number)),
        maker=pseudonyms_of(request),
        reason=mask_numbers(reason).replace("\0", ""),
        actor=principal.name,
        now=now,
        dry_run=dry_run,
    )

    async def note(connection: Connection, certificate: Mapping[str, Any]) -> None:
        data = {"address": mask(number), **{name: certificate[name] for name in ("pseudonym", "replaced")}}
        await audit.append(
            connection, audit.PLATFORM, ERASED, "A number was erased.", at=now, actor=principal.name, data=data,
            personal={"reason": certificate["reason"]},
        )  # fmt: skip

    try:
        certificate = models.Certificate(**await erase_phone(pool_of(request), asked, note))
    except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
        raise Busy("The number is being worked on; send this again.") from None
    if dry_run:
        return certificate
    await _forget_links(request, asked.spellings.pseudonym)
    return certificate


async def _forget_links(request: Request, pseudonym: str) -> None:
    """What filled the links of its messages leaves memory and file."""
    async with pool_of(request).acquire(timeout=POOL_TIMEOUT_SECONDS) as connection:
        ids = [row["id"] for row in await connection.fetch(QUERIES["list_message_ids"], [pseudonym])]
    await routes_of(request).forget(ids)


async def _nothing_waits(request: Request, number: str) -> None:
    """Receipts that wait on the disks of this data directory cannot be looked through: they come to the database first.
    Replies of the number are applied first, so that no opt-out goes unheard."""
    names = pseudonyms_of(request).names(number)
    until = asyncio.get_running_loop().time() + _SPOOL_WAIT_SECONDS
    while True:
        if inbox_of(request).spooled or await asyncio.to_thread(
            spool_holds_rows, settings_of(request).data_dir / "spool"
        ):
            waits = "Receipts wait in a spool for the database; send this again when it is empty."
        else:
            async with pool_of(request).acquire(timeout=POOL_TIMEOUT_SECONDS) as connection:
                if not await connection.fetchval(QUERIES["has_unapplied"], names):
                    return
            waits = "Replies of this number wait to be applied; send this again."
        if asyncio.get_running_loop().time() > until:
            raise Busy(waits, retry_after=10)
        await asyncio.sleep(0.1)
