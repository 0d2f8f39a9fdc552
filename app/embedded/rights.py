"""Who runs the server, what that user may reach, and commands run as that user."""

import contextlib
import os
import pwd
import stat
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

#: The system user that runs the server when the service runs as root.
SYSTEM_USER = "acuse-postgres"
log = structlog.get_logger(__name__)


class EmbeddedPostgresError(Exception):
    """The embedded PostgreSQL cannot run here. The message says why and what helps."""


@dataclass(frozen=True, slots=True)
class Account:
    """Who runs the server: `uid` and `gid` to switch to, or None to stay who we are."""

    uid: int | None = None
    gid: int | None = None

    @property
    def switch(self) -> dict[str, Any]:
        return {} if self.uid is None else {"user": self.uid, "group": self.gid, "extra_groups": []}

    def give(self, path: Path) -> None:
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)


def account_of(cluster: Path) -> Account:
    """As root: the owner of the cluster, or a system user for a new one. As anyone else: ourselves."""
    owner = cluster.stat().st_uid if cluster.exists() else None
    if os.geteuid() != 0:
        if owner not in (None, os.geteuid()):
            raise EmbeddedPostgresError(
                f"{cluster} belongs to user {owner}, and we are user {os.geteuid()}: start Acuse as that user."
            )
        return Account()
    if owner:
        return Account(owner, cluster.stat().st_gid)
    entry = _system_user()
    return Account(entry.pw_uid, entry.pw_gid)


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


def open_way(path: Path, account: Account) -> None:
    """Lets the server's user pass through the directories above its own: execute only, so nothing becomes listable."""
    if account.uid is None:
        return
    for folder in (path, *path.parents):
        mode = stat.S_IMODE(folder.stat().st_mode)
        if not mode & stat.S_IXOTH:
            log.warning("embedded_postgres.opened_way", folder=str(folder))
            folder.chmod(mode | stat.S_IXOTH)


def run(command: list[str], account: Account, problem: str) -> str:
    """Standard output of a short command, run as `account`; what it complains about becomes the error."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            cwd="/",
            env=environment(),
            check=True,
            **account.switch,
        )
    except subprocess.SubprocessError as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        telling = [line for line in said if "error:" in line or "FATAL:" in line] or said[-3:]
        raise EmbeddedPostgresError(f"{problem}: {' '.join(telling)}") from error
    return str(done.stdout).strip()


def environment() -> dict[str, str]:
    """Ours without libpq's and PostgreSQL's own variables, which would redirect every command."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_"))} | {"LC_ALL": "C"}
