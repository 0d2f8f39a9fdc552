"""Keyset pages: an opaque, signed cursor, and the one shape of every list."""

import base64
import hashlib
import hmac
from typing import Annotated, Any, Generic, TypeVar

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
from fastapi import Query
from pydantic import BaseModel, Field
from starlette.requests import HTTPConnection

from app.api.fields import AskedWhole, Plain
from app.errors import Invalid

Limit = Annotated[AskedWhole, Query(ge=1, le=1000, description="Items a page.")]
Cursor = Annotated[Plain | None, Query(max_length=500, description="`next_cursor` of the page before.")]

#: Of a cipher that bears the same one for all: equal texts give equal cursors, and no more is told.
_NONCE = bytes(12)

ItemT = TypeVar("ItemT")


class Page(BaseModel, Generic[ItemT]):
    items: list[ItemT]
    next_cursor: str | None
    total: int


class LongPage(Page[ItemT], Generic[ItemT]):
    """Of a list that no counter knows."""

    total: int | None = Field(description="Null: too many to count.")  # type: ignore[assignment]
    at_least: int = Field(0, description="Where `total` is null: how far was counted.")


class CursorSigner:
    """Makes cursors that nobody else can make or read: a position may be a whole number in a list that shows masked ones.
    `scope` binds one to its list and filters, the key to this installation."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCMSIV(hmac.digest(key, b"acuse cursors", hashlib.sha256))

    def seal(self, scope: str, position: list[Any]) -> str:
        """The same position gives the same cursor."""
        sealed = self._cipher.encrypt(_NONCE, orjson.dumps(position), scope.encode())
        return base64.urlsafe_b64encode(sealed).decode().rstrip("=")

    def open(self, scope: str, cursor: str) -> list[Any]:
        """The position in `cursor`. Raises `Invalid` when it was made for another list or filter, or altered."""
        try:
            data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            position = orjson.loads(self._cipher.decrypt(_NONCE, data, scope.encode()))
        except (ValueError, InvalidTag):
            raise Invalid.field(
                "?cursor", "This cursor is not one that this list with these filters gave out."
            ) from None
        assert isinstance(position, list)
        return position


def cursors_of(connection: HTTPConnection) -> CursorSigner:
    found: CursorSigner = connection.app.state.cursors
    return found
