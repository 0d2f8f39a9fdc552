"""By which thresholds the health of addresses is judged: one set for the whole installation, whatever each process's settings
say.

The first start writes them. A later start with other settings changes them, and the journal says so, once: a process that
comes back with settings that were replaced before does not turn them round while another lives that holds to the present
ones. Then the installation's hold, and the log and `acuse doctor` name the difference.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import orjson

from app import audit, installation
from app.db import Connection
from app.logs import log
from app.processes import Process, holding_to
from app.quarantine.rules import Thresholds
from app.settings import Settings

_KEY = "quarantine_thresholds"
_REPLACED = "quarantine_thresholds_replaced"
#: So many replaced ones are remembered.
_MOST = 20
_SETTINGS = {
    "soft_errors": "ACUSE_QUARANTINE_SOFT_ERRORS",
    "interval": "ACUSE_QUARANTINE_INTERVAL_HOURS",
    "forgotten_after": "ACUSE_QUARANTINE_FORGET_DAYS",
    "mailbox_forgotten_after": "ACUSE_QUARANTINE_FORGET_MAILBOX_DAYS",
}


def of_settings(settings: Settings) -> Thresholds:
    """As the settings of this process say."""
    return Thresholds(
        soft_errors=settings.quarantine_soft_errors,
        interval=timedelta(hours=settings.quarantine_interval_hours),
        forgotten_after=timedelta(days=settings.quarantine_forget_days),
        mailbox_forgotten_after=timedelta(days=settings.quarantine_forget_mailbox_days),
    )


def packed(thresholds: Thresholds) -> str:
    """As they stand in the database; equal ones are the same text."""
    return orjson.dumps(
        [
            thresholds.soft_errors,
            thresholds.interval.total_seconds(),
            thresholds.forgotten_after.total_seconds(),
            thresholds.mailbox_forgotten_after.total_seconds(),
        ]
    ).decode()


def _unpacked(text: str) -> Thresholds:
    soft_errors, *seconds = orjson.loads(text)
    interval, forgotten, mailbox = (timedelta(seconds=each) for each in seconds)
    return Thresholds(
        soft_errors=soft_errors, interval=interval, forgotten_after=forgotten, mailbox_forgotten_after=mailbox
    )


async def read_thresholds(connection: Connection) -> Thresholds:
    """Those of the installation: all processes go by the same."""
    value = await installation.read(connection, _KEY)
    return Thresholds() if value is None else _unpacked(value)


async def write_thresholds(connection: Connection, thresholds: Thresholds) -> None:
    """Without asking and without a journal entry: for whoever has decided. The caller commits."""
    await installation.put(connection, _KEY, packed(thresholds))


async def settle(connection: Connection, wanted: Thresholds, process: Process, now: datetime) -> bool:
    """Makes `wanted`, the settings of a process that starts, the installation's, unless they were replaced before and a living
    process holds to the present ones. Whether the installation goes by them now; the caller commits."""
    inserted = await installation.add(connection, _KEY, packed(wanted))
    present = await installation.lock(connection, _KEY)
    assert present is not None
    if inserted or present == packed(wanted):
        return True
    replaced = orjson.loads(await installation.read(connection, _REPLACED) or "[]")
    differing = {name: list(pair) for name, pair in differences(_unpacked(present), wanted).items()}
    if packed(wanted) in replaced and (holders := await holding_to(connection, present, besides=process.id)):
        log.warning("quarantine.thresholds_differ", installation_and_settings=differing, held_by=holders)
        return False
    await installation.put(connection, _KEY, packed(wanted))
    kept = [each for each in replaced if each not in (present, packed(wanted))]
    await installation.put(connection, _REPLACED, orjson.dumps([*kept, present][-_MOST:]).decode())
    said = "; ".join(f"{name}: {old} → {new}" for name, (old, new) in differing.items())
    await audit.append(
        connection, audit.PLATFORM, "QRT-THRESHOLDS", f"The process {process.name} started with other thresholds: {said}.",
        at=now, actor="system", level="warning", data={"changed": differing, "process": process.name},
    )  # fmt: skip
    return True


def differences(before: Thresholds, after: Thresholds) -> Mapping[str, tuple[Any, Any]]:
    """By the setting's name: its value in `before` and in `after`, in the setting's unit; those that differ."""
    old, new = (_by_setting(each) for each in (before, after))
    return {name: (old[name], new[name]) for name in old if old[name] != new[name]}


def _by_setting(thresholds: Thresholds) -> dict[str, float]:
    found: dict[str, float] = {}
    for field, setting in _SETTINGS.items():
        value = getattr(thresholds, field)
        if isinstance(value, timedelta):
            value = value / timedelta(hours=1) if setting.endswith("_HOURS") else value / timedelta(days=1)
        found[setting] = value
    return found
