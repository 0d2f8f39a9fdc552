"""`python -m tests.benchmarks.paired CHECKOUT [names] [--pairs 10] [--seconds 6]`: this checkout against another one, in turns.

Two services run at the same time, each out of its own checkout and `.venv`, with an embedded PostgreSQL of its own; one
of them is loaded while the other rests, and each pair begins with the other one than the pair before. The figure is the
median of the pairs' own ratios, with the interval in which the true median lies with 95 % (a sign test: it asks for no
distribution). Everything goes through the public API, so that the other checkout may be of any version.
"""

import argparse
import asyncio
import contextlib
import math
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from .audience import prepare
from .bulk import rows_of
from .load import Target, visit, wrk
from .service import Service, running

Measure = Callable[[int], Awaitable[float]]
_LINK = "https://shop.example/offer?campaign=autumn"
_MESSAGES = 50_000
_BULK_ROWS = 100_000
_TARGETS = 50_000


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two, ready for each measurement: its number of the turn → what it did a second."""

    name: str
    measures: dict[str, Measure]


async def measure(other: Path, names: Sequence[str], *, pairs: int, seconds: float) -> bool:
    """Prints a line a measurement; False when one is below 0.97."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)  # so that all is stopped and removed
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="acuse-paired-")))
        ours = await _side("this", await stack.enter_async_context(running()), folder / "ours", seconds)
        theirs = await _side(
            "other", await stack.enter_async_context(running(checkout=other)), folder / "theirs", seconds
        )
        good = True
        for name in names or list(ours.measures):
            for side in (ours, theirs):
                await side.measures[name](0)  # nobody's first turn counts
            ratios = [await _pair(name, ours, theirs, number) for number in range(1, pairs + 1)]
            good &= _told(name, ratios)
    return good


async def _pair(name: str, ours: Side, theirs: Side, number: int) -> float:
    order = (ours, theirs) if number % 2 else (theirs, ours)
    found = {side.name: await side.measures[name](number) for side in order}
    _say(f"  {name} {number}: {found['this']:,.0f}/s against {found['other']:,.0f}/s")
    return found["this"] / found["other"]


def _told(name: str, ratios: Sequence[float]) -> bool:
    middle = statistics.median(ratios)
    low, high = interval(ratios)
    _say(f"{name}: {middle:.3f} of the other [{low:.3f}, {high:.3f}], {len(ratios)} pairs")
    return middle >= 0.97


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Where the median lies with at least 95 %: between the k-th smallest and the k-th largest value."""
    ordered, count = sorted(values), len(values)
    tail, k = 0.0, 0
    while k < count // 2 and tail + math.comb(count, k) / 2**count <= 0.025:
        tail += math.comb(count, k) / 2**count
        k += 1
    at = max(k - 1, 0)
    return ordered[at], ordered[-1 - at]


async def _side(name: str, service: Service, tokens: Path, seconds: float) -> Side:
    targets = {format: await _target(service, format) for format in ("generic", "kannel")}
    await service.create_gateway("bench-bulk", "generic")
    bulk = await service.create_delivery("Bulk", "bench-bulk")
    await service.post_rows(f"/v1/deliveries/{bulk}/messages", _messages("rows-", _BULK_ROWS))
    await _short_urls(service, tokens)
    await service.drained()

    async def callbacks(target: Target, number: int) -> float:
        round = await wrk(target, service.processes(), seconds=seconds, first=number * _MESSAGES)
        await service.drained()
        return round.rate

    async def visible(number: int) -> float:
        began = time.monotonic()
        round = await wrk(targets["generic"], service.processes(), seconds=seconds, first=number * _MESSAGES)
        await service.drained()
        return round.rate * seconds / (time.monotonic() - began)

    async def receipts(number: int) -> float:
        taken = await service.post_rows("/v1/receipts", rows_of("sent" if number == 0 else "delivered", _BULK_ROWS))
        await service.drained()
        return _BULK_ROWS / taken

    async def redirects(number: int) -> float:
        round = await visit(service.url, tokens, service.processes(), seconds=seconds, first=number * 7_919)
        await service.drained()
        return round.rate

    async def preparation(number: int) -> float:
        body = {"label": f"Audience {number}", "sender": "Bench", "content": "Hello {{name}}. STOP to 25252"}
        answer = await service.http.post("/v1/deliveries", json=body)
        path = f"/v1/deliveries/{answer.raise_for_status().json()['id']}"
        await service.post_rows(f"{path}/targets", _targets(_TARGETS))
        return _TARGETS / await prepare(service, path)

    measures: dict[str, Measure] = {
        "callbacks-generic": lambda number: callbacks(targets["generic"], number),
        "callbacks-kannel": lambda number: callbacks(targets["kannel"], number),
        "visible": visible,
        "bulk": receipts,
        "preparation": preparation,
        "redirects": redirects,
    }
    return Side(name, measures)


async def _target(service: Service, format: str) -> Target:
    _, token = await service.create_gateway(f"bench-{format}", format)
    delivery = await service.create_delivery(f"Callbacks by {format}", f"bench-{format}")
    await service.post_rows(f"/v1/deliveries/{delivery}/messages", _messages(f"wrk-{format[0]}", _MESSAGES))
    return Target(
        url=f"{service.url}/callbacks/bench-{format}", format=format, token=token,  # type: ignore[arg-type]
        prefix=f"wrk-{format[0]}", messages=_MESSAGES,
    )  # fmt: skip


def _messages(prefix: str, count: int) -> list[bytes]:
    return [
        orjson.dumps({"address": f"+{34_600_000_000 + number}", "provider_message_id": f"{prefix}{number:07d}"})
        for number in range(count)
    ]


def _targets(count: int) -> list[bytes]:
    return [
        orjson.dumps({"address": f"+{34_600_000_000 + number}", "params": {"name": f"Ana {number}"}})
        for number in range(count)
    ]


async def _short_urls(service: Service, tokens: Path) -> None:
    """One short URL in each of many messages sent elsewhere; their tokens go into the file, one a line."""
    delivery = await service.create_delivery("Redirects", "bench-generic")
    rows = [
        orjson.dumps({"reference": f"visit-{number}", "address": f"+{34_600_000_000 + number}", "url": _LINK})
        for number in range(_MESSAGES)
    ]
    answer = await service.http.post(
        f"/v1/deliveries/{delivery}/links", content=b"\n".join(rows), headers={"Content-Type": "application/x-ndjson"}
    )
    answer.raise_for_status()
    short = [orjson.loads(line)["short_url"] for line in answer.content.splitlines()]
    await asyncio.to_thread(tokens.write_text, "".join(f"{url.rpartition('/')[2]}\n" for url in short))
    await asyncio.sleep(3)  # until the service has read where they lead


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.paired", description=__doc__)
    parser.add_argument("checkout", type=Path, help="another checkout, after `make install` in it")
    parser.add_argument(
        "names",
        nargs="*",
        help="callbacks-generic, callbacks-kannel, visible (until applied), bulk, preparation, redirects (default: all)",
    )
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=6, help="of one turn of wrk")
    asked = parser.parse_args()
    if not asyncio.run(measure(asked.checkout.resolve(), asked.names, pairs=asked.pairs, seconds=asked.seconds)):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
