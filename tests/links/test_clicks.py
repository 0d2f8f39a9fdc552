"""Clicks become figures: each once, whatever order and repetition, and the figures are what the log says."""

import asyncio
import itertools
import random
import time
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import orjson
import pytest
from fastapi import FastAPI

from app.db import Connection, Pool
from app.ingest.applying import Applier
from app.ingest.clock import expire
from app.ingest.kinds import pack, unpack
from app.ingest.store import append
from app.links import store
from app.links.clicks import ClickRow, click, new_id, visitor
from app.links.machines import RULES_VERSION, Verdict
from app.projections.fold import fold
from app.projections.replay import recompute, replay
from tests.conftest import Headers, KeyMaker

from .conftest import PERSON, PREVIEW, Made, Maker, applied, gateway_id, submit, summary

pytestmark = pytest.mark.slow

OFFER = "https://shop.example/offer"
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
BROWSER = visitor("GET", [(name.lower().encode(), value.encode()) for name, value in PERSON.items()])
ROBOT = visitor("GET", [(name.lower().encode(), value.encode()) for name, value in PREVIEW.items()])


_NUMBERS = itertools.count(1)


def row(made: Made, message: int, *, link: int = 0, human: bool = True, at: datetime | None = None) -> ClickRow:
    """Ids in the order of these calls, whatever the millisecond."""
    who = BROWSER if human else ROBOT
    found = click(made.messages[message], made.delivery, link, at or datetime.now(UTC), who, "203.0.113.0/24")
    return found._replace(id=(found.id >> 20 << 20) + next(_NUMBERS))


async def bring(pool: Pool, *rows: ClickRow) -> None:
    """Into the inbox, and waits until the service has applied them."""
    async with pool.acquire() as connection:
        await append(connection, rows)
    await applied(pool)


async def say(pool: Pool, made: Made, message: int, status: str) -> None:
    """A gateway reports about a message; it is folded as it is after a receipt."""
    async with pool.acquire() as connection, connection.transaction():
        gateway = await gateway_id(connection)
        key = await connection.fetchval(
            "INSERT INTO correlations (gateway_id, kind, value, raw, message_id, origin, part, bearing, created_at, seen_at) "
            "VALUES ($1, 'id', $2::text, $2, $3, 'submission', 1, true, now(), now()) "
            "ON CONFLICT (gateway_id, kind, value) DO UPDATE SET seen_at = now() RETURNING id",
            gateway, f"c{made.messages[message]}", made.messages[message],
        )  # fmt: skip
        await connection.execute(
            "INSERT INTO receipts (id, correlation_id, gateway_id, received_at, status, status_text, fingerprint, verified, raw) "
            "VALUES (nextval(pg_get_serial_sequence('inbox', 'id')), $1, $2, now(), $3::text::message_status, $3, $4, true, '')",
            key, gateway, status, random.getrandbits(60),
        )  # fmt: skip
        await fold(connection, [made.messages[message]], datetime.now(UTC))


async def recomputed(pool: Pool, made: Made) -> int:
    async with pool.acquire() as connection, connection.transaction():
        return int((await recompute(connection, made.delivery, datetime.now(UTC)))["drift"])


# --- the figures -----------------------------------------------------------------------------------------------------


async def test_after_a_random_run_every_figure_equals_a_count_over_the_log(
    client: httpx.AsyncClient, make: Maker, pool: Pool, admin: Headers
) -> None:
    draw = random.Random(7)
    made = await make(OFFER, "https://shop.example/b", "https://shop.example/c", messages=60)
    for place in range(60):
        if draw.random() < 0.8:
            await say(pool, made, place, draw.choice(["received", "received", "failed"]))
    for _ in range(400):
        headers = draw.choice([PERSON, PERSON, PREVIEW])
        place, link = int(draw.triangular(0, 60, 0)), draw.choice([0, 0, 1, 2])
        method = draw.choice(["GET"] * 9 + ["HEAD"])
        assert (await client.request(method, made.path(place, link), headers=headers)).status_code == 302
        if draw.random() < 0.1:
            await say(pool, made, draw.randrange(60), draw.choice(["received", "failed"]))
    await applied(pool)

    log = await pool.fetch("SELECT * FROM clicks WHERE delivery_id = $1", made.delivery)
    assert len(log) == 400
    people = [each for each in log if each["human"]]
    clicked = {each["message_id"] for each in people}
    rows = await pool.fetch(
        "SELECT message_id, status::text AS status FROM message_state WHERE delivery_id = $1", made.delivery
    )
    states = {each["message_id"]: each["status"] for each in rows}
    received = sum(status == "received" for status in states.values())
    found = await summary(client, made.delivery, admin)
    assert found["clicks"] == len(people)
    assert found["machine_clicks"] == 400 - len(people)
    assert found["unique_clicks"] == len(clicked)
    assert found["click_through_rate"] == round(len(clicked) / received, 4)
    assert found["doubtful"] == sum(states[id] == "failed" for id in clicked) > 0

    by_link: dict[int, set[int]] = defaultdict(set)
    for each in people:
        by_link[each["link"]].add(each["message_id"])
    links = (await client.get(f"/v1/deliveries/{made.delivery}/links", headers=admin)).json()["items"]
    for link in links:
        own = [each for each in log if each["link"] == link["number"]]
        assert link["clicks"] == sum(each["human"] for each in own)
        assert link["machine_clicks"] == sum(not each["human"] for each in own)
        assert link["unique_clicks"] == len(by_link[link["number"]])

    history = (await client.get(f"/v1/deliveries/{made.delivery}/history?step=1m", headers=admin)).json()["items"]
    assert sum(point["clicks"] for point in history) == len(people)
    per_message = Counter(each["message_id"] for each in people)
    rows = await pool.fetch(
        "SELECT message_id, human FROM message_clicks WHERE delivery_id = $1 AND human > 0", made.delivery
    )
    kept = {each["message_id"]: each["human"] for each in rows}
    assert kept == per_message
    assert await recomputed(pool, made) == 0


async def test_recompute_and_replay_find_and_mend_what_is_wrong_with_clicks(make: Maker, pool: Pool) -> None:
    made = await make(OFFER, messages=3)
    await bring(pool, row(made, 0), row(made, 0), row(made, 1, human=False), row(made, 2))
    await say(pool, made, 2, "failed")
    assert await recomputed(pool, made) == 0
    await pool.execute(
        "UPDATE message_clicks SET human = human + 3, doubtful = true WHERE message_id = $1", made.messages[0]
    )
    await pool.execute("DELETE FROM message_clicks WHERE message_id = $1", made.messages[2])
    await pool.execute(
        "UPDATE counters SET value = value + 5 WHERE delivery_id = $1 AND metric IN ('clicks', 'unique_clicks')",
        made.delivery,
    )
    assert await recomputed(pool, made) >= 2 + 3 * 5
    assert await recomputed(pool, made) == 0
    async with pool.acquire() as connection:
        assert [each.empty async for each in replay(connection, made.delivery)] == [True]
    await pool.execute(
        "UPDATE counters SET value = value + 5 WHERE delivery_id = $1 AND metric = 'history'", made.delivery
    )
    await pool.execute("UPDATE message_clicks SET machine = 9 WHERE message_id = $1", made.messages[0])
    async with pool.acquire() as connection:
        (found,) = [each async for each in replay(connection, made.delivery)]
        assert (found.empty, found.clicks) == (False, 1)
        assert ("history", "clicks") in {(each["metric"], each["label"]) for each in found.counters}
        assert [each.empty async for each in replay(connection, made.delivery)] == [True]
    assert await recomputed(pool, made) == 0


async def test_a_click_that_comes_again_over_the_spool_counts_once(
    client: httpx.AsyncClient, make: Maker, pool: Pool, admin: Headers
) -> None:
    made = await make(OFFER)
    one, other = row(made, 0), row(made, 0)
    spooled = unpack(pack(one))
    assert spooled == one
    await bring(pool, one, one, other)
    await bring(pool, one, other)
    found = await summary(client, made.delivery, admin)
    assert (found["clicks"], found["unique_clicks"]) == (2, 1)
    assert await recomputed(pool, made) == 0


async def test_clicks_on_proofs_are_kept_and_never_count(
    client: httpx.AsyncClient, make: Maker, pool: Pool, admin: Headers
) -> None:
    made = await make(OFFER, proof=True)
    assert (await client.get(made.path(0), headers=PERSON)).status_code == 302
    await applied(pool)
    assert await pool.fetchval("SELECT count(*) FROM clicks WHERE delivery_id = $1", made.delivery) == 1
    found = await summary(client, made.delivery, admin)
    assert (found["clicks"], found["unique_clicks"], found["machine_clicks"]) == (0, 0, 0)
    page = (await client.get(f"/v1/deliveries/{made.delivery}/clicks", headers=admin)).json()
    assert (page["items"], page["total"]) == ([], 0)
    assert await recomputed(pool, made) == 0


async def test_a_click_within_two_seconds_of_the_sending_is_a_machines(make: Maker, pool: Pool) -> None:
    made = await make(OFFER, messages=3, submitted=False)
    sent = datetime.now(UTC) - timedelta(minutes=1)
    async with pool.acquire() as connection, connection.transaction():
        await submit(connection, made.messages, sent)
        await fold(connection, made.messages, datetime.now(UTC))
    seconds = (1.9, 2.0, -1.0)
    await bring(pool, *(row(made, place, at=sent + timedelta(seconds=each)) for place, each in enumerate(seconds)))
    rows = await pool.fetch(
        "SELECT human, reasons FROM clicks WHERE delivery_id = $1 ORDER BY message_id", made.delivery
    )
    assert [tuple(each) for each in rows] == [(False, ["too_soon"]), (True, []), (True, [])]


async def test_clicks_applied_by_many_hands_at_once_count_the_same(make: Maker, pool: Pool) -> None:
    made = await make(OFFER, OFFER, messages=3)
    rows = [row(made, number % 3, link=number % 2, human=number % 5 > 0) for number in range(300)]
    async with pool.acquire() as connection:
        await append(connection, rows)

    async def hand() -> None:
        for _ in range(40):
            await Applier("click", pool, 17).step()

    await asyncio.gather(hand(), hand(), hand())
    await applied(pool)
    assert await pool.fetchval("SELECT count(*) FROM clicks WHERE delivery_id = $1", made.delivery) == 300
    assert await recomputed(pool, made) == 0


async def test_a_click_that_cannot_be_applied_is_set_aside_and_costs_its_neighbours_nothing(
    make: Maker, pool: Pool, client: httpx.AsyncClient, admin: Headers
) -> None:
    made = await make(OFFER, messages=2)
    hands = Applier("click", pool, 100)
    await pool.execute("ALTER TABLE visitors ADD CONSTRAINT poison CHECK (agent <> 'poison')")
    try:
        bad = row(made, 0)._replace(agent="poison")
        async with pool.acquire() as connection:
            await append(connection, [row(made, 0), bad, row(made, 1)])
        await hands.step()
        await applied(pool)
        assert await pool.fetchval("SELECT count(*) FROM clicks WHERE delivery_id = $1", made.delivery) == 2
        (kept,) = (await client.get("/v1/receipts/rejected?kind=click", headers=admin)).json()["items"]
        assert (kept["gateway"], kept["raw"]) == (None, "poison")
    finally:
        await pool.execute("ALTER TABLE visitors DROP CONSTRAINT poison")
    again = await client.post("/v1/receipts/rejected/retry", json={"kind": "click"}, headers=admin)
    assert again.json() == {"read": 1, "still_rejected": 0}
    await applied(pool)
    assert await pool.fetchval("SELECT count(*) FROM clicks WHERE delivery_id = $1", made.delivery) == 3
    said = "SELECT v.agent FROM clicks c JOIN visitors v ON v.id = c.visitor WHERE c.id = $1"
    assert await pool.fetchval(said, bad.id) == "poison"
    assert await recomputed(pool, made) == 0


# --- doubtful --------------------------------------------------------------------------------------------------------


async def doubtful(client: httpx.AsyncClient, made: Made, headers: Headers, query: str = "") -> tuple[list[str], int]:
    page = (await client.get(f"/v1/deliveries/{made.delivery}/messages?doubtful=true{query}", headers=headers)).json()
    assert (await summary(client, made.delivery, headers))["doubtful"] == page["total"] or query
    return [item["id"] for item in page["items"]], page["total"]


async def test_a_click_on_a_message_that_failed_makes_it_doubtful_whichever_came_first(
    client: httpx.AsyncClient, make: Maker, pool: Pool, admin: Headers
) -> None:
    made = await make(OFFER, messages=4)
    await say(pool, made, 0, "failed")
    await bring(pool, row(made, 0), row(made, 1), row(made, 2, human=False), row(made, 3))
    await say(pool, made, 1, "failed")
    await say(pool, made, 2, "failed")
    await say(pool, made, 3, "received")
    first, second = (str(made.messages[place]) for place in (0, 1))
    assert await doubtful(client, made, admin) == ([first, second], 2)
    shown = (await client.get(f"/v1/messages/{first}", headers=admin)).json()
    assert (shown["doubtful"], shown["clicks"], shown["machine_clicks"]) == (True, 1, 0)
    assert await recomputed(pool, made) == 0
    # A receipt that says it came after all settles it.
    await say(pool, made, 0, "received")
    assert await doubtful(client, made, admin) == ([second], 1)
    assert await recomputed(pool, made) == 0


async def test_a_click_on_a_message_without_a_receipt_makes_it_doubtful_from_both_sides(
    client: httpx.AsyncClient, make: Maker, pool: Pool, admin: Headers
) -> None:
    made = await make(OFFER, messages=2, submitted=False)
    async with pool.acquire() as connection, connection.transaction():
        await submit(connection, made.messages, datetime.now(UTC) - timedelta(hours=2))
        await fold(connection, made.messages, datetime.now(UTC))
    await bring(pool, row(made, 0))
    async with pool.acquire() as connection, connection.transaction():
        await expire(connection, datetime.now(UTC))
    await bring(pool, row(made, 1))
    ids = [str(each) for each in made.messages]
    assert await doubtful(client, made, admin) == (ids, 2)
    await say(pool, made, 0, "failed")
    assert await doubtful(client, made, admin) == (ids, 2)
    assert await doubtful(client, made, admin, "&status=failed") == (ids[:1], 1)
    assert await doubtful(client, made, admin, "&status=no_receipt&gateway=links") == (ids[1:], 1)
    assert await doubtful(client, made, admin, "&gateway=-") == ([], 0)
    assert await doubtful(client, made, admin, "&status=received") == ([], 0)
    assert await doubtful(client, made, admin, "&contradictory=true") == ([], 0)
    assert await recomputed(pool, made) == 0


async def test_messages_that_are_not_doubtful_are_the_others(
    client: httpx.AsyncClient, make: Maker, pool: Pool, admin: Headers
) -> None:
    made = await make(OFFER, messages=5)
    for place in (0, 1, 2):
        await say(pool, made, place, "failed")
    await bring(pool, row(made, 1), row(made, 4))
    ids = [str(each) for each in made.messages]
    for query, places in (("", (0, 2, 3, 4)), ("&status=failed", (0, 2)), ("&limit=2", (0, 2))):
        page = (
            await client.get(f"/v1/deliveries/{made.delivery}/messages?doubtful=false{query}", headers=admin)
        ).json()
        assert [item["id"] for item in page["items"]] == [ids[place] for place in places]
        assert page["total"] == (2 if "status" in query else 4)
    address = (await client.get(f"/v1/messages/{ids[1]}", headers=admin)).json()["address"]
    for said, count in (("true", 1), ("false", 0)):
        page = await client.get(
            f"/v1/deliveries/{made.delivery}/messages", params={"doubtful": said, "address": address}, headers=admin
        )
        assert page.json()["total"] == count


# --- judged anew -----------------------------------------------------------------------------------------------------


async def judged_anew(connection: Connection, made: Made, limit: int = 3) -> int:
    """In chunks, as the command does; how many changed sides."""
    last = changed = 0
    while True:
        async with connection.transaction():
            last, some, turned = await store.rejudge(connection, made.delivery, last, limit)
        if not some:
            return changed
        changed += turned


async def test_judging_anew_moves_what_the_verdicts_counted_for(
    client: httpx.AsyncClient, make: Maker, pool: Pool, admin: Headers, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await make(OFFER, OFFER, messages=4)
    await say(pool, made, 0, "failed")
    later = datetime.now(UTC) + timedelta(minutes=2)
    rows = [
        row(made, 0), row(made, 0, link=1), row(made, 1), row(made, 1, human=False), row(made, 1, at=later),
        row(made, 2, human=False), row(made, 3, human=False, link=1),
    ]  # fmt: skip
    await bring(pool, *rows)
    before = await summary(client, made.delivery, admin)
    assert (before["clicks"], before["unique_clicks"], before["machine_clicks"], before["doubtful"]) == (4, 2, 3, 1)

    async with pool.acquire() as connection:
        assert await judged_anew(connection, made) == 0
        assert await summary(client, made.delivery, admin) == before

        # From now on phones are machines, and previews are people.
        def turned(visit: Any) -> Verdict:
            machine = "iPhone" in visit.agent
            return Verdict(human=not machine, reasons=("tool_agent",) if machine else (), device="other")

        monkeypatch.setattr(store, "judge", turned)
        monkeypatch.setattr(store, "RULES_VERSION", RULES_VERSION + 1)
        assert await judged_anew(connection, made) == 7
        assert await judged_anew(connection, made) == 0
    after = await summary(client, made.delivery, admin)
    assert (after["clicks"], after["unique_clicks"], after["machine_clicks"], after["doubtful"]) == (3, 3, 4, 0)
    kept = await pool.fetch(
        "SELECT reasons, device, rules_version FROM clicks WHERE NOT human AND delivery_id = $1", made.delivery
    )
    assert {(tuple(each["reasons"]), each["device"], each["rules_version"]) for each in kept} == {
        (("tool_agent",), "other", RULES_VERSION + 1)
    }
    links = (await client.get(f"/v1/deliveries/{made.delivery}/links", headers=admin)).json()["items"]
    assert [(each["clicks"], each["unique_clicks"], each["machine_clicks"]) for each in links] == [(2, 2, 3), (1, 1, 1)]
    assert await recomputed(pool, made) == 0
    monkeypatch.undo()
    async with pool.acquire() as connection:
        assert await judged_anew(connection, made, 100) == 7
    assert await summary(client, made.delivery, admin) == before
    assert await recomputed(pool, made) == 0


async def test_judging_anew_knows_when_the_message_was_sent(make: Maker, pool: Pool) -> None:
    """The submission was reported late: only now it shows that the click came too soon."""
    made = await make(OFFER, submitted=False)
    at = datetime.now(UTC) - timedelta(minutes=1)
    await bring(pool, row(made, 0, at=at))
    async with pool.acquire() as connection:
        async with connection.transaction():
            await submit(connection, made.messages, at - timedelta(seconds=1))
            await fold(connection, made.messages, datetime.now(UTC))
        assert await judged_anew(connection, made) == 1
    assert await pool.fetchval("SELECT reasons FROM clicks WHERE delivery_id = $1", made.delivery) == ["too_soon"]
    assert await recomputed(pool, made) == 0


# --- what is read ----------------------------------------------------------------------------------------------------


async def test_the_log_is_paged_newest_first_and_filtered(
    client: httpx.AsyncClient, make: Maker, pool: Pool, admin: Headers
) -> None:
    made = await make(OFFER, OFFER, messages=3)
    rows = [row(made, number % 3, link=number % 2, human=number % 4 > 0) for number in range(24)]
    await bring(pool, *rows)
    for query, wanted in (
        ("", rows),
        ("human=true", [each for each in rows if each.human]),
        ("human=false&link=0", [each for each in rows if not each.human and each.link == 0]),
        ("link=1", [each for each in rows if each.link == 1]),
        ("link=2", []),
    ):
        found: list[str] = []
        cursor = ""
        while True:
            url = f"/v1/deliveries/{made.delivery}/clicks?limit=5&{query}{cursor}"
            page = (await client.get(url, headers=admin)).json()
            assert page["total"] == len(wanted)
            found += [item["id"] for item in page["items"]]
            if page["next_cursor"] is None:
                break
            cursor = f"&cursor={page['next_cursor']}"
        assert found == [str(each.id) for each in sorted(wanted, reverse=True)]


async def test_the_log_streams_and_masks(
    client: httpx.AsyncClient, make: Maker, pool: Pool, admin: Headers, key: KeyMaker
) -> None:
    made = await make({"source_url": OFFER, "label": "=Offer"}, messages=2)
    await bring(pool, row(made, 0), row(made, 1, human=False))
    url = f"/v1/deliveries/{made.delivery}/clicks"
    lines = (await client.get(url, headers=admin | {"Accept": "application/x-ndjson"})).text.splitlines()
    first = orjson.loads(lines[0])
    assert (len(lines), first["reasons"], first["network"]) == (2, ["preview_agent"], "203.0.113.0/24")
    table = (await client.get(url, headers=admin | {"Accept": "text/csv"})).text.splitlines()
    assert table[0].split(",")[:3] == ["id", "message_id", "address"]
    assert "'=Offer" in table[1]
    reader = await key("deliveries:read")
    (seen,) = {
        (item["address"][6:9], item["network"]) for item in (await client.get(url, headers=reader)).json()["items"]
    }
    assert seen == ("•••", None)
    assert (await client.get("/v1/deliveries/999999/clicks", headers=admin)).status_code == 404
    assert (await client.get("/v1/deliveries/999999/links", headers=admin)).status_code == 404


async def test_clicks_stand_in_the_timeline_and_change_no_status(
    client: httpx.AsyncClient, make: Maker, pool: Pool, admin: Headers, key: KeyMaker
) -> None:
    made = await make(OFFER)
    await say(pool, made, 0, "failed")
    await bring(pool, row(made, 0), row(made, 0, human=False))
    url = f"/v1/messages/{made.messages[0]}"
    message = (await client.get(url, headers=admin)).json()
    entries = [each for each in message["timeline"] if each["kind"] == "click"]
    assert [(each["human"], each["link"], each["label"], each["reasons"]) for each in entries] == [
        (True, 0, "Link 0", []), (False, 0, "Link 0", ["preview_agent"]),
    ]  # fmt: skip
    assert {each["effect"]["changed"] for each in entries} == {False}
    assert message["timeline"][-1]["effect"]["after"] == message["status"] == "failed"
    assert "doubtful" in entries[0]["rule"]
    hidden = (await client.get(url, headers=await key("deliveries:read"))).json()["timeline"]
    assert {each["network"] for each in hidden if each["kind"] == "click"} == {None}


# --- what is kept of visitors ----------------------------------------------------------------------------------------


async def test_networks_are_forgotten_in_time_and_the_rest_stays(make: Maker, pool: Pool) -> None:
    made = await make(OFFER)
    old = [row(made, 0)._replace(id=new_id() - (number << 20)) for number in (40 * 86_400_000, 31 * 86_400_000)]
    await bring(pool, *old, row(made, 0))
    async with pool.acquire() as connection, connection.transaction():
        looked_at = await store.forget_networks(connection, datetime.now(UTC), days=30)
    assert looked_at in (0, 2)  # the service's own clock may have been there first
    networks = await pool.fetch("SELECT network FROM clicks WHERE delivery_id = $1 ORDER BY id", made.delivery)
    assert [each["network"] for each in networks] == [None, None, "203.0.113.0/24"]
    async with pool.acquire() as connection, connection.transaction():
        assert await store.forget_networks(connection, datetime.now(UTC), days=30) == 0


async def test_header_texts_are_forgotten_in_time_and_no_rule_judges_what_is_left(make: Maker, pool: Pool) -> None:
    made = await make(OFFER, messages=3)
    days = 86_400_000
    old = [row(made, place)._replace(id=new_id() - (days * 400 << 20)) for place in (0, 1)]
    counted: dict[str, Any] = {
        "reasons": ["burst"],
        "human": False,
        "agent": "",
        "visit": {"counted": {"p": 7}},
        "times": 7,
    }
    burst = row(made, 2)._replace(id=new_id() - (days * 400 << 20), **counted)
    await bring(pool, *old, burst, row(made, 2))

    async def step(limit: int) -> int:
        async with pool.acquire() as connection, connection.transaction():
            return await store.forget_header_texts(connection, datetime.now(UTC) - timedelta(days=365), limit)

    while await step(1):
        pass
    rows = await pool.fetch(
        "SELECT visitor, human, times FROM clicks WHERE delivery_id = $1 ORDER BY id", made.delivery
    )
    assert Counter((each["visitor"] is None, each["human"], each["times"]) for each in rows) == {
        (True, True, 1): 2, (True, False, 7): 1, (False, True, 1): 1,
    }  # fmt: skip
    before = await pool.fetch(
        "SELECT * FROM counters WHERE delivery_id = $1 ORDER BY metric, label, bucket", made.delivery
    )
    async with pool.acquire() as connection, connection.transaction():
        _, looked_at, turned = await store.rejudge(connection, made.delivery, 0, 100)
    assert (looked_at, turned) == (1, 0)
    after = await pool.fetch(
        "SELECT * FROM counters WHERE delivery_id = $1 ORDER BY metric, label, bucket", made.delivery
    )
    assert before == after
    assert await step(100) == 0


def test_ids_are_positive_follow_time_and_never_meet() -> None:
    ids = [new_id() for _ in range(100_000)]
    assert all(0 < id < 2**63 for id in ids)
    assert new_id() >> 20 >= ids[0] >> 20
    assert len(set(ids)) == len(ids)


# --- a full queue ----------------------------------------------------------------------------------------------------


async def test_a_full_queue_redirects_all_the_same_and_counts_the_click_as_lost(
    client: httpx.AsyncClient, make: Maker, app: FastAPI, pool: Pool
) -> None:
    made = await make(OFFER)
    queue = app.state.inbox._clicks
    queue.rows += 1_000_000
    try:
        answer = await client.get(made.path(0), headers=PERSON)
    finally:
        queue.rows -= 1_000_000
    assert (answer.status_code, answer.headers["location"]) == (302, OFFER)
    metrics = (await client.get("/metrics")).text
    assert "acuse_clicks_lost_total 1.0" in metrics
    assert await pool.fetchval("SELECT count(*) FROM clicks WHERE delivery_id = $1", made.delivery) == 0


async def test_a_commit_that_takes_long_does_not_hold_up_the_redirect(
    client: httpx.AsyncClient, make: Maker, app: FastAPI, pool: Pool
) -> None:
    made = await make(OFFER)
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE click_inbox IN ACCESS EXCLUSIVE MODE")
        began = time.perf_counter()
        answer = await client.get(made.path(0), headers=PERSON)
        elapsed = time.perf_counter() - began
        await asyncio.sleep(0.05)
    assert (answer.status_code, 0.015 < elapsed < 1.2) == (302, True)
    for _ in range(100):
        if await pool.fetchval("SELECT count(*) FROM clicks WHERE delivery_id = $1", made.delivery):
            break
        await asyncio.sleep(0.05)
    assert await pool.fetchval("SELECT count(*) FROM clicks WHERE delivery_id = $1", made.delivery) == 1
