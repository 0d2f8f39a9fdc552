"""Visits to short URLs, by wrk: a bare route that answers 302, and Acuse, in turns; then with PostgreSQL stopped.

The second part has a service and a server of its own, because an embedded one would be started again at once.
"""

import asyncio
import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from app import embedded
from app.links import signing as token_keys
from app.links.tokens import encode
from tests.chaos.harness import Postgres

from . import facts
from .bench import Bench, ratio, spread
from .load import MISSING_WRK, Round, has_wrk, visit
from .report import Figure
from .service import HOST, Service, answering, free_port, process, running, uvicorn

_LINK = "https://shop.example/offer?campaign=autumn"
_WAIT_SECONDS = 120
#: What is still on its way when wrk ends gets no answer, and may be kept.
_CONNECTIONS = 64


async def measure(bench: Bench) -> list[Figure]:
    if not has_wrk():
        return [Figure(name="redirects", value=None, unit="", note=MISSING_WRK)]
    with tempfile.TemporaryDirectory(prefix="acuse-bench-") as folder:
        return [*await _beside_bare(bench, Path(folder)), *await _database_stopped(bench, Path(folder))]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Visits:
    """A service with a delivery whose links are visited."""

    service: Service
    delivery: int
    tokens: Path

    async def round(self, seconds: float, first: int) -> Round:
        return await visit(self.service.url, self.tokens, self.service.processes(), seconds=seconds, first=first)

    async def counted(self) -> int:
        """Waits until nothing waits; then how many clicks the summary counts. Each is there once, or this raises."""
        pool, until = self.service.pool, time.monotonic() + _WAIT_SECONDS
        while (await self.service.http.get("/readyz")).json()["spooled"] or await pool.fetchval(
            "SELECT EXISTS (SELECT FROM click_inbox)"
        ):
            if time.monotonic() > until:
                raise RuntimeError(f"Clicks still wait after {_WAIT_SECONDS} s.")
            await asyncio.sleep(0.1)
        found = await self.service.summary(self.delivery)
        counted = int(found["clicks"] + found["machine_clicks"])
        rows = await pool.fetchval("SELECT count(*) FROM clicks WHERE delivery_id = $1", self.delivery)
        if rows != counted:
            raise RuntimeError(f"{rows} clicks are there, and {counted} are counted.")
        return counted


# --- beside a bare route ---------------------------------------------------------------------------------------------


async def _beside_bare(bench: Bench, folder: Path) -> list[Figure]:
    visits = await _prepared(bench.service, folder / "tokens", bench.sizes.recorded, gateway="bench-links")
    async with _bare(folder) as (url, server):
        await visit(url, visits.tokens, [server], seconds=1)
        warm = await visits.round(1, 0)
        bare, ours = list[Round](), list[Round]()
        for _ in range(bench.sizes.rounds):
            await visits.counted()
            bare.append(await visit(url, visits.tokens, [server], seconds=bench.sizes.seconds))
            ours.append(await visits.round(bench.sizes.seconds, sum(each.answered for each in ours)))
    lost = sum(each.answered for each in (warm, *ours)) - await visits.counted()
    rates, others = [each.rate for each in ours], [each.rate for each in bare]
    p99 = [each.p99_ms for each in ours]
    return [
        Figure(name="redirects: answered", value=statistics.median(rates), unit="/s", note=spread(rates)),
        Figure(
            name="redirects: of a bare 302", value=ratio(rates, others), unit="×", at_least=0.50,
            note=f"bare {spread(others)} /s",
        ),
        Figure(
            name="redirects: p99", value=statistics.median(p99), unit="ms", at_most=40,
            note=f"p50 {statistics.median(each.p50_ms for each in ours):.1f} ms; p99 of bare "
            f"{statistics.median(each.p99_ms for each in bare):.1f} ms; by round {spread(p99)}",
        ),
        Figure(
            name="redirects: processor time of the service", value=statistics.median(each.cpu_us for each in ours), unit="µs",
            note=f"a request, worker included; bare {statistics.median(each.cpu_us for each in bare):.0f} µs",
        ),
        *_whole(ours, lost, "redirects"),
    ]  # fmt: skip


def _whole(rounds: Sequence[Round], lost: int, name: str) -> list[Figure]:
    return [
        Figure(name=f"{name}: refused", value=sum(each.refused for each in rounds), unit="", at_most=0),
        Figure(
            name=f"{name}: answered but not counted", value=max(lost, 0), unit="", at_most=0,
            note=f"{max(-lost, 0)} more were counted than answered: visits that wrk broke off at the end of a round",
        ),
        Figure(name=f"{name}: counted twice", value=max(-lost - (len(rounds) + 1) * _CONNECTIONS, 0), unit="", at_most=0),
    ]  # fmt: skip


async def _prepared(service: Service, tokens: Path, messages: int, *, gateway: str) -> _Visits:
    """A delivery with one link, and the tokens of all its messages in a file."""
    number, _ = await service.create_gateway(gateway, "generic")
    delivery = await service.create_delivery("Redirects", gateway)
    await facts.record(service.pool, delivery, [number], prefix=f"{gateway}-", messages=messages)
    async with service.pool.acquire() as connection:
        await connection.execute(
            "INSERT INTO links (delivery_id, number, label, source_url, template, tracked, params, in_content) "
            "VALUES ($1, 0, 'Offer', $2, false, true, '{}', true)", delivery, _LINK,
        )  # fmt: skip
        await connection.execute(
            "INSERT INTO link_blocks SELECT min(id), max(id), $1 FROM messages WHERE delivery_id = $1", delivery
        )
        await connection.execute("UPDATE deliveries SET updated_at = now() WHERE id = $1", delivery)
        keys = await token_keys.load(connection)
        rows = await connection.fetch("SELECT id FROM messages WHERE delivery_id = $1 ORDER BY id", delivery)
    assert keys is not None
    await asyncio.to_thread(tokens.write_text, "".join(f"{encode(keys, row['id'], 0)}\n" for row in rows))
    await asyncio.sleep(3)  # until the service has read where they lead
    return _Visits(service=service, delivery=delivery, tokens=tokens)


@contextlib.asynccontextmanager
async def _bare(folder: Path) -> AsyncIterator[tuple[str, psutil.Process]]:
    port, log = free_port(), folder / "bare.log"
    with process(uvicorn("tests.benchmarks.bare:app", port), log, dict(os.environ)) as started:
        url = f"http://{HOST}:{port}"
        await answering(f"{url}/callbacks/bench", started, log)
        yield url, psutil.Process(started.pid)


# --- with PostgreSQL stopped -----------------------------------------------------------------------------------------


async def _database_stopped(bench: Bench, folder: Path) -> list[Figure]:
    """In turns: as long with the server running as without; then everything is counted."""
    with embedded.temporary() as server:
        postgres = Postgres(server)
        async with running(server.url) as service:
            visits = await _prepared(service, folder / "tokens2", bench.sizes.recorded, gateway="bench-away")
            rounds, first = [await visits.round(1, 0)], 0
            there, away = list[Round](), list[Round]()
            for _ in range(max(2, bench.sizes.rounds // 2)):
                await visits.counted()
                there.append(await visits.round(bench.sizes.seconds, first))
                await visits.counted()
                first += there[-1].answered
                postgres.kill()
                away.append(await visits.round(bench.sizes.seconds, first))
                first += away[-1].answered
                postgres.back()
            rounds += [*there, *away]
            lost = sum(each.answered for each in rounds) - await visits.counted()
    rates, others = [each.rate for each in away], [each.rate for each in there]
    name = "redirects, PostgreSQL stopped"
    return [
        Figure(name=f"{name}: answered", value=statistics.median(rates), unit="/s", note=spread(rates)),
        Figure(
            name=f"{name}: of that with it", value=ratio(rates, others), unit="×", at_least=0.80,
            note=f"with it {spread(others)} /s; p99 {statistics.median(each.p99_ms for each in away):.1f} ms",
        ),
        *_whole(rounds, lost, name),
    ]  # fmt: skip
