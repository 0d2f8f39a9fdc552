"""What the platform's routers share: the transaction."""

import contextlib
from collections.abc import AsyncIterator

from fastapi import Request

from app import db
from app.accounts.directory import directory_of
from app.db import Connection, unless_away


@contextlib.asynccontextmanager
async def writing(request: Request, *, dry_run: bool = False) -> AsyncIterator[Connection]:
    """A transaction, committed at the end unless it is a `dry_run`; afterwards the directory knows what changed."""
    async with db.writing(request, dry_run=dry_run) as connection:
        yield connection
    if dry_run:
        return
    with unless_away():  # what is committed stands; the refresher tries again by itself
        await directory_of(request).refresh()
