"""The journal: append-only, one chain per delivery and one for the platform, each entry carrying the hash of the one before.

An entry that is altered or removed breaks the chain behind it; a chain cut at its end no longer meets its head.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import orjson

from app.db import Connection

Level = Literal["info", "warning", "error"]
PLATFORM = 0
GENESIS = bytes(32)


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
) -> None:
    """Adds one entry to the journal of delivery `chain` (`PLATFORM` for none). Waits for others that append to the
    same chain; the caller commits. `data` must be JSON as `orjson` writes it, so that it hashes the same when read back."""
    data = orjson.loads(orjson.dumps(data or {}))
    head = await connection.fetchrow(
        "INSERT INTO audit_heads (chain, seq, hash) VALUES ($1, 0, $2) ON CONFLICT (chain) DO UPDATE SET seq = audit_heads.seq "
        "RETURNING seq, hash",
        chain,
        GENESIS,
    )
    assert head is not None
    seq = head["seq"] + 1
    digest = entry_hash(
        head["hash"], chain=chain, seq=seq, at=at, level=level, code=code, text=text, actor=actor, data=data
    )
    await connection.execute(
        "INSERT INTO audit (chain, seq, at, level, code, text, actor, data, hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        chain, seq, at, level, code, text, actor, data, digest,
    )  # fmt: skip
    await connection.execute("UPDATE audit_heads SET seq = $2, hash = $3 WHERE chain = $1", chain, seq, digest)


async def verify(connection: Connection, chain: int) -> tuple[int, int | None]:
    """Number of entries, and the first whose hash is wrong (one past the last when the end was cut), or None."""
    previous, expected = GENESIS, 1
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        async for row in connection.cursor("SELECT * FROM audit WHERE chain = $1 ORDER BY seq", chain):
            fields = {name: row[name] for name in ("seq", "at", "level", "code", "text", "actor", "data")}
            if row["seq"] != expected or entry_hash(previous, chain=chain, **fields) != row["hash"]:
                return expected - 1, expected
            previous, expected = row["hash"], expected + 1
        head = await connection.fetchrow("SELECT seq, hash FROM audit_heads WHERE chain = $1", chain)
    cut = head is not None and (head["seq"] != expected - 1 or head["hash"] != previous)
    return expected - 1, expected if cut else None
