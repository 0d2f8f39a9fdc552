"""Callbacks with one receipt each, by wrk: a bare route, Acuse, and a naive route, in turns.

Every round begins with an empty inbox, so that no round pays for its predecessor.
"""

import contextlib
import os
import statistics
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import orjson
import psutil

from app.db import sqlalchemy_url

from . import facts
from .bench import Bench, ratio, spread
from .load import MISSING_WRK, Format, Round, Target, has_wrk, wrk
from .report import Figure
from .service import HOST, answering, free_port, process, uvicorn

_PREFIX = "wrk-"


async def measure(bench: Bench) -> list[Figure]:
    if not has_wrk():
        return [Figure(name="callbacks", value=None, unit="", note=MISSING_WRK)]
    figures, targets = await _recorded(bench)
    async with _yardsticks(bench) as (bare, naive):
        rounds = await _rounds(bench, targets, bare, naive)
    await bench.service.drained()
    for format, target in targets.items():
        figures += [*_judged(format, rounds), await _kept(bench, format, target, rounds[format])]
    return figures


def _judged(format: Format, rounds: dict[str, list[Round]]) -> list[Figure]:
    ours, bare, naive = (rounds.get(name, []) for name in (format, f"bare {format}", "naive"))
    rates = [each.rate for each in ours]
    name = f"callbacks, {format}"
    figures = [
        Figure(name=f"{name}: acknowledged", value=statistics.median(rates), unit="/s", note=spread(rates)),
        Figure(
            name=f"{name}: of a bare route", value=ratio(rates, [each.rate for each in bare]), unit="×", at_least=0.40,
            note=f"bare {spread([each.rate for each in bare])} /s",
        ),
    ]  # fmt: skip
    if format == "generic":
        figures.append(
            Figure(
                name=f"{name}: of a naive route", value=ratio(rates, [each.rate for each in naive]), unit="×", at_least=8,
                note=f"naive {spread([each.rate for each in naive])} /s",
            )
        )  # fmt: skip
    p50 = statistics.median(each.p50_ms for each in ours)
    others = f"bare {statistics.median(each.p99_ms for each in bare):.1f}"
    if format == "generic":
        others += f", naive {statistics.median(each.p99_ms for each in naive):.1f}"
    refused = sum(each.refused for each in ours)
    return [
        *figures,
        Figure(
            name=f"{name}: p99", value=statistics.median(each.p99_ms for each in ours), unit="ms", at_most=50,
            note=f"p50 {p50:.1f} ms; p99 of {others} ms; by round {spread([each.p99_ms for each in ours])}",
        ),
        Figure(
            name=f"{name}: processor time of the service", value=statistics.median(each.cpu_us for each in ours), unit="µs",
            note=f"a request, worker included; bare {statistics.median(each.cpu_us for each in bare):.0f} µs",
        ),
        Figure(name=f"{name}: refused", value=refused, unit="", at_most=0),
    ]  # fmt: skip


async def _kept(bench: Bench, format: Format, target: Target, rounds: Sequence[Round]) -> Figure:
    """Speed counts only if what was acknowledged is there."""
    kept = await bench.service.pool.fetchval(
        "SELECT count(*) FROM receipts r JOIN correlations c ON c.id = r.correlation_id "
        "WHERE c.value LIKE $1 || '%' AND c.message_id IS NOT NULL AND r.gateway_id = c.gateway_id", target.prefix,
    )  # fmt: skip
    lost = max(0, sum(each.answered for each in rounds) - kept)
    return Figure(name=f"callbacks, {format}: acknowledged but not there", value=lost, unit="", at_most=0)


async def _recorded(bench: Bench) -> tuple[list[Figure], dict[Format, Target]]:
    """Two gateways, each with messages that were sent before: one by the API, for its rate, one as facts."""
    service, count = bench.service, bench.sizes.recorded
    targets: dict[Format, Target] = {}
    _, token = await service.create_gateway("bench-generic", "generic")
    targets["generic"] = Target(
        url=f"{service.url}/callbacks/bench-generic",
        format="generic",
        token=token,
        prefix=f"{_PREFIX}g",
        messages=count,
    )
    delivery = await service.create_delivery("Callbacks by generic", "bench-generic")
    rows = [
        orjson.dumps({"address": facts.address(number), "provider_message_id": f"{_PREFIX}g{number:07d}"})
        for number in range(count)
    ]
    seconds = await service.post_rows(f"/v1/deliveries/{delivery}/messages", rows)
    gateway, token = await service.create_gateway("bench-kannel", "kannel")
    targets["kannel"] = Target(
        url=f"{service.url}/callbacks/bench-kannel", format="kannel", token=token, prefix=f"{_PREFIX}k", messages=count
    )
    delivery = await service.create_delivery("Callbacks by Kannel", "bench-kannel")
    await facts.record(service.pool, delivery, [gateway], prefix=f"{_PREFIX}k", messages=count)
    return [Figure(name="messages recorded by the API", value=count / seconds, unit="/s")], targets


async def _rounds(
    bench: Bench, targets: dict[Format, Target], bare: "_Server", naive: "_Server"
) -> dict[str, list[Round]]:
    ours = bench.service.processes()
    turns: list[tuple[str, Target, list[psutil.Process]]] = []
    for target in targets.values():
        turns.append((f"bare {target.format}", replace(target, url=bare.url), [bare.process]))
        turns.append((target.format, target, ours))
    turns.append(("naive", replace(targets["generic"], url=naive.url), [naive.process]))
    for _, target, server in turns:  # nobody's first connection counts
        await wrk(target, server, seconds=1)
    found: dict[str, list[Round]] = defaultdict(list)
    for _ in range(bench.sizes.rounds):
        for name, target, server in turns:
            await bench.service.drained()
            first = sum(each.answered for each in found[name])
            found[name].append(await wrk(target, server, seconds=bench.sizes.seconds, first=first))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Server:
    url: str
    process: psutil.Process


@contextlib.asynccontextmanager
async def _yardsticks(bench: Bench) -> AsyncIterator[tuple[_Server, _Server]]:
    """The bare and the naive route; the latter has a database of its own on the service's server."""
    service = bench.service
    database = "bench_naive"
    await service.pool.execute(f"CREATE DATABASE {database}")
    environment = {
        **os.environ, "BENCH_NAIVE_URL": sqlalchemy_url(service.dsn.replace("/acuse?", f"/{database}?")),
        "BENCH_NAIVE_PREFIX": f"{_PREFIX}g", "BENCH_NAIVE_MESSAGES": str(bench.sizes.recorded),
    }  # fmt: skip
    servers = []
    try:
        with tempfile.TemporaryDirectory(prefix="acuse-bench-") as folder, contextlib.ExitStack() as running:
            for name in ("bare", "naive"):
                port, log = free_port(), Path(folder) / f"{name}.log"
                started = running.enter_context(
                    process(uvicorn(f"tests.benchmarks.{name}:app", port), log, environment)
                )
                url = f"http://{HOST}:{port}/callbacks/bench"
                await answering(url if name == "bare" else f"http://{HOST}:{port}/openapi.json", started, log)
                servers.append(_Server(url=url, process=psutil.Process(started.pid)))
            yield servers[0], servers[1]
    finally:
        await service.pool.execute(f"DROP DATABASE {database} WITH (FORCE)")
