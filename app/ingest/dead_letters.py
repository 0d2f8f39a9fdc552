"""What waits and what was refused: receipts without a message yet, callbacks that could not be read; and trying again."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from app import metrics
from app.accounts.directory import directory_of
from app.api.bulk import parts
from app.api.excerpts import FETCHED, cut, text_of
from app.api.fields import Name, Plain, path_id
from app.api.listing import Found, Listing, PageAsked, listed, paged
from app.api.paging import LongPage
from app.db import POOL_TIMEOUT_SECONDS, Connection, is_everywhere, load_queries, plain_snapshot, pool_of, writing
from app.errors import Invalid, NotFound
from app.gateways import GATEWAYS
from app.gateways.receipt import Callback, Gateway, Inbound, Item, Unreadable
from app.ingest import batches
from app.ingest.docs import ONE_REJECTED, ONE_UNMATCHED, RETRIED
from app.ingest.inbox import inbox_of
from app.ingest.kinds import Row, put_back
from app.ingest.refused import verified_again
from app.ingest.rows import Shelved, inbound_row, inbox_row
from app.ingest.store import append
from app.logs import log
from app.matching.rekeying import rekey
from app.security import Reader, ReceiptWriter
from app.settings import Settings, public_base_of, settings_of

router = APIRouter(prefix="/v1", tags=["receipts"])
QUERIES = load_queries(__file__, "dead_letters.sql")

#: Rows that a page's total is counted from: no list gets dearer than this.
_COUNTED = 10_000

GatewayFilter = Annotated[Plain | None, Query(alias="gateway", max_length=63, description="Key of a gateway.")]
KindFilter = Annotated[Shelved | None, Query(alias="kind", description="What was set aside; any without.")]


class Waiting(BaseModel):
    id: str
    gateway: str
    provider_message_id: str | None
    reference: str | None
    receipts: int
    status: str | None = Field(description="The newest receipt's, in the provider's word.")
    since: datetime
    last_receipt_at: datetime
    cause: str
    sample: str | None = Field(description="Of the newest receipt: as it came.")
    sample_bytes: int


class WaitingPage(LongPage[Waiting]):
    pass


class SetAside(BaseModel):
    id: str
    kind: Shelved
    gateway: str | None
    received_at: datetime
    reason: str
    raw_bytes: int
    retried_at: datetime | None
    request: dict[str, Any] | None = Field(description="What came with the body; of what was read, its ids.")
    raw: str | None


class SetAsidePage(LongPage[SetAside]):
    pass


@router.get("/receipts/unmatched", summary="Receipts that wait for their message", **paged(WaitingPage))
async def get_unmatched(request: Request, principal: Reader, page: PageAsked, gateway: GatewayFilter = None) -> Any:
    """One item for each id or reference that receipts name and no submission has told yet; they wait without a deadline."""
    wanted = await _wanted(request, gateway)

    async def find(after: Sequence[Any] | None, limit: int, counted: bool) -> Found:
        async with plain_snapshot(request) as connection:
            behind = after[0] if after else 0
            rows = await connection.fetch(QUERIES["list_unmatched"], wanted, behind, limit, FETCHED, None)
            return await _counted(connection, rows, counted, "count_unmatched", wanted)

    async def show(rows: Sequence[Any]) -> Sequence[dict[str, Any]]:
        return [cut(each, "sample") for each in await principal.all_shown(map(_waiting, rows))]

    waiting = Listing(
        scope=f"unmatched:{gateway}", find=find, position=lambda row: [row["id"]], show=show, model=Waiting
    )  # fmt: skip
    return await listed(page, principal, waiting)


def _waiting(row: Any) -> dict[str, Any]:
    kind = "id" if row["kind"] == "id" else "reference"
    return {
        "id": str(row["id"]),
        "gateway": row["gateway"],
        "provider_message_id": row["raw"] if kind == "id" else None,
        "reference": row["raw"] if kind == "reference" else row["reference"],
        "receipts": row["receipts"],
        "status": row["status_text"],
        "since": row["created_at"],
        "last_receipt_at": row["seen_at"],
        "cause": f"No submission to {row['gateway']} has told this {kind} yet.",
        "sample": text_of(row["sample"], row["sample_bytes"]),
        "sample_bytes": row["sample_bytes"],
    }


@router.get("/receipts/unmatched/{id}", summary="What waits, with its newest receipt whole", **ONE_UNMATCHED)
async def get_one_unmatched(
    request: Request, principal: Reader, id: Annotated[int, Depends(path_id("waiting id", "17"))]
) -> Response:
    """As in the list; `sample` is whole."""
    async with pool_of(request).acquire(timeout=POOL_TIMEOUT_SECONDS) as connection:
        row = await connection.fetchrow(QUERIES["list_unmatched"], None, id - 1, 1, 2**31 - 1, id)
    if row is None:
        raise NotFound("Nothing waits under this id.")
    found = _waiting(row)
    sample = await principal.long_text(found.pop("sample"))
    return _json(principal.shown(found) | {"sample": sample})


@router.post("/receipts/unmatched/retry", summary="Match waiting receipts again", **RETRIED)
async def retry_unmatched(request: Request, principal: ReceiptWriter, gateway: GatewayFilter = None) -> Response:
    """Reads all waiting ids again under the gateway's present options (all gateways without `gateway`)."""
    directory = directory_of(request)
    if gateway is not None:
        await _wanted(request, gateway)
    figures = {"renamed": 0, "matched": 0, "conflicts": 0}
    async with pool_of(request).acquire(timeout=POOL_TIMEOUT_SECONDS) as connection:
        ids = [row["gateway_id"] for row in await connection.fetch(QUERIES["list_unmatched_gateways"])]
        for each in filter(None, map(directory.by_id, ids)):
            if gateway in (None, each.key):
                async with connection.transaction():
                    for name, value in (await rekey(connection, each)).items():
                        figures[name] += value
    return _json(figures)


@router.get("/receipts/rejected", summary="What was set aside, and why", **paged(SetAsidePage))
async def get_rejected(
    request: Request, principal: Reader, page: PageAsked, gateway: GatewayFilter = None, kind: KindFilter = None
) -> Any:
    """Callbacks that could not be read, and receipts, replies and clicks that could not be stored or applied. Newest first;
    each with the reason and the first 1 000 bytes of its body; `raw_bytes` says how many there are."""
    wanted = await _wanted(request, gateway)

    async def find(after: Sequence[Any] | None, limit: int, counted: bool) -> Found:
        at, id = after or (None, None)
        before = datetime.fromisoformat(at) if at else None
        async with plain_snapshot(request) as connection:
            rows = await connection.fetch(QUERIES["list_rejected"], wanted, before, id, limit, kind, FETCHED)
            return await _counted(connection, rows, counted, "count_rejected", wanted, kind)

    async def show(rows: Sequence[Any]) -> Sequence[dict[str, Any]]:
        return [cut(each, "raw") for each in await principal.all_shown(map(_set_aside, rows))]

    set_aside = Listing(
        scope=f"rejected:{gateway}:{kind}", find=find, position=lambda row: [row["received_at"].isoformat(), row["id"]],
        show=show, model=SetAside,
    )  # fmt: skip
    return await listed(page, principal, set_aside)


async def _counted(connection: Connection, rows: Sequence[Any], counted: bool, counting: str, *filters: Any) -> Found:
    """With their total, if that is asked; of a long list null, and how many are among the first `_COUNTED`."""
    if not counted:
        return Found(rows, None)
    row = await connection.fetchrow(QUERIES[counting], filters[0], _COUNTED + 1, *filters[1:])
    assert row is not None
    whole = row["seen"] <= _COUNTED
    return Found(rows, row["found"]) if whole else Found(rows, None, at_least=row["found"])


async def figures(connection: Connection, gateway_id: int) -> dict[str, int]:
    """How much of a gateway's waits and was set aside, as its lists count it in the same moment; without those that are too
    many to be counted."""
    found = {
        "unmatched": await _counted(connection, (), True, "count_unmatched", gateway_id),
        "rejected": await _counted(connection, (), True, "count_rejected", gateway_id, None),
    }
    return {name: each.total for name, each in found.items() if each.total is not None}


def _set_aside(row: Any) -> dict[str, Any]:
    names = ("id", "kind", "gateway", "received_at", "reason", "raw_bytes", "retried_at")
    raw = text_of(row["raw"], row["raw_bytes"])
    return {name: row[name] for name in names} | {"request": _summed_up(row["request"] or {}), "raw": raw}


def _summed_up(request: Mapping[str, Any]) -> Mapping[str, Any]:
    """What came with a body; a receipt that was read and set aside is summed up by its ids."""
    row = request.get("row")
    return {name: row.get(name) for name in ("provider_message_id", "reference", "status_text")} if row else request


@router.get("/receipts/rejected/{id}", summary="What was set aside, whole", **ONE_REJECTED)
async def get_one_rejected(request: Request, principal: Reader, id: Annotated[Name, Path(max_length=64)]) -> Response:
    """With its whole body."""
    async with pool_of(request).acquire(timeout=POOL_TIMEOUT_SECONDS) as connection:
        row = await connection.fetchrow(QUERIES["find_rejected"], id)
    if row is None:
        raise NotFound("Nothing is kept under this id.")
    found = _set_aside(row)
    raw = await principal.long_text(found.pop("raw"))
    return _json(principal.shown(found) | {"raw": raw})


class Retry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    ids: Annotated[list[Annotated[Plain, Field(max_length=64)]], Field(max_length=1000)] | None = None
    gateway: Annotated[Plain, Field(max_length=63)] | None = None
    kind: Shelved | None = None


@router.post("/receipts/rejected/retry", summary="Try again what was set aside", **RETRIED)
async def retry_rejected(request: Request, principal: ReceiptWriter, which: Retry) -> Response:
    """Reads callbacks with the adapter and options of now, and puts what was read before back into its inbox. What can be
    neither stays, with the time of this attempt. Refused signatures are verified again, by the secrets and the public URL of
    now. The oldest 1 000 at a time; `ids`, `gateway` and `kind` narrow each other."""
    if which.ids is None and which.gateway is None and which.kind is None:
        raise Invalid.field("/ids", "Name ids, a gateway, or a kind.")
    wanted = await _wanted(request, which.gateway)
    read = kept = 0
    settings, base = settings_of(request), public_base_of(request)
    async with writing(request) as connection:
        ids = await connection.fetch(QUERIES["list_rejected_to_retry"], which.ids, wanted, which.kind)
        for (id,) in ids:  # one by one: a thousand bodies are a gigabyte
            row = await connection.fetchrow(QUERIES["lock_rejected"], id)
            if row is None:
                continue
            gateway = directory_of(request).by_id(row["gateway_id"])
            done = await _tried_again(connection, gateway, row, settings, base)
            read, kept = read + done, kept + (not done)
    inbox_of(request).arrived.set()
    return _json({"read": read, "still_rejected": kept})


async def _tried_again(
    connection: Connection, gateway: Gateway | None, row: Any, settings: Settings, base: str | None
) -> bool:
    """Each for itself: what the database, or our own code, refuses again stays where it is, and costs no other."""
    try:
        async with connection.transaction():
            done = await _read_again(connection, gateway, row, settings, base)
    except Exception as error:
        if is_everywhere(error):
            raise
        log.warning("rejected.not_retried", id=row["id"], error=type(error).__name__)
        done = False
    if not done:
        await connection.execute(QUERIES["note_retried"], row["id"], datetime.now(UTC))
    return done


async def _read_again(
    connection: Connection, gateway: Gateway | None, row: Any, settings: Settings, base: str | None
) -> bool:
    request = row["request"]
    if row["kind"] == "spooled" or "row" in request:
        await connection.execute(QUERIES["delete_rejected"], row["id"])
        await append(connection, [put_back(row["kind"], request, row["raw"])])
        return True
    if gateway is None:
        return False
    callback = _kept(gateway, row, base)
    if callback is None:
        return False
    if batches.fault(callback, settings.max_callback_items):
        return await _read_in_pieces(connection, gateway, row, callback)
    rows: list[Row] = []
    items = await batches.parsed(GATEWAYS[gateway.kind], callback, gateway)
    async for some in parts(items):
        rows += [made for item in some if (made := _row(gateway, item, row["received_at"])) is not None]
    if not rows or len(rows) < len(items):
        return False
    await append(connection, rows)
    await connection.execute(QUERIES["delete_rejected"], row["id"])
    metrics.receipts_total.labels(gateway.key, "retried").inc(len(rows))
    return True


async def _read_in_pieces(connection: Connection, gateway: Gateway, row: Any, callback: Callback) -> bool:
    """A batch too large to be read at once: what can be read goes to the inbox, the rest stays as one body."""
    read, reasons = 0, ["not JSON"]
    unread: list[bytes] = []
    async for piece in batches.in_pieces(callback, unread):
        items = GATEWAYS[gateway.kind].parse(piece, gateway)
        bad = [item for item in items if isinstance(item, Unreadable)]
        rows = [made for item in items if (made := _row(gateway, item, row["received_at"])) is not None]
        unread += [item.raw for item in bad]
        reasons += [item.reason for item in bad[:1]]
        if rows:
            await append(connection, rows)
        read += len(rows)
    metrics.receipts_total.labels(gateway.key, "retried").inc(read)
    if not read:
        return False
    if not unread:
        await connection.execute(QUERIES["delete_rejected"], row["id"])
        return True
    await connection.execute(
        QUERIES["set_rest"],
        row["id"], batches.joined(callback, unread), f"{len(unread)} items of a larger callback: {reasons[-1]}",
    )  # fmt: skip
    return False


def _kept(gateway: Gateway, row: Any, public_base: str | None) -> Callback | None:
    """The callback as it came; None for one whose signature was refused, and does not hold now either."""
    request = row["request"]
    if row["kind"] == "refused":
        return verified_again(gateway, request, row["raw"], public_base)
    return Callback(
        method=request.get("method") or "POST", url="", query=request.get("query") or "", body=row["raw"],
        headers={"content-type": request.get("content_type") or ""}, reference=request.get("reference"),
    )  # fmt: skip


def _row(gateway: Gateway, item: Item, received_at: datetime) -> Row | None:
    """None for what cannot be read."""
    if isinstance(item, Unreadable):
        return None
    if isinstance(item, Inbound):
        return inbound_row(gateway, item, received_at)
    return inbox_row(gateway, item, received_at)


async def _wanted(request: Request, key: str | None) -> int | None:
    """The id of the gateway to filter by. Raises `NotFound` for a key that names none."""
    if key is None:
        return None
    gateway: Gateway | None = await directory_of(request).find_answering(key)
    if gateway is None:
        raise NotFound("There is no such gateway.")
    return gateway.id


def _json(body: dict[str, Any]) -> Response:
    return Response(orjson.dumps(body, option=orjson.OPT_UTC_Z), media_type="application/json")
