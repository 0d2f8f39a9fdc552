"""Submissions in: messages sent elsewhere, and what became of handing over those prepared here.

A chunk of rows is recorded in one transaction; a bad row never costs its neighbours. Rows that stand already (the same
address, ids and reference in the same delivery) are recognised, so that an interrupted upload can simply be sent again.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import asyncpg

from app.db import Connection
from app.gateways import GATEWAYS
from app.gateways.receipt import Gateway
from app.matching import references
from app.matching.claiming import Key, Keyed, find_owners, give_keys, id_key, id_keys
from app.matching.likeness import in_one_form
from app.matching.sql import QUERIES
from app.privacy import disguises
from app.projections.fold import fold
from app.qualifications.learning import met
from app.qualifications.rules import failure_key, meaning
from app.references import message_of

#: By what a row is recognised that has neither id nor reference: address, recipient, gateway, when, if it said so, and metadata
#: (as JSON in one form).
Likeness = tuple[str, str | None, int, datetime | None, bytes | None]
GatewayOf = Callable[[int], Gateway | None]  # by its id
#: The status under which the errors of submissions are qualified: providers have none for them.
SUBMIT_STATUS = "SUBMIT"
#: Messages without id and reference that are read at a time: each may have 10 kB of metadata.
_BARE_AT_A_TIME = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One message that was sent elsewhere: a row of `POST …/messages`, checked."""

    line: int
    address: str
    gateway: Gateway
    provider_message_ids: tuple[str, ...] = ()
    reference: str | None = None
    recipient_id: str | None = None
    submitted_at: datetime
    #: `submitted_at` as the row said it, if it did.
    said_at: datetime | None = None
    #: The caller's own JSON; None: none, or an empty object.
    metadata: Mapping[str, Any] | None = None

    @property
    def likeness(self) -> "Likeness":
        return (self.address, self.recipient_id, self.gateway.id, self.said_at, in_one_form(self.metadata))


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """One row of `POST …/submissions`, checked: names its message by id or by reference."""

    line: int
    message_id: int | None
    reference: str | None
    #: None: the message's own.
    gateway: Gateway | None
    provider_message_ids: tuple[str, ...] = ()
    submitted_at: datetime
    error_code: str | None = None
    error_text: str | None = None


@dataclass(slots=True)
class Outcome:
    """What became of one chunk: how many rows were taken, and the sentence for each that was not."""

    accepted: int = 0
    errors: list[tuple[int, str]] = field(default_factory=list)
    #: How many of the accepted did not stand already.
    fresh: int = 0


async def record_messages(connection: Connection, delivery_id: int, rows: Sequence[Sent], now: datetime) -> Outcome:
    """Records `rows` as messages of the delivery; those that were made for their short URLs are handed over by it. Raises
    `KeyTaken`; the caller rolls back and tries again."""
    outcome = Outcome()
    # Uploads to one delivery go one after the other: two that carry the same row must not both make it a message.
    await connection.execute(QUERIES["lock_recording"], delivery_id)
    found = [each async for each in _new_rows(connection, delivery_id, rows, outcome)]
    if not found:
        return outcome
    new = [row for row, awaited in found if awaited is None]
    made = iter(await make_messages(connection, delivery_id, new, now))
    ids = [next(made) if awaited is None else awaited for _, awaited in found]
    fresh = [row for row, _ in found]
    await connection.copy_records_to_table(
        "submissions",
        records=[
            (id, row.gateway.id, row.submitted_at, now, list(row.provider_message_ids))
            for id, row in zip(ids, fresh, strict=True)
        ],
        columns=("message_id", "gateway_id", "submitted_at", "recorded_at", "provider_message_ids"),
    )
    others = await give_keys(
        connection, [keyed for id, row in zip(ids, fresh, strict=True) for keyed in _keys(id, row)], now
    )
    await fold(connection, [*ids, *others], now)
    outcome.accepted += len(fresh)
    return outcome


async def make_messages(connection: Connection, delivery_id: int, rows: Sequence[Sent], now: datetime) -> Sequence[int]:
    """Messages of the delivery, which nobody has handed over yet; the caller gives them their keys and folds them."""
    if not rows:
        return ()
    first_id = await connection.fetchval(QUERIES["reserve_message_ids"], len(rows))
    ids = range(first_id, first_id + len(rows))
    await connection.copy_records_to_table(
        "messages",
        records=[
            (id, delivery_id, row.address, row.recipient_id, row.reference, row.gateway.id, row.metadata, now)
            for id, row in zip(ids, rows, strict=True)
        ],
        columns=("id", "delivery_id", "address", "recipient_id", "reference", "gateway_id", "params", "created_at"),
    )
    return ids


async def record_awaited(
    connection: Connection, delivery_id: int, rows: Sequence[Sent], now: datetime
) -> tuple[Mapping[int, int], Outcome]:
    """Makes a message, not handed over yet, for each of `rows` (with a reference and no ids) that has none; `(message by line,
    outcome)`. Raises `KeyTaken` like `record_messages`, which meets them by their references."""
    outcome = Outcome()
    await connection.execute(QUERIES["lock_recording"], delivery_id)
    owners = await find_owners(connection, {_reference_key(row) for row in rows})
    standing: dict[Key, tuple[str, int]] = {}
    for key, owner in owners.items():
        if owner["delivery_id"] == delivery_id:
            standing[key] = (owner["address"], owner["message_id"])
    fresh: dict[Key, Sent] = {}
    for row in rows:
        if (key := _reference_key(row)) not in owners:
            fresh.setdefault(key, row)
    made = await make_messages(connection, delivery_id, list(fresh.values()), now)
    keyed = [keyed for id, row in zip(made, fresh.values(), strict=True) for keyed in _keys(id, row)]
    others = await give_keys(connection, keyed, now)
    await fold(connection, sorted({*made, *others}), now)
    standing |= {key: (row.address, id) for id, (key, row) in zip(made, fresh.items(), strict=True)}
    found: dict[int, int] = {}
    for row in rows:
        address, id = standing.get(_reference_key(row), ("", 0))
        if address == row.address:
            found[row.line] = id
        else:
            outcome.errors.append((row.line, "The reference of this row already belongs to another message."))
    outcome.accepted, outcome.fresh = len(found), len(fresh)
    return found, outcome


async def record_submissions(
    connection: Connection,
    delivery_id: int,
    rows: Sequence[Submission],
    now: datetime,
    *,
    gateway_of: GatewayOf,
    only_proofs: bool = False,
) -> Outcome:
    """Records what became of handing over messages of this delivery, or `only_proofs` while it has not started. Raises
    `KeyTaken` like `record_messages`."""
    outcome = Outcome()
    await connection.execute(QUERIES["lock_recording"], delivery_id)
    found = await _targets(connection, delivery_id, rows, outcome, gateway_of, only_proofs=only_proofs)
    found = await _without_taken(connection, found, outcome)
    fresh = await _without_known(connection, found, outcome)
    if not fresh:
        return outcome
    qualified = await _qualify(connection, [each.row for each in fresh], [each.gateway for each in fresh], now)
    await connection.copy_records_to_table(
        "submissions",
        records=[
            (id, gateway.id, row.submitted_at, now, list(row.provider_message_ids), row.error_code, row.error_text, qualification)
            for (id, gateway, row, _), qualification in zip(fresh, qualified, strict=True)
        ],
        columns=(
            "message_id", "gateway_id", "submitted_at", "recorded_at", "provider_message_ids", "error_code", "error_text",
            "qualification_id",
        ),
    )  # fmt: skip
    ours = [each for each in fresh if each.ours]
    # Keys are taken in one order by everybody: ids come before references.
    keyed = [keyed for id, gateway, row, _ in fresh for keyed in id_keys(id, gateway, row.provider_message_ids)]
    others = await give_keys(connection, keyed, now)
    await references.claim(connection, [each.gateway.id for each in ours], [each.message_id for each in ours], now)
    await fold(connection, sorted({*(each.message_id for each in fresh), *others}), now)
    outcome.accepted += len(fresh)
    outcome.fresh = len(fresh)
    return outcome


# --- which rows are new ------------------------------------------------------------------------------------------------


def _keys(message_id: int, row: Sent) -> Iterator[Keyed]:
    yield from id_keys(message_id, row.gateway, row.provider_message_ids)
    if row.reference:
        yield Keyed((row.gateway.id, "reference", row.reference), row.reference, None, message_id)


def _reference_key(row: Sent) -> Key:
    return (row.gateway.id, "reference", row.reference or "")


async def _new_rows(connection: Connection, delivery_id: int, rows: Sequence[Sent], outcome: Outcome) -> Any:
    """Each with the message that awaits it, if there is one."""
    keys = {row.line: [each.key for each in _keys(0, row)] for row in rows}
    owners = await find_owners(connection, {key for each in keys.values() for key in each})
    standing = await _standing(connection, delivery_id, [row for row in rows if not keys[row.line]])
    in_chunk: dict[Key, Sent] = {}
    for row in rows:
        if not keys[row.line]:
            if (likeness := row.likeness) in standing:
                outcome.accepted += 1
            else:
                standing.add(likeness)
                yield row, None
            continue
        if len(set(keys[row.line])) < len(keys[row.line]):
            outcome.errors.append((row.line, "The same provider message id is given twice."))
            continue
        owned = [owners[key] for key in keys[row.line] if key in owners]
        twins = [in_chunk[key] for key in keys[row.line] if key in in_chunk]
        awaited = _awaiting(row, delivery_id, owned)
        if not twins and (not owned or awaited is not None):
            in_chunk.update(dict.fromkeys(keys[row.line], row))
            yield row, awaited
        elif _same_message(row, delivery_id, owned) or (twins and _same_rows(row, twins, keys)):
            outcome.accepted += 1  # it stands already
        else:
            outcome.errors.append(
                (row.line, "A provider message id or reference of this row already belongs to another message.")
            )


async def _standing(connection: Connection, delivery_id: int, rows: Sequence[Sent]) -> set[Likeness]:
    """Which of `rows` stand already as messages of the delivery without id and reference. Of one phone there may be a million:
    no more are in memory than are read at a time, and those that are like one of `rows`."""
    if not rows:
        return set()
    asked, standing = {row.likeness for row in rows}, set()
    addresses = sorted({row.address for row in rows})
    async for row in connection.cursor(QUERIES["list_bare"], delivery_id, addresses, prefetch=_BARE_AT_A_TIME):
        likeness = (*row[:4], in_one_form(row["metadata"]))
        if likeness in asked:
            standing.add(likeness)
    return standing


def _awaiting(row: Sent, delivery_id: int, owned: Sequence[asyncpg.Record]) -> int | None:
    """The message that was made for its short URLs and has this row's reference."""
    if len({each["message_id"] for each in owned}) != 1:
        return None
    first = owned[0]
    fits = first["awaited"] and first["delivery_id"] == delivery_id and first["address"] == row.address
    return int(first["message_id"]) if fits else None


def _same_message(row: Sent, delivery_id: int, owned: Sequence[asyncpg.Record]) -> bool:
    return (
        bool(owned)
        and len({each["message_id"] for each in owned}) == 1
        and all(each["delivery_id"] == delivery_id and each["address"] == row.address for each in owned)
        and len(owned) == len(row.provider_message_ids) + bool(row.reference)
    )


def _same_rows(row: Sent, twins: Sequence[Sent], keys: Mapping[int, list[Key]]) -> bool:
    return all(twin.address == row.address and set(keys[twin.line]) == set(keys[row.line]) for twin in twins)


class Target(NamedTuple):
    """A row with its message's id and the gateway it went through; `ours`: the message is sent from here."""

    message_id: int
    gateway: Gateway
    row: Submission
    ours: bool


async def _targets(
    connection: Connection,
    delivery_id: int,
    rows: Sequence[Submission],
    outcome: Outcome,
    gateway_of: GatewayOf,
    *,
    only_proofs: bool,
) -> list[Target]:
    references = {row.reference for row in rows if row.reference is not None}
    known = await disguises.known(connection, references)
    found = await connection.fetch(
        QUERIES["find_messages"],
        delivery_id,
        [id for row in rows for id in (row.message_id, message_of(row.reference)) if id is not None],
        sorted(references | set(known.values())),
    )
    by_id = {row["id"]: row for row in found}
    by_reference = {row["reference"]: row for row in found if row["reference"]}
    by_reference |= {value: by_reference[name] for value, name in known.items() if name in by_reference}
    targets: list[Target] = []
    for row in rows:
        message = _named(row, by_id, by_reference)
        if message is None:
            outcome.errors.append((row.line, "This delivery has no such message."))
        elif only_proofs and not message["proof"]:
            outcome.errors.append((row.line, "This delivery has not started: only its proofs have been handed over."))
        elif (gateway := row.gateway or gateway_of(message["gateway_id"] or 0)) is None:
            outcome.errors.append((row.line, "Neither the row nor the delivery names a gateway."))
        else:
            targets.append(Target(message["id"], gateway, row, message["ours"]))
    return targets


def _named(
    row: Submission, by_id: Mapping[int, asyncpg.Record], by_reference: Mapping[str, asyncpg.Record]
) -> asyncpg.Record | None:
    if row.message_id is not None:
        return by_id.get(row.message_id)
    ours = by_id.get(message_of(row.reference) or 0)
    return ours if ours is not None and ours["ours"] else by_reference.get(row.reference or "")


async def _without_taken(connection: Connection, targets: Sequence[Target], outcome: Outcome) -> list[Target]:
    """Leaves out rows with an id that belongs to another message, there or in this chunk."""
    keys = {row.line: {id_key(gateway, raw) for raw in row.provider_message_ids} for _, gateway, row, _ in targets}
    owners = {
        key: row["message_id"]
        for key, row in (await find_owners(connection, {k for each in keys.values() for k in each})).items()
    }
    kept: list[Target] = []
    for target in targets:
        id, row = target.message_id, target.row
        if any(owners.get(key, id) != id for key in keys[row.line]):
            outcome.errors.append((row.line, "A provider message id of this row already belongs to another message."))
        elif len(keys[row.line]) < len(row.provider_message_ids):
            outcome.errors.append((row.line, "The same provider message id is given twice."))
        else:
            owners.update(dict.fromkeys(keys[row.line], id))
            kept.append(target)
    return kept


async def _without_known(connection: Connection, targets: Sequence[Target], outcome: Outcome) -> list[Target]:
    """Leaves out submissions that stand already; they count as accepted."""
    rows = await connection.fetch(QUERIES["find_submissions"], sorted({each.message_id for each in targets}))
    known = {
        (r["message_id"], r["gateway_id"], *r["provider_message_ids"], r["error_code"], r["error_text"]) for r in rows
    }
    fresh: list[Target] = []
    for target in targets:
        id, gateway, row, _ = target
        identity = (id, gateway.id, *row.provider_message_ids, row.error_code, row.error_text)
        if identity in known:
            outcome.accepted += 1
        else:
            known.add(identity)
            fresh.append(target)
    return fresh


async def _qualify(
    connection: Connection, rows: Sequence[Submission], gateways: Sequence[Gateway], now: datetime
) -> list[int | None]:
    """The qualification of each submission that failed, made where it is new."""
    cache: dict[tuple[str, str], int] = {}
    found: list[int | None] = []
    for row, gateway in zip(rows, gateways, strict=True):
        if row.error_code is None and row.error_text is None:
            found.append(None)
            continue
        key = (gateway.implementation, failure_key(row.error_code, row.error_text))
        if key not in cache:
            cache[key] = await _qualification(connection, gateway, key[1], row.error_text, now)
        found.append(cache[key])
    return found


async def _qualification(connection: Connection, gateway: Gateway, code: str, text: str | None, now: datetime) -> int:
    adapter = GATEWAYS.get(gateway.kind)
    what = meaning(adapter.qualifications if adapter else {}, SUBMIT_STATUS, code)
    await met(connection, gateway.implementation, SUBMIT_STATUS, code, what, text, now)
    id: int = await connection.fetchval(QUERIES["find_qualification"], gateway.implementation, SUBMIT_STATUS, code)
    return id
