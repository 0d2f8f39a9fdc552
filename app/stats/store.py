"""Reads a delivery's counters. Every query here costs the same at ten messages and at a hundred million."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import and_, func, select
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.ext.asyncio import AsyncConnection

from app.stats.indicators import BESIDE, beside, main_indicators, percentile, share
from app.tables import MESSAGE_STATUSES, counters, deliveries, gateways, qualifications

#: Stands for "no gateway" in figures by gateway; no gateway can have this key.
NO_GATEWAY = "-"
#: What a summary needs row by row. Not `history`, which grows with time, nor `latency`, whose many classes are read as one row.
_METRICS = ("status", "kept_away", "parts", "parts_received", "contradictory", "unknown_receipts", "cost", *BESIDE)
_FAILURE_TYPES = ("hard", "soft", "ignored", "undefined")
SERIES = ("received", "failed", "sent", "accepted", "clicks")


async def main_figures(connection: AsyncConnection, delivery_ids: Sequence[int]) -> dict[int, dict[str, int]]:
    """The main indicators of each of these deliveries, in one query."""
    rows = await connection.execute(
        select(counters.c.delivery_id, counters.c.metric, counters.c.label, func.sum(counters.c.value))
        .where(counters.c.delivery_id.in_(delivery_ids), counters.c.metric.in_(("status", *BESIDE)))
        .group_by(counters.c.delivery_id, counters.c.metric, counters.c.label)
    )
    found: dict[int, list[tuple[str, str, int]]] = {id: [] for id in delivery_ids}
    for delivery_id, metric, label, value in rows:
        found[delivery_id].append((metric, label, int(value)))
    return {id: main_indicators(_by_status(counts), beside(counts)) for id, counts in found.items()}


async def pending_messages(connection: AsyncConnection, delivery_id: int) -> int:
    """How many nobody has handed over yet, by the counters."""
    pending = select(func.sum(counters.c.value)).where(
        counters.c.delivery_id == delivery_id, counters.c.metric == "status", counters.c.label == "pending"
    )
    return int(await connection.scalar(pending) or 0)


def _by_status(counts: Iterable[tuple[str, str, int]]) -> dict[str, int]:
    return {label: value for metric, label, value in counts if metric == "status"}


async def summary(connection: AsyncConnection, delivery_id: int) -> dict[str, Any] | None:
    """All indicators of one delivery, or None when there is no such delivery."""
    rows = (await connection.execute(_SUMMARY.where(deliveries.c.id == delivery_id))).all()
    if not rows:
        return None
    classes, counts = (await connection.execute(_LATENCY.where(counters.c.delivery_id == delivery_id))).one()
    return _summarised(rows, list(zip(classes or (), counts or (), strict=True)))


_LATENCY = select(
    func.array_agg(aggregate_order_by(counters.c.bucket, counters.c.bucket)),
    func.array_agg(aggregate_order_by(counters.c.value, counters.c.bucket)),
).where(counters.c.metric == "latency", counters.c.value > 0)


_SUMMARY = (
    select(
        deliveries.c.id,
        deliveries.c.status.label("delivery_status"),
        deliveries.c.paused_at.label("delivery_paused_at"),
        counters.c.metric,
        gateways.c.key.label("gateway"),
        counters.c.label,
        counters.c.bucket,
        counters.c.value,
        qualifications.c.failure_type,
        qualifications.c.reason,
    )
    .select_from(deliveries)
    .outerjoin(counters, and_(counters.c.delivery_id == deliveries.c.id, counters.c.metric.in_(_METRICS)))
    .outerjoin(gateways, gateways.c.id == counters.c.gateway_id)
    .outerjoin(qualifications, and_(counters.c.metric == "status", qualifications.c.id == counters.c.bucket))
)


def _summarised(rows: Sequence[Any], latency: Sequence[tuple[int, int]]) -> dict[str, Any]:
    metrics: dict[str | None, list[Any]] = defaultdict(list)
    for row in rows:
        metrics[row.metric].append(row)
    status = metrics["status"]
    failed = [row for row in status if row.label == "failed"]
    by_status = _sums(((row.label, row.value) for row in status), MESSAGE_STATUSES)
    other = beside((row.metric, row.label, row.value) for row in rows)
    main = main_indicators(by_status, other)
    return {
        "id": str(rows[0].id),
        "status": rows[0].delivery_status,
        "paused_at": rows[0].delivery_paused_at,
        **main,
        "by_status": by_status,
        "by_failure_type": _sums(((row.failure_type or "undefined", row.value) for row in failed), _FAILURE_TYPES),
        "by_reason": _sums((row.reason or "not_defined", row.value) for row in failed),
        "kept_away_by_reason": _sums((row.label, row.value) for row in metrics["kept_away"]),
        "by_gateway": _by_gateway(status),
        "excluded_by_reason": dict(other.excluded_by_reason),
        "parts": {"total": _total(metrics["parts"]), "received": _total(metrics["parts_received"])},
        "cost": {row.label: _money(row.value) for row in sorted(metrics["cost"], key=lambda row: row.label)},
        "contradictory": _total(metrics["contradictory"]),
        "doubtful": other.doubtful,
        "unknown_receipts": _total(metrics["unknown_receipts"]),
        "click_through_rate": share(main["unique_clicks"], main["success"]),
        "rates": {
            "success": share(main["success"], main["to_send"]),
            "errors": share(main["errors"], main["to_send"]),
            "no_receipt": share(main["no_receipt"], main["to_send"]),
            "processed": share(main["processed"], main["to_send"]),
            "success_of_processed": share(main["success"], main["processed"]),
        },
        "latency": _latency(latency),
    }


def _sums(pairs: Iterable[tuple[str, Decimal]], always: Iterable[str] = ()) -> dict[str, int]:
    """Sums by name: those of `always` even when 0, all others only when there are any."""
    sums = dict.fromkeys(always, 0)
    for name, value in pairs:
        sums[name] = sums.get(name, 0) + int(value)
    return {name: value for name, value in sums.items() if value or name in always}


def _by_gateway(rows: Iterable[Any]) -> dict[str, dict[str, int]]:
    pairs: dict[str, list[tuple[str, Decimal]]] = defaultdict(list)
    for row in rows:
        pairs[row.gateway or NO_GATEWAY].append((row.label, row.value))
    found = {gateway: _sums(each) for gateway, each in sorted(pairs.items())}
    return {gateway: counts for gateway, counts in found.items() if counts}


def _latency(classes: Sequence[tuple[int, int]]) -> dict[str, float | None]:
    return {"median_seconds": percentile(classes, 0.5), "p95_seconds": percentile(classes, 0.95)}


def _total(rows: Iterable[Any]) -> int:
    return int(sum(row.value for row in rows))


def _money(millionths: int) -> str:
    """As a string: a price is exact, and JSON's numbers are not."""
    return f"{(Decimal(millionths) / 1_000_000).normalize():f}"


# --- over time -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A delivery's recorded time: its creation, and first and last minute with an event (minutes since 1970)."""

    created_at: datetime
    first: int | None
    last: int | None


async def span(connection: AsyncConnection, delivery_id: int) -> Span | None:
    """None when there is no such delivery."""
    limits = [_edge(delivery_id, label, newest=newest) for newest in (False, True) for label in SERIES]
    row = (
        await connection.execute(select(deliveries.c.created_at, *limits).where(deliveries.c.id == delivery_id))
    ).one_or_none()
    if row is None:
        return None
    firsts, lasts = row[1 : 1 + len(SERIES)], row[1 + len(SERIES) :]
    return Span(
        created_at=row.created_at,
        first=min((each for each in firsts if each is not None), default=None),
        last=max((each for each in lasts if each is not None), default=None),
    )


def _edge(delivery_id: int, label: str, *, newest: bool) -> Any:
    """First or last minute of one series: one step into the primary key."""
    bucket = counters.c.bucket
    return (
        select(bucket)
        .where(*_series(delivery_id), counters.c.label == label, counters.c.value > 0)
        .order_by(bucket.desc() if newest else bucket)
        .limit(1)
        .scalar_subquery()
    )


def _series(delivery_id: int) -> tuple[Any, ...]:
    return (counters.c.delivery_id == delivery_id, counters.c.metric == "history", counters.c.gateway_id == 0)


async def history(
    connection: AsyncConnection, delivery_id: int, *, start: int, end: int, step: int
) -> Mapping[int, Mapping[str, int]]:
    """Events by step: `{its first minute: {series: count}}`; `start` (minutes since 1970) included, `end` not."""
    minutes = (
        select((counters.c.bucket // step * step).label("minute"), counters.c.label, counters.c.value)
        .where(*_series(delivery_id), counters.c.label.in_(SERIES), counters.c.bucket >= start, counters.c.bucket < end)
        .subquery()
    )
    rows = await connection.execute(
        select(minutes.c.minute, minutes.c.label, func.sum(minutes.c.value)).group_by(minutes.c.minute, minutes.c.label)
    )
    found: dict[int, dict[str, int]] = defaultdict(dict)
    for minute, label, value in rows:
        found[minute][label] = int(value)
    return found
