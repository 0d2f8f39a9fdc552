"""What the platform's routers share: kinds of text, the transaction, whole lists as streams."""

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Annotated, Any

from fastapi import Path, Request
from pydantic import AfterValidator, StringConstraints
from starlette.responses import Response

from app.api import export
from app.db import AWAY, POOL_TIMEOUT_SECONDS, Connection
from app.platform import store


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("Control characters and line ends are not allowed.")
    return text


Slug = Annotated[str, StringConstraints(pattern=store.SLUG), AfterValidator(_one_line)]
Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100), AfterValidator(_one_line)]
Secret = Annotated[str, StringConstraints(max_length=1000)]
#: Names in a path are looked up, not checked: a wrong one is simply not there.
Name = Annotated[str, Path(max_length=200)]


@contextlib.asynccontextmanager
async def reading(request: Request) -> AsyncIterator[Connection]:
    """A connection; waits for a free one only so long."""
    async with request.app.state.pool.acquire(timeout=POOL_TIMEOUT_SECONDS) as connection:
        yield connection


@contextlib.asynccontextmanager
async def writing(request: Request) -> AsyncIterator[Connection]:
    """A transaction, committed at the end; afterwards the directory knows what changed."""
    async with reading(request) as connection, connection.transaction():
        yield connection
    with contextlib.suppress(*AWAY):  # what is committed stands; the refresher tries again by itself
        await request.app.state.directory.refresh()


def whole(request: Request, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> Response | None:
    """All of a short list as a stream, when the request's `Accept` asks for one."""
    form = export.wanted(request)
    return None if form == "json" else export.stream(form, columns, _at_once(rows))


async def _at_once(rows: Sequence[Mapping[str, Any]]) -> AsyncIterator[Sequence[Mapping[str, Any]]]:
    yield rows
