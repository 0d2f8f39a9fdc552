"""All that is known about one number, whole: what a person may ask for. Part by part, in bounded memory.

Each part is read by keys, some rows at a time, and the connection goes back in between, however slowly it is read. Octets
are text where they are UTF-8, else base64.
"""

import base64
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from app.db import POOL_TIMEOUT_SECONDS, Pool, filled, load_queries

QUERIES = load_queries(__file__, "export.sql")
_CHUNK = 200
#: What hangs on a message, under its name in the export.
_OF_MESSAGES = ("targets", "submissions", "keys", "receipts", "clicks")
#: What names the number by itself, and the columns that order it.
_BY_NAME: Mapping[str, Sequence[str]] = {
    "exclusions": ("delivery_id", "position"),
    "inbound": ("id",),
    "decisions": ("id",),
    "quarantine": ("address", "sender"),
    "held": ("breaker_id", "message_id"),
}
Item = dict[str, Any]


def _page(statement: str, kind: str, order: Sequence[str]) -> str:
    last = ", ".join(f"${number}" for number in range(3, 3 + len(order)))
    return filled(QUERIES[statement], facts=QUERIES[f"list_{kind}"], key=", ".join(order), last=last)


#: The statements of its first page, and of those that follow.
_PAGES = {
    kind: (_page("find_first", kind, order), _page("find_following", kind, order)) for kind, order in _BY_NAME.items()
}


async def everything(pool: Pool, names: Sequence[str]) -> AsyncIterator[list[Item]]:
    """Items `{kind, …columns}`, some at a time: messages with all that hangs on them, then the rest."""
    last = 0
    while True:
        async with pool.acquire(timeout=POOL_TIMEOUT_SECONDS) as connection:
            messages = await connection.fetch(QUERIES["list_messages"], names, last, _CHUNK)
            ids = [row["id"] for row in messages]
            items = [_item("message", row) for row in messages]
            for kind in _OF_MESSAGES:
                found = connection.cursor(QUERIES[f"list_{kind}"], ids, prefetch=_CHUNK)
                async with connection.transaction(readonly=True):
                    items += [_item(kind.removesuffix("s"), row) async for row in found]
        if items:
            yield items
        if len(messages) < _CHUNK:
            break
        last = ids[-1]
    for kind, order in _BY_NAME.items():
        async for items in _named(pool, kind, order, names):
            yield items


async def _named(pool: Pool, kind: str, order: Sequence[str], names: Sequence[str]) -> AsyncIterator[list[Item]]:
    after: list[Any] = []
    first, following = _PAGES[kind]
    while True:
        async with pool.acquire(timeout=POOL_TIMEOUT_SECONDS) as connection:
            rows = await connection.fetch(following if after else first, names, _CHUNK, *after)
        if rows:
            yield [_item(kind.removesuffix("s"), row) for row in rows]
        if len(rows) < _CHUNK:
            return
        after = [rows[-1][name] for name in order]


def _item(kind: str, row: Any) -> Item:
    item: Item = {"kind": kind}
    for name, value in row.items():
        if isinstance(value, bytes):
            value, encoding = _read(value)
            item |= {"encoding": encoding} if encoding else {}
        item[name] = str(value) if name == "id" or (name.endswith("_id") and isinstance(value, int)) else value
    return item


def _read(octets: bytes) -> tuple[str, str | None]:
    try:
        return octets.decode("utf-8"), None
    except UnicodeDecodeError:
        return base64.b64encode(octets).decode(), "base64"
