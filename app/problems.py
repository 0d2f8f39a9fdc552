"""Every error as problem+json: what raises one, and how it becomes the one shape.

`Guard` stands around the whole application: it bounds the bodies of ordinary requests, answers 503 at once when the
database is away, and turns whatever nobody foresaw into a 500 with an id that stands in the log, too.
"""

import asyncio
import re
import uuid
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api import wording
from app.api.reader import BodyRefused, bounded
from app.db import engine_of, is_away, is_of_session, pool_of, reach_of, renew
from app.errors import Problem, not_valid, problem_response
from app.logs import log

RETRY_AFTER_SECONDS = 5
_LONGEST_POINTER = 200
_MOST_ERRORS = 100
_SENTENCES = {
    400: "The request cannot be read.",
    404: "There is nothing at this address.",
    405: "This address does not take this method.",
    413: "The body is too large.",
}


def install(app: FastAPI, *, max_body_bytes: int) -> None:
    """Handlers and guard. Call it when all routes are in place."""
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_middleware(Guard, max_body_bytes=max_body_bytes, streams=_is_stream(app), fixed=_fixed_paths(app))


# --- handlers --------------------------------------------------------------------------------------------------------


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return problem_response(error.status, error.detail, errors=error.errors, headers=error.headers)


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(sorted(_allowed_methods(request)))
    own = None if isinstance(error, BodyRefused) else _SENTENCES.get(error.status_code)
    detail = own or str(error.detail)
    return problem_response(error.status_code, detail, headers=headers)


async def _invalid(request: Request, error: Exception) -> Response:
    """422 with a pointer a field; a body that is no JSON is 400, one that does not say it is JSON 415."""
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    if any(each["type"] == "json_invalid" for each in found):
        return problem_response(400, "The body is not well-formed JSON.")
    if isinstance(error.body, bytes) and error.body:  # FastAPI left it unread
        return problem_response(415, "Send the body as application/json.")
    errors = field_errors(found)
    return problem_response(422, not_valid(errors), errors=errors)


def _allowed_methods(request: Request) -> set[str]:
    """Of all routes for this path, not only of the first that fits; of the most specific ones where several patterns do:
    `/v1/quarantine/release` is no address."""
    found = list(_fitting(request.app, request.url.path))
    fewest = min((pattern.groups for pattern, _ in found), default=0)
    return {method for pattern, methods in found if pattern.groups == fewest for method in methods}


def _fitting(app: FastAPI, path: str) -> Iterator[tuple[re.Pattern[str], set[str]]]:
    """Patterns of routes that `path` fits, with their methods. Each parameter is one group."""
    for route in iter_route_contexts(app.router.routes):
        pattern = getattr(route, "path_regex", None)
        if pattern is not None and pattern.match(path):
            yield pattern, route.methods or set()


def _fixed_paths(app: FastAPI) -> dict[str, set[str]]:
    """Paths without a parameter that another route's parameter would swallow, with the methods that they take."""
    paths = {getattr(route, "path", "{") for route in iter_route_contexts(app.router.routes)}
    found: dict[str, set[str]] = {}
    for path in (path for path in paths if "{" not in path):
        fitting = list(_fitting(app, path))
        if any(pattern.groups for pattern, _ in fitting):
            found[path] = {method for pattern, methods in fitting if not pattern.groups for method in methods}
    return found


# --- fields ----------------------------------------------------------------------------------------------------------


def field_errors(errors: Iterable[Mapping[str, Any]], *, prefix: str = "") -> list[dict[str, str]]:
    """Pydantic's errors as `{pointer, detail}`: JSON pointers into the body, `?name` for queries, the name for the
    rest; each names its field. What was sent is never repeated."""
    return [
        {"pointer": _pointer(each["loc"], prefix), "detail": wording.named(_place(each, prefix), wording.fault(each))}
        for each in list(errors)[:_MOST_ERRORS]
    ]


def _place(error: Mapping[str, Any], prefix: str) -> Sequence[int | str]:
    """Without the word for where it stands (`body`, `query`), unless all of that is wrong."""
    place: Sequence[int | str] = error["loc"]
    if prefix:
        return [*filter(None, prefix.split("/")), *place]
    return place[1:] or (() if error["type"] == "value_error" else place)


def _pointer(place: Sequence[int | str], prefix: str) -> str:
    if not prefix and place and place[0] in ("query", "path", "header", "cookie"):
        if place[0] == "query":  # of one that is given several times its name
            return f"?{place[1]}"[:_LONGEST_POINTER]
        return ".".join(map(str, place[1:]))[:_LONGEST_POINTER]
    steps = place if prefix else place[1:]
    escaped = (str(step).replace("~", "~0").replace("/", "~1") for step in steps)
    return (prefix + "".join(f"/{step}" for step in escaped))[:_LONGEST_POINTER].encode("utf-8", "replace").decode()


# --- the guard -------------------------------------------------------------------------------------------------------


def _is_stream(app: FastAPI) -> Callable[[str], bool]:
    """Whether a path takes bulk bodies, which are read as streams and have no limit: those documented as NDJSON."""
    patterns = [
        route.path_regex
        for route in iter_route_contexts(app.router.routes)
        if "application/x-ndjson"
        in (getattr(route, "openapi_extra", None) or {}).get("requestBody", {}).get("content", {})
    ]
    return lambda path: any(pattern.match(path) for pattern in patterns)


#: How long a request may try on while the database is known to be out of reach.
GRACE_SECONDS = 1.0


class Guard:
    """The outermost layer: plain ASGI. Callbacks do not pass it; their own endpoint does the like."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_body_bytes: int,
        streams: Callable[[str], bool],
        fixed: Mapping[str, Collection[str]],
    ) -> None:
        self._app = app
        self._max = max_body_bytes
        self._streams = streams
        self._fixed = fixed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        allowed = self._fixed.get(scope["path"])
        if allowed is not None and scope["method"] not in allowed:
            headers = {"Allow": ", ".join(sorted(allowed))}
            await problem_response(405, _SENTENCES[405], headers=headers)(scope, receive, _closed(send))
            return
        started = False

        async def noting(message: Message) -> None:
            nonlocal started
            started = True
            if message["type"] == "http.response.start":
                _close(message)
            await send(message)

        try:
            await self._unless_hung(scope, self._app(scope, self._bounded(scope, receive), noting), lambda: started)
        except ClientDisconnect:
            return  # nobody is there to be told
        except Exception as error:
            if is_away(error):
                await _renew(HTTPConnection(scope), error)
            answer = _unforeseen(scope, error)
            if started:  # half an answer must not look like a whole one: the server breaks the connection off
                raise
            await answer(scope, receive, noting)

    async def _unless_hung(self, scope: Scope, work: Awaitable[None], has_started: Callable[[], bool]) -> None:
        """Waits for `work`, but no longer than the database can be reached: a server that hangs, and does not refuse,
        would keep a request for ever. An answer that has begun goes on. Raises `TimeoutError` in its place."""
        if not scope["path"].startswith("/v1/") or self._streams(scope["path"]):
            await work
            return
        unreachable = reach_of(scope).unreachable
        request, watch = asyncio.ensure_future(work), asyncio.ensure_future(unreachable.wait())
        try:
            await asyncio.wait({request, watch}, return_when=asyncio.FIRST_COMPLETED)
            if not request.done():
                await asyncio.wait({request}, timeout=GRACE_SECONDS)  # it may be back, and only not known to be yet
            if not request.done() and not has_started():
                request.add_done_callback(lambda late: late.cancelled() or late.exception())
                request.cancel()
                raise TimeoutError
            await request
        finally:
            watch.cancel()
            request.cancel()

    def _bounded(self, scope: Scope, receive: Receive) -> Receive:
        """`receive`, for ordinary requests with a body bounded and judged. Bulk bodies do that row by row."""
        if scope["method"] in ("GET", "HEAD") or self._streams(scope["path"]):
            return receive
        kind = next((value for name, value in scope["headers"] if name == b"content-type"), b"json")
        return bounded(receive, self._max, json=b"json" in kind.lower())


async def _renew(connection: HTTPConnection, error: Exception) -> None:
    """Settings of sessions outlive their being taken back: the API's connections are opened anew."""
    if is_of_session(error):
        await engine_of(connection).dispose()
        await renew(pool_of(connection), error)


def _close(message: Message) -> None:
    """Answers are for who asked and nobody between, and are what they say they are."""
    headers = MutableHeaders(scope=message)
    headers["X-Content-Type-Options"] = "nosniff"
    headers.setdefault("Cache-Control", "no-store")


def _closed(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            _close(message)
        await send(message)

    return sending


def _unforeseen(scope: Scope, error: Exception) -> Response:
    if is_away(error):
        if not reach_of(scope).away:  # else it is known, and said
            log.warning("http.database_away", error=type(error).__name__)
        headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
        return problem_response(503, "The database is away; try again.", headers=headers)
    error_id = f"er_{uuid.uuid4().hex}"
    route = getattr(scope.get("route"), "path", None)  # the pattern: a path can hold an address
    log.error("http.failed", error_id=error_id, method=scope["method"], route=route, exc_info=error)
    return problem_response(500, f"Something went wrong here; the log knows it as {error_id}.")
