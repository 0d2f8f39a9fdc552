"""Which tables are away, and since when they are back: told by what takes rows, never by an error's name alone.

A table is away when rows for it failed and their like failed too, or when the whole database cannot be reached. It is
back as soon as the like of a row commits. Said once in the log, at the change.
"""

import asyncio

from app.db import Pool, Reach, is_away, is_everywhere, renew, sqlstate
from app.ingest.drain import rehearse
from app.ingest.kinds import KINDS, Row
from app.ingest.spool import Spool
from app.ingest.store import only_reads
from app.logs import log

_BY_TABLE = {kind.table: kind for kind in KINDS.values()}
TABLES = frozenset(_BY_TABLE)
#: A database that does not answer the simplest question for this long hangs.
_PATIENCE_SECONDS = 1.0


class Outage:
    def __init__(self, pool: Pool, spool: Spool) -> None:
        self._pool = pool
        self._spool = spool
        self.reach = Reach()
        self.tables, self.unreachable = self.reach.away, self.reach.unreachable
        self._late: set[asyncio.Task[None]] = set()

    async def begins(self, table: str | None, error: Exception) -> None:
        """`table` (none: all) does not take rows now because of `error`, which may say that no table does."""
        everywhere = table is None or is_everywhere(error)
        fresh = (TABLES if everywhere else {table}) - self.tables
        self.tables |= {each for each in fresh if each is not None}
        if everywhere and not isinstance(error, TimeoutError):
            self.unreachable.set()
        await renew(self._pool, error)
        if fresh:
            log.error(
                "database.away",
                error=type(error).__name__,
                sqlstate=sqlstate(error),
                tables=sorted(filter(None, fresh)),
            )

    async def look(self) -> None:
        """Asks the database whether it is there, also when no receipts come: requests of the API depend on it. Of the tables
        that are away each is tried."""
        try:
            async with self._pool.acquire(timeout=_PATIENCE_SECONDS) as connection:
                takes_nothing = await only_reads(connection, _PATIENCE_SECONDS)
        except Exception as error:
            if not is_away(error):
                raise
            await self.begins(None, error if not isinstance(error, TimeoutError) else ConnectionError())
            return
        if takes_nothing:
            await self.begins(None, ConnectionError("read-only"))
            await self._pool.expire_connections()  # it may be so for their session only
            return
        self.unreachable.clear()
        back = [table for table in sorted(self.tables) if await self._takes_rows(table)]
        if back:
            self.tables -= set(back)
            log.info("database.back", tables=back, spooled=self._spool.rows)

    async def _takes_rows(self, table: str) -> bool:
        try:
            await self.tries(_BY_TABLE[table].like(None))
        except Exception as error:
            await renew(self._pool, error)
            return not is_away(error)  # what is only said against our probe is not said against others
        return True

    async def tries(self, row: Row) -> None:
        """Appends `row` and takes it back. Raises `TimeoutError` on the dot, even when a server that hangs keeps what was
        cancelled from ending."""
        task = asyncio.create_task(rehearse(self._pool, row))
        self._late.add(task)
        task.add_done_callback(self._late.discard)
        await asyncio.wait({task}, timeout=_PATIENCE_SECONDS)
        if not task.done():
            task.add_done_callback(lambda late: late.cancelled() or late.exception())
            task.cancel()
            raise TimeoutError
        task.result()
