"""What visitors' browsers say stands once, whoever says it again, and goes with the last click that needs it."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx
import orjson
import pytest

from app import visitors
from app.db import Pool, create_pool
from app.ingest import clicks
from app.ingest.clock import Clock
from app.ingest.store import append
from app.links import store
from app.links.clicks import ClickRow, new_id
from app.links.machines import Verdict
from tests.addresses.dump import plain_dump
from tests.conftest import Headers

from .conftest import PHONE, Made, Maker, summary
from .test_clicks import OFFER, bring, judged_anew, recomputed, row

YEAR_AND_A_DAY = 366 * 86_400_000
_OF = "SELECT count(DISTINCT visitor) FROM clicks WHERE delivery_id = $1 AND visitor IS NOT NULL"


def saying(made: Made, message: int, agent: str, **visit: Any) -> ClickRow:
    said = {"method": "GET", "headers": {"accept": "*/*", "accept-language": "es"}} | visit
    return row(made, message)._replace(agent=agent, visit=said)


def aged(click: ClickRow) -> ClickRow:
    return click._replace(id=new_id() - (YEAR_AND_A_DAY << 20))


async def as_before(pool: Pool, made: Made) -> None:
    """The clicks as they stood when each had its own texts."""
    await pool.execute(
        "UPDATE clicks c SET agent = v.agent, visit = v.visit, visitor = NULL FROM visitors v "
        "WHERE v.id = c.visitor AND c.delivery_id = $1",
        made.delivery,
    )


async def ticked(pool: Pool, times: int = 1) -> None:
    for _ in range(times):
        await Clock(pool, every_seconds=1, click_text_days=365).tick(datetime.now(UTC))


async def agents(pool: Pool) -> set[str]:
    return {each["agent"] for each in await pool.fetch("SELECT agent FROM visitors")}


# --- once ------------------------------------------------------------------------------------------------------------


async def test_the_texts_of_equal_visitors_stand_once(make: Maker, pool: Pool) -> None:
    made = await make(OFFER, messages=6)
    agent = "Once/1.0"
    headers = {"accept": "*/*", "accept-language": "es"}
    await bring(pool, *(saying(made, place, agent) for place in range(3)))
    await bring(
        pool,
        saying(made, 3, agent, headers=dict(reversed(headers.items()))),  # the same, in another order
        saying(made, 4, agent, method="HEAD"),
        saying(made, 5, "Once/2.0"),
    )
    assert await pool.fetchval(_OF, made.delivery) == 3
    assert await pool.fetchval("SELECT count(*) FROM visitors WHERE agent LIKE 'Once/%'") == 3
    own = await pool.fetch("SELECT DISTINCT agent, visit FROM clicks WHERE delivery_id = $1", made.delivery)
    assert [tuple(each) for each in own] == [("", {})]


@pytest.mark.parametrize("before", [False, True], ids=["in the table", "from before there was one"])
async def test_whoever_reads_a_click_is_shown_what_was_said(
    client: httpx.AsyncClient, make: Maker, pool: Pool, admin: Headers, before: bool
) -> None:
    made = await make(OFFER)
    await bring(pool, saying(made, 0, PHONE), saying(made, 0, "curl/8.1"))
    if before:
        await as_before(pool, made)
    wanted = {(PHONE, "phone"), ("curl/8.1", "phone")}  # the device is what was judged at the door
    url = f"/v1/deliveries/{made.delivery}/clicks"
    items = (await client.get(url, headers=admin)).json()["items"]
    assert {(each["agent"], each["device"]) for each in items} == wanted
    lines = (await client.get(url, headers=admin | {"Accept": "application/x-ndjson"})).text.splitlines()
    assert {(each["agent"], each["device"]) for each in map(orjson.loads, lines)} == wanted
    timeline = (await client.get(f"/v1/messages/{made.messages[0]}", headers=admin)).json()["timeline"]
    assert {(each["agent"], each["device"]) for each in timeline if each["kind"] == "click"} == wanted
    address = await pool.fetchval("SELECT address FROM messages WHERE id = $1", made.messages[0])
    found = (await client.get(f"/v1/addresses/{quote(address)}/export", headers=admin)).json()["items"]
    clicks = [each for each in found if each["kind"] == "click"]
    assert {(each["agent"], each["device"]) for each in clicks} == wanted
    assert {each["visit"]["headers"]["accept-language"] for each in clicks} == {"es"}
    assert all("visitor" not in each for each in clicks)


async def test_clicks_are_judged_anew_alike_wherever_their_texts_stand(
    client: httpx.AsyncClient, make: Maker, pool: Pool, admin: Headers, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = (PHONE, "curl/8.1", "WhatsApp/2.23.20.0 A", "")
    judged: list[list[Any]] = []
    for before in (False, True):
        made = await make(OFFER, messages=4)
        await bring(pool, *(saying(made, place, agent) for place, agent in enumerate(said)))
        if before:
            await as_before(pool, made)
        async with pool.acquire() as connection:
            await judged_anew(connection, made)
            verdicts = await connection.fetch(
                "SELECT human, reasons, device FROM clicks WHERE delivery_id = $1 ORDER BY id", made.delivery
            )
            with monkeypatch.context() as patched:
                patched.setattr(
                    store, "judge", lambda visit: Verdict(human=False, reasons=("head",), device=visit.agent[:4])
                )
                await judged_anew(connection, made)
            again = await connection.fetch(
                "SELECT human, reasons, device FROM clicks WHERE delivery_id = $1 ORDER BY id", made.delivery
            )
        figures = await summary(client, made.delivery, admin)
        assert await recomputed(pool, made) == 0
        judged.append([*map(tuple, verdicts), *map(tuple, again), figures["clicks"], figures["machine_clicks"]])
    assert judged[0] == judged[1]
    assert [each[0] for each in judged[0][:4]] == [True, False, False, False]
    assert [each[2] for each in judged[0][4:8]] == ["Mozi", "curl", "What", ""]


# --- at once ---------------------------------------------------------------------------------------------------------


async def test_hands_that_take_up_the_same_visitors_in_any_order_do_not_wait_for_each_other(
    make: Maker, pool: Pool, database_url: str
) -> None:
    """Each for a delivery of its own, whose figures are its own; its transaction stays open until all have applied theirs."""
    places = range(4)
    made = [await make(OFFER) for _ in places]
    await bring(pool, *(saying(made[0], 0, f"Known/{n}") for n in range(10)))
    batches = [[saying(made[place], 0, f"Known/{(n * 3 + place) % 10}") for n in range(10)] for place in places]
    hands = await create_pool(database_url, name="hands", size=4)
    held = [await hands.acquire() for _ in batches]
    try:
        for connection, batch in zip(held, batches, strict=True):
            await connection.execute("BEGIN")
            await connection.execute("SET LOCAL lock_timeout = '3s'")
            await append(connection, batch)
            assert await clicks.apply(connection, 100, await _seqs(connection, batch)) == 10
        for connection in held:
            await connection.execute("COMMIT")
    finally:
        for connection in held:
            await hands.release(connection)
        await hands.close()
    assert [await pool.fetchval(_OF, each.delivery) for each in made] == [10] * 4
    assert len([each for each in await agents(pool) if each.startswith("Known/")]) == 10


async def test_hands_that_bring_the_same_new_visitors_at_once_do_not_deadlock(make: Maker, pool: Pool) -> None:
    made = await make(OFFER, messages=4)
    before = await pool.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")

    async def hand(place: int) -> None:
        for turn in range(10):
            order = range(20) if place % 2 else range(19, -1, -1)
            batch = [saying(made, place, f"New/{turn}/{n}") for n in order]
            async with pool.acquire() as connection, connection.transaction():
                await append(connection, batch)
                await clicks.apply(connection, 100, await _seqs(connection, batch))

    await asyncio.gather(*map(hand, range(4)))
    assert await pool.fetchval(_OF, made.delivery) == 200
    assert await pool.fetchval("SELECT count(*) FROM clicks WHERE delivery_id = $1", made.delivery) == 800
    after = await pool.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    assert after == before


async def _seqs(connection: Any, batch: list[ClickRow]) -> list[int]:
    rows = await connection.fetch(
        "SELECT seq FROM click_inbox WHERE id = ANY($1::bigint[])", [each.id for each in batch]
    )
    return [each["seq"] for each in rows]


async def test_what_is_being_taken_up_is_not_taken_away(make: Maker, pool: Pool) -> None:
    """Nobody refers to it yet, whoever looks: the click that will is not committed."""
    made = await make(OFFER, messages=2)
    agent = "Taken up/1.0"
    await bring(pool, saying(made, 0, agent))
    id = await pool.fetchval("SELECT id FROM visitors WHERE agent = $1", agent)
    await pool.execute("UPDATE clicks SET visitor = NULL WHERE visitor = $1", id)
    async with pool.acquire() as taking, taking.transaction():
        batch = [saying(made, 1, agent)]
        await append(taking, batch)
        await clicks.apply(taking, 100, await _seqs(taking, batch))
        async with pool.acquire() as connection, connection.transaction():
            assert await visitors.forget(connection, [id]) == 0
    assert await pool.fetchval("SELECT count(*) FROM visitors WHERE id = $1", id) == 1
    assert await pool.fetchval("SELECT visitor FROM clicks WHERE id = $1", batch[0].id) == id


# --- gone ------------------------------------------------------------------------------------------------------------


async def test_texts_go_with_the_last_click_that_is_young_enough(make: Maker, pool: Pool, database_url: str) -> None:
    made = await make(OFFER, messages=3)
    await bring(
        pool, aged(saying(made, 0, "Forgotten/1.0")), aged(saying(made, 1, "Kept/1.0")), saying(made, 2, "Kept/1.0")
    )  # fmt: skip
    await ticked(pool)
    found = await agents(pool)
    assert "Kept/1.0" in found
    assert "Forgotten/1.0" not in found
    rows = await pool.fetch(
        "SELECT visitor IS NULL AS gone, human FROM clicks WHERE delivery_id = $1 ORDER BY message_id", made.delivery
    )
    assert [tuple(each) for each in rows] == [(True, True), (True, True), (False, True)]
    dump = await asyncio.to_thread(plain_dump, database_url)
    assert "Kept/1.0" in dump
    assert "Forgotten/1.0" not in dump
    assert await recomputed(pool, made) == 0


async def test_what_nobody_needs_is_found_in_small_steps_wherever_it_stands(make: Maker, pool: Pool) -> None:
    made = await make(OFFER)
    await bring(pool, *(saying(made, 0, f"Needed/{n}") for n in range(5)))
    await pool.executemany(
        "INSERT INTO visitors (id, agent, visit) VALUES (visitor_id($1::text, '{}'), $1, '{}')",
        [(f"Stray/{n}",) for n in range(23)],
    )
    steps, after = 0, visitors.FIRST
    while True:
        async with pool.acquire() as connection, connection.transaction():
            after = await visitors.forget_some(connection, after, 4)
        steps += 1
        if after == visitors.FIRST:
            break
    found = await agents(pool)
    assert {f"Needed/{n}" for n in range(5)} <= found
    assert not any(each.startswith("Stray/") for each in found)
    assert steps > 23 // 4


async def test_erasing_takes_what_only_the_erased_said_and_leaves_what_others_say_too(
    client: httpx.AsyncClient, make: Maker, pool: Pool, admin: Headers, database_url: str
) -> None:
    made = await make(OFFER, messages=2)
    await bring(pool, saying(made, 0, "Hers/1.0"), saying(made, 0, "Many/1.0"), saying(made, 1, "Many/1.0"))
    address = await pool.fetchval("SELECT address FROM messages WHERE id = $1", made.messages[0])
    answer = await client.delete(f"/v1/addresses/{quote(address)}", params={"reason": "asked"}, headers=admin)
    assert answer.status_code == 200, answer.text
    dump = await asyncio.to_thread(plain_dump, database_url)
    assert "Many/1.0" in dump
    assert "Hers/1.0" not in dump
    items = (await client.get(f"/v1/deliveries/{made.delivery}/clicks", headers=admin)).json()["items"]
    assert sorted(each["agent"] for each in items) == ["", "", "Many/1.0"]
    assert await recomputed(pool, made) == 0


async def test_a_click_that_says_nothing_needs_no_visitor(make: Maker, pool: Pool) -> None:
    """A waiting click whose texts were erased, or of a spool of an older version."""
    made = await make(OFFER)
    bare = row(made, 0, at=datetime.now(UTC) - timedelta(minutes=1))._replace(agent="", visit={})
    await bring(pool, bare)
    assert await pool.fetchval("SELECT visitor FROM clicks WHERE id = $1", bare.id) is None
    async with pool.acquire() as connection, connection.transaction():
        assert (await store.rejudge(connection, made.delivery, 0, 100))[1] == 0
