"""Server-sent events: the summary of a delivery whenever it changes."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import orjson

from app.db import is_away
from app.errors import Busy

#: A comment at this distance keeps proxies from closing a quiet stream.
HEARTBEAT_SECONDS = 15.0
#: At most one summary a second.
INTERVAL_SECONDS = 1.0
#: After this a stream ends; browsers open it anew by themselves, and a key taken away meanwhile stops it.
LIFETIME_SECONDS = 3_600.0
#: Streams at once, in one process: each asks the database once a second.
MOST_STREAMS = 100

Read = Callable[[], Awaitable[dict[str, Any] | None]]


class Streams:
    """How many streams are open in this process."""

    def __init__(self, most: int = MOST_STREAMS) -> None:
        self._most = most
        self.open = 0

    def check(self) -> None:
        """Raises `Busy` when no more may be opened."""
        if self.open >= self._most:
            raise Busy("Too many event streams are open; ask for the summary instead, or try again.", retry_after=30)

    @contextmanager
    def one(self) -> Iterator[None]:
        """Counts one stream as open. Entered by the stream itself: one that never begins to run is never counted."""
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1


async def events(read: Read, gone: Callable[[], Awaitable[bool]]) -> AsyncIterator[bytes]:
    """The summary at once and whenever it changes, until the client is gone, the delivery is, or an hour is over.

    While the database is away nothing is sent but heartbeats."""
    last, spoke, end = b"", time.monotonic(), time.monotonic() + LIFETIME_SECONDS
    yield b"retry: 2000\n\n"
    while time.monotonic() < end and not await gone():
        found = await _read(read)
        if found is None:
            return
        now = time.monotonic()
        if found and found != last:
            last, spoke = found, now
            yield b"event: summary\ndata: " + found + b"\n\n"
        elif now - spoke >= HEARTBEAT_SECONDS:
            spoke = now
            yield b": alive\n\n"
        await asyncio.sleep(INTERVAL_SECONDS)


async def _read(read: Read) -> bytes | None:
    """The summary as JSON; empty while the database is away, None when there is none any more."""
    try:
        found = await read()
    except Exception as error:
        if not is_away(error):
            raise
        return b""
    return None if found is None else orjson.dumps(found)
