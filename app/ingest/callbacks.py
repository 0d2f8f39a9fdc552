"""The door for gateways: `/callbacks/{gateway}` and `/callbacks/{gateway}/{reference}`, in each provider's own format.

Plain ASGI, in front of the framework's middleware, because this is the hot road: read the body once, verify, parse,
make durable, answer. A 2xx is only said once the receipts are committed (or on the spool's disk). What cannot be read
is kept raw, and the answer names the id under which it is kept.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache
from urllib.parse import unquote, unquote_to_bytes

from prometheus_client import Counter
from starlette.types import Receive, Scope, Send

from app import metrics
from app.accounts.directory import GatewayDirectory
from app.api.bulk import PART_ROWS, parts
from app.db import is_away
from app.errors import Busy, NotFound, Problem, TooLarge, Unauthenticated, problem_response
from app.gateways import GATEWAYS
from app.gateways.auth import TOKEN_HEADER, verified
from app.gateways.receipt import Adapter, Answer, Callback, Gateway, Inbound, Item, Receipt, Unreadable
from app.ingest import batches
from app.ingest.inbox import Inbox
from app.ingest.kinds import Row, new_id
from app.ingest.refused import RefusedShelf
from app.ingest.replies import verdict_of
from app.ingest.rows import RejectedRow, clean, inbound_row, inbox_row
from app.links import redirect
from app.links.redirect import ShortHosts
from app.logs import log
from app.server.whole import Whole
from app.settings import Settings

PREFIX = "/callbacks/"


class NotAllowed(Problem):
    status = 405


class Unread(Problem):
    """Nothing of the callback could be read."""

    status = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Road:
    """What every callback needs, looked up once."""

    directory: GatewayDirectory
    inbox: Inbox
    refused: RefusedShelf
    settings: Settings
    public_base: str | None
    short_hosts: ShortHosts


def road_of(scope: Scope) -> Road:
    found: Road = scope["app"].state["road"]  # an item comes three times as cheap as an attribute
    return found


async def callbacks(scope: Scope, receive: Receive, send: Send) -> None:
    """The ASGI application behind `PREFIX`: one callback, and its answer, whatever happens. Hosts of short URLs take what
    gateways report, too, for no receipt is turned away because of a name; strangers see nothing of this there."""
    try:
        answer = await _taken(scope, receive)
    except Problem as problem:
        if isinstance(problem, NotFound) and road_of(scope).short_hosts.are_all(scope):
            await redirect.wrong(scope, send)
            return
        response = problem_response(problem.status, problem.detail, errors=problem.errors, headers=problem.headers)
        await response(scope, receive, send)
    except Exception as error:
        if not is_away(error):
            log.exception("callback.failed")
        told = Busy("This callback could not be stored; send it again.")
        await problem_response(told.status, told.detail, headers=told.headers)(scope, receive, send)
    else:
        await _whole(answer.status, answer.content_type, answer.body).send(scope, send)


async def _taken(scope: Scope, receive: Receive) -> Answer:
    """The whole way of one callback, to the answer that its gateway expects once everything is durable."""
    road = road_of(scope)
    key, _, reference = scope["path"][len(PREFIX) :].partition("/")
    gateway = road.directory.get(key) or await _found(scope, key)
    if gateway is None or "/" in reference:
        raise NotFound("There is no such gateway.")
    adapter = GATEWAYS[gateway.kind]
    if scope["method"] not in adapter.methods:
        raise NotAllowed(f"This gateway calls with {_words(adapter)}.", headers={"Allow": _words(adapter)})
    body = await _read(scope, receive, road.settings.max_callback_bytes)
    callback = _callback(scope, body, gateway, reference or None, road.public_base)
    if not verified(callback, adapter, gateway.auth):
        metrics.refused_total.labels(gateway.key, "auth").inc()
        if gateway.auth.mode == "signature":
            road.refused.offer(gateway, callback)
        raise Unauthenticated("This callback does not prove that it comes from the gateway.")
    if fault := batches.fault(callback, road.settings.max_callback_items):
        items: Sequence[Item] = [Unreadable(reason=fault, raw=b"")]
    else:
        items = await batches.parsed(adapter, callback, gateway)
    await take(road.inbox, gateway, callback, items)
    return adapter.answer if adapter.reply is None else _replied(adapter.reply, gateway, items) or adapter.answer


async def _found(scope: Scope, key: str) -> Gateway | None:
    """A gateway that was deleted, or is not known yet, by what the database says. Raises `NotAllowed` for methods that
    none calls with."""
    if scope["method"] not in ("GET", "POST"):
        if road_of(scope).short_hosts.are_all(scope):
            return None
        raise NotAllowed("Gateways call with GET or POST.", headers={"Allow": "GET, POST"})
    return await road_of(scope).directory.find_answering(key)


def _replied(reply: Callable[[str | None], Answer], gateway: Gateway, items: Sequence[Item]) -> Answer | None:
    """The answer to an inbound message, with what its rule replies; None when there is none among `items`."""
    texts = [verdict_of(gateway, item).reply for item in items if isinstance(item, Inbound)]
    return reply(next(filter(None, texts), None)) if texts else None


async def take(inbox: Inbox, gateway: Gateway, callback: Callback, items: Sequence[Item]) -> None:
    """Makes all of `items` durable. Raises `Unread` when not one of them could be read; they are kept all the same."""
    now = datetime.now(UTC)
    rows: list[Row] = []
    if len(items) <= PART_ROWS:
        _make(gateway, callback, items, now, rows)
    else:
        async for some in parts(items):
            _make(gateway, callback, some, now, rows)
    await inbox.put(rows)
    unread = [row for row in rows if type(row) is RejectedRow]
    if unread and len(unread) == len(rows):
        raise Unread(
            f"{unread[0].reason} It is kept as {unread[-1].id}.",
            errors=[{"pointer": "", "detail": row.reason} for row in unread[:100]],
        )


def _make(gateway: Gateway, callback: Callback, items: Sequence[Item], now: datetime, rows: list[Row]) -> None:
    """Adds a row for each of `items` to `rows`."""
    for item in items:
        if isinstance(item, Receipt):
            rows.append(inbox_row(gateway, item, now))
            _taken_of(gateway.key, item.outcome).inc()
        elif isinstance(item, Inbound):
            rows.append(inbound_row(gateway, item, now))
            metrics.inbound_total.labels(gateway.key).inc()
        else:
            rows.append(_rejected(gateway, callback, item, now))
            metrics.refused_total.labels(gateway.key, "unreadable").inc()


def _rejected(gateway: Gateway, callback: Callback, item: Unreadable, now: datetime) -> RejectedRow:
    return RejectedRow(new_id(), gateway.id, now, item.reason, request_of(callback), item.raw or callback.body)


def request_of(callback: Callback) -> dict[str, str | None]:
    """What is needed, besides the body, to read a kept callback again. Credentials are left out."""
    return {
        "method": callback.method,
        "query": clean(callback.query, 10_000),
        "content_type": clean(callback.headers.get("content-type"), 200),
        "reference": clean(callback.reference, 255),
    }


def _callback(scope: Scope, body: bytes, gateway: Gateway, reference: str | None, public_base: str | None) -> Callback:
    """The request as adapters see it: with the URL that the provider called, for signatures cover that."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    query = scope["query_string"].decode("latin-1")
    if gateway.auth.mode == "token" and "token=" in query:
        query = _without_token(query, headers)
    base = public_base if public_base is not None else f"{scope['scheme']}://{headers.get('host', '')}"
    path = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1").partition("?")[0]
    url = f"{base}{path}?{query}" if query else f"{base}{path}"
    return Callback(
        method=scope["method"],
        url=url,
        query=query,
        headers=headers,
        body=body,
        reference=reference and unquote(reference),
    )


def _without_token(query: str, headers: dict[str, str]) -> str:
    """The secret in the URL is not part of what the gateway says, and must not be kept with it: it becomes the header."""
    kept = []
    for pair in query.split("&"):
        if pair.startswith("token="):
            headers.setdefault(TOKEN_HEADER, unquote_to_bytes(pair[6:].replace("+", " ")).decode("latin-1"))
        else:
            kept.append(pair)
    return "&".join(kept)


async def _read(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The whole body. Raises `TooLarge` as soon as more than `limit` bytes have come."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":  # nobody is there to hear the answer
            raise Unread("The connection ended before the body did.")
        piece: bytes = message.get("body", b"")
        body += piece
        if len(body) > limit:
            raise TooLarge(f"A callback may have {limit} bytes at the most.")
        if not message.get("more_body", False):
            return body


def _words(adapter: Adapter) -> str:
    return ", ".join(sorted(adapter.methods))


@cache
def _taken_of(gateway: str, outcome: str) -> Counter:
    return metrics.receipts_total.labels(gateway, outcome)


@lru_cache(maxsize=256)
def _whole(status: int, content_type: str, body: bytes) -> Whole:
    headers = [(b"content-type", content_type.encode()), (b"content-length", str(len(body)).encode())]
    return Whole.of(status, headers, body)
