"""A click as it is taken down at the door: one flat row, made safe for the database there, and the same on the spool.

Its id is made of time and chance before it is stored, so that one that comes twice, over the spool, counts once.
"""

import itertools
import random
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from app.links.machines import KEPT_HEADERS, RULES_VERSION, Visit, judge

_SEEN = frozenset((b"user-agent", *(name.encode() for name in KEPT_HEADERS)))
#: Visitors with more to say than this are judged each time anew: what is remembered must stay small.
_REMEMBERED_BYTES = 1_500
_COUNT_BITS = 20
#: Begins anywhere, so that processes hardly meet; within one no two ids of a millisecond are equal.
_COUNT = itertools.count(random.getrandbits(_COUNT_BITS))


class ClickRow(NamedTuple):
    """Columns of table `click_inbox`, in the order of COPY."""

    id: int
    message_id: int
    delivery_id: int
    link: int
    clicked_at: datetime
    human: bool
    reasons: list[str]
    device: str
    agent: str
    visit: Mapping[str, Any]
    network: str | None
    rules_version: int
    #: How many clicks the row stands for; more than one of a burst's.
    times: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """What a click's row says of who visited."""

    human: bool
    reasons: list[str]
    device: str
    agent: str
    visit: Mapping[str, Any]


def new_id() -> int:
    """63 bits: milliseconds, then a count that began by chance. Ids follow time. (By chance alone two of the same millisecond
    met now and then when many came, and the second was taken for a repeat.)"""
    return time.time_ns() // 1_000_000 << _COUNT_BITS | next(_COUNT) & (1 << _COUNT_BITS) - 1


def visitor(method: str, headers: Iterable[tuple[bytes, bytes]]) -> Visitor:
    """Of a request as ASGI hands it over. How soon after the sending it was is not known yet."""
    said = tuple([each for each in headers if each[0] in _SEEN])
    if sum([len(value) for _, value in said]) > _REMEMBERED_BYTES:
        return _judged(method, said)
    return _remembered(method, said)


def _judged(method: str, headers: tuple[tuple[bytes, bytes], ...]) -> Visitor:
    visit = Visit.of(method[:16], headers)
    verdict = judge(visit)
    return Visitor(
        human=verdict.human,
        reasons=list(verdict.reasons),
        device=verdict.device,
        agent=visit.agent,
        visit={"method": visit.method, "headers": dict(visit.headers or {})},
    )


_remembered = lru_cache(maxsize=4_096)(_judged)


def click(message_id: int, delivery_id: int, link: int, at: datetime, who: Visitor, network: str | None) -> ClickRow:
    return ClickRow(
        new_id(), message_id, delivery_id, link, at, who.human, who.reasons, who.device, who.agent, who.visit, network,
        RULES_VERSION,
    )  # fmt: skip
