"""The embedded PostgreSQL: what must hold however the service, or its server, came to an end."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from app import embedded
from app.embedded import DATABASE, SUPERUSER, EmbeddedPostgres, EmbeddedPostgresError, cluster, postmaster
from app.embedded.rights import account_of

DEBIAN_15 = Path("/usr/lib/postgresql/15/bin")
WAIT_SECONDS = 30.0

pytestmark = [pytest.mark.skipif(sys.platform == "win32", reason="unix sockets and flock"), pytest.mark.slow]

OWNER = """
import pathlib, sys, time
from app import embedded
server = embedded.start(pathlib.Path(sys.argv[1]))
print("pid", server.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """A data directory; whatever server a failed test leaves in it is ended."""
    yield tmp_path / "data"
    left_over = postmaster.find(tmp_path / "data" / "postgres")
    if left_over is not None:
        left_over.send_signal(signal.SIGQUIT)
        left_over.wait(10)


def wait_until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not reached():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


async def value(dsn: str, statement: str) -> object:
    connection = await asyncpg.connect(dsn, timeout=WAIT_SECONDS)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def write_a_fact(server: EmbeddedPostgres) -> None:
    await value(server.dsn, "CREATE TABLE fact AS SELECT 42 AS it")


async def the_fact(server: EmbeddedPostgres) -> object:
    return await value(server.dsn, "SELECT it FROM fact")


class Owner:
    """Another process that runs the server of a data directory, in a session (and process group) of its own."""

    def __init__(self, data_dir: Path) -> None:
        root = Path(__file__).parents[1]
        self.process = subprocess.Popen(
            [sys.executable, "-c", OWNER, str(data_dir)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=root,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        said = next((line for line in self.process.stdout if line.startswith("pid ")), None)
        assert said, "the owner did not start"
        self.postmaster_pid = int(said.split()[1])

    def end(self, number: signal.Signals) -> None:
        os.killpg(self.process.pid, number)
        self.process.wait(WAIT_SECONDS)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def owner(data_dir: Path) -> Iterator[Owner]:
    other = Owner(data_dir)
    yield other
    if other.process.poll() is None:
        other.end(signal.SIGKILL)


@pytest.fixture(params=["wheel", "debian-15"])
def bin_dir(request: pytest.FixtureRequest) -> Path | None:
    if request.param == "wheel":
        return None
    if not DEBIAN_15.exists():
        pytest.skip("no PostgreSQL 15 on this machine")
    return DEBIAN_15


async def test_a_first_start_makes_a_durable_utf8_database_with_checksums(data_dir: Path, bin_dir: Path | None) -> None:
    with embedded.start(data_dir, bin_dir=bin_dir) as server:
        wanted = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "data_checksums": "on"}
        wanted |= {"server_encoding": "UTF8", "jit": "off", "TimeZone": "UTC", "listen_addresses": ""}
        for name, setting in wanted.items():
            assert await value(server.dsn, f"SHOW {name}") == setting, name
        assert await value(server.dsn, "SELECT current_database()") == "acuse"
        assert await value(server.dsn, "SELECT upper('ñandú')") == "ÑANDÚ"


async def test_both_doors_open_even_below_a_folder_with_a_difficult_name(tmp_path: Path) -> None:
    with embedded.start(tmp_path / "my dätä & 100% 'ours'") as server:
        assert await value(server.dsn, "SELECT 1") == 1
        engine = create_async_engine(server.url)
        async with engine.connect() as connection:
            assert (await connection.execute(text("SELECT 1"))).scalar_one() == 1
        await engine.dispose()


async def test_a_path_too_long_for_a_socket_gets_a_short_one(tmp_path: Path) -> None:
    with embedded.start(tmp_path / ("x" * 120)) as server:
        assert await value(server.dsn, "SELECT 1") == 1
        socket_dir = server.address.socket_dir
        assert socket_dir.stat().st_mode & 0o077 == 0
    assert not socket_dir.exists()


async def test_data_survive_a_restart(data_dir: Path, bin_dir: Path | None) -> None:
    with embedded.start(data_dir, bin_dir=bin_dir) as server:
        await write_a_fact(server)
        pid = server.pid
    assert not psutil.pid_exists(pid)
    with embedded.start(data_dir, bin_dir=bin_dir) as server:
        assert await the_fact(server) == 42


async def test_a_server_that_was_killed_is_started_again_by_its_owner(data_dir: Path, bin_dir: Path | None) -> None:
    with embedded.start(data_dir, bin_dir=bin_dir) as server:
        await write_a_fact(server)
        assert not server.ensure_running()
        killed = server.pid
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: not server._is_alive())
        assert server.ensure_running()
        assert server.pid != killed
        assert await the_fact(server) == 42


async def test_a_service_and_server_killed_together_leave_a_good_database(data_dir: Path, owner: Owner) -> None:
    owner.end(signal.SIGKILL)
    os.kill(owner.postmaster_pid, signal.SIGKILL)
    with embedded.start(data_dir) as server:
        assert await value(server.dsn, "SELECT 1") == 1


async def test_a_server_left_behind_is_taken_over_and_stopped_in_the_end(data_dir: Path, owner: Owner) -> None:
    owner.end(signal.SIGKILL)
    assert psutil.pid_exists(owner.postmaster_pid)
    with embedded.start(data_dir) as server:
        assert server.pid == owner.postmaster_pid
        assert await value(server.dsn, "SELECT 1") == 1
        os.kill(server.pid, signal.SIGKILL)
        wait_until(lambda: not server._is_alive())
        assert server.ensure_running()
        assert await value(server.dsn, "SELECT 1") == 1
    assert embedded.running_dsn(data_dir) is None


async def test_interrupting_the_process_group_leaves_the_server_alone(data_dir: Path, owner: Owner) -> None:
    owner.end(signal.SIGINT)
    dsn = embedded.running_dsn(data_dir)
    assert dsn is not None
    assert await value(dsn, "SELECT 1") == 1


def test_a_second_owner_is_refused_and_told_who_is_first(data_dir: Path, owner: Owner) -> None:
    with pytest.raises(EmbeddedPostgresError, match=rf"in use by another Acuse \(process {owner.process.pid}\)"):
        embedded.start(data_dir)
    assert embedded.running_dsn(data_dir) is not None, "the refusal must not disturb the first"


def test_a_pid_file_that_names_somebody_else_does_not_stop_a_start(data_dir: Path) -> None:
    with embedded.start(data_dir) as server:
        server.stop()
    stranger = subprocess.Popen(["/bin/sleep", "600"], **account_of(data_dir / "postgres").switch)
    try:
        lines = [stranger.pid, data_dir / "postgres", int(time.time()), 5432, data_dir / "postgres", "", "", "ready"]
        for name in ("postmaster.pid", ".s.PGSQL.5432.lock"):
            (data_dir / "postgres" / name).write_text("".join(f"{line}\n" for line in lines))
        assert embedded.running_dsn(data_dir) is None
        with embedded.start(data_dir) as server:
            assert server.pid != stranger.pid
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait(WAIT_SECONDS)


def test_an_empty_pid_file_does_not_stop_a_start(data_dir: Path) -> None:
    with embedded.start(data_dir) as server:
        server.stop()
    (data_dir / "postgres" / "postmaster.pid").write_text("")
    with embedded.start(data_dir):
        pass


def test_a_cluster_half_made_is_made_anew(data_dir: Path) -> None:
    (data_dir / "postgres.new" / "base").mkdir(parents=True)
    (data_dir / "postgres.new" / "PG_VERSION").write_text("18\n")
    with embedded.start(data_dir):
        assert not (data_dir / "postgres.new").exists()


def test_another_major_version_is_named(data_dir: Path) -> None:
    with embedded.start(data_dir):
        pass
    (data_dir / "postgres" / "PG_VERSION").write_text("14\n")
    with pytest.raises(EmbeddedPostgresError, match=r"made by PostgreSQL 14; this is PostgreSQL 18\. Dump with 14"):
        embedded.start(data_dir)


def test_a_folder_that_is_no_cluster_is_left_alone(data_dir: Path) -> None:
    (data_dir / "postgres").mkdir(parents=True)
    (data_dir / "postgres" / "holiday.txt").write_text("photos")
    with pytest.raises(EmbeddedPostgresError, match="no PostgreSQL cluster"):
        embedded.start(data_dir)
    assert (data_dir / "postgres" / "holiday.txt").read_text() == "photos"


def test_a_data_directory_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbeddedPostgresError, match=r"cannot use .*/file/data: Not a directory"):
        embedded.start(tmp_path / "file" / "data")


def test_a_disk_without_room_is_named(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "FRESH_CLUSTER_BYTES", 10**18)
    with pytest.raises(EmbeddedPostgresError, match=r"has \d+ MB left; a new database needs 1000000000000 MB"):
        embedded.start(data_dir)


def test_a_wrong_setting_is_quoted_from_the_server(data_dir: Path) -> None:
    with pytest.raises(EmbeddedPostgresError, match="no_such_setting"):
        embedded.start(data_dir, config={"no_such_setting": "1"})
    with embedded.start(data_dir):
        pass


async def test_a_temporary_server_listens_where_asked_and_vanishes(bin_dir: Path | None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with embedded.temporary({"fsync": "off"}, bin_dir=bin_dir, port=port) as server:
        assert await value(f"postgresql://{SUPERUSER}@127.0.0.1:{port}/{DATABASE}", "SHOW fsync") == "off"
        assert await value(server.dsn, "SELECT 1") == 1
        pid, folder = server.pid, server.data_dir
    assert not psutil.pid_exists(pid)
    assert not folder.exists()


async def test_the_servers_log_quotes_no_rows(data_dir: Path) -> None:
    with embedded.start(data_dir) as server:
        await value(server.dsn, "CREATE TABLE person (address text PRIMARY KEY)")
        await value(server.dsn, "INSERT INTO person SELECT '+346' || '00123456'")
        with pytest.raises(asyncpg.UniqueViolationError):
            await value(server.dsn, "INSERT INTO person SELECT '+346' || '00123456'")
    log = (data_dir / "postgres.log").read_text()
    assert "duplicate key" in log
    assert "+34600123456" not in log
