"""Signed heads of the journals: who rewrites a chain together with its head does not meet what was signed before.

A head says how long a chain is and what its last entry's hash is. It is signed when somebody asks for it, when its
delivery is over, and once an hour while it grows; each is kept, and written to the log, where the database's owner does
not reach it. Whoever was given one can show it again to `…/audit/verify`.
"""

import asyncio
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from starlette.requests import HTTPConnection

from app.audit import GENESIS, Known
from app.db import Connection, Pool, is_away, load_queries
from app.logs import log
from app.tasks import ended

QUERIES = load_queries(__file__, "audit_heads.sql")

#: What the key is derived for.
PURPOSE = "audit.heads"
#: A chain that grows is signed so often.
EVERY = timedelta(hours=1)
_LOOK_SECONDS = 30.0
_CHUNK = 200

#: Keys by id, the one in use first: old signatures are checked by the key that made them.
Keys = Callable[[], Sequence[tuple[str, bytes]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    chain: int
    seq: int
    hash: bytes
    at: datetime
    key_id: str
    signature: bytes

    def shown(self) -> dict[str, Any]:
        """As it is given out: JSON, and the same as one word (`token`) to show again."""
        fields: dict[str, Any] = {
            "chain": str(self.chain),
            "seq": self.seq,
            "hash": self.hash.hex(),
            "at": self.at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
            "key_id": self.key_id,
            "signature": self.signature.hex(),
        }
        return fields | {"token": urlsafe_b64encode(orjson.dumps(list(fields.values()))).decode().rstrip("=")}


class NoHead(ValueError):
    """This is no head that was given out here."""


def read(given: str) -> Head:
    """A head as it was given out: its `token`, or the JSON object. Raises `NoHead`. Its signature is not checked yet."""
    try:
        text = given.strip()
        if text.startswith("{"):
            fields = orjson.loads(text)
            values = [fields[name] for name in ("chain", "seq", "hash", "at", "key_id", "signature")]
        else:
            values = orjson.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        chain, seq, digest, at, key_id, signature = values
        head = Head(
            chain=int(chain), seq=int(seq), hash=bytes.fromhex(digest), at=datetime.fromisoformat(at),
            key_id=str(key_id), signature=bytes.fromhex(signature),
        )  # fmt: skip
        if head.at.tzinfo is None or not 0 <= head.seq < 2**63:
            raise NoHead
    except (ValueError, TypeError, KeyError, OverflowError):
        raise NoHead from None
    return head


class Signer:
    """Signs heads with the key in use, and knows those that were in use."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def sign(self, chain: int, seq: int, digest: bytes, at: datetime) -> Head:
        key_id, key = self._keys()[0]
        return Head(
            chain=chain, seq=seq, hash=digest, at=at, key_id=key_id, signature=_signature(key, chain, seq, digest, at)
        )

    def holds(self, head: Head) -> bool:
        """Whether one of our keys made this signature."""
        key = dict(self._keys()).get(head.key_id)
        return key is not None and hmac.compare_digest(
            _signature(key, head.chain, head.seq, head.hash, head.at), head.signature
        )


def _signature(key: bytes, chain: int, seq: int, digest: bytes, at: datetime) -> bytes:
    said = orjson.dumps([chain, seq, digest.hex(), int(at.timestamp() * 1_000_000)])
    return hmac.digest(key, b"acuse audit head " + said, "sha256")


# --- in the database -------------------------------------------------------------------------------------------------


async def sign(connection: Connection, signer: Signer, chain: int, now: datetime) -> Head:
    """The head of `chain` as it is, signed and kept; one that was signed before as it was then. The caller commits."""
    row = await connection.fetchrow(QUERIES["lock_head"], chain)
    if row is None:
        return signer.sign(chain, 0, GENESIS, now)
    if (before := await _signed_at(connection, chain, row["seq"], row["hash"])) is not None and signer.holds(before):
        return before
    head = signer.sign(chain, row["seq"], row["hash"], now)
    # One that stands there with another hash is evidence, and stays.
    await connection.execute(QUERIES["add_signature"], chain, head.seq, head.hash, head.at, head.key_id, head.signature)
    await connection.execute(QUERIES["note_signed"], chain, head.seq, now)
    return head


async def _signed_at(connection: Connection, chain: int, seq: int, digest: bytes) -> Head | None:
    row = await connection.fetchrow(QUERIES["find_signature"], chain, seq, digest)
    return None if row is None else Head(**dict(row))


async def known(connection: Connection, signer: Signer, chain: int) -> Sequence[Known]:
    """What the signed heads of `chain` say. A signature by a key that we do not have says nothing."""
    rows = await connection.fetch(QUERIES["list_signatures"], chain)
    return [Known(head.seq, head.hash) for head in (Head(**dict(row)) for row in rows) if signer.holds(head)]


async def sign_some(connection: Connection, signer: Signer, now: datetime) -> int:
    """Signs chains that grew and were not signed for an hour, and those of deliveries that are over; says how many."""
    rows = await connection.fetch(QUERIES["lock_due"], now - EVERY, _CHUNK)
    for row in rows:
        head = await sign(connection, signer, row["chain"], now)
        log.info("audit.head", **head.shown())
    return len(rows)


class Signing:
    """Signs what is due, until it is stopped. Any number of processes may do so."""

    def __init__(self, pool: Pool, signer: Callable[[], Signer | None]) -> None:
        self._pool = pool
        self._signer = signer
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        await ended(self._task)

    async def _run(self) -> None:
        while True:
            try:
                while await self.look(datetime.now(UTC)) == _CHUNK:
                    pass
            except Exception as error:
                if not is_away(error):
                    log.exception("audit.not_signed")
            await asyncio.sleep(_LOOK_SECONDS)

    async def look(self, now: datetime) -> int:
        """Signs some of what is due; 0 when nothing is, or the key is not known yet."""
        if (signer := self._signer()) is None:
            return 0
        async with self._pool.acquire() as connection, connection.transaction():
            return await sign_some(connection, signer, now)


def signer_of(connection: HTTPConnection) -> Signer | None:
    """None until its key has been read."""
    found: Signer | None = connection.app.state.signer
    return found
