"""The delivery log: filters, totals, pages, streams, masking; and the plans of its statements."""

import csv
import io
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import httpx
import orjson
import pytest
import pytest_asyncio
from fastapi import FastAPI
from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.messages import reading
from app.messages.reading import Filter
from tests.conftest import Headers, KeyMaker

from .rows import BEGIN, ERRORS, Row, add_delivery, add_gateway, add_messages, add_qualifications, random_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A delivery of random rows beside another that must never be seen in it."""

    delivery: int
    rows: Mapping[int, Row]
    errors: Mapping[int | None, tuple[str, str]]

    @property
    def url(self) -> str:
        return f"/v1/deliveries/{self.delivery}/messages"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def world(app: FastAPI) -> World:
    async with app.state.pool.acquire() as connection:
        for key in ("acme", "blue", "idle"):
            await add_gateway(connection, key)
        qualifications = await add_qualifications(connection)
        gateways = ("acme", "acme", "blue", None)
        other = await add_delivery(connection, "Other")
        await add_messages(connection, other, random_rows(1, 300, gateways=gateways, qualifications=qualifications))
        delivery = await add_delivery(connection)
        rows = random_rows(2, 900, gateways=gateways, qualifications=qualifications)
        ids = await add_messages(connection, delivery, rows)
        await add_messages(connection, other, random_rows(3, 300, gateways=gateways, qualifications=qualifications))
    counted = {id: row for id, row in zip(ids, rows, strict=True) if not row.proof}
    errors: dict[int | None, tuple[str, str]] = dict(zip(qualifications, ERRORS, strict=True))
    return World(delivery=delivery, rows=counted, errors=errors | {None: reading.UNQUALIFIED})


def fits(world: World, row: Row, asked: Filter) -> bool:
    """The filter, said again over rows in memory."""
    failure_type, reason = world.errors[row.qualification] if row.status == "failed" else (None, None)
    return (
        (not asked.statuses or row.status in asked.statuses)
        and (not asked.failure_types or failure_type in asked.failure_types)
        and (not asked.reasons or reason in asked.reasons)
        and (asked.gateway is None or (row.gateway or "-") == asked.gateway)
        and (asked.address is None or row.address == asked.address)
        and (asked.contradictory is None or row.contradictory is asked.contradictory)
    )


COMBINATIONS = [
    Filter(
        statuses=statuses, failure_types=types, reasons=reasons, gateway=gateway, address=address, contradictory=doubt
    )
    for statuses, types, reasons, gateway, address, doubt in itertools.product(
        ((), ("failed",), ("received",), ("pending", "sent", "submitted"), ("failed", "received")),
        ((), ("soft",), ("hard", "undefined")),
        ((), ("unreachable",), ("refused", "not_defined")),
        (None, "acme", "-", "idle"),
        (None, "+34600000007"),
        (None, True, False),
    )
]


async def found(connection: AsyncConnection, world: World, asked: Filter, **place: int) -> reading.Found:
    cells = await reading.cells(connection, world.delivery)
    assert cells is not None
    after, limit, counted = place.get("after", 0), place.get("limit", 10_000), bool(place.get("counted", True))
    return await reading.find(connection, world.delivery, cells, asked, after=after, limit=limit, counted=counted)


async def test_every_combination_of_filters_finds_its_rows_and_counts_them(world: World, engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        for asked in COMBINATIONS:
            expected = [id for id, row in world.rows.items() if fits(world, row, asked)]
            result = await found(connection, world, asked)
            assert result.ids == expected, asked
            assert result.total == len(expected), asked


async def test_pages_put_together_are_the_whole_list(world: World, engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        for asked in COMBINATIONS[::7]:
            whole, after = [], 0
            while page := (await found(connection, world, asked, after=after, limit=37)).ids:
                whole += page
                after = page[-1]
            assert whole == [id for id, row in world.rows.items() if fits(world, row, asked)], asked


IN_TIME = [replace(each, occurred_after=BEGIN) for each in COMBINATIONS[::7] if each.address is None]


@pytest.mark.parametrize("most", [10_000, 50])
async def test_what_is_narrowed_to_a_time_is_found_page_by_page_and_counted_so_far(
    world: World, engine: AsyncEngine, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_COUNTED", most)
    async with engine.connect() as connection:
        for asked in IN_TIME:
            expected = [id for id, row in world.rows.items() if fits(world, row, asked)]
            total = (len(expected), None) if len(expected) <= most else (None, most)
            whole, after = [], 0
            while (page := await found(connection, world, asked, after=after, limit=37)).ids:
                assert (page.total, page.at_least) == total, asked
                whole += page.ids
                after = page.ids[-1]
            assert whole == expected, asked
            uncounted = await found(connection, world, asked, limit=37, counted=False)
            assert (uncounted.ids, uncounted.total, uncounted.at_least) == (expected[:37], None, None), asked


# --- through the API -------------------------------------------------------------------------------------------------


async def test_pages_follow_each_other_by_cursor(client: httpx.AsyncClient, admin: Headers, world: World) -> None:
    seen: list[str] = []
    cursor: str | None = None
    while True:
        params: dict[str, Any] = {"status": "failed,received", "limit": 50} | ({"cursor": cursor} if cursor else {})
        page = (await client.get(world.url, params=params, headers=admin)).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [str(id) for id, row in world.rows.items() if row.status in ("failed", "received")]
    assert page["total"] == len(seen)


async def test_a_cursor_that_was_changed_is_refused(client: httpx.AsyncClient, admin: Headers, world: World) -> None:
    cursor = (await client.get(world.url, params={"limit": 5}, headers=admin)).json()["next_cursor"]
    for wrong in (("B" if cursor[0] == "A" else "A") + cursor[1:], cursor[:-2], "", "x", "ñ", cursor + "AAAA"):
        answer = await client.get(world.url, params={"cursor": wrong}, headers=admin)
        assert answer.status_code == 422, wrong
        assert answer.json()["errors"][0]["pointer"] == "?cursor"


async def test_a_cursor_of_another_filter_is_refused(client: httpx.AsyncClient, admin: Headers, world: World) -> None:
    cursor = (await client.get(world.url, params={"limit": 5}, headers=admin)).json()["next_cursor"]
    answer = await client.get(world.url, params={"cursor": cursor, "status": "failed"}, headers=admin)
    assert answer.status_code == 422


async def test_a_failed_message_says_why(client: httpx.AsyncClient, admin: Headers, world: World) -> None:
    page = (await client.get(world.url, params={"reason": "user_unknown", "limit": 1}, headers=admin)).json()
    item = page["items"][0]
    assert item["error"] == "SR Acme UNDELIV 000"
    assert (item["failure_type"], item["reason"], item["text"]) == ("hard", "user_unknown", "It is user_unknown.")


async def test_addresses_are_masked_without_the_scope(
    client: httpx.AsyncClient, key: KeyMaker, admin: Headers, world: World
) -> None:
    reader = await key("deliveries:read")
    for accept in ("application/json", "text/csv", "application/x-ndjson"):
        answer = await client.get(world.url, headers=reader | {"Accept": accept})
        assert "+34600000" not in answer.text
        assert "+34600•••" in answer.text
    assert "+34600000" in (await client.get(world.url, headers=await key("deliveries:read", "pii:read"))).text


async def test_asking_by_number_needs_the_scope(client: httpx.AsyncClient, key: KeyMaker, world: World) -> None:
    address = next(iter(world.rows.values())).address
    assert (
        await client.get(world.url, params={"address": address}, headers=await key("deliveries:read"))
    ).status_code == 403
    reader = await key("deliveries:read", "pii:read")
    page = (await client.get(world.url, params={"address": address}, headers=reader)).json()
    assert page["total"] == sum(row.address == address for row in world.rows.values())
    assert {item["address"] for item in page["items"]} == {address}
    spaced = f"{address[:3]} {address[3:]}"
    assert (await client.get(world.url, params={"address": spaced}, headers=reader)).json() == page


@pytest.mark.parametrize(
    "params",
    [
        {"status": "lost"}, {"failure_type": "x"}, {"reason": "A"}, {"gateway": "nobody"}, {"gateway": "\0"},
        {"address": "12"}, {"address": "\0"}, {"contradictory": "perhaps"}, {"limit": "0"}, {"limit": "1001"},
    ],
)  # fmt: skip
async def test_a_filter_that_makes_no_sense_is_refused(
    client: httpx.AsyncClient, admin: Headers, world: World, params: dict[str, str]
) -> None:
    answer = await client.get(world.url, params=params, headers=admin)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("id", ["0", "999999999", "9" * 30, "x", "-1", "1.5", "%00"])
async def test_a_delivery_or_message_that_does_not_exist_is_not_found(
    client: httpx.AsyncClient, admin: Headers, id: str
) -> None:
    for url in (f"/v1/deliveries/{id}/messages", f"/v1/messages/{id}"):
        assert (await client.get(url, headers=admin)).status_code == 404


async def test_streams_hold_every_row_once(client: httpx.AsyncClient, admin: Headers, world: World) -> None:
    expected = [str(id) for id, row in world.rows.items() if row.status == "failed"]
    params = {"status": "failed"}
    lines = await client.get(world.url, params=params, headers=admin | {"Accept": "application/x-ndjson"})
    assert [orjson.loads(line)["id"] for line in lines.text.splitlines()] == expected
    table = await client.get(world.url, params=params, headers=admin | {"Accept": "text/csv"})
    assert table.headers["content-type"] == "text/csv; charset=utf-8"
    assert [row["id"] for row in csv.DictReader(io.StringIO(table.text))] == expected


async def test_a_stream_longer_than_a_chunk_is_whole(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers, world: World
) -> None:
    async with app.state.pool.acquire() as connection:
        delivery = await add_delivery(connection, "Long")
        rows = [Row(address="+34600123123", status="sent", gateway="acme") for _ in range(2_000)]
        ids = await add_messages(connection, delivery, rows)
    answer = await client.get(f"/v1/deliveries/{delivery}/messages", headers=admin | {"Accept": "text/csv"})
    assert [row["id"] for row in csv.DictReader(io.StringIO(answer.text))] == list(map(str, ids))


# --- plans -----------------------------------------------------------------------------------------------------------

LARGE = 30_000


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def large(app: FastAPI, world: World) -> int:
    """A delivery that is nearly the whole table, the worst case for a planner."""
    errors = [id for id in world.errors if id is not None]
    async with app.state.pool.acquire() as connection:
        delivery = await add_delivery(connection, "Large")
        rows = [
            Row(
                address=f"+34600{number:06d}",
                status="failed" if number % 10 == 0 else "received",
                gateway="acme",
                qualification=errors[number // 10 % 2] if number % 10 == 0 else None,
            )
            for number in range(LARGE)
        ]
        await add_messages(connection, delivery, rows)
        await connection.execute("ANALYZE")
    return delivery


async def explained(connection: AsyncConnection, query: TextClause, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every node of the plan, as it ran."""
    plan = (
        await connection.execute(text(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query.text}"), values)
    ).scalar_one()
    return list(nodes((plan if isinstance(plan, list) else orjson.loads(plan))[0]["Plan"]))


def nodes(plan: dict[str, Any]) -> Sequence[dict[str, Any]]:
    return [plan, *(each for below in plan.get("Plans", []) for each in nodes(below))]


@pytest_asyncio.fixture(loop_scope="session")
async def connection(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    async with engine.connect() as connection:
        yield connection


async def test_no_statement_of_the_log_scans_a_table_of_messages(
    connection: AsyncConnection, large: int, world: World
) -> None:
    middle = (await connection.execute(reading.EVERYTHING, {"delivery": large, "after": 0, "limit": LARGE})).scalars()
    after = list(middle)[LARGE // 2]
    acme = (await connection.execute(text("SELECT id FROM gateways WHERE key = 'acme'"))).scalar_one()
    error = next(iter(world.errors))
    place = {"delivery": large, "after": after, "limit": 101}
    cell = {"statuses": ["failed"], "gateways": [acme], "qualifications": [error]}
    times = Filter(occurred_after=BEGIN).times
    asked: list[tuple[TextClause, dict[str, Any]]] = [
        (reading.EVERYTHING, place),
        (
            reading.RANGES["status", "any", False, False, False],
            place | {"keys": ["received", "failed"], "gateways": [acme] * 2},
        ),
        # Nobody has this status: an index that is not of statuses would have to look at everybody.
        (reading.RANGES["status", "any", False, False, False], place | {"after": 0, "keys": ["sent"], "gateways": [0]}),
        (reading.RANGES["status", "one", False, True, False], place | {"keys": ["received"], "gateways": [acme]}),
        (reading.RANGES["qualification_id", "one", False, False, False], place | {"keys": [error], "gateways": [acme]}),
        (reading.DETAILS, {"ids": list(range(after, after + 100))}),
        (reading.SUBMISSIONS, {"message": after}),
        (reading.CORRELATIONS, {"message": after}),
        (reading.RECEIPTS, {"message": after}),
        (reading.CLICKS, {"message": after}),
        (
            reading.RANGES["status", "any", False, False, True],
            place | {"keys": ["failed"], "gateways": [0]},
        ),
        (reading.DOUBTFUL, place | cell),
        (reading.DOUBTFUL_IN_TIME, place | cell | times),
        (reading.CONTRADICTORY, place | {"gateways": [acme]}),
        (reading.CONTRADICTORY_IN_TIME, place | {"gateways": [acme]} | times),
        (
            reading.TIMED_RANGES["status", "any", False, False, False],
            place | {"keys": ["received", "failed"], "gateways": [acme] * 2} | times,
        ),
        (
            reading.NAMED,
            {"ids": list(range(after, after + 100)), "delivery": large, "contradictory": None, "doubtful": None} | cell | times,
        ),
        (reading.LABELS, {"deliveries": [large]}),
        (reading.METADATA, {"id": after}),
    ]  # fmt: skip
    for query, values in asked:
        for node in await explained(connection, query, values):
            scanned = node["Node Type"] == "Seq Scan" and node["Relation Name"] in ("messages", "message_state")
            assert not scanned, query.text
            assert node["Actual Rows"] * node["Actual Loops"] <= 1_000, (query.text, node)
            assert node.get("Rows Removed by Filter", 0) <= 1_000, (query.text, node)


async def test_the_last_page_costs_what_the_first_costs(connection: AsyncConnection, large: int) -> None:
    cells = await reading.cells(connection, large)
    assert cells is not None
    for asked in (Filter(), Filter(statuses=("received",)), Filter(reasons=("user_unknown",)), Filter(gateway="acme")):
        whole = (await reading.find(connection, large, cells, asked, after=0, limit=LARGE)).ids
        reads = []
        for after in (0, whole[len(whole) // 2], whole[-102]):
            costs = []
            for _ in range(3):  # autovacuum reads these tables, too: the least of three is the page's own
                before = await blocks(connection)
                page = await reading.find(connection, large, cells, asked, after=after, limit=101)
                costs.append(await blocks(connection) - before)
                assert len(page.ids) == 101
            reads.append(min(costs))
        assert max(reads) <= min(reads) + 20, (asked, reads)


async def blocks(connection: AsyncConnection) -> int:
    """Blocks of the message tables and their indexes that this session asked for so far."""
    await connection.execute(text("SELECT pg_stat_force_next_flush()"))
    await connection.commit()
    rows = await connection.execute(
        text(
            "SELECT sum(coalesce(heap_blks_read + heap_blks_hit, 0) + coalesce(idx_blks_read + idx_blks_hit, 0)) "
            "FROM pg_statio_user_tables WHERE relname IN ('messages', 'message_state')"
        )
    )
    found = int(rows.scalar_one())
    await connection.commit()
    return found
