"""Who may do what: API keys, scopes, masking of addresses.

A secret is 256 random bits, so its SHA-256 is all that is stored, and looking it up needs no slow hash.
Keys are cached in memory (`KeyRing`), so that receipts are still taken while the database is away.
"""

import hashlib
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request

from app.errors import Forbidden, Unauthenticated
from app.pseudonyms import PREFIX

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

    def may(self, scope: str) -> bool:
        return scope in self.scopes or "admin" in self.scopes

    def address(self, value: str | None) -> str | None:
        """`value` as this key may see it."""
        return value if value is None or self.may("pii:read") else mask(value)

    def text(self, value: str | None) -> str | None:
        """Free text (a raw payload, an error text) as this key may see it."""
        return value if value is None or self.may("pii:read") else mask_numbers(value)


def new_secret() -> str:
    return "ak_" + secrets.token_urlsafe(32)


def hash_secret(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def mask(address: str) -> str:
    """`+34600123000` → `+34600•••000`; what is too short to mask in part is masked whole. A pseudonym says nothing."""
    if address.startswith(PREFIX):
        return address
    return f"{address[:6]}•••{address[-3:]}" if len(address) > 9 else "•••"


_NUMBERS = re.compile(r"(?:\+|%2[bB]|00)?\d[\d .()/-]{5,}\d")
#: A number of this many digits in JSON could be a phone number.
_PHONE_DIGITS = 7


def mask_numbers(text: str) -> str:
    """Masks everything in `text` that could be a phone number. Ids made of digits go too: better so than the reverse."""
    return _NUMBERS.sub("•••", text)


def mask_within(value: Any) -> Any:
    """`value` with all that could be a phone number masked, however deep."""
    if isinstance(value, str):
        return mask_numbers(value)
    if isinstance(value, Mapping):
        return {mask_numbers(str(name)): mask_within(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [mask_within(each) for each in value]
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) >= 10**_PHONE_DIGITS:
        return "•••"
    return value


class KeyRing:
    """The API keys by hash, as last read from the database."""

    def __init__(self) -> None:
        self._by_hash: Mapping[bytes, Principal] = {}

    def replace(self, keys: Mapping[bytes, Principal]) -> None:
        self._by_hash = keys

    def find(self, secret: str) -> Principal | None:
        return self._by_hash.get(hash_secret(secret))


async def authenticate(request: Request) -> Principal:
    """The key that `request` came with. Raises `Unauthenticated`, or `Busy` when nobody can tell now."""
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    principal = await request.app.state.directory.find_key(secret.strip()) if scheme.lower() == "bearer" else None
    if not isinstance(principal, Principal):
        raise Unauthenticated
    return principal


def allowed(principal: Principal, scope: str) -> Principal:
    if not principal.may(scope):
        raise Forbidden(f"This key lacks the scope `{scope}`.")
    return principal


def requires(scope: str) -> Callable[[Request], Awaitable[Principal]]:
    """A dependency: the request's key, which must have `scope`."""

    async def dependency(request: Request) -> Principal:
        return allowed(await authenticate(request), scope)

    return dependency


async def _gateway_reader(request: Request) -> Principal:
    principal = await authenticate(request)
    if not principal.may("deliveries:read") and not principal.may("gateways:write"):
        raise Forbidden("This key lacks the scope `deliveries:read` or `gateways:write`.")
    return principal


Reader = Annotated[Principal, Depends(requires("deliveries:read"))]
Writer = Annotated[Principal, Depends(requires("deliveries:write"))]
GatewayReader = Annotated[Principal, Depends(_gateway_reader)]
GatewayWriter = Annotated[Principal, Depends(requires("gateways:write"))]
ReceiptWriter = Annotated[Principal, Depends(requires("receipts:write"))]
Admin = Annotated[Principal, Depends(requires("admin"))]
QuarantineReader = Annotated[Principal, Depends(requires("quarantine:read"))]
QuarantineWriter = Annotated[Principal, Depends(requires("quarantine:write"))]
