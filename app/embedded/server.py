"""Starts, takes over, looks after and stops the server of a data directory."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import IO

import psutil

from app.embedded.cluster import (
    CONFIG,
    check_binaries,
    check_version,
    last_words,
    lock_of,
    make,
    rotated_log,
    socket_dir,
    space_left,
    wheel_bin_dir,
    write_config,
)
from app.embedded.postmaster import (
    DATABASE,
    SUPERUSER,
    Address,
    address_in,
    find,
    forget_stranger,
    is_living,
    is_ready,
    pid_file,
)
from app.embedded.rights import Account, EmbeddedPostgresError, account_of, environment, log, open_way, run

#: Replaying the write-ahead log after a crash reads at most `max_wal_size`; slow disks get their time.
START_TIMEOUT_SECONDS = 300.0
STOP_TIMEOUT_SECONDS = 60.0
#: Orphaned backends of a killed postmaster notice within milliseconds, unless they are in the middle of a statement.
ORPHANS_TIMEOUT_SECONDS = 30.0
TEMPORARY_PREFIX = "acuse-postgres-"
TEMPORARY_SECONDS = 600


class EmbeddedPostgres:
    """A server that is running, and the lock on its data directory. `stop` ends both; leaving `with` does, too."""

    def __init__(
        self,
        data_dir: Path,
        bin_dir: Path,
        account: Account,
        lock: IO[str],
        config: Mapping[str, str],
        port: int | None,
    ) -> None:
        self.data_dir = data_dir
        self._cluster = data_dir / "postgres"
        self._bin_dir = bin_dir
        self._account = account
        self._lock = lock
        self._config = config
        self._port = port
        self._child: subprocess.Popen[bytes] | None = None
        self._process: psutil.Process | None = None
        self._busy = threading.Lock()
        self._stopped = False
        self.address = Address(socket_dir(self._cluster, account), port or 5432)

    @property
    def dsn(self) -> str:
        """For plain asyncpg and libpq: `postgresql://postgres@/acuse?host=…`."""
        return self.address.dsn

    @property
    def url(self) -> str:
        """For SQLAlchemy: `postgresql+asyncpg://postgres@/acuse?host=…`."""
        return self.dsn.replace("postgresql://", "postgresql+asyncpg://", 1)

    @property
    def pid(self) -> int:
        """Of the postmaster. Changes when `ensure_running` had to start another."""
        assert self._process is not None
        return int(self._process.pid)

    def ensure_running(self) -> bool:
        """Starts the server again if it died; True when it had to. Does nothing after `stop`.

        Raises `EmbeddedPostgresError` when it cannot; asking again later is fine.
        """
        with self._busy:
            if self._stopped or self._is_alive():
                return False
            log.warning("embedded_postgres.died", pid=self.pid)
            with _explained(self.data_dir):
                self._launch()
            return True

    def stop(self, *, immediate: bool = False) -> None:
        """Disconnects everyone and shuts down; `immediate` skips the checkpoint, and the next start replays the log."""
        with self._busy:
            if self._stopped:
                return
            self._stopped = True
            try:
                self._shut_down(*([signal.SIGQUIT] if immediate else [signal.SIGINT, signal.SIGQUIT]), signal.SIGKILL)
                if self.address.socket_dir != self._cluster:
                    self.address.socket_dir.rmdir()
            except OSError as error:
                log.warning("embedded_postgres.stop", error=str(error))
            finally:
                self._lock.close()

    def __enter__(self) -> "EmbeddedPostgres":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self) -> None:
        make(self._cluster, self._bin_dir, self._account, auth_host="trust" if self._port else "reject")
        left_over = find(self._cluster)
        if left_over is not None and self._take_over(left_over):
            log.warning("embedded_postgres.taken_over", pid=left_over.pid)
        else:
            self._launch()
        self._create_database()

    def _take_over(self, left_over: psutil.Process) -> bool:
        """Waits for a server that a killed service left behind; False when it was on its way out, or sits elsewhere."""
        self._process = left_over
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while self._is_alive():
            lines = pid_file(self._cluster)
            if is_ready(lines, left_over.pid):
                self.address = address_in(lines)
                return True
            if time.monotonic() > deadline:
                raise EmbeddedPostgresError(
                    f"PostgreSQL {left_over.pid} in {self._cluster} does not get ready; stop it first."
                )
            time.sleep(0.02)
        return False

    def _launch(self) -> None:
        """Starts the postmaster and returns when it takes connections."""
        deadline = time.monotonic() + ORPHANS_TIMEOUT_SECONDS
        self.address = Address(socket_dir(self._cluster, self._account), self._port or 5432)
        while True:
            forget_stranger(self._cluster, self.address)
            reason = self._try_launch()
            if reason is None:
                return
            orphans = "pre-existing shared memory block" in reason
            if not orphans or time.monotonic() > deadline:
                raise EmbeddedPostgresError(
                    f"PostgreSQL did not start in {self._cluster}: {reason}{space_left(self.data_dir)}"
                )
            time.sleep(0.1)

    def _try_launch(self) -> str | None:
        """None when the server is ready, else why not."""
        write_config(self._cluster, self._config, self._account)
        log_path = rotated_log(self.data_dir / "postgres.log")
        with log_path.open("ab") as log_file:
            log_start = log_file.tell()
            # Its own session: Ctrl-C reaches the whole process group, and the service must be able to finish first.
            self._child = subprocess.Popen(
                list(self._command()),
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=log_file,
                cwd="/",
                env=environment(),
                start_new_session=True,
                **self._account.switch,
            )
        self._process = psutil.Process(self._child.pid)
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while self._child.poll() is None:
            if is_ready(pid_file(self._cluster), self._child.pid):
                return None
            if time.monotonic() > deadline:
                self._shut_down(signal.SIGQUIT, signal.SIGKILL)
                return f"not ready after {START_TIMEOUT_SECONDS:.0f} s; see {log_path}."
            time.sleep(0.01)
        return last_words(log_path, log_start)

    def _command(self) -> Iterator[str]:
        yield str(self._bin_dir / "postgres")
        yield from ("-D", str(self._cluster))
        yield from ("-c", f"unix_socket_directories={self.address.socket_dir}")
        yield from ("-c", f"listen_addresses={'127.0.0.1' if self._port else ''}")
        yield from ("-c", f"port={self.address.port}")

    def _create_database(self) -> None:
        if self._psql(f"SELECT 1 FROM pg_database WHERE datname = '{DATABASE}'") != "1":
            self._psql(f"CREATE DATABASE {DATABASE}")

    def _psql(self, statement: str) -> str:
        where = ["-h", str(self.address.socket_dir), "-p", str(self.address.port), "-U", SUPERUSER, "-d", "postgres"]
        command = [str(self._bin_dir / "psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", *where, "-c", statement]
        return run(command, self._account, "PostgreSQL does not answer")

    def _is_alive(self) -> bool:
        if self._child is not None and self._child.pid == self.pid:
            return self._child.poll() is None
        return is_living(self._process)

    def _shut_down(self, *signals: signal.Signals) -> None:
        """Sends one signal after the other, the next only if the one before did not help."""
        for number in signals:
            if not self._is_alive():
                return
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)
            self._wait_for_end(STOP_TIMEOUT_SECONDS if number is signal.SIGINT else 10.0)

    def _wait_for_end(self, timeout_seconds: float) -> None:
        deadline = time.monotonic() + timeout_seconds
        while self._is_alive() and time.monotonic() < deadline:
            time.sleep(0.01)


@contextlib.contextmanager
def _explained(data_dir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        where = f" ({error.filename})" if error.filename else ""
        raise EmbeddedPostgresError(
            f"PostgreSQL cannot use {data_dir}: {reason}{where}.{space_left(data_dir)}"
        ) from error


def start(
    data_dir: Path,
    *,
    bin_dir: Path | None = None,
    config: Mapping[str, str] = MappingProxyType({}),
    port: int | None = None,
) -> EmbeddedPostgres:
    """Starts the server of `data_dir`, with a new cluster and database when there is none, and owns it until `stop`.

    `bin_dir` holds another PostgreSQL's `postgres`, `initdb` and `psql`; None: the wheel's. `config` goes on top of
    `CONFIG`. With `port` it also listens on 127.0.0.1, without a password if the cluster was made that way: for tests.
    Raises `EmbeddedPostgresError`.
    """
    data_dir = Path(data_dir).resolve()
    bin_dir = bin_dir or wheel_bin_dir()
    with _explained(data_dir), contextlib.ExitStack() as undo:
        lock = undo.enter_context(lock_of(data_dir))
        account = account_of(data_dir / "postgres")
        open_way(data_dir, account)
        check_binaries(bin_dir, account)
        check_version(data_dir / "postgres", bin_dir)
        server = EmbeddedPostgres(data_dir, bin_dir, account, lock, {**CONFIG, **config}, port)
        undo.callback(server.stop)
        server._start()
        undo.pop_all()
    return server


def running_dsn(data_dir: Path) -> str | None:
    """Of the server that another process runs in `data_dir` now, for commands beside a running service."""
    cluster = Path(data_dir).resolve() / "postgres"
    try:
        process, lines = find(cluster), pid_file(cluster)
    except PermissionError:
        return None
    return address_in(lines).dsn if process is not None and is_ready(lines, process.pid) else None


@contextlib.contextmanager
def temporary(
    config: Mapping[str, str] = MappingProxyType({}), *, bin_dir: Path | None = None, port: int | None = None
) -> Iterator[EmbeddedPostgres]:
    """A throw-away server, gone with all its data at the end. Tests that need no durability say `{"fsync": "off"}`."""
    _sweep_temporaries()
    with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, ignore_cleanup_errors=True) as folder:
        os.chmod(folder, 0o711)
        server = start(Path(folder), bin_dir=bin_dir, config=config, port=port)
        try:
            yield server
        finally:
            server.stop(immediate=True)


def _sweep_temporaries() -> None:
    """Ends the throw-away servers of test runs that were killed; only those whose lock nobody holds."""
    for folder in Path(tempfile.gettempdir()).glob(f"{TEMPORARY_PREFIX}*"):
        with contextlib.suppress(OSError, EmbeddedPostgresError):
            found = folder.lstat()
            if found.st_uid != os.geteuid() or time.time() - found.st_mtime < TEMPORARY_SECONDS:
                continue
            with lock_of(folder):
                left_over = find(folder / "postgres")
                if left_over is not None:
                    left_over.send_signal(signal.SIGQUIT)
                    left_over.wait(10)
                shutil.rmtree(folder, ignore_errors=True)
