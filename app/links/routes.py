"""Where short URLs lead, in memory: a redirect to a fixed URL asks nobody.

Message id → block → delivery → link. Everything that has links is read at the start; about every second what is new is
read: what changed in the last half minute, and now and then in the last minutes, so that nothing depends on the order in
which others commit. Then the process says how far it knows them. An id that stands in no known block is looked up by itself,
once; while the database is away that answer is "later", not "no". A URL with placeholders is made for each message from its
own values, and remembered.
"""

import asyncio
import contextlib
import time
from array import array
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from app.db import POOL_SIZES, Connection, Pool, create_pool, is_away, renew
from app.errors import Busy
from app.links import keys as token_keys
from app.links import targets
from app.links.store import QUERIES
from app.links.tokens import Keys
from app.logs import log
from app.processes import Process, beat, gone

REFRESH_SECONDS = 1.0
_PIECE = 200
#: Changes are looked for so far back: one that took long to commit carries an older time.
_OVERLAP = timedelta(seconds=30)
#: And now and then so far: nobody holds a transaction open for longer.
_LONG_OVERLAP = timedelta(minutes=10)
_LONG_EVERY_SECONDS = 60.0
#: A database that takes longer than this to be read is away.
_TIMEOUT_SECONDS = 60.0
_LOOKUP_SECONDS = 1.0
#: What single lookups found is remembered, but not without end.
_MOST_LOOKED_UP = 50_000

Headers = list[tuple[bytes, bytes]]
#: No cookie, no cache, no search engine; the target's host hears nothing of where the visitor comes from.
_ALWAYS: Headers = [
    (b"cache-control", b"no-store"),
    (b"x-robots-tag", b"noindex"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-length", b"0"),
]


def headers_to(location: str) -> Headers:
    """Of the answer that leads to `location`, which `targets` has checked: ASCII without blanks or control characters."""
    return [(b"location", location.encode("ascii")), *_ALWAYS]


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    #: Of the redirect; None for a URL that is made for each message, or that nobody may be led to.
    headers: Headers | None
    #: With placeholders, the link's own parameters in it.
    template: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A delivery's links by number, and until when (seconds since 1970) they lead anywhere."""

    delivery_id: int
    ends_at: float
    links: Mapping[int, Link]


@dataclass(slots=True)
class Blocks:
    """Which ids belong to which delivery: ranges that do not overlap, in order."""

    first: "array[int]" = field(default_factory=lambda: array("q"))
    last: "array[int]" = field(default_factory=lambda: array("q"))
    delivery: "array[int]" = field(default_factory=lambda: array("q"))

    def find(self, message_id: int) -> int | None:
        place = bisect_right(self.first, message_id) - 1
        return self.delivery[place] if place >= 0 and message_id <= self.last[place] else None

    def add(self, first: int, last: int, delivery: int) -> None:
        """One that is there already is written again."""
        place = bisect_left(self.first, first)
        known = slice(place, place + (place < len(self.first) and self.first[place] == first))
        for column, value in ((self.first, first), (self.last, last), (self.delivery, delivery)):
            column[known] = array("q", (value,))


class Routes:
    """Give it the database's URL; `start` opens nothing that could fail, `stop` ends the refresher."""

    def __init__(self, database_url: str, process: Process, *, life_days: float) -> None:
        self._url = database_url
        self._process = process
        self._life = timedelta(days=life_days)
        #: None until they have been read once.
        self.keys: Keys | None = None
        self._blocks = Blocks()
        self._routes: dict[int, Route] = {}
        #: Whose message it is, of those in no block that was known then: (delivery or none, read at).
        self._looked_up: OrderedDict[int, tuple[int | None, float]] = OrderedDict()
        self._locations: OrderedDict[tuple[int, str], Headers | None] = OrderedDict()
        self._mark: datetime | None = None
        self._long_at = 0.0
        self._pool: Pool
        self._task: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()

    # --- looking up --------------------------------------------------------------------------------------------------

    def of(self, message_id: int) -> Route | None:
        """The route of a message, as far as it is known; asks nobody."""
        delivery = self._blocks.find(message_id)
        if delivery is None:
            delivery = self._looked_up.get(message_id, (None, 0.0))[0]
        return None if delivery is None else self._routes.get(delivery)

    async def find(self, message_id: int) -> Route | None:
        """As `of`, but None only when the database says so. Raises `Busy` when it cannot be asked."""
        found = self.of(message_id)
        if found is not None or self._known_to_be_none(message_id):
            return found
        async with _asking(), self._pool.acquire() as connection:
            await self._look_up(connection, message_id)
        return self.of(message_id)

    def _known_to_be_none(self, message_id: int) -> bool:
        delivery, at = self._looked_up.get(message_id, (None, -REFRESH_SECONDS))
        return delivery is None and time.monotonic() - at < REFRESH_SECONDS

    async def _look_up(self, connection: Connection, message_id: int) -> None:
        block = await connection.fetchrow(QUERIES["block_of"], message_id)
        if block is not None:
            delivery: int | None = block["delivery_id"]
            self._blocks.add(*block)
        else:
            delivery = await connection.fetchval(QUERIES["delivery_of"], message_id)
            _remember(self._looked_up, message_id, (delivery, time.monotonic()))
        if delivery is not None:
            self._take_routes(await connection.fetch(QUERIES["routes_of"], [delivery]))

    async def location(self, message_id: int, template: str) -> Headers | None:
        """Of the redirect to a URL that is made for this message; None when it cannot be made. Raises `Busy`."""
        key = (message_id, template)
        if key not in self._locations:
            async with _asking(), self._pool.acquire() as connection:
                values = await connection.fetchval(QUERIES["values_of"], message_id)
            _remember(self._locations, key, _filled(template, values or {}))
        return self._locations[key]

    # --- refreshing --------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        self._pool = await create_pool(self._url, name="links", size=POOL_SIZES["links"])
        with contextlib.suppress(Exception):  # the refresher says why, and goes on
            await self.refresh()
        self._task = asyncio.create_task(self._refresh_for_ever())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_LOOKUP_SECONDS), self._pool.acquire() as connection:
                    await gone(connection, self._process)
            self._pool.terminate()

    async def refresh(self) -> None:
        """Reads what is new. Raises whatever the driver raises when the database is away."""
        async with self._turn, asyncio.timeout(_TIMEOUT_SECONDS), self._pool.acquire() as connection:
            await self._read(connection)

    async def _refresh_for_ever(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                await self.refresh()
            except Exception as error:
                await renew(self._pool, error)
                if not is_away(error):
                    log.exception("links.refresh_failed")

    async def _read(self, connection: Connection) -> None:
        self.keys = await token_keys.load(connection) or self.keys
        now: datetime = await connection.fetchval("SELECT clock_timestamp()")  # what was committed until then is seen
        if self._mark is None:
            await self._read_all(connection)
        else:
            await self._read_new(connection, self._mark - self._overlap())
        self._mark = now
        await beat(connection, self._process, now)

    def _overlap(self) -> timedelta:
        if time.monotonic() < self._long_at:
            return _OVERLAP
        self._long_at = time.monotonic() + _LONG_EVERY_SECONDS
        return _LONG_OVERLAP

    async def _read_new(self, connection: Connection, since: datetime) -> None:
        for row in await connection.fetch(QUERIES["blocks_since"], since):
            self._blocks.add(*row)
        self._take_routes(await connection.fetch(QUERIES["routes_since"], since))

    async def _read_all(self, connection: Connection) -> None:
        """A piece at a time, so that no visitor waits for it."""
        blocks, routes = Blocks(), dict[int, Route]()
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            async for row in connection.cursor(QUERIES["all_blocks"], prefetch=_PIECE):
                blocks.add(*row)
            async for row in connection.cursor(QUERIES["all_routes"], prefetch=_PIECE):
                routes[row["id"]] = self._route(row)
        self._blocks, self._routes = blocks, routes
        self._long_at = time.monotonic() + _LONG_EVERY_SECONDS

    def _take_routes(self, rows: Sequence[Any]) -> None:
        for row in rows:
            self._routes[row["id"]] = self._route(row)

    def _route(self, row: Any) -> Route:
        started: datetime | None = row["started_at"]
        ends_at = float("inf") if started is None else (started + self._life).timestamp()
        return Route(
            delivery_id=row["id"],
            ends_at=0.0 if row["status"] == "cancelled" else ends_at,
            links={
                number: _link(url, template, tuple((name, str(value)) for name, value in params.items()))
                for number, url, template, params in row["links"]
            },
        )


@lru_cache(maxsize=20_000)  # the same ones are read again and again
def _link(source_url: str, template: bool, added: tuple[tuple[str, str], ...]) -> Link:
    params = dict(added)
    url = f"http://{source_url}" if source_url[:4].lower() == "www." else source_url
    try:
        if template:
            return Link(headers=None, template=targets.with_params(url, params))
        return Link(headers=headers_to(_checked(url, params)), template=None)
    except targets.Refused as refused:  # it was registered by a version that knew less
        log.error("links.target_refused", reason=str(refused))
        return Link(headers=None, template=None)


def _checked(url: str, params: Mapping[str, str]) -> str:
    return targets.check(targets.with_params(targets.check(url), params))


def _filled(template: str, params: Mapping[str, Any]) -> Headers | None:
    values = {name: str(value) for name, value in params.items() if isinstance(value, str | int | float)}
    try:
        return headers_to(targets.fill(template, values))
    except targets.Refused:
        return None


def _remember(found: OrderedDict[Any, Any], key: Any, value: Any) -> None:
    found[key] = value
    found.move_to_end(key)
    if len(found) > _MOST_LOOKED_UP:
        found.popitem(last=False)


@contextlib.asynccontextmanager
async def _asking() -> Any:
    """What cannot be asked within a second is asked in vain."""
    try:
        async with asyncio.timeout(_LOOKUP_SECONDS):
            yield
    except Exception as error:
        if is_away(error):
            raise Busy("This cannot be looked up now; try again.") from error
        raise
