"""Rows about messages that are handed over: read, recorded some at a time, and told to their delivery."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, TypeVar

import asyncpg
from fastapi import Request

from app import audit
from app.accounts.directory import directory_of
from app.accounts.named import Named
from app.api.bulk import BadRow, Line, parts
from app.api.reader import RowRefused, detail_of
from app.db import POOL_TIMEOUT_SECONDS, TRANSIENT, Connection, load_queries, pool_of, writing
from app.errors import Conflict, NotFound
from app.gateways.receipt import Gateway
from app.matching.claiming import KeyTaken
from app.security import Principal

QUERIES = load_queries(__file__)
#: States of a delivery in which messages sent elsewhere are taken; `finished` is opened again by them.
OPEN = ("editing", "in_progress", "finished")
NO_DELIVERY = "There is no such delivery."
HAS_TARGETS = "This delivery has an audience here: messages sent elsewhere belong to a delivery of their own."
_TRIES = 5
#: Ids recorded in one go: more than a chunk of ordinary rows has.
_MOST_IDS = 2_000
ResultT = TypeVar("ResultT")
RowT = TypeVar("RowT")


class UnknownGateway(RowRefused):
    """A row names a gateway that nobody here knows: the database may."""

    SENTENCE = "gateway: there is no such gateway."

    def __init__(self, key: str) -> None:
        super().__init__(self.SENTENCE)
        self.key = key


def gateway_named(request: Request, key: str | None, default: Gateway | None) -> Gateway | None:
    """Raises `UnknownGateway`."""
    if key is None:
        return default
    gateway: Gateway | None = directory_of(request).get(key)
    if gateway is None:
        raise UnknownGateway(key)
    return gateway


async def delivery_of(request: Request, delivery_id: int) -> Any:
    async with pool_of(request).acquire(timeout=POOL_TIMEOUT_SECONDS) as connection:
        row = await connection.fetchrow(QUERIES["find_delivery"], delivery_id)
    if row is None:
        raise NotFound(NO_DELIVERY)
    return row


async def begin(connection: Connection, delivery_id: int, principal: Principal, now: datetime) -> None:
    """The first message recorded locks the delivery; a later one opens it again if it was finished.

    Comes last in its transaction: workers, too, take keys and counters first and the delivery after them."""
    if await connection.fetchval(QUERIES["find_status"], delivery_id) == "in_progress":
        return
    row = await connection.fetchrow(QUERIES["lock_delivery"], delivery_id)
    assert row is not None
    before = row["status"]
    if row["targets"]:
        raise Conflict(HAS_TARGETS)
    if before == "in_progress":
        return
    if before not in OPEN:
        raise Conflict(f"This delivery is {before}: messages sent elsewhere cannot be added to it.")
    await connection.execute(QUERIES["begin_delivery"], delivery_id, now)
    code, text = (
        ("DLV-STARTED", "Sending began elsewhere.") if before == "editing" else ("DLV-REOPENED", "More messages came.")
    )
    await audit.append(connection, delivery_id, code, text, at=now, actor=principal.name)


def by_ids(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """`rows` some at a time: each id is a key to be written, and a row may have hundreds of them."""
    start, ids = 0, 0
    for place, row in enumerate(rows):
        ids += len(row.provider_message_ids)
        if ids > _MOST_IDS:
            yield rows[start : place + 1]
            start, ids = place + 1, 0
    if start < len(rows):
        yield rows[start:]


async def read_rows(
    chunk: Sequence[Line | BadRow],
    read: Callable[[Line], RowT],
    named: Named,
    reject: Callable[[int, str], None],
) -> list[RowT]:
    """What `read` makes of the rows, in their order; a row costs itself, whatever it raises. Rows of gateways that are
    not known yet are read a second time, when the database was asked."""
    found: dict[int, RowT] = {}
    unknown: list[tuple[Line, str]] = []

    def take(line: Line | BadRow) -> None:
        try:
            if isinstance(line, BadRow):
                raise RowRefused(line.detail)
            found[line.number] = read(line)
        except UnknownGateway as error:
            assert isinstance(line, Line)
            unknown.append((line, error.key))
        except Exception as error:
            reject(line.number, detail_of(error))

    async for part in parts(chunk):
        for line in part:
            take(line)
    again, unknown = unknown, []
    await named.found(key for _, key in again)
    for line, _ in again:
        take(line)
    for line, _ in unknown:
        reject(line.number, UnknownGateway.SENTENCE)
    return [found[number] for number in sorted(found)]


async def record_chunk(
    request: Request,
    rows: Sequence[Any],
    record: Callable[[Connection, Sequence[Any], datetime], Awaitable[ResultT]],
    now: datetime,
) -> ResultT:
    """What `record` makes of the rows, in one transaction; tried again when others were faster. Raises `Conflict`, and
    `NotFound` when the delivery, a draft until then, was deleted meanwhile."""
    for _ in range(_TRIES):
        try:
            async with writing(request) as connection:
                return await record(connection, rows, now)
        except (KeyTaken, *TRANSIENT):
            continue
        except asyncpg.ForeignKeyViolationError as error:
            raise NotFound(NO_DELIVERY) from error
    raise Conflict("Other uploads carry the same provider message ids at the same time; send this again.")
