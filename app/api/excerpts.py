"""Answers measured in bytes: lists show an excerpt of what may be long, and a page ends early where its rows are heavy.

Both happen in the database, which does not even send the rest. What is cut is whole under an address of its own.
"""

import codecs
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, Text, cast, func, literal_column, select

from app.db import filled, load_queries

QUERIES = load_queries(__file__)

#: Of a raw body or a text, in a list.
EXCERPT = 1_000
#: What is fetched of it: a number that the excerpt's end would cut is masked before it is cut.
FETCHED = EXCERPT + 64
#: Of the heavy columns of one page, or of one piece of a stream; the row that reaches it is the last.
PAGE_BYTES = 1_000_000


def text_of(raw: bytes, size: int) -> str:
    """The beginning `raw` of `size` bytes as text; a character that it cuts is left out."""
    return _Utf8("backslashreplace").decode(raw, final=len(raw) >= size)


_Utf8 = codecs.getincrementaldecoder("utf-8")


def cut(row: dict[str, Any], *names: str) -> dict[str, Any]:
    """`row` with these texts no longer than an excerpt. After they were masked."""
    for name in names:
        value = row[name]
        if isinstance(value, str) and len(value) > EXCERPT:
            row[name] = value[:EXCERPT]
    return row


def weighed(query: Select[Any], *heavy: str, order: Sequence[ColumnElement[Any]]) -> Select[Any]:
    """`query`, whose limit is set, without the rows behind `PAGE_BYTES` of its columns `heavy`. Each row tells as `fetched`
    how many the query found before. `order`: columns of the query that order it."""
    inner = query.add_columns(func.count().over().label("fetched")).subquery()
    weight: Any = sum(
        (func.coalesce(func.octet_length(cast(inner.c[name], Text)), 0) for name in heavy), literal_column("0")
    )
    place = [_same(inner, each) for each in order]
    before = (func.sum(weight).over(order_by=place, rows=(None, 0)) - weight).label("bytes_before")
    outer = select(inner, before).subquery()
    return select(outer).where(outer.c.bytes_before < PAGE_BYTES).order_by(*(_same(outer, each) for each in order))


def _same(of: Any, column: Any) -> Any:
    """An ordering of the query's, on `of`."""
    element = getattr(column, "element", column)
    found = of.c[element.name]
    return found.desc() if element is not column else found


def weighed_text(query: str, *, weight: str, order: str) -> str:
    """`query`, in text with its order and limit, without the rows behind `PAGE_BYTES`; `weight` are the bytes of one of its rows,
    by its columns, and so is `order`."""
    return filled(QUERIES["list_weighed"], query=query, weight=weight, order=order, page_bytes=PAGE_BYTES)


def page(rows: Sequence[Any], limit: int) -> tuple[Sequence[Any], bool]:
    """Of weighed rows, of which one more than `limit` were asked for: those of the page, and whether there are more."""
    shown = rows[:limit]
    return shown, bool(rows) and rows[0]["fetched"] > len(shown)


def ended(rows: Sequence[Any], asked: int) -> bool:
    """Of weighed rows of a stream: there are no more behind these."""
    return not rows or (rows[0]["fetched"] < asked and len(rows) == rows[0]["fetched"])
