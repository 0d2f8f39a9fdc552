"""JSON bodies that hold one receipt or an array of them."""

import orjson

from app.gateways.receipt import Callback


def json_items(callback: Callback) -> list[tuple[object, bytes]]:
    """The body's items, each with the bytes to keep as its `raw`. Raises `ValueError` when the body is not JSON.

    An item of an array is written again, because orjson does not tell where it began: the same values, not always the
    same spaces.
    """
    body = callback.json
    if not isinstance(body, list):
        return [(body, callback.body)]
    return [(item, _rewritten(item, callback.body)) for item in body]


def _rewritten(item: object, body: bytes) -> bytes:
    try:
        return orjson.dumps(item)
    except TypeError:  # nested deeper than orjson writes, though not than it reads: junk, kept with all of its body
        return body
