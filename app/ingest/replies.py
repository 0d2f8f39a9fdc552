"""Replies applied: what phones wrote to us becomes decisions about addresses, by the rules of the gateway it came by.

The rules are pure (`inbound.rules`); here they meet the facts. A reply that a gateway sends again is recognised
and changes nothing: a STOP repeated late must not undo a START that came between.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import asyncpg

from app.db import Connection, Pool
from app.gateways.receipt import Gateway, Inbound
from app.inbound.rules import Rule, Verdict, number, rules_of, sender_of, verdict
from app.ingest import pipeline
from app.ingest.drain import Drain, TableDrain
from app.ingest.kinds import PROBE_ADDRESS, new_id, trying
from app.quarantine.store import reexamine

_QUERIES = pipeline.QUERIES
_BATCH = 500


def verdict_of(gateway: Gateway, message: Inbound) -> Verdict:
    """What comes of `message` by the rules as they are in memory: for the answer to the gateway, and for a trial."""
    return verdict(
        rules_of(gateway.reply_rules),
        message.text,
        message.recipient,
        sender_is_number=number(message.sender) is not None,
        verified=gateway.auth.mode != "none",
    )


async def apply_inbound(
    connection: Connection,
    now: datetime,
    *,
    limit: int = _BATCH,
    only: Sequence[int] | None = None,
    without: Sequence[int] = (),
) -> int:
    """Applies the oldest `limit` replies that wait and nobody else holds, but those of `without`, or those of `only`; returns
    how many it took.

    Of a gateway whose callbacks prove nothing opt-outs are believed and opt-ins are not (`inbound.rules.verdict`).
    The caller commits."""
    rows = await connection.fetch(_QUERIES["claim_inbound"], limit, only, without)
    if not rows:
        return 0
    rules = {row["gateway_id"]: rules_of(row["reply_rules"]) for row in rows}
    first = [row for row in rows if row["repeat_of"] is None]
    verdicts = {row["id"]: _verdict(row, rules[row["gateway_id"]]) for row in first}
    await _decide(connection, first, verdicts, now)
    found = [verdicts.get(row["id"], Verdict()) for row in rows]
    await connection.execute(
        _QUERIES["inbound_applied"],
        [row["id"] for row in rows],
        [each.rule and each.rule.keyword for each in found],
        [each.action for each in found],
        [row["repeat_of"] for row in rows],
        now,
    )
    labels = Counter((row["gateway_id"], _label(row, each)) for row, each in zip(rows, found, strict=True))
    await connection.execute(
        _QUERIES["book_inbound"], [key[0] for key in labels], [key[1] for key in labels], list(labels.values())
    )
    return len(rows)


def _verdict(row: asyncpg.Record, rules: Sequence[Rule]) -> Verdict:
    return verdict(
        rules,
        row["text"],
        row["recipient"],
        sender_is_number=number(row["address"]) == row["address"],
        verified=row["verified"],
    )


def _label(row: asyncpg.Record, found: Verdict) -> str:
    """What a reply is counted as."""
    return "repeat" if row["repeat_of"] is not None else found.action or "unmatched"


async def _decide(
    connection: Connection, rows: Sequence[asyncpg.Record], verdicts: dict[int, Verdict], now: datetime
) -> None:
    """Writes what was decided, and what that makes of the addresses."""
    decided = [_decision(row, rule) for row in rows if (rule := _effective(verdicts[row["id"]])) is not None]
    if decided:
        await connection.execute(_QUERIES["decide_replies"], *map(list, zip(*decided, strict=True)), now)
        await reexamine(connection, sorted({address for address, *_ in decided}), now)


def _effective(found: Verdict) -> Rule | None:
    return found.rule if found.action in ("denylist", "allow") else None


def _decision(row: asyncpg.Record, rule: Rule) -> tuple[Any, ...]:
    """As the query takes it. It holds from when we got the reply: phones and gateways give no time that can be trusted."""
    reason = "denylisted" if rule.action == "denylist" else "not_defined"
    sender = sender_of(rule, row["recipient"])
    return row["address"], sender, rule.action, row["received_at"], reason, row["gateway"], row["id"]


class Replies:
    """Applies replies batch by batch. One that cannot be applied costs neither its neighbours nor the receipts."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        drain = Drain[int](
            kind="reply", apply=self._apply, alike=self._alike, anything=self._anything, rehearse=self._rehearse,
            set_aside=self._set_aside,
        )  # fmt: skip
        self._drain = TableDrain(pool=pool, limit=_BATCH, drain=drain, take=self._take, oldest=self._oldest)

    async def step(self) -> int:
        """Applies one batch; returns how many replies it took."""
        return await self._drain.step()

    async def _take(self, limit: int, without: Sequence[int]) -> int:
        if not await self._oldest(1, without):
            return 0
        async with self._pool.acquire() as connection, connection.transaction():
            return await apply_inbound(connection, datetime.now(UTC), limit=limit, without=without)

    async def _oldest(self, limit: int, without: Sequence[int]) -> Sequence[int]:
        return [row["id"] for row in await self._pool.fetch(_QUERIES["waiting_inbound"], limit, without)]

    async def _apply(self, ids: Sequence[int]) -> int:
        async with self._pool.acquire() as connection, connection.transaction():
            return await apply_inbound(connection, datetime.now(UTC), limit=len(ids), only=ids)

    async def _alike(self, id: int) -> None:
        async with trying(self._pool) as connection:
            made = await connection.fetchval(_QUERIES["reply_alike"], id)
            await apply_inbound(connection, datetime.now(UTC), only=[made])

    async def _anything(self, id: int) -> None:
        async with trying(self._pool) as connection:
            made = await connection.fetchval(_QUERIES["reply_of_another"], PROBE_ADDRESS)
            await apply_inbound(connection, datetime.now(UTC), only=[made])

    async def _rehearse(self, id: int) -> None:
        async with trying(self._pool) as connection:
            await apply_inbound(connection, datetime.now(UTC), only=[id])

    async def _set_aside(self, id: int, error: Exception) -> None:
        reason = f"This reply could not be applied: {type(error).__name__}."
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(_QUERIES["set_reply_aside"], id, new_id(), reason)
