"""Brings the schema to the newest revision. `acuse run` does so at every start; `acuse migrate` does only that."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from app.db import CONNECT_TIMEOUT_SECONDS, sqlalchemy_url
from app.locks import MIGRATING

SCRIPTS = Path(__file__).parents[1] / "migrations"
#: A migration that waits for a lock makes everything behind it wait, too: better to give up, and try again.
LOCK_TIMEOUT = "5s"
STATEMENT_TIMEOUT = "10min"


class NewerSchemaError(Exception):
    """The database's schema comes from a newer version of this program: start that one."""

    def __init__(self) -> None:
        super().__init__(" ".join((NewerSchemaError.__doc__ or "").split()))


async def upgrade(url: str) -> None:
    """Runs what is missing, each migration in its own transaction. Others that ask at the same time wait."""
    async with alone(url) as connection:
        await connection.run_sync(_upgrade)


async def current_and_head(url: str) -> tuple[str | None, str | None]:
    """The database's revision and the newest one; None for an empty database, or when there are no migrations."""
    async with _connection(url) as connection:
        current = await connection.run_sync(lambda sync: MigrationContext.configure(sync).get_current_revision())
    return current, _scripts().get_current_head()


@contextlib.asynccontextmanager
async def alone(url: str) -> AsyncIterator[AsyncConnection]:
    """A connection whose holder is the only one to migrate, with the timeouts of migrations; not in a transaction."""
    async with _connection(url) as connection:
        # Asked again and again, not waited for: who waits holds a snapshot, and CREATE INDEX CONCURRENTLY waits for it.
        while not await connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": MIGRATING}):
            await connection.commit()
            await asyncio.sleep(0.1)
        await connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
        await connection.execute(text(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'"))
        await connection.commit()
        yield connection  # and when it closes, the lock goes with it


def config() -> Config:
    """Alembic's, without alembic.ini: nothing in it matters here, and logging stays as the service set it up."""
    found = Config()
    found.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    found.set_main_option("path_separator", "os")
    return found


def is_known(revision: str | None) -> bool:
    """False for a revision of a newer program."""
    return revision is None or any(each.revision == revision for each in _scripts().walk_revisions())


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(config())


def _upgrade(connection: Connection) -> None:
    current = MigrationContext.configure(connection).get_current_revision()
    connection.commit()  # reading has begun a transaction, and each migration has its own
    if not is_known(current):
        raise NewerSchemaError
    with_connection = config()
    with_connection.attributes["connection"] = connection
    command.upgrade(with_connection, "head")


@contextlib.asynccontextmanager
async def _connection(url: str) -> AsyncIterator[AsyncConnection]:
    engine = create_async_engine(
        sqlalchemy_url(url), poolclass=NullPool, hide_parameters=True, connect_args={"timeout": CONNECT_TIMEOUT_SECONDS}
    )
    try:
        async with engine.connect() as connection:
            yield connection
    finally:
        await engine.dispose()
