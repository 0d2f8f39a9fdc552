"""The start of a delivery: by hand now, or by itself at a time that was set for it.

Every process looks for what is due; whoever locks a delivery first starts it, and the others pass it over. What came due while no
process ran is started when one does, unless that is too late: nobody wants an evening's offer in the night. A preparation that is
older than a setting is made again before.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from app import audit
from app.db import Connection, Pool, is_away, load_queries
from app.deliveries import codes, lifecycle, store
from app.deliveries.preparation import QUERIES as PREPARATION
from app.deliveries.requests import errors_of
from app.errors import Invalid
from app.logs import log

QUERIES = load_queries(__file__, "starting.sql")
SENDING = load_queries(__file__, "sending.sql")
CHANGED = "the delivery was changed, and must be prepared again"
_SYSTEM = "system"


async def begin(
    connection: Connection, row: Mapping[str, Any], *, actor: str, now: datetime, due: datetime | None = None
) -> None:
    """It is in progress from now on, or over when there is nothing to send. The caller holds it, and has seen that it may.
    `due`: when it was to start by itself."""
    id = row["id"]
    to_send = await connection.fetchval(SENDING["count_messages"], id)
    await connection.execute(SENDING["start_delivery"], id, now, to_send == 0)
    text, data = "Started.", {"messages": to_send}
    if due is not None:
        text, data = f"Started, as it was set for {said(due)}.", data | {"scheduled_at": iso(due)}
    elif row["scheduled_at"] is not None:
        text = f"Started by hand, and not only at {said(row['scheduled_at'])}."
    await audit.append(connection, id, codes.STARTED, text, at=now, actor=actor, data=data)
    if not to_send:
        text = "Finished at once: there is nothing to send."
        await audit.append(
            connection, id, codes.FINISHED, text, at=now, actor=actor, data={"messages": 0, "pending": 0}
        )  # fmt: skip


# --- a time for it ---------------------------------------------------------------------------------------------------


async def schedule(connection: Connection, row: Mapping[str, Any], at: datetime, *, actor: str, now: datetime) -> None:
    """It is to start by itself at `at`. The caller holds it, and has seen that it may. Raises `Invalid`."""
    if at <= now:
        raise Invalid.field(
            "/scheduled_at", f"This time is past; it is {said(now)} now. Without a time the delivery starts at once."
        )  # fmt: skip
    before = row["scheduled_at"]
    if before == at:
        return
    await store.change(connection, row["id"], {"scheduled_at": at}, now)
    text = f"The start is set for {said(at)}" + (f", and no more for {said(before)}." if before else ".")
    data = {"scheduled_at": iso(at), "before": iso(before) if before else None}
    await audit.append(connection, row["id"], codes.SCHEDULED, text, at=now, actor=actor, data=data)


async def take_back(
    connection: Connection, row: Mapping[str, Any], *, actor: str, now: datetime, why: str = "somebody took it back"
) -> None:
    """It does not start by itself any more. The caller holds it."""
    before = row["scheduled_at"]
    if before is None:
        return
    await store.change(connection, row["id"], {"scheduled_at": None}, now)
    text = f"The start that was set for {said(before)} is off: {why}."
    data = {"scheduled_at": None, "before": iso(before)}
    await audit.append(connection, row["id"], codes.SCHEDULED, text, at=now, actor=actor, data=data)


# --- when the time has come ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is prepared longer ago than `oldest` is prepared again; what was due longer ago than `latest` is not started."""

    oldest: timedelta
    latest: timedelta


async def start_due(pool: Pool, now: datetime, limits: Limits) -> None:
    """Starts what is due, each delivery in a transaction of its own, or prepares it again first."""
    async with pool.acquire() as connection:
        for due in await connection.fetch(QUERIES["list_due"], now):
            try:
                async with connection.transaction():
                    await _start_one(connection, due["id"], now, limits)
            except Exception as error:
                if is_away(error):
                    raise
                log.exception("start.failed", delivery_id=due["id"])


async def _start_one(connection: Connection, id: int, now: datetime, limits: Limits) -> None:
    """Nothing when somebody else has it, or it is not due any more: the next look finds it if it still is."""
    if not await connection.fetchval(SENDING["lock_handling"], id):
        return
    if not await connection.fetchval(QUERIES["lock_due"], id, now):
        return
    row = await store.lock(connection, id)
    assert row is not None
    due, prepared_at = row["scheduled_at"], row["preparation_finished_at"]
    if now - due > limits.latest:
        hours = f"{limits.latest / timedelta(hours=1):g} h"
        await _give_up(connection, row, now, f"nobody could start it then, and that is more than {hours} ago")
    elif prepared_at is None or now - prepared_at > limits.oldest:
        await _prepare_again(connection, row, now, limits.oldest)
    elif found := await errors_of(connection, id):
        why = "the preparation found what must be mended first"
        await _give_up(connection, row, now, why, personal={"reason": " ".join(found)})
    else:
        await begin(connection, row, actor=_SYSTEM, now=now, due=due)


async def _give_up(
    connection: Connection,
    row: Mapping[str, Any],
    now: datetime,
    why: str,
    *,
    personal: Mapping[str, Any] | None = None,
) -> None:
    """Its time is taken away: whoever starts it then does so on purpose."""
    due = row["scheduled_at"]
    await store.change(connection, row["id"], {"scheduled_at": None}, now)
    await audit.append(
        connection, row["id"], codes.NOT_STARTED, f"Not started, as it was set for {said(due)}: {why}.", at=now,
        actor=_SYSTEM, level="error", data={"scheduled_at": iso(due)}, personal=personal,
    )  # fmt: skip


async def _prepare_again(connection: Connection, row: Mapping[str, Any], now: datetime, oldest: timedelta) -> None:
    """The time stays: it starts when that is done."""
    id = row["id"]
    await store.change(connection, id, {"status": lifecycle.after_prepare(row["status"])}, now)
    await connection.execute(PREPARATION["begin_preparation"], id, now, _SYSTEM)
    hours = f"{oldest / timedelta(hours=1):g} h"
    text = f"Preparing {row['targets']} targets again before the start: the last time is more than {hours} ago."
    await audit.append(
        connection, id, codes.PREPARING, text, at=now, actor=_SYSTEM, data={"targets": row["targets"]}
    )  # fmt: skip


def iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def said(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
