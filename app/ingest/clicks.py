"""Clicks applied: what the inbox holds of them becomes facts (`links/store.py`)."""

from collections.abc import Sequence

from app.db import Connection
from app.ingest.store import claim, finish
from app.links import store


async def apply(
    connection: Connection, limit: int, only: Sequence[int] | None = None, without: Sequence[int] = ()
) -> int:
    """Applies the oldest `limit` clicks of the inbox, of the places `only` and but those `without`; returns how many it took.
    The caller commits."""
    taken = await claim(connection, "click", limit, only=only, without=without)
    if taken:
        await store.apply(connection)
        await finish(connection, "click")
    return taken
