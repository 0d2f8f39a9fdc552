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

from sqlalchemy import RowMapping, TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.api.excerpts import FETCHED

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
        ids = await _ids(connection, _CONTRADICTORY, place | _gateways(fitting))
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
    return int((await connection.execute(_CONTRADICTORY_COUNTER, values)).scalar_one())


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
    query = text("SELECT EXISTS (SELECT FROM gateways WHERE key = :key)")
    return bool((await connection.execute(query, {"key": key})).scalar_one())


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


# --- the statements: each in a plan test -----------------------------------------------------------------------------

CELLS = text("""
SELECT c.label AS status, c.gateway_id, c.bucket AS qualification_id, c.value AS count, g.key AS gateway,
    q.failure_type::text AS failure_type, q.reason, coalesce(o.value, 0) AS doubtful
FROM deliveries d
LEFT JOIN counters c ON c.delivery_id = d.id AND c.metric = 'status' AND c.value > 0
LEFT JOIN counters o ON o.delivery_id = d.id AND o.metric = 'doubtful'
    AND o.gateway_id = c.gateway_id AND o.label = c.label AND o.bucket = c.bucket
LEFT JOIN gateways g ON g.id = c.gateway_id
LEFT JOIN qualifications q ON q.id = c.bucket
WHERE d.id = :delivery
""")

# The row comparison leaves the planner no index but (delivery_id, id): a delivery's messages in order.
_IN_CELLS = """EXISTS (
        SELECT FROM unnest(
            CAST(:statuses AS message_status[]), CAST(:gateways AS int[]), CAST(:qualifications AS int[])
        ) AS c (status, gateway_id, qualification_id)
        WHERE c.status = s.status AND c.gateway_id = coalesce(s.gateway_id, 0)
            AND c.qualification_id = coalesce(s.qualification_id, 0))"""

EVERYTHING = text("""
SELECT m.id FROM messages m
WHERE (m.delivery_id, m.id) > (:delivery, :after) AND m.delivery_id <= :delivery AND NOT m.proof
ORDER BY m.delivery_id, m.id LIMIT :limit
""")

BY_ADDRESS = text(f"""
SELECT m.id FROM messages m JOIN message_state s ON s.message_id = m.id
WHERE m.address = :address AND m.delivery_id = :delivery AND NOT m.proof
    AND (CAST(:contradictory AS boolean) IS NULL OR s.contradictory = CAST(:contradictory AS boolean))
    AND (CAST(:doubtful AS boolean) IS NULL OR CAST(:doubtful AS boolean) = EXISTS (
        SELECT FROM message_clicks k WHERE k.message_id = m.id AND k.doubtful))
    AND {_IN_CELLS}
ORDER BY m.id
""")


_GATEWAY: Mapping[Gateways, str] = {
    "any": "",
    "one": " AND s.gateway_id = r.gateway",
    "none": " AND s.gateway_id IS NULL",
}


def _ranges(column: str, gateways: Gateways, unqualified: bool, consistent: bool, credible: bool) -> TextClause:
    """The order by key and id, though the key is one, and the row comparison leave the planner only the indexes that
    begin with them. Else it takes the primary key where it thinks that rows are many, and reads all for a few."""
    kind = "message_status" if column == "status" else "int"
    more = (" AND s.qualification_id IS NULL" if unqualified else "") + (
        " AND NOT s.contradictory" if consistent else ""
    )
    if credible:
        more += (
            " AND NOT EXISTS (SELECT FROM message_clicks k WHERE k.message_id = s.message_id AND k.doubtful OFFSET 0)"
        )
    return text(f"""
SELECT p.message_id
FROM unnest(CAST(:keys AS {kind}[]), CAST(:gateways AS int[])) AS r (key, gateway)
CROSS JOIN LATERAL (
    SELECT s.message_id FROM message_state s
    WHERE s.delivery_id = :delivery{_GATEWAY[gateways]}
        AND (s.{column}, s.message_id) > (r.key, :after) AND s.{column} <= r.key AND NOT s.proof{more}
    ORDER BY s.{column}, s.message_id LIMIT :limit
) p
ORDER BY p.message_id LIMIT :limit
""")


#: By index column, gateways, only without qualification, only without contradiction, only without doubt.
RANGES: Mapping[tuple[str, Gateways, bool, bool, bool], TextClause] = {
    (column, gateways, unqualified, consistent, credible): _ranges(column, gateways, unqualified, consistent, credible)
    for column in ("status", "qualification_id")
    for gateways in _GATEWAY
    for unqualified in (True, False)
    for consistent in (True, False)
    for credible in (True, False)
}

DOUBTFUL = text(f"""
SELECT k.message_id FROM message_clicks k JOIN message_state s ON s.message_id = k.message_id
WHERE (k.delivery_id, k.message_id) > (:delivery, :after) AND k.delivery_id <= :delivery AND k.doubtful
    AND {_IN_CELLS}
ORDER BY k.delivery_id, k.message_id LIMIT :limit
""")

_CONTRADICTORY = text("""
SELECT s.message_id FROM message_state s
WHERE s.delivery_id = :delivery AND (s.delivery_id, s.message_id) > (:delivery, :after)
    AND s.contradictory AND NOT s.proof AND coalesce(s.gateway_id, 0) = ANY(CAST(:gateways AS int[]))
ORDER BY s.delivery_id, s.message_id LIMIT :limit
""")

_CONTRADICTORY_COUNTER = text("""
SELECT coalesce(sum(value), 0) FROM counters
WHERE delivery_id = :delivery AND metric = 'contradictory' AND gateway_id = ANY(CAST(:gateways AS int[]))
""")

DETAILS = text("""
SELECT s.message_id AS id, s.delivery_id, m.address, m.recipient_id, m.reference, s.status::text AS status,
    s.parts, s.parts_received, g.key AS gateway, s.submitted_at, s.occurred_at, s.updated_at, s.accepted_at, s.sent_at,
    s.failed_at, s.received_at, s.contradictory, s.price, s.currency, s.unknown_receipts, s.deadline,
    q.failure_type::text AS failure_type, q.reason, q.sentence, q.implementation, q.status AS error_status,
    q.code AS error_code, m.created_at, m.cancelled_at, m.expired_at, m.proof, m.proof OR m.position IS NOT NULL AS ours,
    coalesce(k.human, 0) AS clicks, coalesce(k.machine, 0) AS machine_clicks, coalesce(k.doubtful, false) AS doubtful
FROM unnest(CAST(:ids AS bigint[])) AS asked (id)
JOIN message_state s ON s.message_id = asked.id
JOIN messages m ON m.id = asked.id
LEFT JOIN gateways g ON g.id = s.gateway_id
LEFT JOIN qualifications q ON q.id = s.qualification_id
LEFT JOIN message_clicks k ON k.message_id = asked.id
ORDER BY asked.id
""")

_QUALIFIED = """q.failure_type::text AS failure_type, q.reason, q.sentence, q.implementation, q.status AS error_status,
    q.code AS failure_code"""

SUBMISSIONS = text(f"""
SELECT s.*, g.key AS gateway, {_QUALIFIED}
FROM submissions s
LEFT JOIN gateways g ON g.id = s.gateway_id
LEFT JOIN qualifications q ON q.id = s.qualification_id
WHERE s.message_id = :message ORDER BY s.id LIMIT {MOST_SUBMISSIONS}
""")

CORRELATIONS = text("""
SELECT c.id, c.gateway_id, c.kind::text AS kind, c.raw, c.origin::text AS origin, c.part,
    g.options ->> 'receipts_per' AS receipts_per
FROM correlations c JOIN gateways g ON g.id = c.gateway_id
WHERE c.message_id = :message ORDER BY c.id
""")

_RECEIPT = """r.id, r.correlation_id, r.gateway_id, r.received_at, r.status, r.status_text, r.error_code, r.error_text,
    r.occurred_at, r.part, r.parts, r.price, r.currency, r.network, r.fingerprint, r.verified, r.qualification_id,
    octet_length(r.raw) AS raw_bytes"""

# What may be long is cut here: a gateway's callback can have a megabyte, and all of them would be sent.
RECEIPTS = text(f"""
SELECT {_RECEIPT}, substring(r.raw FROM 1 FOR {FETCHED}) AS raw,
    CASE WHEN length(r.details::text) <= {_DETAILS} THEN r.details END AS details,
    c.raw AS key_raw, c.kind::text AS key_kind, g.key AS gateway, {_QUALIFIED}
FROM correlations c
JOIN receipts r ON r.correlation_id = c.id
LEFT JOIN gateways g ON g.id = r.gateway_id
LEFT JOIN qualifications q ON q.id = r.qualification_id
WHERE c.message_id = :message ORDER BY r.id LIMIT {MOST_RECEIPTS}
""")

WHOLE_RECEIPT = text(f"""
SELECT {_RECEIPT}, r.raw, r.details, c.raw AS key_raw, c.kind::text AS key_kind, g.key AS gateway, {_QUALIFIED}
FROM receipts r
JOIN correlations c ON c.id = r.correlation_id AND c.message_id = :message
LEFT JOIN gateways g ON g.id = r.gateway_id
LEFT JOIN qualifications q ON q.id = r.qualification_id
WHERE r.id = :receipt
""")

LEFT_OUT = text(f"""
SELECT (SELECT count(*) FROM (SELECT FROM correlations c JOIN receipts r ON r.correlation_id = c.id
        WHERE c.message_id = :message ORDER BY r.id OFFSET {MOST_RECEIPTS} LIMIT {_MOST_COUNTED}) t)
    + (SELECT count(*) FROM (SELECT FROM submissions s WHERE s.message_id = :message
        OFFSET {MOST_SUBMISSIONS} LIMIT {_MOST_COUNTED}) t)
    + (SELECT count(*) FROM (SELECT FROM clicks c WHERE c.message_id = :message
        OFFSET {MOST_CLICKS} LIMIT {_MOST_COUNTED}) t)
""")

CLICKS = text(f"""
SELECT c.id, c.link, l.label, c.clicked_at, c.human, c.reasons, c.device, coalesce(v.agent, c.agent) AS agent, c.network
FROM clicks c LEFT JOIN links l ON l.delivery_id = c.delivery_id AND l.number = c.link
LEFT JOIN visitors v ON v.id = c.visitor
WHERE c.message_id = :message ORDER BY c.id LIMIT {MOST_CLICKS}
""")
