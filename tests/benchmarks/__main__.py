"""`python -m tests.benchmarks [names] [--json] [--quick] [--output FOLDER]`. A missed target is told, and no error."""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from . import audience, bulk, callbacks, memory, reading, redirects, visible
from .bench import FULL, QUICK, Bench
from .report import Figure, Machine, as_json, machine, show
from .service import ROOT, running

MEASUREMENTS = {
    "callbacks": callbacks.measure,
    "visible": visible.measure,
    "bulk": bulk.measure,
    "reading": reading.measure,
    "audience": audience.measure,
    "redirects": redirects.measure,
}


def main() -> None:
    asked = _arguments()
    where, figures = asyncio.run(_measured(asked.names or list(MEASUREMENTS), quick=asked.quick))
    found = as_json(where, figures, quick=asked.quick)
    if asked.json:
        sys.stdout.buffer.write(found + b"\n")
        return
    show(where, figures, quick=asked.quick)
    asked.output.mkdir(parents=True, exist_ok=True)
    file = asked.output / f"{time.strftime('%Y-%m-%d-%H%M%S')}.json"
    file.write_bytes(found + b"\n")
    _say(f"As JSON: {file}")


async def _measured(names: Sequence[str], *, quick: bool) -> tuple[Machine, list[Figure]]:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)  # so that all is stopped and removed
    load_average = os.getloadavg()[0]
    figures: list[Figure] = []
    async with running() as service, contextlib.AsyncExitStack() as stack:
        async with service.pool.acquire() as connection:
            where = await machine(connection, service.data_dir, load_average)
        for warning in where.warnings:
            _say(f"Beware: {warning}")
        watch = await stack.enter_async_context(memory.watched(service))
        bench = Bench(service=service, sizes=QUICK if quick else FULL)
        for name in names:
            began = time.perf_counter()
            _say(f"{name} …")
            watch.during = name
            try:
                figures += await MEASUREMENTS[name](bench)
                await service.drained()
            except Exception as error:  # the others may still succeed; this one is told
                figures.append(Figure(name=name, value=None, unit="", note=f"{type(error).__name__}: {error}"))
            _say(f"{name}: {time.perf_counter() - began:.0f} s")
        figures += watch.figures()
    return where, figures


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="name",
        help=f"{', '.join(MEASUREMENTS)} (default: all, in this order); memory is always watched",
    )
    parser.add_argument("--json", action="store_true", help="JSON to standard output, and nothing else")
    parser.add_argument("--quick", action="store_true", help="short and small: to see that it works, not to judge")
    parser.add_argument("--output", type=Path, default=ROOT / "bench-results", help="folder for the JSON file")
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(MEASUREMENTS):
        parser.error(f"there is no measurement {', '.join(sorted(unknown))}")
    return asked


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
