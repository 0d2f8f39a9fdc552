"""Reads the delivery log: pages that cost the same wherever they stand, and totals that are sums of counters.

The counters of metric `status` know which *cells* (status, gateway, qualification) of a delivery have messages, and how
many. A filter picks cells: their sum is the total, and the cells of one status or one error are one range of an index,
ordered by message id. A page takes at most `limit` ids from each range and keeps the lowest.

Everything runs on one connection in one REPEATABLE READ transaction of the caller, so that total and rows agree.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import orjson
from sqlalchemy import RowMapping, TextClause, exists, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app import tables
from app.api.excerpts import FETCHED
from app.api.fields import EARLIEST, LATEST
from app.db import filled, load_queries
from app.messages.names import Keys, candidates

QUERIES = load_queries(__file__, "reading.sql")

#: Stands for "no gateway" in filters and figures; no gateway can have this key.
NO_GATEWAY = "-"
#: What a failed message without a qualification counts as (none should exist).
UNQUALIFIED = ("undefined", "not_defined")
#: Which gateways' messages a range is narrowed to.
Gateways = Literal["any", "one", "none"]
#: Receipts of one message that are shown; more than this is a gateway gone wild with repeats.
MOST_RECEIPTS = 500
#: The same of submissions, of which a sender out of its mind makes many, and of clicks.
MOST_SUBMISSIONS = 200
MOST_CLICKS = 200
#: Facts that are left out are counted up to here.
_MOST_COUNTED = 10_000
#: So far messages of a time are counted: no counter knows them.
_COUNTED = 10_000
#: Characters of a receipt's own details, as JSON, that are shown; longer ones stand with the whole receipt.
_DETAILS = 4_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """What the log is narrowed to; all that is given must hold. `address` is in E.164, or a pseudonym."""

    statuses: tuple[str, ...] = ()
    failure_types: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    error_codes: tuple[str, ...] = ()
    gateway: str | None = None
    occurred_after: datetime | None = None
    occurred_before: datetime | None = None
    #: What a message is known by.
    address: str | None = None
    recipient_id: str | None = None
    reference: str | None = None
    provider_message_id: str | None = None
    contradictory: bool | None = None
    doubtful: bool | None = None

    @property
    def names_some(self) -> bool:
        return any((self.address, self.recipient_id, self.reference, self.provider_message_id))

    @property
    def timed(self) -> bool:
        return self.occurred_after is not None or self.occurred_before is not None

    @property
    def times(self) -> dict[str, datetime]:
        return {"occurred_after": self.occurred_after or EARLIEST, "occurred_before": self.occurred_before or LATEST}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Messages of one delivery that share status, gateway (0: none) and qualification (0: none)."""

    status: str
    gateway_id: int
    gateway: str
    qualification_id: int
    failure_type: str | None
    reason: str | None
    error_code: str | None
    count: int
    #: Those of them of which a person opened a link, though it is said that they did not come.
    doubtful: int

    def fits(self, asked: Filter) -> bool:
        return (
            (not asked.statuses or self.status in asked.statuses)
            and (not asked.failure_types or self.failure_type in asked.failure_types)
            and (not asked.reasons or self.reason in asked.reasons)
            and (not asked.error_codes or self.error_code in asked.error_codes)
            and (asked.gateway is None or self.gateway == asked.gateway)
            and (asked.contradictory is not True or self.status == "received")
            and (asked.doubtful is not True or self.doubtful > 0)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Message ids in ascending order, and how many there are in all; None: nobody counts further than `at_least`."""

    ids: list[int]
    total: int | None
    at_least: int | None = None


async def cells(connection: AsyncConnection, delivery_id: int) -> list[Cell] | None:
    """The delivery's cells that have messages; None when there is no such delivery."""
    rows = (await connection.execute(CELLS, {"delivery": delivery_id})).mappings().all()
    return [_cell(row) for row in rows if row["status"] is not None] if rows else None


def _cell(row: RowMapping) -> Cell:
    unknown = UNQUALIFIED if row["status"] == "failed" else (None, None)
    return Cell(
        status=row["status"],
        gateway_id=row["gateway_id"],
        gateway=row["gateway"] or NO_GATEWAY,
        qualification_id=row["qualification_id"],
        failure_type=row["failure_type"] or unknown[0],
        reason=row["reason"] or unknown[1],
        error_code=row["error_code"],
        count=int(row["count"]),
        doubtful=int(row["doubtful"]),
    )


async def find(
    connection: AsyncConnection,
    delivery_id: int,
    all_cells: Sequence[Cell],
    asked: Filter,
    *,
    after: int,
    limit: int,
    keys: Keys = (),
    counted: bool = True,
) -> Found:
    """The first `limit` messages behind id `after` that fit. `keys`: under which the asked provider's id can stand. `counted`:
    with their total, also where no counter knows it."""
    fitting = [cell for cell in all_cells if cell.fits(asked)]
    place = {"delivery": delivery_id, "after": after, "limit": limit}
    if asked.names_some:
        return await _named(connection, fitting, asked, place, keys)
    if asked.timed:
        return await _in_time(connection, all_cells, fitting, asked, place, counted=counted)
    total = await _total(connection, delivery_id, fitting, asked)
    if not total:
        return Found(ids=[], total=0)
    if asked.contradictory:
        ids = await _ids(connection, CONTRADICTORY, place | _gateways(fitting))
    elif asked.doubtful:
        ids = await _ids(connection, DOUBTFUL, place | _in_cells(fitting))
    elif len(fitting) == len(all_cells) and asked.contradictory is None and asked.doubtful is None:
        ids = await _ids(connection, EVERYTHING, place)
    else:
        ids = await _by_ranges(connection, all_cells, fitting, asked, place)
    return Found(ids=ids, total=total)


async def _named(
    connection: AsyncConnection, fitting: Sequence[Cell], asked: Filter, place: Mapping[str, Any], keys: Keys
) -> Found:
    """The few messages that are known by what is asked, counted as they are."""
    some = await candidates(connection, asked, keys, place["delivery"])
    values = {
        "ids": some,
        **_in_cells(fitting),
        **asked.times,
        "contradictory": asked.contradictory,
        "doubtful": asked.doubtful,
        "delivery": place["delivery"],
    }
    ids = await _ids(connection, NAMED, values) if some else []
    behind = [id for id in ids if id > place["after"]]
    return Found(ids=behind[: place["limit"]], total=len(ids))


async def _in_time(
    connection: AsyncConnection,
    all_cells: Sequence[Cell],
    fitting: Sequence[Cell],
    asked: Filter,
    place: Mapping[str, Any],
    *,
    counted: bool,
) -> Found:
    """No index knows when: the ranges of the other filters are read in order until the page is full, or so many are counted
    that the page lies among them."""

    async def find(place: Mapping[str, Any]) -> list[int]:
        if asked.contradictory and asked.doubtful:
            return []  # received is never doubtful
        if asked.contradictory:
            return await _ids(connection, CONTRADICTORY_IN_TIME, {**place, **_gateways(fitting), **asked.times})
        if asked.doubtful:
            return await _ids(connection, DOUBTFUL_IN_TIME, {**place, **_in_cells(fitting), **asked.times})
        return await _by_ranges(connection, all_cells, fitting, asked, place)

    if counted:
        first = await find({**place, "after": 0, "limit": _COUNTED + 1})
        if len(first) <= _COUNTED:
            return Found(ids=[id for id in first if id > place["after"]][: place["limit"]], total=len(first))
    return Found(ids=await find(place), total=None, at_least=_COUNTED if counted else None)


async def _total(connection: AsyncConnection, delivery_id: int, fitting: Sequence[Cell], asked: Filter) -> int:
    if asked.contradictory and asked.doubtful:
        return 0  # received is never doubtful
    if asked.doubtful:
        return sum(cell.doubtful for cell in fitting)
    total = sum(cell.count for cell in fitting)
    if asked.doubtful is False:
        total -= sum(cell.doubtful for cell in fitting)
    if asked.contradictory is None or not total:
        return total
    received = [cell for cell in fitting if cell.status == "received"]
    both = await _contradictory_total(connection, delivery_id, received)
    return both if asked.contradictory else total - both


async def _contradictory_total(connection: AsyncConnection, delivery_id: int, received: Sequence[Cell]) -> int:
    values = {"delivery": delivery_id} | _gateways(received)
    return int((await connection.execute(CONTRADICTORY_COUNTER, values)).scalar_one())


async def _by_ranges(
    connection: AsyncConnection,
    all_cells: Sequence[Cell],
    fitting: Sequence[Cell],
    asked: Filter,
    place: Mapping[str, Any],
) -> list[int]:
    """The lowest ids of all ranges together."""
    found: list[int] = []
    for (column, gateways, unqualified), keys in _ranges_of(all_cells, fitting, asked).items():
        ranges = TIMED_RANGES if asked.timed else RANGES
        query = ranges[column, gateways, unqualified, asked.contradictory is False, asked.doubtful is False]
        values = {"keys": [key for key, _ in keys], "gateways": [gateway for _, gateway in keys]}
        times = asked.times if asked.timed else {}
        found += await _ids(connection, query, {**place, **values, **times})
    return sorted(found)[: place["limit"]]


def _ranges_of(
    all_cells: Sequence[Cell], fitting: Sequence[Cell], asked: Filter
) -> Mapping[tuple[str, Gateways, bool], list[tuple[Any, int]]]:
    """The index ranges that together hold the fitting cells: by error when asked for errors, else by status. A range
    is narrowed to a gateway only where messages of others lie in it."""
    by_error = bool(asked.failure_types or asked.reasons or asked.error_codes)

    def range_of(cell: Cell) -> tuple[str, Any, bool]:
        if by_error and cell.qualification_id:
            return "qualification_id", cell.qualification_id, False
        return "status", cell.status, by_error

    wanted = {cell.gateway_id for cell in fitting}
    mixed = {range_of(cell) for cell in all_cells if cell.gateway_id not in wanted}
    found: dict[tuple[str, Gateways, bool], set[tuple[Any, int]]] = defaultdict(set)
    for cell in fitting:
        column, key, unqualified = range_of(cell)
        if range_of(cell) not in mixed:
            found[column, "any", unqualified].add((key, 0))
        else:
            found[column, "one" if cell.gateway_id else "none", unqualified].add((key, cell.gateway_id))
    return {kind: sorted(keys) for kind, keys in found.items()}


async def _ids(connection: AsyncConnection, query: TextClause, values: Mapping[str, Any]) -> list[int]:
    return list((await connection.execute(query, values)).scalars())


def _in_cells(of: Sequence[Cell]) -> dict[str, list[Any]]:
    return {
        "statuses": [cell.status for cell in of],
        "gateways": [cell.gateway_id for cell in of],
        "qualifications": [cell.qualification_id for cell in of],
    }


def _gateways(of: Sequence[Cell]) -> dict[str, list[int]]:
    return {"gateways": sorted({cell.gateway_id for cell in of})}


async def details(connection: AsyncConnection, ids: Sequence[int]) -> Sequence[RowMapping]:
    """The rows of these messages, by id, with the names of gateway and qualification."""
    return (await connection.execute(DETAILS, {"ids": list(ids)})).mappings().all()


async def metadata(connection: AsyncConnection, id: int) -> dict[str, Any] | None:
    """The caller's own, of a message that was sent elsewhere."""
    said: Any = await connection.scalar(METADATA, {"id": id})
    found: dict[str, Any] | None = orjson.loads(said) if isinstance(said, str) else said
    return found


async def found(connection: AsyncConnection, ids: Sequence[int]) -> list[dict[str, Any]]:
    """The rows of these messages in their order, with the label of their delivery."""
    if not ids:
        return []
    rows = {row["id"]: dict(row) for row in await details(connection, ids)}
    labels = await connection.execute(LABELS, {"deliveries": sorted({row["delivery_id"] for row in rows.values()})})
    known = {row["id"]: row["label"] for row in labels.mappings()}
    return [rows[id] | {"delivery_label": known[rows[id]["delivery_id"]]} for id in ids if id in rows]


async def gateway_exists(connection: AsyncConnection, key: str) -> bool:
    return bool(await connection.scalar(select(exists().where(tables.gateways.c.key == key))))


async def known_facts(connection: AsyncConnection, message_id: int) -> dict[str, Sequence[RowMapping]]:
    """All that is known about one message: its submissions, keys, receipts and clicks."""
    values = {"message": message_id}
    return {
        "submissions": (await connection.execute(SUBMISSIONS, values)).mappings().all(),
        "correlations": (await connection.execute(CORRELATIONS, values)).mappings().all(),
        "receipts": (await connection.execute(RECEIPTS, values)).mappings().all(),
        "clicks": (await connection.execute(CLICKS, values)).mappings().all(),
    }


async def left_out(connection: AsyncConnection, message_id: int) -> int:
    """Facts of a message that its timeline does not show, counted up to some ten thousand of a kind."""
    return int((await connection.execute(LEFT_OUT, {"message": message_id})).scalar_one())


async def receipt(connection: AsyncConnection, message_id: int, receipt_id: int) -> RowMapping | None:
    """One receipt of the message, whole."""
    found = await connection.execute(WHOLE_RECEIPT, {"message": message_id, "receipt": receipt_id})
    return found.mappings().one_or_none()


# --- the statements of reading.sql -----------------------------------------------------------------------------------


def _statement(name: str, **parts: object) -> TextClause:
    return text(filled(QUERIES[name], **parts))


CELLS = _statement("list_cells")
EVERYTHING = _statement("list_ids")
NAMED = _statement("list_ids_of_named")
DOUBTFUL = _statement("list_doubtful_ids", narrowed="")
DOUBTFUL_IN_TIME = _statement("list_doubtful_ids", narrowed=QUERIES["in_time"])
CONTRADICTORY = _statement("list_contradictory_ids", narrowed="")
CONTRADICTORY_IN_TIME = _statement("list_contradictory_ids", narrowed=QUERIES["in_time"])
CONTRADICTORY_COUNTER = _statement("count_contradictory")
DETAILS = _statement("list_details")
LABELS = _statement("list_labels")
METADATA = _statement("find_metadata")
SUBMISSIONS = _statement("list_submissions", most_submissions=MOST_SUBMISSIONS)
CORRELATIONS = _statement("list_correlations")
RECEIPTS = _statement("list_receipts", fetched=FETCHED, most_details=_DETAILS, most_receipts=MOST_RECEIPTS)
WHOLE_RECEIPT = _statement("find_receipt")
CLICKS = _statement("list_clicks", most_clicks=MOST_CLICKS)
LEFT_OUT = _statement(
    "count_left_out", most_counted=_MOST_COUNTED,
    most_receipts=MOST_RECEIPTS, most_submissions=MOST_SUBMISSIONS, most_clicks=MOST_CLICKS,
)  # fmt: skip

_NARROWED: Mapping[Gateways, tuple[str, ...]] = {"any": (), "one": ("one_gateway",), "none": ("no_gateway",)}


def _ranges(column: str, *narrowed: str) -> TextClause:
    kind = "message_status" if column == "status" else "int"
    return _statement(
        "list_ids_in_ranges", column=column, kind=kind, narrowed=" ".join(QUERIES[each] for each in narrowed)
    )


Ranges = Mapping[tuple[str, Gateways, bool, bool, bool], TextClause]


def _all_ranges(*narrowed: str) -> Ranges:
    return {
        (column, gateways, unqualified, consistent, credible): _ranges(
            column, *of_gateways, *["unqualified"] * unqualified, *["consistent"] * consistent, *["credible"] * credible,
            *narrowed,
        )
        for column in ("status", "qualification_id")
        for gateways, of_gateways in _NARROWED.items()
        for unqualified in (True, False)
        for consistent in (True, False)
        for credible in (True, False)
    }  # fmt: skip


#: By index column, gateways, only without qualification, only without contradiction, only without doubt.
RANGES = _all_ranges()
TIMED_RANGES = _all_ranges("in_time")
