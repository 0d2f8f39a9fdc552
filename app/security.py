"""Who may do what, and see what: API keys and scopes. What is masked for whom stands in `app.privacy`.

A secret is 256 random bits, so its SHA-256 is all that is stored, and looking it up needs no slow hash.
Keys are cached in memory (`KeyRing`), so that receipts are still taken while the database is away.
"""

import hashlib
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Depends, Request
from starlette.requests import HTTPConnection

from app import privacy
from app.errors import Forbidden, Unauthenticated
from app.privacy.disclosures import Given, disclosures_of
from app.privacy.masking import holds_number, in_pieces, mask_long, mask_numbers
from app.server.parameters import refuse_unknown
from app.server.rates import rates_of, source_of
from app.server.tickets import tickets_of

SCOPES = (
    "deliveries:read",
    "deliveries:write",
    "receipts:write",
    "quarantine:read",
    "quarantine:write",
    "gateways:write",
    "pii:read",
    "admin",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """The API key behind a request. `admin` may do everything."""

    name: str
    scopes: frozenset[str]
    #: Of one request: what it gives out whole is noted here.
    given: Given | None = field(default=None, compare=False, repr=False)

    def may(self, scope: str) -> bool:
        return scope in self.scopes or "admin" in self.scopes

    @property
    def sees_all(self) -> bool:
        return self.may("pii:read")

    def shown(self, row: Mapping[str, Any], of: str = "") -> dict[str, Any]:
        """`row` of an answer as this key may see it, field by field (`app.privacy`)."""
        if not self.sees_all:
            return privacy.masked(row, of)
        if self.given is not None and privacy.names_somebody(row):
            self.given.count()
        return dict(row)

    def reads(self, rows: int) -> None:
        """Says that so many rows with whole numbers are given out another way than by `shown`."""
        if self.given is not None and rows:
            self.given.count(rows)

    async def all_shown(self, rows: Iterable[Mapping[str, Any]], of: str = "") -> list[dict[str, Any]]:
        """As `shown`, for a whole page: masks take time, which is shared with whoever waits for the event loop."""
        return await in_pieces(self.shown(row, of) for row in rows)

    def text(self, value: str) -> str:
        """A sentence that quotes what others wrote, as this key may see it."""
        return value if self.sees_all else mask_numbers(value)

    async def long_text(self, value: str) -> str:
        """As `text`, of any length."""
        return value if self.sees_all else await mask_long(value)


def new_secret() -> str:
    return "ak_" + secrets.token_urlsafe(32)


def hash_secret(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


async def _nobody(key_hash: bytes) -> Principal | None:
    return None


class KeyRing:
    """The API keys by hash, as last read from the database."""

    def __init__(self) -> None:
        self._by_hash: Mapping[bytes, Principal] = {}
        #: Asks the database for a key that is not known yet: the directory does. Raises `Busy` when nobody can tell now.
        self.find_new: Callable[[bytes], Awaitable[Principal | None]] = _nobody

    def replace(self, keys: Mapping[bytes, Principal]) -> None:
        self._by_hash = keys

    def find(self, key_hash: bytes) -> Principal | None:
        return self._by_hash.get(key_hash)


async def authenticate(request: Request) -> Principal:
    """The key that `request` came with. Raises `Unauthenticated`, `TooMany`, or `Busy` when nobody can tell now; and `Invalid`
    for what the operation would pass over: a query parameter that it does not know, a body that it does not take."""
    secret = secret_of(request)
    key_hash, reason = (hash_secret(secret), "wrong") if secret else (None, "missing")
    return await _holder(request, key_hash, reason, Unauthenticated())


async def _holder(request: Request, key_hash: bytes | None, reason: str, refusal: Unauthenticated) -> Principal:
    """Whose key has this hash; raises `refusal`, and counts it under `reason`, when nobody's has."""
    rates, source = rates_of(request), source_of(request.client.host if request.client else "")
    keys = key_ring_of(request)
    principal = None if key_hash is None else keys.find(key_hash)
    if principal is None and key_hash is not None and not rates.is_guessing(source):
        principal = await keys.find_new(key_hash)
    if not isinstance(principal, Principal):
        rates.failed(source, reason, None if key_hash is None else key_hash.hex()[:8])
        raise refusal
    rates.passed(source, principal.name)
    await refuse_unknown(request)
    return principal


def secret_of(request: Request) -> str:
    """What came as the API key; empty for none."""
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else ""


async def by_ticket(request: Request, ticket: str, delivery_id: str) -> Principal:
    """The key that a ticket stands for. Raises as `authenticate` does."""
    key_hash = tickets_of(request).open(ticket, delivery_id, datetime.now(UTC))
    told = "This ticket is over, or is none for this stream: POST /v1/tickets makes a new one."
    return await _holder(request, key_hash, "wrong", Unauthenticated(told))


def allowed(principal: Principal, scope: str) -> Principal:
    if not principal.may(scope):
        raise Forbidden(f"This key lacks the scope `{scope}`.")
    return principal


def asks(principal: Principal, *, number: object = None, words: Iterable[str | None] = ()) -> None:
    """Whoever may not see numbers may not ask for one either: a mask would be a few questions away. `number`: a filter
    by address, `words`: filters that hold whatever they were given. Raises `Forbidden`."""
    if not principal.sees_all and (number is not None or any(word and holds_number(word) for word in words)):
        raise Forbidden("Asking by number needs the scope `pii:read`.")


def requires(scope: str) -> Callable[[Request], Awaitable[Principal]]:
    """A dependency: the request's key, which must have `scope`."""

    async def dependency(request: Request) -> Principal:
        return _noting(allowed(await authenticate(request), scope), request)

    return dependency


def _noting(principal: Principal, request: Request) -> Principal:
    """Of this request: what it reads whole goes to the journal under its route."""
    if not principal.sees_all:
        return principal
    route = getattr(request.scope.get("route"), "path", "")
    return replace(principal, given=Given(disclosures_of(request), principal.name, f"{request.method} {route}"))


async def _number_reader(request: Request) -> Principal:
    return allowed(await authenticate(request), "pii:read")


async def _gateway_reader(request: Request) -> Principal:
    principal = await authenticate(request)
    if not principal.may("deliveries:read") and not principal.may("gateways:write"):
        raise Forbidden("This key lacks the scope `deliveries:read` or `gateways:write`.")
    return _noting(principal, request)


Reader = Annotated[Principal, Depends(requires("deliveries:read"))]
Writer = Annotated[Principal, Depends(requires("deliveries:write"))]
GatewayReader = Annotated[Principal, Depends(_gateway_reader)]
GatewayWriter = Annotated[Principal, Depends(requires("gateways:write"))]
ReceiptWriter = Annotated[Principal, Depends(requires("receipts:write"))]
Admin = Annotated[Principal, Depends(requires("admin"))]
#: Beside another: who asks by a number in the path.
NumberReader = Annotated[Principal, Depends(_number_reader)]
QuarantineReader = Annotated[Principal, Depends(requires("quarantine:read"))]
QuarantineWriter = Annotated[Principal, Depends(requires("quarantine:write"))]


def key_ring_of(connection: HTTPConnection) -> KeyRing:
    found: KeyRing = connection.app.state.keys
    return found
