"""Starts that fail say why in a sentence, without a traceback or a secret; and what stands on disk is private."""

import asyncio
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from app.db import asyncpg_dsn
from app.private import keep_private
from app.settings import Settings, wrong_database_url
from tests.cli.test_cli import Done, acuse, environment

_COMMANDS = ("run", "migrate", "doctor", "worker", "keys list")
_SECRET = "hush-hush-password"


@pytest.fixture(autouse=True)
def _same_umask() -> Iterator[None]:
    kept = os.umask(0o022)
    yield
    os.umask(kept)


def assert_says_why(done: Done) -> str:
    said = done.stdout + done.stderr
    assert done.returncode in (1, 2, 3), said
    assert "Traceback" not in said
    assert _SECRET not in said
    assert said.strip().count("\n") < 25  # a sentence, some lines of the log, or doctor's table
    return said


@pytest.mark.parametrize("command", _COMMANDS)
@pytest.mark.parametrize(
    ("url", "says"),
    [
        (f"mysql://acuse:{_SECRET}@db/acuse", "begins with `postgresql://`"),
        ("nonsense", "begins with `postgresql://`"),
        ("", "begins with `postgresql://`"),
        (f"postgresql://acuse:{_SECRET}@db:port/acuse", "a port is a number"),
        (f"postgresql://acuse:{_SECRET}@db:99999/acuse", "a port is a number"),
        (f"postgresql://acuse:{_SECRET}@/acuse?host=a,b&port=5432,x", "a port is a number"),
        (f"postgresql://acuse:{_SECRET}@one:5432,two:5432/acuse", "host=a,b&port=5432,5432"),
        (f"postgresql://acuse:{_SECRET}@[::1/acuse", "host or port"),
    ],
)
def test_a_url_that_is_none(command: str, url: str, says: str, tmp_path: Path) -> None:
    done = acuse(tmp_path, *command.split(), ACUSE_DATABASE_URL=url)
    assert done.returncode == 2
    assert says in assert_says_why(done)


@pytest.mark.parametrize("command", _COMMANDS)
@pytest.mark.parametrize(("name", "says"), [("no-database", "does not exist"), ("no-role", "does not exist")])
def test_a_database_or_role_that_does_not_exist(
    command: str, name: str, says: str, database_url: str, tmp_path: Path
) -> None:
    host = database_url.partition("?")[2]
    url = {
        "no-database": f"postgresql://postgres@/nowhere?{host}",
        "no-role": f"postgresql://nobody_at_all@/postgres?{host}",
    }[name]
    done = acuse(tmp_path, *command.split(), ACUSE_DATABASE_URL=url)
    assert says in assert_says_why(done)


@pytest.mark.parametrize("command", ["run", "migrate", "doctor"])
def test_a_schema_newer_than_the_program(command: str, database_url: str, tmp_path: Path) -> None:
    async def be_at(revision: str | None) -> str:
        connection = await asyncpg.connect(asyncpg_dsn(database_url))
        try:
            before: str = await connection.fetchval("SELECT version_num FROM alembic_version")
            await connection.execute("UPDATE alembic_version SET version_num = $1", revision)
            return before
        finally:
            await connection.close()

    before = asyncio.run(be_at("20991231_future"))
    try:
        done = acuse(tmp_path, *command.split(), ACUSE_DATABASE_URL=database_url)
        assert "newer version" in assert_says_why(done)
    finally:
        asyncio.run(be_at(before))


def test_a_port_that_is_taken(database_url: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "app.cli", "run"]
        settings = environment(tmp_path, ACUSE_DATABASE_URL=database_url, ACUSE_PORT=port)
        found = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=60)
    assert "address already in use" in assert_says_why(Done(found.returncode, found.stdout, found.stderr)).lower()


@pytest.mark.parametrize("command", ["run", "keys list"])
def test_a_data_directory_that_is_a_file(command: str, database_url: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    more = {"ACUSE_DATABASE_URL": database_url} if command == "run" else {}
    done = acuse(tmp_path / "file", *command.split(), **more)
    assert "file" in assert_says_why(done)


def test_several_hosts_can_be_named_in_the_query() -> None:
    url = "postgresql://acuse@/acuse?host=a,b&port=5432,5433&target_session_attrs=primary"
    assert wrong_database_url(url) is None
    assert Settings(database_url=url).database_url == url


# --- rights ----------------------------------------------------------------------------------------------------------


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_there_and_what_comes_is_private(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "spool" / "deep").mkdir(parents=True)
    for name in ("postgres.log", "seal.key", "spool/a.sqlite3", "spool/a.sqlite3-wal", "spool/deep/b"):
        (data / name).write_text("")
        (data / name).chmod(0o666)
    (data / "postgres").mkdir(mode=0o750)
    (tmp_path / "outside").write_text("")
    (data / "link").symlink_to(tmp_path / "outside")
    os.umask(0)
    keep_private(data)
    (data / "later").write_text("")
    (data / "folder").mkdir()
    for path in data.rglob("*"):
        if path.name not in ("postgres", "link"):
            assert _mode(path) == (0o700 if path.is_dir() else 0o600), path
    assert _mode(data) == 0o700
    assert _mode(data / "postgres") == 0o750  # PostgreSQL's own
    assert _mode(tmp_path / "outside") == 0o644


def test_a_data_directory_that_others_pass_through_is_not_listed(tmp_path: Path) -> None:
    keep_private(tmp_path / "data", passable=True)
    assert _mode(tmp_path / "data") == 0o711
