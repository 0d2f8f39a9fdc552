"""What the platform's routers share: the transaction."""

import contextlib
from collections.abc import AsyncIterator

from fastapi import Request

from app import db
from app.accounts.directory import directory_of
from app.db import Connection, unless_away


@contextlib.asynccontextmanager
async def writing(request: Request) -> AsyncIterator[Connection]:
    """A transaction, committed at the end; afterwards the directory knows what changed."""
    async with db.writing(request) as connection:
        yield connection
    with unless_away():  # what is committed stands; the refresher tries again by itself
        await directory_of(request).refresh()
