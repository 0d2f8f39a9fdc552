"""What other hosts give out comes to this one's disk as well, behind: the values that fill the links of each delivery under
way, some messages at a time, by one process of each data directory. And what was given out long ago leaves it.
"""

import asyncio
import fcntl
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import asyncpg

from app.db import Pool, is_away
from app.links.kept import Kept
from app.links.store import QUERIES
from app.logs import log

_CHUNK = 1_000
_PAUSE_SECONDS = 1.0
_CLEAN_EVERY_SECONDS = 600.0
_DAY = 86_400.0

#: Of a delivery whose links are made for each message: its id, the values' names, when it was started (seconds since 1970).
Personal = tuple[int, frozenset[str], float]


class Pulling:
    """`personal` says which deliveries have such links and are on their way."""

    def __init__(
        self, pool: Pool, kept: Kept, path: Path, personal: Callable[[], Iterable[Personal]], *, days: float
    ) -> None:
        self._pool = pool
        self._kept = kept
        self._path = path
        self._personal = personal
        self._seconds = days * _DAY
        self._lock: IO[bytes] | None = None
        self._done: set[int] = set()
        self._clean_at = 0.0

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                await asyncio.sleep(_PAUSE_SECONDS)
                try:
                    if self._is_ours():
                        await self.step()
                except Exception as error:
                    if not is_away(error) and not isinstance(error, asyncpg.UndefinedTableError):
                        log.exception("links.pulling_failed")
        finally:
            if self._lock is not None:
                self._lock.close()

    async def step(self) -> None:
        """Everything that is new, a chunk at a time."""
        since = time.time() - self._seconds
        for delivery_id, names, started_at in list(self._personal()):
            if delivery_id not in self._done and started_at > since:
                await self._pull(delivery_id, names)
                self._done.add(delivery_id)
        if time.monotonic() >= self._clean_at:
            self._clean_at = time.monotonic() + _CLEAN_EVERY_SECONDS
            await self._kept.forget_before(since)

    async def _pull(self, delivery_id: int, names: frozenset[str]) -> None:
        """All of a started delivery's messages: no more are made then."""
        mark = f"pulled {delivery_id}"
        last = int(await self._kept.mark(mark) or 0)
        while rows := await self._pool.fetch(QUERIES["list_given_out"], delivery_id, last, _CHUNK):
            await self._kept.keep_given({row["id"]: needed(names, row["params"]) for row in rows})
            last = rows[-1]["id"]
            await self._kept.set_mark(mark, str(last))
            await asyncio.sleep(0)

    def _is_ours(self) -> bool:
        """One process of a data directory pulls; another takes over when that ends."""
        if self._lock is None:
            lock = self._path.with_suffix(".lock").open("ab")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                lock.close()
                return False
            self._lock = lock
        return True


def needed(names: Iterable[str], params: Mapping[str, Any]) -> dict[str, Any]:
    """Each of the names has a value: nothing is asked for again that a target simply lacks."""
    return {name: params.get(name, "") for name in names}
