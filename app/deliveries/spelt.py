"""Targets whose phone has several spellings: doubles among these, and the name under which the quarantine knows them.

What can be compared as it is written `decide_outcomes` compares by itself. Few numbers have several spellings, so a chunk
that has none of them pays nothing for this.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.db import Connection, load_queries
from app.deliveries.kept_away import said_of, strictest
from app.deliveries.screening import Screened
from app.identities import identity, spellings
from app.privacy.pseudonyms import Pseudonyms

QUERIES = load_queries(__file__, "spelt.sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """Most messages to one phone in so many days."""

    messages: int | None
    days: int
    since: datetime


async def settle(
    connection: Connection, delivery_id: int, sender: str, limit: Limit, pseudonyms: Pseudonyms, screened: Screened
) -> None:
    """Tells those of `screened.spelt` that are doubles of another spelling, and gives the others the other name by which more
    is known of them. `limit` is asked for all names together. The delivery is held."""
    addresses = {screened.addresses[place] for place in screened.spelt}
    names = {address: pseudonyms.names(address) for address in addresses}
    standing = await _standing(connection, delivery_id, addresses)
    said = await said_of(connection, names.values(), sender)
    got = await _count(connection, delivery_id, sorted({name for each in names.values() for name in each}), limit)
    screened.others.extend([None] * (len(screened.addresses) - len(screened.others)))
    for place in screened.spelt:
        address = screened.addresses[place]
        first = standing.setdefault(identity(address), _as_target(screened, place))
        if first["address"] != address:
            screened.early[place] = "double"
            screened.details[place] = {name: first[name] for name in ("position", "recipient_id")}
        else:
            screened.others[place] = strictest(names[address][1:], said)
            _limit(screened, place, sum(got.get(name, 0) for name in names[address]), limit)


async def _count(connection: Connection, delivery_id: int, names: Sequence[str], limit: Limit) -> dict[str, int]:
    if limit.messages is None:
        return {}
    rows = await connection.fetch(QUERIES["count_messages"], delivery_id, names, limit.since)
    return {row["address"]: row["messages"] for row in rows}


def _limit(screened: Screened, place: int, messages: int, limit: Limit) -> None:
    if limit.messages is not None and messages >= limit.messages and screened.late[place] in (None, "size_limited"):
        screened.late[place] = "excluded_by_arbitration"
        screened.details[place] = {"messages": messages, "limit": limit.messages, "days": limit.days}


async def _standing(connection: Connection, delivery_id: int, addresses: set[str]) -> dict[str, Mapping[str, Any]]:
    """By identity, the target of an earlier chunk that stands for the phone."""
    asked: Sequence[str] = sorted({name for address in addresses for name in spellings(address)})
    rows = await connection.fetch(QUERIES["list_standing"], delivery_id, asked)
    return {identity(row["address"]): dict(row) for row in rows}


def _as_target(screened: Screened, place: int) -> Mapping[str, Any]:
    return {
        "address": screened.addresses[place],
        "position": screened.positions[place],
        "recipient_id": screened.recipients[place],
    }
