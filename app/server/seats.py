"""The connections of one process: how many there may be, and who has waited too long.

One timer for all of them looks once in a while what each is doing; requests pay nothing for it. When all seats are taken,
those that only hold one (idle ones first, then those that have not finished a head) make room for who comes.
"""

import asyncio
import enum
from collections.abc import Set
from typing import Any, Protocol

from app import metrics
from app.server.limits import Limits
from app.server.telling import Seldom

refusals = Seldom("http.refused", metrics.http_refused_total)
#: How long a refused connection may go on sending into nothing, so that it reads its answer before it is cut off.
LINGER_SECONDS = 1.0
#: So much of all seats is made free at once: looking through all of them has a price.
_ROOM = 0.05
_BUFFER_BYTES = 65_536


class Doing(enum.Enum):
    """What a connection is at, and so what limits it."""

    IDLE = enum.auto()  # nothing of a request has come
    HEAD = enum.auto()  # a request line or headers have begun
    BODY = enum.auto()  # a body is coming
    OURS = enum.auto()  # it waits for us: no limit
    SENDING = enum.auto()  # it does not read our answer
    LEAVING = enum.auto()  # it was refused


#: Who makes room for others: in this order, and the longest at it first.
_FIRST = {Doing.LEAVING: 0, Doing.IDLE: 1, Doing.HEAD: 2}


class Seated(Protocol):
    """What this asks of a connection."""

    #: Since when it has been doing the same, by the loop's clock, as far as the timer has seen.
    seen: "Seen"

    def doing(self) -> tuple[Doing, object]:
        """And what it does it with: another object when it does the same anew."""

    def received(self) -> int:
        """Bytes, all in all."""

    def unsent(self) -> int:
        """Bytes of answers that the other side has not taken yet."""

    def kept_alive(self) -> bool:
        """It has had an answer already."""

    def closing(self) -> bool: ...

    def refuse(self, status: int, reason: str, detail: str) -> None: ...

    def close(self) -> None: ...

    def abort(self) -> None: ...


class Seen:
    """What the timer saw of a connection when it last looked and it had changed."""

    __slots__ = ("doing", "moved", "since", "what")

    def __init__(self, now: float) -> None:
        self.doing = Doing.IDLE
        self.what: object = None
        self.since = now
        #: Bytes that had come, or were unsent, at `since`.
        self.moved = 0


class Seats:
    """`taken` is the server's own set of open connections."""

    def __init__(self, limits: Limits, taken: Set[Any], loop: asyncio.AbstractEventLoop) -> None:
        self._limits = limits
        self._taken = taken
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._tick = min(limits.head_seconds / 4, limits.body_seconds / 4, limits.send_seconds / 4, 1.0)
        #: What is read at a time, by all connections of this loop: it is used up before the next one reads.
        self.buffer = memoryview(bytearray(_BUFFER_BYTES))
        #: Nobody can be sent away before that time: it was looked for.
        self._full_until = 0.0

    def take(self, comer: Seated) -> bool:
        """A seat for `comer`, who is among the taken already. False: there is none, and he has been told."""
        if self._timer is None:
            self._timer = self._loop.call_later(self._tick, self._look)
        if len(self._taken) <= self._limits.connections or self._make_room(comer):
            return True
        comer.refuse(503, "full", "All connections of this server are taken; try again.")
        return False

    def _make_room(self, comer: Seated) -> bool:
        now = self._loop.time()
        if now < self._full_until:
            return False
        others: list[Seated] = [each for each in self._taken if each is not comer and not each.closing()]
        if len(others) < self._limits.connections:
            return True
        found = sorted((_FIRST[doing], each.seen.since, index) for index, each in enumerate(others)
            if (doing := each.doing()[0]) in _FIRST)  # fmt: skip
        leaving = [others[index] for *_, index in found[: max(int(self._limits.connections * _ROOM), 1)]]
        for each in leaving:
            refusals.tell("crowded", connections=len(self._taken), most=self._limits.connections)
            each.abort()
        if not leaving:
            self._full_until = now + self._tick
        return bool(leaving)

    def _look(self) -> None:
        """At every connection, whether it has taken too long."""
        self._timer = self._loop.call_later(self._tick, self._look) if self._taken else None
        now = self._loop.time()
        for each in list(self._taken):
            self._look_at(each, now)

    def _look_at(self, one: Seated, now: float) -> None:
        seen = one.seen
        doing, what = one.doing()
        if doing is not seen.doing or what is not seen.what:
            seen.doing, seen.what, seen.since, seen.moved = doing, what, now, one.received()
        elif doing is Doing.SENDING:
            self._look_at_answer(one, now)
        elif doing is Doing.BODY:
            self._look_at_body(one, now)
        elif doing is Doing.HEAD and now - seen.since >= self._limits.head_seconds:
            one.refuse(408, "slow_head", "The request's head did not come whole in time.")
        elif doing is Doing.IDLE:
            self._look_at_idle(one, now - seen.since)
        elif doing is Doing.LEAVING and now - seen.since >= LINGER_SECONDS:
            one.abort()

    def _look_at_idle(self, one: Seated, seconds: float) -> None:
        if one.kept_alive():
            if seconds >= self._limits.idle_seconds:
                one.close()
        elif seconds >= self._limits.head_seconds:
            refusals.tell("silent")
            one.close()

    def _look_at_body(self, one: Seated, now: float) -> None:
        """In each stretch of `body_seconds` a body must come on by so much, whatever came before."""
        seen = one.seen
        if now - seen.since < self._limits.body_seconds:
            return
        if one.received() - seen.moved < self._limits.body_rate * self._limits.body_seconds:
            one.refuse(408, "slow_body", "The request's body did not come fast enough.")
        else:
            seen.since, seen.moved = now, one.received()

    def _look_at_answer(self, one: Seated, now: float) -> None:
        seen = one.seen
        if one.unsent() != seen.moved:
            seen.since, seen.moved = now, one.unsent()
        elif now - seen.since >= self._limits.send_seconds:
            refusals.tell("unread")
            one.abort()
