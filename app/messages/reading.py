"""Reads the delivery log: pages that cost the same wherever they stand, and totals that are sums of counters.

The counters of metric `status` know which *cells* (status, gateway, qualification) of a delivery have messages, and how
many. A filter picks cells: their sum is the total, and the cells of one status or one error are one range of an index,
ordered by message id. A page takes at most `limit` ids from each range and keeps the lowest.

Everything runs on one connection in one REPEATABLE READ transaction of the caller, so that total and rows agree.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import RowMapping, TextClause, exists, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app import tables
from app.api.excerpts import FETCHED
from app.db import filled, load_queries

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
#: Characters of a receipt's own details, as JSON, that are shown; longer ones stand with the whole receipt.
_DETAILS = 4_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """What the log is narrowed to; all that is given must hold. `address` is in E.164."""

    statuses: tuple[str, ...] = ()
    failure_types: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    gateway: str | None = None
    address: str | None = None
    contradictory: bool | None = None
    doubtful: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Messages of one delivery that share status, gateway (0: none) and qualification (0: none)."""

    status: str
    gateway_id: int
    gateway: str
    qualification_id: int
    failure_type: str | None
    reason: str | None
    count: int
    #: Those of them of which a person opened a link, though it is said that they did not come.
    doubtful: int

    def fits(self, asked: Filter) -> bool:
        return (
            (not asked.statuses or self.status in asked.statuses)
            and (not asked.failure_types or self.failure_type in asked.failure_types)
            and (not asked.reasons or self.reason in asked.reasons)
            and (asked.gateway is None or self.gateway == asked.gateway)
            and (asked.contradictory is not True or self.status == "received")
            and (asked.doubtful is not True or self.doubtful > 0)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Message ids in ascending order, and how many there are in all."""

    ids: list[int]
    total: int


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
        count=int(row["count"]),
        doubtful=int(row["doubtful"]),
    )


async def find(
    connection: AsyncConnection, delivery_id: int, all_cells: Sequence[Cell], asked: Filter, *, after: int, limit: int
) -> Found:
    """The first `limit` messages behind id `after` that fit."""
    fitting = [cell for cell in all_cells if cell.fits(asked)]
    place = {"delivery": delivery_id, "after": after, "limit": limit}
    if asked.address is not None:
        return await _by_address(connection, fitting, asked, place)
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


async def _by_address(
    connection: AsyncConnection, fitting: Sequence[Cell], asked: Filter, place: Mapping[str, Any]
) -> Found:
    """The few messages of one address, counted as they are."""
    values = {
        "address": asked.address,
        **_in_cells(fitting),
        "contradictory": asked.contradictory,
        "doubtful": asked.doubtful,
        "delivery": place["delivery"],
    }
    ids = await _ids(connection, BY_ADDRESS, values)
    behind = [id for id in ids if id > place["after"]]
    return Found(ids=behind[: place["limit"]], total=len(ids))


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
        query = RANGES[column, gateways, unqualified, asked.contradictory is False, asked.doubtful is False]
        values = {"keys": [key for key, _ in keys], "gateways": [gateway for _, gateway in keys]}
        found += await _ids(connection, query, {**place, **values})
    return sorted(found)[: place["limit"]]


def _ranges_of(
    all_cells: Sequence[Cell], fitting: Sequence[Cell], asked: Filter
) -> Mapping[tuple[str, Gateways, bool], list[tuple[Any, int]]]:
    """The index ranges that together hold the fitting cells: by error when asked for errors, else by status. A range
    is narrowed to a gateway only where messages of others lie in it."""
    by_error = bool(asked.failure_types or asked.reasons)

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
BY_ADDRESS = _statement("list_ids_of_address")
DOUBTFUL = _statement("list_doubtful_ids")
CONTRADICTORY = _statement("list_contradictory_ids")
CONTRADICTORY_COUNTER = _statement("count_contradictory")
DETAILS = _statement("list_details")
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


#: By index column, gateways, only without qualification, only without contradiction, only without doubt.
RANGES: Mapping[tuple[str, Gateways, bool, bool, bool], TextClause] = {
    (column, gateways, unqualified, consistent, credible): _ranges(
        column, *of_gateways, *["unqualified"] * unqualified, *["consistent"] * consistent, *["credible"] * credible
    )
    for column in ("status", "qualification_id")
    for gateways, of_gateways in _NARROWED.items()
    for unqualified in (True, False)
    for consistent in (True, False)
    for credible in (True, False)
}
