"""Bulk uploads and the journal: what took effect is told, also of an upload that breaks off.

Each chunk adds to the upload's row in the transaction of its own work, so the row says what was committed and nothing
else. At the end it becomes one entry of the journal. When the connection is cut or the service fails, the same entry is
written with the cause; when the process dies, the clock of another finds the row that nobody touches any more.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

from starlette.requests import ClientDisconnect

from app import audit
from app.api.bulk import Tally
from app.db import POOL_TIMEOUT_SECONDS, Connection, Pool, is_away, load_queries
from app.errors import Problem
from app.logs import log

QUERIES = load_queries(__file__)

#: An upload that no chunk was added to for so long is over: longer than any connection is let to be silent.
SILENT = timedelta(minutes=15)
_CHUNK = 100
#: What each kind of upload is called in its entry, by its code.
_TEXTS: Mapping[str, str] = {
    "DLV-MESSAGES": "Messages sent elsewhere were recorded.",
    "DLV-SUBMISSIONS": "Submissions were recorded.",
    "DLV-LINKS": "Short URLs were asked for.",
    "QRT-IMPORTED": "{new} addresses were imported into the quarantine.",
}
#: Before a delivery's id in the row of an upload that moves its figures; and what its journal says then.
_OF_DELIVERY = "delivery "
_MOVED_CODE = "DLV-IMPORTED"
_MOVED = "An import moved addresses that this delivery's receipts had put into quarantine: {moved}."


@dataclass(slots=True, kw_only=True)
class Upload:
    """One bulk request whose chunks are committed one by one."""

    pool: Pool
    chain: int
    code: str
    actor: str
    #: Rows that were refused before any transaction, and all others: for the entry of an upload that came to its end.
    tally: Tally = field(default_factory=Tally)
    id: str = field(default_factory=lambda: secrets.token_hex(12))

    async def add(
        self, connection: Connection, moved: Mapping[int, int] = MappingProxyType({}), **figures: int
    ) -> None:
        """A chunk's figures (`accepted`, …), in the transaction of its work: both are there, or neither. `moved`: in how
        far it moves figures of other deliveries, whose journals will tell it, too."""
        now, rejected = datetime.now(UTC), {"rejected": self.tally.rejected}
        said = figures | {f"{_OF_DELIVERY}{id}": number for id, number in moved.items()}
        await connection.execute(
            QUERIES["add_figures"], self.id, self.chain, self.code, self.actor, said, rejected, now
        )

    async def end(self, broken_off: str | None = None) -> None:
        """The entry. Rows refused are those of the whole upload; what took effect is what the chunks committed."""
        async with self.pool.acquire(timeout=POOL_TIMEOUT_SECONDS) as connection, connection.transaction():
            figures = await connection.fetchval(QUERIES["delete_upload"], self.id)
            if figures is None and broken_off is not None:
                return  # nothing took effect, and the caller was told
            said = {"accepted": 0} | (figures or {}) | {"rejected": self.tally.rejected}
            await _tell(connection, self.chain, self.code, self.actor, said, broken_off)


async def _tell(
    connection: Connection, chain: int, code: str, actor: str, figures: Mapping[str, Any], broken_off: str | None
) -> None:
    moved = {int(name.removeprefix(_OF_DELIVERY)): figures[name] for name in figures if name.startswith(_OF_DELIVERY)}
    data = {name: value for name, value in figures.items() if not name.startswith(_OF_DELIVERY)}
    text = _TEXTS[code].format(**{"new": 0} | data)
    if broken_off is not None:
        text += f" The upload broke off: {broken_off}. What came before that took effect."
        data["broken_off"] = broken_off
    level: audit.Level = "warning" if broken_off is not None or data.get("rejected") else "info"
    now = datetime.now(UTC)
    await audit.append(connection, chain, code, text, at=now, actor=actor, level=level, data=data)
    await audit.tell_deliveries(connection, moved, _MOVED_CODE, _MOVED, at=now, actor=actor)


@asynccontextmanager
async def journalled(
    pool: Pool, chain: int, code: str, actor: str, tally: Tally | None = None
) -> AsyncIterator[Upload]:
    """A bulk upload into the journal of delivery `chain` (or the platform's): one entry when the block ends, however it
    ends."""
    upload = Upload(pool=pool, chain=chain, code=code, actor=actor, tally=Tally() if tally is None else tally)
    try:
        yield upload
    except BaseException as error:
        await _broken_off(upload, _cause(error))
        raise
    await upload.end()


def _cause(error: BaseException) -> str:
    if isinstance(error, asyncio.CancelledError):
        return "the service was stopped"
    if isinstance(error, ClientDisconnect) or isinstance(error.__cause__, ClientDisconnect):
        return "the connection was cut"
    if isinstance(error, Problem):
        return "a chunk was refused"
    return "the database was away" if is_away(error) else "the service failed"


async def _broken_off(upload: Upload, cause: str) -> None:
    """Nothing here may hide why it broke off; a row that stays is found by the clock."""
    ending = asyncio.ensure_future(upload.end(cause))
    try:
        await asyncio.shield(ending)
    except asyncio.CancelledError:
        await asyncio.wait([ending], timeout=POOL_TIMEOUT_SECONDS)
    except Exception as error:
        log.warning("upload.not_noted", code=upload.code, chain=upload.chain, error=type(error).__name__)


async def close_orphans(connection: Connection, now: datetime) -> int:
    """Writes the entries of uploads whose process is gone; says how many. The caller commits."""
    rows = await connection.fetch(QUERIES["delete_ended"], now - SILENT, _CHUNK)
    for row in sorted(rows, key=lambda row: int(row["chain"])):
        await _tell(connection, row["chain"], row["code"], row["actor"], row["figures"], "nobody went on with it")
    return len(rows)
