"""`Idempotency-Key`: a POST that creates, sent again, gives the same answer again and creates nothing.

    async with state.pool.acquire() as connection, connection.transaction():
        return await once(request, principal, connection, make)

`make` does the work on the same connection and returns the answer. What holds:

- the mark is written in the caller's transaction, with the work: both stay, or neither;
- of several at once one does the work, and the others wait for it and repeat its answer;
- an answer that is an error (a `Problem` raised) leaves no mark: the next try is a new one;
- the same key with another body, method or path is a 409; keys belong to the API key they came with;
- answers are kept for 24 h, encrypted with a key made from the caller's API key, which is stored nowhere. So even a
  secret that is shown once can be repeated to whoever asked for it, and the database never holds it.
"""

import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from starlette.requests import Request
from starlette.responses import Response

from app.db import Connection, load_queries
from app.errors import Conflict, Invalid
from app.security import Principal

QUERIES = load_queries(__file__)

KEPT = timedelta(hours=24)
HEADER = "Idempotency-Key"
_LONGEST = 255
_NONCE_BYTES = 12
#: Headers of an answer that are repeated with it.
_REPEATED = ("content-type", "location")


async def once(
    request: Request, principal: Principal, connection: Connection, make: Callable[[], Awaitable[Response]]
) -> Response:
    """The answer of `make`, or the one it gave to the same request before. Without the header simply that of `make`.

    `connection` is in a transaction, which the caller commits. Raises `Conflict` when the key was used for another
    request, and `Invalid` when it is not printable ASCII of 1 to 255 characters.
    """
    key = _key(request)
    if key is None:
        return await make()
    digest, box = await _digest(request), _Box(request, key)
    await _forget_old(connection)
    if not await _claim(connection, principal.name, key, digest):
        return await _repeat(connection, principal.name, key, digest, box)
    response = await make()
    await connection.execute(
        QUERIES["set_answer"], principal.name, key, response.status_code, box.seal(_packed(response))
    )
    return response


class _Box:
    """Closes answers with what only the caller knows: the API key itself."""

    def __init__(self, request: Request, key: str) -> None:
        secret = request.headers.get("authorization", "").partition(" ")[2].strip()
        self._cipher = AESGCM(hmac.digest(secret.encode(), b"acuse idempotency\0" + key.encode(), hashlib.sha256))

    def seal(self, answer: bytes) -> bytes:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, answer, None)

    def open(self, sealed: bytes) -> bytes:
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], None)
        except InvalidTag:  # an API key of the same name, but another secret
            raise Conflict("This Idempotency-Key was used with another API key of the same name.") from None


def _key(request: Request) -> str | None:
    key = request.headers.get(HEADER)
    if key is not None and not (0 < len(key) <= _LONGEST and key.isascii() and key.isprintable()):
        raise Invalid.field(HEADER, f"Give 1 to {_LONGEST} printable ASCII characters.")
    return key


async def _digest(request: Request) -> bytes:
    what = f"{request.method} {request.url.path}?{request.url.query}\0".encode()
    return hashlib.sha256(what + await request.body()).digest()


async def _claim(connection: Connection, owner: str, key: str, digest: bytes) -> bool:
    """True for the first. Waits while another transaction that claimed the same is still open."""
    claimed = await connection.fetchval(QUERIES["add_request"], owner, key, digest, datetime.now(UTC))
    return claimed is True


async def _repeat(connection: Connection, owner: str, key: str, digest: bytes, box: _Box) -> Response:
    row = await connection.fetchrow(QUERIES["find_answer"], owner, key)
    if row is None or not hmac.compare_digest(row["request_hash"], digest):
        raise Conflict("This Idempotency-Key was used for another request.")
    headers, _, body = box.open(row["answer"]).partition(b"\n")
    return Response(body, row["status"], orjson.loads(headers) | {"Idempotency-Replayed": "true"})


def _packed(response: Response) -> bytes:
    headers = {name: response.headers[name] for name in _REPEATED if name in response.headers}
    return orjson.dumps(headers) + b"\n" + bytes(response.body)


async def _forget_old(connection: Connection) -> None:
    """A few expired answers, those that nobody else is forgetting: cheap, and the table stays small."""
    await connection.execute(QUERIES["forget_answers"], datetime.now(UTC) - KEPT)
