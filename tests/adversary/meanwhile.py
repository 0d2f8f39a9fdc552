"""What goes on while the tables are run: a gateway that sends valid callbacks all the time, and hundreds who say nothing."""

import asyncio
import contextlib
import itertools
import time
from collections import Counter
from types import TracebackType
from typing import Self

import orjson

from tests.adversary.target import Target, number

#: A callback every so often: enough to notice, too few to matter.
_EVERY_SECONDS = 0.02
_AHEAD = 500
_PATIENCE_SECONDS = 60.0


class Steady:
    """Sends a receipt for one message after another; each must be answered with 2xx, and in the end be applied."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._numbers = itertools.count()
        self._recorded = 0
        self._over = False
        self._task: asyncio.Task[None]
        self.answers: Counter[str] = Counter()
        self.slowest_seconds = 0.0

    async def __aenter__(self) -> Self:
        await self._record()
        self._task = asyncio.create_task(self._send_for_ever())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        self._over = True
        await self._task

    @property
    def sent(self) -> int:
        return self.answers.total()

    @property
    def refused(self) -> dict[str, int]:
        return {status: times for status, times in self.answers.items() if not status.startswith("2")}

    async def applied(self) -> int:
        """How many messages are `received` in the end: waits until it is all of them, but not for ever."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            success = int((await self._target.get("/v1/deliveries/{steady}/summary"))["success"])
            if success >= self.sent or time.monotonic() > deadline:
                return success
            await asyncio.sleep(0.2)

    async def _send_for_ever(self) -> None:
        while not self._over:
            await self._send(next(self._numbers))
            await asyncio.sleep(_EVERY_SECONDS)

    async def _send(self, place: int) -> None:
        began = time.monotonic()
        try:
            if place >= self._recorded:
                await self._record()
            answer = await self._target.api.post(
                self._target.filled("/callbacks/{generic}"),
                headers={"X-Acuse-Token": self._target.names["token"]},
                json={"provider_message_id": f"{self._target.mark}-{place}", "status": "delivered"},
            )
            self.answers[str(answer.status_code)] += 1
        except Exception as error:
            self.answers[type(error).__name__] += 1
        self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - began)

    async def _record(self) -> None:
        """Messages for the next receipts: bulk rows that nothing is wrong with."""
        rows = [
            orjson.dumps({"address": number(place), "provider_message_id": f"{self._target.mark}-{place}"})
            for place in range(self._recorded, self._recorded + _AHEAD)
        ]
        await self._target.post_rows("/v1/deliveries/{steady}/messages", rows)
        self._recorded += _AHEAD


#: What silent callers say before they fall silent.
BEGINNINGS = (
    b"",
    b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-",
    b"POST /callbacks/{generic} HTTP/1.1\r\nHost: a\r\nX-Acuse-Token: {token}\r\nContent-Length: 1000\r\n\r\n[",
    b"POST /v1/receipts HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n"
    b"Content-Type: application/x-ndjson\r\nContent-Length: 1000\r\n\r\n{",
)


class Silent:
    """Connections that are opened, say a beginning or nothing, and wait. `closed` of them the service has given up."""

    def __init__(self, target: Target, many: int) -> None:
        self._target = target
        self._many = many
        self._tasks: list[asyncio.Task[None]] = []
        self.closed = 0

    async def __aenter__(self) -> Self:
        for place in range(self._many):
            beginning = BEGINNINGS[place % len(BEGINNINGS)].decode().replace("{key}", self._target.key)
            self._tasks.append(asyncio.create_task(self._wait(self._target.filled(beginning).encode())))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def all_closed(self, seconds: float) -> bool:
        """Whether the service closes them all within `seconds`."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*self._tasks), seconds)
        return self.closed == self._many

    async def _wait(self, beginning: bytes) -> None:
        reader, writer = await self._target.door.open()
        try:
            writer.write(beginning)
            with contextlib.suppress(OSError):
                while await reader.read(65_536):
                    pass
            self.closed += 1
        finally:
            writer.transport.abort()
