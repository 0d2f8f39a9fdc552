"""What every command needs: words for the terminal, settings, and a database."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TypeVar

from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from app import embedded, logs, migrate
from app.db import Connection, create_pool
from app.private import keep_private
from app.sealing import KEY_FILE, Sealing, make_key_file
from app.settings import Settings

ResultT = TypeVar("ResultT")
ACTOR = "command line"
out = Console(soft_wrap=True, highlight=False, markup=False)
err = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)


def show(table: Table) -> None:
    """As wide as the terminal; into a pipe or file, wide enough that sentences stay whole."""
    Console(width=None if out.is_terminal else 200).print(table)


def fail(*lines: str) -> None:
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


def configured() -> Settings:
    """As `settings_or_exit`; the log is written as they say."""
    settings = settings_or_exit()
    logs.configure(json=settings.log_json)
    return settings


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


@contextlib.contextmanager
def standing_database(settings: Settings) -> Iterator[str | None]:
    """The URL of the database that is there, for who only looks: nothing is made or brought up to date. An embedded one that
    does not run is started, and stopped at the end; None where there is none yet."""
    url = settings.database_url or embedded.running_dsn(settings.data_dir)
    if url is None and not (settings.data_dir / "postgres" / "PG_VERSION").exists():
        yield None
        return
    Sealing.of(settings)
    if url is not None:
        yield url
        return
    os.umask(0o077)
    with embedded.start(settings.data_dir) as server:
        yield server.url


def in_database(work: Callable[[Connection], Awaitable[ResultT]]) -> ResultT:
    """The result of `work`, done in one transaction."""
    settings = configured()

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
