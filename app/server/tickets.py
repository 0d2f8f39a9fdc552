"""Tickets: a browser's `EventSource` can send no header, so for a minute a ticket in the query stands for the key.

It is sealed with a key of this installation, so that every process opens what any of them made, and names the API key by its
hash: one that is taken away takes its tickets along. It opens event streams and nothing else.
"""

import base64
import hashlib
import hmac
import secrets
from datetime import datetime, timedelta

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
from starlette.requests import HTTPConnection

#: It stands in URLs, which are logged on their way: by then it is over.
LIFE = timedelta(seconds=60)
_NONCE_BYTES = 12
_LONGEST = 400


class Tickets:
    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCMSIV(hmac.digest(key, b"acuse tickets", hashlib.sha256))

    def make(self, key_hash: bytes, delivery_id: str | None, until: datetime) -> str:
        """For the event stream of one delivery, or of any."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        said = orjson.dumps([key_hash.hex(), delivery_id, until.timestamp()])
        return base64.urlsafe_b64encode(nonce + self._cipher.encrypt(nonce, said, None)).decode().rstrip("=")

    def open(self, ticket: str, delivery_id: str, now: datetime) -> bytes | None:
        """The hash of the key that it stands for; None when it is over, for another delivery, or none of ours."""
        try:
            data = base64.b64decode(ticket[:_LONGEST] + "=" * (-len(ticket) % 4), altchars=b"-_", validate=True)
            key_hash, only, until = orjson.loads(self._cipher.decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], None))
        except (ValueError, InvalidTag):
            return None
        fits = now.timestamp() < until and only in (None, delivery_id)
        return bytes.fromhex(key_hash) if fits else None


def tickets_of(connection: HTTPConnection) -> Tickets:
    found: Tickets = connection.app.state.tickets
    return found
