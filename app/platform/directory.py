"""Gateways and API keys in memory: the hot road looks them up in a dict and never waits for the database.

One refresher serves both. It asks every two seconds whether anything changed (one cheap statement), and at once after
a change in this process. A name that is not known asks, too, so that what another process made a moment ago is found;
such questions are answered together and have a pause between them, so that strangers who try names or keys cannot
load the database. While the database is away, what is known keeps working, and what is not known is "later", not "no".
"""

import asyncio
import contextlib
import time
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from pydantic import ValidationError

from app.api.fields import is_slug
from app.db import Connection, Pool, create_pool, is_away, renew
from app.errors import Busy
from app.gateways import GATEWAYS
from app.gateways.receipt import Auth, AuthMode, Gateway
from app.logs import log
from app.platform import store
from app.security import KeyRing, Principal

REFRESH_SECONDS = 2.0
#: Least pause between two questions that strangers can cause.
PAUSE_SECONDS = 0.05
#: A database that takes longer than this to answer is away.
TIMEOUT_SECONDS = 2.5
#: How long a failed question stands for the next ones.
AWAY_SECONDS = 1.0


class Gateways:
    """One reading of the table: the living ones by key, all of them by id."""

    def __init__(
        self, rows: Iterable[store.GatewayRow] = (), *, before: Mapping[int, Gateway] = MappingProxyType({})
    ) -> None:
        """`before`: what was known by id; it goes on for what cannot be read any more."""
        self.by_key: dict[str, Gateway] = {}
        self.by_id: dict[int, Gateway] = {}
        #: Living gateways whose kind, options or secrets this process cannot read (a plug-in or a key that is gone, say).
        self.unusable: set[str] = set()
        for row in rows:
            self._add(row, before)

    def _add(self, row: store.GatewayRow, before: Mapping[int, Gateway]) -> None:
        gateway = _usable(row) or before.get(row.id)
        if gateway is None:
            if row.deleted_at is None:
                self.unusable.add(row.key)
            return
        self.by_id[gateway.id] = gateway
        if row.deleted_at is None:
            self.by_key[gateway.key] = gateway


def _usable(row: store.GatewayRow) -> Gateway | None:
    """None, with a line in the log, when its kind, options or secrets cannot be read here."""
    fault = row.auth.get("fault")
    try:
        if fault is None:
            return built(row)
    except (KeyError, ValidationError) as error:
        fault = type(error).__name__
    log.error("gateway.unusable", gateway=row.key, kind=row.kind, fault=fault)
    return None


def built(row: store.GatewayRow) -> Gateway:
    """Raises `KeyError` for a kind, and `ValidationError` for options, that are not known here. Secrets that cannot be
    opened are none: nobody proves to be this gateway."""
    mode: AuthMode = "token" if row.auth["mode"] == store.UNREADABLE else row.auth["mode"]
    return Gateway(
        id=row.id,
        key=row.key,
        kind=row.kind,
        implementation=row.implementation,
        options=GATEWAYS[row.kind].options.model_validate(row.options),
        auth=Auth(mode=mode, secrets=tuple(row.auth.get("secrets", ())), username=row.auth.get("username")),
        reply_rules=None if row.reply_rules is None else tuple(row.reply_rules),
    )


class GatewayDirectory:
    """Give it the database's URL; `start` opens nothing that could fail, `stop` ends the refresher."""

    def __init__(self, database_url: str, keys: KeyRing) -> None:
        self._url = database_url
        self._keys = keys
        self._gateways = Gateways()
        self._mark: str | None = None
        self._pool: Pool | None = None
        self._task: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        #: `time.monotonic()` when the last question was begun, and when the last one failed.
        self._asked_at = -REFRESH_SECONDS
        self._failed_at: float | None = None

    # --- looking up ------------------------------------------------------------------------------------------------

    def get(self, key: str) -> Gateway | None:
        return self._gateways.by_key.get(key)

    def by_id(self, gateway_id: int) -> Gateway | None:
        """Deleted ones, too: what they said is still being worked on."""
        return self._gateways.by_id.get(gateway_id)

    async def find(self, key: str) -> Gateway | None:
        """As `get`, but None only when the database says so now. Raises `Busy` when it cannot be asked."""
        found = self.get(key)
        if found is not None or not is_slug(key):
            return found
        await self._ask()
        if key in self._gateways.unusable:
            raise Busy("This gateway's kind, options or secrets cannot be read here now.", retry_after=60)
        return self.get(key)

    async def find_key(self, secret: str) -> Principal | None:
        """The API key with this secret; asks as `find` does."""
        found = self._keys.find(secret)
        if found is None and secret:
            await self._ask()
            found = self._keys.find(secret)
        return found

    @property
    def loaded(self) -> bool:
        """Gateways and keys have been read at least once."""
        return self._mark is not None

    @property
    def reachable(self) -> bool:
        """The last question to the database was answered."""
        return self.loaded and self._failed_at is None

    # --- refreshing ------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        self._pool = await create_pool(self._url, name="directory", size=1)
        self._task = asyncio.create_task(self._refresh_for_ever())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._pool is not None:
            self._pool.terminate()

    async def refresh(self) -> None:
        """Reads what changed before this call. Raises whatever the driver raises when the database is away."""
        async with self._turn:
            await self._read()

    async def _ask(self) -> None:
        """Waits for a question begun after this call; callers share it. Raises `Busy` when it fails."""
        arrived = time.monotonic()
        async with self._turn:
            if self._asked_at >= arrived:
                if self._failed_at is not None:
                    raise _away()
                return
            if self._failed_at is not None and time.monotonic() - self._failed_at < AWAY_SECONDS:
                raise _away()
            await asyncio.sleep(self._asked_at + PAUSE_SECONDS - time.monotonic())
            try:
                await self._read()
            except Exception as error:
                if is_away(error) or store.is_empty(error):
                    raise _away() from error
                raise

    async def _refresh_for_ever(self) -> None:
        while True:
            try:
                await self.refresh()
            except Exception as error:
                await renew(self._pool, error)
                if not is_away(error) and not store.is_empty(error):
                    log.exception("directory.refresh_failed")
            await asyncio.sleep(REFRESH_SECONDS)

    async def _read(self) -> None:
        """Holds the turn. Notes when it began, and whether it failed."""
        self._asked_at = time.monotonic()
        try:
            await asyncio.wait_for(self._read_changes(), TIMEOUT_SECONDS)
        except BaseException:
            if self._failed_at is None:
                log.warning("directory.out_of_reach", known_gateways=len(self._gateways.by_key))
            self._failed_at = time.monotonic()
            raise
        if self._failed_at is not None:
            log.info("directory.in_reach")
        self._failed_at = None

    async def _read_changes(self) -> None:
        assert self._pool is not None, "start() comes first"
        async with self._pool.acquire() as connection:
            mark = await store.change_mark(connection)
            if mark != self._mark:
                await self._read_all(connection)
                self._mark = mark

    async def _read_all(self, connection: Connection) -> None:
        keys: Mapping[bytes, Principal] = await store.principals(connection)
        self._gateways = Gateways(await store.all_gateways(connection), before=self._gateways.by_id)
        self._keys.replace(keys)


def _away() -> Busy:
    return Busy("The database is away; try again.", retry_after=2)
