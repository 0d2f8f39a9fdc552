"""Erasing a number: its pseudonym takes its place wherever it stands, and what else is known of the person goes (domain.md §2).

Facts that name it by an index (messages and what hangs on them, exclusions, replies, decisions, health) move in one
transaction; receipts go on meanwhile. Where it could only stand in passing (bodies that nobody could read, receipts that
wait for their message, texts of others) every row is looked at before that, in transactions of their own: these change
nothing that anything is computed from, so a crash in between leaves a part done, and the next request does the rest.

Ids and references that hold it become their keyed hash, by which later receipts still find their message. The journals'
chains cannot be altered: what stands beside them goes, and entries that hold the number all the same are named.
"""

from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from app import visitors
from app.addresses import certificates, places
from app.addresses.person import Person, Said, known
from app.addresses.places import Place
from app.addresses.spellings import Spellings
from app.db import Connection, Pool, load_queries
from app.identities import identity
from app.privacy import disguises
from app.privacy.pseudonyms import Pseudonyms
from app.projections.fold import fold
from app.quarantine.store import lock_addresses, reexamine
from app.references import message_of

QUERIES: Mapping[str, str] = {**load_queries(__file__), **load_queries(__file__, "erasing.sql")}
_CHUNK = 500

Keys = Sequence[tuple[Any, ...]]
Row = Any  # a record of asyncpg
Changed = Callable[[Row], dict[str, Any] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request to erase a number; `dry_run`: only to say what that would be."""

    spellings: Spellings
    maker: Pseudonyms
    reason: str
    actor: str
    now: datetime
    dry_run: bool = False
    #: Entries of the chains that name the phone in other spellings.
    journals: Sequence[Mapping[str, Any]] = ()

    @property
    def names(self) -> list[str]:
        return [self.spellings.address, self.spellings.pseudonym]


Note = Callable[[Connection, Mapping[str, Any]], Awaitable[None]]


class _Undone(Exception):
    """A dry run has counted: nothing of it stays."""


@dataclass(slots=True, kw_only=True)
class _Erasure:
    """One erasure under way."""

    asked: Asked
    #: For texts of others, and for the facts about it.
    person: Person
    own: Person
    #: Rows that were changed, by table.
    rows: defaultdict[str, set[Any]] = field(default_factory=lambda: defaultdict(set))
    #: Messages that keys brought together.
    joined: set[int] = field(default_factory=set)

    @property
    def replaced(self) -> Counter[str]:
        return +Counter({table: len(rows) for table, rows in self.rows.items()})


async def erase(pool: Pool, asked: Asked, note: Note) -> dict[str, Any]:
    """The certificate. A second time it is the first one's, with what was replaced since added; `note` writes the journal
    in the transaction that ends it."""
    async with pool.acquire() as connection:
        targets = await _its_targets(connection, asked)
        person, own = await _known(connection, asked, targets)
    work = _Erasure(asked=asked, person=person, own=own)
    await _look_through(pool, work)
    async with pool.acquire() as connection:
        unread = await _found(connection, "scan_exclusions", person.pattern, person.tail)
        journals = await _in_journals(connection, person, asked.journals)
        certificate: dict[str, Any] = {}
        try:
            async with connection.transaction():
                await _rename(connection, work, unread, targets)
                await fold(connection, sorted(work.joined), asked.now)
                certificate = await _certify(connection, work, journals)
                if asked.dry_run:
                    raise _Undone
                await note(connection, certificate)
        except _Undone:
            pass
    return certificate


# --- who it is -------------------------------------------------------------------------------------------------------


async def _its_targets(connection: Connection, asked: Asked) -> Keys:
    """Targets of its messages and exclusions, and those in which its last digits stand, prepared or not."""
    own = _keys(await connection.fetch(QUERIES["list_own_targets"], asked.names))
    return sorted({*own, *await _found(connection, "scan_targets", asked.spellings.tail)})


async def _known(connection: Connection, asked: Asked, targets: Keys) -> tuple[Person, Person]:
    said = [Said(*row) for row in await connection.fetch(QUERIES["list_said"], asked.names)]
    said = [each for each in said if message_of(each.reference) is None]
    around = []
    if targets:
        regions = await _regions(connection, {key[0] for key in targets})
        for row in await connection.fetch(QUERIES["list_said_in"], *map(list, zip(*targets, strict=True))):
            one = Said(row["recipient_id"], None, row["params"])
            its = row["own"] and _is(asked, row["given"], regions[row["delivery_id"]])
            if its:
                said.append(one)
            elif not row["own"] and not _is(asked, row["given"], regions[row["delivery_id"]]):
                around.append(one)
    return known(asked.spellings, said, around)


async def _regions(connection: Connection, deliveries: set[int]) -> Mapping[int, str | None]:
    rows = await connection.fetch(QUERIES["list_regions"], sorted(deliveries))
    return {row["id"]: row["default_region"] for row in rows}


def _is(asked: Asked, given: str, region: str | None) -> bool:
    return given == asked.spellings.pseudonym or asked.spellings.is_meant(given, region)


# --- where it could only stand in passing ----------------------------------------------------------------------------


async def _look_through(pool: Pool, work: _Erasure) -> None:
    number = Person(work.person.address, work.person.pseudonym)
    for place, query, look in places.LOOKED_THROUGH:
        who = number if place in places.OF_MANY else work.person
        args = {"closely": [who.pattern], "both": [who.pattern, who.tail], "tail": [who.tail]}[look]
        async with pool.acquire() as connection:
            keys = await _found(connection, query, *args)
            for start in range(0, len(keys), _CHUNK):
                await _apart(
                    connection,
                    work,
                    _write(connection, work, place, keys[start : start + _CHUNK], _passing(place, who, work)),
                )
    async with pool.acquire() as connection:
        ids = await _found(connection, "scan_correlations", work.person.pattern, work.person.tail)
        await _apart(connection, work, _disguise(connection, work, [id for (id,) in ids]))
        labels = await _found(connection, "scan_counters", number.pattern)
        await _apart(connection, work, _rename_counters(connection, work, labels, number))


async def _found(connection: Connection, query: str, *args: str) -> Keys:
    """Keys of rows in which it could stand. The pool's sessions avoid reading whole tables; here that is meant."""
    async with connection.transaction(readonly=True):
        await connection.execute("SET LOCAL enable_seqscan = on")
        return _keys(await connection.fetch(QUERIES[query], *args))


async def _apart(connection: Connection, work: _Erasure, doing: Awaitable[None]) -> None:
    """In a transaction of its own, of which a dry run leaves nothing."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        await doing
    except BaseException:
        await transaction.rollback()
        raise
    await (transaction.rollback() if work.asked.dry_run else transaction.commit())


def _passing(place: Place, who: Person, work: _Erasure) -> Changed:
    def changed(row: Row) -> dict[str, Any]:
        found = {name: who.replace(row[name]) for name in place.columns}
        if place is places.INBOX:
            found |= _hashed(work, row, found, ("provider_message_id", "reference"))
            if found["provider_message_id"] != row["provider_message_id"]:
                found["raw_message_id"] = None
        elif place is places.REJECTED and isinstance(row["request"].get("row"), dict):
            read = row["request"]["row"]
            found["request"]["row"] |= _hashed(
                work, read, found["request"]["row"], [name for name in _KEYS if name in read]
            )
        elif place is places.MESSAGES_SAY:
            found |= _hashed(work, row, found, ("reference",))
        elif place is places.EXCLUSIONS and found["address"] != row["address"]:
            found["recipient_id"] = None
        elif place is places.SUBMISSIONS:
            found["provider_message_ids"] = _hashed_ids(work, who, row["provider_message_ids"])
        elif place is places.QUALIFICATIONS and any(found[name] != row[name] for name in ("status", "error_code")):
            found["error_code"] += f"#{row['id']}"  # errors that were two spellings of one stay two
        return found

    return changed


_KEYS = ("provider_message_id", "raw_message_id", "reference")


def _hashed(
    work: _Erasure, before: Mapping[str, Any], after: Mapping[str, Any], names: Sequence[str]
) -> dict[str, Any]:
    """Ids and references in which it stood, as receipts will find them."""
    return {name: work.asked.maker.of_key(before[name]) for name in names if after[name] != before[name]}


def _hashed_ids(work: _Erasure, who: Person, ids: Sequence[str]) -> list[str]:
    return [work.asked.maker.of_key(each) if who.replace(each) != each else each for each in ids]


async def _rename_counters(connection: Connection, work: _Erasure, keys: Keys, number: Person) -> None:
    for key in keys:
        label = key[3]
        if (name := number.replace(label)) != label:
            await connection.execute(QUERIES["rename_counter"], *key, name)
            work.rows["counters"].add(key)


# --- what an index finds ---------------------------------------------------------------------------------------------


async def _rename(connection: Connection, work: _Erasure, unread: Keys, targets: Keys) -> None:
    """The facts about it, with all that they say of the person; `unread`: exclusions because it is no possible number, and
    those of others that speak of it. The caller commits."""
    asked = work.asked
    address, pseudonym = asked.names
    await connection.execute("SET LOCAL lock_timeout = '10s'")
    await lock_addresses(connection, sorted({*asked.names, identity(address)}))
    await connection.execute(QUERIES["add_erased"], pseudonym, asked.now, {})
    await _rename_targets(connection, work, targets)
    await _in_chunks(connection, work, places.EXCLUSIONS, unread, _passing(places.EXCLUSIONS, work.person, work))
    ids = [row["id"] for row in await connection.fetch(QUERIES["list_message_ids"], asked.names)]
    keys = await connection.fetch(QUERIES["list_own_correlations"], ids)
    await _disguise(connection, work, [row["id"] for row in keys], own=True)
    seen = [row["visitor"] for row in await connection.fetch(QUERIES["list_own_visitors"], ids)]
    for place, query in places.BY_MESSAGE:
        found = _keys(await connection.fetch(QUERIES[query], ids))
        await _in_chunks(connection, work, place, found, _own(place, work))
    await visitors.forget(connection, seen)
    for place, query in places.BY_NAME:
        found = _keys(await connection.fetch(QUERIES[query], asked.names))
        await _in_chunks(connection, work, place, found, _own(place, work))
    await _in_chunks(connection, work, places.MESSAGES, [(id,) for id in ids], _own(places.MESSAGES, work))
    for table in ("quarantine", "held", "to_examine"):
        status = await connection.execute(QUERIES[f"rename_{table}"], address, pseudonym)
        work.rows[table] |= set(range(int(status.rpartition(" ")[2])))
    await _forget_private(connection, work)
    await reexamine(connection, [address, pseudonym], asked.now)


def _own(place: Place, work: _Erasure) -> Changed:
    """A fact about the number: what is known of the person goes with it."""

    def changed(row: Row) -> dict[str, Any]:
        found = {name: work.own.replace(row[name]) for name in place.columns}
        whole = _OWN.get(place.table)
        return found if whole is None else found | whole(work, row)

    return changed


def _message(work: _Erasure, row: Row) -> dict[str, Any]:
    reference = row["reference"]
    foreign = reference is not None and message_of(reference) is None
    return {
        "recipient_id": None,
        "params": None,
        "reference": work.asked.maker.of_key(reference) if foreign else reference,
    }


def _reply(work: _Erasure, row: Row) -> dict[str, Any]:
    """What a phone wrote. It has been applied: `erase` is not asked before that."""
    return {"text": "", "raw": b""} if row["address"] in work.asked.names else {}


def _visit(row: Row) -> dict[str, Any]:
    """A burst's count is a figure, and stays."""
    counted = {name: value for name, value in row["visit"].items() if name == "counted"}
    return {"agent": "", "visit": counted, "visitor": None, "network": None}


#: What goes whole, besides what is replaced.
_OWN: Mapping[str, Callable[[_Erasure, Row], dict[str, Any]]] = {
    "messages": _message,
    "exclusions": lambda work, row: {"recipient_id": None},
    "submissions": lambda work, row: {"provider_message_ids": _hashed_ids(work, work.own, row["provider_message_ids"])},
    "inbound": _reply,
    "decisions": lambda work, row: {"note": None},
    "clicks": lambda work, row: _visit(row),
    "click_inbox": lambda work, row: _visit(row),
}


async def _rename_targets(connection: Connection, work: _Erasure, keys: Keys) -> None:
    """An audience may have been replaced since: those that are this number go, what others say of it is replaced."""
    deliveries = sorted({key[0] for key in keys})
    await connection.execute(QUERIES["lock_deliveries"], deliveries)
    regions = await _regions(connection, set(deliveries))
    person, pseudonym = work.person, work.person.pseudonym

    def changed(row: Row) -> dict[str, Any]:
        given = row["given"]
        if _is(work.asked, given, regions[row["delivery_id"]]) or pseudonym in person.replace(given):
            given = pseudonym if _is(work.asked, given, regions[row["delivery_id"]]) else person.replace(given)
            return {"given": given, "recipient_id": None, "params": None}
        return {name: person.replace(row[name]) for name in places.TARGETS.columns}

    await _in_chunks(connection, work, places.TARGETS, keys, changed)


async def _disguise(connection: Connection, work: _Erasure, ids: Sequence[int], *, own: bool = False) -> None:
    """Keys in which it stands become their keyed hashes, and of its `own` messages all foreign references."""
    who = work.own if own else work.person
    for row in await connection.fetch(QUERIES["lock_keys"], sorted(ids)):
        named = who.replace(row["value"]) != row["value"] or who.replace(row["raw"]) != row["raw"]
        foreign = own and row["kind"] == "reference" and message_of(row["value"]) is None
        name = work.asked.maker.of_key(row["value"])
        if (named or foreign) and name != row["value"]:
            message = await disguises.become(connection, row["id"], name)
            work.joined |= set() if message is None else {message}
            work.rows["correlations"].add(row["id"])


async def _in_chunks(connection: Connection, work: _Erasure, place: Place, keys: Keys, changed: Changed) -> None:
    for start in range(0, len(keys), _CHUNK):
        await _write(connection, work, place, keys[start : start + _CHUNK], changed)


async def _write(connection: Connection, work: _Erasure, place: Place, keys: Keys, changed: Changed) -> None:
    """Writes what `changed` makes of the rows `keys`, and counts those that were not so before."""
    rows = await connection.fetch(place.select(), *map(list, zip(*keys, strict=True))) if keys else []
    values = []
    for row in rows:
        new = changed(row)
        if new is not None and any(new[name] != row[name] for name in place.columns):
            values.append([*(row[name] for name in place.key), *(new[name] for name in place.columns)])
    if place is places.VISITORS:
        for each in values:
            await visitors.rewrite(connection, *each)
    elif values:
        await connection.executemany(place.update(), values)
    work.rows[place.table] |= {tuple(each[: len(place.key)]) for each in values}


def _keys(rows: Sequence[Any]) -> Keys:
    return [tuple(row) for row in rows]


# --- journals, and the certificate -----------------------------------------------------------------------------------


async def _forget_private(connection: Connection, work: _Erasure) -> None:
    """Values beside the journals' chains go whole: those in which it stands, and what was typed about it."""
    person = work.person
    rows = await connection.fetch(QUERIES["scan_private"], person.pattern, person.pseudonym)
    keys = [
        (row["chain"], row["seq"], row["name"])
        for row in rows
        if row["about"] or person.replace(row["value"]) != row["value"]
    ]
    if keys:
        await connection.execute(QUERIES["delete_private"], *map(list, zip(*keys, strict=True)))
    work.rows["audit_private"] |= set(keys)


async def _in_journals(
    connection: Connection, person: Person, others: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """Entries of the chains that name it all the same: of older versions. `others` besides, each once."""
    named = {(each["chain"], each["seq"]): each for each in others}
    for row in await connection.fetch(QUERIES["scan_journals"], person.pattern):
        if person.replace(row["text"]) != row["text"] or person.replace(row["data"]) != row["data"]:
            chain, seq = str(row["chain"]), row["seq"]
            named[chain, seq] = {"chain": chain, "seq": seq}
    return list(named.values())


async def _certify(connection: Connection, work: _Erasure, journals: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    asked = replace(work.asked, reason=work.own.replace(work.asked.reason))
    pseudonym = asked.spellings.pseudonym
    before = await connection.fetchval(QUERIES["find_certificate"], pseudonym, column=2) or {}
    certificate = certificates.certificate(
        pseudonym=pseudonym, at=asked.now, actor=asked.actor, reason=asked.reason, before=before,
        replaced=work.replaced, journals=journals, dry_run=asked.dry_run,
    )  # fmt: skip
    await connection.execute(QUERIES["set_certificate"], pseudonym, certificate)
    return certificate
