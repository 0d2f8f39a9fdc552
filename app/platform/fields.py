"""What the platform's routers share: a connection, and the transaction."""

import contextlib
from collections.abc import AsyncIterator

from fastapi import Request

from app.accounts.directory import directory_of
from app.db import POOL_TIMEOUT_SECONDS, Connection, pool_of, unless_away


@contextlib.asynccontextmanager
async def reading(request: Request) -> AsyncIterator[Connection]:
    """A connection; waits for a free one only so long."""
    async with pool_of(request).acquire(timeout=POOL_TIMEOUT_SECONDS) as connection:
        yield connection


@contextlib.asynccontextmanager
async def writing(request: Request) -> AsyncIterator[Connection]:
    """A transaction, committed at the end; afterwards the directory knows what changed."""
    async with reading(request) as connection, connection.transaction():
        yield connection
    with unless_away():  # what is committed stands; the refresher tries again by itself
        await directory_of(request).refresh()
