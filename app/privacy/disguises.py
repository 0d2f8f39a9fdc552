"""Ids and references that named somebody who was erased: where such a key stood its keyed hash stands.

Whoever looks for a key and finds nothing asks here whether it is one of these. While no number was ever erased that is one
question; keys that are found, nearly all of them, cost nothing.
"""

from collections.abc import Iterable

from app.db import Connection, load_queries
from app.privacy import pseudonyms

QUERIES = load_queries(__file__, "disguises.sql")


async def known(connection: Connection, values: Iterable[str]) -> dict[str, str]:
    """Of these ids and references those that were erased, with what stands for them."""
    if not await pseudonyms.any_erased(connection):
        return {}
    maker = await pseudonyms.load(connection)
    named = {value: maker.of_key(value) for value in values}
    rows = await connection.fetch(QUERIES["find_standing"], sorted(set(named.values())))
    standing = {row["value"] for row in rows}
    return {value: name for value, name in named.items() if name in standing and value != name}


async def become(connection: Connection, id: int, value: str) -> int | None:
    """The key `id` is `value` from now on. Where that stands already, what hangs on it goes over to that one: its message is
    returned then, if it is known, and is to be folded."""
    if await connection.fetchval(QUERIES["rename_key"], id, value):
        return None
    message: int | None = await connection.fetchval(QUERIES["merge_key"], id, value)
    return message
