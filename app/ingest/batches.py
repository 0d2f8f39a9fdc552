"""How many items one callback may bring, judged by its bytes; and reading a larger one in pieces.

The largest batches known have a hundred receipts. A million bytes can be half a million items, and each of them becomes
objects, a row and a commit: what has too many is kept whole, and an operator can have it read in pieces.
"""

import asyncio
import dataclasses
import itertools
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence

import orjson

from app.api.arrays import Splitter
from app.api.reader import by_size
from app.errors import Problem
from app.gateways import bounds
from app.gateways.bodies import lines
from app.gateways.receipt import Adapter, Callback, Gateway, Item

#: Items of a larger batch that are read, and written, at a time.
_PIECE = 100
_BLOCK_BYTES = 16_384
#: Brackets and commas of one item, on average: more is no receipt.
_VALUES = 100
_LINES = "application/x-ndjson"


def fault(callback: Callback, most: int) -> str | None:
    """Why this callback is kept whole instead of being read; None when it is of a size to be read at once."""
    if len(callback.body) < 2 * most and len(callback.query) < 2 * most:  # an item takes two bytes at the least
        return None
    body = callback.payload
    if callback.query.count("&") >= most or (not is_lines(callback) and _is_form(body) and body.count(b"&") >= most):
        return f"more than {most} parameters in one callback"
    if _has_more_items(callback, most):
        return f"more than {most} items in one callback, which `retry` reads in pieces"
    if found := bounds.values_fault(body, most * _VALUES):
        return f"the body {found}"
    return None


def _has_more_items(callback: Callback, most: int) -> bool:
    if callback.body.count(b"\n" if is_lines(callback) else b",") < most:
        return False
    try:
        return next(itertools.islice(items_of(callback), most, None), None) is not None
    except Problem:  # a broken array: whoever parses it says so
        return False


def is_lines(callback: Callback) -> bool:
    return callback.headers.get("content-type", "").lower().startswith(_LINES)


def _is_form(body: bytes) -> bool:
    return body[:100].lstrip(bounds.BLANK)[:1] not in (b"[", b"{")


def items_of(callback: Callback) -> Iterator[bytes]:
    """The bytes of the items of an array or of lines, one after the other; nothing for what is no batch. Raises a 400
    `Problem` where an array is broken."""
    body = callback.payload
    if is_lines(callback):
        yield from lines(body)
    elif body.lstrip(bounds.BLANK)[:1] == b"[":
        splitter = Splitter(len(body))
        for start in range(0, len(body), _BLOCK_BYTES):
            for row in itertools.chain.from_iterable(splitter.feed(body[start : start + _BLOCK_BYTES])):
                assert row is not None, "no item is longer than the body"
                yield row
        splitter.end()


async def parsed(adapter: Adapter, callback: Callback, gateway: Gateway) -> Sequence[Item]:
    """The items of a callback: an adapter reads all of a body at once."""
    return await by_size(len(callback.body), adapter.parse, callback, gateway)


async def in_pieces(callback: Callback, unread: list[bytes]) -> AsyncIterator[Callback]:
    """A batch as callbacks of some items each. Items that are no JSON go to `unread` instead. Raises a 400 `Problem` where
    an array is broken."""
    waiting: list[bytes] = []
    for number, item in enumerate(items_of(callback), 1):
        (waiting if _is_json(item) else unread).append(item)
        if number % _PIECE == 0:
            if waiting:
                yield dataclasses.replace(callback, body=joined(callback, waiting))
            waiting = []
            await asyncio.sleep(0)
    if waiting:
        yield dataclasses.replace(callback, body=joined(callback, waiting))


def joined(callback: Callback, items: Iterable[bytes]) -> bytes:
    """Items as the body of a callback like `callback`."""
    return b"\n".join(items) if is_lines(callback) else b"[%s]" % b",".join(items)


def _is_json(item: bytes) -> bool:
    if bounds.depth_fault(item):
        return False
    try:
        orjson.loads(item)
    except orjson.JSONDecodeError:
        return False
    return True
