"""The door for recipients: `/r/{token}` on any host, `/{token}` on the hosts of short URLs, where nothing else answers.

Plain ASGI, in front of the framework's middleware, because this is a hot road: the token is checked and the URL found in
memory, the click is offered to the inbox, and after at most some milliseconds the answer goes out, whether the click is
durable by then or becomes so behind. Whatever leads nowhere gets one small page, that tells a stranger nothing.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol, Self
from urllib.parse import urlsplit

from prometheus_client import Counter
from starlette.types import Receive, Scope, Send

from app import metrics
from app.errors import Busy, problem_response
from app.links.answers import Link, Route
from app.links.bursts import Bursts
from app.links.clicks import ClickRow, click, visitor
from app.links.limiter import Limiter, network_of
from app.links.pages import FRONT, GONE, LATER, SLOWLY, WRONG, Page, page
from app.links.routes import Routes
from app.links.tokens import Keys, decode, without_tail
from app.logs import log
from app.server.whole import Whole

PREFIX = "/r/"
_HUMAN: Counter = metrics.clicks_total.labels("human")
_MACHINE: Counter = metrics.clicks_total.labels("machine")
#: Nobody searches among short URLs.
_ROBOTS = b"User-agent: *\nDisallow: /\n"
_ROBOTS_HEADERS = [
    (b"content-type", b"text/plain; charset=utf-8"),
    (b"content-length", str(len(_ROBOTS)).encode()),
    (b"cache-control", b"max-age=86400"),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortHosts:
    """The hosts of short URLs, in lower case and without ports."""

    #: Nothing of the service answers there but short URLs.
    alone: frozenset[bytes]
    #: By these the service itself is reached as well.
    shared: frozenset[bytes]

    @classmethod
    def of(cls, hosts: Iterable[str], own: str | None) -> Self:
        """`own`: the URL by which the service is reached."""
        short = frozenset(_name_of(host.encode("ascii", "replace")) for host in hosts)
        netloc = urlsplit(own or "").netloc.rpartition("@")[2]
        shared = short & {_name_of(netloc.encode("ascii", "replace"))}
        return cls(alone=short - shared, shared=shared)

    def token(self, scope: Scope, kept: frozenset[str]) -> str | None:
        """What stands in a token's place; None on other hosts, and for the service's own paths (`kept`, and all of more
        segments) where it shares the host."""
        host = _host_of(scope)
        if host is None:
            return None
        token: str = scope["path"][1:]
        if host in self.alone:
            return token
        if host not in self.shared or not token or scope["path"] in kept:
            return None
        return token if "/" not in token or without_tail(token) else None

    def are_all(self, scope: Scope) -> bool:
        """Whether the request is one to a host where nothing but short URLs answers."""
        return _host_of(scope) in self.alone


def _host_of(scope: Scope) -> bytes | None:
    for name, value in scope["headers"]:
        if name == b"host":
            return _name_of(value)
    return None


@lru_cache(maxsize=512)
def _name_of(host: bytes) -> bytes:
    """Without the port, in lower case; an address in brackets keeps them."""
    end = host.find(b"]") + 1
    return (host[:end] + host[end:].partition(b":")[0]).lower().removesuffix(b".")


class Clicks(Protocol):
    """Where clicks become durable: the inbox, which stands above this room."""

    def offer(self, row: ClickRow) -> "asyncio.Future[None] | None": ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Visits:
    """What every visit needs, looked up once."""

    routes: Routes
    limiter: Limiter
    bursts: Bursts
    clicks: Clicks
    #: How long a redirect waits for its click to be durable.
    wait_seconds: float


def visits_of(scope: Scope) -> Visits:
    found: Visits = scope["app"].state["visits"]  # an item comes three times as cheap as an attribute
    return found


async def on_short_host(scope: Scope, receive: Receive, send: Send, token: str) -> None:
    """Answers one visit to a host of short URLs, whose paths are tokens but for two."""
    if token not in ("", "robots.txt") or scope["method"] not in ("GET", "HEAD"):
        await redirect(scope, receive, send, token)
    elif token:
        await _send(scope, send, 200, _ROBOTS_HEADERS, _ROBOTS)
    else:
        await _show(scope, send, Nowhere(FRONT))


async def redirect(scope: Scope, receive: Receive, send: Send, token: str) -> None:
    """Answers one visit."""
    if scope["method"] != "GET" and scope["method"] != "HEAD":
        told = problem_response(405, "A short URL takes GET and HEAD.", headers={"Allow": "GET, HEAD"})
        await told(scope, receive, send)
        return
    try:
        answer = await _answer(scope, token)
    except Nowhere as nowhere:
        await _show(scope, send, nowhere)
        return
    except Exception:
        log.exception("redirect.failed")
        await _show(scope, send, Nowhere(LATER, 5))
        return
    await answer.send(scope, send)


class Nowhere(Exception):
    """The page that is shown in place of a redirect."""

    def __init__(self, shown: Page, retry_after: int = 0) -> None:
        self.shown = shown
        self.retry_after = retry_after


async def _answer(scope: Scope, token: str) -> Whole:
    """What leads where the token does; its click is taken down. Raises `Nowhere`."""
    visits = visits_of(scope)
    client = scope.get("client")
    network = network_of(client[0] if client else None)
    limiter, routes = visits.limiter, visits.routes
    if routes.keys is None:
        raise Nowhere(LATER, 5)
    named = decode(routes.keys, token) or _before_a_tail(routes.keys, token)
    message_id, number = named or (0, 0)
    route: Route | None = routes.of(message_id)
    if named is None:
        raise _missed(limiter, network, token)
    try:
        if route is None or number not in route.links:
            route = await routes.find(message_id, number)
        link: Link | None = route.links.get(number) if route is not None else None
        if route is None or link is None:
            raise _missed(limiter, network, token)
        now = datetime.now(UTC)
        if now.timestamp() >= route.ends_at:
            metrics.short_misses_total.labels("over").inc()
            raise Nowhere(GONE)
        answer = link.answer
        if link.template is not None:
            answer = await routes.location(message_id, link.template)
    except Busy:
        raise Nowhere(LATER, 5) from None
    if answer is None:
        metrics.short_misses_total.labels("no_target").inc()
        raise Nowhere(GONE)
    if visits.bursts.counted(message_id, route.delivery_id, number, network, now.timestamp()):
        _MACHINE.inc()
        return answer
    who = visitor(scope["method"], scope["headers"])
    (_HUMAN if who.human else _MACHINE).inc()
    done = visits.clicks.offer(click(message_id, route.delivery_id, number, now, who, network))
    if done is not None:
        await _for_a_moment(done, visits.wait_seconds)
    return answer


def _before_a_tail(keys: Keys, text: str) -> tuple[int, int] | None:
    """What the token names that stands at the beginning."""
    token = without_tail(text)
    return None if token is None else decode(keys, token)


async def _for_a_moment(done: "asyncio.Future[None]", seconds: float) -> None:
    """Until the click is durable, but no longer than that."""
    handle = asyncio.get_running_loop().call_later(seconds, _let_go, done)
    await done
    handle.cancel()


def _let_go(done: "asyncio.Future[None]") -> None:
    if not done.done():
        done.set_result(None)


def _missed(limiter: Limiter, network: str | None, token: str) -> Nowhere:
    """A name with a dot is a browser's or a robot's habit (`favicon.ico`), and no guess. Behind a guess it was taken off."""
    metrics.short_misses_total.labels("wrong").inc()
    wait = 0 if "." in (without_tail(token) or token) else limiter.missed(network)
    return Nowhere(SLOWLY, wait) if wait else Nowhere(WRONG)


async def _show(scope: Scope, send: Send, nowhere: Nowhere) -> None:
    language = next((value for name, value in scope["headers"] if name == b"accept-language"), b"")
    headers, body = page(nowhere.shown, language, nowhere.retry_after)
    await _send(scope, send, nowhere.shown.status, headers, body)


async def wrong(scope: Scope, send: Send) -> None:
    """The page of a wrong link."""
    await _show(scope, send, Nowhere(WRONG))


async def _send(scope: Scope, send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
