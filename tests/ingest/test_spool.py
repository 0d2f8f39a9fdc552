"""The spool: durable without a database, drained once, adopted from the dead, honest when full."""

import asyncio
import contextlib
import os
import resource
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import orjson
import pytest

from app import metrics
from app.db import Pool
from app.gateways.receipt import Auth, Gateway, Options, Outcome, Receipt
from app.ingest.inbox import Inbox
from app.ingest.kinds import pack, unpack
from app.ingest.rows import InboundRow, InboxRow, RejectedRow, inbox_row
from app.ingest.spool import Spool, SpoolFile, SpoolFull
from app.settings import Settings

NOW = datetime(2026, 11, 23, 8, 0, 0, 123456, tzinfo=UTC)
GATEWAY = Gateway(id=7, key="acme", kind="generic", implementation="Acme", options=Options(), auth=Auth(mode="none"))


def row(number: int = 1) -> InboxRow:
    return inbox_row(
        GATEWAY,
        Receipt(
            outcome=Outcome.FAILED,
            status="UNDELIV",
            provider_message_id=f"spool-{number}",
            error_code="069",
            occurred_at=NOW,
            price=Decimal("0.0075"),
            currency="EUR",
            raw=b"\xff\x00raw",
            details={"warnings": ["x"]},
        ),
        NOW,
    )


def test_rows_come_out_of_the_spool_as_they_went_in() -> None:
    assert unpack(pack(row())) == row()
    rejected = RejectedRow("rj_1", 7, NOW, "not JSON", {"method": "POST"}, b"\xff{")
    assert unpack(pack(rejected)) == rejected
    assert unpack(pack(rejected._replace(kind="receipt"))) == rejected._replace(kind="receipt")


def test_rows_that_an_older_version_left_in_the_spool_are_read() -> None:
    left = orjson.dumps([True, "rj_1", 7, NOW, "not JSON", {"method": "POST"}, "/3s="])  # before there were kinds
    assert unpack(left) == RejectedRow("rj_1", 7, NOW, "not JSON", {"method": "POST"}, b"\xff{", "unreadable")


def test_a_full_spool_takes_nothing_and_keeps_what_it_has(tmp_path: Path) -> None:
    file = SpoolFile.open(tmp_path / "a.sqlite3")
    assert file is not None
    file.append([b"x" * 1000], 1_000_000)
    with pytest.raises(SpoolFull):
        file.append([b"y" * 1_000_000], 1_000_000)
    assert [data for _, data in file.read(0, 10)] == [b"x" * 1000]
    file.close(remove=False)


def test_a_file_in_use_is_left_to_its_owner(tmp_path: Path) -> None:
    file = SpoolFile.open(tmp_path / "a.sqlite3")
    assert file is not None
    assert SpoolFile.open(tmp_path / "a.sqlite3") is None
    file.close(remove=False)


async def test_a_folder_that_cannot_be_written_is_a_full_spool(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    spool = Spool(tmp_path / "file", max_bytes=1_000_000)
    with pytest.raises(SpoolFull):
        await spool.append([b"x"])
    await spool.close()


async def test_what_a_dead_process_left_is_adopted_and_drained_once(tmp_path: Path, pool: Pool) -> None:
    (tmp_path / "spool").mkdir()
    dead = SpoolFile.open(tmp_path / "spool" / "dead.sqlite3")
    assert dead is not None
    dead.append([pack(row(number)) for number in range(5)], 10_000_000)
    dead.close(remove=False)
    inbox = Inbox(pool, Spool(tmp_path / "spool", max_bytes=10_000_000), Settings(data_dir=tmp_path))
    await inbox._spool.adopt()
    await inbox.drain()
    await inbox.drain()
    assert await pool.fetchval("SELECT count(*) FROM inbox WHERE provider_message_id LIKE 'spool-%'") == 5
    assert inbox.spooled == 0
    assert not list((tmp_path / "spool").glob("*.sqlite3"))
    await pool.execute("DELETE FROM inbox WHERE provider_message_id LIKE 'spool-%'")
    await inbox._spool.close()


async def test_rows_that_the_database_has_already_are_not_brought_again(tmp_path: Path, pool: Pool) -> None:
    spool = Spool(tmp_path / "spool", max_bytes=10_000_000)
    await spool.append([pack(row(number)) for number in range(3)])
    (file,) = spool.files()
    await pool.execute("INSERT INTO spool_progress (spool_id, last_id) VALUES ($1, 2)", file.id)
    inbox = Inbox(pool, spool, Settings(data_dir=tmp_path))
    await inbox.drain()
    ids = await pool.fetch("DELETE FROM inbox WHERE provider_message_id LIKE 'spool-%' RETURNING provider_message_id")
    assert [each["provider_message_id"] for each in ids] == ["spool-2"]
    assert not list((tmp_path / "spool").iterdir()), "a file whose rows are all brought is unlinked"
    assert await pool.fetchval("SELECT count(*) FROM spool_progress WHERE spool_id = $1", file.id) == 0
    await spool.close()


async def test_a_file_that_was_brought_and_not_yet_unlinked_is_unlinked_by_who_finds_it(
    tmp_path: Path, pool: Pool
) -> None:
    dead = SpoolFile.open(_made(tmp_path / "spool") / "killed.inbox.sqlite3")
    assert dead is not None
    dead.append([pack(row(number)) for number in range(3)], 10_000_000)
    dead.close(remove=False)
    await pool.execute("INSERT INTO spool_progress (spool_id, last_id) VALUES ('killed.inbox', 3)")
    inbox = Inbox(pool, Spool(tmp_path / "spool", max_bytes=10_000_000), Settings(data_dir=tmp_path))
    await inbox._spool.adopt()
    assert inbox.spooled == 3
    await inbox.drain()
    assert (inbox.spooled, await taken(pool), list((tmp_path / "spool").iterdir())) == (0, [], [])
    assert await pool.fetchval("SELECT count(*) FROM spool_progress WHERE spool_id = 'killed.inbox'") == 0
    await inbox._spool.close()


async def test_what_is_written_about_files_that_are_long_gone_goes_too(tmp_path: Path, pool: Pool) -> None:
    await pool.execute(
        "INSERT INTO spool_progress (spool_id, last_id, touched_at) "
        "VALUES ('old', 9, now() - interval '91 days'), ('new', 9, now())"
    )
    spool = Spool(tmp_path / "spool", max_bytes=10_000_000)
    await spool.append([pack(row())])
    await Inbox(pool, spool, Settings(data_dir=tmp_path)).drain()
    left = await pool.fetch("SELECT spool_id FROM spool_progress")
    assert [each["spool_id"] for each in left] == ["new"]
    assert await taken(pool) == ["spool-1"]
    await spool.close()


@contextlib.contextmanager
def full_disk(room_bytes: int) -> Iterator[None]:
    """No file of this process may grow beyond so many bytes: a disk that is full, without the right to mount one."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("restarted", [False, True], ids=["same process", "after a restart"])
async def test_a_spool_on_a_full_disk_is_emptied_and_the_next_outage_is_taken_too(
    tmp_path: Path, pool: Pool, restarted: bool
) -> None:
    spool = Spool(tmp_path / "spool", max_bytes=1_000_000_000)
    acknowledged = []
    with full_disk(300_000):
        with contextlib.suppress(SpoolFull):
            for number in range(1_000):
                await spool.append([pack(row(number)._replace(raw=b"x" * 2_000))])
                acknowledged.append(f"spool-{number}")
        assert not spool.usable(), "as soon as an append was refused, the service says so"
        if restarted:
            await spool.close()
            spool = Spool(tmp_path / "spool", max_bytes=1_000_000_000)
            await spool.adopt()
        inbox = Inbox(pool, spool, Settings(data_dir=tmp_path))
        assert inbox.spooled == len(acknowledged) > 10
        await inbox.drain()
        assert await taken(pool) == sorted(acknowledged)
        assert (inbox.spooled, list((tmp_path / "spool").iterdir())) == (0, [])
        await spool.look_again()
        assert spool.usable()
        await spool.append([pack(row(77_777))])
        await inbox.drain()
        assert await taken(pool) == ["spool-77777"]
    await spool.close()


async def test_files_that_are_damaged_or_foreign_stop_no_other_and_are_left_as_they_are(
    tmp_path: Path, pool: Pool
) -> None:
    folder = _made(tmp_path / "spool")
    for name, numbers in (("cut", range(500)), ("good", range(1_000, 1_005)), ("zz", range(1_005, 1_010))):
        dead = SpoolFile.open(folder / f"{name}.sqlite3")
        assert dead is not None
        dead.append([pack(row(number)) for number in numbers], 10_000_000)
        dead.close(remove=False)
    whole = (folder / "cut.sqlite3").read_bytes()
    (folder / "cut.sqlite3").write_bytes(whole[: len(whole) // 2])
    (folder / "garbage.sqlite3").write_bytes(b"no database " * 1_000)
    with contextlib.closing(sqlite3.connect(folder / "foreign.sqlite3")) as foreign:
        foreign.execute("CREATE TABLE theirs (id INTEGER)")
        foreign.commit()
    with contextlib.closing(sqlite3.connect(folder / "alike.sqlite3")) as foreign:
        foreign.execute("CREATE TABLE spool (something INTEGER)")
        foreign.commit()
    before = {path.name: path.read_bytes() for path in folder.glob("*.sqlite3") if path.stem not in ("good", "zz")}
    spool = Spool(folder, max_bytes=10_000_000)
    inbox = Inbox(pool, spool, Settings(data_dir=tmp_path))
    for _ in range(3):
        await spool.adopt()
        await inbox.drain()
    assert {f"spool-{number}" for number in range(1_000, 1_010)} <= set(await taken(pool))
    assert {path.stem for path in spool.unreadable} == {"cut", "garbage", "foreign", "alike"}
    assert {path.name: path.read_bytes() for path in folder.glob("*.sqlite3")} == before
    await spool.close()


def _spooled_set_aside() -> float:
    return metrics.registry.get_sample_value("acuse_set_aside_total", {"kind": "spooled"}) or 0.0


async def test_a_row_that_cannot_be_read_is_set_aside_and_its_neighbours_are_brought(
    tmp_path: Path, pool: Pool
) -> None:
    bad = [b"no JSON", orjson.dumps(["from the future", 1]), orjson.dumps([False, 7]), b"[]", b"7", b"\xff\xfe"]
    spool = Spool(tmp_path / "spool", max_bytes=10_000_000)
    await spool.append([pack(row(1)), *bad, pack(row(2))])
    counted = _spooled_set_aside()
    await Inbox(pool, spool, Settings(data_dir=tmp_path)).drain()
    assert _spooled_set_aside() == counted + len(bad)
    assert await taken(pool) == ["spool-1", "spool-2"]
    kept = await pool.fetch("DELETE FROM rejected RETURNING kind, gateway_id, raw")
    assert {(each["kind"], each["gateway_id"]) for each in kept} == {("spooled", None)}
    assert sorted(each["raw"] for each in kept) == sorted(bad)
    await spool.close()


@pytest.mark.parametrize("umask", [0o000, 0o022])
async def test_only_we_can_read_the_spool_also_when_it_was_there_with_wider_rights(tmp_path: Path, umask: int) -> None:
    folder = _made(tmp_path / "spool")
    folder.chmod(0o755)
    before = os.umask(umask)
    try:
        (folder / "left.sqlite3").touch(0o644)
        (folder / "left.lock").touch(0o644)
        spool = Spool(folder, max_bytes=10_000_000)
        await spool.adopt()
        await spool.append([pack(row())])
        await spool.append([pack(row())], "inbound")
    finally:
        os.umask(before)
    names = {path.name.rpartition(".")[2] for path in folder.iterdir()}
    assert names == {"sqlite3", "lock", "sqlite3-wal", "sqlite3-shm"}
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700
    await spool.close()


async def test_what_one_table_waits_for_does_not_hold_up_another(tmp_path: Path, pool: Pool) -> None:
    inbox = Inbox(pool, Spool(tmp_path / "spool", max_bytes=10_000_000), Settings(data_dir=tmp_path))
    reply = InboundRow(7, NOW, "+34600000009", None, "hello", None, True, b"raw")
    inbox.outage.tables |= {"inbox", "inbound"}
    await inbox.start()
    try:
        await pool.execute("ALTER TABLE inbound RENAME TO inbound_elsewhere")
        await inbox.put([row(1), reply])
        for _ in range(100):
            if ids := await taken(pool):
                break
            await asyncio.sleep(0.05)
        assert ids == ["spool-1"]
        assert inbox.outage.tables == {"inbound"}
    finally:
        await pool.execute("ALTER TABLE inbound_elsewhere RENAME TO inbound")
    for _ in range(100):
        if await pool.fetchval("SELECT count(*) FROM inbound WHERE address = '+34600000009'"):
            break
        await asyncio.sleep(0.05)
    assert await pool.fetchval("DELETE FROM inbound WHERE address = '+34600000009' RETURNING true")
    await inbox.stop()


async def taken(pool: Pool) -> list[str]:
    """Ids of what has come into the inbox, which is emptied."""
    rows = await pool.fetch("DELETE FROM inbox WHERE provider_message_id LIKE 'spool-%' RETURNING provider_message_id")
    return sorted(each["provider_message_id"] for each in rows)


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder
