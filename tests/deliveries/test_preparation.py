"""Preparation: the rules of domain.md §7 in their order and at their thresholds, the books, and who wins."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI

from app.db import Connection, Pool, _leave_as_it_is, _use_orjson, asyncpg_dsn, create_pool
from app.deliveries import kept_away, preparation
from app.deliveries.preparation import POOL_SETTINGS, QUERIES
from app.deliveries.spelt import QUERIES as SPELT
from app.privacy import pseudonyms
from tests.conftest import Headers

from .audience import Delivery, mobile, put_away

NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)
LANDLINE = "+34911234567"
PREMIUM_RATE = "+34803123456"
LONG = {"name": "x" * 200}


@pytest_asyncio.fixture(loop_scope="session")
async def delivery(app: FastAPI, client: httpx.AsyncClient, admin: Headers) -> Delivery:
    return await Delivery.make(app, client, admin)


@asynccontextmanager
async def resting(app: FastAPI, database_url: str) -> AsyncIterator[Pool]:
    """Connections as the preparer has them, while the preparer itself rests: nobody else takes a delivery up."""
    await app.state.preparer.stop()
    pool = await create_pool(database_url, name="tests", size=4, settings=POOL_SETTINGS)
    try:
        yield pool
    finally:
        pool.terminate()
        await app.state.preparer.start()


@pytest_asyncio.fixture(loop_scope="session")
async def preparing(app: FastAPI, database_url: str) -> AsyncIterator[Pool]:
    async with resting(app, database_url) as pool:
        yield pool


async def clear(connection: Connection) -> None:
    await connection.execute("TRUNCATE quarantine, erased")


# --- the rules, in their order ---------------------------------------------------------------------------------------


async def test_the_first_rule_that_matches_gives_the_reason(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers
) -> None:
    """Each target matches its own rule and all that come after it."""
    rules = {"max_messages": 1, "max_parts": 1}
    earlier = await Delivery.make(app, client, admin)
    addresses = [LANDLINE, "+34911234568", "+34911234569", "+34911234560", mobile(1)]
    earlier_rules = {"landlines": "send"}
    assert (await client.patch(earlier.url, json={"rules": earlier_rules}, headers=admin)).status_code == 200
    assert set((await earlier.prepared(addresses)).values()) == {None}
    async with app.state.pool.acquire() as connection:
        await clear(connection)
        for address in addresses[:1]:
            await put_away(connection, address, "denylisted", sender="Acme")
        for address in addresses[:2]:
            await put_away(connection, address, "quarantined")
    one = await Delivery.make(app, client, admin, content="{{name}} STOP", rules=rules)
    rows: list[dict[str, Any]] = [
        {"address": " ", "control": True},
        {"address": "12", "control": True},
        {"address": addresses[0], "control": True},
        {"address": addresses[0], "control": True},
        {"address": addresses[1], "control": True},
        {"address": addresses[2], "control": True},
        {"address": addresses[3]},
        {"address": addresses[4]},
        {"address": mobile(2)},
        {"address": mobile(3), "params": {"name": "short"}},
    ]
    found = await one.prepared([{"params": LONG} | row for row in rows])
    assert list(found.values()) == [
        "address_not_specified", "invalid_address", "denylisted", "double", "quarantined", "control_group",
        "excluded_by_rule", "excluded_by_arbitration", "size_limited", None,
    ]  # fmt: skip


async def test_doubles_are_found_after_normalising_and_the_first_stays(delivery: Delivery) -> None:
    rows = [
        {"address": "+34600000001", "recipient_id": "first"}, {"address": "0034600000001"}, "600 00 00 01",
        "600000002", {"address": "34600000001"},
    ]  # fmt: skip
    found = await delivery.prepared(rows)
    assert found == {1: None, 2: "double", 3: "double", 4: None, 5: "double"}
    items = (await delivery.get("exclusions"))["items"]
    assert {item["text"] for item in items} == {
        "The address stands in the delivery already: target 1 (recipient first) stays."
    }


async def test_doubles_are_found_over_chunks_whatever_became_of_the_first(
    delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparation, "CHUNK", 3)
    async with delivery.app.state.pool.acquire() as connection:
        await put_away(connection, mobile(60_000_071), "quarantined")
    rows = [mobile(60_000_070), mobile(60_000_071), {"address": mobile(60_000_072), "control": True}, "x", "y"]
    found = await delivery.prepared([*rows, *rows, *rows])
    first = {1: None, 2: "quarantined", 3: "control_group", 4: "invalid_address", 5: "invalid_address"}
    assert {position: found[position] for position in first} == first
    later = [found[position] for position in range(6, 16)]
    assert later == ["double", "double", "double", "invalid_address", "invalid_address"] * 2
    items = (await delivery.get("exclusions", reason="double"))["items"]
    assert [item["detail"]["position"] for item in items] == [1, 2, 3, 1, 2, 3]


async def test_an_address_of_another_delivery_or_of_a_proof_is_no_double(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers
) -> None:
    one, other = [await Delivery.make(app, client, admin) for _ in range(2)]
    assert (
        await client.post(f"{one.url}/proofs", json={"addresses": [{"address": mobile(5)}]}, headers=admin)
    ).status_code == 201
    assert await other.prepared([mobile(5)]) == {1: None}
    assert await one.prepared([mobile(5)]) == {1: None}


@pytest.mark.parametrize(
    ("status", "sender", "expected"),
    [
        ("with_errors", "", None),
        ("quarantined", "", "quarantined"),
        ("denylisted", "", "denylisted"),
        ("quarantined", "Acme", "quarantined"),
        ("denylisted", "Acme", "denylisted"),
        ("quarantined", "Other", None),
        ("denylisted", "Other", None),
    ],
)
async def test_the_quarantine_counts_for_everybody_or_for_its_sender(
    delivery: Delivery, status: str, sender: str, expected: str | None
) -> None:
    async with delivery.app.state.pool.acquire() as connection:
        await clear(connection)
        await put_away(connection, mobile(60_000_009), status, sender=sender)
    assert await delivery.prepared([mobile(60_000_009)]) == {1: expected}


async def test_what_is_known_of_an_erased_number_still_keeps_it_away(delivery: Delivery) -> None:
    async with delivery.app.state.pool.acquire() as connection:
        await clear(connection)
        pseudonym = (await pseudonyms.load(connection)).of(mobile(60_000_011))
        await put_away(connection, pseudonym, "denylisted")
        await connection.execute(
            "INSERT INTO erased (pseudonym, erased_at, certificate) VALUES ($1, now(), '{}')", pseudonym
        )
    assert await delivery.prepared([mobile(60_000_010), mobile(60_000_011), mobile(60_000_012)]) == {
        1: None,
        2: "denylisted",
        3: None,
    }
    async with delivery.app.state.pool.acquire() as connection:
        await clear(connection)


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({}, [None, "excluded_by_rule", "excluded_by_rule", None]),
        ({"landlines": "send"}, [None, None, "excluded_by_rule", None]),
        ({"premium_rate": "send"}, [None, "excluded_by_rule", None, None]),
        ({"landlines": "send", "premium_rate": "send"}, [None, None, None, None]),
        ({"countries": {"only": ["ES"]}}, [None, "excluded_by_rule", "excluded_by_rule", "excluded_by_rule"]),
        ({"landlines": "send", "countries": {"except": ["ES"]}}, ["excluded_by_rule"] * 3 + [None]),
    ],
)
async def test_the_numbers_rules(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers, rules: dict[str, Any], expected: list[str | None]
) -> None:
    one = await Delivery.make(app, client, admin, rules=rules)
    found = await one.prepared([mobile(20), LANDLINE, PREMIUM_RATE, "+33612345678"])
    assert list(found.values()) == expected


@pytest.mark.parametrize(
    "rules",
    [
        {"landlines": "maybe"}, {"countries": {}}, {"countries": {"only": ["ES"], "except": ["FR"]}},
        {"countries": {"only": []}}, {"countries": {"only": ["XX"]}}, {"max_messages": 0}, {"max_messages": "3"},
        {"max_messages_days": 0}, {"max_messages_days": 367}, {"control_share": 0.51}, {"control_share": -0.1},
        {"max_parts": 0}, {"max_parts": 256}, {"colour": "red"}, None, [],
    ],
)  # fmt: skip
async def test_rules_that_cannot_be_are_refused(client: httpx.AsyncClient, admin: Headers, rules: Any) -> None:
    body = {"label": "x", "sender": "Acme", "rules": rules}
    assert (await client.post("/v1/deliveries", json=body, headers=admin)).status_code == 422


async def test_rules_are_changed_as_a_whole_and_what_changed_is_in_the_journal(
    delivery: Delivery, client: httpx.AsyncClient, admin: Headers
) -> None:
    await client.patch(delivery.url, json={"rules": {"max_parts": 2}}, headers=admin)
    answer = await client.patch(delivery.url, json={"rules": {"countries": {"except": ["FR"]}}}, headers=admin)
    assert (answer.json()["rules"]["max_parts"], answer.json()["rules"]["countries"]) == (
        None, {"only": None, "except": ["FR"]},
    )  # fmt: skip
    assert (await delivery.journal("DLV-EDITED"))[-1]["data"]["changes"]["rules"]["old"]["max_parts"] == 2
    assert (await client.patch(delivery.url, json={"rules": None}, headers=admin)).status_code == 422


async def test_the_control_share_is_random_and_the_same_each_time(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers
) -> None:
    one, other = [await Delivery.make(app, client, admin, rules={"control_share": 0.2}) for _ in range(2)]
    audience = [mobile(1_000 + number) for number in range(4_000)]
    first = await one.prepared(audience)
    drawn = {position for position, reason in first.items() if reason == "control_group"}
    assert 700 < len(drawn) < 900  # 800 ± 4 standard deviations
    await one.prepare()
    assert await one.outcomes() == first
    elsewhere = {position for position, reason in (await other.prepared(audience)).items() if reason}
    assert 90 < len(drawn & elsewhere) < 240, "two deliveries do not draw the same"


# --- arbitration, at its thresholds ----------------------------------------------------------------------------------


async def sent_before(
    connection: Connection, address: str, at: datetime, *, status: str, delivery_status: str, proof: bool
) -> None:
    """A message of another delivery, as the fold would leave it."""
    delivery = await connection.fetchval(
        "INSERT INTO deliveries (label, sender, validity_seconds, tracking, metadata, status, created_at, updated_at) "
        "VALUES ('Earlier', 'Acme', 302400, true, '{}', $1, $2, $2) RETURNING id",
        delivery_status, at,
    )  # fmt: skip
    id = await connection.fetchval(
        "INSERT INTO messages (delivery_id, address, proof, created_at) VALUES ($1, $2, $3, $4) RETURNING id",
        delivery, address, proof, at - timedelta(days=100),
    )  # fmt: skip
    await connection.execute(
        "INSERT INTO message_state (message_id, delivery_id, proof, status, occurred_at, updated_at, submitted_at, parts, "
        "parts_received, contradictory, unknown_receipts) VALUES ($1, $2, $3, $4::message_status, $5, $5, "
        "CASE WHEN $4::message_status > 'cancelled' THEN $5::timestamptz END, 1, 0, false, 0)",
        id, delivery, proof, status, at,
    )  # fmt: skip


SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("ages", "status", "delivery_status", "proof", "expected"),
    [
        ([timedelta(days=1)] * 2, "received", "finished", False, None),
        ([timedelta(days=1)] * 3, "received", "finished", False, "excluded_by_arbitration"),
        ([timedelta(days=1)] * 4, "failed", "finished", False, "excluded_by_arbitration"),
        ([timedelta(days=7) - SECOND] * 3, "submitted", "in_progress", False, "excluded_by_arbitration"),
        ([timedelta(days=7)] * 3, "submitted", "in_progress", False, None),
        ([timedelta(days=7) + SECOND] * 3, "submitted", "in_progress", False, None),
        ([timedelta(days=1)] * 3, "cancelled", "cancelled", False, None),
        ([timedelta(days=1)] * 3, "received", "finished", True, None),
        ([timedelta(days=1)] * 3, "pending", "in_progress", False, "excluded_by_arbitration"),
        ([timedelta(days=1)] * 3, "pending", "prepared", False, "excluded_by_arbitration"),
        ([timedelta(days=1)] * 3, "pending", "editing", False, None),
        ([timedelta(days=1)] * 3, "pending", "failed", False, None),
    ],
)
async def test_more_messages_than_allowed_in_so_many_days(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers, preparing: Pool,
    ages: list[timedelta], status: str, delivery_status: str, proof: bool, expected: str | None,
) -> None:  # fmt: skip
    """At most three in seven days, this one included: two before are fine, three are not."""
    one = await Delivery.make(app, client, admin, rules={"max_messages": 3, "max_messages_days": 7})
    address = mobile(30_000_000 + one.id)
    await one.upload([address, mobile(31_000_000 + one.id)])
    async with preparing.acquire() as connection:
        for age in ages:
            await sent_before(
                connection, address, NOW - age, status=status, delivery_status=delivery_status, proof=proof
            )
    await one.begin(NOW)
    assert await preparation.prepare(preparing, one.id)
    assert await one.outcomes() == {1: expected, 2: None}
    if expected:
        (item,) = (await one.get("exclusions"))["items"]
        assert item["text"] == (
            f"The address has {len(ages)} messages of other deliveries in 7 days; the delivery allows 3, its own included."
        )


# --- the size --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "limit", "expected"),
    [(160, 1, None), (161, 1, "size_limited"), (306, 2, None), (307, 2, "size_limited")],
)
async def test_a_text_over_the_delivery_s_size_is_left_out(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers, length: int, limit: int, expected: str | None
) -> None:
    one = await Delivery.make(app, client, admin, content="{{text}}", rules={"max_parts": limit})
    rows = [{"address": mobile(1), "params": {"text": "x" * length}}, {"address": mobile(2), "params": {"text": "x"}}]
    assert await one.prepared(rows) == {1: expected, 2: None}
    fixed = await Delivery.make(app, client, admin, content="x" * length, rules={"max_parts": limit})
    assert await fixed.prepared([mobile(1)]) == {1: expected}


# --- what is found in the text ---------------------------------------------------------------------------------------


async def test_a_missing_param_is_an_error_that_names_targets_and_leaves_them_messages(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers
) -> None:
    one = await Delivery.make(app, client, admin, content="Hello {{name}}, STOP")
    rows = [{"address": mobile(number), "params": {"name": "Ana"} if number % 3 else {}} for number in range(30)]
    rows.append({"address": mobile(0)})  # a double without its param disturbs nobody
    found = await one.prepared(rows)
    assert list(found.values()) == [*[None] * 30, "double"]
    findings = (await one.get())["preparation"]["findings"]
    (missing,) = [finding for finding in findings if finding["level"] == "error"]
    assert missing["code"] == "placeholder_missing"
    assert missing["data"] == {"placeholder": "name", "count": 10, "positions": list(range(1, 31, 3))}
    assert (await one.post("start")).status_code == 409
    assert "error" in {entry["level"] for entry in await one.journal("DLV-FINDING")}


async def test_a_delivery_without_a_text_is_prepared_and_does_not_start(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers
) -> None:
    one = await Delivery.make(app, client, admin, content=None)
    assert await one.prepared([mobile(1)]) == {1: None}
    assert (await one.post("start")).status_code == 409


async def test_the_parts_are_those_of_the_longest_possible_text(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers
) -> None:
    one = await Delivery.make(app, client, admin, content="{{a}}{{b}} STOP")
    rows = [
        {"address": mobile(1), "params": {"a": "x" * 100, "b": "y"}},
        {"address": mobile(2), "params": {"a": "x", "b": "y" * 100}},
        {"address": mobile(3), "params": {"a": "á", "b": "y"}},
    ]
    await one.prepared(rows)
    preparation = (await one.get())["preparation"]
    parts = next(finding for finding in preparation["findings"] if finding["code"] == "parts")
    # One á makes it UCS-2, whatever else stands there: 106 of these are dearer than 205 in GSM-7.
    assert (parts["data"]["encoding"], parts["data"]["units"]) == ("ucs2", 106)
    assert preparation["parts"] == 3, "what is really sent"
    await one.upload([{"address": mobile(4), "params": {"a": "á" * 60, "b": "y"}}])
    parts = next(finding for finding in (await one.prepare())["preparation"]["findings"] if finding["code"] == "parts")
    assert (parts["data"]["encoding"], parts["data"]["units"]) == ("ucs2", 165)


# --- preparing, and preparing again ----------------------------------------------------------------------------------


async def test_every_step_is_in_the_journal_with_count_and_duration(delivery: Delivery) -> None:
    await delivery.prepared([mobile(1), mobile(1), "x"])
    steps = {entry["data"]["step"]: entry["data"] for entry in await delivery.journal("DLV-PREPARATION-STEP")}
    assert {name: step["count"] for name, step in steps.items()} == {
        "numbers": 3, "rules": 3, "texts": 3, "outcomes": 3, "content": 1,
    }  # fmt: skip
    assert all(step["seconds"] >= 0 for step in steps.values())
    (causes,) = await delivery.journal("DLV-EXCLUSIONS")
    assert causes["data"] == {"causes": {"invalid_address": 1, "double": 1}}
    (begun,), (done,) = await delivery.journal("DLV-PREPARING"), await delivery.journal("DLV-PREPARED")
    assert begun["data"] == {"targets": 3}
    assert {name: done["data"][name] for name in ("targets", "messages", "excluded", "parts")} == {
        "targets": 3, "messages": 1, "excluded": 2, "parts": 1,
    }  # fmt: skip


async def test_message_ids_follow_the_audience_in_one_block(delivery: Delivery) -> None:
    await delivery.prepared([mobile(1), "x", mobile(2), mobile(3)])
    async with delivery.app.state.pool.acquire() as connection:
        rows = await connection.fetch(
            "SELECT id, position FROM messages WHERE delivery_id = $1 ORDER BY id", delivery.id
        )
    first = rows[0]["id"]
    assert [(row["id"], row["position"]) for row in rows] == [(first, 1), (first + 2, 3), (first + 3, 4)]


async def test_preparing_again_after_a_change_gives_a_fresh_result(
    delivery: Delivery, client: httpx.AsyncClient, admin: Headers
) -> None:
    await delivery.prepared([*map(mobile, range(50)), LANDLINE, "x"])
    first = (await delivery.get())["preparation"]
    await client.patch(delivery.url, json={"rules": {"landlines": "send"}, "default_region": "FR"}, headers=admin)
    assert (await delivery.get("summary"))["excluded"] == 2, "the former result stands until the next"
    await delivery.upload([*map(mobile, range(25, 75)), LANDLINE], mode="replace")
    assert set((await delivery.prepared([mobile(0)])).values()) == {None}
    assert (await delivery.get("exclusions"))["items"] == []
    again = (await delivery.get())["preparation"]
    assert again["started_at"] > first["started_at"]
    assert again["steps"]["discarding"]["count"] == 52


async def test_preparing_again_leaves_proofs_as_they_are(
    delivery: Delivery, client: httpx.AsyncClient, admin: Headers
) -> None:
    await delivery.prepared([mobile(1)])
    answer = await client.post(f"{delivery.url}/proofs", json={"addresses": [{"address": mobile(2)}]}, headers=admin)
    assert answer.status_code == 201, answer.text
    await delivery.prepare()
    assert (await delivery.get("proofs"))["total"] == 1
    await delivery.books_balance()


async def test_a_change_of_gateway_leaves_what_was_prepared_and_no_drift(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers
) -> None:
    for key in ("one", "two"):
        body = {"key": key, "kind": "generic", "auth": {"mode": "none"}}
        assert (await client.post("/v1/gateways", json=body, headers=admin)).status_code == 201
    delivery = await Delivery.make(app, client, admin, gateway="one")
    await delivery.prepared([mobile(1), mobile(2)])
    await client.patch(delivery.url, json={"gateway": "two", "validity_seconds": 60}, headers=admin)
    assert (await delivery.get("summary"))["by_gateway"] == {"one": {"pending": 2}}
    await delivery.books_balance()
    await delivery.prepare()
    assert (await delivery.get("summary"))["by_gateway"] == {"two": {"pending": 2}}
    await delivery.books_balance()


async def test_the_progress_is_shown_while_it_is_prepared(delivery: Delivery, preparing: Pool) -> None:
    await delivery.upload([mobile(1), mobile(2)])
    answer = await delivery.post("prepare?wait=0.2")
    assert answer.status_code == 202
    assert (answer.json()["status"], answer.json()["progress"]) == ("preparing", {"done": 0, "total": 2})
    assert answer.json()["preparation"] is None
    assert await preparation.prepare(preparing, delivery.id)
    found = await delivery.get()
    assert (found["status"], found["progress"], found["preparation"]["messages"]) == ("prepared", None, 2)


# --- who wins --------------------------------------------------------------------------------------------------------


async def test_what_cannot_be_prepared_is_told_why(delivery: Delivery) -> None:
    assert "no targets" in (await delivery.post("prepare")).json()["detail"]
    await delivery.upload([mobile(1)])
    for status in ("preparing", "in_progress", "finished", "cancelled", "failed"):
        await delivery.set_status(status)
        answer = await delivery.post("prepare")
        assert answer.status_code == 409
    assert (await delivery.post("prepare?wait=61")).status_code == 422
    delivery.url = "/v1/deliveries/999999"
    assert (await delivery.post("prepare")).status_code == 404


async def test_prepare_upload_edit_and_cancel_at_once_have_one_winner_and_no_half_state(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparation, "CHUNK", 50)
    statuses: Counter[str] = Counter()
    for number in range(12):
        one = await Delivery.make(app, client, admin)
        await one.upload([mobile(number * 1_000 + each) for each in range(300)])
        more = [mobile(900_000 + each) for each in range(100)]
        answers = await asyncio.gather(
            one.post("prepare?wait=30"), one.post("prepare?wait=30"), one.upload(more),
            client.patch(one.url, json={"label": "Edited"}, headers=admin),
            *([one.post("cancel")] if number % 3 == 0 else []),
        )  # fmt: skip
        assert {answer.status_code for answer in answers} <= {200, 202, 409}, [a.text for a in answers]
        assert [answer.status_code for answer in answers[:2]].count(202) <= 1 or (await one.get())[
            "status"
        ] != "preparing"
        found = await one.get()
        statuses[found["status"]] += 1
        if found["status"] == "prepared":
            await one.books_balance()
        recomputed = (await one.post("recompute")).json()
        assert recomputed["drift"] == 0
    assert statuses["preparing"] == 0


async def test_a_cancelled_preparation_stops_and_leaves_nothing_pending(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers, preparing: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparation, "CHUNK", 100)
    one = await Delivery.make(app, client, admin)
    await one.upload([mobile(each) for each in range(5_000)])
    await one.begin(datetime.now(UTC))
    work = asyncio.create_task(preparation.prepare(preparing, one.id))
    for _ in range(1_000):
        if (await one.get())["progress"]["done"] >= 300:
            break
        await asyncio.sleep(0.01)
    assert (await one.post("cancel")).status_code == 200
    with pytest.raises(preparation.Stopped):
        await work
    summary = await one.get("summary")
    assert summary["by_status"]["pending"] == 0
    assert summary["cancelled"] > 0
    assert (await one.post("recompute")).json()["drift"] == 0


async def test_two_processes_do_not_prepare_the_same_delivery(delivery: Delivery, preparing: Pool) -> None:
    await delivery.upload([mobile(1)])
    await delivery.begin(datetime.now(UTC))
    async with preparing.acquire() as connection:
        await connection.fetchval(QUERIES["lock_preparation"], delivery.id)
        assert not await preparation.prepare(preparing, delivery.id)
        await connection.fetchval(QUERIES["unlock_preparation"], delivery.id)
    assert await preparation.prepare(preparing, delivery.id)


# --- killed ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_broken_off_between_any_two_statements_it_goes_on_and_each_target_has_one_outcome(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the first statement, after the second, and so on, until it is not broken off any more."""
    monkeypatch.setattr(preparation, "CHUNK", 4)
    monkeypatch.setattr(preparation, "_DISCARD_CHUNK", 5)
    one = await Delivery.make(app, client, admin, content="Hello {{name}}, STOP")
    rows = [*map(mobile, range(6)), mobile(2), "x", "", *map(mobile, range(3, 9))]
    expected = await one.prepared([{"address": row, "params": {"name": "Ana"}} for row in rows])
    figures = (await one.get())["preparation"]
    async with resting(app, database_url) as pool:
        for number in range(1, 400):
            await one.begin(datetime.now(UTC))
            finished = await _broken_off_after(number, one.id, database_url)
            if not finished:
                await _to_the_end(pool, one.id)
            assert await one.outcomes() == expected
            again = (await one.get())["preparation"]
            assert {name: again[name] for name in ("messages", "excluded", "parts")} == {
                name: figures[name] for name in ("messages", "excluded", "parts")
            }
            if finished:
                break
    assert finished
    assert number > 40
    await one.books_balance()


async def _to_the_end(pool: Pool, id: int) -> None:
    """As the preparer goes on with it: until what was broken off has let go, and there is nothing left to do."""
    for _ in range(500):
        try:
            if await preparation.prepare(pool, id):
                return
        except preparation.Stopped:  # the last commit had gone through
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it is held for ever")


async def _broken_off_after(statements: int, id: int, database_url: str) -> bool:
    """Prepares until so many statements were sent. True when it came to its end before that."""
    count = 0

    def counted(record: Any) -> None:
        nonlocal count
        count += 1
        if count == statements:
            work.cancel()

    async def listen(connection: Any) -> None:
        await _use_orjson(connection)
        connection.add_query_logger(counted)

    pool = await asyncpg.create_pool(
        asyncpg_dsn(database_url), min_size=0, max_size=2, init=listen, reset=_leave_as_it_is,
        server_settings=POOL_SETTINGS,
    )  # fmt: skip
    work = asyncio.create_task(preparation.prepare(pool, id))
    try:
        return await work
    except asyncio.CancelledError:
        return False
    finally:
        pool.terminate()


@pytest.mark.parametrize("denylisted", ["+2414123456", "+24104123456"])
async def test_of_what_stands_in_other_spellings_the_stricter_word_is_the_reason(
    delivery: Delivery, denylisted: str
) -> None:
    async with delivery.app.state.pool.acquire() as connection:
        await connection.execute("DELETE FROM quarantine WHERE address LIKE '+241%'")
        for address in ("+2414123456", "+24104123456"):
            await put_away(connection, address, "denylisted" if address == denylisted else "quarantined")
    assert await delivery.prepared(["+24174123456"]) == {1: "denylisted"}


# --- the plan --------------------------------------------------------------------------------------------------------


async def test_a_chunk_is_decided_by_index_however_large_the_tables(delivery: Delivery, database_url: str) -> None:
    await delivery.prepared([mobile(number) for number in range(3_000)])
    count = 500
    values: tuple[Any, ...] = (
        delivery.id, NOW, 10**9, None, "Acme", 3, 7, NOW, list(range(10**6, 10**6 + count)),
        [mobile(50_000_000 + number) for number in range(count)], [None] * count, [], [None] * count, [None] * count,
        [None] * count, [1] * count, [None] * count,
    )  # fmt: skip
    async with resting(delivery.app, database_url) as pool, pool.acquire() as connection:
        await connection.execute(
            "INSERT INTO quarantine (address, sender, status, reason, origin, errors, since, updated_at) "
            "SELECT '+3499' || n, '', 'quarantined', 'user_unknown', 'import', 0, now(), now() FROM generate_series(1, 3000) n"
        )
        await connection.execute("ANALYZE messages, message_state, exclusions, quarantine")
        plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {QUERIES['decide_outcomes']}", *values))
        names = values[9]
        of_spellings = {
            SPELT["list_standing"]: (delivery.id, names),
            kept_away.QUERIES["find_kept_away"]: (names, "Acme"),
            SPELT["count_messages"]: (delivery.id, names, NOW),
        }
        for query, asked in of_spellings.items():
            plan += "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {query}", *asked))
    assert "Seq Scan" not in plan
    for index in ("ix_messages_address_delivery_id", "ix_exclusions_address", "pk_quarantine"):
        assert index in plan
