"""Summary, history and events of a delivery, from its counters alone."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import httpx
import orjson
import pytest
import pytest_asyncio
from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.errors import Busy
from app.stats import events as stream
from app.stats import store
from app.tables import deliveries
from tests.conftest import Headers
from tests.messages.rows import ERRORS, Row, add_delivery, add_gateway, add_messages, add_qualifications, random_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    delivery: int
    empty: int
    rows: Sequence[Row]
    qualifications: Sequence[int]

    def url(self, what: str) -> str:
        return f"/v1/deliveries/{self.delivery}/{what}"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def world(app: FastAPI) -> World:
    async with app.state.pool.acquire() as connection:
        for key in ("acme", "blue"):
            await add_gateway(connection, key)
        qualifications = await add_qualifications(connection)
        delivery, empty = await add_delivery(connection), await add_delivery(connection)
        rows = random_rows(5, 600, gateways=("acme", "blue", None), qualifications=qualifications)
        await add_messages(connection, delivery, rows)
    counted = [row for row in rows if not row.proof]
    return World(delivery=delivery, empty=empty, rows=counted, qualifications=qualifications)


@pytest_asyncio.fixture(loop_scope="session")
async def summary(client: httpx.AsyncClient, admin: Headers, world: World) -> dict[str, Any]:
    found: dict[str, Any] = (await client.get(world.url("summary"), headers=admin)).json()
    return found


async def test_every_figure_is_the_number_of_its_rows(summary: dict[str, Any], world: World) -> None:
    statuses = Counter(row.status for row in world.rows)
    assert {status: count for status, count in summary["by_status"].items() if count} == statuses
    assert summary["to_send"] == summary["targeted"] == len(world.rows)
    assert (summary["success"], summary["errors"]) == (statuses["received"], statuses["failed"])
    assert summary["contradictory"] == sum(row.contradictory for row in world.rows)
    assert summary["parts"]["total"] == sum(row.parts for row in world.rows)
    assert summary["parts"]["received"] == sum(row.parts for row in world.rows if row.status == "received")
    priced = sum((row.price for row in world.rows if row.price), start=Decimal(0))
    assert summary["cost"] == {"EUR": f"{priced.normalize():f}"}


async def test_failures_are_told_by_type_and_by_reason(summary: dict[str, Any], world: World) -> None:
    errors = dict(zip(world.qualifications, ERRORS, strict=True)) | {None: ("undefined", "not_defined")}
    failed = [errors[row.qualification] for row in world.rows if row.status == "failed"]
    assert summary["by_reason"] == Counter(reason for _, reason in failed)
    assert {name: count for name, count in summary["by_failure_type"].items() if count} == Counter(
        failure_type for failure_type, _ in failed
    )


async def test_each_gateway_has_its_own_statuses(summary: dict[str, Any], world: World) -> None:
    pairs = Counter((row.gateway or "-", row.status) for row in world.rows)
    assert {(key, status): n for key, each in summary["by_gateway"].items() for status, n in each.items()} == pairs


async def test_every_figure_opens_exactly_its_rows(
    client: httpx.AsyncClient, admin: Headers, summary: dict[str, Any], world: World
) -> None:
    opened = [({"status": status}, count) for status, count in summary["by_status"].items()]
    opened += [({"reason": reason}, count) for reason, count in summary["by_reason"].items()]
    opened += [({"failure_type": name}, count) for name, count in summary["by_failure_type"].items()]
    for gateway, each in summary["by_gateway"].items():
        opened += [({"gateway": gateway, "status": status}, count) for status, count in each.items()]
    opened += [({"contradictory": "true"}, summary["contradictory"])]
    opened += [({"status": "pending,submitted,accepted,sent"}, summary["in_transit"])]
    for params, count in opened:
        page = (await client.get(world.url("messages"), params={**params, "limit": 1000}, headers=admin)).json()
        assert (page["total"], len(page["items"])) == (count, count), params


async def test_nothing_is_divided_by_nothing(client: httpx.AsyncClient, admin: Headers, world: World) -> None:
    found = (await client.get(f"/v1/deliveries/{world.empty}/summary", headers=admin)).json()
    assert found["to_send"] == 0
    assert set(found["rates"].values()) == {None}
    assert found["click_through_rate"] is None
    assert found["latency"] == {"median_seconds": None, "p95_seconds": None}


async def test_latency_is_told_within_five_percent(summary: dict[str, Any]) -> None:
    assert summary["latency"]["median_seconds"] == pytest.approx(5.0, rel=0.055)


async def test_a_delivery_that_does_not_exist_is_not_found(client: httpx.AsyncClient, admin: Headers) -> None:
    for id in ("999999", "x", "9" * 30):
        for what in ("summary", "history", "events"):
            assert (await client.get(f"/v1/deliveries/{id}/{what}", headers=admin)).status_code == 404


async def test_the_summary_reads_counters_by_their_key_only(engine: AsyncEngine, app: FastAPI, world: World) -> None:
    async with app.state.pool.acquire() as connection:
        for _ in range(30):
            rows = random_rows(9, 60, gateways=("acme",), qualifications=world.qualifications)
            await add_messages(connection, await add_delivery(connection), rows)
        await connection.execute("ANALYZE")
    query = store._SUMMARY.where(deliveries.c.id == world.delivery)
    compiled = query.compile(dialect=engine.dialect, compile_kwargs={"literal_binds": True})
    async with engine.connect() as reader:
        plan = (await reader.execute(text(f"EXPLAIN (FORMAT JSON) {compiled}".replace(":", "\\:")))).scalar_one()
    told = orjson.dumps(plan).decode()
    assert "pk_counters" in told
    assert "message_state" not in told


# --- history ---------------------------------------------------------------------------------------------------------


async def test_a_history_holds_every_event_once(client: httpx.AsyncClient, admin: Headers, world: World) -> None:
    for step in (None, "1m", "PT5M", "1h", "1d"):
        params = {} if step is None else {"step": step}
        found = (await client.get(world.url("history"), params=params, headers=admin)).json()
        for series, status in (("received", "received"), ("failed", "failed")):
            assert sum(point[series] for point in found["items"]) == sum(row.status == status for row in world.rows)
        assert sum(point["accepted"] for point in found["items"]) == len(world.rows)


async def test_a_history_has_all_its_steps(client: httpx.AsyncClient, admin: Headers, world: World) -> None:
    params = {"step": "5m", "from": "2026-11-23T07:01:00Z", "to": "2026-11-23T08:01:00Z"}
    found = (await client.get(world.url("history"), params=params, headers=admin)).json()
    assert (found["step"], found["from"], found["to"]) == ("PT5M", "2026-11-23T07:00:00Z", "2026-11-23T08:05:00Z")
    assert [point["at"] for point in found["items"]][:2] == ["2026-11-23T07:00:00Z", "2026-11-23T07:05:00Z"]
    assert len(found["items"]) == 13


@pytest.mark.parametrize(
    "params",
    [
        {"step": "x"}, {"step": "1m", "from": "2020-01-01T00:00:00Z"}, {"from": "2026-11-23T07:00:00"},
        {"from": "2026-11-23T09:00:00Z", "to": "2026-11-23T08:00:00Z"},
        {"to": "2026-01-01T00:00:00Z"}, {"to": "9999-12-31T23:59:59Z"},
    ],
)  # fmt: skip
async def test_a_history_that_cannot_be_drawn_is_refused(
    client: httpx.AsyncClient, admin: Headers, world: World, params: dict[str, str]
) -> None:
    answer = await client.get(world.url("history"), params=params, headers=admin)
    assert answer.status_code == 422
    assert answer.json()["errors"]


async def test_an_empty_delivery_has_a_history_of_zeros(
    client: httpx.AsyncClient, admin: Headers, world: World
) -> None:
    found = (await client.get(f"/v1/deliveries/{world.empty}/history", headers=admin)).json()
    assert [point["received"] for point in found["items"]] == [0]


# --- events ----------------------------------------------------------------------------------------------------------


async def collected(reads: Sequence[dict[str, Any] | None], monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What a stream says while `reads` are what the database says."""
    monkeypatch.setattr(stream, "INTERVAL_SECONDS", 0.0)
    left = list(reads)

    async def read() -> dict[str, Any] | None:
        return left.pop(0)

    async def gone() -> bool:
        return not left

    return [each async for each in stream.events(read, gone)]


async def test_the_summary_is_sent_when_it_changes_only(monkeypatch: pytest.MonkeyPatch) -> None:
    said = await collected([{"n": 1}, {"n": 1}, {"n": 2}], monkeypatch)
    assert said[1:] == [b'event: summary\ndata: {"n":1}\n\n', b'event: summary\ndata: {"n":2}\n\n']


async def test_a_quiet_stream_has_a_heart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT_SECONDS", 0.0)
    assert (await collected([{"n": 1}, {"n": 1}], monkeypatch))[-1] == b": alive\n\n"


async def test_a_stream_ends_with_its_delivery(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(await collected([None, {"n": 1}], monkeypatch)) == 1


async def test_a_stream_outlives_a_database_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "INTERVAL_SECONDS", 0.0)
    answers: list[dict[str, Any] | OSError] = [OSError("away"), {"n": 1}]

    async def read() -> dict[str, Any] | None:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    async def gone() -> bool:
        return not answers

    assert [each async for each in stream.events(read, gone)][-1].startswith(b"event: summary")


async def test_streams_are_counted_and_bounded() -> None:
    streams = stream.Streams(most=1)
    with streams.one(), pytest.raises(Busy):
        streams.check()
    streams.check()
    assert streams.open == 0


async def test_events_come_over_http_and_end_with_the_client(app: FastAPI, admin: Headers, world: World) -> None:
    """By hand: httpx's transport waits for the end of an answer, and this one has none."""
    said: list[bytes] = []
    enough = asyncio.Event()
    headers = [(name.lower().encode(), value.encode()) for name, value in admin.items()]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
        "path": world.url("events"), "raw_path": b"", "query_string": b"", "headers": headers, "server": ("t", 80),
        "client": ("t", 1), "root_path": "",
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        await enough.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        said.append(message.get("body", b""))
        if b"event: summary" in message.get("body", b""):
            enough.set()

    await asyncio.wait_for(app(scope, receive, send), 10)
    assert b'"to_send":' in b"".join(said)
    assert app.state.event_streams.open == 0
