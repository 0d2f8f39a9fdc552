"""Links become known: those of a delivery's content, and those that somebody registers. Only they are ever led to.

A link keeps its number for good, also when it is not in the content any more: tokens that were given out name it. Everything
here takes an open transaction that holds the delivery's row, and leaves the commit to its caller.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.db import Connection, load_queries
from app.links import destinations as targets
from app.links.tokens import LINKS as MOST_LINKS

QUERIES = load_queries(__file__, "content.sql")
_LABEL = 60
TOO_MANY = f"A delivery has at most {MOST_LINKS} links, those that it had before included: make a new delivery."


class TooMany(Exception):
    """All numbers of the delivery's links are taken; the text is a sentence for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotTaken:
    """A URL of the content that is no link of the delivery, and why, as a stable slug and as a sentence."""

    url: str
    code: str
    text: str


def target_error(url: str) -> str | None:
    """Why nobody can be led to this URL (or template) as it stands in a text; None when everybody can."""
    return targets.template_error(_with_scheme(url))


def is_template(url: str) -> bool:
    return bool(targets.names(url))


def longest_error(url: str, params: Mapping[str, str], values: Mapping[str, str]) -> str | None:
    """Why the link would lead nowhere with these values; None when it would not."""
    try:
        targets.fill(targets.with_params(_with_scheme(url), params), values)
    except targets.Refused as refused:
        return str(refused)
    return None


def label_of(url: str) -> str:
    """Host and path, which is what people know a page by."""
    rest = url.partition("://")[2] or url
    shown = rest.partition("?")[0].partition("#")[0].rstrip("/")
    return shown if len(shown) <= _LABEL else f"{shown[: _LABEL - 1]}…"


async def register(
    connection: Connection, delivery_id: int, urls: Sequence[str], *, tracked: bool
) -> Sequence[NotTaken]:
    """The links of the content are `urls` now, as they stand there. New ones get the next numbers and are `tracked` or not;
    what is known already keeps all it has. Returns those that were not taken."""
    known = {row["source_url"]: row["number"] for row in await connection.fetch(QUERIES["list_links"], delivery_id)}
    wanted = dict.fromkeys(urls)
    not_taken: list[NotTaken] = []
    fresh: list[str] = []
    for url in (url for url in wanted if url not in known):
        if refused := target_error(url):
            not_taken.append(NotTaken(url=url, code="link_refused", text=refused))
        elif len(known) + len(fresh) >= MOST_LINKS:
            not_taken.append(NotTaken(url=url, code="too_many_links", text=TOO_MANY))
        else:
            fresh.append(url)
    numbers = await _add(connection, delivery_id, known, fresh, tracked=tracked, in_content=True)
    await connection.execute(
        QUERIES["mark_content"], delivery_id, [number for url, number in numbers.items() if url in wanted]
    )
    return not_taken


async def add(connection: Connection, delivery_id: int, urls: Sequence[str]) -> Mapping[str, int]:
    """Registers URLs that stand in no content here (checked by `target_error`), unless they are known; returns the numbers of
    all that the delivery has. Raises `TooMany`."""
    known = {row["source_url"]: row["number"] for row in await connection.fetch(QUERIES["list_links"], delivery_id)}
    fresh = [url for url in dict.fromkeys(urls) if url not in known]
    if len(known) + len(fresh) > MOST_LINKS:
        raise TooMany(TOO_MANY)
    return await _add(connection, delivery_id, known, fresh, tracked=True, in_content=False)


async def _add(
    connection: Connection,
    delivery_id: int,
    known: Mapping[str, int],
    fresh: Sequence[str],
    *,
    tracked: bool,
    in_content: bool,
) -> Mapping[str, int]:
    numbers = range(len(known), len(known) + len(fresh))
    if fresh:
        await connection.execute(
            QUERIES["add_links"], delivery_id, list(numbers), [label_of(url) for url in fresh], list(fresh),
            [is_template(url) for url in fresh], [tracked] * len(fresh), [in_content] * len(fresh),
        )  # fmt: skip
        await connection.execute(QUERIES["touch_routes"], delivery_id)
    return {**known, **dict(zip(fresh, numbers, strict=True))}


async def add_blocks(connection: Connection, delivery_id: int, message_ids: Sequence[int]) -> None:
    """Says whose these messages (sorted) are, run by run, so that a redirect needs to ask nobody."""
    start = 0
    for place, id in enumerate(message_ids, 1):
        if place == len(message_ids) or message_ids[place] != id + 1:
            await connection.execute(QUERIES["add_block"], message_ids[start], id, delivery_id)
            start = place


def _with_scheme(url: str) -> str:
    return f"http://{url}" if url[:4].lower() == "www." else url


def shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of `links` by the API's names."""
    names = ("number", "label", "source_url", "tracked", "params", "in_content")
    return {name: row[name] for name in names} | {"type": "template" if row["template"] else "fixed"}
