"""Engines, pools, and the named queries of each folder's `queries.sql`.

Two doors to one database: SQLAlchemy Core for the API's reads and edits, plain asyncpg for the road that receipts
take (COPY and set-based statements). Only the outermost caller commits; stores take a connection and never open one.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, cast

import asyncpg
import orjson
from sqlalchemy import ClauseElement, select
from sqlalchemy.dialects.postgresql import asyncpg as _dialects
from sqlalchemy.exc import DBAPIError, InterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from starlette.requests import HTTPConnection, Request
from starlette.types import Scope

from app.locks import Lock

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

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
#: Connections of a process, by pool; with those of the API's reads (ACUSE_API_CONNECTIONS) and one for migrating and
#: installing 20, so that four processes and some commands fit into PostgreSQL's usual hundred.
POOL_SIZES = MappingProxyType({"inbox": 4, "worker": 5, "preparer": 3, "links": 2, "directory": 1})
CONNECTIONS = 20

#: Somebody else was faster or in the way, and that passes: what was asked is asked again as it is.
TRANSIENT = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError, asyncpg.LockNotAvailableError)
_DIALECT = _dialects.dialect()  # type: ignore[no-untyped-call]

#: Whom an error lets suspect first. It is no more than a suspicion: what fails alone, again and again, while its like
#: commits beside it, is to blame, whatever its error is called (app/ingest/drain.py).
Suspect = Literal["row", "database", "ours"]
#: SQLSTATE classes (and a few whole states) that speak of values: data, constraints, a trigger's own words, sizes.
_OF_ROWS = ("09", "21", "22", "23", "27", "44", "54", "P0")
#: Of class 42, which is else about statements that we wrote: things that are not there any more, and rights.
_OF_OBJECTS = frozenset({"42501", "42P01", "42703", "42704", "42883", "42809", "42P02"})
#: What was set for the session by `ALTER DATABASE` or `ALTER ROLE`, and stays when that is taken back: read-only, timeouts.
_OF_SESSIONS = frozenset({"25006", "57014", "55P03"})
#: What the driver and the pools raise without a word from the database: it cannot be reached, or not in time.
_UNREACHED = (
    OSError, asyncio.TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError, InterfaceError, PoolTimeout,
    asyncio.IncompleteReadError,
)  # fmt: skip


def suspect(error: BaseException) -> Suspect:
    """Whose fault `error` looks like: that of the row's values, of the database's state, or of our own code."""
    cause = _cause(error)
    state = sqlstate(cause)
    if state is None:
        if isinstance(cause, DBAPIError) and cause.connection_invalidated:
            return "database"
        return "database" if isinstance(cause, _UNREACHED) else "ours"
    if state.startswith(_OF_ROWS):
        return "row"
    if state[:2] in ("42", "3F"):
        return "database" if state in _OF_OBJECTS or state[:2] == "3F" else "ours"
    return "database"


def is_away(error: BaseException) -> bool:
    """True when `error` lets suspect the database's state: unreachable, closed, without rights, read-only, too slow…"""
    return suspect(error) == "database"


def is_of_objects(error: BaseException) -> bool:
    """True for errors that can be about some tables, rows or rights only: gone, held by others, in each other's way."""
    return is_away(error) and (sqlstate(_cause(error)) or "").startswith(("40", "42", "3F", "55P", "57014"))


def is_everywhere(error: BaseException) -> bool:
    """True for errors of the whole database; false for those that can be about one table, or one lock on it."""
    return is_away(error) and not is_of_objects(error) and not (sqlstate(_cause(error)) or "").startswith(("XX", "0A"))


def sqlstate(error: BaseException) -> str | None:
    """What PostgreSQL called `error`; None when it did not speak."""
    state = getattr(error, "sqlstate", None)
    return state if isinstance(state, str) else None


def is_refused(error: BaseException) -> bool:
    """The database answers and will have none of us: no such database or role, a wrong password, no right to connect."""
    return (sqlstate(_cause(error)) or "").startswith(("28", "3D", "42501"))


def in_short(error: BaseException) -> str:
    """The first line of what went wrong, without a stop at its end: the driver's own words, not their wrappings."""
    cause = _cause(error)
    return (str(cause).strip() or type(cause).__name__).splitlines()[0].rstrip(".")


def _cause(error: BaseException) -> BaseException:
    """The driver's own error in the wrappings of SQLAlchemy."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        return getattr(error.orig, "__cause__", None) or (error.orig if sqlstate(error.orig) else error)
    return error


@contextmanager
def unless_away() -> Iterator[None]:
    """Passes over errors of the database's state: for what is made up for by itself when it is back."""
    try:
        yield
    except Exception as error:
        if not is_away(error):
            raise


def is_of_session(error: BaseException) -> bool:
    """True for errors that may come from settings of the session, which outlive their being taken back."""
    return sqlstate(_cause(error)) in _OF_SESSIONS


async def renew(pool: Pool | None, error: BaseException) -> None:
    """After such an error the pool's connections are opened anew, each when it is next needed."""
    if pool is not None and is_of_session(error):
        await pool.expire_connections()


def sqlalchemy_url(url: str) -> str:
    """`postgres://` and `postgresql://` as SQLAlchemy's asyncpg dialect wants them."""
    return re.sub(r"^postgres(ql)?(\+asyncpg)?://", "postgresql+asyncpg://", url)


def asyncpg_dsn(url: str) -> str:
    """The same URL as plain asyncpg wants it."""
    return re.sub(r"^postgres(ql)?(\+asyncpg)?://", "postgresql://", url)


@dataclass(frozen=True, slots=True)
class Reach:
    """Whether the database can be reached, as whoever writes to it all the time has found."""

    #: Tables that take no rows now: what comes for them goes to the spool.
    away: set[str] = field(default_factory=set)
    #: Set while the database refuses or does not answer at all; one commit that was slow does not set it.
    unreachable: asyncio.Event = field(default_factory=asyncio.Event)


def reach_of(scope: Scope) -> Reach:
    found: Reach = scope["app"].state.reach
    return found


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


class _Undone(Exception):
    """Ends a transaction that was only tried."""


@asynccontextmanager
async def writing(request: Request, *, dry_run: bool = False) -> AsyncIterator[Connection]:
    """A transaction for a request that writes; it commits at the end of the block, and waits for a free connection only
    so long. `dry_run`: all of it is done, refusals included, and taken back at the end."""
    async with pool_of(request).acquire(timeout=POOL_TIMEOUT_SECONDS) as connection:
        try:
            async with connection.transaction():
                yield connection
                if dry_run:
                    raise _Undone
        except _Undone:
            pass


@asynccontextmanager
async def snapshot(request: Request) -> AsyncIterator[AsyncConnection]:
    """For a request that reads: every statement in the block sees the same moment, so that what one answer says agrees with
    itself: totals with lists, a status with its evidence, a delivery with its figures."""
    async with engine_of(request).connect() as connection:
        yield await connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


@asynccontextmanager
async def plain_snapshot(request: Request) -> AsyncIterator[Connection]:
    """A `snapshot` by the driver itself; waits for a free connection only so long."""
    async with (
        pool_of(request).acquire(timeout=POOL_TIMEOUT_SECONDS) as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        yield connection


async def plain(connection: AsyncConnection) -> Connection:
    """The driver's own connection under a `snapshot`, within the same transaction."""
    await connection.execute(select(1))  # the transaction begins with the first statement
    return cast("Connection", (await connection.get_raw_connection()).driver_connection)


async def clock(connection: Connection) -> datetime:
    """What time it is by the database, now and not when its transaction began."""
    now: datetime = await connection.fetchval("SELECT clock_timestamp()")
    return now


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


def load_queries(module: str, name: str = "queries.sql") -> Mapping[str, str]:
    """The named statements of the file `name` beside `module`. `-- name: find_x` opens one, comments say what it is for.

    `{x}` stands for the text of `x`, from the same file above it or from `app/fragments.sql`, `{RECORDING}` for the number of a
    lock. What else stands in braces is put there by `filled`."""
    return MappingProxyType(_read_queries(Path(module).with_name(name), _fragments()))


@cache
def _fragments() -> Mapping[str, str]:
    locks = {lock.name: str(lock.value) for lock in Lock}
    return locks | _read_queries(Path(__file__).with_name("fragments.sql"), locks)


def _read_queries(source: Path, known: Mapping[str, str]) -> dict[str, str]:
    queries: dict[str, str] = {}
    for block in re.split(r"^-- name: ", source.read_text("utf-8"), flags=re.MULTILINE)[1:]:
        name, _, body = block.partition("\n")
        queries[name.strip()] = _put(re.sub(r"\A(--.*\n)*", "", body).strip().rstrip(";"), {**known, **queries})
    return queries


def filled(query: str, /, **parts: object) -> str:
    """`query` with `parts` in the places that `load_queries` left open. For numbers and names of our own; once, when a module is
    imported: what varies from request to request is a parameter, or SQLAlchemy Core."""
    return _put(query, {name: str(part) for name, part in parts.items()})


def compiled(statement: ClauseElement) -> Sequence[Any]:
    """A statement of Core as plain connections take it: its text with `$1…`, and the values of those."""
    made: Any = statement.compile(dialect=_DIALECT, compile_kwargs={"render_postcompile": True})
    return [str(made), *(made.params[name] for name in made.positiontup or ())]


def _put(text: str, parts: Mapping[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda found: parts.get(found[1], found[0]), text)


def engine_of(connection: HTTPConnection) -> AsyncEngine:
    """For reads."""
    found: AsyncEngine = connection.app.state.engine
    return found


def pool_of(connection: HTTPConnection) -> Pool:
    """For what writes."""
    found: Pool = connection.app.state.pool
    return found
