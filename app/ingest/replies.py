"""Replies applied: what phones wrote to us becomes decisions about addresses, by the rules of the gateway it came by.

The rules are pure (`quarantine.replies`); here they meet the facts. A reply that a gateway sends again is recognised
and changes nothing: a STOP repeated late must not undo a START that came between.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import asyncpg

from app.db import Connection, Pool, is_away
from app.gateways.receipt import Gateway, Inbound
from app.ingest import pipeline
from app.logs import log
from app.quarantine.replies import Rule, Verdict, number, rules_of, sender_of, verdict
from app.quarantine.store import reexamine

_QUERIES = pipeline.QUERIES
_BATCH = 500
#: How often a reply that is alone must fail before it is to blame.
_TRIES_ALONE = 3


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
    connection: Connection, now: datetime, *, limit: int = _BATCH, only: Sequence[int] | None = None
) -> int:
    """Applies the oldest `limit` replies that wait and nobody else holds, or those of `only`; returns how many it took.

    Of a gateway whose callbacks prove nothing opt-outs are believed and opt-ins are not (`quarantine.replies.verdict`).
    The caller commits."""
    rows = await connection.fetch(_QUERIES["claim_inbound"], limit, only)
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
        self._alone = 0  # how often in a row nothing of a batch could be applied

    async def step(self) -> int:
        """Applies one batch; returns how many replies it took. Raises only what says that the database is away."""
        ids = [row["id"] for row in await self._pool.fetch(_QUERIES["waiting_inbound"], _BATCH)]
        if not ids:
            return 0
        try:
            taken = await self._apply(None)
            self._alone = 0
            return taken
        except pipeline.TRANSIENT as error:
            log.info("replies.retry", error=type(error).__name__)
        except Exception as error:
            if is_away(error):
                raise
            log.error("replies.batch_failed", error=type(error).__name__)
            await self._one_by_one(ids)
        return len(ids)

    async def _apply(self, only: Sequence[int] | None) -> int:
        async with self._pool.acquire() as connection, connection.transaction():
            return await apply_inbound(connection, datetime.now(UTC), only=only)

    async def _one_by_one(self, ids: Sequence[int]) -> None:
        """Applies what can be applied alone, and leaves the rest to a person. When nothing can be, the replies are hardly
        to blame: then they wait, unless they fail again and again."""
        culprits = [id for id in ids if not await self._applied_alone(id)]
        self._alone += 1
        if len(culprits) < len(ids) or self._alone >= _TRIES_ALONE * (1 if len(ids) == 1 else 1_000):
            self._alone = 0
            await self._set_aside(culprits)

    async def _applied_alone(self, id: int) -> bool:
        try:
            await self._apply([id])
        except Exception as error:
            if is_away(error):
                raise
            return isinstance(error, pipeline.TRANSIENT)  # it waits for the next batch
        return True

    async def _set_aside(self, ids: Sequence[int]) -> None:
        """They are marked for a person to look at: nothing of what a phone said is dropped."""
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(_QUERIES["set_inbound_aside"], ids, datetime.now(UTC))
        for id in ids:
            log.error("reply.set_aside", inbound_id=id)
