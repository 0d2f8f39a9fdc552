"""Rights on disk: what stands in the data directory is nobody else's business, whoever starts the service and how."""

import contextlib
import os
from pathlib import Path

#: PostgreSQL keeps its own folder at 0700 by itself, and refuses to start on any other.
_NOT_OURS = "postgres"


def keep_private(data_dir: Path, *, passable: bool = False) -> None:
    """New files are 0600 and folders 0700 from here on (umask 077), and those that are there become so.

    `passable`: others may pass through the directory itself, without seeing what is in it. Only where the embedded
    server runs as a user of its own, because Acuse was started by root.
    """
    os.umask(0o077)
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    data_dir.chmod(0o711 if passable else 0o700)
    for folder, folders, files in os.walk(data_dir):
        if Path(folder) == data_dir and _NOT_OURS in folders:
            folders.remove(_NOT_OURS)
        for names, mode in ((folders, 0o700), (files, 0o600)):
            for name in names:
                _restrict(Path(folder, name), mode)


def _restrict(path: Path, mode: int) -> None:
    """Another user's are left alone, and so is what has gone meanwhile."""
    with contextlib.suppress(PermissionError, FileNotFoundError):
        if not path.is_symlink() and path.stat().st_mode & 0o777 & ~mode:
            path.chmod(mode)
