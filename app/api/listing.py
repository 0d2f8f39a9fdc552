"""The one way to list: a page in JSON with a cursor for the next, or, by `Accept`, everything as a stream.

A list says how to find rows behind a position, what a row's position is, and how rows are shown to a key; cursors, limits,
totals, pages that end early by their bytes, and streams that hold no connection while a slow client reads are the same for
all.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from fastapi import Request
from pydantic import BaseModel

from app.api import export
from app.api.paging import cursors_of
from app.security import Principal

ModelT = TypeVar("ModelT", bound=BaseModel)
#: Rows of a stream that are read at a time.
CHUNK = 1_000

Row = Mapping[str, Any]


class Found(NamedTuple):
    """Rows behind a position, and how many there are in all, if that was asked. Rows of a query that weighs them
    (`excerpts.weighed`) tell as `fetched` how many were found before some were left out."""

    rows: Sequence[Any]
    total: int | None


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


async def listed(
    request: Request,
    principal: Principal,
    listing: Listing[Any],
    limit: int,
    cursor: str | None,
    *,
    streams: bool = True,
) -> Any:
    """The page behind `cursor`, as `{"items", "next_cursor", "total"}`; or all rows behind it as a stream, if it may be one."""
    signer = cursors_of(request)
    after = signer.open(listing.scope, cursor) if cursor is not None else None
    form = export.wanted(request) if streams else "json"
    if form != "json":
        first = await listing.find(after, CHUNK, False)  # what is to be answered with an error is not begun
        return export.stream(form, tuple(listing.model.model_fields), _all(listing, first.rows), principal)
    rows, total = await listing.find(after, limit + 1, True)
    some, more = page(rows, limit)
    items = [listing.model(**each) for each in await listing.show(some)]
    return {
        "items": items,
        "next_cursor": signer.seal(listing.scope, listing.position(some[-1])) if more else None,
        "total": total,
    }


def page(rows: Sequence[Any], limit: int) -> tuple[Sequence[Any], bool]:
    """Of rows of which one more than `limit` were asked for: those of the page, and whether there are more."""
    some = rows[:limit]
    return some, bool(rows) and (_fetched(rows) or len(rows)) > len(some)


def _fetched(rows: Sequence[Any]) -> int | None:
    try:
        found: int = rows[0]["fetched"]
    except KeyError:
        return None
    return found


async def _all(listing: Listing[Any], rows: Sequence[Any]) -> AsyncIterator[Sequence[Row]]:
    while rows:
        items = await listing.show(rows)
        yield items if listing.cells is None else [listing.cells(each) for each in items]
        if (_fetched(rows) or len(rows)) < CHUNK and len(rows) == (_fetched(rows) or len(rows)):
            return
        rows, _ = await listing.find(listing.position(rows[-1]), CHUNK, False)
