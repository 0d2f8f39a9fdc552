"""The local spool: where receipts are made durable while the database is away.

One SQLite file a process, WAL with `synchronous=FULL`, so a row is on disk before it is acknowledged. When the
database is back the rows go to the inbox in order; how far is written in the same transaction there, so that a crash
at any point neither loses a row nor brings one twice. Files of processes that died are adopted by those that live.
"""

import asyncio
import fcntl
import os
import sqlite3
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Self, TypeVar

ResultT = TypeVar("ResultT")


class SpoolFull(Exception):
    """The spool cannot take more: its size limit or the disk is reached."""


class SpoolFile:
    """One spool file, held by this process alone. Blocking; `Spool` calls it from a thread."""

    def __init__(self, path: Path, lock: IO[bytes]) -> None:
        self.id = path.stem
        self._path = path
        self._lock = lock
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute("CREATE TABLE IF NOT EXISTS spool (id INTEGER PRIMARY KEY AUTOINCREMENT, row BLOB NOT NULL)")

    @classmethod
    def open(cls, path: Path) -> Self | None:
        """The file at `path`, made if need be; None when another process holds it."""
        lock = path.with_suffix(".lock").open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            return None
        return cls(path, lock)

    def append(self, rows: Sequence[bytes], max_bytes: int) -> None:
        """Durable when it returns. Raises `SpoolFull`, and then holds none of `rows`."""
        (pages,) = self._db.execute("PRAGMA page_count").fetchone()
        (size,) = self._db.execute("PRAGMA page_size").fetchone()
        if pages * size + sum(map(len, rows)) > max_bytes:
            raise SpoolFull(f"{self._path} has reached its limit of {max_bytes} bytes")
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("INSERT INTO spool (row) VALUES (?)", ((row,) for row in rows))
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise SpoolFull(str(error)) from error

    def read(self, after: int, limit: int) -> list[tuple[int, bytes]]:
        return self._db.execute("SELECT id, row FROM spool WHERE id > ? ORDER BY id LIMIT ?", (after, limit)).fetchall()

    def forget(self, up_to: int) -> None:
        """Deletes rows that the database has; the file gives its space back once it is empty."""
        self._db.execute("DELETE FROM spool WHERE id <= ?", (up_to,))
        if not self.count():
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._db.execute("VACUUM")

    def count(self) -> int:
        (rows,) = self._db.execute("SELECT count(*) FROM spool").fetchone()
        return int(rows)

    def close(self, *, remove: bool) -> None:
        self._db.close()
        if remove:
            for path in (self._path, *(self._path.with_name(self._path.name + end) for end in ("-wal", "-shm"))):
                path.unlink(missing_ok=True)
            self._path.with_suffix(".lock").unlink(missing_ok=True)
        self._lock.close()


class Spool:
    """This process's spool, and the files it adopted. Opened on first use; one thread does the work."""

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")
        self._own: SpoolFile | None = None
        self._adopted: list[SpoolFile] = []
        self.rows = 0  # waiting in our own file and the adopted ones

    async def append(self, rows: Sequence[bytes]) -> None:
        """Durable when it returns. Raises `SpoolFull`."""
        await self._call(lambda: self._own_file().append(rows, self._max_bytes))
        self.rows += len(rows)

    async def adopt(self) -> None:
        """Takes over what dead processes left."""
        await self._call(self._adopt)

    def files(self) -> list[SpoolFile]:
        return [*self._adopted, *([self._own] if self._own else [])]

    async def read(self, file: SpoolFile, after: int, limit: int) -> list[tuple[int, bytes]]:
        return await self._call(lambda: file.read(after, limit))

    async def forget(self, file: SpoolFile, up_to: int) -> None:
        await self._call(lambda: file.forget(up_to))
        self.rows = sum([await self._call(each.count) for each in self.files()])
        if file in self._adopted and not await self._call(file.count):
            self._adopted.remove(file)
            await self._call(lambda: file.close(remove=True))

    async def close(self) -> None:
        for file in self.files():
            empty = not await self._call(file.count)
            await self._call(lambda file=file, empty=empty: file.close(remove=empty))  # type: ignore[misc]
        self._own, self._adopted = None, []
        self._thread.shutdown()

    def writable(self) -> bool:
        """Whether a spool could be used now; says nothing about its size."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return os.access(self._folder, os.W_OK)

    def _own_file(self) -> SpoolFile:
        if self._own is None:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._own = SpoolFile.open(self._folder / f"{uuid.uuid4().hex}.sqlite3")
            except (OSError, sqlite3.Error) as error:
                raise SpoolFull(f"no spool can be opened in {self._folder}: {error}") from error
            assert self._own is not None
        return self._own

    def _adopt(self) -> None:
        if not self._folder.is_dir():
            return
        mine = {file.id for file in self.files()}
        for path in sorted(self._folder.glob("*.sqlite3")):
            file = SpoolFile.open(path) if path.stem not in mine else None
            if file is not None:
                self._adopted.append(file)
                self.rows += file.count()

    async def _call(self, work: Callable[[], ResultT]) -> ResultT:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
