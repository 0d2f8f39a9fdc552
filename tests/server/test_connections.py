"""A process holds at most 20 connections to the database, whatever it does at once; the real process, counted there."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import orjson
import pytest

from app.db import CONNECTIONS, POOL_SIZES, Pool
from app.doctor import examined
from app.settings import Settings
from tests.conftest import ADMIN_SECRET
from tests.server.test_crowds import service

pytestmark = pytest.mark.slow

_ADMIN = {"Authorization": f"Bearer {ADMIN_SECRET}"}
_COUNT = """SELECT application_name AS name, count(*) AS held FROM pg_stat_activity
WHERE datname = current_database() AND application_name LIKE 'acuse-%' AND application_name <> 'acuse-tests' GROUP BY 1"""


def test_the_pools_and_one_for_migrating_are_twenty() -> None:
    reading = Settings.model_fields["api_connections"].default
    assert sum(POOL_SIZES.values()) + reading + 1 == CONNECTIONS == 20


async def test_everything_at_once_holds_no_more_than_twenty(database_url: str, pool: Pool, tmp_path: Path) -> None:
    most: dict[str, int] = {}
    together = 0
    with service(database_url, tmp_path, public_url="https://acuse.example") as running:
        timeout, limits = httpx.Timeout(60), httpx.Limits(max_connections=200)
        connected = httpx.AsyncClient(base_url=running.url, headers=_ADMIN, timeout=timeout, limits=limits)
        async with connected as client, load(client) as work:
            for _ in range(60):
                held = {row["name"]: row["held"] for row in await pool.fetch(_COUNT)}
                together = max(together, sum(held.values()))
                for name, count in held.items():
                    most[name] = max(most.get(name, 0), count)
                await asyncio.sleep(0.1)
            assert all(task.exception() is None for task in work if task.done())
    assert {"acuse-api", *(f"acuse-{name}" for name in POOL_SIZES)} <= most.keys(), most
    assert most["acuse-api"] > 1, most
    assert most["acuse-inbox"] > 1, most
    assert most["acuse-worker"] > 1, most
    assert together <= CONNECTIONS, most


@contextlib.asynccontextmanager
async def load(client: httpx.AsyncClient) -> AsyncIterator[list["asyncio.Task[None]"]]:
    """Callbacks, bulk rows, reads, exports, preparations, redirects and event streams, until the block ends."""
    ids = [await prepared(client) for _ in range(3)]
    over = asyncio.Event()

    async def again(work: Callable[[int], Awaitable[object]]) -> None:
        number = 0
        while not over.is_set():
            await work(number)
            number += 1

    async def callback(number: int) -> None:
        report = {"provider_message_id": str(number), "status": "delivered"}
        assert (await client.post("/callbacks/crowd", json=report)).status_code == 200

    async def bulk(number: int) -> None:
        row = orjson.dumps({"gateway": "crowd", "provider_message_id": f"b{number}", "status": "sent"}) + b"\n"
        headers = {"Content-Type": "application/x-ndjson"}
        assert (await client.post("/v1/receipts", content=row * 300, headers=headers)).status_code == 202

    async def reading(number: int) -> None:
        assert (await client.get(f"/v1/deliveries/{ids[number % 3]}/summary")).status_code == 200

    async def exporting(number: int) -> None:
        path = f"/v1/deliveries/{ids[number % 3]}/targets"
        assert (await client.get(path, headers={"Accept": "application/x-ndjson"})).status_code == 200

    async def writing(number: int) -> None:
        assert (await client.post("/v1/deliveries", json={"label": "L", "sender": "Acme"})).status_code == 201

    async def redirect(number: int) -> None:
        assert (await client.get(f"/r/nothing{number}")).status_code in (404, 429)

    async def preparing(number: int) -> None:
        await client.post(f"/v1/deliveries/{ids[number % 3]}/prepare")
        await asyncio.sleep(0.2)

    async def stranger(number: int) -> None:
        assert (await client.get("/v1/keys", headers={"Authorization": f"Bearer {number}"})).status_code == 401

    async def events(number: int) -> None:
        async with client.stream("GET", f"/v1/deliveries/{ids[number % 3]}/events") as stream:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    async for _ in stream.aiter_bytes():
                        pass

    kinds = [(callback, 12), (bulk, 6), (reading, 12), (exporting, 6), (writing, 8), (redirect, 4), (preparing, 3),
        (stranger, 2), (events, 8)]  # fmt: skip
    tasks = [asyncio.ensure_future(again(work)) for work, times in kinds for _ in range(times)]
    try:
        yield tasks
    finally:
        over.set()
        await asyncio.gather(*tasks)


async def prepared(client: httpx.AsyncClient) -> str:
    """A delivery with an audience that takes a while to prepare."""
    content = "Hello https://shop.example/offer"
    made = await client.post("/v1/deliveries", json={"label": "L", "sender": "Acme", "content": content})
    assert made.status_code == 201, made.text
    id: str = made.json()["id"]
    rows = b"".join(b'{"address": "+346001%05d"}\n' % number for number in range(5_000))
    headers = {"Content-Type": "application/x-ndjson"}
    sent = await client.post(f"/v1/deliveries/{id}/targets", content=rows, headers=headers)
    assert sent.status_code == 200, sent.text
    return id


async def test_doctor_says_when_the_processes_need_more_than_the_database_lets_in(
    settings: Settings, database_url: str
) -> None:
    for workers, state in ((4, "ok"), (64, "warning")):
        checks = await examined(settings.model_copy(update={"workers": workers}), database_url)
        (found,) = [check for check in checks if check.name == "connections"]
        assert found.state == state
        assert str(workers * CONNECTIONS) in found.finding
