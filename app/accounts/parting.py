"""Under which name a gateway's errors are qualified: its own, unless it shares one on purpose; and what another name moves.

What failed before keeps the name under which it failed: a receipt is a fact. From the change on, errors go by the new name, and
what was decided about those that this gateway has had goes along, where nobody else has the new name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from app.accounts.store import QUERIES, GatewayRow
from app.db import Connection
from app.errors import Conflict, Invalid
from app.gateways.receipt import Adapter

#: Errors that a preview lists, those of most messages.
MOST_SHOWN = 100
_NAMES = 100


class GatewaySharing(NamedTuple):
    key: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What another name for a gateway's errors does."""

    old_implementation: str
    implementation: str
    #: Other gateways, by key, under the old name and under the new one.
    shared_with: Sequence[str]
    shares_with: Sequence[str]
    #: Errors that this gateway has had, and the messages that failed with them: those keep the old name.
    known_errors: int
    messages: int
    #: Qualifications that are taken along as they stand.
    copied: int
    #: Errors that mean something else from now on.
    differing: int
    #: Status, error code, messages, what each error means (`before`) and will mean (`after`; None: what its provider documents).
    per_error: Sequence[Mapping[str, Any]]

    def figures(self) -> dict[str, Any]:
        names = ("known_errors", "messages", "copied", "differing")
        shared = {"shared_with": list(self.shared_with), "shares_with": list(self.shares_with)}
        return {name: getattr(self, name) for name in names} | shared


async def own_name(connection: Connection, key: str) -> str:
    """The key; with a number behind it where another gateway, also a deleted one, has its errors qualified under that. Raises
    `Invalid` where so many have."""
    names = [key, *(f"{key} {number}" for number in range(2, _NAMES))]
    taken = {row["implementation"] for row in await connection.fetch(QUERIES["find_implementations"], names)}
    found = next((name for name in names if name not in taken), None)
    if found is None:
        raise Invalid.field("/implementation", "Give one: other gateways have this key, with any number, as theirs.")
    return found


async def sharing(connection: Connection) -> Mapping[str, Sequence[GatewaySharing]]:
    """Living gateways that share a name, by that name."""
    found: dict[str, list[GatewaySharing]] = {}
    for row in await connection.fetch(QUERIES["list_sharing"]):
        found.setdefault(row["implementation"], []).append(GatewaySharing(row["key"], row["kind"]))
    return found


async def parted(connection: Connection, gateway: GatewayRow, adapter: Adapter, name: str, now: datetime) -> Moved:
    """Takes along what is to go along from `gateway`'s present name to `name`; says what moves. Raises `Conflict`."""
    if await connection.fetchval(QUERIES["has_open_breaker"], gateway.id):
        raise Conflict(
            "A breaker of this gateway is open, and holds errors by their present name: decide about it first."
        )
    shared_with = [
        row["key"] for row in await connection.fetch(QUERIES["list_named"], gateway.implementation, gateway.id)
    ]
    shares_with = [row["key"] for row in await connection.fetch(QUERIES["list_named"], name, gateway.id)]
    had = await connection.fetch(QUERIES["list_had"], gateway.id, gateway.implementation, name)
    copied = 0
    if not shares_with:
        documented = [key for key in adapter.qualifications if key[0] != "*"]
        columns = [[status.upper() for status, _ in documented], [code for _, code in documented]]
        ids = [row["id"] for row in had]
        rows = await connection.fetch(QUERIES["copy_qualifications"], gateway.implementation, name, ids, *columns, now)
        copied = len(rows)
    errors = [_error(row, copied=not shares_with) for row in had]
    return Moved(
        old_implementation=gateway.implementation, implementation=name, shared_with=shared_with,
        shares_with=shares_with, known_errors=len(had),
        messages=sum(row["messages"] for row in had), copied=copied,
        differing=sum(each["before"] != each["after"] for each in errors), per_error=errors[:MOST_SHOWN],
    )  # fmt: skip


def _error(row: Any, *, copied: bool) -> Mapping[str, Any]:
    means = {name: row[name] for name in ("failure_type", "reason", "state")}
    there = {name: row[f"new_{name}"] for name in means} if row["new_id"] is not None else means if copied else None
    shown = {"status": row["status"], "error_code": row["error_code"], "messages": row["messages"]}
    return shown | {"before": means, "after": there}
