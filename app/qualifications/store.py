"""Qualifications in the database, and how much a change of one would move.

A message's failure type and reason are not stored with it: they are joined at reading time by its qualification. So
requalifying is retroactive by construction, and what moves is what the counters keep under this qualification.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db import Connection, compiled, load_queries
from app.gateways import GATEWAYS
from app.privacy import searched
from app.qualifications.rules import UNKNOWN_ERROR, Qualified, meaning
from app.tables import counters, qualifications

QUERIES = load_queries(__file__)

_OCCURRENCES = and_(
    counters.c.delivery_id == 0,
    counters.c.metric == "qualification",
    counters.c.gateway_id == 0,
    counters.c.label == "",
    counters.c.bucket == qualifications.c.id,
)
_SHOWN = select(qualifications, func.coalesce(counters.c.value, 0).label("occurrences")).outerjoin(
    counters, _OCCURRENCES
)
_EDITABLE = frozenset({"failure_type", "reason", "state", "sentence"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """What a list of qualifications is narrowed to; all that is given must hold."""

    implementation: str | None = None
    state: str | None = None
    failure_type: str | None = None
    reason: str | None = None
    error_code: str | None = None
    q: str | None = None
    #: `q` looks through what a key without `pii:read` sees.
    masked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Touched:
    """One delivery with messages that failed with a qualification."""

    delivery_id: int
    label: str
    created_at: datetime
    messages: int


async def page(connection: AsyncConnection, asked: Filter, *, after: int, limit: int) -> list[dict[str, Any]]:
    """By id, behind `after`."""
    query: Select[Any] = _SHOWN.where(qualifications.c.id > after, *_conditions(asked))
    rows = await connection.execute(query.order_by(qualifications.c.id).limit(limit))
    return [dict(row) for row in rows.mappings()]


async def total(connection: AsyncConnection, asked: Filter) -> int:
    """There are hundreds of them, not millions: they are counted."""
    query = select(func.count()).select_from(qualifications).where(*_conditions(asked))
    return int((await connection.execute(query)).scalar_one())


async def read(connection: AsyncConnection, id: int) -> dict[str, Any] | None:
    row = (await connection.execute(_SHOWN.where(qualifications.c.id == id))).mappings().one_or_none()
    return None if row is None else dict(row)


def _conditions(asked: Filter) -> list[ColumnElement[bool]]:
    table = qualifications.c
    names = ("implementation", "state", "failure_type", "reason", "error_code")
    found = [table[name] == getattr(asked, name) for name in names if getattr(asked, name) is not None]
    if asked.q:
        texts = (table.implementation, table.status, table.error_code, table.sentence, table.first_text)
        seen = (searched(column, masked=asked.masked) for column in texts)
        found.append(or_(*(column.icontains(asked.q, autoescape=True) for column in seen)))
    return found


async def documented(connection: Connection, row: Mapping[str, Any]) -> Qualified:
    """What the provider says of the error `row`; `UNKNOWN_ERROR` where it says nothing."""
    kinds = [each["kind"] for each in await connection.fetch(QUERIES["list_kinds"], row["implementation"])]
    found = [
        meaning(GATEWAYS[kind].qualifications, row["status"], row["error_code"]) for kind in kinds if kind in GATEWAYS
    ]
    return next((each for each in found if each != UNKNOWN_ERROR), UNKNOWN_ERROR)


# --- change ----------------------------------------------------------------------------------------------------------


async def lock(connection: Connection, id: int) -> Mapping[str, Any] | None:
    """The qualification, held until the commit; None when there is none."""
    row = await connection.fetchrow(QUERIES["lock_qualification"], id)
    return None if row is None else dict(row)


async def change(connection: Connection, id: int, values: Mapping[str, Any], now: datetime) -> None:
    """Writes `values`. The caller holds the row."""
    assert values.keys() <= _EDITABLE
    changed = update(qualifications).where(qualifications.c.id == id).values(**values, updated_at=now)
    await connection.execute(*compiled(changed))


async def touched(connection: Connection, id: int) -> list[Touched]:
    """The deliveries with messages that failed with this qualification, newest first."""
    return [
        Touched(delivery_id=row["id"], label=row["label"], created_at=row["created_at"], messages=row["messages"])
        for row in await connection.fetch(QUERIES["list_touched"], id)
    ]
