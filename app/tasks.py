"""The end of what runs beside the requests."""

import asyncio


async def ended(*tasks: asyncio.Task[None] | None) -> None:
    """Cancels `tasks` until each is over, whatever they make of it.

    Once is not enough: before Python 3.12 `asyncio.wait_for` forgets a cancellation that comes in the moment in which what it
    waits for is done (CPython issue 86296), and a loop that was cancelled then runs for ever: so would who awaits it. What a
    task raises is left to asyncio's own log.
    """
    running = {task for task in tasks if task is not None and not task.done()}
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=0.5)
