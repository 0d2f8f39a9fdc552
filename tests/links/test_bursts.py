"""Beyond some clicks a minute of one token one row stands for that minute: the figures lose nothing, and no disk fills."""

import asyncio
import itertools
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.db import Pool
from app.ingest.kinds import pack, unpack
from app.ingest.store import append
from app.links import store
from app.links.bursts import Bursts, burst_id
from app.links.clicks import ClickRow, click, visitor

from .conftest import PERSON, Maker, applied, summary

AT = datetime(2026, 11, 27, 12, 0, 30, tzinfo=UTC)
NETWORK = "203.0.113.0/24"
OFFER = "https://shop.example/offer"


class Told:
    """One process's counts, and the rows that it handed over."""

    def __init__(self, name: str, *, most_of_network: int = 30, most_of_token: int = 300) -> None:
        self.rows: list[ClickRow] = []
        self.bursts = Bursts(
            process=name, offer=self.rows.append, most_of_network=most_of_network, most_of_token=most_of_token
        )

    def visits(self, count: int, made: Any, *, networks: Any = itertools.repeat(NETWORK), at: datetime = AT) -> None:
        """As the door does it: a row each, or counted."""
        for network in itertools.islice(networks, count):
            if not self.bursts.counted(made.messages[0], made.delivery, 0, network, at.timestamp()):
                who = visitor("GET", [(name.lower().encode(), value.encode()) for name, value in PERSON.items()])
                self.rows.append(click(made.messages[0], made.delivery, 0, at, who, network))
        self.bursts.flush()


async def take(pool: Pool, rows: list[ClickRow]) -> None:
    async with pool.acquire() as connection:
        await append(connection, rows)
    await applied(pool)


async def rows_of(pool: Pool, made: Any) -> list[Any]:
    return await pool.fetch("SELECT * FROM clicks WHERE message_id = $1 ORDER BY id", made.messages[0])


async def figures(pool: Pool, made: Any) -> dict[str, int]:
    rows = await pool.fetch(
        "SELECT metric || '/' || label AS name, sum(value)::int AS value FROM counters WHERE delivery_id = $1 "
        "AND metric IN ('clicks', 'unique_clicks') GROUP BY 1", made.delivery,
    )  # fmt: skip
    return {row["name"]: row["value"] for row in rows}


async def test_one_row_stands_for_a_minute_and_the_sum_of_rows_is_the_figures(make: Maker, pool: Pool) -> None:
    made, told = await make(OFFER), Told("a")
    told.visits(2_000, made)
    await take(pool, told.rows)
    rows = await rows_of(pool, made)
    assert Counter(row["times"] for row in rows) == {1: 30, 1_970: 1}
    (burst,) = [row for row in rows if row["times"] > 1]
    assert (burst["human"], burst["reasons"], burst["network"], burst["agent"]) == (False, ["burst"], NETWORK, "")
    assert burst["clicked_at"] == AT.replace(second=0)
    assert await figures(pool, made) == {"clicks/human": 30, "clicks/machine": 1_970, "unique_clicks/": 1}
    assert await pool.fetchval("SELECT machine FROM message_clicks WHERE message_id = $1", made.messages[0]) == 1_970


async def test_invented_networks_fill_no_disk_either(make: Maker, pool: Pool) -> None:
    made, told = await make(OFFER), Told("a")
    networks = (f"10.{n >> 8 & 255}.{n & 255}.0/24" for n in itertools.count())
    told.visits(20_000, made, networks=networks)
    await take(pool, told.rows)
    rows = await rows_of(pool, made)
    assert (len(rows), sum(row["times"] for row in rows)) == (301, 20_000)
    assert [row["network"] for row in rows if row["times"] > 1] == [None]


async def test_what_several_processes_counted_is_added_up_in_one_row_in_whatever_order_and_however_often_it_comes(
    make: Maker, pool: Pool
) -> None:
    made, first, second = await make(OFFER), Told("first"), Told("second")
    for told, parts in ((first, (100, 50)), (second, (40, 200))):
        for part in parts:
            told.visits(part, made)
    singles = [row for row in first.rows + second.rows if row.times == 1]
    told_bursts = [row for row in first.rows + second.rows if row.times > 1]
    assert len({row.id for row in told_bursts}) == 1
    for row in [*reversed(told_bursts), *told_bursts, *told_bursts]:
        await take(pool, [row])
    await take(pool, [*told_bursts, *singles])
    rows = await rows_of(pool, made)
    assert (len(rows), sum(row["times"] for row in rows)) == (61, 390)
    assert await figures(pool, made) == {"clicks/human": 60, "clicks/machine": 330, "unique_clicks/": 1}


async def test_a_burst_goes_over_the_spool_and_rows_of_older_versions_are_read(make: Maker) -> None:
    made, told = await make(OFFER), Told("a")
    told.visits(40, made)
    assert [unpack(pack(row)) for row in told.rows] == told.rows
    old = unpack(pack(told.rows[0]).replace(b",1]", b"]"))
    assert isinstance(old, ClickRow)
    assert old.times == 1


@pytest.mark.parametrize(("seconds", "rows"), [(1, 31), (40, 60)], ids=["same minute", "next minute"])
async def test_the_next_minute_counts_anew(make: Maker, seconds: int, rows: int) -> None:
    made, told = await make(OFFER), Told("a")
    told.visits(30, made)
    told.visits(30, made, at=datetime.fromtimestamp(AT.timestamp() + seconds, UTC))
    assert len(told.rows) == rows


async def test_what_is_remembered_is_bounded(make: Maker) -> None:
    bursts = Told("a").bursts
    for number in range(450_000):
        bursts.counted(number, 1, 0, NETWORK, AT.timestamp())
    assert len(bursts._counts) <= 200_000
    assert len(bursts._of_token) <= 200_000


def test_a_bursts_id_stands_in_its_minute_and_is_another_for_every_token_and_network() -> None:
    minute = 29_000_000
    ids = {
        burst_id(message, link, network, minute)
        for message in range(300)
        for link in (0, 1)
        for network in (NETWORK, None)
    }
    assert len(ids) == 1_200
    assert all(minute * 60_000 <= id >> 20 < (minute + 1) * 60_000 for id in ids)


async def test_at_the_door_everybody_is_led_on_and_list_summary_recompute_and_rejudging_agree(
    app: FastAPI, client: httpx.AsyncClient, admin: dict[str, str], make: Maker, pool: Pool
) -> None:
    made = await make(OFFER)
    if (left := 60 - datetime.now(UTC).second) < 15:  # the visits are to fall into one minute
        await asyncio.sleep(left)
    for _ in range(70):
        assert (await client.get(made.path(0), headers=PERSON)).status_code == 302
    app.state.bursts.flush()
    for _ in range(100):
        if await pool.fetchval("SELECT sum(times) FROM clicks WHERE message_id = $1", made.messages[0]) == 70:
            break
        await asyncio.sleep(0.1)
    found = await summary(client, made.delivery, admin)
    assert (found["clicks"], found["unique_clicks"], found["machine_clicks"]) == (30, 1, 40)
    page = (await client.get(f"/v1/deliveries/{made.delivery}/clicks?human=false", headers=admin)).json()
    assert [(item["count"], item["reasons"], item["human"]) for item in page["items"]] == [(40, ["burst"], False)]
    headers = {**admin, "Accept": "text/csv"}
    csv = (await client.get(f"/v1/deliveries/{made.delivery}/clicks?human=false", headers=headers)).text
    assert "count" in csv.splitlines()[0]
    async with pool.acquire() as connection, connection.transaction():
        _, looked, turned = await store.rejudge(connection, made.delivery, 0, 1_000)
    assert (looked, turned) == (30, 0)
    recomputed = await client.post(f"/v1/deliveries/{made.delivery}/recompute", headers=admin)
    assert recomputed.json()["drift"] == 0
    assert await summary(client, made.delivery, admin) == found
