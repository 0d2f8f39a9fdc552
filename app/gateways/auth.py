"""How a callback proves where it comes from: small functions to combine.

All comparisons take the same time whether they fit or not, work on octets (so that no input makes them raise), and
never accept an empty secret. Any of a gateway's secrets is good, so that they can rotate.
"""

import hmac
from base64 import b64decode
from collections.abc import Callable, Mapping

from app.gateways.receipt import Adapter, Auth, AuthMode, Callback

TOKEN_HEADER = "x-acuse-token"


def verified(callback: Callback, adapter: Adapter, auth: Auth) -> bool:
    """Whether `callback` shows one of the gateway's secrets in the way its auth mode asks for."""
    if auth.mode == "signature":
        return adapter.verify_signature is not None and adapter.verify_signature(callback, auth)
    return _MODES[auth.mode](callback, auth)


def any_secret(given: bytes, auth: Auth) -> bool:
    """Whether `given` is one of the secrets, letter for letter."""
    return any(secret and hmac.compare_digest(given, octets(secret)) for secret in auth.secrets)


def octets(text: str) -> bytes:
    """`text` in UTF-8, whatever it holds: a lone surrogate (from a JSON escape) is no reason to raise."""
    return text.encode("utf-8", "surrogatepass")


def header_octets(value: str) -> bytes:
    """A header's octets as they came: ASGI servers hand them over read as Latin-1."""
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError:
        return octets(value)


def hmac_hex(secret: str, body: bytes, algorithm: str = "sha256") -> bytes:
    """HMAC of `body` in lower case hexadecimal, ready for `hmac.compare_digest`."""
    return hmac.digest(octets(secret), body, algorithm).hex().encode()


def _token(callback: Callback, auth: Auth) -> bool:
    header = callback.headers.get(TOKEN_HEADER)
    if header is not None and any_secret(header_octets(header), auth):
        return True
    # Most queries hold no token: they need not be split to know it.
    return "token=" in callback.query and any_secret(octets(callback.params.get("token", "")), auth)


def _basic(callback: Callback, auth: Auth) -> bool:
    try:
        credentials = b64decode(_credentials(callback, "basic"), validate=True)
    except ValueError:  # binascii.Error, or not ASCII
        return False
    username, _, password = credentials.partition(b":")
    known = hmac.compare_digest(username, octets(auth.username or ""))
    return any_secret(password, auth) and known


def _bearer(callback: Callback, auth: Auth) -> bool:
    return any_secret(header_octets(_credentials(callback, "bearer")), auth)


def _credentials(callback: Callback, scheme: str) -> str:
    """What follows the scheme in `Authorization`; empty when another scheme is given, or none."""
    given, _, credentials = callback.headers.get("authorization", "").partition(" ")
    return credentials.strip() if given.lower() == scheme else ""


def _anyone(callback: Callback, auth: Auth) -> bool:
    return True


_MODES: Mapping[AuthMode, Callable[[Callback, Auth], bool]] = {
    "token": _token,
    "basic": _basic,
    "bearer": _bearer,
    "none": _anyone,
}
