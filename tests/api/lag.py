"""How long the event loop was held while something was done: the worst wait of a task that only wants its turn."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator


class Lag:
    worst: float = 0.0


@contextlib.asynccontextmanager
async def lag() -> AsyncIterator[Lag]:
    """In CPU seconds of this process, so that a busy machine does not count."""
    seen = Lag()

    async def tick() -> None:
        before = time.process_time()
        while True:
            await asyncio.sleep(0)
            now = time.process_time()
            seen.worst, before = max(seen.worst, now - before), now

    ticking = asyncio.ensure_future(tick())
    try:
        yield seen
    finally:
        ticking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await ticking
