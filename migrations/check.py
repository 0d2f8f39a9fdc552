"""`alembic check` against a throw-away database: the migrations lead exactly to app/tables.py. Used by `make check`."""

import asyncio
import sys

from alembic import command
from alembic.util.exc import CommandError
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from app import embedded, migrate


def compare(connection: Connection) -> None:
    config = migrate.config()
    config.attributes["connection"] = connection
    command.check(config)


async def check(url: str) -> None:
    await migrate.upgrade(url)
    engine = create_async_engine(url)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(compare)
    finally:
        await engine.dispose()


if __name__ == "__main__":
    with embedded.temporary({"fsync": "off"}) as server:
        try:
            asyncio.run(check(server.url))
        except CommandError as error:
            sys.exit(f"migrations: {error}")
