"""What the spool holds goes to the database: file by file, in order, each row once however often this is interrupted.

How far a file was brought is written in the transaction that brings its rows. When it was brought to its end it is
unlinked, and then what was written about it is forgotten.
"""

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime

from app import metrics
from app.db import Pool, is_away, load_queries
from app.ingest.drain import Drain, rehearse
from app.ingest.kinds import Row, kind_of, like, new_id, refusal, set_aside, unpack
from app.ingest.outage import TABLES, Outage
from app.ingest.rows import RejectedRow, Shelved
from app.ingest.spool import Spool, SpoolFile
from app.ingest.store import append
from app.logs import log

QUERIES = load_queries(__file__, "spooled.sql")
Item = tuple[int, Row]


async def bring_all(pool: Pool, spool: Spool, outage: Outage, *, limit: int) -> bool:
    """Brings what can be brought now; whether it brought anything. Raises what says that the database cannot be reached."""
    brought = False
    if outage.tables == TABLES:
        return brought
    for table in {file.table for file in spool.files() if file.table} - outage.tables:
        spool.seal(table)
    for file in spool.sealed():
        if file.waits_for in outage.tables:
            continue
        try:
            brought |= await _Bringing(pool, spool, outage, file).to_the_end(limit)
        except sqlite3.Error as error:
            await spool.put_by(file, error)
    return brought


class _Bringing:
    """One file on its way."""

    def __init__(self, pool: Pool, spool: Spool, outage: Outage, file: SpoolFile) -> None:
        self._pool, self._spool, self._outage, self._file = pool, spool, outage, file

    async def to_the_end(self, limit: int) -> bool:
        async with self._pool.acquire() as connection:
            last = int(await connection.fetchval(QUERIES["lock_progress"], self._file.id))
        await self._spool.start_after(self._file, last)
        brought = False
        while found := await self._spool.read(self._file, last, limit):
            items = [(place, _read(data)) for place, data in found]
            if waiting := await self._bring(items):
                self._file.left -= len(items) - len(waiting)
                return brought or len(waiting) < len(items)
            last, brought = found[-1][0], True
            self._file.left -= len(found)
        await self._spool.remove(self._file)
        async with self._pool.acquire() as connection:
            await connection.execute(QUERIES["forget_progress"], self._file.id)
        return brought

    async def _bring(self, items: Sequence[Item]) -> Sequence[Item]:
        """Returns those that wait: behind one all others of this file do."""
        try:
            await self._apply(items)
            return ()
        except Exception as error:
            drain = Drain(
                apply=self._apply, alike=self._alike, anything=self._alike, rehearse=self._rehearse,
                set_aside=self._set_aside, in_order=True,
            )  # fmt: skip
            waiting = await drain.isolate(items, error)
            if waiting:
                await self._waits(waiting[0], drain.trouble or error)
            return waiting

    async def _waits(self, item: Item, trouble: Exception) -> None:
        """Until its table is back; what is no state of the database's, and yet strikes all that was tried, is said once."""
        if is_away(trouble):
            self._file.waits_for = kind_of(item[1]).table
            await self._outage.begins(self._file.waits_for, trouble)
        elif not self._file.said:
            self._file.said = True
            log.error("spool.waits", file=self._file.id, error=type(trouble).__name__, exc_info=trouble)

    async def _apply(self, items: Sequence[Item]) -> None:
        """Each once: what a process that died has brought in the meantime is left out."""
        async with self._pool.acquire() as connection, connection.transaction():
            last = await connection.fetchval(QUERIES["lock_progress"], self._file.id)
            rows = [row for place, row in items if place > last]
            if rows:
                await append(connection, rows)
                await connection.execute(QUERIES["move_progress"], self._file.id, items[-1][0])
        unread = sum(isinstance(row, RejectedRow) and row.kind == "spooled" and not row.request for row in rows)
        metrics.set_aside_total.labels("spooled").inc(unread)

    async def _alike(self, item: Item) -> None:
        await rehearse(self._pool, like(item[1]))

    async def _rehearse(self, item: Item) -> None:
        await rehearse(self._pool, item[1])

    async def _set_aside(self, item: Item, error: Exception) -> Shelved:
        place, row = item
        dead = set_aside(row, refusal(error))
        await self._apply([(place, dead)])
        return dead.kind


def _read(data: bytes) -> Row:
    """The row of `data`; what cannot be read, or not by this version, goes to the shelf as it is."""
    try:
        return unpack(data)
    except (ValueError, TypeError, KeyError) as error:
        reason = f"This row of a spool cannot be read: {type(error).__name__}."
        return RejectedRow(new_id(), None, datetime.now(UTC), reason, {}, data, "spooled")
