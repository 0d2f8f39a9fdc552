"""The doctor looks, and leaves all as it was: on the disk and in the database."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from app import embedded
from app.db import create_pool
from tests.addresses.dump import contents
from tests.cli.test_cli import acuse

pytestmark = pytest.mark.slow


def disk(folder: Path) -> dict[str, tuple[int, int]]:
    """Everything under `folder`, with mode and size."""
    return {str(each): (each.lstat().st_mode, each.lstat().st_size) for each in sorted(folder.rglob("*"))}


@pytest.mark.parametrize("there", [True, False])
def test_where_nothing_is_yet_nothing_is_made(tmp_path: Path, there: bool) -> None:
    data_dir = tmp_path / "data"
    if there:
        data_dir.mkdir(mode=0o755)
    before = disk(tmp_path)
    doctor = acuse(data_dir, "doctor")
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr
    assert "There is none in" in doctor.stdout
    assert disk(tmp_path) == before


def test_a_data_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    doctor = acuse(tmp_path / "file", "doctor")
    assert doctor.returncode == 1
    assert "Not a directory" in doctor.stdout + doctor.stderr


def test_an_empty_database_stays_empty(tmp_path: Path, postgres: embedded.EmbeddedPostgres) -> None:
    before = disk(tmp_path)
    assert acuse(tmp_path, "doctor", ACUSE_DATABASE_URL=postgres.dsn).returncode == 1
    assert disk(tmp_path) == before


async def test_a_database_that_never_served_gets_no_keys(tmp_path: Path, database_url: str) -> None:
    """Migrated, and no more: its sealing key would be made by the first start."""
    pool = await create_pool(database_url, name="tests", size=1)
    try:
        before = await contents(pool)
        assert "current" not in before.get("platform.key", "")
        doctor = await asyncio.to_thread(acuse, tmp_path, "doctor", ACUSE_DATABASE_URL=database_url)
        assert doctor.returncode == 0, doctor.stdout
        assert await contents(pool) == before
    finally:
        await pool.close()


def test_a_spool_is_read_without_files_beside_it(tmp_path: Path, postgres: embedded.EmbeddedPostgres) -> None:
    (tmp_path / "spool").mkdir()
    path = tmp_path / "spool" / "1.sqlite3"
    with sqlite3.connect(path) as spool:
        spool.execute("PRAGMA journal_mode=WAL")
        spool.execute("CREATE TABLE spool (id INTEGER)")
        spool.execute("INSERT INTO spool VALUES (1)")
    spool.close()
    before = disk(tmp_path)
    assert "1 rows wait" in acuse(tmp_path, "doctor", ACUSE_DATABASE_URL=postgres.dsn).stdout
    assert disk(tmp_path) == before
