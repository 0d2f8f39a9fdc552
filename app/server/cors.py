"""Cross-origin requests: pages of the origins in ACUSE_CORS_ORIGINS may call the API with their own key.

Plain ASGI around everything but callbacks and short URLs, errors included: a page that cannot read a 422 cannot say what is
wrong. Keys travel in a header, so there are no credentials that a browser would add by itself, and none are allowed.
"""

from collections.abc import Collection

from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import problem_response

ANY = "*"
_METHODS = "GET, POST, PUT, PATCH, DELETE"
_TAKEN = "Authorization, Content-Type, Accept, Idempotency-Key, Last-Event-ID, Cache-Control"
_SHOWN = (
    "Acuse-Paused-At, Acuse-Reading, Allow, Content-Disposition, Idempotency-Replayed, Location, Retry-After, "
    "WWW-Authenticate"
)
#: How long a browser need not ask again.
_SECONDS = "600"


class Cors:
    def __init__(self, app: ASGIApp, *, origins: Collection[str]) -> None:
        self._app = app
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        origin = headers.get(b"origin", b"").decode("latin-1")
        allowed = self._allowed(origin)

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                _say(message, allowed)
            await send(message)

        if scope["method"] == "OPTIONS" and origin and b"access-control-request-method" in headers:
            await _preflight(allowed)(scope, receive, sending)
        else:
            await self._app(scope, receive, sending)

    def _allowed(self, origin: str) -> str | None:
        """What the answer says: the origin, `*` for any, None for none."""
        if ANY in self._origins:
            return ANY
        return origin if origin in self._origins else None


def _say(message: Message, allowed: str | None) -> None:
    headers = MutableHeaders(scope=message)
    if allowed != ANY:
        headers.add_vary_header("Origin")
    if allowed is not None:
        headers["Access-Control-Allow-Origin"] = allowed
        headers["Access-Control-Expose-Headers"] = _SHOWN


def _preflight(allowed: str | None) -> Response:
    if allowed is None:
        return problem_response(403, "ACUSE_CORS_ORIGINS does not name this origin.")
    headers = {
        "Access-Control-Allow-Methods": _METHODS,
        "Access-Control-Allow-Headers": _TAKEN,
        "Access-Control-Max-Age": _SECONDS,
    }
    return Response(status_code=204, headers=headers)
