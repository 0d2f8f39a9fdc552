"""Erasing a number: its pseudonym takes its place wherever it stands, and everything else stays (domain.md §2).

Facts that name it by an index (messages and what hangs on them, exclusions, replies, decisions, health) move in one
transaction; receipts go on meanwhile. Where it could only stand in passing (bodies that nobody could read, receipts that
wait for their message, texts of others) every row is looked at before that, in transactions of their own: these change
nothing that anything is computed from, so a crash in between leaves a part done, and the next request does the rest.

Journals cannot be altered. They never hold numbers; should one all the same, the certificate says so.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.addresses.spellings import Spellings
from app.db import Connection, Pool, load_queries

QUERIES = load_queries(__file__)
_CHUNK = 500
KEPT = (
    "Health, opt-outs, messages, receipts and counters are kept under the pseudonym: opt-outs and quarantine still hold for "
    "the number, and all figures stay as they were."
)

#: `quarantine.store.reexamine`
Reexamine = Callable[[Connection, Sequence[str], datetime], Awaitable[object]]
Keys = Sequence[tuple[Any, ...]]
Row = Any  # a record of asyncpg


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Columns of one table in which the number may stand."""

    table: str
    columns: Sequence[str]
    #: Column and type.
    key: Mapping[str, str]

    def select(self) -> str:
        names = ", ".join(f"t.{name}" for name in (*self.key, *self.columns))
        arrays = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(self.key.values(), 1))
        return (
            f"SELECT {names} FROM {self.table} t JOIN unnest({arrays}) AS k ({', '.join(self.key)}) "
            f"USING ({', '.join(self.key)}) ORDER BY {', '.join(self.key)} FOR UPDATE OF t"
        )

    def update(self) -> str:
        first = len(self.key) + 1
        sets = ", ".join(f"{name} = ${number}" for number, name in enumerate(self.columns, first))
        held = " AND ".join(f"{name} = ${number}" for number, name in enumerate(self.key, 1))
        return f"UPDATE {self.table} SET {sets} WHERE {held}"


_ID = {"id": "bigint"}
_SMALL_ID = {"id": "int"}
_TARGET = {"delivery_id": "bigint", "position": "int"}
_RECEIPT = ("status_text", "error_code", "error_text", "network", "details", "raw")

INBOX = Place(
    table="inbox",
    key=_ID,
    columns=("provider_message_id", "raw_message_id", "reference", "failure_key", *_RECEIPT),
)
REJECTED = Place(table="rejected", key={"id": "text"}, columns=("reason", "request", "raw"))
RECEIPTS = Place(table="receipts", key=_ID, columns=_RECEIPT)
CORRELATIONS = Place(table="correlations", key=_ID, columns=("value", "raw"))
INBOUND = Place(table="inbound", key=_ID, columns=("address", "recipient", "text", "provider_message_id", "raw"))
DELIVERIES = Place(table="deliveries", key=_ID, columns=("label", "content", "metadata"))
EXCLUSIONS = Place(table="exclusions", key=_TARGET, columns=("address", "recipient_id", "detail"))
QUALIFICATIONS = Place(table="qualifications", key=_SMALL_ID, columns=("status", "code", "first_text"))
BREAKERS = Place(table="breakers", key=_SMALL_ID, columns=("note",))
DECISIONS = Place(table="decisions", key=_ID, columns=("address", "note"))
PREPARATIONS = Place(table="preparations", key={"delivery_id": "bigint"}, columns=("findings", "figures"))
MESSAGES = Place(table="messages", key=_ID, columns=("address", "recipient_id", "reference", "params"))
SUBMISSIONS = Place(table="submissions", key=_ID, columns=("provider_message_ids", "error_code", "error_text"))
CLICKS = Place(table="clicks", key=_ID, columns=("agent", "visit", "network"))
CLICK_INBOX = Place(table="click_inbox", key={"seq": "bigint"}, columns=("agent", "visit", "network"))
LINKS = Place(
    table="links",
    key={"delivery_id": "bigint", "number": "smallint"},
    columns=("label", "source_url", "params"),
)
TARGETS = Place(table="targets", key=_TARGET, columns=("given", "recipient_id", "params"))

#: Looked through row by row, in this order: a receipt that leaves the inbox meanwhile is found in the tables after it.
_LOOKED_THROUGH = (
    (INBOX, "waiting_inbox"),
    (REJECTED, "waiting_rejected"),
    (CORRELATIONS, "waiting_correlations"),
    (RECEIPTS, "waiting_receipts"),
    (INBOUND, "waiting_inbound"),
    (DELIVERIES, "waiting_deliveries"),
    (QUALIFICATIONS, "waiting_qualifications"),
    (BREAKERS, "waiting_breakers"),
    (DECISIONS, "waiting_decisions"),
    (PREPARATIONS, "waiting_preparations"),
    (CLICK_INBOX, "waiting_clicks"),
    (LINKS, "waiting_links"),
)
#: Found by the number's names, and by the ids of its messages.
_BY_NAME = ((EXCLUSIONS, "own_exclusions"), (INBOUND, "own_inbound"), (DECISIONS, "own_decisions"))
_BY_MESSAGE = (
    (RECEIPTS, "own_receipts"),
    (SUBMISSIONS, "own_submissions"),
    (CORRELATIONS, "own_correlations"),
    (CLICKS, "own_clicks"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request to erase a number."""

    spellings: Spellings
    reason: str
    actor: str
    now: datetime


Note = Callable[[Connection, Mapping[str, Any]], Awaitable[None]]


async def erase(pool: Pool, asked: Asked, reexamine: Reexamine, note: Note) -> dict[str, Any]:
    """The certificate. A second time it is the first one's, with what was replaced since added; `note` writes the journal
    in the transaction that ends it."""
    replaced: Counter[str] = Counter()
    for place, query in _LOOKED_THROUGH:
        async with pool.acquire() as connection:
            keys = _keys(await connection.fetch(QUERIES[query], asked.spellings.pattern))
            for start in range(0, len(keys), _CHUNK):
                async with connection.transaction():
                    replaced += await _replace(connection, place, keys[start : start + _CHUNK], asked.spellings)
    async with pool.acquire() as connection:
        unread = _keys(await connection.fetch(QUERIES["waiting_exclusions"], asked.spellings.pattern))
        unprepared = _keys(await connection.fetch(QUERIES["waiting_targets"], asked.spellings.tail))
        journals = await _in_journals(connection, asked.spellings)
        async with connection.transaction():
            replaced += await _rename(connection, asked, unread, unprepared, reexamine)
            replaced += await _forget_private(connection, asked.spellings)
            certificate = await _certify(connection, asked, replaced, journals)
            await note(connection, certificate)
    return certificate


async def _rename(
    connection: Connection, asked: Asked, unread: Keys, unprepared: Keys, reexamine: Reexamine
) -> Counter[str]:
    """Everything that an index finds, and the targets found before: `unread` ones, excluded because they are no possible
    number, and ones that are not prepared yet. The caller commits."""
    address, pseudonym = asked.spellings.address, asked.spellings.pseudonym
    names = [address, pseudonym]
    await connection.execute("SET LOCAL lock_timeout = '10s'")
    await connection.execute(QUERIES["lock"], names)
    await connection.execute(QUERIES["erase"], pseudonym, asked.now, {})
    replaced = await _rename_targets(connection, asked.spellings, [*unread, *unprepared])
    replaced += await _replace(connection, EXCLUSIONS, unread, asked.spellings)
    ids = [row["id"] for row in await connection.fetch(QUERIES["message_ids"], names)]
    for place, query in _BY_MESSAGE:
        replaced += await _replace(
            connection, place, _keys(await connection.fetch(QUERIES[query], ids)), asked.spellings
        )
    for place, query in _BY_NAME:
        keys = _keys(await connection.fetch(QUERIES[query], names))
        replaced += await _replace(connection, place, keys, asked.spellings)
    replaced += await _replace(connection, MESSAGES, [(id,) for id in ids], asked.spellings)
    for table in ("quarantine", "held", "to_examine"):
        status = await connection.execute(QUERIES[f"rename_{table}"], address, pseudonym)
        replaced[table] += int(status.rpartition(" ")[2])
    await reexamine(connection, [pseudonym], asked.now)
    return replaced


async def _rename_targets(connection: Connection, spellings: Spellings, others: Keys) -> Counter[str]:
    """Those of its messages and exclusions, and `others`. An audience may have been replaced since: only targets that are
    this number are touched."""
    own = _keys(await connection.fetch(QUERIES["own_targets"], [spellings.address, spellings.pseudonym]))
    keys = sorted({*own, *others})
    deliveries = sorted({key[0] for key in keys})
    await connection.execute(QUERIES["hold_deliveries"], deliveries)
    rows = await connection.fetch("SELECT id, default_region FROM deliveries WHERE id = ANY($1::bigint[])", deliveries)
    regions = {row["id"]: row["default_region"] for row in rows}

    def changed(row: Row) -> dict[str, Any] | None:
        given = row["given"]
        if spellings.is_meant(given, regions[row["delivery_id"]]):
            given = spellings.pseudonym
        elif spellings.pseudonym not in (given := spellings.replace(given)):
            return None
        return {"given": given} | {name: spellings.replace(row[name]) for name in ("recipient_id", "params")}

    replaced: Counter[str] = Counter()
    for start in range(0, len(keys), _CHUNK):
        replaced += await _write(connection, TARGETS, keys[start : start + _CHUNK], changed)
    return replaced


async def _replace(connection: Connection, place: Place, keys: Keys, spellings: Spellings) -> Counter[str]:
    def changed(row: Row) -> dict[str, Any]:
        found = {name: spellings.replace(row[name]) for name in place.columns}
        if place is CORRELATIONS and found["value"] != row["value"]:
            found["value"] += f"#{row['id']}"  # keys that were two spellings of one stay two
        return found

    replaced: Counter[str] = Counter()
    for start in range(0, len(keys), _CHUNK):
        replaced += await _write(connection, place, keys[start : start + _CHUNK], changed)
    return replaced


async def _write(
    connection: Connection, place: Place, keys: Keys, changed: Callable[[Row], dict[str, Any] | None]
) -> Counter[str]:
    """Writes what `changed` makes of the rows `keys`; says how many were not so before."""
    rows = await connection.fetch(place.select(), *map(list, zip(*keys, strict=True))) if keys else []
    values = []
    for row in rows:
        new = changed(row)
        if new is not None and any(new[name] != row[name] for name in place.columns):
            values.append([*(row[name] for name in place.key), *(new[name] for name in place.columns)])
    if values:
        await connection.executemany(place.update(), values)
    return Counter({place.table: len(values)})


def _keys(rows: Sequence[Any]) -> Keys:
    return [tuple(row) for row in rows]


async def _forget_private(connection: Connection, spellings: Spellings) -> Counter[str]:
    """Values beside the journals' chains in which the number stands go whole: the chain holds their hashes, and no others."""
    rows = await connection.fetch(QUERIES["waiting_private"], spellings.pattern)
    keys = [(row["chain"], row["seq"], row["name"]) for row in rows if spellings.replace(row["value"]) != row["value"]]
    if keys:
        await connection.execute(QUERIES["forget_private"], *map(list, zip(*keys, strict=True)))
    return Counter({"audit_private": len(keys)})


async def _in_journals(connection: Connection, spellings: Spellings) -> int:
    rows = await connection.fetch(QUERIES["waiting_journals"], spellings.pattern)
    return sum(
        spellings.replace(row["text"]) != row["text"] or spellings.replace(row["data"]) != row["data"] for row in rows
    )


async def _certify(connection: Connection, asked: Asked, replaced: Counter[str], journals: int) -> dict[str, Any]:
    pseudonym = asked.spellings.pseudonym
    before = await connection.fetchval(QUERIES["is_erased"], pseudonym) or {}
    total = Counter(before.get("replaced", {})) + replaced
    certificate = {
        "pseudonym": pseudonym,
        "erased_at": before.get("erased_at") or asked.now.isoformat().replace("+00:00", "Z"),
        "actor": before.get("actor") or asked.actor,
        "reason": before.get("reason") or asked.reason,
        "replaced": dict(sorted(total.items())),
        "journal_entries": journals,
        "kept": KEPT,
    }
    await connection.execute(QUERIES["certify"], pseudonym, certificate)
    return certificate
