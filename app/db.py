"""Engines, pools, and the named queries of each folder's `queries.sql`.

Two doors to one database: SQLAlchemy Core for the API's reads and edits, plain asyncpg for the road that receipts
take (COPY and set-based statements). Only the outermost caller commits; stores take a connection and never open one.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import asyncpg
import orjson
from sqlalchemy.exc import DBAPIError, InterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy
    from starlette.requests import Request

    Connection = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
    Pool = asyncpg.Pool[asyncpg.Record]
else:
    Connection = asyncpg.Connection
    Pool = asyncpg.Pool

#: A database that takes longer than this to answer a connection attempt counts as away.
CONNECT_TIMEOUT_SECONDS = 2.0
#: A read of the API that takes longer is given up: the server hangs, or the answer would come too late anyway.
COMMAND_TIMEOUT_SECONDS = 30.0
#: Longest wait of an API request for a free connection; then it answers 503.
POOL_TIMEOUT_SECONDS = 3.0

#: What the driver raises when the database is away, starting up or shutting down; worth another try later.
AWAY = (
    OSError,
    asyncio.TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.DiskFullError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    InterfaceError,
    PoolTimeout,
)


def is_away(error: BaseException) -> bool:
    """True when `error` means that the database cannot be reached now, not that the statement was wrong."""
    if isinstance(error, DBAPIError) and not isinstance(error, InterfaceError):
        cause = getattr(error.orig, "__cause__", None)
        return error.connection_invalidated or (cause is not None and isinstance(cause, AWAY))
    return isinstance(error, AWAY)


def sqlalchemy_url(url: str) -> str:
    """`postgres://` and `postgresql://` as SQLAlchemy's asyncpg dialect wants them."""
    return re.sub(r"^postgres(ql)?(\+asyncpg)?://", "postgresql+asyncpg://", url)


def asyncpg_dsn(url: str) -> str:
    """The same URL as plain asyncpg wants it."""
    return re.sub(r"^postgres(ql)?(\+asyncpg)?://", "postgresql://", url)


def create_engine(url: str, *, pool_size: int) -> AsyncEngine:
    """The API's engine. Parameters never appear in errors or logs: they hold addresses."""
    return create_async_engine(
        sqlalchemy_url(url),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_SECONDS,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args={
            "timeout": CONNECT_TIMEOUT_SECONDS,
            "command_timeout": COMMAND_TIMEOUT_SECONDS,
            "server_settings": {"application_name": "acuse-api"},
        },
        json_serializer=lambda value: orjson.dumps(value).decode(),
        json_deserializer=orjson.loads,
    )


async def create_pool(url: str, *, name: str, size: int, settings: Mapping[str, str] = MappingProxyType({})) -> Pool:
    """A pool of plain connections that opens none before it is asked, so that a database away does not stop a start."""
    return await asyncpg.create_pool(
        asyncpg_dsn(url),
        min_size=0,
        max_size=size,
        timeout=CONNECT_TIMEOUT_SECONDS,
        server_settings={"application_name": f"acuse-{name}", **settings},
        init=_use_orjson,
        reset=_leave_as_it_is,
        max_queries=1_000_000,
        max_inactive_connection_lifetime=60.0,
    )


@asynccontextmanager
async def writing(request: "Request") -> AsyncIterator[Connection]:
    """A transaction for a request that writes; it commits at the end of the block, and waits for a free connection only
    so long."""
    async with request.app.state.pool.acquire(timeout=POOL_TIMEOUT_SECONDS) as connection, connection.transaction():
        yield connection


async def _leave_as_it_is(connection: Any) -> None:
    """Nothing of ours changes a session outside of a transaction, so the usual round trip to reset one is saved."""


async def _use_orjson(connection: Any) -> None:
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        format="binary",
        encoder=lambda value: b"\x01" + orjson.dumps(value),
        decoder=lambda data: orjson.loads(data[1:]),
    )


def load_queries(folder: str | Path, name: str = "queries.sql") -> Mapping[str, str]:
    """The named queries of the file `name` in `folder`: `-- name: x` opens one, `{x}` in another puts `x`'s text there."""
    source = (Path(folder).parent if Path(folder).is_file() else Path(folder)) / name
    queries: dict[str, str] = {}
    for block in re.split(r"^-- name: ", source.read_text("utf-8"), flags=re.MULTILINE)[1:]:
        name, _, body = block.partition("\n")
        text = body.strip().rstrip(";")
        queries[name.strip()] = re.sub(r"\{(\w+)\}", lambda found: queries[found[1]], text)
    return MappingProxyType(queries)
