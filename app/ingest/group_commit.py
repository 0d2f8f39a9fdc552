"""Group commit: what waits for a few milliseconds is made durable together, and each who waits is answered after that.

The queue is bounded. While one group is on its way to the database the next gathers.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from app.ingest.kinds import Row

Request = tuple[Sequence[Row], asyncio.Future[None]]
_WRITERS = 2


class GroupCommit:
    """`store` makes rows durable, all of them; `refused` says what the callers are told when it raised: None for nothing."""

    def __init__(
        self,
        store: Callable[[Sequence[Row]], Awaitable[None]],
        refused: Callable[[Exception, int], Exception | None],
        *,
        most_rows: int,
        batch: int,
    ) -> None:
        self._store, self._refused = store, refused
        self._most_rows, self._batch = most_rows, batch
        self._waiting: deque[Request] = deque()
        #: How many wait.
        self.rows = 0
        self._wake = asyncio.Event()
        self._closing = False
        self._writers: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._writers = [asyncio.create_task(self._write()) for _ in range(_WRITERS)]

    async def stop(self) -> None:
        """Makes everything that waits durable, then ends."""
        self._closing = True
        self._wake.set()
        await asyncio.gather(*self._writers)

    def add(self, rows: Sequence[Row]) -> asyncio.Future[None] | None:
        """Done once `rows` are durable; None when there is no room for them. However many they are, an empty queue has."""
        if self._closing or self.rows + len(rows) > max(self._most_rows, len(rows)):
            return None
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((rows, done))
        self.rows += len(rows)
        self._wake.set()
        return done

    async def _write(self) -> None:
        while self._waiting or not self._closing:
            if not self._waiting:
                self._wake.clear()
                await self._wake.wait()
                continue
            requests = self._taken()
            told: Exception | None = None
            try:
                await self._store([row for rows, _ in requests for row in rows])
            except Exception as error:
                told = self._refused(error, len(requests))
            for _, done in requests:
                if done.done():  # the caller went away, or did not wait; its rows are durable all the same
                    continue
                if told is None:
                    done.set_result(None)
                else:
                    done.set_exception(told)

    def _taken(self) -> list[Request]:
        """Up to `batch` rows, and at least one request."""
        taken: list[Request] = []
        count = 0
        while self._waiting and (not taken or count + len(self._waiting[0][0]) <= self._batch):
            request = self._waiting.popleft()
            taken.append(request)
            count += len(request[0])
        self.rows -= count
        return taken
