"""The breaker: a carrier's outage must not put its customers into quarantine.

When failures of one gateway with one error jump far above their usual share, counting for that error pauses: what was
received in the minutes before and what is from then on is held, touches no address, and waits for an operator to apply
or discard it. The share is that among the messages of this gateway that came to a final answer, counted by minute, when
we learned it.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from app import audit
from app.db import Connection
from app.identities import SEVERAL_SPELLINGS, spellings
from app.logs import log
from app.quarantine.store import QUERIES, Cell, book, enqueue, reexamine

Pair = tuple[int, int]  # gateway, qualification
TRIPPED = "QRT-BREAKER-TRIPPED"

#: An outage shows in one of these: in the short one also where very much went well just before.
WINDOWS = (timedelta(minutes=1), timedelta(minutes=10))
USUAL = timedelta(days=7)
#: Fewer failures than this in a window are no outage.
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
    #: Messages that are received now, and were not before.
    successes: Sequence[int]
    #: Messages that were received before, and now are not, or since another time.
    revised: Sequence[int] = ()


def trips(failures: int, finals: int, usual_share: float | None) -> bool:
    """Whether so many failures with one error among so many final answers are an outage. Pure."""
    if failures < LEAST_FAILURES:
        return False
    share = failures / max(finals, failures)
    return share >= LEAST_SHARE and (usual_share is None or share >= TIMES_USUAL * usual_share)


async def learn(connection: Connection, changes: Changes, now: datetime) -> None:
    """What a fold teaches about addresses: counts failures, holds those of an outage, and examines the addresses."""
    failures = await connection.fetch(QUERIES["list_failures"], changes.failures) if changes.failures else []
    suspects = [row for row in failures if _counts(row)]
    fresh = [row for row in suspects if row["message_id"] in changes.new_failures]
    await _count(connection, changes, fresh, now)
    addresses = await _watch(connection, fresh, now)
    await _hold(connection, failures, suspects)
    addresses |= {row["address"] for row in failures}
    if changes.successes or changes.revised:
        touched = await connection.fetch(QUERIES["find_touched"], changes.successes, changes.revised, SEVERAL_SPELLINGS)
        addresses |= {row["address"] for row in touched if not row["maybe"]}
        addresses |= await _elsewhere(connection, [row["address"] for row in touched if row["maybe"]])
    await reexamine(connection, sorted(addresses), now)


async def _elsewhere(connection: Connection, addresses: Sequence[str]) -> set[str]:
    """Those of `addresses` whose phone has errors in another spelling."""
    others = {other: address for address in addresses for other in spellings(address)[1:]}
    rows = await connection.fetch(QUERIES["find_standing"], list(others)) if others else ()
    return {others[row["address"]] for row in rows if row["errors"]}


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


async def _watch(connection: Connection, fresh: Sequence[Any], now: datetime) -> set[str]:
    """Opens a breaker for each error whose failures are an outage now; returns addresses that it holds from before."""
    found = set()
    for pair in sorted(set(map(_pair, fresh))):
        for window in WINDOWS:
            share = await _shares(connection, pair, now - window, now + timedelta(minutes=1))
            if trips(*share, None) and trips(*share, usual := await _usual(connection, pair, now)):
                found |= await _trip(connection, pair, share, usual, now)
                break
    return found


async def _usual(connection: Connection, pair: Pair, now: datetime) -> float | None:
    failures, finals = await _shares(connection, pair, now - USUAL, now - max(WINDOWS))
    return failures / finals if finals >= ENOUGH_TO_COMPARE else None


async def _shares(connection: Connection, pair: Pair, start: datetime, end: datetime) -> tuple[int, int]:
    """Failures with this error, and all final answers of its gateway."""
    row = await connection.fetchrow(QUERIES["count_window"], pair[0], str(pair[1]), _minute(start), _minute(end))
    assert row is not None
    return row["failures"], row["finals"]


async def _trip(
    connection: Connection, pair: Pair, share: tuple[int, int], usual: float | None, now: datetime
) -> set[str]:
    """What was received just before is held, too: the outage began before it showed."""
    row = await connection.fetchrow(QUERIES["open_breaker"], *pair, now - max(WINDOWS), *share, usual, now - TRUSTED)
    if row is None:  # another worker was quicker, or an operator said lately that they are real
        return set()
    id = row["id"]
    log.warning("breaker.tripped", breaker_id=id, gateway_id=pair[0], failures=share[0], finals=share[1])
    data = {"breaker_id": str(id), "gateway_id": pair[0], "qualification_id": str(pair[1])}
    figures = {"failures": share[0], "finals": share[1], "usual_share": usual}
    text = "Failures with one error jumped far above their usual share: they are held until an operator decides."
    await audit.append(
        connection, audit.PLATFORM, TRIPPED, text, at=now, actor="system", level="warning", data=data | figures
    )
    earlier = await connection.fetch(QUERIES["hold_earlier"], id, *pair, row["opened_at"])
    return {each["address"] for each in earlier}


async def _hold(connection: Connection, failures: Sequence[Any], suspects: Sequence[Any]) -> None:
    """Files what open breakers hold, for people to see and for their decision. Whether a failure counts is not read from
    there: that follows from when it was received."""
    open_ones = await connection.fetch(QUERIES["list_open_breakers"]) if failures else ()
    if not open_ones:
        return
    messages = [row["message_id"] for row in failures]
    await connection.execute(QUERIES["release_messages"], [row["id"] for row in open_ones], messages)
    pairs = set(map(_pair, suspects))
    held_open = await connection.fetch(
        QUERIES["lock_open_breakers"], [row["id"] for row in open_ones if _pair(row) in pairs]
    )
    by_pair = {_pair(row): row for row in held_open}
    rows = [
        (by_pair[_pair(row)]["id"], row["message_id"], row["address"])
        for row in suspects
        if _pair(row) in by_pair and row["received_at"] and row["received_at"] >= by_pair[_pair(row)]["opened_at"]
    ]
    if rows:
        await connection.execute(QUERIES["hold_messages"], *zip(*rows, strict=True))


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
    row = await connection.fetchrow(QUERIES["close_breaker"], breaker_id, now, decision, actor, note)
    if row is None:
        return None
    gone = await connection.fetch(QUERIES["take_held"], breaker_id)
    addresses = sorted({each["address"] for each in gone})
    await enqueue(connection, addresses)
    by_delivery = Counter(each["delivery_id"] for each in gone)
    return dict(row) | {"addresses": len(addresses), "messages": len(gone), "by_delivery": by_delivery}
