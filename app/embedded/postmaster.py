"""The server process that belongs to a cluster, as its lock file tells of it."""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psutil

DATABASE = "acuse"
SUPERUSER = "postgres"


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


def pid_file(cluster: Path) -> list[str]:
    """Lines of `postmaster.pid`: pid, data directory, start time, port, socket directory, address, memory, status."""
    try:
        return [line.strip() for line in (cluster / "postmaster.pid").read_text("utf-8").splitlines()]
    except FileNotFoundError:
        return []


def is_ready(lines: list[str], pid: int) -> bool:
    return len(lines) >= 8 and lines[0] == str(pid) and lines[7] == "ready"


def address_in(lines: list[str]) -> Address:
    return Address(Path(lines[4]), int(lines[3]))


def find(cluster: Path) -> psutil.Process | None:
    """The living server of this cluster. A pid alone proves nothing: it may be somebody else's by now."""
    try:
        process = psutil.Process(int(pid_file(cluster)[0]))
        return process if is_living(process) and _serves(process, cluster) else None
    except (IndexError, ValueError, psutil.Error):
        return None


def _serves(process: psutil.Process, cluster: Path) -> bool:
    if str(cluster) in process.cmdline():
        return True
    with contextlib.suppress(psutil.AccessDenied):  # root in a container may not look at other users' folders
        return Path(process.cwd()) == cluster
    return False


def is_living(process: psutil.Process | None) -> bool:
    """False for a zombie, too: as process 1 of a container we may be the one who should have buried it."""
    try:
        return process is not None and process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def forget_stranger(cluster: Path, address: Address) -> None:
    """Drops a dead server's lock files whose pid is a zombie or somebody else by now: PostgreSQL would refuse to start.

    Other stale lock files are left to PostgreSQL, which knows best. Orphaned backends of the dead server do not slip
    through: their shared memory is found by the data directory, not by these files.
    """
    if find(cluster) is not None:
        return
    pid = next(iter(pid_file(cluster)), "")
    if not pid.isdecimal() or psutil.pid_exists(int(pid)):
        (cluster / "postmaster.pid").unlink(missing_ok=True)
        (address.socket_dir / f".s.PGSQL.{address.port}.lock").unlink(missing_ok=True)
