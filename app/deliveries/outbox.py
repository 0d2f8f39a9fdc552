"""The outbox: the messages of a started delivery that nobody has handed over yet, each with the text it gets.

A reader can break off at any time and go on behind the last message that it has. What is given out stays `pending` until
its submission is reported, so reading from the beginning again gives it again. A text is never sent half-filled.

Whoever was denylisted or quarantined since the preparation is not sent to: each chunk asks again, and cancels those messages.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import asyncpg
import orjson

from app import audit
from app.api import excerpts
from app.db import POOL_TIMEOUT_SECONDS, Connection, Pool, is_away, load_queries
from app.deliveries import codes
from app.deliveries.kept_away import kept_away
from app.deliveries.texts import Text
from app.links.routes import Routes
from app.logs import log
from app.matching.references import claim_references
from app.privacy.pseudonyms import PREFIX as ERASED
from app.projections.fold import fold
from app.references import reference_of
from app.texts.encoding import measure
from app.texts.placeholders import MissingParam

QUERIES = load_queries(__file__, "sending.sql")
#: Messages given out at a time: claimed in one transaction, written as one piece.
CHUNK = 1_000
#: Of one batch.
_TRIES = 5
#: Ids of messages that were left out, as the journal names them.
_NAMED = 100

#: Why there is no more: all given, as many as asked for, the delivery is not in progress any more, it is paused, the reader
#: went away.
Ending = Literal["complete", "limit", "over", "paused", "broken_off"]
_ENDINGS: Mapping[Ending, str] = {
    "complete": "to the end",
    "limit": "as far as asked",
    "over": "until the delivery was over",
    "paused": "until the delivery was paused",
    "broken_off": "broken off",
}


#: Texts and params are long at times: a chunk ends early by their bytes.
_WEIGHED = excerpts.weighed_text(
    QUERIES["list_outbox"], weight="$4::int + coalesce(octet_length(params::text), 0)", order="message_id"
)


def row(message_id: int, address: str, text: str, sender: str) -> dict[str, Any]:
    """One message as whoever sends it needs it."""
    return {
        "message_id": str(message_id),
        "reference": reference_of(message_id),
        "address": address,
        "text": text,
        "parts": measure(text).parts,
        "sender": sender,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One read of a delivery's outbox, and who reads."""

    delivery_id: int
    gateway_id: int | None
    sender: str
    text: Text
    #: About what one text takes, before its params are filled in.
    text_bytes: int = 0
    #: Behind this message.
    after: int
    limit: int | None
    actor: str


@dataclass(slots=True, kw_only=True)
class _Told:
    """What the journal says of one read."""

    given: int = 0
    first: int | None = None
    last: int | None = None
    left_out: list[int] = field(default_factory=list)
    #: Why they were left out, and how many for it.
    causes: Counter[str] = field(default_factory=Counter)
    ending: Ending = "broken_off"

    def give(self, id: int) -> None:
        self.given += 1
        self.first, self.last = self.first or id, id

    def leave_out(self, id: int, cause: str) -> None:
        self.left_out.append(id)
        self.causes[cause] += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    rows: Sequence[asyncpg.Record]
    #: The message behind which the next batch begins.
    last: int
    more: bool


async def stream(pool: Pool, asked: Asked, routes: Routes | None = None) -> AsyncIterator[bytes]:
    """NDJSON, a chunk at a time; no connection is held while a slow reader takes it. Ends in the journal. With `routes`, that
    is when its texts have short URLs, no message is given out before those lead somewhere whatever happens."""
    told = _Told()
    try:
        async for batch in _batches(pool, asked, told, routes):
            yield batch
    finally:
        # A task of its own: that the reader goes away must not cancel it.
        await asyncio.shield(asyncio.ensure_future(_note(pool, asked, told)))


async def _batches(pool: Pool, asked: Asked, told: _Told, routes: Routes | None) -> AsyncIterator[bytes]:
    after = asked.after
    if routes is not None:
        await routes.announce(asked.delivery_id)
    while wanted := CHUNK if asked.limit is None else min(CHUNK, asked.limit - told.given):
        batch = await _next(pool, asked, after=after, limit=wanted)
        if not isinstance(batch, _Batch):
            told.ending = batch
            return
        if routes is not None:
            params = {each["message_id"]: each["params"] or {} for each in batch.rows}
            await routes.give(asked.delivery_id, list(params), params)
        if lines := _lines(batch.rows, asked, told):
            yield lines
        if not batch.more:
            told.ending = "complete"
            return
        after = batch.last
    told.ending = "limit"


async def _next(pool: Pool, asked: Asked, *, after: int, limit: int) -> _Batch | Literal["over", "paused"]:
    """The next messages, their references claimed for good; or why there are none: the delivery is over, or paused. A worker that
    takes in receipts with these references may have the keys the other way round: who is chosen to give way tries again."""
    for _ in range(_TRIES - 1):
        try:
            return await _claimed(pool, asked, after=after, limit=limit)
        except asyncpg.DeadlockDetectedError:
            continue
    return await _claimed(pool, asked, after=after, limit=limit)


async def _claimed(pool: Pool, asked: Asked, *, after: int, limit: int) -> _Batch | Literal["over", "paused"]:
    now = datetime.now(UTC)
    async with pool.acquire(timeout=POOL_TIMEOUT_SECONDS) as connection, connection.transaction():
        status = await connection.fetchval(QUERIES["find_status"], asked.delivery_id)
        if status != "in_progress":
            return "paused" if status == "paused" else "over"
        rows = await connection.fetch(_WEIGHED, asked.delivery_id, after, limit, asked.text_bytes)
        gone = await _keep_away(connection, asked, rows, now)
        ids = [each["message_id"] for each in rows if each["message_id"] not in gone]
        waited = await claim_references(connection, asked.gateway_id, ids, now) if asked.gateway_id and ids else []
        gone |= {each["message_id"] for each in await connection.fetch(QUERIES["find_told"], waited)}
    return _Batch(
        rows=[each for each in rows if each["message_id"] not in gone],
        last=rows[-1]["message_id"] if rows else after,
        more=not excerpts.ended(rows, limit),
    )


async def _keep_away(connection: Connection, asked: Asked, rows: Sequence[asyncpg.Record], now: datetime) -> set[int]:
    """Cancels those of the messages `rows` whose address was denylisted or quarantined since the preparation, each with its
    reason, and returns them. It stands in the figures and in the journal."""
    reasons = await kept_away(connection, {each["address"] for each in rows}, asked.sender) if rows else {}
    if not reasons:
        return set()
    kept = [each for each in rows if each["address"] in reasons]
    ids = [each["message_id"] for each in kept]
    done = await connection.fetch(QUERIES["cancel_kept_away"], ids, [reasons[each["address"]] for each in kept], now)
    if done:
        await fold(connection, sorted(each["id"] for each in done), now)
        counts = Counter(each["reason"] for each in done)
        await connection.execute(
            QUERIES["add_kept_away_figures"], asked.delivery_id, list(counts), list(counts.values())
        )
        text = f"Cancelled, because their numbers were put away since the preparation: {len(done)} ({_listed(counts)})."
        data = {
            "messages": len(done),
            "by_reason": dict(counts),
            "message_ids": [str(id) for id in sorted(each["id"] for each in done)[:_NAMED]],
        }
        await audit.append(connection, asked.delivery_id, codes.KEPT_AWAY, text, at=now, actor=asked.actor, data=data)
    return set(ids)


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{reason}: {count}" for reason, count in sorted(counts.items()))


def _lines(rows: Sequence[asyncpg.Record], asked: Asked, told: _Told) -> bytes:
    lines: list[bytes] = []
    for each in rows:
        id, address = each["message_id"], each["address"]
        if address.startswith(ERASED):
            told.leave_out(id, "erased")
            continue
        try:
            text = asked.text.render(each["params"] or {}, asked.text.short_urls(id))
        except MissingParam as missing:
            told.leave_out(id, f"{{{{{missing.name}}}}}")
            continue
        lines.append(orjson.dumps(row(id, address, text, asked.sender), option=orjson.OPT_APPEND_NEWLINE))
        told.give(id)
    return b"".join(lines)


async def _note(pool: Pool, asked: Asked, told: _Told) -> None:
    """One entry a read. A read that found nothing leaves none: senders that wait for more ask every few seconds."""
    if not told.given and not told.left_out:
        return
    text = f"The outbox was read {_ENDINGS[told.ending]}: messages given out: {told.given}."
    if told.left_out:
        text += f" Left out because their text cannot be made: {len(told.left_out)}."
    data = {
        "given": told.given,
        "first_message_id": told.first and str(told.first),
        "last_message_id": told.last and str(told.last),
        "after": str(asked.after) if asked.after else None,
        "limit": asked.limit,
        "ending": told.ending,
        "left_out": len(told.left_out),
        "left_out_because": dict(told.causes),
        "left_out_message_ids": [str(id) for id in told.left_out[:_NAMED]],
    }
    level: audit.Level = "warning" if told.left_out else "info"
    try:
        async with pool.acquire(timeout=POOL_TIMEOUT_SECONDS) as connection, connection.transaction():
            await audit.append(
                connection, asked.delivery_id, codes.OUTBOX, text, at=datetime.now(UTC), actor=asked.actor, level=level,
                data=data,
            )  # fmt: skip
    except Exception as error:
        if not is_away(error):
            raise
        log.warning("outbox.not_noted", delivery_id=asked.delivery_id, given=told.given)
