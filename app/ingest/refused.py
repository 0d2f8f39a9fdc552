"""Callbacks whose signature was refused: the first and the last 100 a gateway and day, for an operator to see why.

A wrong ACUSE_PUBLIC_URL or a changed secret refuses true receipts, and providers do not send them again. What is kept here is
verified again by `POST /v1/receipts/rejected/retry`, with the secrets and the URL of then. Whoever is refused can be
anybody: the answer never waits for this, what waits is bounded in rows and bytes, and what is too much is only counted.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

from starlette.requests import HTTPConnection

from app import metrics
from app.db import Pool, is_away, load_queries
from app.gateways import GATEWAYS
from app.gateways.auth import verified
from app.gateways.receipt import Callback, Gateway
from app.gateways.refusals import why_refused
from app.ingest.kinds import new_id
from app.ingest.rows import RejectedRow, clean
from app.ingest.store import append
from app.logs import log
from app.tasks import ended

QUERIES = load_queries(__file__, "dead_letters.sql")
#: Of a gateway and day: so many of the first, and so many of the last.
KEPT = 100
#: A larger body is not kept. The largest batches known are 100 receipts.
MOST_BODY_BYTES = 100_000
#: Of all that waits to be written.
MOST_BYTES = 4_000_000
PAUSE_SECONDS = 1.0
#: A query longer than this is cropped, and can then not be verified again.
_MOST_QUERY = 10_000
#: Headers that say by which URL the provider called.
_OWN = ("host", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-port")
#: Diagnosed before others have their turn.
_PIECE = 10


class _Refused(NamedTuple):
    gateway: Gateway
    callback: Callback
    at: datetime


class RefusedShelf:
    """`offer` what was refused; it is written behind, and the shelf is kept within its bounds."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._task: asyncio.Task[None] | None = None
        self._wake, self._turn = asyncio.Event(), asyncio.Lock()
        self._day = date.min
        #: By gateway: how many of today's first ones this process has had; those that wait; those of the last that wait.
        self._seen: dict[int, int] = {}
        self._first: deque[_Refused] = deque()
        self._last: dict[int, deque[_Refused]] = {}
        self._bytes = 0

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Writes what waits, if the database is there."""
        if self._task is None:
            return
        await ended(self._task)
        with contextlib.suppress(Exception):
            await asyncio.wait_for(self._write(), 2)

    def offer(self, gateway: Gateway, callback: Callback) -> None:
        """Takes it without waiting, or counts that it did not."""
        size = len(callback.body) + len(callback.url)
        if len(callback.body) > MOST_BODY_BYTES or len(callback.query) > _MOST_QUERY or self._bytes + size > MOST_BYTES:
            metrics.refused_not_kept_total.inc()
            return
        at = datetime.now(UTC)
        if at.date() != self._day:
            self._day, self._seen = at.date(), {}
        refused = _Refused(gateway, callback, at)
        seen = self._seen.get(gateway.id, 0)
        if seen < KEPT:
            self._seen[gateway.id] = seen + 1
            self._first.append(refused)
        else:
            last = self._last.setdefault(gateway.id, deque())
            last.append(refused)
            if len(last) > KEPT:
                size -= _size(last.popleft())
        self._bytes += size
        self._wake.set()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await asyncio.sleep(PAUSE_SECONDS)
            try:
                await self._write()
            except Exception as error:
                if not is_away(error):
                    log.exception("refused.not_written")
                self._wake.set()

    async def _write(self) -> None:
        """All that waits, in one transaction; it goes on waiting when that fails."""
        async with self._turn:
            await self._write_waiting()

    async def _write_waiting(self) -> None:
        waiting = [*self._first, *(each for last in self._last.values() for each in last)]
        if not waiting:
            return
        rows = []
        for number, each in enumerate(waiting):
            rows.append(_row(each))
            if number % _PIECE == _PIECE - 1:
                await asyncio.sleep(0)
        days = {(each.gateway.id, each.at.date()) for each in waiting}
        async with self._pool.acquire(timeout=PAUSE_SECONDS) as connection, connection.transaction():
            await append(connection, rows)
            for gateway_id, day in sorted(days):
                start = datetime(day.year, day.month, day.day, tzinfo=UTC)
                await connection.execute(QUERIES["trim_refused"], gateway_id, start, KEPT)
            await connection.execute(QUERIES["forget_refused"], datetime.now(UTC))
        self._written(waiting)

    def _written(self, waiting: list[_Refused]) -> None:
        gone = {id(each) for each in waiting}
        self._first = deque(each for each in self._first if id(each) not in gone)
        kept = {key: deque(each for each in last if id(each) not in gone) for key, last in self._last.items()}
        self._last = {key: last for key, last in kept.items() if last}
        self._bytes = sum(map(_size, self._all()))

    def _all(self) -> Iterator[_Refused]:
        yield from self._first
        for last in self._last.values():
            yield from last


def _size(refused: _Refused) -> int:
    return len(refused.callback.body) + len(refused.callback.url)


def _row(refused: _Refused) -> RejectedRow:
    gateway, callback, at = refused
    adapter = GATEWAYS[gateway.kind]
    refusal = why_refused(callback, adapter, gateway.auth)
    header = adapter.signature_header or ""
    request = {
        "method": callback.method,
        "query": clean(callback.query, _MOST_QUERY),
        "content_type": clean(callback.headers.get("content-type"), 200),
        "reference": clean(callback.reference, 255),
        "url": clean(callback.url, 2 * _MOST_QUERY),
        "signature": clean(callback.headers.get(header), 500),
        "fits": clean(refusal.fits, 500),
        "headers": {name: clean(callback.headers[name], 500) for name in _OWN if name in callback.headers},
    }
    return RejectedRow(new_id(), gateway.id, at, refusal.sentence, request, callback.body, "refused")


def verified_again(
    gateway: Gateway, request: Mapping[str, Any], body: bytes, public_base: str | None
) -> Callback | None:
    """The callback that was kept, if its signature holds by the secrets and the public URL of now; else None."""
    adapter = GATEWAYS[gateway.kind]
    url = request.get("url") or ""
    if public_base is not None:
        rest = url.partition("://")[2]
        url = public_base + rest[rest.find("/") :]
    callback = Callback(
        method=request.get("method") or "POST", url=url, query=request.get("query") or "", body=body,
        headers={
            "content-type": request.get("content_type") or "",
            adapter.signature_header or "": request.get("signature") or "",
        },
        reference=request.get("reference"),
    )  # fmt: skip
    return callback if gateway.auth.mode == "signature" and verified(callback, adapter, gateway.auth) else None


def refused_of(connection: HTTPConnection) -> RefusedShelf:
    found: RefusedShelf = connection.app.state.refused
    return found
