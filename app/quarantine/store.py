"""The health of addresses in the database: `quarantine` is computed from facts, address by address.

Everything here takes an open transaction of a plain asyncpg connection and leaves the commit to its caller.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any

from app.db import Connection, load_queries
from app.identities import identity, spellings
from app.privacy import pseudonyms
from app.quarantine.rules import Event, Health, Meaning, health, meaning_at
from app.quarantine.thresholds import read_thresholds

QUERIES = load_queries(__file__)
#: What an address's health rests on at the most: the messages of its newest deliveries.
MOST_MESSAGES = 2_000
#: Addresses examined in one transaction when there are many.
CHUNK = 1_000
Cell = tuple[int, str, int, str, int]  # of table `counters`: delivery, metric, gateway, label, bucket

_COLUMNS = (
    "address", "sender", "status", "reason", "origin", "errors", "since", "last_error_at", "clears_at", "delivery_id",
    "message_id", "gateway_id", "qualification_id", "decision_id",
)  # fmt: skip
Row = Any  # a record of asyncpg, or a mapping with the same keys
Key = tuple[str, str]  # address, sender


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What an examination changed: rows of the quarantine by status, before and after."""

    before: Counter[str]
    after: Counter[str]
    #: By how many addresses the new quarantines of a delivery moved.
    deliveries: Mapping[int, int] = field(default_factory=dict)


async def reexamine(connection: Connection, addresses: Sequence[str], now: datetime) -> Moved:
    """Computes the health of `addresses` anew from all facts and writes what changed, with its counters.

    Others that examine the same addresses wait. Facts committed by others before that are seen."""
    if not addresses:
        return Moved(before=Counter(), after=Counter())
    names = await locked(connection, addresses)
    facts = await known(connection, names)
    thresholds = await read_thresholds(connection)
    standing = await _standing(connection, {*names, *names.values()})
    wanted: dict[Key, Row] = {}
    for name, events in facts.items():
        for sender, found in health(events, now, thresholds).items():
            row = _row(name, sender, found)
            wanted[row["address"], sender] = row
    return await _write(connection, standing, wanted, now)


async def lock_addresses(connection: Connection, addresses: Sequence[str]) -> None:
    """Nobody else examines or erases these addresses until the caller's commit."""
    await connection.execute(QUERIES["lock_addresses"], addresses)


async def locked(connection: Connection, addresses: Sequence[str]) -> dict[str, str]:
    """The identities of `addresses`, each ours until the commit: nobody else takes their rows of the quarantine. A number that is
    erased while we wait has another name after that. One that was erased and comes back is remembered, so that its old facts
    and its new ones are found."""
    before: dict[str, str] = {}
    names = await identities(connection, addresses)
    while names != before:
        await lock_addresses(connection, sorted(set(names.values())))
        before, names = names, await identities(connection, addresses)
    erased = pseudonyms.PREFIX
    back = {number: name for number, name in names.items() if name.startswith(erased) and not number.startswith(erased)}
    if back:
        await connection.execute(QUERIES["note_return"], list(back), list(back.values()))
    return names


async def _standing(connection: Connection, names: Iterable[str]) -> dict[Key, Row]:
    rows = await connection.fetch(QUERIES["find_standing"], list(names))
    return {(row["address"], row["sender"]): {name: row[name] for name in _COLUMNS} for row in rows}


def _row(name: str, sender: str, found: Health) -> Row:
    """A phone stands in the quarantine once, in the spelling of what put it there; an erased one under its pseudonym."""
    event = found.event
    of_message = event.kind == "failed"
    return {
        "address": name if name.startswith(pseudonyms.PREFIX) else event.address,
        "sender": sender,
        "status": found.status,
        "reason": "denylisted" if found.status == "denylisted" else event.reason,
        "origin": event.origin,
        "errors": min(found.errors, 32_767),
        "since": found.since,
        "last_error_at": found.last_error_at,
        "clears_at": found.clears_at,
        "delivery_id": event.delivery_id,
        "message_id": event.id if of_message else None,
        "gateway_id": event.gateway_id,
        "qualification_id": event.qualification_id,
        "decision_id": None if of_message else event.id,
    }


async def _write(connection: Connection, standing: dict[Key, Row], wanted: dict[Key, Row], now: datetime) -> Moved:
    gone = [key for key in standing if key not in wanted]
    changed = [key for key in wanted if wanted[key] != standing.get(key)]
    if gone:
        await connection.execute(QUERIES["delete_rows"], [key[0] for key in gone], [key[1] for key in gone])
    if changed:
        columns = [[wanted[key][name] for key in changed] for name in _COLUMNS]
        await connection.execute(QUERIES["put_rows"], *columns, [now] * len(changed))
    old = [standing[key] for key in [*gone, *changed] if key in standing]
    new = [wanted[key] for key in changed]
    moves = _moves(old, new)
    await book(connection, moves)
    return Moved(
        before=Counter(row["status"] for row in old),
        after=Counter(row["status"] for row in new),
        deliveries=_moved_deliveries(moves),
    )


def _moved_deliveries(moves: Mapping[Cell, int]) -> dict[int, int]:
    found: dict[int, list[int]] = {}
    for (delivery_id, metric, *_), value in moves.items():
        if metric == "new_quarantines" and value:
            found.setdefault(delivery_id, []).append(value)
    return {
        delivery_id: max(sum(v for v in values if v > 0), -sum(v for v in values if v < 0))
        for delivery_id, values in found.items()
    }


def _moves(old: Iterable[Row], new: Iterable[Row]) -> Counter[Cell]:
    moves: Counter[Cell] = Counter()
    for rows, sign in ((old, -1), (new, 1)):
        for row in rows:
            for cell in cells(row):
                moves[cell] += sign
    return moves


def cells(row: Row) -> list[Cell]:
    """The counters in which a row of the quarantine stands: the platform's, and those of the delivery to blame."""
    label = f"{row['status']}/{row['reason']}/{row['origin']}"
    found: list[Cell] = [(0, "quarantine", row["gateway_id"] or 0, label, row["qualification_id"] or 0)]
    if row["delivery_id"] is not None and row["status"] != "with_errors":
        found.append((row["delivery_id"], "new_quarantines", 0, row["status"], 0))
    return found


async def book(connection: Connection, moves: Mapping[Cell, int]) -> None:
    moving = [(cell, value) for cell, value in moves.items() if value]
    if moving:
        columns = zip(*((*cell, value) for cell, value in moving), strict=True)
        await connection.execute(QUERIES["move_counters"], *columns)


# --- facts -----------------------------------------------------------------------------------------------------------


async def identities(connection: Connection, addresses: Sequence[str]) -> dict[str, str]:
    """The one name of each phone, under which its health is computed, by every name that facts about it may stand under: its
    identity, or the pseudonym of a number that was erased. Of one that came back since, its number too, whichever of the
    two was asked for."""
    found = {each: identity(address) for address in addresses for each in spellings(address)}
    if await pseudonyms.any_erased(connection):
        maker = await pseudonyms.load(connection)
        named = {address: maker.all_of(address) for address in found}
        asked = list({name for names in named.values() for name in names})
        erased = {row["pseudonym"]: row["returned_as"] for row in await connection.fetch(QUERIES["find_erased"], asked)}
        for address, names in named.items():
            known = [name for name in names if name in erased]
            if known:
                found |= dict.fromkeys((address, *known), known[0])
        for name, number in erased.items():
            if number is not None:
                found |= dict.fromkeys(spellings(number), found[name])
    return found


async def known(
    connection: Connection,
    identities: Mapping[str, str],
    supposed: Mapping[int, Sequence[Meaning]] = MappingProxyType({}),
) -> dict[str, list[Event]]:
    """All events of each identity; facts may stand under the number or under its pseudonym.

    `supposed`: meanings of qualifications to go by instead of those that stand."""
    names = sorted({*identities, *identities.values()})
    of = {name: identities.get(name, name) for name in names}
    found: dict[str, list[Event]] = {identity: [] for identity in identities.values()}
    outcomes = await connection.fetch(QUERIES["list_outcomes"], names, MOST_MESSAGES)
    meanings = await read_meanings(connection, {row["qualification_id"] for row in outcomes} - {None})
    meanings.update(supposed)
    for row in outcomes:
        found[of[row["address"]]].append(_outcome(row, meanings))
    for row in await connection.fetch(QUERIES["list_decisions"], names):
        found[of[row["address"]]].append(_decision(row))
    return found


async def facts_of(connection: Connection, address: str) -> tuple[str, list[Event]]:
    """The name under which the health of one address is kept, and all its events."""
    names = await identities(connection, [address])
    facts = await known(connection, names)
    return names[address], facts[names[address]]


def _outcome(row: Row, meanings: Mapping[int, Sequence[Meaning]]) -> Event:
    failed = row["status"] == "failed"
    meaning = _meaning(row, meanings) if failed else None
    return Event(
        at=row["at"],
        kind="failed" if failed else "received",
        id=row["id"],
        address=row["address"],
        sender=row["sender"],
        reason=meaning.reason if meaning else "not_defined",
        failure_type=meaning.failure_type if meaning else "undefined",
        ignored=meaning.ignored if meaning else False,
        verified=row["verified"],
        held=row["held"],
        delivery_id=row["delivery_id"],
        gateway_id=row["gateway_id"],
        qualification_id=row["qualification_id"],
    )


def _meaning(row: Row, meanings: Mapping[int, Sequence[Meaning]]) -> Meaning | None:
    """How the row's error was qualified for the time at which it happened."""
    if row["qualification_id"] is None:
        return None
    changes = meanings.get(row["qualification_id"])
    if changes:
        return meaning_at(changes, row["at"])
    return Meaning(since=None, failure_type=row["failure_type"], reason=row["reason"], ignored=row["state"] == "ignore")


def _decision(row: Row) -> Event:
    return Event(
        at=row["at"], kind=row["kind"], id=row["id"], address=row["address"], sender=row["sender"], reason=row["reason"],
        origin=row["origin"], until=row["until"],
    )  # fmt: skip


async def read_meanings(connection: Connection, qualifications: Iterable[int]) -> dict[int, Sequence[Meaning]]:
    """How errors were qualified over time; those that never changed are left out."""
    found: defaultdict[int, list[Meaning]] = defaultdict(list)
    for row in await connection.fetch(QUERIES["list_meanings"], list(qualifications)):
        found[row["qualification_id"]].append(
            Meaning(
                since=row["since"],
                failure_type=row["failure_type"],
                reason=row["reason"],
                ignored=row["state"] == "ignore",
            )
        )
    return dict(found)


# --- many at a time --------------------------------------------------------------------------------------------------


async def enqueue(connection: Connection, addresses: Sequence[str]) -> None:
    """To be examined soon, by whoever comes first; what was decided in the same transaction is seen then."""
    await connection.execute(QUERIES["enqueue_addresses"], addresses)


async def examine_some(connection: Connection, now: datetime) -> int:
    """Examines some of the addresses that wait for it; returns how many, 0 when none is left."""
    addresses = [row["address"] for row in await connection.fetch(QUERIES["dequeue_addresses"], CHUNK)]
    await reexamine(connection, addresses, now)
    return len(addresses)


async def forget_errors(connection: Connection, now: datetime) -> int:
    """Clears addresses whose last error is old enough; returns how many it looked at."""
    addresses = [row["address"] for row in await connection.fetch(QUERIES["list_due"], now, CHUNK)]
    await reexamine(connection, addresses, now)
    return len(addresses)


async def reexamine_delivery(connection: Connection, delivery_id: int, now: datetime) -> int:
    """Examines all addresses to which this delivery's messages failed, or that they put into quarantine; returns how many
    rows of the quarantine were not what the facts give, and are now."""
    rows = await connection.fetch(QUERIES["list_addresses"], delivery_id)
    addresses = [row["address"] for row in rows]
    # All at once: chunk by chunk they would be locked in no order, and we could wait in a circle with a worker.
    await lock_addresses(connection, sorted({*addresses, *map(identity, addresses)}))
    wrong = 0
    for start in range(0, len(addresses), CHUNK):
        moved = await reexamine(connection, addresses[start : start + CHUNK], now)
        wrong += max(moved.before.total(), moved.after.total())
    return wrong
