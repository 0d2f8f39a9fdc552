"""The product on one page: what becomes of receipts and of submissions.

Each function takes an open transaction of a plain asyncpg connection; the caller commits. All of them end in the same
fold (`projections/fold.py`), which sees facts and not events, so order and repetition cannot matter. Whichever
comes first, receipt or submission, they meet on the unique key of `correlations`, and the later one folds.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from app import audit
from app.db import Connection, load_queries
from app.gateways import GATEWAYS
from app.ingest.store import claim, finish
from app.matching import erased_keys
from app.messages.store import Changed
from app.projections.fold import fold
from app.qualifications.learning import met
from app.qualifications.rules import meaning

QUERIES = load_queries(__file__)


async def apply(
    connection: Connection, limit: int = 2_000, only: Sequence[int] | None = None, without: Sequence[int] = ()
) -> int:
    """Applies the oldest `limit` receipts of the inbox, of the places `only` and but those `without`; returns how many it
    took. A transaction that fails leaves them where they are."""
    now = datetime.now(UTC)
    taken = await claim(connection, "receipt", limit, only=only, without=without)
    if taken:
        await meet(connection)
        await qualify(connection, now)
        changes = await fold(connection, await record(connection, taken), now)
        await book(connection)
        await note_first_receipts(connection, changes, now)
        await finish(connection, "receipt")
    return taken


async def meet(connection: Connection) -> None:
    """Finds each receipt's key, or makes it, so that a submission still to come will find the receipt."""
    if waiting := await connection.fetch(QUERIES["meet_keys"]):
        await erased_keys.put_on(connection, [row["id"] for row in waiting])
        await connection.execute(QUERIES["link_keys"])


async def qualify(connection: Connection, now: datetime) -> None:
    """Gives every error of the batch a row that says what it means, or that nobody knows yet."""
    for row in await connection.fetch(QUERIES["list_unqualified"]):
        adapter = GATEWAYS.get(row["kind"])
        what = meaning(adapter.qualifications if adapter else {}, row["status"], row["error_code"])
        await met(connection, row["implementation"], row["status"], row["error_code"], what, row["first_text"], now)
    await connection.execute(QUERIES["note_seen"])


async def record(connection: Connection, taken: int) -> list[int]:
    """Turns the claimed receipts into facts; returns the messages they speak of. Raises `LostReceipt` rather than let one go."""
    row = await connection.fetchrow(QUERIES["record_receipts"])
    assert row is not None
    if row["recorded"] != taken:
        raise LostReceipt(f"claimed {taken}, recorded {row['recorded']}")
    return row["messages"] or []


async def book(connection: Connection) -> None:
    """Moves the platform's own counters: receipts taken, and words that no adapter knows."""
    await connection.execute(QUERIES["add_platform_figures"])


async def note_first_receipts(connection: Connection, changes: Sequence[Changed], now: datetime) -> None:
    """Writes a delivery's first receipt into its journal."""
    ids = sorted({change.delivery_id for change in changes if change.by_receipt})
    if not ids:
        return
    for row in await connection.fetch(QUERIES["note_first_receipts"], ids, now):
        await audit.append(
            connection, row["id"], "DLV-FIRST-RECEIPT", "The first receipt came in.", at=now, actor="system"
        )


class LostReceipt(Exception):
    """A claimed receipt found no key. Never committed: the batch is taken apart, the culprit set aside."""
