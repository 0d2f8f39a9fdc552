"""The service's resident memory, sampled from before the first measurement to after the last."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator

import psutil

from .report import Figure
from .service import Service

_EVERY_SECONDS = 0.1
#: Finding the service's processes reads all of /proc; once in so many samples is enough.
_FIND_EVERY = 20
_TARGET_MB = 300


class Watch:
    """`during` names what is going on; the highest reading of each is kept."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._highest: dict[str, float] = {}
        self._processes: list[psutil.Process] = []
        self.during = "at rest"

    def figures(self) -> list[Figure]:
        by_phase = ", ".join(f"{name} {megabytes:.0f}" for name, megabytes in self._highest.items())
        highest = max(self._highest.values(), default=0)
        name = "memory of the service, highest"
        return [Figure(name=name, value=highest, unit="MB", at_most=_TARGET_MB, note=by_phase)]

    def look(self) -> None:
        total = 0
        for process in self._processes:
            with contextlib.suppress(psutil.Error):
                total += process.memory_info().rss
        self._highest[self.during] = max(self._highest.get(self.during, 0), total / 1e6)

    async def run(self) -> None:
        for number in itertools.count():
            if number % _FIND_EVERY == 0:
                self._processes = self._service.processes()
            self.look()
            await asyncio.sleep(_EVERY_SECONDS)


@contextlib.asynccontextmanager
async def watched(service: Service) -> AsyncIterator[Watch]:
    watch = Watch(service)
    task = asyncio.create_task(watch.run())
    try:
        yield watch
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
