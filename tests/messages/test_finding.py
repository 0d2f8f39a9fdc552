"""A message is found by what others call it, in one call, with what became of it; and a delivery's list by the same."""

import csv
import io
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.messages import names
from tests.conftest import Headers, KeyMaker
from tests.deliveries.sending import Sending
from tests.ingest.test_roads import until
from tests.messages.test_reading import nodes

FIRST, SECOND = "+34600111001", "+34600111002"


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Two deliveries sent elsewhere through two gateways, and one sent from here; `ids`: messages by a name of ours."""

    elsewhere: Sending
    other: Sending
    here: Sending
    ids: Mapping[str, str]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def world(app: FastAPI, client: httpx.AsyncClient, admin: Headers) -> World:
    elsewhere = await Sending.make(app, client, admin, content=None)
    other = await Sending.make(app, client, admin, content=None)
    here = await Sending.make(app, client, admin)
    assert (
        await client.patch(
            f"/v1/gateways/{other.key}",
            json={"options": {"submission_id_format": "hexadecimal", "receipt_id_format": "decimal"}},
            headers=admin,
        )
    ).status_code == 200
    rows = [
        {"address": FIRST, "reference": "order-7", "recipient_id": "c-1", "provider_message_id": "SM1"},
        {"address": SECOND, "recipient_id": "c-2", "provider_message_ids": ["SM2", "SM3"]},
    ]
    assert (await elsewhere.post("messages", rows)).json()["accepted"] == 2
    again = [{"address": FIRST, "reference": "order-7", "recipient_id": "c-1", "provider_message_id": "1F"}]
    assert (await other.post("messages", again)).json()["accepted"] == 1
    (own,) = await here.started(1)
    await elsewhere.callback({"provider_message_id": "SM1", "status": "UNDELIV", "error_code": "069"})

    async def statuses() -> list[str]:
        return await elsewhere.statuses()

    await until(statuses, lambda found: found == ["failed", "accepted"])
    first, second = [each["id"] for each in (await elsewhere.get("messages"))["items"]]
    (third,) = [each["id"] for each in (await other.get("messages"))["items"]]
    ids = {"first": first, "second": second, "third": third, "own": str(own)}
    return World(elsewhere=elsewhere, other=other, here=here, ids=ids)


async def found(client: httpx.AsyncClient, headers: Headers, **params: str) -> list[dict[str, Any]]:
    answer = await client.get("/v1/messages", params=params, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.json()["total"] == len(answer.json()["items"])
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


@pytest.mark.parametrize(
    ("params", "who"),
    [
        ({"reference": "order-7"}, ["third", "first"]),
        ({"recipient_id": "c-1"}, ["third", "first"]),
        ({"recipient_id": "c-2"}, ["second"]),
        ({"provider_message_id": "SM1"}, ["first"]),
        ({"provider_message_id": "SM3"}, ["second"]),
        ({"provider_message_id": "1F"}, ["third"]),  # as the submission wrote it
        ({"provider_message_id": "31"}, ["third"]),  # as receipts write it
        ({"provider_message_id": "001f"}, ["third"]),
        ({"address": FIRST}, ["third", "first"]),
        ({"address": "+34 600 111 001"}, ["third", "first"]),
        ({"address": "600111001", "region": "ES"}, ["third", "first"]),
        ({"address": FIRST, "provider_message_id": "SM1"}, ["first"]),
        ({"address": SECOND, "reference": "order-7"}, []),
        ({"reference": "nobody"}, []),
        ({"provider_message_id": "SM"}, []),
    ],
)
async def test_a_message_is_found_by_each_of_its_names(
    client: httpx.AsyncClient, admin: Headers, world: World, params: dict[str, str], who: list[str]
) -> None:
    assert [each["id"] for each in await found(client, admin, **params)] == [world.ids[name] for name in who]


async def test_a_message_that_is_sent_from_here_is_found_by_our_reference(
    client: httpx.AsyncClient, admin: Headers, world: World
) -> None:
    (item,) = await found(client, admin, reference=f"acuse-{world.ids['own']}")
    assert (item["id"], item["delivery_id"], item["proof"]) == (world.ids["own"], str(world.here.id), False)


async def test_what_is_found_says_why_and_leads_to_its_timeline(
    client: httpx.AsyncClient, admin: Headers, world: World
) -> None:
    (item,) = await found(client, admin, provider_message_id="SM1")
    assert (item["status"], item["error"].split()[-1]) == ("failed", "069")
    assert item["reason"]
    assert item["text"]
    assert item["delivery_label"] == world.elsewhere.key
    assert (await client.get(item["timeline"], headers=admin)).json()["id"] == item["id"]


async def test_pages_and_streams_go_through_all(client: httpx.AsyncClient, admin: Headers, world: World) -> None:
    first = (await client.get("/v1/messages?reference=order-7&limit=1", headers=admin)).json()
    assert ([each["id"] for each in first["items"]], first["total"]) == ([world.ids["third"]], 2)
    url = f"/v1/messages?reference=order-7&limit=1&cursor={first['next_cursor']}"
    second = (await client.get(url, headers=admin)).json()
    assert ([each["id"] for each in second["items"]], second["next_cursor"]) == ([world.ids["first"]], None)
    table = await client.get("/v1/messages?reference=order-7", headers=admin | {"Accept": "text/csv"})
    assert [row["id"] for row in csv.DictReader(io.StringIO(table.text))] == [world.ids["third"], world.ids["first"]]


@pytest.mark.parametrize(
    ("params", "pointer"),
    [
        ({}, "?reference"),
        ({"region": "ES"}, "?region"),
        ({"address": "600111001"}, "?address"),
        ({"address": "nobody"}, "?address"),
        ({"address": FIRST, "region": "es"}, "?region"),
        ({"reference": ""}, "?reference"),
        ({"status": "failed"}, "?status"),
    ],
)
async def test_a_question_that_makes_no_sense_is_refused(
    client: httpx.AsyncClient, admin: Headers, params: dict[str, str], pointer: str
) -> None:
    answer = await client.get("/v1/messages", params=params, headers=admin)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer


async def test_asking_by_what_could_be_a_number_needs_the_scope(
    client: httpx.AsyncClient, key: KeyMaker, world: World
) -> None:
    reader = await key("deliveries:read")
    for params in (
        {"address": FIRST},
        {"reference": FIRST[1:]},
        {"recipient_id": FIRST},
        {"provider_message_id": FIRST[1:]},
    ):
        for url in ("/v1/messages", f"{world.elsewhere.url}/messages"):
            assert (await client.get(url, params=params, headers=reader)).status_code == 403
    (item, *_) = await found(client, reader, reference="order-7")
    assert (item["address"], item["recipient_id"], item["reference"]) == ("+34600•••001", "•••", "•••")
    assert item["timeline"] == f"/v1/messages/{item['id']}"


@pytest.mark.parametrize(
    ("params", "who"),
    [
        ({"reference": "order-7"}, ["first"]),
        ({"recipient_id": "c-2"}, ["second"]),
        ({"provider_message_id": "SM2"}, ["second"]),
        ({"provider_message_id": "1F"}, []),
        ({"address": "600111002", "region": "ES"}, ["second"]),
        ({"address": FIRST, "status": "received"}, []),
        ({"reference": "order-7", "error_code": "069"}, ["first"]),
        ({"error_code": "069"}, ["first"]),
        ({"error_code": "069,070"}, ["first"]),
        ({"error_code": "070"}, []),
        ({"occurred_after": "2020-01-01T00:00:00Z"}, ["first", "second"]),
        ({"occurred_before": "2020-01-01T00:00:00Z"}, []),
        ({"occurred_after": "2020-01-01T00:00:00Z", "error_code": "069"}, ["first"]),
        ({"occurred_after": "2020-01-01T00:00:00Z", "contradictory": "true"}, []),
        ({"occurred_after": "2020-01-01T00:00:00Z", "doubtful": "true"}, []),
        ({"occurred_after": "2020-01-01T00:00:00Z", "status": "accepted", "gateway": "-"}, []),
        ({"occurred_before": "2020-01-01T00:00:00Z", "reference": "order-7"}, []),
    ],
)
async def test_a_deliverys_list_takes_the_same_names_and_error_code_and_time(
    client: httpx.AsyncClient, admin: Headers, world: World, params: dict[str, str], who: list[str]
) -> None:
    page = (await client.get(f"{world.elsewhere.url}/messages", params=params, headers=admin)).json()
    assert [each["id"] for each in page["items"]] == [world.ids[name] for name in who]
    assert page["total"] == len(who)


async def test_an_erased_message_is_still_found_by_whoever_knows_its_names(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers
) -> None:
    one = await Sending.make(app, client, admin, content=None)
    row = {"address": "+34600111009", "reference": "gone-1", "provider_message_id": "GONE34600111009"}
    assert (await one.post("messages", [row])).json()["accepted"] == 1
    (id,) = [each["id"] for each in (await one.get("messages"))["items"]]
    erased = await client.delete("/v1/addresses/%2B34600111009?reason=a+request", headers=admin)
    assert erased.status_code == 200, erased.text
    for params in (
        {"address": "+34600111009"}, {"reference": "gone-1"}, {"provider_message_id": "GONE34600111009"},
        {"address": erased.json()["pseudonym"]},
    ):  # fmt: skip
        (item,) = await found(client, admin, **params)
        assert (item["id"], "34600111009" in str(item)) == (id, False)


# --- among millions --------------------------------------------------------------------------------------------------

LARGE = 60_000


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def connection(engine: AsyncEngine, world: World) -> AsyncIterator[AsyncConnection]:
    """Many messages of others beside, and statistics that say so."""
    async with engine.begin() as connection:
        await connection.execute(
            text(
                "INSERT INTO messages (id, delivery_id, address, recipient_id, created_at) "
                "SELECT 10000000 + n, :delivery, '+34611' || lpad(n::text, 6, '0'), 'r-' || n, now() "
                "FROM generate_series(1, :many) n"
            ),
            {"delivery": world.here.id, "many": LARGE},
        )
        await connection.execute(text("SELECT brin_summarize_new_values('ix_messages_recipient_id')"))
        await connection.execute(text("ANALYZE messages"))
    async with engine.connect() as connection:
        yield connection


@pytest.mark.parametrize(
    ("query", "values"),
    [
        (names.BY_ADDRESS, {"addresses": [FIRST], "limit": 100}),
        (names.BY_RECIPIENT, {"recipient_id": "r-31415", "limit": 100}),
        (names.BY_KEYS, {"kind": "id", "gateways": [1, 2], "names": ["SM1", "SM1"]}),
        (names.OURS, {"id": 10_000_007}),
    ],
)
@pytest.mark.parametrize("of_one", [False, True])
async def test_no_question_reads_all_messages(
    connection: AsyncConnection, world: World, query: Any, values: Mapping[str, Any], of_one: bool
) -> None:
    values = {**values, "delivery": world.here.id if of_one else None}
    if query is names.BY_RECIPIENT:
        await connection.execute(text("SET LOCAL enable_seqscan = off"))
    explained = text(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query.text}")
    plan = (await connection.execute(explained, values)).scalar_one()
    await connection.rollback()
    for node in nodes(plan[0]["Plan"]):
        assert node["Node Type"] != "Seq Scan" or node.get("Relation Name") == "gateways", node
        assert node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0) <= LARGE / 5, node
