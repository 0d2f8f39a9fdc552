"""JSON bodies that hold one receipt or an array of them, and bodies of lines."""

import re
from collections.abc import Callable, Iterator

import orjson

from app.gateways import bounds
from app.gateways.receipt import Callback, Item, Unreadable


def read_items(callback: Callback, read: Callable[[object, bytes], Item]) -> list[Item]:
    """What `read` makes of the body's items, each with the bytes to keep as its `raw`.

    An item of an array is written again, because orjson does not tell where it began: the same values, not always the
    same spaces.
    """
    try:
        body = callback.json
    except ValueError:
        reason = bounds.fault(callback.payload) or "is not JSON"
        return [Unreadable(reason=f"the body {reason}", raw=callback.body)]
    if not isinstance(body, list):
        return [_item(body, callback.body, read)]
    return [_item(item, _rewritten(item, callback.body), read) for item in body]


def _item(value: object, raw: bytes, read: Callable[[object, bytes], Item]) -> Item:
    fault = bounds.depth_fault(raw)
    return Unreadable(reason=f"the receipt {fault}", raw=raw) if fault else read(value, raw)


def _rewritten(item: object, body: bytes) -> bytes:
    try:
        return bytes(memoryview(orjson.dumps(item)))  # its own bytes keep 4 kB each, however short they are
    except TypeError:  # nested deeper than orjson writes, though not than it reads: junk, kept with all of its body
        return body


_BLANKS = re.compile(rb"\s*+")


def lines(body: bytes) -> Iterator[bytes]:
    """The lines that are not blank, one after the other; a million blank ones are passed over at once."""
    at = 0
    while (start := _blanks_end(body, at)) < len(body):
        end = body.find(b"\n", start)
        at = len(body) if end < 0 else end + 1
        yield body[start : len(body) if end < 0 else end]


def _blanks_end(body: bytes, at: int) -> int:
    found = _BLANKS.match(body, at)
    assert found is not None, "it matches nothing, too"
    return found.end()
