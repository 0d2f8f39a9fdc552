"""Replies applied: what phones wrote to us becomes decisions about addresses, by the rules of the gateway it came by.

The rules are pure (`inbound.rules`); here they meet the facts. A reply that a gateway sends again is recognised
and changes nothing: a STOP repeated late must not undo a START that came between.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

import asyncpg

from app import audit
from app.db import Connection
from app.gateways.receipt import Gateway, Inbound
from app.identities import spellings
from app.inbound.rules import TOGETHER, Action, Rule, Verdict, number, rules_of, sender_of, verdict
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
        opt_out=message.opt_out,
    )


@dataclass(slots=True)
class _Reply:
    """One claimed reply, and what comes of it."""

    row: asyncpg.Record
    verdict: Verdict = field(default_factory=Verdict)
    #: The piece that stands for the long message of which this is one.
    part_of: int | None = None
    message_id: int | None = None
    delivery_id: int | None = None

    @property
    def repeat_of(self) -> int | None:
        found: int | None = self.row["repeat_of"] or self.row["piece_again"]
        return found

    @property
    def label(self) -> str:
        """What it is counted as."""
        return "repeat" if self.repeat_of is not None else self.verdict.action or "unmatched"

    @property
    def effective(self) -> Rule | None:
        return self.verdict.rule if self.verdict.action in ("denylist", "allow") else None


async def apply(
    connection: Connection, limit: int, only: Sequence[int] | None = None, without: Sequence[int] = ()
) -> int:
    """Applies the oldest `limit` replies of the inbox, of the places `only` and but those `without`; returns how many it took.

    Of a gateway whose callbacks prove nothing opt-outs are believed and opt-ins are not (`inbound.rules.verdict`). Of a long
    message in pieces each is judged as it comes, by the whole text as far as it is known. The caller commits."""
    taken = await claim(connection, "reply", limit, only=only, without=without)
    if not taken:
        return 0
    now = datetime.now(UTC)
    found = _judged(await connection.fetch(_QUERIES["list_replies"]))
    telling = [each for each in found if each.repeat_of is None and each.part_of is None]
    await _find_answered(connection, telling)
    await _decide(connection, telling, now)
    await connection.execute(
        _QUERIES["note_verdicts"],
        [each.row["id"] for each in found],
        [each.verdict.rule and each.verdict.rule.keyword for each in found],
        [each.verdict.action for each in found],
        [each.repeat_of for each in found],
        [each.part_of for each in found],
        [each.message_id for each in found],
        [each.delivery_id for each in found],
    )
    await _count(connection, found)
    await _note(connection, telling, now)
    await finish(connection, "reply")
    return taken


def _judged(rows: Sequence[asyncpg.Record]) -> list[_Reply]:
    """What comes of each, in their order."""
    rules: dict[int, Sequence[Rule]] = {}
    heads: dict[tuple[Any, ...], _Head] = {}
    found = []
    for row in rows:
        if row["gateway_id"] not in rules:
            rules[row["gateway_id"]] = rules_of(row["reply_rules"])
        reply = _Reply(row)
        found.append(reply)
        if reply.repeat_of is None:
            reply.verdict = _verdict(row, rules[row["gateway_id"]])
            if row["part_reference"] is not None:
                _joined(reply, heads)
    return found


#: What comes of a long message is what weighs most of what came of it as its pieces came in.
_WEIGHT: Mapping[Action | None, int] = {None: 0, "none": 1, "review": 2, "allow": 3, "denylist": 4}


class _Head(NamedTuple):
    """The piece that stands for a long message."""

    id: int
    action: Action | None
    received_at: datetime


def _joined(reply: _Reply, heads: dict[tuple[Any, ...], _Head]) -> None:
    """A piece that says nothing new belongs to the one that stands for its message; one that does stands for itself."""
    row = reply.row
    key = (row["gateway_id"], row["address"], row["recipient"], row["part_reference"], row["parts"])
    head = heads.get(key)
    # Another message with the same reference may have waited with this one.
    if head is None or abs(head.received_at - row["received_at"]) > TOGETHER:
        head = _Head(row["judged"], row["judged_action"], row["received_at"]) if row["judged"] else None
    if head is not None and _WEIGHT[reply.verdict.action] <= _WEIGHT[head.action]:
        reply.part_of, reply.verdict = head.id, Verdict()
    else:
        heads[key] = _Head(row["id"], reply.verdict.action, row["received_at"])


def _verdict(row: asyncpg.Record, rules: Sequence[Rule]) -> Verdict:
    found = verdict(
        rules,
        row["whole"],
        row["recipient"],
        sender_is_number=number(row["address"]) == row["address"],
        verified=row["verified"],
        opt_out=row["opt_out"],
    )
    if not row["from_first"] and row["opt_out"] is None and found.action in ("denylist", "allow"):
        return Verdict(rule=found.rule, action="review")  # what stands before it is not known yet
    return found


async def _find_answered(connection: Connection, replies: Sequence[_Reply]) -> None:
    """Which message of which delivery each most likely answers."""
    named = [(each.row["id"], name) for each in replies for name in spellings(each.row["address"])]
    rows = await connection.fetch(_QUERIES["find_answered"], [id for id, _ in named], [name for _, name in named])
    answered = {row["id"]: row for row in rows}
    for reply in replies:
        if (row := answered.get(reply.row["id"])) is not None:
            reply.message_id, reply.delivery_id = row["message_id"], row["delivery_id"]


async def _decide(connection: Connection, replies: Sequence[_Reply], now: datetime) -> None:
    """Writes what was decided, and what that makes of the addresses."""
    decided = [_decision(each.row, each.effective) for each in replies if each.effective is not None]
    if decided:
        await connection.execute(_QUERIES["add_decisions"], *map(list, zip(*decided, strict=True)), now)
        await reexamine(connection, sorted({address for address, *_ in decided}), now)


def _decision(row: asyncpg.Record, rule: Rule) -> tuple[Any, ...]:
    """As the query takes it. It holds from when we got the reply: phones and gateways give no time that can be trusted."""
    reason = "denylisted" if rule.action == "denylist" else "not_defined"
    sender = sender_of(rule, row["recipient"], row["country"])
    return row["address"], sender, rule.action, row["received_at"], reason, row["gateway"], row["id"]


async def _count(connection: Connection, replies: Sequence[_Reply]) -> None:
    """Pieces that say nothing new are counted with their message, and repeats of nobody's but the gateway's."""
    counted = [each for each in replies if each.part_of is None]
    figures = Counter((0, each.row["gateway_id"], each.label) for each in counted)
    figures.update((each.delivery_id, 0, each.label) for each in counted if each.delivery_id is not None)
    if figures:
        keys = zip(*figures, strict=True)
        await connection.execute(_QUERIES["add_inbound_figures"], *map(list, keys), list(figures.values()))


async def _note(connection: Connection, replies: Sequence[_Reply], now: datetime) -> None:
    """Writes into the journal of each delivery how many replies came to it, and how many of them are opt-outs."""
    labels: dict[int, Counter[str]] = {}
    for each in replies:
        if each.delivery_id is not None:
            labels.setdefault(each.delivery_id, Counter())[each.label] += 1
    for delivery_id in sorted(labels):
        counts = labels[delivery_id]
        text = f"Replies came in: {counts.total()}, opt-outs among them: {counts['denylist']}."
        data = {"replies": counts.total(), "opt_outs": counts["denylist"], "by_action": dict(counts)}
        await audit.append(connection, delivery_id, "DLV-REPLIES", text, at=now, actor="system", data=data)
