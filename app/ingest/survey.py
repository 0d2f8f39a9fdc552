"""Figures for operators: what waits and what was rejected, by gateway.

One process at a time counts, some rows at each survey: a million unmatched keys are counted in minutes, and cost a second no
more than a thousand do. A figure is written when its count has come to the end.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from app import installation, metrics
from app.db import Connection, load_queries
from app.ingest.store import backlog, set_aside_by_kind

QUERIES = load_queries(__file__)
DEAD_LETTERS = load_queries(__file__, "dead_letters.sql")
#: Rows of each kind that one survey reads.
ROWS = 20_000
#: Up to here receipts that wait are counted one by one.
_INBOX = 10_000
#: The same of what was set aside, by kind.
_SET_ASIDE = 1_000
_KEY = "survey"
#: Another process's survey is as good as ours for so long.
_FRESH = timedelta(seconds=2.5)
_BEGINNING = datetime(1, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class _Count:
    """One count under way: behind which row it goes on (none: from the start), and what it found so far, by gateway."""

    after: list[Any] | None = None
    found: dict[str, int] = field(default_factory=dict)


async def survey(connection: Connection, now: datetime) -> int:
    """Sets the metrics of this process, and brings the platform's counters on by some rows; 0: that was all for now."""
    rows, oldest = await backlog(connection, _INBOX)
    metrics.inbox_rows.set(rows)
    metrics.oldest_inbox_seconds.set(_age(oldest, now))
    metrics.oldest_unmatched_seconds.set(_age(await connection.fetchval(QUERIES["find_oldest_unmatched"]), now))
    for kind, set_aside in (await set_aside_by_kind(connection, _SET_ASIDE)).items():
        metrics.set_aside_rows.labels(kind).set(set_aside)
    if not await connection.fetchval(QUERIES["lock_survey"]):
        return 0
    state = orjson.loads(await installation.read(connection, _KEY) or "{}")
    if state.get("at") and abs(now - datetime.fromisoformat(state["at"])) < _FRESH:
        return 0
    counts = {metric: await _go_on(connection, metric, _Count(**state.get(metric, {}))) for metric in _CHUNKS}
    written = {metric: {"after": count.after, "found": count.found} for metric, count in counts.items()}
    await installation.put(connection, _KEY, orjson.dumps({"at": now.isoformat(), **written}).decode())
    return 0


async def _go_on(connection: Connection, metric: str, count: _Count) -> _Count:
    """The next rows; at the end the figure is written, and the next count begins."""
    rows, after = await _CHUNKS[metric](connection, count.after)
    found = Counter(count.found)
    for row in rows:
        found[str(row["gateway_id"])] += row["rows"]
    if sum(row["rows"] for row in rows) == ROWS:
        return _Count(after, dict(found))
    await connection.execute(QUERIES["set_waiting_figures"], metric, [int(id) for id in found], list(found.values()))
    return _Count()


_Chunk = tuple[Sequence[Any], list[Any] | None]


async def _unmatched(connection: Connection, after: list[Any] | None) -> _Chunk:
    rows = await connection.fetch(QUERIES["count_unmatched_by_gateway"], after[0] if after else 0, ROWS)
    return rows, [rows[0]["last_id"]] if rows else None


async def _rejected(connection: Connection, after: list[Any] | None) -> _Chunk:
    at, id = (datetime.fromisoformat(after[0]), after[1]) if after else (_BEGINNING, "")
    rows = await connection.fetch(DEAD_LETTERS["count_rejected_by_gateway"], at, id, ROWS)
    return rows, [rows[0]["last_at"].isoformat(), rows[0]["last_id"]] if rows else None


_CHUNKS: dict[str, Callable[[Connection, list[Any] | None], Awaitable[_Chunk]]] = {
    "unmatched": _unmatched,
    "rejected": _rejected,
}


def _age(since: datetime | None, now: datetime) -> float:
    return max((now - since).total_seconds(), 0.0) if since else 0.0
