"""The service's processes, on this host and on others: each says every second that it lives, and what it knows.

All times are the database's. A process that has not been heard of for `LIVING` is dead: nobody waits for it.
"""

import os
import secrets
import socket
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from app.db import Connection, load_queries

QUERIES = load_queries(__file__, "processes.sql")

#: Long enough for one that reads a large database at its start, or is held up; what waits for it waits no longer.
LIVING = timedelta(seconds=5)
_FORGOTTEN = timedelta(days=1)


def _name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """This process: what the others know it by, and how its settings want addresses to be judged (as text, or none)."""

    id: str = field(default_factory=lambda: secrets.token_hex(8))
    name: str = field(default_factory=_name)
    thresholds: str | None = None


async def beat(connection: Connection, process: Process, routes_read_at: datetime) -> None:
    """Says that the process lives, and that it knows the routes as they stood then. Commits by itself outside of a
    transaction."""
    await connection.execute(QUERIES["note_process"], process.id, process.name, process.thresholds, routes_read_at)
    await connection.execute(QUERIES["forget_processes"], _FORGOTTEN)


async def gone(connection: Connection, process: Process) -> None:
    """The process ends: nobody is to wait for it."""
    await connection.execute(QUERIES["delete_process"], process.id)


async def behind(connection: Connection, moment: datetime) -> list[str]:
    """Names of living processes that may not know yet what was committed by `moment` (the database's time)."""
    rows = await connection.fetch(QUERIES["list_behind"], moment, LIVING)
    return [row["name"] for row in rows]


async def holding_to(connection: Connection, thresholds: str, *, besides: str) -> list[str]:
    """Names of living processes whose settings say `thresholds`, the process with id `besides` left out."""
    rows = await connection.fetch(QUERIES["list_holding_to"], thresholds, besides, LIVING)
    return [row["name"] for row in rows]
