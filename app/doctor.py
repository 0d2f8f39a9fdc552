"""What `acuse doctor` looks at: each check says in one sentence what it found."""

import asyncio
import contextlib
import os
import shutil
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from app import migrate
from app.accounts import parting, resealing, store
from app.db import CONNECTIONS, Connection, clock, create_pool, in_short, load_queries
from app.gateways import GATEWAYS
from app.ingest.store import backlog, set_aside_by_kind
from app.logs import mask_phones
from app.quarantine.thresholds import differences, of_settings, read_thresholds
from app.sealing import KEY_FILE, SealError, Sealing, read_key_file
from app.settings import Settings, guessable

QUERIES = load_queries(__file__, "doctor.sql")

OLDEST_POSTGRES = 15
#: Further than this nothing is counted one by one.
COUNTED = 1_000_000
#: A receipt that waits longer than this for being applied means that no worker is running, or none keeps up.
LATE = timedelta(seconds=60)
SKEW = timedelta(seconds=2)
_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    state: Literal["ok", "warning", "failed"]
    finding: str


async def examined(settings: Settings, url: str | None) -> list[Check]:
    """All checks but that of the settings; a database that cannot be asked is one failure, not seven. `url` None: there is
    none yet. Whoever is examined is as before: nothing is made, and what is tried in the database is taken back."""
    disk = [_admin_key(settings), _data_dir(settings.data_dir), _spool(settings.data_dir / "spool")]
    if url is None:
        return [Check("database", "warning", f"There is none in {settings.data_dir} yet: `acuse run` makes it."), *disk]
    try:
        return [*await asyncio.wait_for(_database(settings, url), _TIMEOUT_SECONDS), *disk]
    except Exception as error:
        return [
            Check("database", "failed", f"It cannot be asked: {mask_phones(in_short(error))}."),
            *disk,
        ]


async def _database(settings: Settings, url: str) -> list[Check]:
    checks: tuple[Callable[[Connection], Awaitable[Check]], ...] = (_version, _clock)
    pool = await create_pool(url, name="doctor", size=1)
    try:
        async with pool.acquire() as connection:
            found = [await check(connection) for check in checks]
            migrations = await _migrations(url)
            if migrations.state == "failed":
                return [*found, migrations]
            found += [migrations, await _inbox(connection), await _unmatched(connection)]
            found += await _set_aside(connection)
            found.append(await _thresholds(connection, settings))
            found.append(await _connections(connection, settings))
            found += [await _gateways(connection), await _sharing(connection)]
            return [*found, *await _sealing(connection, settings)]
    finally:
        await pool.close()


async def _version(connection: Connection) -> Check:
    number = int(await connection.fetchval("SHOW server_version_num")) // 10_000
    if number < OLDEST_POSTGRES:
        return Check(
            "database", "failed", f"PostgreSQL {number} is too old; {OLDEST_POSTGRES} is the oldest that will do."
        )
    return Check("database", "ok", f"PostgreSQL {number} answers.")


async def _connections(connection: Connection, settings: Settings) -> Check:
    """What all server processes may open at once, against what the database lets in."""
    let_in = int(await connection.fetchval("SHOW max_connections")) - int(
        await connection.fetchval("SHOW superuser_reserved_connections")
    )
    usual = Settings.model_fields["api_connections"].default
    needed = settings.workers * (CONNECTIONS + settings.api_connections - usual)
    if needed > let_in:
        finding = (
            f"{settings.workers} processes may open {needed}, and the database lets {let_in} in: raise max_connections."
        )
        return Check("connections", "warning", finding)
    return Check("connections", "ok", f"{settings.workers} processes open at most {needed} of {let_in}.")


async def _clock(connection: Connection) -> Check:
    before = datetime.now(UTC)
    theirs = await clock(connection)
    skew = theirs - before - (datetime.now(UTC) - before) / 2
    seconds = abs(skew.total_seconds())
    if abs(skew) > SKEW:
        return Check("clock", "failed", f"This machine's clock and the database's differ by {seconds:.1f} s.")
    return Check("clock", "ok", f"It differs from the database's by {seconds:.3f} s.")


async def _migrations(url: str) -> Check:
    current, head = await migrate.current_and_head(url)
    if not migrate.is_known(current):
        return Check("schema", "failed", str(migrate.NewerSchemaError()))
    if current != head:
        return Check("schema", "failed", f"It is at {current}, the newest is {head}: run `acuse migrate`.")
    return Check("schema", "ok", f"It is at the newest revision, {head}.")


async def _inbox(connection: Connection) -> Check:
    waiting, oldest = await backlog(connection, COUNTED)
    if oldest is None:
        return Check("inbox", "ok", "It is empty.")
    age = await clock(connection) - oldest
    state: Literal["ok", "failed"] = "failed" if age > LATE else "ok"
    hint = " Is a worker running?" if state == "failed" else ""
    return Check("inbox", state, f"{waiting} receipts wait, the oldest for {age}.{hint}")


async def _unmatched(connection: Connection) -> Check:
    row = await connection.fetchrow(QUERIES["count_unmatched"])
    assert row is not None
    if not row["waiting"]:
        return Check("unmatched", "ok", "None.")
    finding = f"{row['waiting']} ids wait for their message, the oldest since {row['oldest']:%Y-%m-%d %H:%M} UTC."
    return Check("unmatched", "warning", finding)


async def _gateways(connection: Connection) -> Check:
    """Deleted ones that still get receipts, and those that let anybody in."""
    said = [
        f"{row['key']} was deleted on {row['deleted_at']:%Y-%m-%d} and has had {row['receipts']} receipts since: stop them at "
        "the provider, or create it again."
        for row in await store.receipts_since_deletion(connection)
        if row["receipts"] > 0
    ]
    gateways, _ = await store.gateways_after(connection, "", None)
    if anyone := [row.key for row in gateways if row.auth["mode"] == "none"]:
        said.append(f"With auth mode none anybody can send receipts in the name of {', '.join(anyone)}.")
    return Check("gateways", "warning", " ".join(said)) if said else Check("gateways", "ok", "All prove who they are.")


async def _sharing(connection: Connection) -> Check:
    """Who shares the name of his errors. Of one kind it may be on purpose; of several it never makes sense, nor under the
    kind's own name, which older versions gave to whoever chose none."""
    said, doubtful = [], False
    for name, sharing in (await parting.sharing(connection)).items():
        kinds = {each.kind for each in sharing}
        doubtful |= len(kinds) > 1 or name in {GATEWAYS[kind].label for kind in kinds if kind in GATEWAYS}
        said.append(
            f"{', '.join(each.key for each in sharing)} share {name}: what one's error means, the others' means."
        )
    if not said:
        return Check("implementations", "ok", "Each gateway's errors are qualified apart.")
    if doubtful:
        said.append(
            "If that is not on purpose, PATCH /v1/gateways/{key}?dry_run=true with another implementation says what moves."
        )
    return Check("implementations", "warning" if doubtful else "ok", " ".join(said))


async def _sealing(connection: Connection, settings: Settings) -> list[Check]:
    """Where the key of the secrets stands, what that is worth, and what still needs an older one."""
    try:
        ours = Sealing.of(settings)
        trying = connection.transaction()
        await trying.start()
        try:
            await ours.install(connection)
        finally:
            await trying.rollback()
    except SealError as error:
        return [Check("sealing key", "failed", str(error))]
    stands = await resealing.survey(connection)
    return [_key_stands(ours, settings), _sealed(ours, stands)]


def _key_stands(ours: Sealing, settings: Settings) -> Check:
    file = settings.data_dir / KEY_FILE
    if ours.given:
        return Check("sealing key", "ok", f"Secrets are sealed with the key {ours.key_id} of ACUSE_SEAL_KEYS.")
    if not file.exists() or (key := read_key_file(file)) is None or key.id != ours.key_id:
        finding = "The key stands in the database: whoever steals a backup has it, too. Set ACUSE_SEAL_KEYS."
        return Check("sealing key", "warning", finding)
    if file.stat().st_mode & 0o077:
        return Check("sealing key", "failed", f"Others can read {file}: chmod 600 it.")
    finding = (
        f"The key is in {file}: a dump of the database alone shows no secret, a copy of the data directory shows all."
    )
    return Check("sealing key", "ok", f"{finding} ACUSE_SEAL_KEYS keeps it apart.")


def _sealed(ours: Sealing, stands: resealing.Survey) -> Check:
    if lost := stands.needing(ours.key_ids):
        finding = f"No key that is here opens {', '.join(lost)}: add the older key to ACUSE_SEAL_KEYS, or give the secrets anew."
        return Check("secrets", "failed", finding)
    if stands.clear:
        finding = f"In clear: {', '.join(stands.clear)}. The next start of the service, or `acuse reseal`, seals them."
        return Check("secrets", "warning", finding)
    older = [key_id for key_id in ours.key_ids if key_id != ours.key_id]
    if needed := [key_id for key_id in older if stands.by_key.get(key_id)]:
        count = sum(len(stands.by_key[key_id]) for key_id in needed)
        return Check("secrets", "warning", f"{count} still need the key {', '.join(needed)}: run `acuse reseal`.")
    dropped = f" Nothing needs {', '.join(older)} any more." if older and ours.given else ""
    return Check("secrets", "ok", f"All are sealed with the key in use.{dropped}")


async def _thresholds(connection: Connection, settings: Settings) -> Check:
    found = differences(await read_thresholds(connection), of_settings(settings))
    if not found:
        return Check("thresholds", "ok", "The installation judges addresses as these settings say.")
    said = ", ".join(f"{name} {holds} (here {here})" for name, (holds, here) in found.items())
    return Check("thresholds", "warning", f"The installation judges addresses by others than these settings: {said}.")


def _admin_key(settings: Settings) -> Check:
    if settings.admin_key is not None and guessable(settings.admin_key.get_secret_value()):
        finding = "ACUSE_ADMIN_KEY looks like one that a person thought up: make it by `openssl rand -base64 32`."
        return Check("admin key", "warning", finding)
    return Check("admin key", "ok", "None in the settings." if settings.admin_key is None else "It looks random.")


async def _set_aside(connection: Connection) -> list[Check]:
    """What is on the shelf, by kind; and what older versions put there with nothing but its body."""
    kinds = {kind: rows for kind, rows in (await set_aside_by_kind(connection, COUNTED)).items() if rows}
    if not kinds:
        return [Check("set aside", "ok", "Nothing.")]
    kept = ", ".join(f"{kind} {rows if rows < COUNTED else f'{rows} or more'}" for kind, rows in sorted(kinds.items()))
    finding = (
        f"By kind: {kept}. See GET /v1/receipts/rejected?kind=…; POST /v1/receipts/rejected/retry tries them again."
    )
    found = [Check("set aside", "warning", finding)]
    bare = await connection.fetchval(QUERIES["count_unlike"])
    if bare:
        finding = (
            f"An older version set aside {bare} receipts or replies without the request that they came with. What stood in its "
            "body is read again by retry; what stood in its URL (Kannel's parameters, a reference) is only known to the "
            "provider: ask it for the statuses of that time, and send them to POST /v1/receipts."
        )
        found.append(Check("set aside before", "warning", finding))
    return found


def _data_dir(path: Path) -> Check:
    if not path.exists():
        above = next((each for each in path.absolute().parents if each.exists()), Path("/"))
        if not os.access(above, os.W_OK | os.X_OK):
            return Check("data directory", "failed", f"{path} is not there, and cannot be made in {above}.")
        return Check("data directory", "ok", f"{path} is not there yet; the first start makes it.")
    if not path.is_dir() or not os.access(path, os.W_OK | os.X_OK):
        return Check("data directory", "failed", f"{path} cannot be written.")
    if not shutil.disk_usage(path).free:
        return Check("data directory", "failed", f"The disk of {path} is full.")
    return Check("data directory", "ok", f"{path} can be written.")


def _spool(folder: Path) -> Check:
    """Rows that wait on this disk; read only, so that a file in use is not disturbed."""
    waiting, unreadable = 0, []
    for path in sorted(folder.glob("*.sqlite3")):
        try:
            waiting += _rows(path)
        except sqlite3.Error as error:
            unreadable.append(f"{path.name} ({error})")
    found = []
    if waiting:
        found.append(f"{waiting} rows wait in {folder} until the database and the service are back.")
    if unreadable:
        found.append(
            f"These files cannot be read, and are left as they are: {', '.join(unreadable)}. "
            "`sqlite3 FILE .recover` may save what they hold."
        )
    return Check("spool", "warning" if found else "ok", " ".join(found) or "It is empty.")


def _rows(path: Path) -> int:
    # Files beside it are there while somebody writes, or did when he died; without them reading would make some.
    how = "mode=ro" if path.with_name(f"{path.name}-wal").exists() else "mode=ro&immutable=1"
    with contextlib.closing(sqlite3.connect(f"file:{quote(str(path))}?{how}", uri=True)) as database:
        (rows,) = database.execute("SELECT count(*) FROM spool").fetchone()
        return int(rows)
