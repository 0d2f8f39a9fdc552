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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from starlette.requests import HTTPConnection

from app.db import POOL_SIZES, Connection, Pool, clock, create_pool, is_away, renew
from app.errors import Busy
from app.links import destinations as targets
from app.links import signing as token_keys
from app.links.answers import Route, filled, link_to
from app.links.kept import Kept
from app.links.pulling import Personal, Pulling, needed
from app.links.store import QUERIES
from app.links.tokens import Keys
from app.logs import log
from app.processes import Process, beat, behind, gone
from app.server.whole import Whole
from app.tasks import ended

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
#: So long the first message waits for other processes to know its block.
_ANNOUNCED_SECONDS = 2.0
_ANNOUNCE_STEP_SECONDS = 0.1
#: What single lookups found is remembered, but not without end.
_MOST_LOOKED_UP = 50_000


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

    def __init__(
        self, database_url: str, process: Process, *, life_days: float, kept: Kept | None = None, kept_days: float = 30
    ) -> None:
        self._url = database_url
        self._process = process
        #: What holds while the database is away, also at the start.
        self._kept = kept
        self._kept_days = kept_days
        self._kept_keys: Keys | None = None
        self._life = timedelta(days=life_days)
        #: None until they have been read once.
        self.keys: Keys | None = None
        self._blocks = Blocks()
        self._routes: dict[int, Route] = {}
        #: Whose message it is, of those in no block that was known then: (delivery or none, read at).
        self._looked_up: OrderedDict[int, tuple[int | None, float]] = OrderedDict()
        self._locations: OrderedDict[tuple[int, str], Whole | None] = OrderedDict()
        self._mark: datetime | None = None
        self._long_at = 0.0
        #: Until when it is known what was erased, and which messages that were lately.
        self._erased_until: datetime | None = None
        self._erased: set[int] = set()
        self._pool: Pool
        self._tasks: list[asyncio.Task[None]] = []
        self._turn = asyncio.Lock()

    # --- looking up --------------------------------------------------------------------------------------------------

    def of(self, message_id: int) -> Route | None:
        """The route of a message, as far as it is known; asks nobody."""
        delivery = self._blocks.find(message_id)
        if delivery is None:
            delivery = self._looked_up.get(message_id, (None, 0.0))[0]
        return None if delivery is None else self._routes.get(delivery)

    async def find(self, message_id: int, number: int) -> Route | None:
        """As `of`, with link `number` if the database has it; None only when that says so. Raises `Busy` when it cannot be
        asked: a link that was given out a moment ago is not wrong because we have not heard of it."""
        found = self.of(message_id)
        if (found is not None and number in found.links) or self._known_to_be_none(message_id):
            return found
        async with _asking(), self._pool.acquire() as connection:
            await self._look_up(connection, message_id)
        return self.of(message_id)

    def _known_to_be_none(self, message_id: int) -> bool:
        return time.monotonic() - self._looked_up.get(message_id, (None, -REFRESH_SECONDS))[1] < REFRESH_SECONDS

    async def _look_up(self, connection: Connection, message_id: int) -> None:
        block = await connection.fetchrow(QUERIES["find_block"], message_id)
        if block is not None:
            delivery: int | None = block["delivery_id"]
            self._blocks.add(*block)
        else:
            delivery = await connection.fetchval(QUERIES["find_delivery"], message_id)
        _remember(self._looked_up, message_id, (delivery, time.monotonic()))
        if delivery is not None:
            await self._take_routes(await connection.fetch(QUERIES["find_routes"], [delivery]))

    async def location(self, message_id: int, template: str) -> Whole | None:
        """The redirect to a URL that is made for this message; None when it cannot be made. Raises `Busy`."""
        key = (message_id, template)
        if key not in self._locations:
            values = await self._kept.params(message_id) if self._kept is not None else None
            if values is None or not targets.required(template) <= values.keys():
                async with _asking(), self._pool.acquire() as connection:
                    values = await connection.fetchval(QUERIES["find_values"], message_id)
            _remember(self._locations, key, filled(template, values or {}))
        return self._locations[key]

    async def forget(self, message_ids: Sequence[int]) -> None:
        """What filled the links of these messages is gone from memory and from the file when it returns; other processes of
        this data directory share the file, and ask the database what else was erased. Raises what SQLite raises."""
        gone = set(message_ids)
        for key in [key for key in self._locations if key[0] in gone]:
            del self._locations[key]
        if self._kept is not None and message_ids:
            await self._kept.forget(message_ids)

    # --- refreshing --------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        self._pool = await create_pool(self._url, name="links", size=POOL_SIZES["links"])
        await self._recall()
        with contextlib.suppress(Exception):  # the refresher says why, and goes on
            await self.refresh()
        self._tasks = [asyncio.create_task(self._refresh_for_ever())]
        if self._kept is not None:
            pulling = Pulling(self._pool, self._kept, self._kept.path, self._personal, days=self._kept_days)
            self._tasks.append(asyncio.create_task(pulling.run()))

    async def stop(self) -> None:
        await ended(*self._tasks)
        if self._tasks:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_LOOKUP_SECONDS), self._pool.acquire() as connection:
                    await gone(connection, self._process)
            self._pool.terminate()
            if self._kept is not None:
                await self._kept.close()

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
        await self._keep_keys()
        now = await clock(connection)  # what was committed until then is seen
        if self._mark is None:
            await self._read_all(connection)
        else:
            await self._read_new(connection, self._mark - self._overlap())
        await self._forget_erased(connection, now)
        self._mark = now
        await beat(connection, self._process, now)

    def _overlap(self) -> timedelta:
        if time.monotonic() < self._long_at:
            return _OVERLAP
        self._long_at = time.monotonic() + _LONG_EVERY_SECONDS
        return _LONG_OVERLAP

    async def _read_new(self, connection: Connection, since: datetime) -> None:
        rows = [tuple(row) for row in await connection.fetch(QUERIES["list_blocks_since"], since)]
        fresh = [row for row in rows if self._blocks.find(row[0]) != row[2] or self._blocks.find(row[1]) != row[2]]
        for row in fresh:
            self._blocks.add(*row)
        if self._kept is not None:
            await self._kept.keep_routes(fresh, {})
        await self._take_routes(await connection.fetch(QUERIES["list_routes_since"], since))

    async def _read_all(self, connection: Connection) -> None:
        """A piece at a time, so that no visitor waits for it."""
        blocks, routes, rows = Blocks(), dict[int, Route](), dict[int, Any]()
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            async for row in connection.cursor(QUERIES["list_blocks"], prefetch=_PIECE):
                blocks.add(*row)
            async for row in connection.cursor(QUERIES["list_routes"], prefetch=_PIECE):
                routes[row["id"]], rows[row["id"]] = self._route(row), row
        self._blocks, self._routes = blocks, routes
        self._long_at = time.monotonic() + _LONG_EVERY_SECONDS
        if self._kept is not None:
            columns = zip(blocks.first, blocks.last, blocks.delivery, strict=True)
            await self._kept.keep_routes(list(columns), {id: _kept_row(row) for id, row in rows.items()})

    async def _take_routes(self, rows: Sequence[Any]) -> None:
        changed = {row["id"]: row for row in rows if self._routes.get(row["id"]) != self._route(row)}
        for id, row in changed.items():
            self._routes[id] = self._route(row)
        if self._kept is not None:
            await self._kept.keep_routes([], {id: _kept_row(row) for id, row in changed.items()})

    def _route(self, row: Any) -> Route:
        started: datetime | None = row["started_at"]
        ends_at = float("inf") if started is None else (started + self._life).timestamp()
        return Route(
            delivery_id=row["id"],
            started_at=None if started is None else started.timestamp(),
            ends_at=0.0 if row["status"] == "cancelled" else ends_at,
            links={
                number: link_to(url, template, tuple((name, str(value)) for name, value in params.items()))
                for number, url, template, params in row["links"]
            },
        )

    # --- beside the spool --------------------------------------------------------------------------------------------

    async def _recall(self) -> None:
        """What the file holds stands until the database has been read."""
        if self._kept is None:
            return
        if secrets := dict(await self._kept.keys()):
            current = int(secrets.pop("current"))
            self.keys = Keys(current, {int(number): bytes.fromhex(value) for number, value in secrets.items()})
        for block in await self._kept.blocks():
            self._blocks.add(*block)
        for row in await self._kept.routes():
            started = row["started_at"] and datetime.fromisoformat(row["started_at"])
            self._routes[row["id"]] = self._route(row | {"started_at": started})

    def _personal(self) -> Iterator[Personal]:
        for route in list(self._routes.values()):
            if route.started_at is not None and route.ends_at and (names := route.names()):
                yield route.delivery_id, names, route.started_at

    async def _keep_keys(self) -> None:
        if self._kept is not None and self.keys is not None and self.keys != self._kept_keys:
            secrets = {str(number): secret.hex() for number, secret in self.keys.secrets.items()}
            await self._kept.keep_keys({"current": str(self.keys.current), **secrets})
            self._kept_keys = self.keys

    async def _forget_erased(self, connection: Connection, now: datetime) -> None:
        """What other processes, and other hosts, erased. How far that was asked stands in the file."""
        mark: str | None = ""
        if self._kept is None:
            return
        if self._erased_until is None:
            mark = await self._kept.mark("erased")
            self._erased_until = datetime.fromisoformat(mark) if mark else now
        since = self._erased_until - _LONG_OVERLAP
        ids = [row["id"] for row in await connection.fetch(QUERIES["list_erased_since"], since)]
        if fresh := [id for id in ids if id not in self._erased]:
            await self.forget(fresh)
            self._erased = set(ids)
        if mark is None or now - self._erased_until > _OVERLAP:
            await self._kept.set_mark("erased", now.isoformat())
            self._erased_until = now

    async def give(
        self, delivery_id: int, message_ids: Sequence[int], params: Mapping[int, Mapping[str, Any]] | None = None
    ) -> None:
        """Messages of a delivery are about to be given out: what fills their links (`params`, else the database's) stands on
        this disk when it returns. Costs nothing where no link is made for each message."""
        route = self._routes.get(delivery_id)
        names = route.names() if route is not None else frozenset()
        if self._kept is None or not names or not message_ids:
            return
        if params is None:
            try:
                async with _asking(), self._pool.acquire() as connection:
                    rows = await connection.fetch(QUERIES["list_values"], message_ids)
            except Busy:
                log.warning("links.not_kept", delivery_id=delivery_id, messages=len(message_ids))
                return
            params = {row["id"]: row["params"] for row in rows}
        await self._kept.keep_given({id: needed(names, values) for id, values in params.items()})

    async def announce(self, delivery_id: int) -> None:
        """What was committed until now about the delivery's links is known here, and to all processes that live and answer
        within `_ANNOUNCED_SECONDS`; that this cannot be had, because the database went away, is logged."""
        try:
            await self._announce(delivery_id)
        except Busy:
            log.warning("links.not_announced", delivery_id=delivery_id)

    async def _announce(self, delivery_id: int) -> None:
        async with _asking(), self._pool.acquire() as connection:
            moment = await clock(connection)
            await self._take_routes(await connection.fetch(QUERIES["find_routes"], [delivery_id]))
        async with _asking(seconds=_ANNOUNCED_SECONDS + _LOOKUP_SECONDS):
            await self.refresh()
            until = time.monotonic() + _ANNOUNCED_SECONDS
            while late := await self._behind(moment):
                if time.monotonic() >= until:
                    log.warning("links.announced_to_all_but", delivery_id=delivery_id, processes=late)
                    return
                await asyncio.sleep(_ANNOUNCE_STEP_SECONDS)

    async def _behind(self, moment: datetime) -> list[str]:
        async with self._pool.acquire() as connection:
            return await behind(connection, moment)


def _kept_row(row: Any) -> dict[str, Any]:
    started = row["started_at"]
    return {
        "id": row["id"], "status": row["status"], "started_at": started and started.isoformat(), "links": row["links"],
    }  # fmt: skip


def _remember(found: OrderedDict[Any, Any], key: Any, value: Any) -> None:
    found[key] = value
    found.move_to_end(key)
    if len(found) > _MOST_LOOKED_UP:
        found.popitem(last=False)


@contextlib.asynccontextmanager
async def _asking(seconds: float = _LOOKUP_SECONDS) -> Any:
    """What cannot be asked within that time is asked in vain."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except Exception as error:
        if is_away(error):
            raise Busy("This cannot be looked up now; try again.") from error
        raise


def routes_of(connection: HTTPConnection) -> Routes:
    found: Routes = connection.app.state.routes
    return found
