"""What redirects need, beside the spool: a file that holds when the database is away, also at the start.

Blocks of ids, links, the keys of tokens (sealed), and for links that are made for each message the values that fill them, of
what was given out lately. One SQLite file a data directory, 0600, shared by its processes, bounded in size and age. Values are
a person's: whoever erases a number calls `forget`, and the file holds it no more, nor does its journal.

Nothing here is the truth: a file that is lost, full or broken costs redirects while the database is away, and nothing else.
"""

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import orjson

from app.logs import log

ResultT = TypeVar("ResultT")
Block = tuple[int, int, int]
_PURPOSE = "short URLs beside the spool"
_BUSY_SECONDS = 5.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS blocks (first_id INTEGER PRIMARY KEY, last_id INTEGER NOT NULL, delivery_id INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS routes (delivery_id INTEGER PRIMARY KEY, route BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS given (message_id INTEGER PRIMARY KEY, at INTEGER NOT NULL, params BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS given_at ON given (at);
CREATE TABLE IF NOT EXISTS marks (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


class Full(Exception):
    """The file has reached its bound."""


class KeptFile:
    """Blocking; `Kept` calls it from a thread."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # SQLite's own files beside it take its rights
        path.chmod(0o600)
        self._max_bytes = max_bytes
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=_BUSY_SECONDS)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute("PRAGMA secure_delete=ON")
        self._db.executescript(_SCHEMA)

    def write(self, statement: str, rows: Iterable[Sequence[Any]], *, bounded: bool = False) -> None:
        """Durable when it returns. `bounded`: raises `Full` beyond the file's bound."""
        if bounded and self._size() > self._max_bytes:
            raise Full
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany(statement, rows)
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def read(self, statement: str, *values: Any) -> list[Any]:
        return self._db.execute(statement, values).fetchall()

    def scrub(self) -> None:
        """What was deleted stands in no journal either, as far as nobody reads just now."""
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _size(self) -> int:
        (pages,) = self._db.execute("PRAGMA page_count").fetchone()
        (free,) = self._db.execute("PRAGMA freelist_count").fetchone()
        (size,) = self._db.execute("PRAGMA page_size").fetchone()
        return int((pages - free) * size)

    def close(self) -> None:
        self._db.close()


class Kept:
    """The file of this data directory. `seal` and `unseal` turn bytes into text and back. Opened on first use; one thread does
    the work. Nothing here raises but `forget`: what cannot be kept is logged."""

    def __init__(
        self, path: Path, *, max_bytes: int, seal: Callable[[str, bytes], str], unseal: Callable[[str, str], bytes]
    ) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._seal, self._unseal = seal, unseal
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="links")
        self._file: KeptFile | None = None
        self._complained = ""

    # --- written -----------------------------------------------------------------------------------------------------

    async def keep_routes(self, blocks: Sequence[Block], routes: Mapping[int, Any]) -> None:
        """`routes`: by delivery, what they are made of, as JSON."""
        if blocks:
            await self._write("INSERT OR REPLACE INTO blocks VALUES (?, ?, ?)", blocks)
        if routes:
            rows = [(delivery, orjson.dumps(route)) for delivery, route in routes.items()]
            await self._write("INSERT OR REPLACE INTO routes VALUES (?, ?)", rows)

    async def keep_keys(self, keys: Mapping[str, str]) -> None:
        await self._try(lambda: self.set_mark_now("keys", self._seal(_PURPOSE, orjson.dumps(dict(keys)))))

    async def keep_given(self, params: Mapping[int, Mapping[str, Any]]) -> None:
        """What fills the links of messages that are given out, by message."""
        now = int(time.time())
        rows = [(id, now, orjson.dumps(dict(values))) for id, values in params.items()]
        if rows:
            await self._write("INSERT OR REPLACE INTO given VALUES (?, ?, ?)", rows, bounded=True)

    async def set_mark(self, name: str, value: str) -> None:
        await self._try(lambda: self.set_mark_now(name, value))

    def set_mark_now(self, name: str, value: str) -> None:
        self._opened().write("INSERT OR REPLACE INTO marks VALUES (?, ?)", [(name, value)])

    async def forget(self, message_ids: Sequence[int]) -> None:
        """These messages' values are gone from the file when it returns, for all processes of this data directory. Raises what
        SQLite raises."""

        def forget() -> None:
            if self.path.exists():
                self._opened().write("DELETE FROM given WHERE message_id = ?", [(id,) for id in message_ids])
                self._opened().scrub()

        await self._call(forget)

    async def forget_before(self, at: float) -> None:
        """Values given out before `at` (seconds since 1970)."""
        await self._write("DELETE FROM given WHERE at < ?", [(int(at),)])

    # --- read --------------------------------------------------------------------------------------------------------

    async def keys(self) -> Mapping[str, str]:
        def read() -> Mapping[str, str]:
            sealed = self._mark_now("keys")
            found: Mapping[str, str] = orjson.loads(self._unseal(_PURPOSE, sealed)) if sealed else {}
            return found

        return await self._try(read) or {}

    async def blocks(self) -> Sequence[Block]:
        read = "SELECT first_id, last_id, delivery_id FROM blocks ORDER BY first_id"
        return await self._try(lambda: self._opened().read(read)) or []

    async def routes(self) -> Sequence[Any]:
        rows = await self._try(lambda: self._opened().read("SELECT route FROM routes")) or []
        return [orjson.loads(route) for (route,) in rows]

    async def params(self, message_id: int) -> Mapping[str, Any] | None:
        """What fills the message's links; None: it is not kept here."""
        read = "SELECT params FROM given WHERE message_id = ?"
        rows = await self._try(lambda: self._opened().read(read, message_id))
        return orjson.loads(rows[0][0]) if rows else None

    async def mark(self, name: str) -> str | None:
        return await self._try(lambda: self._mark_now(name))

    def _mark_now(self, name: str) -> str | None:
        rows = self._opened().read("SELECT value FROM marks WHERE name = ?", name)
        return rows[0][0] if rows else None

    # --- the thread --------------------------------------------------------------------------------------------------

    async def _write(self, statement: str, rows: Sequence[Sequence[Any]], *, bounded: bool = False) -> None:
        await self._try(lambda: self._opened().write(statement, rows, bounded=bounded))

    async def _try(self, work: Callable[[], ResultT]) -> ResultT | None:
        """None when the file cannot be used; that is logged once for each cause."""
        try:
            return await self._call(work)
        except Exception as error:
            cause = f"{type(error).__name__}: {error}" if isinstance(error, sqlite3.Error) else type(error).__name__
            if cause != self._complained:
                self._complained = cause
                log.warning("links.not_kept", cause=cause)
            return None

    async def _call(self, work: Callable[[], ResultT]) -> ResultT:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _opened(self) -> KeptFile:
        if self._file is None:
            self._file = KeptFile(self.path, self._max_bytes)
        return self._file

    async def close(self) -> None:
        def close() -> None:
            if self._file is not None:
                self._file.close()
                self._file = None

        await self._try(close)
        self._thread.shutdown()
