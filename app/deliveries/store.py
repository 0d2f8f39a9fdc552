"""Deliveries in the database: reads by SQLAlchemy, write flows by a plain connection whose caller commits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, func, insert, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.api.excerpts import weighed
from app.api.fields import known_id
from app.db import Connection, compiled, load_queries
from app.privacy import searched
from app.tables import deliveries, gateways, preparations
from app.tables import targets as targets_table

QUERIES = load_queries(__file__)

#: Columns an operator writes, in the order of the API's fields.
EDITABLE_COLUMNS = (
    "label",
    "sender",
    "content",
    "gateway_id",
    "default_region",
    "validity_seconds",
    "tracking",
    "metadata",
    "rules",
)
#: The same by the API's names.
EDITABLE_FIELDS = tuple("gateway" if name == "gateway_id" else name for name in EDITABLE_COLUMNS)
#: Messages cancelled and folded at a time.
_CANCEL_CHUNK = 2_000

_PREPARATION = ("started_at", "finished_at", "total", "done", "findings", "figures")
_SHOWN = (
    select(
        deliveries,
        gateways.c.key.label("gateway"),
        *(preparations.c[name].label(f"preparation_{name}") for name in _PREPARATION),
    )
    .outerjoin(gateways, gateways.c.id == deliveries.c.gateway_id)
    .outerjoin(preparations, preparations.c.delivery_id == deliveries.c.id)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """What a list of deliveries is narrowed to; all that is given must hold."""

    statuses: Sequence[str] = ()
    q: str | None = None
    #: `q` looks through what a key without `pii:read` sees.
    masked: bool = False
    created_after: datetime | None = None
    created_before: datetime | None = None


async def create(connection: Connection, values: Mapping[str, Any], now: datetime) -> Mapping[str, Any]:
    """Inserts a delivery with `values` for `EDITABLE_COLUMNS`, and returns it as it is read."""
    given = {name: values[name] for name in EDITABLE_COLUMNS}
    made = (
        insert(deliveries).values(**given, status="editing", created_at=now, updated_at=now).returning(deliveries.c.id)
    )
    row = await find(connection, await connection.fetchval(*compiled(made)))
    assert row is not None
    return row


async def find(connection: Connection, id: int) -> Mapping[str, Any] | None:
    """The delivery as it stands, held by nobody; None when there is none."""
    row = await connection.fetchrow(QUERIES["find_delivery"], id)
    return None if row is None else dict(row)


async def lock(connection: Connection, id: int) -> Mapping[str, Any] | None:
    """The delivery, held until the commit; None when there is none."""
    row = await connection.fetchrow(QUERIES["lock_delivery"], id)
    return None if row is None else dict(row)


async def change(connection: Connection, id: int, values: Mapping[str, Any], now: datetime) -> Mapping[str, Any]:
    """Writes `values` (columns of `EDITABLE_COLUMNS`, `status`, `scheduled_at`, `paused_at`) and returns the delivery. The
    caller holds it."""
    assert values.keys() <= {*EDITABLE_COLUMNS, "status", "scheduled_at", "paused_at"}
    changed = update(deliveries).where(deliveries.c.id == id).values(**values, updated_at=now)
    await connection.execute(*compiled(changed))
    row = await find(connection, id)
    assert row is not None
    return row


async def cancel_pending(connection: Connection, id: int, now: datetime, after: int) -> list[int]:
    """Marks the next chunk of messages that are still `pending` as cancelled, by id; the caller folds them."""
    rows = await connection.fetch(QUERIES["cancel_pending"], id, now, after, _CANCEL_CHUNK)
    return sorted(row["id"] for row in rows)


async def proofs(connection: Connection, id: int) -> list[int]:
    """The ids of all proofs of a delivery."""
    rows = await connection.fetch(QUERIES["list_all_proofs"], id)
    return [row["id"] for row in rows]


# --- reads -----------------------------------------------------------------------------------------------------------


async def read(connection: AsyncConnection, id: int) -> Mapping[str, Any] | None:
    row = (await connection.execute(_SHOWN.where(deliveries.c.id == id))).mappings().one_or_none()
    return None if row is None else dict(row)


async def page(
    connection: AsyncConnection, asked: Filter, *, before: int | None, limit: int
) -> list[Mapping[str, Any]]:
    """The newest deliveries with an id under `before`, weighed."""
    query: Select[Any] = _SHOWN.where(*_conditions(asked)).order_by(deliveries.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(deliveries.c.id < before)
    heavy = ("content", "metadata", "rules", "preparation_findings", "preparation_figures")
    query = weighed(query, *heavy, order=[deliveries.c.id.desc()])
    return [dict(row) for row in (await connection.execute(query)).mappings()]


async def total(connection: AsyncConnection, asked: Filter) -> int:
    """Deliveries are thousands where messages are millions: this one number is counted."""
    query = select(func.count()).select_from(deliveries).where(*_conditions(asked))
    return int((await connection.execute(query)).scalar_one())


async def targets(connection: AsyncConnection, id: int, *, after: int, limit: int) -> list[Mapping[str, Any]]:
    """The audience behind position `after`, weighed."""
    t = targets_table.c
    query = (
        select(
            t.position, t.given, t.recipient_id, func.coalesce(t.params, text("'{}'::jsonb")).label("params"), t.control
        )
        .where(t.delivery_id == id, t.position > after)
        .order_by(t.position)
        .limit(limit)
    )
    query = weighed(query, "params", "given", order=[t.position])
    return [dict(row) for row in (await connection.execute(query)).mappings()]


def _conditions(asked: Filter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if asked.statuses:
        found.append(deliveries.c.status.in_(asked.statuses))
    if asked.created_after:
        found.append(deliveries.c.created_at >= asked.created_after)
    if asked.created_before:
        found.append(deliveries.c.created_at < asked.created_before)
    if asked.q:
        found.append(_matches(asked.q, masked=asked.masked))
    return found


def _matches(q: str, *, masked: bool) -> ColumnElement[bool]:
    """Label or sender contains it, whatever the case; or it is a code, `DM12`."""
    texts = (searched(column, masked=masked) for column in (deliveries.c.label, deliveries.c.sender))
    ways = [text.icontains(q, autoescape=True) for text in texts]
    number = q.strip().upper().removeprefix("DM")
    if (id := known_id(number)) is not None:
        ways.append(deliveries.c.id == id)
    return or_(*ways)
