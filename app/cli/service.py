"""Processes that stay: `acuse run`, `acuse worker`, and the schema that they need."""

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

import uvicorn
from uvicorn.supervisors import Multiprocess

from app import embedded, logs, migrate
from app.accounts import administering as changes
from app.accounts import installation, store
from app.accounts.known import FILE_NAME
from app.cli.base import configured, connected, database, out
from app.db import in_short, is_away, is_refused
from app.ingest.runtime import run_worker
from app.private import keep_private
from app.sealing import KEY_FILE, Sealing, make_key_file
from app.server.config import config_of
from app.server.limits import raise_descriptors
from app.settings import Settings

#: How often the embedded server is looked after.
WATCH_SECONDS = 1.0


def run() -> None:
    """Start the service, and with it an embedded PostgreSQL unless ACUSE_DATABASE_URL is set."""
    settings = configured()
    signal.signal(signal.SIGTERM, _leave)
    keep_private(settings.data_dir, passable=settings.database_url is None and os.geteuid() == 0)
    if settings.database_url is not None:
        _serve(settings, settings.database_url)
        return
    with embedded.start(settings.data_dir) as server, _looked_after(server):
        make_key_file(settings.data_dir / KEY_FILE)
        _serve(settings, server.url)


def _serve(settings: Settings, url: str) -> None:
    """Binds, migrates, says where to go, serves until told to stop. A database that is away holds up none of it."""
    os.environ["ACUSE_DATABASE_URL"] = url  # for the server's processes
    raise_descriptors()
    config = config_of(settings, "app.main:from_environment")
    server = uvicorn.Server(config)
    socket = config.bind_socket()
    os.environ["ACUSE_PORT"] = str(socket.getsockname()[1])  # and what any free one was found to be
    try:
        key = asyncio.run(_prepared(settings, url))
        socket.listen(config.backlog)  # who comes before the server is up waits, and is not refused
        _greet(settings, socket.getsockname()[1], key)
        if settings.workers > 1:
            Multiprocess(config, sockets=[socket]).run()
        else:
            server.run(sockets=[socket])
    except KeyboardInterrupt:
        pass
    finally:
        socket.close()
    if not server.started and settings.workers == 1:
        raise SystemExit(3)


async def _prepared(settings: Settings, url: str) -> str | None:
    """The first admin key, when there was none. Raises `SealError` when the database's secrets cannot be read here."""
    sealing = Sealing.of(settings)
    try:
        await migrate.upgrade(url)
        async with connected(url) as connection, connection.transaction():
            await sealing.install(connection)
            await store.hold_keys(connection)
            if settings.admin_key is not None or await store.any_key(connection):
                return None
            return await changes.create_key(connection, installation.FIRST_ADMIN, ["admin"], actor="system")
    except Exception as error:
        if not is_away(error) or (is_refused(error) and not _has_served(settings)):
            raise
        logs.log.warning("service.starts_without_database", error=in_short(error))
        return None


def _has_served(settings: Settings) -> bool:
    """Whether it knows enough to take receipts for a database that is renamed or has another password now. On the first
    start such a thing is a mistake in the settings, and better said at once."""
    return (settings.data_dir / FILE_NAME).exists() or any((settings.data_dir / "spool").glob("*.sqlite3"))


def _greet(settings: Settings, port: int, key: str | None) -> None:
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::", "") else settings.host
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    out.print(f"Acuse is at {url} (API documentation: {url}/docs)")
    if key is not None:
        body = '{"label": "First delivery", "sender": "Acme"}'
        out.print(f"\nYour admin key, shown once: {key}\n\nTry it:\n")
        out.print(f"curl -H 'Authorization: Bearer {key}' {url}/v1/gateway-kinds")
        out.print(
            f"curl -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' -d '{body}' {url}/v1/deliveries\n"
        )
    sys.stdout.flush()


def _leave(number: int, frame: FrameType | None) -> None:
    """SIGTERM unwinds the stack, so that what was started is stopped. (Uvicorn raises it again when it is done.)"""
    raise SystemExit(0)


@contextlib.contextmanager
def _looked_after(server: embedded.EmbeddedPostgres) -> Iterator[None]:
    """Starts the embedded server again whenever it died."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(WATCH_SECONDS):
            try:
                server.ensure_running()
            except embedded.EmbeddedPostgresError as error:
                logs.log.error("embedded_postgres.not_restarted", error=str(error))

    thread = threading.Thread(target=watch, name="embedded-postgres", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def upgrade() -> None:
    """Bring the database's schema up to date, and no more."""
    settings = configured()
    with database(settings) as url:
        asyncio.run(migrate.upgrade(url))
        revision, _ = asyncio.run(migrate.current_and_head(url))
    out.print(f"The schema is at revision {revision}.")


def worker() -> None:
    """Only apply receipts and keep the clock: more hands for a service that runs elsewhere."""
    settings = configured()
    signal.signal(signal.SIGTERM, _leave)
    with database(settings) as url, contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_worked(settings, url))


async def _worked(settings: Settings, url: str) -> None:
    """A database that is away is waited for; one that will have none of us is said at once."""
    try:
        async with connected(url):
            pass
    except Exception as error:
        if not is_away(error) or is_refused(error):
            raise
    await run_worker(settings, url)
