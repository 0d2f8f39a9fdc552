"""What `acuse doctor` looks at: each check says in one sentence what it found."""

import asyncio
import contextlib
import sqlite3
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from app import migrate
from app.db import Connection, create_pool
from app.logs import mask_phones
from app.settings import Settings

OLDEST_POSTGRES = 15
#: A receipt that waits longer than this for being applied means that no worker is running, or none keeps up.
LATE = timedelta(seconds=60)
SKEW = timedelta(seconds=2)
_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    state: Literal["ok", "warning", "failed"]
    finding: str


async def examined(settings: Settings, url: str) -> list[Check]:
    """All checks but that of the settings; a database that cannot be asked is one failure, not seven."""
    disk = [_data_dir(settings.data_dir), _spool(settings.data_dir / "spool")]
    try:
        return [*await asyncio.wait_for(_database(url), _TIMEOUT_SECONDS), *disk]
    except Exception as error:
        return [
            Check("database", "failed", f"It cannot be asked: {mask_phones(str(error)) or type(error).__name__}"),
            *disk,
        ]


async def _database(url: str) -> list[Check]:
    checks: tuple[Callable[[Connection], Awaitable[Check]], ...] = (_version, _clock)
    pool = await create_pool(url, name="doctor", size=1)
    try:
        async with pool.acquire() as connection:
            found = [await check(connection) for check in checks]
            migrations = await _migrations(url)
            if migrations.state == "failed":
                return [*found, migrations]
            return [*found, migrations, await _inbox(connection), await _unmatched(connection)]
    finally:
        await pool.close()


async def _version(connection: Connection) -> Check:
    number = int(await connection.fetchval("SHOW server_version_num")) // 10_000
    if number < OLDEST_POSTGRES:
        return Check(
            "database", "failed", f"PostgreSQL {number} is too old; {OLDEST_POSTGRES} is the oldest that will do."
        )
    return Check("database", "ok", f"PostgreSQL {number} answers.")


async def _clock(connection: Connection) -> Check:
    before = datetime.now(UTC)
    theirs = await connection.fetchval("SELECT clock_timestamp()")
    skew = theirs - before - (datetime.now(UTC) - before) / 2
    seconds = abs(skew.total_seconds())
    if abs(skew) > SKEW:
        return Check("clock", "failed", f"This machine's clock and the database's differ by {seconds:.1f} s.")
    return Check("clock", "ok", f"It differs from the database's by {seconds:.3f} s.")


async def _migrations(url: str) -> Check:
    current, head = await migrate.current_and_head(url)
    if current != head:
        return Check("schema", "failed", f"It is at {current}, the newest is {head}: run `acuse migrate`.")
    return Check("schema", "ok", f"It is at the newest revision, {head}.")


async def _inbox(connection: Connection) -> Check:
    row = await connection.fetchrow("SELECT count(*) AS waiting, now() - min(received_at) AS age FROM inbox")
    assert row is not None
    if not row["waiting"]:
        return Check("inbox", "ok", "It is empty.")
    state: Literal["ok", "failed"] = "failed" if row["age"] > LATE else "ok"
    hint = " Is a worker running?" if state == "failed" else ""
    return Check("inbox", state, f"{row['waiting']} receipts wait, the oldest for {row['age']}.{hint}")


async def _unmatched(connection: Connection) -> Check:
    row = await connection.fetchrow(
        "SELECT count(*) AS waiting, min(created_at) AS oldest FROM correlations WHERE message_id IS NULL AND bearing"
    )
    assert row is not None
    if not row["waiting"]:
        return Check("unmatched", "ok", "None.")
    finding = f"{row['waiting']} ids wait for their message, the oldest since {row['oldest']:%Y-%m-%d %H:%M} UTC."
    return Check("unmatched", "warning", finding)


def _data_dir(path: Path) -> Check:
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path) as file:
            file.write(b"\0")
    except OSError as error:
        return Check("data directory", "failed", f"{path} cannot be written: {error.strerror}.")
    return Check("data directory", "ok", f"{path} can be written.")


def _spool(folder: Path) -> Check:
    """Rows that wait on this disk; read only, so that a file in use is not disturbed."""
    try:
        waiting = sum(_rows(path) for path in folder.glob("*.sqlite3"))
    except sqlite3.Error as error:
        return Check("spool", "warning", f"It cannot be read: {error}.")
    if waiting:
        return Check(
            "spool", "warning", f"{waiting} rows wait in {folder} until the database and the service are back."
        )
    return Check("spool", "ok", "It is empty.")


def _rows(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as database:
        (rows,) = database.execute("SELECT count(*) FROM spool").fetchone()
        return int(rows)
