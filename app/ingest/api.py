"""Facts in by API: receipts in bulk, messages sent elsewhere, submissions."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Any, TypeVar

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    field_validator,
    model_validator,
)

from app import audit
from app.accounts.directory import directory_of
from app.api import fields
from app.api.bulk import BadRow, Line, Tally, chunks, parts
from app.api.fields import Address, DeliveryId, Plain, Time
from app.api.reader import RowRefused, detail_of
from app.api.uploads import journalled
from app.db import POOL_TIMEOUT_SECONDS, Connection, pool_of
from app.errors import Conflict, NotFound
from app.gateways import generic
from app.gateways.receipt import MAX_ID_LENGTH, Gateway, Receipt
from app.ingest.docs import MESSAGES, RECEIPTS, SUBMISSIONS
from app.ingest.fast_rows import Heads, plain_row
from app.ingest.inbox import inbox_of
from app.ingest.kinds import Row
from app.ingest.named import Named
from app.ingest.pipeline import QUERIES, TRANSIENT
from app.ingest.rows import inbox_row
from app.matching.recording import KeyTaken, Outcome, Sent, Submission, record_messages, record_submissions
from app.numbers import normalise
from app.references import PREFIX, message_of
from app.security import Principal, ReceiptWriter, Writer
from app.settings import settings_of

router = APIRouter(prefix="/v1")

#: States of a delivery in which messages sent elsewhere are taken; `finished` is opened again by them.
OPEN = ("editing", "in_progress", "finished")
#: States in which submissions are taken. A gateway's word is stronger than `cancelled`: what was handed over counts.
_HANDING_OVER = ("in_progress", "finished", "cancelled")
#: States in which there are submissions of proofs only.
_UNSTARTED = ("editing", "preparing", "prepared")
HAS_TARGETS = "This delivery has an audience here: messages sent elsewhere belong to a delivery of their own."
_TRIES = 5
#: Ids recorded in one go: more than a chunk of ordinary rows has.
_MOST_IDS = 2_000
ResultT = TypeVar("ResultT")
RowT = TypeVar("RowT")


# --- receipts in bulk ------------------------------------------------------------------------------------------------


@router.post(
    "/receipts", status_code=202, tags=["receipts"], summary="Receipts in bulk, in Acuse's own words", **RECEIPTS
)
async def post_receipts(request: Request, principal: ReceiptWriter) -> Response:
    """202 once every accepted row is durable. Rows name their gateway; repeats change nothing."""
    named, tally = Named(directory_of(request), of_receipts=True), Tally()
    storing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    storing.set_result(None)
    async for chunk in chunks(request, max_row_bytes=settings_of(request).max_row_bytes):
        rows = await _receipt_rows(chunk, named, tally)
        await storing  # one chunk is made durable while the next is read: never more than two in memory
        storing = asyncio.ensure_future(inbox_of(request).put(rows))
        tally.accepted += len(rows)
    await storing
    return tally.response(202)


async def _receipt_rows(chunk: Sequence[Line | BadRow], named: Named, tally: Tally) -> list[Row]:
    now = datetime.now(UTC)
    heads = Heads(named.get, now)
    rows: list[Row] = []
    homeless: list[tuple[int, str | None, Receipt]] = []
    async for part in parts(chunk):
        for line in part:
            if type(line) is Line and type(line.value) is bytes and (row := plain_row(line.value, heads)) is not None:
                rows.append(row)
                continue
            try:
                key, receipt = _read_receipt(line)
                gateway = named.get(key) if key else None
                if gateway is None:
                    homeless.append((line.number, key, receipt))
                else:
                    rows.append(inbox_row(gateway, receipt, now, vouched=True))
            except Exception as error:  # a bad row costs itself, whatever is wrong with it
                tally.reject(line.number, detail_of(error))
    if homeless:
        await named.found(key for _, key, _ in homeless if key)
        for number, key, receipt in homeless:
            gateway = named.get(key) if key else None
            if gateway is None:
                tally.reject(number, "There is no such gateway.")
            else:
                rows.append(inbox_row(gateway, receipt, now, vouched=True))
    return rows


def _read_receipt(line: Line | BadRow) -> tuple[str | None, Receipt]:
    """The gateway's key and the receipt. Raises `ValueError` with what is wrong with the row."""
    if isinstance(line, BadRow):
        raise RowRefused(line.detail)
    value = line.read()
    if isinstance(line.value, bytes):
        read = generic.read_value(value, line.value)
    else:
        read = generic.read_csv(line.value, orjson.dumps(dict(line.value)))
    if isinstance(read, str):
        raise RowRefused(read)
    return read


# --- messages sent elsewhere, submissions ----------------------------------------------------------------------------


Id = Annotated[Plain, Field(min_length=1, max_length=MAX_ID_LENGTH)]
Ids = Annotated[list[Id], Field(max_length=255)]


class _Submitted(BaseModel):
    """What both kinds of row say about the hand-over. In CSV several ids of one message are parted by `;`."""

    model_config = ConfigDict(extra="forbid")

    provider_message_id: Id | None = None
    provider_message_ids: Ids | None = None
    reference: Id | None = None
    gateway: Annotated[Plain, Field(max_length=63)] | None = None
    submitted_at: Time | None = None

    @model_validator(mode="before")
    @classmethod
    def _split_ids(cls, data: Any) -> Any:
        ids = data.get("provider_message_ids") if isinstance(data, dict) else None
        return (
            {**data, "provider_message_ids": [part.strip() for part in ids.split(";")]}
            if isinstance(ids, str)
            else data
        )

    @property
    def ids(self) -> tuple[str, ...]:
        one = (self.provider_message_id,) if self.provider_message_id else ()
        return one + tuple(self.provider_message_ids or ())

    def at(self, now: datetime) -> datetime:
        """When it was handed over: UTC. Raises `ValueError` for a time that cannot be."""
        at = (self.submitted_at or now).astimezone(UTC)
        if at > now + timedelta(minutes=10) or at.year < 1990:
            raise RowRefused("submitted_at: this time cannot be when it was handed over.")
        return at


class MessageRow(_Submitted):
    address: Address
    recipient_id: Id | None = None

    @field_validator("reference")
    @classmethod
    def _is_not_ours(cls, reference: str | None) -> str | None:
        if message_of(reference) is not None:
            raise ValueError(f"`{PREFIX}` and a number is the reference of a message that is sent from here")
        return reference


class SubmissionRow(_Submitted):
    message_id: fields.Id | None = None
    error_code: Annotated[Plain, Field(max_length=64)] | None = None
    error_text: Annotated[Plain, Field(max_length=500)] | None = None

    @model_validator(mode="after")
    def _names_a_message(self) -> "SubmissionRow":
        if self.message_id is None and self.reference is None:
            raise ValueError("message_id or reference is needed")
        return self


_MESSAGE_ROW = TypeAdapter(MessageRow)
_SUBMISSION_ROW = TypeAdapter(SubmissionRow)


@router.post("/deliveries/{id}/messages", tags=["deliveries"], summary="Record messages sent elsewhere", **MESSAGES)
async def post_messages(id: DeliveryId, request: Request, principal: Writer) -> Response:
    """Rows are recorded in their order, some hundred at a time; rows that stand already are recognised, so that an
    interrupted upload can be sent again. The first row locks the delivery's content."""
    delivery = await delivery_of(request, id)
    if delivery["status"] not in OPEN:
        raise Conflict(f"This delivery is {delivery['status']}: messages sent elsewhere cannot be added to it.")
    if delivery["targets"]:
        raise Conflict(HAS_TARGETS)
    default = directory_of(request).by_id(delivery["gateway_id"]) if delivery["gateway_id"] else None

    def read(line: Line, now: datetime) -> Sent:
        row: MessageRow = line.model(_MESSAGE_ROW)
        address = normalise(row.address, delivery["default_region"])
        if address is None:
            raise RowRefused("address: this is not a possible phone number.")
        gateway = gateway_named(request, row.gateway, default)
        if gateway is None:
            raise RowRefused("gateway: neither the row nor the delivery names one.")
        return Sent(
            line=line.number, address=address, gateway=gateway, provider_message_ids=row.ids, reference=row.reference,
            recipient_id=row.recipient_id, submitted_at=row.at(now),
        )  # fmt: skip

    async def record(connection: Connection, rows: Sequence[Sent], now: datetime) -> Outcome:
        outcome = await record_messages(connection, delivery["id"], rows, now)
        if outcome.accepted:
            await begin(connection, delivery["id"], principal, now)
        return outcome

    return (await _record_all(request, delivery["id"], "DLV-MESSAGES", principal, read, record)).response()


@router.post(
    "/deliveries/{id}/submissions",
    tags=["deliveries"],
    summary="Report what became of handing over",
    **SUBMISSIONS,
)
async def post_submissions(id: DeliveryId, request: Request, principal: Writer) -> Response:
    """One row a message, by id or reference. Without a provider message id the message is `submitted`; with an error it
    has failed. Receipts that came earlier find their message now. Before the start only proofs can be reported; after a
    cancel everything still can."""
    delivery = await delivery_of(request, id)
    only_proofs = delivery["status"] not in _HANDING_OVER
    if only_proofs and not (delivery["status"] in _UNSTARTED and await _has_proofs(request, delivery["id"])):
        raise Conflict(f"This delivery is {delivery['status']}: nothing of it has been handed over.")

    def read(line: Line, now: datetime) -> Submission:
        row: SubmissionRow = line.model(_SUBMISSION_ROW)
        return Submission(
            line=line.number, message_id=None if row.message_id is None else int(row.message_id), reference=row.reference,
            gateway=gateway_named(request, row.gateway, None), provider_message_ids=row.ids, submitted_at=row.at(now),
            error_code=row.error_code, error_text=row.error_text,
        )  # fmt: skip

    async def record(connection: Connection, rows: Sequence[Submission], now: datetime) -> Outcome:
        gateway_of = directory_of(request).by_id
        outcome = await record_submissions(
            connection, delivery["id"], rows, now, gateway_of=gateway_of, only_proofs=only_proofs
        )
        if outcome.fresh:
            await _reopen(connection, delivery["id"], principal, now)
        return outcome

    return (await _record_all(request, delivery["id"], "DLV-SUBMISSIONS", principal, read, record)).response()


class UnknownGateway(RowRefused):
    """A row names a gateway that nobody here knows: the database may."""

    SENTENCE = "gateway: there is no such gateway."

    def __init__(self, key: str) -> None:
        super().__init__(self.SENTENCE)
        self.key = key


def gateway_named(request: Request, key: str | None, default: Gateway | None) -> Gateway | None:
    """Raises `UnknownGateway`."""
    if key is None:
        return default
    gateway: Gateway | None = directory_of(request).get(key)
    if gateway is None:
        raise UnknownGateway(key)
    return gateway


async def delivery_of(request: Request, delivery_id: int) -> Any:
    async with pool_of(request).acquire(timeout=POOL_TIMEOUT_SECONDS) as connection:
        row = await connection.fetchrow(
            "SELECT id, status::text AS status, gateway_id, default_region, targets FROM deliveries WHERE id = $1",
            delivery_id,
        )
    if row is None:
        raise NotFound("There is no such delivery.")
    return row


async def begin(connection: Connection, delivery_id: int, principal: Principal, now: datetime) -> None:
    """The first message recorded locks the delivery; a later one opens it again if it was finished.

    Comes last in its transaction: workers, too, take keys and counters first and the delivery after them."""
    if await connection.fetchval("SELECT status FROM deliveries WHERE id = $1", delivery_id) == "in_progress":
        return
    row = await connection.fetchrow(
        "SELECT status::text AS status, targets FROM deliveries WHERE id = $1 FOR UPDATE", delivery_id
    )
    assert row is not None
    before = row["status"]
    if row["targets"]:
        raise Conflict(HAS_TARGETS)
    if before == "in_progress":
        return
    if before not in OPEN:
        raise Conflict(f"This delivery is {before}: messages sent elsewhere cannot be added to it.")
    await connection.execute(
        "UPDATE deliveries SET status = 'in_progress', started_at = coalesce(started_at, $2), finished_at = NULL, "
        "updated_at = $2 WHERE id = $1",
        delivery_id,
        now,
    )
    code, text = (
        ("DLV-STARTED", "Sending began elsewhere.") if before == "editing" else ("DLV-REOPENED", "More messages came.")
    )
    await audit.append(connection, delivery_id, code, text, at=now, actor=principal.name)


async def _reopen(connection: Connection, delivery_id: int, principal: Principal, now: datetime) -> None:
    """A delivery that was over is not when messages are on their way again. Comes last, like `begin`."""
    reopened = await connection.fetchval(QUERIES["reopen"], delivery_id, now)
    if reopened:
        text = "Messages were handed over after the end."
        await audit.append(connection, delivery_id, "DLV-REOPENED", text, at=now, actor=principal.name)


async def _has_proofs(request: Request, delivery_id: int) -> bool:
    async with pool_of(request).acquire(timeout=POOL_TIMEOUT_SECONDS) as connection:
        query = "SELECT EXISTS (SELECT FROM messages WHERE delivery_id = $1 AND proof)"
        return await connection.fetchval(query, delivery_id) is True


async def _record_all(
    request: Request,
    delivery_id: int,
    code: str,
    principal: Principal,
    read: Callable[..., Any],
    record: Callable[[Connection, Sequence[Any], datetime], Awaitable[Outcome]],
) -> Tally:
    named = Named(directory_of(request))
    async with journalled(pool_of(request), delivery_id, code, principal.name) as upload:
        tally = upload.tally

        async def noted(connection: Connection, rows: Sequence[Any], now: datetime) -> Outcome:
            outcome = await record(connection, rows, now)
            await upload.add(connection, accepted=outcome.accepted)
            return outcome

        async for chunk in chunks(request, max_row_bytes=settings_of(request).max_row_bytes):
            now = datetime.now(UTC)
            for rows in by_ids(await read_rows(chunk, partial(read, now=now), named, tally.reject)):
                outcome = await record_chunk(request, rows, noted, now)
                tally.accepted += outcome.accepted
                for number, detail in outcome.errors:
                    tally.reject(number, detail)
    return tally


def by_ids(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """`rows` some at a time: each id is a key to be written, and a row may have hundreds of them."""
    start, ids = 0, 0
    for place, row in enumerate(rows):
        ids += len(row.provider_message_ids)
        if ids > _MOST_IDS:
            yield rows[start : place + 1]
            start, ids = place + 1, 0
    if start < len(rows):
        yield rows[start:]


async def read_rows(
    chunk: Sequence[Line | BadRow],
    read: Callable[[Line], RowT],
    named: Named,
    reject: Callable[[int, str], None],
) -> list[RowT]:
    """What `read` makes of the rows, in their order; a row costs itself, whatever it raises. Rows of gateways that are
    not known yet are read a second time, when the database was asked."""
    found: dict[int, RowT] = {}
    unknown: dict[Line, str] = {}

    def take(line: Line | BadRow) -> None:
        try:
            if isinstance(line, BadRow):
                raise RowRefused(line.detail)
            found[line.number] = read(line)
        except UnknownGateway as error:
            assert isinstance(line, Line)
            unknown[line] = error.key
        except Exception as error:
            reject(line.number, detail_of(error))

    async for part in parts(chunk):
        for line in part:
            take(line)
    again, unknown = unknown, {}
    await named.found(again.values())
    for line in again:
        take(line)
    for line in unknown:
        reject(line.number, UnknownGateway.SENTENCE)
    return [found[number] for number in sorted(found)]


async def record_chunk(
    request: Request,
    rows: Sequence[Any],
    record: Callable[[Connection, Sequence[Any], datetime], Awaitable[ResultT]],
    now: datetime,
) -> ResultT:
    """What `record` makes of the rows, in one transaction; tried again when others were faster. Raises `Conflict`."""
    for _ in range(_TRIES):
        try:
            async with (
                pool_of(request).acquire(timeout=POOL_TIMEOUT_SECONDS) as connection,
                connection.transaction(),
            ):
                return await record(connection, rows, now)
        except (KeyTaken, *TRANSIENT):
            continue
    raise Conflict("Other uploads carry the same provider message ids at the same time; send this again.")
