"""What runs beside the requests ends when it is told to, whatever it makes of a cancellation."""

import asyncio
import contextlib

import pytest

from app.tasks import ended


async def _looks_for_ever(wake: asyncio.Event) -> None:
    while True:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(wake.wait(), 60)
        wake.clear()


async def _forgets(times: int) -> None:
    for _ in range(times):
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
    await asyncio.Event().wait()


async def _breaks() -> None:
    try:
        await asyncio.Event().wait()
    finally:
        raise RuntimeError("on its way out")


async def test_a_cancellation_that_comes_with_what_is_waited_for_ends_it_all_the_same() -> None:
    wake = asyncio.Event()
    task = asyncio.create_task(_looks_for_ever(wake))
    for _ in range(3):
        await asyncio.sleep(0)
    wake.set()
    await asyncio.sleep(0)  # the inner wait is done, the outer one does not know yet
    await asyncio.wait_for(ended(task), 20)
    assert task.cancelled()


@pytest.mark.parametrize("times", [0, 1, 2])
async def test_what_forgets_a_cancellation_is_told_again(times: int) -> None:
    tasks = [asyncio.create_task(_forgets(times)), asyncio.create_task(_forgets(0))]
    await asyncio.sleep(0)
    await asyncio.wait_for(ended(*tasks), 20)
    assert [task.cancelled() for task in tasks] == [True, True]


async def test_what_breaks_on_its_way_out_keeps_nobody_from_ending() -> None:
    tasks = [asyncio.create_task(_breaks()), asyncio.create_task(_forgets(1))]
    await asyncio.sleep(0)
    await asyncio.wait_for(ended(None, *tasks), 20)
    assert (tasks[1].cancelled(), isinstance(tasks[0].exception(), RuntimeError)) == (True, True)


async def test_what_is_over_is_left_alone() -> None:
    task = asyncio.create_task(asyncio.sleep(0))
    await task
    await ended(task, None)
    assert not task.cancelled()
