"""What visitors' browsers said: agent, method and headers stand once for all clicks that say the same, under an id that is
made of them (`visitor_id` in the database). Clicks take them up as they are applied (`links/queries.sql`); here they go.

Whoever takes one up holds it (FOR KEY SHARE) until the click is committed, and whoever takes one away holds it before it is
looked whether a click refers to it: so no click ever refers to what is gone, without a foreign key that each row would pay for.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from app.db import Connection, load_queries

QUERIES = load_queries(__file__, "visitors.sql")
FIRST = UUID(int=0)


async def forget(connection: Connection, ids: Sequence[UUID]) -> int:
    """Takes away those of `ids` that no click refers to any more; how many. The caller commits."""
    unused = [row["id"] for row in await connection.fetch(QUERIES["lock_unused"], ids)] if ids else []
    if not unused:
        return 0
    return int((await connection.execute(QUERIES["delete_unused"], unused)).rpartition(" ")[2])


async def forget_some(connection: Connection, after: UUID, limit: int) -> UUID:
    """Looks at the next `limit` behind `after`, and takes away those that nobody needs. Where to go on. The caller commits."""
    ids = [row["id"] for row in await connection.fetch(QUERIES["list_visitors"], after, limit)]
    await forget(connection, ids)
    return ids[-1] if len(ids) == limit else FIRST


async def rewrite(connection: Connection, id: UUID, agent: str, visit: Mapping[str, Any]) -> None:
    """All clicks of `id`, which the caller holds for himself, say this from now on; nothing of what they said is left, not even
    the id that was made of it. The caller commits."""
    new = await connection.fetchval(QUERIES["put_visitor"], agent, visit)
    await connection.execute(QUERIES["move_clicks"], id, new)
    await connection.execute(QUERIES["delete_unused"], [id])
