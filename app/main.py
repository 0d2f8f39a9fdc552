"""The service, put together: the only place where things are wired.

On `app.state` stand: `settings`, `public_base` (ACUSE_PUBLIC_URL without a slash at its end, or None), `engine`
(SQLAlchemy, for reads), `process` (what the others know this one by), `runtime` with its `inbox`, `refused` and `pool`
(asyncpg, for what writes), `preparer`, `routes` (where short URLs lead, in memory), `short_hosts` (where nothing else answers),
`limiter` (who asks for wrong ones), `bursts` (who asks for one too often),
`directory` and `keys` (gateways and API keys in memory), `rates` (how often one may ask), `sealing` (secrets at rest),
`cursors` (signs list cursors), `tickets` (in the place of keys, for event streams). Each has one accessor beside its class
(`directory_of(request)` and the like): nobody else reads `app.state`.
"""

import asyncio
import contextlib
import gc
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.types import Receive, Scope, Send

from app import audit_heads, logs, migrate, problems
from app.accounts import installation, resealing, store
from app.accounts.directory import GatewayDirectory
from app.accounts.known import FILE_NAME, KnownFile
from app.addresses.api import router as addresses
from app.addresses.persons_api import router as persons
from app.api.paging import CursorSigner
from app.apidocs.pages import router as apidocs
from app.db import create_engine, create_pool, is_away
from app.deliveries.api import router as deliveries
from app.deliveries.audience_api import router as audience
from app.deliveries.drafts_api import router as drafts
from app.deliveries.pausing_api import router as pausing
from app.deliveries.preparation_api import router as preparation
from app.deliveries.preparer import Preparer
from app.deliveries.sending_api import router as sending
from app.deliveries.starting import Limits
from app.deliveries.targets_api import router as single_targets
from app.inbound import api as inbound_api
from app.inbound import rules_api as reply_rules
from app.ingest import receipts_api as receipts
from app.ingest.callbacks import PREFIX, Road, callbacks
from app.ingest.dead_letters import router as shelves
from app.ingest.runtime import Runtime
from app.links import signing as token_keys
from app.links.api import router as links
from app.links.bursts import Bursts
from app.links.kept import Kept
from app.links.limiter import Limiter
from app.links.redirect import PREFIX as LINK_PREFIX
from app.links.redirect import ShortHosts, Visits, on_short_host, redirect
from app.links.registering_api import router as link_changes
from app.links.routes import Routes
from app.links.shortening import Bases, Links
from app.logs import log
from app.messages.api import router as messages
from app.openapi import document
from app.platform import audit_api, gateways, health, keys
from app.privacy import pseudonyms
from app.privacy.disclosures import Disclosures
from app.processes import Process
from app.qualifications.api import router as qualifications
from app.quarantine.api import router as quarantine
from app.quarantine.imports import router as quarantine_imports
from app.quarantine.thresholds import of_settings, packed, settle
from app.sealing import SealError, Sealing
from app.security import KeyRing
from app.server.cors import Cors
from app.server.rates import Rates
from app.server.tickets import Tickets
from app.settings import Settings, guessable
from app.stats.api import router as stats
from app.stats.events import Streams
from app.submissions.api import router as submissions
from app.submissions.links_api import router as asking_links
from app.tasks import ended

#: How long a start waits for the database before it serves without it.
FIRST_WAIT_SECONDS = 5.0
_RETRY_SECONDS = 1.0


class Acuse(FastAPI):
    """The framework's application with the hot roads beside it: callbacks and short URLs pass no middleware and no
    routing."""

    short_hosts: ShortHosts | None = None
    #: What answers as it does elsewhere where the service shares its host with short URLs.
    own_paths: frozenset[str] = frozenset()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Takes callbacks and short URLs out before the framework sees them."""
        if scope["type"] == "http":
            path = scope["path"]
            if path.startswith(PREFIX):
                scope["app"] = self
                await callbacks(scope, receive, send)
                return
            if path.startswith(LINK_PREFIX):
                scope["app"] = self
                await redirect(scope, receive, send, path[len(LINK_PREFIX) :])
                return
            if self.short_hosts is not None and (token := self.short_hosts.token(scope, self.own_paths)) is not None:
                scope["app"] = self
                await on_short_host(scope, receive, send, token)
                return
        await super().__call__(scope, receive, send)


_ROUTERS = (
    health.router, apidocs, receipts.router, shelves, deliveries, drafts, audience, single_targets, preparation, sending, pausing,
    submissions, stats, messages, qualifications, quarantine, quarantine_imports, addresses, persons, links, link_changes,
    asking_links, gateways.router, keys.router, audit_api.router, reply_rules.router, inbound_api.router,
)  # fmt: skip


def create_app(settings: Settings, *, migrating: bool = False) -> FastAPI:
    """The service for `settings`, whose `database_url` is set. `migrating`: it brings the schema up to date by itself,
    as soon as the database can be reached."""
    if settings.database_url is None:
        raise ValueError("create_app needs a database_url; `acuse run` starts an embedded one and says where it is.")
    app = Acuse(
        title="Acuse",
        version=_version(),
        lifespan=lambda app: _lifespan(app, migrating=migrating),
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
    )
    _set_state(app, settings, settings.database_url)
    for router in _ROUTERS:
        app.include_router(router)
    problems.install(app, max_body_bytes=settings.max_json_bytes)
    if settings.cors_origins:
        app.add_middleware(Cors, origins=settings.cors_origins)
    document.install(app)
    app.short_hosts = app.state.short_hosts if app.state.links.bases.hosts else None
    app.own_paths = frozenset(getattr(route, "path", "") for route in iter_route_contexts(app.router.routes))
    return app


def from_environment() -> FastAPI:
    """For uvicorn's processes: logs set up, settings from the environment."""
    settings = Settings()
    logs.configure(json=settings.log_json)
    return create_app(settings, migrating=True)


def _version() -> str:
    try:
        return version("acuse")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0.0.0"


def _set_state(app: FastAPI, settings: Settings, database_url: str) -> None:
    state = app.state
    state.settings = settings
    state.public_base = None if settings.public_url is None else str(settings.public_url).rstrip("/")
    state.sealing = Sealing.of(settings)
    state.engine = create_engine(database_url, pool_size=settings.api_connections)
    state.process = Process(thresholds=packed(of_settings(settings)))
    state.runtime = Runtime(settings, database_url)
    bases = Bases.of(settings.short_hosts, state.public_base, settings.listened_url)
    state.links = Links(bases=bases, private_links=settings.private_links)
    state.short_hosts = ShortHosts.of(bases.hosts, state.public_base or settings.listened_url)
    limits = Limits(
        oldest=timedelta(hours=settings.scheduled_prepare_hours),
        latest=timedelta(hours=settings.scheduled_latest_hours),
    )
    state.preparer = Preparer(database_url, state.links, limits)
    state.routes = Routes(
        database_url,
        state.process,
        life_days=settings.link_life_days,
        kept=_kept(state),
        kept_days=settings.link_kept_days,
    )
    state.limiter = Limiter()
    state.bursts = Bursts(
        process=state.process.id, offer=lambda row: state.inbox.offer(row),
        most_of_network=settings.click_burst_network, most_of_token=settings.click_burst_token,
    )  # fmt: skip
    state.keys, state.disclosures = KeyRing(), Disclosures()
    state.rates, state.event_streams = Rates(settings), Streams()
    state.directory = GatewayDirectory(
        database_url,
        state.keys,
        file=KnownFile(settings.data_dir / FILE_NAME, state.sealing),
        retention=timedelta(days=settings.deleted_gateway_days),
    )
    state.signer = None  # of the journals' heads, until its key has been read
    state.cursors = CursorSigner(secrets.token_bytes(32))  # until the installation's own key has been read
    state.tickets = Tickets(secrets.token_bytes(32))


def _kept(state: Any) -> Kept:
    """What redirects need while the database is away, beside the spool; the key that seals it is made when it is needed."""
    return Kept(
        state.settings.data_dir / "links.sqlite3",
        max_bytes=state.settings.link_file_max_bytes,
        seal=lambda purpose, data: state.sealing.beside.seal(purpose, data),
        unseal=lambda purpose, text: state.sealing.beside.open(purpose, text),
    )


# --- the life of one process -----------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI, *, migrating: bool) -> AsyncIterator[None]:
    """Starts with or without a database; what needs one is made up for when it is there."""
    state = app.state
    tried = asyncio.Event()
    installing = asyncio.create_task(_install_in_the_end(state, tried, migrating=migrating))
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(tried.wait(), FIRST_WAIT_SECONDS)
    await state.runtime.start()
    _open_roads(state)
    signing = audit_heads.Signing(state.pool, lambda: state.signer)
    signing.start()
    state.disclosures.start(state.pool)
    await state.preparer.start()
    await state.routes.start()
    await state.directory.start()
    with contextlib.suppress(Exception):  # the refresher has said why, and goes on
        await state.directory.refresh()
    if migrating:
        await asyncio.to_thread(app.openapi)  # made when somebody asks, it would hold the loop for half a second
        _spare_callbacks_the_collector()
    if state.settings.admin_key is not None and guessable(state.settings.admin_key.get_secret_value()):
        log.warning("service.admin_key_guessable", hint="make it by `openssl rand -base64 32`")
    log.info("service.started", database=state.directory.reachable)
    try:
        yield
    finally:
        await ended(installing)
        await state.disclosures.stop(state.pool)
        await signing.stop()
        await state.directory.stop()
        await state.routes.stop()
        await state.preparer.stop()
        state.bursts.flush()
        await state.runtime.stop()
        await state.engine.dispose()
        log.info("service.stopped")


def _open_roads(state: Any) -> None:
    """What callbacks and redirects need is looked up once, and not by each of them."""
    state.inbox, state.pool, state.refused = state.runtime.inbox, state.runtime.pool, state.runtime.refused
    state.reach = state.inbox.outage.reach
    state.road = Road(
        directory=state.directory, inbox=state.inbox, refused=state.refused, settings=state.settings,
        public_base=state.public_base, short_hosts=state.short_hosts,
    )  # fmt: skip
    state.visits = Visits(
        routes=state.routes, limiter=state.limiter, bursts=state.bursts, clicks=state.inbox,
        wait_seconds=state.settings.click_wait_ms / 1_000,
    )  # fmt: skip


def _spare_callbacks_the_collector() -> None:
    """What is there after the start stays for good, and a full collection of it takes 0.1 s, in which no gateway is
    answered (measured: p99 of callbacks 25 ms with this, 100 ms without). It is set apart, and full ones are rarer."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


async def _install_in_the_end(state: Any, tried: asyncio.Event, *, migrating: bool) -> None:
    """Tries until it is done: the schema, this installation's secrets, the key that the settings name. `tried` is set
    after the first attempt, whatever came of it."""
    said: str | None = None
    while True:
        try:
            if migrating:
                await migrate.upgrade(state.settings.database_url)
            await _install(state)
            return
        except Exception as error:
            before, said = said, type(error).__name__
            if is_away(error) or store.is_empty(error):
                if said != before:  # once, and not every second
                    log.warning("service.waits_for_database", error=said)
            elif isinstance(error, SealError):
                log.error("service.wrong_seal_keys", error=str(error))
            else:
                log.exception("service.not_installed")
        finally:
            tried.set()
        await asyncio.sleep(_RETRY_SECONDS)


async def _install(state: Any) -> None:
    pool = await create_pool(state.settings.database_url, name="install", size=1)
    try:
        async with pool.acquire() as connection, connection.transaction():
            await state.sealing.install(connection)
            key = await installation.cursor_key(connection)
            state.cursors, state.tickets = CursorSigner(key), Tickets(key)
            state.signer = audit_heads.Signer(lambda: installation.head_keys(state.sealing))
            state.pseudonyms = await pseudonyms.load(connection)
            await token_keys.install(connection)
            await resealing.seal_clear(connection)
            await settle(connection, of_settings(state.settings), state.process, datetime.now(UTC))
            if state.settings.admin_key is not None:
                await installation.set_env_admin(connection, state.settings.admin_key.get_secret_value())
    finally:
        await pool.close()
