"""What the platform's routers share: the transaction, whole lists as streams."""

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from fastapi import Request
from starlette.responses import Response

from app.accounts.directory import directory_of
from app.api import export
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


def whole(request: Request, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> Response | None:
    """All of a short list as a stream, when the request's `Accept` asks for one."""
    form = export.wanted(request)
    return None if form == "json" else export.stream(form, columns, _at_once(rows))


async def _at_once(rows: Sequence[Mapping[str, Any]]) -> AsyncIterator[Sequence[Mapping[str, Any]]]:
    yield rows
