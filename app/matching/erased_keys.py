"""A receipt by an id or a reference that was erased still finds its message."""

from collections.abc import Sequence

from app.db import Connection, load_queries
from app.privacy import disguises

QUERIES = load_queries(__file__, "erased_keys.sql")


async def put_on(connection: Connection, correlations: Sequence[int]) -> None:
    """Of the keys that the claimed batch brought and nobody has told a message of yet: those that were erased become what
    stands for them, in the batch, too."""
    rows = await connection.fetch(QUERIES["find_values"], correlations)
    known = await disguises.known(connection, {row["value"] for row in rows})
    if not known:
        return
    await connection.execute(QUERIES["disguise_batch"], list(known), list(known.values()))
    for row in rows:
        if row["value"] in known:
            await disguises.become(connection, row["id"], known[row["value"]])
