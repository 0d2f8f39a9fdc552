"""The spool: durable without a database, drained once, adopted from the dead, honest when full."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import orjson
import pytest

from app.db import Pool
from app.gateways.receipt import Auth, Gateway, Options, Outcome, Receipt
from app.ingest.inbox import Inbox
from app.ingest.rows import InboxRow, RejectedRow, inbox_row, pack, unpack
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
    await spool.close()
