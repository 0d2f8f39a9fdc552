"""The one way to list: a page in JSON with a cursor for the next, or, by `Accept`, everything as a stream.

A list says how to find rows behind a position, what a row's position is, and how rows are shown to a key; cursors, limits,
totals, pages that end early by their bytes, and streams that hold no connection while a slow client reads are the same for
all.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, NamedTuple, TypeVar

from fastapi import Depends, Request
from pydantic import BaseModel

from app.api import export
from app.api.paging import Cursor, Limit, LongPage, Page, cursors_of
from app.security import Principal

ModelT = TypeVar("ModelT", bound=BaseModel)
#: Rows of a stream that are read at a time.
CHUNK = 1_000

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """The page that a request asks for. A route that takes one is a list, and gives it to `listed`."""

    request: Request
    limit: int
    cursor: str | None


async def page_asked(request: Request, limit: Limit = 100, cursor: Cursor = None) -> Asked:
    return Asked(request, limit, cursor)


PageAsked = Annotated[Asked, Depends(page_asked)]


def paged(model: type[Page[Any]]) -> dict[str, Any]:
    """How the route of a list is declared."""
    at_least_if_given = issubclass(model, LongPage)
    return {"response_model": model, "response_model_exclude_unset": at_least_if_given, "responses": export.STREAMS}


class Found(NamedTuple):
    """Rows behind a position, and how many there are in all, if that was asked. Rows of a query that weighs them
    (`excerpts.weighed`) tell as `fetched` how many were found before some were left out."""

    rows: Sequence[Any]
    total: int | None
    #: Where `total` is None because nobody counts so far: how far was counted.
    at_least: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing(Generic[ModelT]):
    #: Binds cursors to this list and its filters.
    scope: str
    #: (position or None, how many at the most, whether the total is asked) → rows and total of one moment; raises what the
    #: request is to be answered with.
    find: Callable[[Sequence[Any] | None, int, bool], Awaitable[Found]]
    #: Of a row: what `find` is given for those behind it.
    position: Callable[[Any], list[Any]]
    #: Rows as the key may see them: dicts by the model's fields.
    show: Callable[[Sequence[Any]], Awaitable[Sequence[dict[str, Any]]]]
    model: type[ModelT]
    #: What differs in a cell of CSV, or a line of NDJSON, from a page's item.
    cells: Callable[[dict[str, Any]], dict[str, Any]] | None = None


def whole(request: Request, principal: Principal, model: type[ModelT], items: Sequence[ModelT], answer: Any) -> Any:
    """A list that is few by contract, given whole: `answer`, which has `items`, or these as a stream by `Accept`. Its route
    is declared with `responses=export.STREAMS`."""
    form = export.wanted(request)
    if form == "json":
        return answer
    return export.stream(form, tuple(model.model_fields), _once([each.model_dump() for each in items]), principal)


async def _once(rows: Sequence[Row]) -> AsyncIterator[Sequence[Row]]:
    yield rows


async def listed(asked: Asked, principal: Principal, listing: Listing[Any]) -> Any:
    """The page that is asked for, as `{"items", "next_cursor", "total"}`; or all rows behind its cursor as a stream."""
    signer = cursors_of(asked.request)
    after = signer.open(listing.scope, asked.cursor) if asked.cursor is not None else None
    form = export.wanted(asked.request)
    if form != "json":
        first = await listing.find(after, CHUNK, False)  # what is to be answered with an error is not begun
        return export.stream(form, tuple(listing.model.model_fields), _all(listing, first.rows), principal)
    found = await listing.find(after, asked.limit + 1, True)
    some, more = page(found.rows, asked.limit)
    items = [listing.model(**each) for each in await listing.show(some)]
    next_cursor = signer.seal(listing.scope, listing.position(some[-1])) if more else None
    answer = {"items": items, "next_cursor": next_cursor, "total": found.total}
    return answer if found.at_least is None else answer | {"at_least": found.at_least}


def page(rows: Sequence[Any], limit: int) -> tuple[Sequence[Any], bool]:
    """Of rows of which one more than `limit` were asked for: those of the page, and whether there are more."""
    some = rows[:limit]
    return some, _fetched(rows) > len(some)


def _fetched(rows: Sequence[Any]) -> int:
    """How many were found, with those that were left out by their weight."""
    try:
        found: int = rows[0]["fetched"]
    except (IndexError, KeyError, TypeError):  # there may be none, or objects
        return len(rows)
    return found


async def _all(listing: Listing[Any], rows: Sequence[Any]) -> AsyncIterator[Sequence[Row]]:
    while rows:
        items = await listing.show(rows)
        yield items if listing.cells is None else [listing.cells(each) for each in items]
        if len(rows) == _fetched(rows) < CHUNK:
            return
        rows = (await listing.find(listing.position(rows[-1]), CHUNK, False)).rows
