"""The seam of the inbox: `append`, `claim`, `finish`. Receipts, replies and clicks are taken in by the first, and become facts
between the other two. PostgreSQL fills it, with the statements of `inbox.sql`; nobody else names these tables
(tests/ingest/test_seam.py), so that a replicated log can fill it in their place.

*Order.* Each row gets a place when it is appended; places grow. `claim` takes the oldest places first. Between two processes that
append, or two that claim, there is no order, and what is made of the rows needs none.

*Durability and who commits.* Nothing here commits for a caller that has a transaction open. `append` outside of one is durable,
and whole, when it returns.

*Exactly once.* `claim`, what applies the rows and `finish` stand in one transaction on one connection. Until it ends nobody
else can claim the same rows. If it fails, or its process dies, they wait as before, at once and without a lease. If it
commits, they are gone. A filling that keeps rows outside of PostgreSQL copies them into the same temporary tables, and writes
its position in `finish`.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import get_args

from app.db import Connection, Pool, load_queries
from app.ingest.fast_rows import COLUMNS, copied
from app.ingest.kinds import BY_NAME, KINDS, Kind, Row, WholeRow
from app.ingest.rows import Shelved

QUERIES = load_queries(__file__, "inbox.sql")


async def append(connection: Connection, rows: Sequence[Row]) -> None:
    """Appends `rows`, of any kinds, all of them or none."""
    types = set(map(type, rows))
    if len(types) == 1:
        await _copy(connection, types.pop(), rows)
        return
    async with connection.transaction():
        for type_ in KINDS:
            if type_ in types:
                await _copy(connection, type_, [row for row in rows if type(row) is type_])


async def _copy(connection: Connection, type_: type, rows: Sequence[Row]) -> None:
    """Without the columns that no row fills, of receipts usually more than half: that takes half the time."""
    kind = KINDS[type_]
    if type_ is bytes:
        await connection.copy_to_table(kind.table, source=copied(rows), columns=COLUMNS, format="binary")  # type: ignore[arg-type]
        return
    columns = dict(zip(kind.row._fields, zip(*rows, strict=True), strict=True))
    filled = {name: values for name, values in columns.items() if values.count(None) < len(rows)} or columns
    await connection.copy_records_to_table(kind.table, records=zip(*filled.values(), strict=True), columns=list(filled))


async def claim(
    connection: Connection, kind: Kind, limit: int, *, only: Sequence[int] | None = None, without: Sequence[int] = ()
) -> int:
    """Takes the oldest `limit` of `kind` that nobody else holds, of the places `only` and but those `without`, into the
    temporary table of the kind (`batch`, `reply_batch`, `click_batch`); how many."""
    await connection.execute(QUERIES[f"open_{kind}"])
    tag = await connection.execute(QUERIES[f"claim_{kind}"], limit, without, only)
    return int(tag.rsplit(" ", 1)[1])


async def finish(connection: Connection, kind: Kind, *, applied: bool = True) -> None:
    """Takes what this transaction claimed out of the inbox: it was `applied`, or else has been set aside.

    What came of a reply stands in `reply_batch`: an applied one stays, as a fact."""
    keeps = applied and kind == "reply"
    await connection.execute(QUERIES["keep_reply" if keeps else f"delete_{kind}"])


# --- looking only ----------------------------------------------------------------------------------------------------


async def waiting(pool: Pool, kind: Kind, limit: int, without: Sequence[int] = ()) -> list[int]:
    """The places that `claim` would take, if nobody held any."""
    return [row["place"] for row in await pool.fetch(QUERIES[f"list_{kind}"], limit, without)]


async def read(connection: Connection, kind: Kind, place: int) -> WholeRow | None:
    """The row at `place`, as it was appended; none that is gone."""
    found = await connection.fetchrow(QUERIES[f"find_{kind}"], place)
    row = BY_NAME[kind].row
    return None if found is None else row(*(found[name] for name in row._fields))


async def last_place(connection: Connection) -> int:
    """Of the last row that this connection appended."""
    return int(await connection.fetchval(QUERIES["find_last_place"]))


async def only_reads(connection: Connection, seconds: float) -> bool:
    """Whether the database answers, within so many seconds, and takes nothing."""
    return bool(await connection.fetchval(QUERIES["has_only_reads"], timeout=seconds))


async def backlog(connection: Connection, counted: int) -> tuple[int, datetime | None]:
    """How many receipts wait, and since when. Beyond `counted` they are not counted one by one."""
    row = await connection.fetchrow(QUERIES["count_backlog"], counted)
    assert row is not None
    return row["rows"], row["oldest"]


async def set_aside_by_kind(connection: Connection, counted: int) -> dict[str, int]:
    """How many of each kind stand among the dead letters, each counted up to `counted`."""
    rows = await connection.fetch(QUERIES["count_set_aside"], get_args(Shelved), counted)
    return {row["kind"]: row["rows"] for row in rows}
