"""Gateways and API keys in memory: the hot road looks them up in a dict and never waits for the database.

One refresher serves both. It asks every two seconds whether anything changed (one cheap statement), and at once after
a change in this process. A name that is not known asks, too, so that what another process made a moment ago is found;
such questions are answered together and have a pause between them, so that strangers who try names or keys cannot
load the database. While the database is away, what is known keeps working, and what is not known is "later", not "no".
What is known is kept in a file, too (`known.py`), for a start while the database is away.

A gateway that was deleted cannot be named any more, and still takes its receipts until its retention ends: `answering`.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import NamedTuple

from pydantic import ValidationError
from starlette.requests import HTTPConnection

from app.accounts import store
from app.accounts.known import Known, KnownFile
from app.api.fields import is_slug
from app.db import POOL_SIZES, Connection, Pool, create_pool, is_away, renew
from app.errors import Busy
from app.gateways import GATEWAYS
from app.gateways.receipt import Auth, AuthMode, Gateway
from app.logs import log
from app.sealing import SealError
from app.security import KeyRing, Principal
from app.tasks import ended

REFRESH_SECONDS = 2.0
#: Least pause between two questions that strangers can cause.
PAUSE_SECONDS = 0.05
#: A database that takes longer than this to answer is away.
TIMEOUT_SECONDS = 2.5
#: How long a failed question stands for the next ones.
AWAY_SECONDS = 1.0
#: A timer that fires so much too late was held up here.
STOOD_STILL_SECONDS = 0.5
#: How long a deleted gateway goes on taking receipts, unless the settings say otherwise.
RETENTION = timedelta(days=90)


class Gateways:
    """One reading of the table: the living ones by key, the newest deleted one of each key, all of them by id."""

    def __init__(
        self, rows: Iterable[store.GatewayRow] = (), *, before: Mapping[int, Gateway] = MappingProxyType({})
    ) -> None:
        """`before`: what was known by id; it goes on for what cannot be read any more."""
        self.by_key: dict[str, Gateway] = {}
        self.by_id: dict[int, Gateway] = {}
        self.deleted: dict[str, Deleted] = {}
        #: Gateways whose kind, options or secrets this process cannot read (a plug-in or a key that is gone, say).
        self.unusable: set[str] = set()
        for row in sorted(rows, key=lambda row: (row.deleted_at is None, row.deleted_at, row.id)):
            self._add(row, before)

    def _add(self, row: store.GatewayRow, before: Mapping[int, Gateway]) -> None:
        gateway = _usable(row) or before.get(row.id)
        if gateway is not None:
            self.by_id[gateway.id] = gateway
        if row.deleted_at is not None:
            self.deleted[row.key] = Deleted(gateway, row.deleted_at)
        elif gateway is not None:
            self.by_key[gateway.key] = gateway
        else:
            self.unusable.add(row.key)


class Deleted(NamedTuple):
    """A gateway that was deleted, and when. None: it cannot be read here."""

    gateway: Gateway | None
    at: datetime


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
    """Give it the database's URL; `start` opens nothing that could fail, `stop` ends the refresher. `file`: where what is
    known is kept for a start without the database. `retention`: so long deleted gateways go on taking receipts."""

    def __init__(
        self,
        database_url: str,
        keys: KeyRing,
        *,
        file: KnownFile | None = None,
        retention: timedelta = RETENTION,
    ) -> None:
        self._url = database_url
        self._file = file
        self._retention = retention
        #: Of the reading that the file holds.
        self._kept_mark: str | None = None
        #: What was known when the service started without the database.
        self._from_file = False
        #: As it was last read, when all of it could be read.
        self._known: Known | None = None
        self._keys = keys
        keys.find_new = self.find_key
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
        """The gateway of this key, out of memory; None when it is deleted, or not known yet."""
        return self._gateways.by_key.get(key)

    def by_id(self, gateway_id: int) -> Gateway | None:
        """Deleted ones, too: what they said is still being worked on."""
        return self._gateways.by_id.get(gateway_id)

    def every(self) -> Iterable[Gateway]:
        """All of them, deleted ones, too."""
        return self._gateways.by_id.values()

    def answering(self, key: str) -> Gateway | None:
        """The gateway that callbacks and receipts under `key` are of: the living one, or one that was deleted and whose
        retention is not over."""
        found = self.get(key)
        if found is None and (deleted := self._gateways.deleted.get(key)) is not None and self._is_kept(deleted):
            found = deleted.gateway
        return found

    def _is_kept(self, deleted: Deleted) -> bool:
        return datetime.now(UTC) < deleted.at + self._retention

    async def find_answering(self, key: str) -> Gateway | None:
        """As `answering`, but None only when the database says so now. Raises `Busy` when it cannot be asked."""
        found = self.answering(key) or await self.find(key) or self.answering(key)
        deleted = self._gateways.deleted.get(key)
        if found is None and deleted is not None and self._is_kept(deleted):
            raise _unreadable()
        return found

    async def find(self, key: str) -> Gateway | None:
        """As `get`, but None only when the database says so now. Raises `Busy` when it cannot be asked."""
        found = self.get(key)
        if found is not None or not is_slug(key):
            return found
        await self._ask()
        if key in self._gateways.unusable:
            raise _unreadable()
        return self.get(key)

    async def find_key(self, key_hash: bytes) -> Principal | None:
        """The API key whose secret has this hash; asks as `find` does."""
        found = self._keys.find(key_hash)
        if found is None:
            await self._ask()
            found = self._keys.find(key_hash)
        return found

    @property
    def loaded(self) -> bool:
        """Gateways and keys have been read at least once, from the database or from the file of an earlier start."""
        return self._mark is not None or self._from_file

    @property
    def reachable(self) -> bool:
        """The last question to the database was answered."""
        return self._mark is not None and self._failed_at is None

    # --- refreshing ------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        self._pool = await create_pool(self._url, name="directory", size=POOL_SIZES["directory"])
        await self._load()
        self._task = asyncio.create_task(self._refresh_for_ever())

    async def stop(self) -> None:
        await ended(self._task)
        if self._pool is not None:
            self._pool.terminate()

    async def refresh(self) -> None:
        """Reads what changed before this call. Raises whatever the driver raises when the database is away."""
        async with self._turn:
            await self._read()

    async def _load(self) -> None:
        """What an earlier start knew; the first reading of the database replaces it."""
        known = await asyncio.to_thread(self._file.read) if self._file is not None else None
        if known is not None and self._mark is None:
            self._gateways = Gateways(known.gateways)
            self._keys.replace(known.principals)
            self._from_file = True
            log.info("directory.from_file", gateways=len(self._gateways.by_key))

    async def _keep(self) -> None:
        """Writes what was read into the file, when that has something else. Holds the turn."""
        if self._file is None or self._known is None or self._kept_mark == self._mark:
            return
        try:
            await asyncio.to_thread(self._file.write, self._known)
        except (OSError, SealError) as error:
            log.error("directory.not_kept", error=str(error))
        else:
            self._kept_mark = self._mark

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
        """Holds the turn. Notes when it began, and whether it failed. One that is cancelled, since its caller went away, says
        nothing of the database: whoever shares it asks anew."""
        before, self._asked_at = self._asked_at, time.monotonic()
        try:
            await self._read_in_time()
        except asyncio.CancelledError:
            self._asked_at = before
            raise
        except Exception:
            if self._failed_at is None:
                log.warning("directory.out_of_reach", known_gateways=len(self._gateways.by_key))
            self._failed_at = time.monotonic()
            raise
        if self._failed_at is not None:
            log.info("directory.in_reach")
        self._failed_at = None
        await self._keep()

    async def _read_in_time(self) -> None:
        """Asks once more when it was this process that stood still (suspended, say): that is no answer of the database's."""
        began = time.monotonic()
        try:
            await asyncio.wait_for(self._read_changes(), TIMEOUT_SECONDS)
        except TimeoutError:
            if time.monotonic() - began < TIMEOUT_SECONDS + STOOD_STILL_SECONDS:
                raise
            await asyncio.wait_for(self._read_changes(), TIMEOUT_SECONDS)

    async def _read_changes(self) -> None:
        assert self._pool is not None, "start() comes first"
        async with self._pool.acquire() as connection:
            mark = await store.change_mark(connection)
            if mark != self._mark:
                await self._read_all(connection)
                self._mark = mark

    async def _read_all(self, connection: Connection) -> None:
        known = Known(await store.all_gateways(connection), await store.principals(connection))
        self._gateways = Gateways(known.gateways, before=self._gateways.by_id)
        self._keys.replace(known.principals)
        self._known = known if known.readable else None


def _unreadable() -> Busy:
    return Busy("This gateway's kind, options or secrets cannot be read here now.", retry_after=60)


def _away() -> Busy:
    return Busy("The database is away; try again.", retry_after=2)


def directory_of(connection: HTTPConnection) -> GatewayDirectory:
    found: GatewayDirectory = connection.app.state.directory
    return found
