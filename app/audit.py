"""The journal: append-only, one chain per delivery and one for the platform, each entry carrying the hash of the one before.

An entry that is altered or removed breaks the chain behind it; a chain cut at its end no longer meets its head, and one
that was written anew together with its head no longer meets the heads signed before (`app/audit_heads.py`).

What people typed may name somebody. Such values stand beside the chain (`audit_private`), and the entry carries the
hash of each with a random salt: erasing takes the value and its salt away, and the chain still holds.
"""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import orjson

from app.db import Connection, load_queries

QUERIES = load_queries(__file__, "audit.sql")

Level = Literal["info", "warning", "error"]
PLATFORM = 0
GENESIS = bytes(32)
#: Where an entry's data carries the hashes of the values beside the chain, by their names.
PERSONAL = "personal"
_SALT_BYTES = 16
#: Deliveries whose journals are told at the most when something moves figures of many.
MOST_TOLD = 1_000


def entry_hash(
    previous: bytes,
    *,
    chain: int,
    seq: int,
    at: datetime,
    level: str,
    code: str,
    text: str,
    actor: str,
    data: Mapping[str, Any],
) -> bytes:
    """SHA-256 over the entry before and this entry's canonical JSON (sorted keys, UTC microseconds)."""
    canonical = orjson.dumps(
        [chain, seq, int(at.timestamp() * 1_000_000), level, code, text, actor, data], option=orjson.OPT_SORT_KEYS
    )
    return hashlib.sha256(previous + canonical).digest()


async def append(
    connection: Connection,
    chain: int,
    code: str,
    text: str,
    *,
    at: datetime,
    actor: str,
    level: Level = "info",
    data: Mapping[str, Any] | None = None,
    personal: Mapping[str, Any] | None = None,
) -> None:
    """Adds one entry to the journal of delivery `chain` (`PLATFORM` for none). Waits for others that append to the
    same chain; the caller commits. `data` must be JSON as `orjson` writes it, so that it hashes the same when read back.

    `personal`: what people typed, or may name somebody; read back among `data` until it is erased."""
    said: dict[str, Any] = orjson.loads(orjson.dumps(data or {}))
    beside = [_beside(name, value) for name, value in (personal or {}).items() if value is not None]
    if beside:
        said[PERSONAL] = {name: value_hash(salt, value).hex() for name, salt, value in beside}
    seq, previous = await _held_head(connection, chain)
    seq += 1
    digest = entry_hash(
        previous, chain=chain, seq=seq, at=at, level=level, code=code, text=text, actor=actor, data=said
    )
    await connection.execute(QUERIES["add_entry"], chain, seq, at, level, code, text, actor, said, digest)
    if beside:
        await connection.executemany(QUERIES["put_private"], [(chain, seq, *each) for each in beside])
    await connection.execute(QUERIES["set_head"], chain, seq, digest)


async def _held_head(connection: Connection, chain: int) -> tuple[int, bytes]:
    """Number and hash of the chain's last entry; nobody else appends until the caller's transaction ends."""
    head = await connection.fetchrow(QUERIES["lock_head"], chain, GENESIS)
    assert head is not None
    return head["seq"], head["hash"]


async def tell_deliveries(
    connection: Connection,
    moved: Mapping[int, int],
    code: str,
    text: str,
    *,
    at: datetime,
    actor: str,
    data: Mapping[str, Any] | None = None,
    personal: Mapping[str, Any] | None = None,
) -> None:
    """One entry in the journal of each delivery of which something else moved a figure (`{moved}` of `text`); of very
    many the newest. In one order for everybody, and after the platform's."""
    for delivery_id in sorted(sorted(moved, reverse=True)[:MOST_TOLD]):
        number = moved[delivery_id]
        await append(
            connection, delivery_id, code, text.format(moved=number), at=at, actor=actor,
            data={**(data or {}), "moved": number}, personal=personal,
        )  # fmt: skip


# --- values beside the chain -----------------------------------------------------------------------------------------


def _beside(name: str, value: Any) -> tuple[str, bytes, str]:
    """Name, salt and canonical JSON. Text, not `jsonb`: it must hash the same when it is read back."""
    return name, secrets.token_bytes(_SALT_BYTES), orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def value_hash(salt: bytes, value: str) -> bytes:
    """What an entry carries of a value that stands beside the chain."""
    return hashlib.sha256(salt + value.encode()).digest()


def whole(data: Mapping[str, Any], beside: Mapping[str, str] | None) -> tuple[dict[str, Any], dict[str, str]]:
    """An entry's data with the values beside the chain (canonical JSON by name), None for those that were erased; and
    their hashes."""
    said = dict(data)
    hashes = said.pop(PERSONAL, {}) if isinstance(said.get(PERSONAL), dict) else {}
    found = beside or {}
    return said | {name: orjson.loads(found[name]) if name in found else None for name in hashes}, hashes


# --- checking --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Known:
    """The hash that entry `seq` had when its chain was signed."""

    seq: int
    hash: bytes


async def verify(connection: Connection, chain: int, known: Sequence[Known] = ()) -> tuple[int, int | None]:
    """Number of entries, and the first that is wrong (one past the last when the end was cut), or None. With `known`
    also the first that no longer is what was signed: its chain was written anew."""
    previous, expected = GENESIS, 1
    signed: dict[int, set[bytes]] = {}
    for each in known:
        if each.seq:
            signed.setdefault(each.seq, set()).add(each.hash)
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        async for row in connection.cursor(QUERIES["list_entries"], chain):
            fields = {name: row[name] for name in ("seq", "at", "level", "code", "text", "actor", "data")}
            digest = entry_hash(previous, chain=chain, **fields)
            if row["seq"] != expected or digest != row["hash"] or not _holds(row["data"], row["beside"]):
                return expected - 1, expected
            if signed.pop(expected, {digest}) != {digest}:
                return expected - 1, expected
            previous, expected = row["hash"], expected + 1
        head = await connection.fetchrow(QUERIES["find_head"], chain)
    cut = head is not None and (head["seq"] != expected - 1 or head["hash"] != previous)
    return expected - 1, expected if cut or signed else None


def _holds(data: Mapping[str, Any], beside: Sequence[tuple[str, bytes, str]] | None) -> bool:
    """Whether the values that still stand beside the chain are those that the entry means."""
    hashes = data.get(PERSONAL) or {}
    return all(hashes.get(name) == value_hash(salt, value).hex() for name, salt, value in beside or ())
