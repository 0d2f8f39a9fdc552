"""How much, how many and how slow: what the server takes from a connection, as the settings say."""

import resource
from dataclasses import dataclass

from app.logs import log
from app.settings import Settings

#: Descriptors that are not for connections: the database's, the spool's files, sockets, pipes, logs, uploads.
OWN_DESCRIPTORS = 128
#: No process needs more, and some systems call "unlimited" a number that other programs then walk through.
MOST_DESCRIPTORS = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bytes and seconds of one connection, and how many of them there may be."""

    head_bytes: int
    headers: int
    head_seconds: float
    body_seconds: float
    body_rate: float
    send_seconds: float
    idle_seconds: float
    connections: int

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        """`connections`: as many as are wanted and as descriptors are left for."""
        wanted = settings.max_connections
        found = max(min(wanted, descriptors() - OWN_DESCRIPTORS), 8)
        if found < wanted:
            log.warning("server.few_descriptors", connections=found, wanted=wanted, descriptors=descriptors())
        return cls(
            head_bytes=settings.max_head_bytes,
            headers=settings.max_headers,
            head_seconds=settings.head_seconds,
            body_seconds=settings.body_seconds,
            body_rate=settings.body_bytes_per_second,
            send_seconds=settings.send_seconds,
            idle_seconds=settings.idle_seconds,
            connections=found,
        )


def descriptors() -> int:
    """How many files and sockets this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_DESCRIPTORS if soft == resource.RLIM_INFINITY else soft


def raise_descriptors() -> int:
    """Raises the soft limit of open files to the hard one, within reason; what it is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError) as error:  # some systems forbid more than they say
            log.warning("server.descriptors_not_raised", error=str(error))
    return descriptors()
