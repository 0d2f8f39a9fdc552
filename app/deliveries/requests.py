"""What every endpoint about one delivery needs: its id, and the two ways in which it can say no."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from app import audit
from app.db import Connection, load_queries
from app.deliveries import lifecycle
from app.errors import Conflict, NotFound
from app.security import Principal

QUERIES = load_queries(__file__, "sending.sql")
ResultT = TypeVar("ResultT")
RowT = TypeVar("RowT")


async def hold_alone(connection: Connection, id: int) -> None:
    """Ours alone until the commit: uploads, preparations and starts of one delivery exclude each other. Raises
    `Conflict`, and `NotFound`."""
    if not await connection.fetchval(QUERIES["lock_handling"], id):
        existing(await connection.fetchrow(QUERIES["has_delivery"], id))
        raise Conflict("This delivery is being uploaded to, prepared or started right now; look at it again.")


def existing(row: RowT | None) -> RowT:
    if row is None:
        raise NotFound("There is no such delivery.")
    return row


def allowed(rule: Callable[[lifecycle.Status], ResultT], status: lifecycle.Status) -> ResultT:
    """What `rule` makes of the status. Raises `Conflict` with its sentence."""
    try:
        return rule(status)
    except lifecycle.Locked as refusal:
        raise Conflict(str(refusal)) from refusal


async def errors_of(connection: Connection, id: int) -> Sequence[str]:
    """What the preparation found that forbids the start, as sentences."""
    return [row[0] for row in await connection.fetch(QUERIES["find_errors"], id)]


async def refuse_errors(connection: Connection, id: int, principal: Principal) -> None:
    """Raises `Conflict` with all that the preparation found that forbids the start."""
    found = [principal.text(sentence) for sentence in await errors_of(connection, id)]
    if found:
        errors = [{"pointer": "/content", "detail": text} for text in found]
        raise Conflict(f"The preparation found what must be mended first: {' '.join(found)}", errors=errors)


async def note(
    connection: Connection,
    row: Mapping[str, Any],
    code: str,
    text: str,
    principal: Principal,
    now: datetime,
    data: Mapping[str, Any],
    personal: Mapping[str, Any] | None = None,
) -> None:
    await audit.append(connection, row["id"], code, text, at=now, actor=principal.name, data=data, personal=personal)
