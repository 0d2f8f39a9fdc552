"""The quarantine as operators read it: pages, totals, one address with its evidence. Totals come from counters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from app.identities import spellings
from app.quarantine.rules import Event
from app.tables import breakers, counters, decisions, deliveries, exclusions, gateways, held, qualifications, quarantine

#: What an operator may release by filter: opt-outs are lifted one by one.
RELEASABLE = ("with_errors", "quarantined")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """What the quarantine is narrowed to; all that is given must hold."""

    statuses: Sequence[str] = ()
    reasons: Sequence[str] = ()
    origin: str | None = None
    gateway: str | None = None
    error_code: str | None = None
    sender: str | None = None
    address: str | None = None
    delivery_id: int | None = None
    since_after: datetime | None = None
    since_before: datetime | None = None

    @property
    def counted(self) -> bool:
        """The counters know the total."""
        others = (self.sender, self.address, self.delivery_id, self.since_after, self.since_before)
        return all(each is None for each in others)


_JOINED = (
    select(
        quarantine,
        gateways.c.key.label("gateway"),
        qualifications.c.implementation,
        qualifications.c.status.label("error_status"),
        qualifications.c.error_code,
        qualifications.c.sentence,
        decisions.c.note,
        decisions.c.actor,
    )
    .outerjoin(gateways, gateways.c.id == quarantine.c.gateway_id)
    .outerjoin(qualifications, qualifications.c.id == quarantine.c.qualification_id)
    .outerjoin(decisions, decisions.c.id == quarantine.c.decision_id)
)


async def page(
    connection: AsyncConnection, asked: Filter, *, after: tuple[str, str] | None, limit: int
) -> list[Mapping[str, Any]]:
    """By address and sender, behind `after`."""
    query: Select[Any] = _JOINED.where(*conditions(asked)).order_by(quarantine.c.address, quarantine.c.sender)
    if after is not None:
        query = query.where(tuple_(quarantine.c.address, quarantine.c.sender) > after)
    return [dict(row) for row in (await connection.execute(query.limit(limit))).mappings()]


async def total(connection: AsyncConnection, asked: Filter) -> int:
    if not asked.counted:
        rows = select(func.count()).select_from(
            quarantine.outerjoin(gateways, gateways.c.id == quarantine.c.gateway_id).outerjoin(
                qualifications, qualifications.c.id == quarantine.c.qualification_id
            )
        )
        return int((await connection.execute(rows.where(*conditions(asked)))).scalar_one())
    cells = (
        select(counters.c.label, counters.c.value, gateways.c.key, qualifications.c.error_code)
        .outerjoin(gateways, gateways.c.id == counters.c.gateway_id)
        .outerjoin(qualifications, qualifications.c.id == counters.c.bucket)
        .where(counters.c.delivery_id == 0, counters.c.metric == "quarantine")
    )
    return int(sum(row.value for row in await connection.execute(cells) if _fits(row, asked)))


def _fits(row: Any, asked: Filter) -> bool:
    status, reason, origin = row.label.split("/")
    return (
        (not asked.statuses or status in asked.statuses)
        and (not asked.reasons or reason in asked.reasons)
        and (asked.origin is None or origin == asked.origin)
        and (asked.gateway is None or row.key == asked.gateway)
        and (asked.error_code is None or row.error_code == asked.error_code)
    )


def conditions(asked: Filter) -> list[ColumnElement[bool]]:
    table = quarantine.c
    found: list[ColumnElement[bool]] = []
    if asked.statuses:
        found.append(table.status.in_(asked.statuses))
    if asked.reasons:
        found.append(table.reason.in_(asked.reasons))
    pairs = (
        (asked.origin, table.origin),
        (asked.gateway, gateways.c.key),
        (asked.error_code, qualifications.c.error_code),
        (asked.sender, table.sender),
    )
    found += [column == value for value, column in pairs if value is not None]
    if asked.address is not None:
        found.append(table.address.in_(spellings(asked.address)))
    if asked.delivery_id is not None:
        found.append(and_(table.delivery_id == asked.delivery_id, table.status != "with_errors"))
    if asked.since_after is not None:
        found.append(table.since >= asked.since_after)
    if asked.since_before is not None:
        found.append(table.since < asked.since_before)
    return found


async def delivery_exists(connection: AsyncConnection, delivery_id: int) -> bool:
    query = select(deliveries.c.id).where(deliveries.c.id == delivery_id)
    return (await connection.execute(query)).first() is not None


# --- what a preparation left out -------------------------------------------------------------------------------------

_LEFT_OUT = ("denylisted", "quarantined")


async def left_out(connection: AsyncConnection, delivery_id: int, *, after: int, limit: int) -> list[Mapping[str, Any]]:
    """Exclusions for opt-out or quarantine behind position `after`, in the form of rows of the quarantine."""
    table = exclusions.c
    nothing = ("gateway", "implementation", "error_status", "error_code", "sentence", "note", "actor", "delivery_id")
    more = ("message_id", "last_error_at", "clears_at", "origin")
    query = (
        select(table.position, table.address, table.reason, table.excluded_at)
        .where(table.delivery_id == delivery_id, table.reason.in_(_LEFT_OUT), table.position > after)
        .order_by(table.position)
        .limit(limit)
    )
    return [
        dict.fromkeys((*nothing, *more))
        | {"address": row.address, "sender": "", "status": row.reason, "reason": row.reason, "errors": 0}
        | {"since": row.excluded_at, "updated_at": row.excluded_at, "position": row.position}
        for row in await connection.execute(query)
    ]


async def left_out_total(connection: AsyncConnection, delivery_id: int) -> int:
    query = select(func.coalesce(func.sum(counters.c.value), 0)).where(
        counters.c.delivery_id == delivery_id, counters.c.metric == "excluded", counters.c.label.in_(_LEFT_OUT)
    )
    return int((await connection.execute(query)).scalar_one())


# --- what evidence refers to -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Notes:
    """By id: keys of gateways, keys of errors, and who decided what why."""

    gateways: Mapping[int, str]
    errors: Mapping[int, str]
    decisions: Mapping[int, Mapping[str, Any]]


async def notes(connection: AsyncConnection, events: Sequence[Event]) -> Notes:
    gateway_ids = {event.gateway_id for event in events}
    errors = {event.qualification_id for event in events}
    decided = {event.id for event in events if event.kind not in ("failed", "received")}
    keys = select(gateways.c.id, gateways.c.key).where(gateways.c.id.in_(gateway_ids - {None}))
    table = qualifications.c
    named = select(table.id, table.implementation, table.status, table.error_code).where(table.id.in_(errors - {None}))
    told = select(decisions.c.id, decisions.c.actor, decisions.c.note).where(decisions.c.id.in_(decided))
    return Notes(
        gateways={row.id: row.key for row in await connection.execute(keys)},
        errors={
            row.id: " ".join(filter(None, ("SR", row.implementation, row.status, row.error_code)))
            for row in await connection.execute(named)
        },
        decisions={row["id"]: dict(row) for row in (await connection.execute(told)).mappings()},
    )


# --- breakers --------------------------------------------------------------------------------------------------------

_HELD = select(func.count()).where(held.c.breaker_id == breakers.c.id).scalar_subquery()
_BREAKERS = (
    select(
        breakers,
        _HELD.label("held"),
        gateways.c.key.label("gateway"),
        qualifications.c.implementation,
        qualifications.c.status.label("error_status"),
        qualifications.c.error_code,
        qualifications.c.sentence,
    )
    .join(gateways, gateways.c.id == breakers.c.gateway_id)
    .join(qualifications, qualifications.c.id == breakers.c.qualification_id)
)


async def breaker_page(
    connection: AsyncConnection, *, open_only: bool, before: int | None, limit: int
) -> list[Mapping[str, Any]]:
    """Newest first."""
    query: Select[Any] = _BREAKERS.order_by(breakers.c.id.desc()).limit(limit)
    if open_only:
        query = query.where(breakers.c.closed_at.is_(None))
    if before is not None:
        query = query.where(breakers.c.id < before)
    return [dict(row) for row in (await connection.execute(query)).mappings()]


async def breaker_total(connection: AsyncConnection, *, open_only: bool) -> int:
    """There are few: they are counted."""
    query = select(func.count()).select_from(breakers)
    if open_only:
        query = query.where(breakers.c.closed_at.is_(None))
    return int((await connection.execute(query)).scalar_one())


async def breaker(connection: AsyncConnection, id: int) -> Mapping[str, Any] | None:
    row = (await connection.execute(_BREAKERS.where(breakers.c.id == id))).mappings().one_or_none()
    return None if row is None else dict(row)
