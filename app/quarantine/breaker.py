"""The breaker: a carrier's outage must not put its customers into quarantine.

When failures of one gateway with one error jump far above their usual share, counting for that error pauses: what is
received from then on is held, touches no address, and waits for an operator to apply or discard it. The share is that
among the messages of this gateway that came to a final answer, counted by minute, when we learned it.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from app import audit
from app.db import Connection
from app.logs import log
from app.quarantine.store import QUERIES, Cell, book, enqueue, reexamine

Pair = tuple[int, int]  # gateway, qualification
TRIPPED = "QRT-BREAKER-TRIPPED"

WINDOW = timedelta(minutes=10)
USUAL = timedelta(days=7)
#: Fewer failures than this in the window are no outage.
LEAST_FAILURES = 100
#: A share below this is ordinary bad luck, whatever was usual.
LEAST_SHARE = 0.25
#: "Far above": so many times the usual share.
TIMES_USUAL = 3.0
#: Messages with a final answer that tell what is usual; with fewer nobody knows, and the least share alone decides.
ENOUGH_TO_COMPARE = 1_000
#: After an operator applied what was held, the same error is no surprise for a while.
TRUSTED = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What one fold changed, as far as addresses are concerned."""

    #: Messages that came to a final answer, by gateway.
    finals: Mapping[int, int]
    #: Messages that failed, or had failed before; and those of them whose failure is new.
    failures: Sequence[int]
    new_failures: Collection[int]
    #: Messages that are received now.
    successes: Sequence[int]


def trips(failures: int, finals: int, usual_share: float | None) -> bool:
    """Whether so many failures with one error among so many final answers are an outage. Pure."""
    if failures < LEAST_FAILURES:
        return False
    share = failures / max(finals, failures)
    return share >= LEAST_SHARE and (usual_share is None or share >= TIMES_USUAL * usual_share)


async def learn(connection: Connection, changes: Changes, now: datetime) -> None:
    """What a fold teaches about addresses: counts failures, holds those of an outage, and examines the addresses."""
    failures = await connection.fetch(QUERIES["failures"], changes.failures) if changes.failures else []
    suspects = [row for row in failures if _counts(row)]
    fresh = [row for row in suspects if row["message_id"] in changes.new_failures]
    await _count(connection, changes, fresh, now)
    await _watch(connection, fresh, now)
    held = await _hold(connection, suspects, changes)
    addresses = {row["address"] for row in failures if row["message_id"] not in held}
    if changes.successes:
        cleared = await connection.fetch(QUERIES["cleared_by_success"], changes.successes)
        addresses |= {row["address"] for row in cleared}
    await reexamine(connection, sorted(addresses), now)


def _counts(row: Any) -> bool:
    """Whether this failure could touch its address."""
    return (
        row["status"] == "failed"
        and row["failure_type"] in ("hard", "soft")
        and row["state"] != "ignore"
        and row["verified"]
        and row["gateway_id"] is not None
    )


def _pair(row: Any) -> Pair:
    return row["gateway_id"], row["qualification_id"]


async def _count(connection: Connection, changes: Changes, fresh: Sequence[Any], now: datetime) -> None:
    minute = _minute(now)
    moves: dict[Cell, int] = {(0, "finals", gateway, "", minute): number for gateway, number in changes.finals.items()}
    for (gateway, qualification), number in Counter(map(_pair, fresh)).items():
        moves[0, "failures", gateway, str(qualification), minute] = number
    await book(connection, moves)


async def _watch(connection: Connection, fresh: Sequence[Any], now: datetime) -> None:
    """Opens a breaker for each error whose failures are an outage now."""
    for pair in sorted(set(map(_pair, fresh))):
        window = await _shares(connection, pair, now - WINDOW, now + timedelta(minutes=1))
        if not trips(*window, None):
            continue
        past = await _shares(connection, pair, now - USUAL, now - WINDOW)
        usual = past[0] / past[1] if past[1] >= ENOUGH_TO_COMPARE else None
        if trips(*window, usual) and not await connection.fetchval(QUERIES["applied_lately"], *pair, now - TRUSTED):
            since = min((row["received_at"] for row in fresh if _pair(row) == pair and row["received_at"]), default=now)
            await _trip(connection, pair, since, window, usual, now)


async def _shares(connection: Connection, pair: Pair, start: datetime, end: datetime) -> tuple[int, int]:
    """Failures with this error, and all final answers of its gateway."""
    row = await connection.fetchrow(QUERIES["window"], pair[0], str(pair[1]), _minute(start), _minute(end))
    assert row is not None
    return row["failures"], row["finals"]


async def _trip(
    connection: Connection, pair: Pair, since: datetime, window: tuple[int, int], usual: float | None, now: datetime
) -> None:
    id = await connection.fetchval(QUERIES["trip"], *pair, since, *window, usual)
    if id is None:  # another worker was quicker
        return
    log.warning("breaker.tripped", breaker_id=id, gateway_id=pair[0], failures=window[0], finals=window[1])
    data = {"breaker_id": str(id), "gateway_id": pair[0], "qualification_id": str(pair[1])}
    figures = {"failures": window[0], "finals": window[1], "usual_share": usual}
    text = "Failures with one error jumped far above their usual share: they are held until an operator decides."
    await audit.append(
        connection, audit.PLATFORM, TRIPPED, text, at=now, actor="system", level="warning", data=data | figures
    )


async def _hold(connection: Connection, suspects: Sequence[Any], changes: Changes) -> set[int]:
    """Files what open breakers hold; returns its messages."""
    gateways = sorted({row["gateway_id"] for row in suspects} | changes.finals.keys())
    open_ones = await connection.fetch(QUERIES["open_breakers"], gateways)
    if not open_ones:
        return set()
    by_pair = {_pair(row): row for row in open_ones}
    rows = [
        (by_pair[_pair(row)]["id"], row["message_id"], row["address"])
        for row in suspects
        if _pair(row) in by_pair and row["received_at"] and row["received_at"] >= by_pair[_pair(row)]["opened_at"]
    ]
    if rows:
        await connection.execute(QUERIES["hold"], *zip(*rows, strict=True))
    others = [*changes.successes, *changes.failures]
    await connection.execute(QUERIES["let_go"], [row["id"] for row in open_ones], others)
    return {row[1] for row in rows}


def _minute(at: datetime) -> int:
    return int(at.timestamp()) // 60


async def forget_minutes(connection: Connection, now: datetime) -> int:
    """Drops counts that are too old to compare with; returns 0: what is left waits for the next time."""
    await connection.execute(QUERIES["forget_minutes"], _minute(now - USUAL - timedelta(days=1)))
    return 0


async def decide(
    connection: Connection, breaker_id: int, decision: str, *, actor: str, note: str, now: datetime
) -> Mapping[str, Any] | None:
    """Closes a breaker; what it held is queued for examination and forgotten here. None: no such breaker is open.

    Applied: the failures count as if nothing had been. Discarded: they never count."""
    row = await connection.fetchrow(
        "UPDATE breakers SET closed_at = $2, decision = $3, decided_by = $4, note = $5 WHERE id = $1 AND closed_at IS NULL "
        "RETURNING *",
        breaker_id, now, decision, actor, note,
    )  # fmt: skip
    if row is None:
        return None
    gone = await connection.fetch("DELETE FROM held WHERE breaker_id = $1 RETURNING address", breaker_id)
    addresses = sorted({each["address"] for each in gone})
    await enqueue(connection, addresses)
    return dict(row) | {"addresses": len(addresses), "messages": len(gone)}
