"""Short URLs for messages that are sent elsewhere: a URL is registered, and asked for message by message.

Whoever sends needs the short URL before there is anything to record. So a row makes its message, once, known by its reference;
`POST …/messages` or `…/submissions` with the same reference say later that it was handed over.
"""

import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import IO, Any

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import ValidationError
from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse

from app import audit
from app.accounts.directory import directory_of
from app.accounts.named import Named
from app.api import bulk
from app.api.bulk import BadRow, Line, Tally
from app.api.decoding import in_utf8
from app.api.fields import DeliveryId
from app.api.reader import RowRefused, body_fault, read_address
from app.api.readings import JSON, AskedAddressReading, Reading
from app.api.uploads import Upload, journalled
from app.db import Connection, pool_of, writing
from app.errors import Conflict, Invalid, Problem, TooLarge
from app.gateways import bounds
from app.links import registering
from app.links.registering import QUERIES, TooMany
from app.links.routes import routes_of
from app.links.shortening import Links, links_of
from app.links.tokens import LINKS as MOST_LINKS
from app.links.tokens import Keys, encode
from app.matching.recording import Sent, record_awaited
from app.problems import field_errors
from app.security import Principal, Writer
from app.settings import settings_of
from app.submissions.docs import LINKS as DOCS
from app.submissions.link_rows import ROW, SHAPE, LinkRow, NewLink, Wanted
from app.submissions.uploading import HAS_TARGETS, OPEN, begin, delivery_of, gateway_named, read_rows, record_chunk

router = APIRouter(prefix="/v1", tags=["deliveries"])

_PIECE_BYTES = 65_536
_NO_BASE = "Short URLs need a host: set ACUSE_SHORT_HOSTS or ACUSE_PUBLIC_URL."
_OF_SOMEBODY = "link: its URL is made for each person; asking for it needs the scope `pii:read`."
_TEMPLATE = "url: placeholders are filled from an audience here; a message sent elsewhere has none."


@router.post("/deliveries/{id}/links", summary="Register a link, or ask for short URLs in bulk", **DOCS)
async def post_links(id: DeliveryId, request: Request, principal: Writer, asked: AskedAddressReading) -> Response:
    """A JSON object registers one URL: 201, or 200 when it is known already. Bulk rows ask for the short URL of one link in one
    message, and are answered line by line when all are read; a row sent again gets the same message and link. The first message
    made locks the delivery's content."""
    delivery = await delivery_of(request, id)
    if delivery["status"] not in OPEN:
        raise Conflict(f"This delivery is {delivery['status']}: no links can be added to it.")
    reading = Reading.of(request, asked, SHAPE, delivery["default_region"])
    body: AsyncIterator[bytes] = request.stream()
    if reading.content_type == JSON:
        body, first = await _begun(in_utf8(body, reading.charset, reading.is_in))
        reading.charset = None  # from here on it is UTF-8
        if first == b"{":
            if reading.dry_run:
                raise Invalid.field(
                    "?dry_run", "Rows can be read without storing anything; one link is only registered."
                )
            return await _register_one(request, delivery["id"], await _object(request, body), principal)
    asking = await _asking(request, delivery)
    if reading.dry_run:
        return await _only_read(request, asking, reading, body, principal)
    with ExitStack() as stack:
        answer = stack.enter_context(tempfile.TemporaryFile())
        most = settings_of(request).max_row_bytes
        tally = asking.tally
        async with journalled(pool_of(request), delivery["id"], "DLV-LINKS", principal.name, tally) as asking.upload:
            try:
                async for chunk in bulk.rows(body, reading, max_row_bytes=most):
                    answer.writelines(await _answer(request, principal, asking, chunk))
            except ClientDisconnect as error:
                raise Problem("The body ended early; rows read so far may have been taken. Send it again.") from error
        if not tally.accepted:
            return tally.response(reading=reading.shown(principal, tally.errors))
        await routes_of(request).announce(delivery["id"])
        await routes_of(request).give(delivery["id"], sorted(asking.personal))
        stack.pop_all()  # it lives as long as it is read
    return StreamingResponse(_pieces(answer), media_type="application/x-ndjson", headers=reading.in_header(principal))


async def _only_read(
    request: Request, asking: "_Asking", reading: Reading, body: AsyncIterator[bytes], principal: Principal
) -> Response:
    tally, now = asking.tally, datetime.now(UTC)
    async for chunk in bulk.rows(body, reading, max_row_bytes=settings_of(request).max_row_bytes):
        read = await read_rows(chunk, lambda line: _wanted(request, asking, line, now), asking.named, tally.reject)
        tally.accepted += len(read)
    return tally.response(reading=reading.shown(principal, tally.errors))


# --- one link --------------------------------------------------------------------------------------------------------


async def _begun(stream: AsyncIterator[bytes]) -> tuple[AsyncIterator[bytes], bytes]:
    """A JSON body from its first byte that is no blank, and that byte."""
    read = b""
    async for piece in stream:
        read = piece.lstrip(bounds.BLANK)
        if read:
            break

    async def whole() -> AsyncIterator[bytes]:
        yield read
        async for piece in stream:
            yield piece

    return whole(), read[:1]


async def _object(request: Request, body: AsyncIterator[bytes]) -> NewLink:
    read, most = b"", settings_of(request).max_json_bytes
    async for piece in body:
        read += piece
        if len(read) > most:
            raise TooLarge(f"A link takes at most {most} bytes.")
    if fault := await body_fault(read):
        raise Problem(fault)
    try:
        return NewLink.model_validate_json(read)
    except ValidationError as error:
        errors = [{**each, "loc": ("body", *each["loc"])} for each in error.errors(include_url=False)]
        raise Invalid.fields(field_errors(errors)) from None


async def _register_one(request: Request, id: int, wanted: NewLink, principal: Principal) -> Response:
    if refused := registering.target_error(wanted.url):
        raise Invalid.field("/url", refused)
    now = datetime.now(UTC)
    async with writing(request) as connection:
        fresh = await _register(connection, id, [wanted.url], principal, now, label=wanted.label)
        rows = await connection.fetch(QUERIES["list_links"], id)
    row = next(row for row in rows if row["source_url"] == wanted.url)
    shown = principal.shown(registering.shown(dict(row)), "link")
    return Response(orjson.dumps(shown), 201 if fresh else 200, media_type="application/json")


async def _register(
    connection: Connection, id: int, urls: Sequence[str], principal: Principal, now: datetime, label: str | None = None
) -> Sequence[str]:
    """Those that were new. Raises `Conflict` when there is no room for all, or the delivery is over meanwhile."""
    delivery = await connection.fetchrow(QUERIES["lock_delivery"], id)
    if delivery is None or delivery["status"] not in OPEN:
        raise Conflict("This delivery changed meanwhile: look at it again.")
    known = {row["source_url"] for row in await connection.fetch(QUERIES["list_links"], id)}
    fresh = [url for url in dict.fromkeys(urls) if url not in known]
    try:
        numbers = await registering.add(connection, id, fresh)
    except TooMany as error:
        raise Conflict(str(error)) from error
    for url in fresh:
        if label is not None:
            await connection.execute(QUERIES["set_label"], id, numbers[url], label)
        await audit.append(
            connection, id, "DLV-LINK-REGISTERED", f"Link {numbers[url]} was registered.", at=now, actor=principal.name,
            data={"number": numbers[url]}, personal={"url": url},
        )  # fmt: skip
    if fresh:
        await connection.execute(QUERIES["touch_delivery"], id, now, False)
    return fresh


# --- many short URLs -------------------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class _Asking:
    delivery: Mapping[str, Any]
    base: str
    keys: Keys
    #: Numbers of the delivery's links by URL, and the numbers of those that are made for each message.
    numbers: dict[str, int]
    templates: set[int]
    #: Messages that were asked about with one of these.
    personal: set[int] = field(default_factory=set)
    named: Named
    tally: Tally = field(default_factory=Tally)
    #: The journal's row of this request, once its first row is read.
    upload: Upload | None = None


async def _asking(request: Request, delivery: Mapping[str, Any]) -> _Asking:
    links: Links = links_of(request)
    async with writing(request) as connection:
        base = links.bases.for_sender(delivery["sender"])
        if base is None:
            raise Conflict(_NO_BASE)
        rows = await connection.fetch(QUERIES["list_links"], delivery["id"])
        keys = await links.keys(connection)
    return _Asking(
        delivery=delivery,
        named=Named(directory_of(request)),
        base=base,
        keys=keys,
        numbers={row["source_url"]: row["number"] for row in rows},
        templates={row["number"] for row in rows if row["template"]},
    )


async def _answer(
    request: Request, principal: Principal, asking: _Asking, chunk: Sequence[Line | BadRow]
) -> Sequence[bytes]:
    """One line for each row."""
    now = datetime.now(UTC)
    lines: dict[int, dict[str, Any]] = {}

    def refuse(number: int, detail: str) -> None:
        lines[number] = {"line": number, "detail": detail}

    wanted = await read_rows(chunk, lambda line: _wanted(request, asking, line, now), asking.named, refuse)
    wanted = await _with_links(request, principal, asking, wanted, lines, now)
    if not principal.sees_all:
        wanted = _of_nobody(asking, wanted, lines)

    async def record(connection: Connection, rows: Sequence[Wanted], now: datetime) -> Mapping[int, dict[str, Any]]:
        return await _messages(request, connection, principal, asking, rows, now)

    if wanted:
        lines |= await record_chunk(request, wanted, record, now)
    for number, found in sorted(lines.items()):
        if "detail" in found:
            asking.tally.reject(number, found["detail"])
        else:
            asking.tally.accepted += 1
    return [orjson.dumps(lines[number], option=orjson.OPT_APPEND_NEWLINE) for number in sorted(lines)]


def _of_nobody(asking: _Asking, wanted: Sequence[Wanted], lines: dict[int, dict[str, Any]]) -> list[Wanted]:
    """Without the rows whose URL has somebody's params filled in: whoever opens it sees them. They are answered."""
    for each in wanted:
        if (
            each.message_id is not None
            and (each.link if each.url is None else asking.numbers[each.url]) in asking.templates
        ):
            lines[each.line] = {"line": each.line, "detail": _OF_SOMEBODY}
    return [each for each in wanted if each.line not in lines]


def _wanted(request: Request, asking: _Asking, line: Line, now: datetime) -> Wanted:
    """Raises `ValueError` with a sentence."""
    row: LinkRow = line.model(ROW)
    sent = None
    if row.message_id is None:
        sent = _sent(request, asking, row, line.number, now)
    if row.link is not None and row.link not in asking.numbers.values():
        raise RowRefused("link: this delivery has no such link.")
    if row.url is not None and row.url not in asking.numbers:
        if refused := registering.target_error(row.url):
            raise RowRefused(f"url: {refused}")
        if sent is not None and registering.is_template(row.url):
            raise RowRefused(_TEMPLATE)
    number = row.link if row.link is not None else asking.numbers.get(row.url or "", -1)
    if sent is not None and number in asking.templates:
        raise RowRefused(_TEMPLATE)
    return Wanted(
        line=line.number, message_id=None if row.message_id is None else int(row.message_id), sent=sent, url=row.url,
        link=number,
    )  # fmt: skip


def _sent(request: Request, asking: _Asking, row: LinkRow, line: int, now: datetime) -> Sent:
    if asking.delivery["targets"]:
        raise RowRefused(HAS_TARGETS)
    address = read_address(row.address or "", asking.delivery["default_region"])
    gateway_id = asking.delivery["gateway_id"]
    gateway = gateway_named(request, row.gateway, directory_of(request).by_id(gateway_id) if gateway_id else None)
    if gateway is None:
        raise RowRefused("gateway: neither the row nor the delivery names one.")
    return Sent(
        line=line, address=address, gateway=gateway, reference=row.reference, recipient_id=row.recipient_id,
        submitted_at=now,
    )  # fmt: skip


async def _with_links(
    request: Request,
    principal: Principal,
    asking: _Asking,
    wanted: Sequence[Wanted],
    lines: dict[int, dict[str, Any]],
    now: datetime,
) -> list[Wanted]:
    """Registers the URLs that are new, in a transaction of its own: workers take the delivery last. Rows for which there is no
    number left are answered."""
    fresh = list(dict.fromkeys(each.url for each in wanted if each.url and each.url not in asking.numbers))
    fresh = fresh[: max(MOST_LINKS - len(asking.numbers), 0)]
    if fresh:
        async with writing(request) as connection:
            await _register(connection, asking.delivery["id"], fresh, principal, now)
            rows = await connection.fetch(QUERIES["list_links"], asking.delivery["id"])
        asking.numbers |= {row["source_url"]: row["number"] for row in rows}
        asking.templates |= {row["number"] for row in rows if row["template"]}
    for each in wanted:
        if each.url and each.url not in asking.numbers:
            lines[each.line] = {"line": each.line, "detail": registering.TOO_MANY}
    return [each for each in wanted if each.line not in lines]


async def _messages(
    request: Request,
    connection: Connection,
    principal: Principal,
    asking: _Asking,
    rows: Sequence[Wanted],
    now: datetime,
) -> Mapping[int, dict[str, Any]]:
    """The answers to the rows; the messages that they need are made."""
    id = asking.delivery["id"]
    asked = [each.message_id for each in rows if each.message_id is not None]
    known = {row["id"]: row["reference"] for row in await connection.fetch(QUERIES["find_messages"], id, asked)}
    made, outcome = await record_awaited(connection, id, [each.sent for each in rows if each.sent is not None], now)
    found = {line: {"line": line, "detail": detail} for line, detail in outcome.errors}
    ids: set[int] = set()
    for each in rows:
        message_id = made.get(each.line) if each.sent is not None else each.message_id
        if each.line in found:
            continue
        if message_id is None or (each.sent is None and message_id not in known):
            found[each.line] = {"line": each.line, "detail": "This delivery has no such message."}
            continue
        ids.add(message_id)
        number = each.link if each.url is None else asking.numbers[each.url]
        # the caller's own words, or those of whoever made the message
        reference = each.sent.reference if each.sent is not None else _seen(principal, message_id, known[message_id])
        if number in asking.templates:
            asking.personal.add(message_id)
        short_url = f"{asking.base}/{encode(asking.keys, message_id, number)}"
        found[each.line] = {
            "line": each.line, "message_id": str(message_id), "reference": reference, "link": number, "short_url": short_url,
        }  # fmt: skip
    await links_of(request).add_blocks(connection, id, sorted(ids))
    if asking.upload is not None:
        await asking.upload.add(connection, accepted=sum("detail" not in answer for answer in found.values()))
    if outcome.fresh:
        await begin(connection, id, principal, now)
    return found


def _seen(principal: Principal, message_id: int, reference: str | None) -> str | None:
    seen: str | None = principal.shown({"message_id": message_id, "reference": reference})["reference"]
    return seen


# --- the answer ------------------------------------------------------------------------------------------------------


async def _pieces(answer: IO[bytes]) -> AsyncIterator[bytes]:
    with answer:
        answer.seek(0)
        while piece := answer.read(_PIECE_BYTES):
            yield piece
