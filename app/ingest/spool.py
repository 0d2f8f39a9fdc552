"""The local spool: where receipts are made durable while the database is away.

SQLite files in a folder that only we can read, WAL with `synchronous=FULL`, so a row is on disk before it is
acknowledged: one file for each table that is away. When it is back, the file takes nothing any more, its rows go to the
database in order, and then it is unlinked: deleting rows would need room that a full disk does not have. How far it was
brought is written in the same transaction there, so that a crash at any point neither loses a row nor brings one twice:
a file that was not yet unlinked is found brought to its end. Every file has a new id, which is never used again. Files of
processes that died are adopted by those that live; a file that cannot be read is named, and left as it is.
"""

import asyncio
import fcntl
import os
import shutil
import sqlite3
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Self, TypeVar

from app.logs import log

ResultT = TypeVar("ResultT")
#: What one append needs at the least, with SQLite's own pages.
_ROOM_BYTES = 64 * 1024
_SIDES = ("-wal", "-shm")


class SpoolFull(Exception):
    """The spool cannot take more: its size limit or the disk is reached."""


class SpoolFile:
    """One spool file, held by this process alone. Blocking; `Spool` calls it from a thread."""

    def __init__(self, path: Path, lock: IO[bytes], table: str | None) -> None:
        self.id = path.stem
        self.path = path
        #: Of which table its rows are; none: of an older version, of any.
        self.table = table
        #: Which table its next row waits for.
        self.waits_for = table
        #: The log has been told why it is not brought.
        self.said = False
        self._lock = lock
        self._db = self._connected(path)
        #: Rows that are not known to have been brought; bytes of the file.
        self.left, self.bytes = self.count(), path.stat().st_size

    @classmethod
    def open(cls, path: Path, table: str | None = None) -> Self | None:
        """The file at `path`, made if need be; None when another process holds it. Raises `OSError` or `sqlite3.Error`."""
        lock = os.fdopen(_private(path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR), "rb+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.close(_private(path, os.O_CREAT | os.O_RDWR))  # SQLite gives its other files the rights of this one
            for each in (path.with_suffix(".lock"), path, *_beside(path)):
                if each.exists():
                    each.chmod(0o600)
            return cls(path, lock, table)
        except BlockingIOError:
            lock.close()
            return None
        except BaseException:
            lock.close()
            raise

    @staticmethod
    def _connected(path: Path) -> sqlite3.Connection:
        try:
            return _connect(path)
        except sqlite3.OperationalError:
            # On a full disk there may be no room for the index of the WAL: alone with a file it can be kept in memory.
            return _connect(path, "PRAGMA locking_mode=EXCLUSIVE")

    def append(self, rows: Sequence[bytes], max_bytes: int) -> None:
        """Durable when it returns. Raises `SpoolFull`, and then holds none of `rows`."""
        if self.size() + sum(map(len, rows)) > max_bytes:
            raise SpoolFull(f"{self.path} has reached its limit of {max_bytes} bytes")
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("INSERT INTO spool (row) VALUES (?)", ((row,) for row in rows))
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise SpoolFull(str(error)) from error
        self.left += len(rows)
        self.bytes = self.size()

    def size(self) -> int:
        (pages,) = self._db.execute("PRAGMA page_count").fetchone()
        (size,) = self._db.execute("PRAGMA page_size").fetchone()
        return int(pages) * int(size)

    def read(self, after: int, limit: int) -> list[tuple[int, bytes]]:
        return self._db.execute("SELECT id, row FROM spool WHERE id > ? ORDER BY id LIMIT ?", (after, limit)).fetchall()

    def count(self, after: int = 0) -> int:
        (rows,) = self._db.execute("SELECT count(*) FROM spool WHERE id > ?", (after,)).fetchone()
        return int(rows)

    def close(self, *, remove: bool) -> None:
        if remove:  # first, so that closing has nothing to tidy up on a disk that may be full
            for path in (self.path, *_beside(self.path), self.path.with_suffix(".lock")):
                path.unlink(missing_ok=True)
        self._db.close()
        if remove:
            for path in _beside(self.path):
                path.unlink(missing_ok=True)
        self._lock.close()


def _connect(path: Path, *first: str) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        for statement in first:
            db.execute(statement)
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if tables - {"spool", "sqlite_sequence"}:
            raise sqlite3.DatabaseError("it is no spool of ours")
        if tables:
            db.execute("SELECT id, row FROM spool LIMIT 0")
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("CREATE TABLE IF NOT EXISTS spool (id INTEGER PRIMARY KEY AUTOINCREMENT, row BLOB NOT NULL)")
    except BaseException:
        db.close()
        raise
    return db


def _private(path: str | Path, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _beside(path: Path) -> Iterator[Path]:
    return (path.with_name(path.name + end) for end in _SIDES)


class Spool:
    """This process's spool files, and those that it adopted. Opened on first use; one thread does the work."""

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")
        #: By table: what takes rows now.
        self._open: dict[str, SpoolFile] = {}
        #: What only gives rows.
        self._sealed: list[SpoolFile] = []
        #: Files that could not be read, as they were when that was found out, with the reason.
        self.unreadable: dict[Path, tuple[float, str]] = {}
        #: The last append was refused, and nothing has changed since.
        self._refused = False

    @property
    def rows(self) -> int:
        """Waiting in our own files and the adopted ones."""
        return sum(file.left for file in self.files())

    async def append(self, rows: Sequence[bytes], table: str = "inbox") -> None:
        """Durable when it returns. Raises `SpoolFull`."""
        try:
            await self._call(lambda: self._append(rows, table))
        except SpoolFull:
            self._refused = True
            raise
        self._refused = False

    async def adopt(self) -> None:
        """Takes over what dead processes left."""
        await self._call(self._adopt)

    def files(self) -> list[SpoolFile]:
        return [*self._sealed, *self._open.values()]

    def seal(self, table: str) -> None:
        """What the file of `table` holds is to be brought: what comes now goes to a new one."""
        file = self._open.pop(table, None)
        if file is not None:
            self._sealed.append(file)

    def sealed(self) -> list[SpoolFile]:
        return list(self._sealed)

    async def read(self, file: SpoolFile, after: int, limit: int) -> list[tuple[int, bytes]]:
        """Raises `sqlite3.Error` for a file that is damaged."""
        return await self._call(lambda: file.read(after, limit))

    async def start_after(self, file: SpoolFile, last: int) -> None:
        """The database has the rows up to `last`."""
        file.left = await self._call(lambda: file.count(last))

    async def remove(self, file: SpoolFile) -> None:
        """Of which all rows are brought."""
        self._sealed.remove(file)
        await self._call(lambda: file.close(remove=True))
        self._refused = False  # there is room again; if that is not enough, the next append tells

    async def put_by(self, file: SpoolFile, error: Exception) -> None:
        """A file that cannot be read to its end stays where it is, and is left alone until somebody has changed it."""
        self._sealed.remove(file)
        await self._call(lambda: file.close(remove=False))
        self._name(file.path, error)

    async def close(self) -> None:
        for file in self.files():
            await self._call(lambda file=file: file.close(remove=not file.left))  # type: ignore[misc]
        self._open, self._sealed = {}, []
        self._thread.shutdown()

    # --- whether it would take more ------------------------------------------------------------------------------------

    def usable(self) -> bool:
        """Whether an append would be taken now, as far as can be told without one: the last one was, the folder can be
        written, and neither the limit nor the disk is reached."""
        if self._refused or sum(file.bytes for file in self.files()) + _ROOM_BYTES // 8 > self._max_bytes:
            return False
        try:
            self._make_folder()
            return os.access(self._folder, os.W_OK) and shutil.disk_usage(self._folder).free > _ROOM_BYTES
        except OSError:
            return False

    async def look_again(self) -> None:
        """After an append was refused: finds out whether there is room again. A refusal for the limit holds until a
        file has been brought."""
        if self._refused:
            self._refused = not await self._call(self._has_room)

    def _has_room(self) -> bool:
        if sum(file.bytes for file in self.files()) + _ROOM_BYTES // 8 > self._max_bytes:
            return False
        try:
            self._make_folder()
            with tempfile.TemporaryFile(dir=self._folder) as file:
                file.write(bytes(_ROOM_BYTES))
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            return False
        return True

    # --- in the thread -----------------------------------------------------------------------------------------------

    def _append(self, rows: Sequence[bytes], table: str) -> None:
        file = self._open.get(table) or self._new_file(table)
        others = sum(each.bytes for each in self.files() if each is not file)
        file.append(rows, self._max_bytes - others)

    def _new_file(self, table: str) -> SpoolFile:
        path = self._folder / f"{uuid.uuid4().hex}.{table}.sqlite3"
        try:
            self._make_folder()
            file = SpoolFile.open(path, table)
        except (OSError, sqlite3.Error) as error:
            for each in (path, *_beside(path), path.with_suffix(".lock")):  # nothing was acknowledged into it
                each.unlink(missing_ok=True) if self._folder.is_dir() else None
            raise SpoolFull(f"no spool can be opened in {self._folder}: {error}") from error
        assert file is not None
        self._open[table] = file
        return file

    def _make_folder(self) -> None:
        """Only we read it: raw receipts and numbers stand there."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self._folder.stat().st_mode & 0o077:
            self._folder.chmod(0o700)

    def _adopt(self) -> None:
        if not self._folder.is_dir():
            return
        self._make_folder()
        mine = {file.path for file in self.files()}
        for path in sorted(self._folder.glob("*.sqlite3")):
            if path in mine or not path.exists() or self._is_known_as_unreadable(path):
                continue
            try:
                file = SpoolFile.open(path, path.stem.partition(".")[2] or None)
            except (OSError, sqlite3.Error) as error:
                self._name(path, error)
            else:
                if file is not None:
                    self._sealed.append(file)

    def _is_known_as_unreadable(self, path: Path) -> bool:
        known = self.unreadable.get(path)
        return known is not None and known[0] == _changed_at(path)

    def _name(self, path: Path, error: Exception) -> None:
        log.error("spool.file_unreadable", file=path.name, error=str(error))
        self.unreadable[path] = (_changed_at(path), str(error))

    async def _call(self, work: Callable[[], ResultT]) -> ResultT:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _changed_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
