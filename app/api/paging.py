"""Keyset pages: an opaque, signed cursor, and the one shape of every list."""

import base64
import hashlib
import hmac
from typing import Annotated, Any, Generic, TypeVar

import orjson
from fastapi import Query
from pydantic import BaseModel

from app.errors import Invalid

Limit = Annotated[int, Query(ge=1, le=1000, description="Items a page.")]
Cursor = Annotated[str | None, Query(max_length=500, description="`next_cursor` of the page before.")]

ItemT = TypeVar("ItemT")


class Page(BaseModel, Generic[ItemT]):
    items: list[ItemT]
    next_cursor: str | None
    total: int


class CursorSigner:
    """Makes cursors nobody else can: `scope` binds one to its list and filters, the key to this installation."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def seal(self, scope: str, position: list[Any]) -> str:
        payload = orjson.dumps(position)
        return base64.urlsafe_b64encode(self._mac(scope, payload) + payload).decode().rstrip("=")

    def open(self, scope: str, cursor: str) -> list[Any]:
        """The position in `cursor`. Raises `Invalid` when it was made for another list or filter, or altered."""
        try:
            data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        except ValueError:
            data = b""
        if len(data) < 17 or not hmac.compare_digest(data[:16], self._mac(scope, data[16:])):
            raise Invalid.field("?cursor", "This cursor is not one that this list with these filters gave out.")
        position = orjson.loads(data[16:])
        assert isinstance(position, list)
        return position

    def _mac(self, scope: str, payload: bytes) -> bytes:
        return hmac.digest(self._key, scope.encode() + b"\0" + payload, hashlib.sha256)[:16]
