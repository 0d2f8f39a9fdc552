"""What the platform's routers share: the transaction."""

import contextlib
from collections.abc import AsyncIterator

from fastapi import Request

from app import db
from app.accounts.directory import directory_of
from app.db import Connection, unless_away


class _Undone(Exception):
    """Takes a savepoint back."""


@contextlib.asynccontextmanager
async def undone(connection: Connection, dry_run: bool) -> AsyncIterator[None]:
    """What is written within is taken back at the end, when it is only a `dry_run`."""
    with contextlib.suppress(_Undone):
        async with connection.transaction():
            yield
            if dry_run:
                raise _Undone


@contextlib.asynccontextmanager
async def writing(request: Request) -> AsyncIterator[Connection]:
    """A transaction, committed at the end; afterwards the directory knows what changed."""
    async with db.writing(request) as connection:
        yield connection
    with unless_away():  # what is committed stands; the refresher tries again by itself
        await directory_of(request).refresh()
