"""The door for gateways: `/callbacks/{gateway}` and `/callbacks/{gateway}/{reference}`, in each provider's own format.

A plain ASGI endpoint, because this is the hot road: read the body once, verify, parse, make durable, answer. A 2xx is
only said once the receipts are committed (or on the spool's disk). What cannot be read is kept raw, and the answer
names the id under which it is kept.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from starlette.datastructures import URL
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from app import metrics
from app.errors import NotFound, Problem, TooLarge, Unauthenticated
from app.gateways import GATEWAYS
from app.gateways.auth import verified
from app.gateways.receipt import Adapter, Callback, Gateway, Item, Receipt, Unreadable
from app.gateways.receipt import Inbound
from app.ingest.inbox import Inbox, Row, new_id
from app.ingest.rows import RejectedRow, clean, inbox_row


class NotAllowed(Problem):
    status = 405


class Unread(Problem):
    """Nothing of the callback could be read."""

    status = 400


class Callbacks:
    """The ASGI endpoint."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        state = scope["app"].state
        gateway: Gateway | None = state.directory.get(scope["path_params"]["gateway"])
        gateway = gateway or await state.directory.find(scope["path_params"]["gateway"])
        if gateway is None:
            raise NotFound("There is no such gateway.")
        adapter = GATEWAYS[gateway.kind]
        if scope["method"] not in adapter.methods:
            raise NotAllowed(f"This gateway calls with {_words(adapter)}.", headers={"Allow": _words(adapter)})
        callback = _callback(scope, await _read(scope, receive, state.settings.max_callback_bytes), state.public_base)
        if not verified(callback, adapter, gateway.auth):
            metrics.refused_total.labels(gateway.key, "auth").inc()
            raise Unauthenticated("This callback does not prove that it comes from the gateway.")
        callback = _without_token(callback, gateway)
        await take(state.inbox, gateway, callback, adapter.parse(callback, gateway))
        answer = adapter.answer
        await Response(answer.body, answer.status, media_type=answer.content_type)(scope, receive, send)


async def take(inbox: Inbox, gateway: Gateway, callback: Callback, items: Sequence[Item]) -> None:
    """Makes all of `items` durable. Raises `Unread` when not one of them could be read; they are kept all the same."""
    now = datetime.now(UTC)
    rows: list[Row] = []
    reasons: list[str] = []
    rejected = ""
    for item in items:
        if isinstance(item, Receipt):
            rows.append(inbox_row(gateway, item, now))
            metrics.receipts_total.labels(gateway.key, item.outcome.value).inc()
            continue
        row = _rejected(gateway, callback, item, now)
        rows.append(row)
        metrics.refused_total.labels(gateway.key, "unreadable").inc()
        if isinstance(item, Unreadable):
            rejected = row.id
            reasons.append(item.reason)
    await inbox.put(rows)
    if reasons and len(reasons) == len(rows):
        raise Unread(f"{reasons[0]} It is kept as {rejected}.", errors=[{"pointer": "", "detail": reason} for reason in reasons[:100]])


def _rejected(gateway: Gateway, callback: Callback, item: Inbound | Unreadable, now: datetime) -> RejectedRow:
    reason = item.reason if isinstance(item, Unreadable) else "An inbound message: replies are not handled yet."
    return RejectedRow(new_id(), gateway.id, now, reason, request_of(callback), item.raw or callback.body)


def request_of(callback: Callback) -> dict[str, str | None]:
    """What is needed, besides the body, to read a kept callback again. Credentials are left out."""
    return {
        "method": callback.method,
        "query": clean(callback.query, 10_000),
        "content_type": clean(callback.headers.get("content-type"), 200),
        "reference": clean(callback.reference, 255),
    }


def _callback(scope: Scope, body: bytes, public_base: str | None) -> Callback:
    query = scope["query_string"].decode("latin-1")
    raw_path = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1").partition("?")[0]
    base = public_base if public_base is not None else str(URL(scope=scope)).partition("/callbacks/")[0]
    return Callback(
        method=scope["method"],
        url=f"{base}{raw_path}?{query}" if query else f"{base}{raw_path}",
        query=query,
        headers={name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]},
        body=body,
        reference=scope["path_params"].get("reference"),
    )


def _without_token(callback: Callback, gateway: Gateway) -> Callback:
    """The secret in the URL is not part of what the gateway said, and must not be kept with it."""
    if gateway.auth.mode != "token" or "token=" not in callback.query:
        return callback
    kept = "&".join(pair for pair in callback.query.split("&") if not pair.startswith("token="))
    return replace(callback, query=kept, url=callback.url.partition("?")[0] + ("?" + kept if kept else ""))


async def _read(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The whole body. Raises `TooLarge` as soon as more than `limit` bytes have come."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Unread("The connection ended before the body did.")
        body += message.get("body", b"")
        if len(body) > limit:
            raise TooLarge(f"A callback may have {limit} bytes at the most.")
        if not message.get("more_body", False):
            return body


def _words(adapter: Adapter) -> str:
    return ", ".join(sorted(adapter.methods))


_ENDPOINT = Callbacks()
routes = [
    Route("/callbacks/{gateway}", _ENDPOINT, include_in_schema=False),
    Route("/callbacks/{gateway}/{reference}", _ENDPOINT, include_in_schema=False),
]
