"""Receipts in bulk, in Acuse's own words."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.accounts.directory import directory_of
from app.accounts.named import Named
from app.api.bulk import BadRow, Line, Tally, chunks, parts
from app.api.columns import Shape
from app.api.reader import RowRefused, detail_of
from app.api.readings import AskedReading, Reading
from app.gateways import generic
from app.gateways.receipt import Receipt
from app.ingest.docs import FIELDS, RECEIPTS
from app.ingest.fast_rows import Heads, plain_row
from app.ingest.inbox import inbox_of
from app.ingest.kinds import Row
from app.ingest.rows import inbox_row
from app.security import ReceiptWriter
from app.settings import settings_of

router = APIRouter()
_SHAPE = Shape(fields=FIELDS, others="kept")


@router.post(
    "/v1/receipts", status_code=202, tags=["receipts"], summary="Receipts in bulk, in Acuse's own words", **RECEIPTS
)
async def post_receipts(request: Request, principal: ReceiptWriter, asked: AskedReading) -> Response:
    """202 once every accepted row is durable. Rows name their gateway; repeats change nothing. What a receipt is true
    without (its time, price, part…) never costs it: where it cannot be read it is left out, and `warnings` say so."""
    reading = Reading.of(request, asked, _SHAPE)
    named, tally = Named(directory_of(request), of_receipts=True), Tally()
    storing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    storing.set_result(None)
    async for chunk in chunks(request, reading, max_row_bytes=settings_of(request).max_row_bytes):
        rows = await _receipt_rows(chunk, named, tally)
        tally.accepted += len(rows)
        if reading.dry_run:
            continue
        await storing  # one chunk is made durable while the next is read: never more than two in memory
        storing = asyncio.ensure_future(inbox_of(request).put(rows))
    await storing
    return tally.response(200 if reading.dry_run else 202, reading=reading.shown(principal, tally.errors))


async def _receipt_rows(chunk: Sequence[Line | BadRow], named: Named, tally: Tally) -> list[Row]:
    now = datetime.now(UTC)
    heads = Heads(named.get, now)
    rows: list[Row] = []
    homeless: list[tuple[int, str | None, Receipt]] = []

    def take(number: int, key: str | None, receipt: Receipt) -> bool:
        """Whether its gateway is known."""
        gateway = named.get(key) if key else None
        if gateway is None:
            return False
        rows.append(inbox_row(gateway, receipt, now, vouched=True))
        for warning in receipt.details.get("warnings", ()):
            tally.warn(number, warning)
        return True

    async for part in parts(chunk):
        for line in part:
            if type(line) is Line and type(line.value) is bytes and (row := plain_row(line.value, heads)) is not None:
                rows.append(row)
                continue
            try:
                key, receipt = _read_receipt(line)
                if not take(line.number, key, receipt):
                    homeless.append((line.number, key, receipt))
            except Exception as error:  # a bad row costs itself, whatever is wrong with it
                tally.reject(line.number, detail_of(error))
    if homeless:
        await named.found(key for _, key, _ in homeless if key)
        for number, key, receipt in homeless:
            if not take(number, key, receipt):
                tally.reject(number, "There is no such gateway.")
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
