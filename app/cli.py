"""The command line: `acuse run` and what an operator does beside it.

Every command that needs the database takes the one of ACUSE_DATABASE_URL, else the embedded one that `acuse run` has
running, else it starts that and stops it afterwards.
"""

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, TypeVar

import asyncpg
import typer
import uvicorn
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table
from uvicorn.supervisors import Multiprocess

from app import embedded, logs, migrate
from app.accounts import administering as changes
from app.accounts import installation, resealing, store
from app.accounts.known import FILE_NAME
from app.db import Connection, create_pool, in_short, is_away, is_refused
from app.demo import main as demo
from app.doctor import Check, examined
from app.errors import Problem
from app.gateways import GATEWAYS
from app.ingest.runtime import run_worker
from app.links import signing as token_keys
from app.links import store as links_store
from app.matching.rekeying import rekey
from app.private import keep_private
from app.projections.replay import replay as ingest_replay
from app.sealing import KEY_FILE, SealError, Sealing, make_key_file
from app.server.config import config_of
from app.server.limits import raise_descriptors
from app.settings import Settings

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Acuse tells the truth about SMS deliveries.")
keys = typer.Typer(no_args_is_help=True, help="API keys.")
gateways = typer.Typer(no_args_is_help=True, help="Accounts at SMS providers.")
links = typer.Typer(no_args_is_help=True, help="Short URLs and their clicks.")
app.add_typer(keys, name="keys")
app.add_typer(gateways, name="gateways")
app.add_typer(links, name="links")

ResultT = TypeVar("ResultT")
ACTOR = "command line"
#: How often the embedded server is looked after.
WATCH_SECONDS = 1.0

out = Console(soft_wrap=True, highlight=False, markup=False)
err = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)


def show(table: Table) -> None:
    """As wide as the terminal; into a pipe or file, wide enough that sentences stay whole."""
    Console(width=None if out.is_terminal else 200).print(table)


def main() -> None:
    """Runs a command; what it cannot do becomes a sentence, not a traceback."""
    try:
        app()
    except (embedded.EmbeddedPostgresError, SealError, migrate.NewerSchemaError) as error:
        _fail(str(error))
    except Problem as error:
        _fail(error.detail, *(f"  {each['pointer']}: {each['detail']}" for each in error.errors))
    except Exception as error:
        if store.is_empty(error) and not is_refused(error):
            _fail("The database has no schema yet: run `acuse migrate` first.")
        if isinstance(error, OSError) and error.filename is not None:
            _fail(f"{os.fsdecode(error.filename)} cannot be used: {error.strerror}.")
        if not is_away(error) and not isinstance(error, asyncpg.PostgresError):
            raise
        _fail(f"The database cannot be used: {logs.mask_phones(in_short(error))}.")


def _fail(*lines: str) -> None:
    for line in lines:
        err.print(line)
    raise SystemExit(1)


def settings_or_exit() -> Settings:
    """From the environment; what is wrong with it is said variable by variable, without the values."""
    try:
        return Settings()
    except ValidationError as error:
        for each in error.errors(include_input=False, include_url=False):
            name = f"ACUSE_{'_'.join(map(str, each['loc'][:1])).upper()}"
            err.print(f"{name}: {str(each['msg']).removeprefix('Value error, ')}")
        raise SystemExit(2) from None


# --- the database ----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def database(settings: Settings) -> Iterator[str]:
    """The URL of the database; one that had to be started is brought up to date, and stopped at the end."""
    url = settings.database_url or embedded.running_dsn(settings.data_dir)
    if url is not None:
        Sealing.of(settings)  # now this process has its keys
        yield url
        return
    keep_private(settings.data_dir, passable=os.geteuid() == 0)
    with embedded.start(settings.data_dir) as server:
        make_key_file(settings.data_dir / KEY_FILE)
        Sealing.of(settings)
        asyncio.run(migrate.upgrade(server.url))
        yield server.url


def in_database(work: Callable[[Connection], Awaitable[ResultT]]) -> ResultT:
    """The result of `work`, done in one transaction."""
    settings = settings_or_exit()
    logs.configure(json=settings.log_json)

    async def done(url: str) -> ResultT:
        async with connected(url) as connection, connection.transaction():
            await Sealing.of(settings).install(connection)
            return await work(connection)

    with database(settings) as url:
        return asyncio.run(done(url))


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connection]:
    pool = await create_pool(url, name="command", size=1)
    try:
        async with pool.acquire() as connection:
            yield connection
    finally:
        await pool.close()


# --- run, worker, migrate --------------------------------------------------------------------------------------------


@app.command()
def run() -> None:
    """Start the service, and with it an embedded PostgreSQL unless ACUSE_DATABASE_URL is set."""
    settings = settings_or_exit()
    logs.configure(json=settings.log_json)
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


@app.command(name="migrate")
def migrate_() -> None:
    """Bring the database's schema up to date, and no more."""
    settings = settings_or_exit()
    logs.configure(json=settings.log_json)
    with database(settings) as url:
        asyncio.run(migrate.upgrade(url))
        revision, _ = asyncio.run(migrate.current_and_head(url))
    out.print(f"The schema is at revision {revision}.")


@app.command()
def worker() -> None:
    """Only apply receipts and keep the clock: more hands for a service that runs elsewhere."""
    settings = settings_or_exit()
    logs.configure(json=settings.log_json)
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


app.command(name="demo")(demo)


# --- replay, doctor --------------------------------------------------------------------------------------------------


@app.command()
def replay(
    delivery: Annotated[int | None, typer.Option(help="Only this delivery.")] = None,
) -> None:
    """Rebuild projections from facts and show the difference; exit code 1 when there was one. It is mended by this."""
    settings = settings_or_exit()
    logs.configure(json=settings.log_json)
    with database(settings) as url:
        empty = asyncio.run(_replayed(url, delivery))
    if not empty:
        raise SystemExit(1)
    out.print("No difference: the projections are what the facts say.")


async def _replayed(url: str, delivery: int | None) -> bool:
    """True when there was no difference. Prints each, delivery by delivery."""
    empty = True
    async with connected(url) as connection, contextlib.aclosing(ingest_replay(connection, delivery)) as found:
        async for difference in found:
            if difference.empty:
                continue
            empty = False
            out.print(f"Delivery {difference.delivery_id}, {difference.messages} messages:")
            for row in (*difference.states, *difference.counters):
                out.print("  " + " ".join(f"{name}={value}" for name, value in row.items()))
            if difference.clicks:
                out.print(f"  messages with a wrong count of clicks: {difference.clicks}")
            if difference.quarantine:
                out.print(f"  rows of the quarantine: {difference.quarantine}")
    return empty


@app.command()
def reseal(
    accept_loss: Annotated[
        bool,
        typer.Option(
            help="When a sealing key is lost for good: what it sealed is made anew. Short URLs given out lead nowhere, "
            "erased numbers are not recognised, and gateways need their secrets again."
        ),
    ] = False,
) -> None:
    """Seal all secrets with the newest key; then older ones can be dropped. Exit code 1 when something cannot be opened."""
    settings = settings_or_exit()
    logs.configure(json=settings.log_json)
    with database(settings) as url:
        lost = asyncio.run(_resealed(settings, url, accept_loss))
    if lost:
        _fail(f"These cannot be opened with the keys that are here: {', '.join(lost)}.")


async def _resealed(settings: Settings, url: str, accept_loss: bool) -> list[str]:
    """What is lost."""
    fates: dict[str, list[str]] = {"sealed": [], "done": [], "lost": []}
    async with connected(url) as connection:
        async with connection.transaction():
            sealing = Sealing.of(settings)
            for name in await sealing.accept_loss(connection) if accept_loss else ():
                out.print(f"`{name}` is lost, and made anew.")
            await sealing.install(connection)
        async with contextlib.aclosing(resealing.reseal(connection)) as found:
            async for name, fate in found:
                fates[fate].append(name)
    out.print(
        f"Sealed with the key {sealing.key_id}: {len(fates['sealed'])} anew, {len(fates['done'])} before, "
        f"{len(fates['lost'])} cannot be opened."
    )
    return fates["lost"]


_MARKS = {"ok": "✓", "warning": "!", "failed": "✗"}


@app.command()
def doctor() -> None:
    """Examine settings, database, disk and queues; exit code 1 when something is wrong."""
    settings = settings_or_exit()
    logs.configure(json=settings.log_json)
    checks = [Check("settings", "ok", "They can be used."), *_examined(settings)]
    table = Table("", "check", "finding")
    for check in checks:
        table.add_row(_MARKS[check.state], check.name, check.finding)
    show(table)
    if any(check.state == "failed" for check in checks):
        raise SystemExit(1)


def _examined(settings: Settings) -> list[Check]:
    try:
        with database(settings) as url:
            return asyncio.run(examined(settings, url))
    except embedded.EmbeddedPostgresError as error:
        return [Check("database", "failed", str(error))]


# --- keys ------------------------------------------------------------------------------------------------------------


@keys.command(name="list")
def list_keys() -> None:
    """All API keys, without their secrets."""
    rows, _ = in_database(lambda connection: store.keys_after(connection, "", None))
    table = Table("name", "scopes", "created")
    for row in rows:
        table.add_row(row["name"], " ".join(row["scopes"]), f"{row['created_at']:%Y-%m-%d %H:%M} UTC")
    show(table)


@keys.command(name="create")
def create_key(
    name: str,
    scope: Annotated[list[str], typer.Option(help="May be given several times.")],
) -> None:
    """Create an API key and print its secret, once."""
    reserved = (installation.ENV_ADMIN,)
    out.print(in_database(lambda held: changes.create_key(held, name, scope, actor=ACTOR, reserved=reserved)))


@keys.command(name="delete")
def delete_key(name: str) -> None:
    """Delete an API key; the last one with scope admin stays."""
    in_database(lambda connection: changes.delete_key(connection, name, actor=ACTOR))
    out.print(f"API key {name} is deleted.")


# --- gateways --------------------------------------------------------------------------------------------------------


@gateways.command(name="kinds")
def list_kinds() -> None:
    """The kinds of gateways there are."""
    table = Table("kind", "label", "auth modes", "options")
    for kind, adapter in sorted(GATEWAYS.items()):
        table.add_row(kind, adapter.label, " ".join(adapter.auth_modes), " ".join(adapter.options.model_fields))
    show(table)


@gateways.command(name="list")
def list_gateways() -> None:
    """All gateways, without their secrets."""
    rows, _ = in_database(lambda connection: store.gateways_after(connection, "", None))
    table = Table("key", "kind", "label", "auth", "callback path")
    for row in rows:
        table.add_row(row.key, row.kind, row.label, row.auth["mode"], f"/callbacks/{row.key}")
    show(table)


@gateways.command(name="create")
def create_gateway(
    key: str,
    kind: Annotated[str, typer.Option(help="See `acuse gateways kinds`.")],
    auth: Annotated[str, typer.Option(help="token, basic, bearer, signature or none.")],
    secret_file: Annotated[
        list[Path] | None, typer.Option(help="A file with one secret a line; without it, you are asked.")
    ] = None,
    username: Annotated[str | None, typer.Option(help="Only for basic.")] = None,
    label: Annotated[str | None, typer.Option()] = None,
    implementation: Annotated[str | None, typer.Option(help="Name under which errors are qualified.")] = None,
    option: Annotated[list[str] | None, typer.Option(help="name=value; may be given several times.")] = None,
) -> None:
    """Create a gateway and print the path for its callbacks; a deleted one of this key and kind is revived. Secrets are
    not taken from the command line, where other users of the machine could read them."""
    credentials = changes.Credentials(mode=auth, secrets=_secrets(auth, secret_file), username=username)
    options = dict(_pair(each) for each in option or ())
    settings = settings_or_exit()
    row = in_database(
        lambda connection: changes.create_gateway(
            connection, key=key, kind=kind, label=label, implementation=implementation, options=options,
            auth=credentials, actor=ACTOR, rekey=rekey,
            retention=timedelta(days=settings.deleted_gateway_days),
        )
    )  # fmt: skip
    out.print(f"Gateway {row.key} is created. Its callbacks go to /callbacks/{row.key}")


def _secrets(mode: str, files: list[Path] | None) -> list[str]:
    if files:
        return [line for file in files for line in file.read_text("utf-8").splitlines() if line]
    return [] if mode == "none" else [typer.prompt("Secret", hide_input=sys.stdin.isatty(), err=True)]


def _pair(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"{text!r} is not name=value.")
    return name, {"true": True, "false": False}.get(value, value)


@gateways.command(name="delete")
def delete_gateway(
    key: str, force: Annotated[bool, typer.Option(help="Also while messages are in transit.")] = False
) -> None:
    """Delete a gateway: it cannot be named any more, what it said stays, and its receipts are taken for some time."""
    in_database(lambda connection: changes.delete_gateway(connection, key, actor=ACTOR, force=force))
    out.print(f"Gateway {key} is deleted. Receipts for it are taken until its retention ends.")


# --- links -----------------------------------------------------------------------------------------------------------

#: Clicks judged anew in one transaction.
_REJUDGED = 2_000


@links.command(name="rotate-key")
def rotate_key(
    forget_oldest: Annotated[
        bool, typer.Option(help="Even if the links of the oldest of eight keys lead nowhere afterwards.")
    ] = False,
) -> None:
    """Make new short URLs with a new key. Those that were made with the seven keys before keep working."""
    now = datetime.now(UTC)
    made = in_database(lambda connection: token_keys.rotate(connection, now, actor=ACTOR, forgetting=forget_oldest))
    out.print(f"New short URLs are made with key {made.current}. All processes know it within seconds.")


@links.command()
def rejudge(delivery: Annotated[int | None, typer.Option(help="Only the clicks of this delivery.")] = None) -> None:
    """Judge clicks anew by the present rules: person or machine. Figures move by what changed."""
    settings = settings_or_exit()
    logs.configure(json=settings.log_json)
    with database(settings) as url:
        looked_at, changed = asyncio.run(_rejudged(url, delivery))
    out.print(f"Clicks judged: {looked_at}. Changed sides: {changed}.")


async def _rejudged(url: str, delivery: int | None) -> tuple[int, int]:
    last = looked_at = changed = 0
    async with connected(url) as connection:
        while True:
            async with connection.transaction():
                last, some, turned = await links_store.rejudge(connection, delivery, last, _REJUDGED)
            if not some:
                return looked_at, changed
            looked_at, changed = looked_at + some, changed + turned


if __name__ == "__main__":
    main()
