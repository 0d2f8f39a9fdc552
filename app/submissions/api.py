"""What was handed over, by API: messages sent elsewhere, and submissions of those prepared here."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Any

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
from pydantic_core import from_json

from app import audit
from app.accounts.directory import directory_of
from app.accounts.named import Named
from app.api import fields
from app.api.bulk import Line, Tally, chunks
from app.api.columns import Shape
from app.api.fields import Address, DeliveryId, FreeJson, Plain, Time
from app.api.reader import RowRefused, read_address
from app.api.readings import AskedAddressReading, AskedReading, Reading
from app.api.uploads import journalled
from app.db import POOL_TIMEOUT_SECONDS, Connection, pool_of
from app.errors import Conflict
from app.gateways.receipt import MAX_ID_LENGTH
from app.matching.recording import Outcome, Sent, Submission, record_messages, record_submissions
from app.references import PREFIX, message_of
from app.security import Principal, Writer
from app.settings import settings_of
from app.submissions.docs import MESSAGES, SUBMISSIONS
from app.submissions.uploading import (
    HAS_TARGETS,
    OPEN,
    QUERIES,
    begin,
    by_ids,
    delivery_of,
    gateway_named,
    read_rows,
    record_chunk,
)

router = APIRouter(prefix="/v1")

#: States in which submissions are taken. A gateway's word is stronger than `cancelled`: what was handed over counts.
_HANDING_OVER = ("in_progress", "finished", "cancelled")
#: States in which there are submissions of proofs only.
_UNSTARTED = ("editing", "preparing", "prepared")


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
    """`metadata` is whatever the caller wants to be told again of the message; in CSV it is JSON in a cell."""

    address: Address
    recipient_id: Id | None = None
    metadata: FreeJson | None = None

    @field_validator("metadata", mode="before")
    @classmethod
    def _read_cell(cls, value: Any) -> Any:
        try:
            # not orjson, which rounds what is longer than 64 bits
            return (from_json(value) if value else None) if isinstance(value, str) else value
        except ValueError:
            raise ValueError("must be an object, as JSON") from None

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
_MESSAGES = Shape(fields=tuple(MessageRow.model_fields), needs_address=True)
_SUBMISSIONS = Shape(fields=tuple(SubmissionRow.model_fields))


@router.post("/deliveries/{id}/messages", tags=["deliveries"], summary="Record messages sent elsewhere", **MESSAGES)
async def post_messages(id: DeliveryId, request: Request, principal: Writer, asked: AskedAddressReading) -> Response:
    """Rows are recorded in their order, some hundred at a time; rows that stand already are recognised, so that an
    interrupted upload can be sent again: by their ids and reference, and without any by address, `recipient_id`, gateway,
    `submitted_at` and `metadata` together. The first row locks the delivery's content."""
    delivery = await delivery_of(request, id)
    if delivery["status"] not in OPEN:
        raise Conflict(f"This delivery is {delivery['status']}: messages sent elsewhere cannot be added to it.")
    if delivery["targets"]:
        raise Conflict(HAS_TARGETS)
    reading = Reading.of(request, asked, _MESSAGES, delivery["default_region"])
    default = directory_of(request).by_id(delivery["gateway_id"]) if delivery["gateway_id"] else None

    def read(line: Line, now: datetime) -> Sent:
        row: MessageRow = line.model(_MESSAGE_ROW)
        address = read_address(row.address, delivery["default_region"])
        gateway = gateway_named(request, row.gateway, default)
        if gateway is None:
            raise RowRefused("gateway: neither the row nor the delivery names one.")
        return Sent(
            line=line.number, address=address, gateway=gateway, provider_message_ids=row.ids, reference=row.reference,
            recipient_id=row.recipient_id, submitted_at=row.at(now),
            said_at=row.submitted_at, metadata=row.metadata or None,
        )  # fmt: skip

    async def record(connection: Connection, rows: Sequence[Sent], now: datetime) -> Outcome:
        outcome = await record_messages(connection, delivery["id"], rows, now)
        if outcome.accepted:
            await begin(connection, delivery["id"], principal, now)
        return outcome

    tally = await _record_all(request, reading, delivery["id"], "DLV-MESSAGES", principal, read, record)
    return tally.response(reading=reading.shown(principal, tally.errors))


@router.post(
    "/deliveries/{id}/submissions",
    tags=["deliveries"],
    summary="Report what became of handing over",
    **SUBMISSIONS,
)
async def post_submissions(id: DeliveryId, request: Request, principal: Writer, asked: AskedReading) -> Response:
    """One row a message, by id or reference. Without a provider message id the message is `submitted`; with an error it
    has failed. Receipts that came earlier find their message now. Before the start only proofs can be reported; after a
    cancel everything still can."""
    delivery = await delivery_of(request, id)
    only_proofs = delivery["status"] not in _HANDING_OVER
    if only_proofs and not (delivery["status"] in _UNSTARTED and await _has_proofs(request, delivery["id"])):
        raise Conflict(f"This delivery is {delivery['status']}: nothing of it has been handed over.")
    reading = Reading.of(request, asked, _SUBMISSIONS)

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

    tally = await _record_all(request, reading, delivery["id"], "DLV-SUBMISSIONS", principal, read, record)
    return tally.response(reading=reading.shown(principal, tally.errors))


async def _reopen(connection: Connection, delivery_id: int, principal: Principal, now: datetime) -> None:
    """A delivery that was over is not when messages are on their way again. Comes last, like `begin`."""
    reopened = await connection.fetchval(QUERIES["reopen_delivery"], delivery_id, now)
    if reopened:
        text = "Messages were handed over after the end."
        await audit.append(connection, delivery_id, "DLV-REOPENED", text, at=now, actor=principal.name)


async def _has_proofs(request: Request, delivery_id: int) -> bool:
    async with pool_of(request).acquire(timeout=POOL_TIMEOUT_SECONDS) as connection:
        return await connection.fetchval(QUERIES["has_proofs"], delivery_id) is True


async def _record_all(
    request: Request,
    reading: Reading,
    delivery_id: int,
    code: str,
    principal: Principal,
    read: Callable[..., Any],
    record: Callable[[Connection, Sequence[Any], datetime], Awaitable[Outcome]],
) -> Tally:
    named, most = Named(directory_of(request)), settings_of(request).max_row_bytes
    if reading.dry_run:
        tally = Tally()
        async for chunk in chunks(request, reading, max_row_bytes=most):
            tally.accepted += len(await read_rows(chunk, partial(read, now=datetime.now(UTC)), named, tally.reject))
        return tally
    async with journalled(pool_of(request), delivery_id, code, principal.name) as upload:
        tally = upload.tally

        async def noted(connection: Connection, rows: Sequence[Any], now: datetime) -> Outcome:
            outcome = await record(connection, rows, now)
            await upload.add(connection, accepted=outcome.accepted)
            return outcome

        async for chunk in chunks(request, reading, max_row_bytes=most):
            now = datetime.now(UTC)
            for rows in by_ids(await read_rows(chunk, partial(read, now=now), named, tally.reject)):
                outcome = await record_chunk(request, rows, noted, now)
                tally.accepted += outcome.accepted
                for number, detail in outcome.errors:
                    tally.reject(number, detail)
    return tally
