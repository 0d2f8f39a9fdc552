"""Replies applied: what phones wrote to us becomes decisions about addresses, by the rules of the gateway it came by.

The rules are pure (`inbound.rules`); here they meet the facts. A reply that a gateway sends again is recognised
and changes nothing: a STOP repeated late must not undo a START that came between.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import asyncpg

from app.db import Connection
from app.gateways.receipt import Gateway, Inbound
from app.inbound.rules import Rule, Verdict, number, rules_of, sender_of, verdict
from app.ingest import pipeline
from app.ingest.rows import sender_number
from app.ingest.store import claim, finish
from app.quarantine.store import reexamine

_QUERIES = pipeline.QUERIES


def verdict_of(gateway: Gateway, message: Inbound) -> Verdict:
    """What comes of `message` by the rules as they are in memory: for the answer to the gateway, and for a trial."""
    return verdict(
        rules_of(gateway.reply_rules),
        message.text,
        message.recipient,
        sender_is_number=sender_number(gateway, message) is not None,
        verified=gateway.auth.mode != "none",
    )


async def apply(
    connection: Connection, limit: int, only: Sequence[int] | None = None, without: Sequence[int] = ()
) -> int:
    """Applies the oldest `limit` replies of the inbox, of the places `only` and but those `without`; returns how many it took.

    Of a gateway whose callbacks prove nothing opt-outs are believed and opt-ins are not (`inbound.rules.verdict`).
    The caller commits."""
    taken = await claim(connection, "reply", limit, only=only, without=without)
    if not taken:
        return 0
    now = datetime.now(UTC)
    rows = await connection.fetch(_QUERIES["list_replies"])
    rules = {row["gateway_id"]: rules_of(row["reply_rules"]) for row in rows}
    first = [row for row in rows if row["repeat_of"] is None]
    verdicts = {row["id"]: _verdict(row, rules[row["gateway_id"]]) for row in first}
    await _decide(connection, first, verdicts, now)
    found = [verdicts.get(row["id"], Verdict()) for row in rows]
    await connection.execute(
        _QUERIES["note_verdicts"],
        [row["id"] for row in rows],
        [each.rule and each.rule.keyword for each in found],
        [each.action for each in found],
        [row["repeat_of"] for row in rows],
    )
    labels = Counter((row["gateway_id"], _label(row, each)) for row, each in zip(rows, found, strict=True))
    await connection.execute(
        _QUERIES["add_inbound_figures"], [key[0] for key in labels], [key[1] for key in labels], list(labels.values())
    )
    await finish(connection, "reply")
    return taken


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
        await connection.execute(_QUERIES["add_decisions"], *map(list, zip(*decided, strict=True)), now)
        await reexamine(connection, sorted({address for address, *_ in decided}), now)


def _effective(found: Verdict) -> Rule | None:
    return found.rule if found.action in ("denylist", "allow") else None


def _decision(row: asyncpg.Record, rule: Rule) -> tuple[Any, ...]:
    """As the query takes it. It holds from when we got the reply: phones and gateways give no time that can be trusted."""
    reason = "denylisted" if rule.action == "denylist" else "not_defined"
    sender = sender_of(rule, row["recipient"], row["country"])
    return row["address"], sender, rule.action, row["received_at"], reason, row["gateway"], row["id"]
