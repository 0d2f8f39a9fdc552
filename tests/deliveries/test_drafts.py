"""A copy of a delivery, and a draft that is given up."""

import asyncio
from typing import Any, get_args

import httpx
import pytest
from fastapi import FastAPI

from app.deliveries import lifecycle
from tests.conftest import Headers, KeyMaker

from .audience import Delivery, mobile
from .sending import make_gateway

RULES = {"max_parts": 3, "landlines": "send"}


@pytest.fixture
async def one(app: FastAPI, client: httpx.AsyncClient, admin: Headers) -> Delivery:
    fields = {
        "label": "Sale", "content": "Hello {{name|you}}, https://shop.example/offer STOP", "metadata": {"order": 7},
        "gateway": await make_gateway(client, admin), "validity_seconds": 7_200, "rules": RULES,
    }  # fmt: skip
    made = await Delivery.make(app, client, admin, **fields)
    rows: list[Any] = [{"address": mobile(1), "recipient_id": "c-1", "params": {"name": "Ana"}}, mobile(2), "nobody"]
    assert (await made.upload(rows)).status_code == 200
    return made


async def copied(delivery: Delivery, body: Any = None, **headers: str) -> httpx.Response:
    return await delivery.client.post(f"{delivery.url}/copy", json=body, headers=delivery.headers | headers)


async def deleted(delivery: Delivery, **params: Any) -> httpx.Response:
    return await delivery.client.delete(delivery.url, params=params, headers=delivery.headers)


def other(delivery: Delivery, answer: httpx.Response) -> Delivery:
    assert answer.status_code == 201, answer.text
    return Delivery(delivery.app, delivery.client, delivery.headers, int(answer.json()["id"]))


# --- copy ------------------------------------------------------------------------------------------------------------

OWN = (
    "id",
    "code",
    "status",
    "created_at",
    "updated_at",
    "started_at",
    "finished_at",
    "preparation",
    "progress",
    "indicators",
)


@pytest.mark.parametrize("status", get_args(lifecycle.Status))
async def test_a_copy_is_a_new_delivery_with_all_that_can_be_edited(one: Delivery, status: str) -> None:
    await one.prepare()
    await one.set_status(status)
    answer = await copied(one)
    copy = other(one, answer)
    was, now = await one.get(), await copy.get()
    assert {name: value for name, value in now.items() if name not in OWN} == {
        name: value for name, value in was.items() if name not in OWN
    }
    assert (now["status"], now["preparation"], now["started_at"]) == ("editing", None, None)
    assert answer.json()["copied_from"] == was["id"]
    assert answer.headers["location"] == copy.url
    assert await copy.get("targets") == await one.get("targets")
    assert answer.json()["copied"] == [
        "label", "sender", "content", "gateway", "default_region", "validity_seconds", "tracking", "metadata", "rules",
        "targets",
    ]  # fmt: skip
    (entry,) = await copy.journal("DLV-CREATED")
    assert entry["data"]["copied_from"] == was["id"]
    await copy.prepare()
    await copy.books_balance()
    await one.set_status("cancelled")  # nothing takes it up again


async def test_the_audience_can_be_left_out_and_the_label_be_another(one: Delivery) -> None:
    answer = await copied(one, {"targets": False, "label": "Winter"})
    copy = await other(one, answer).get()
    assert (copy["label"], copy["targets"], copy["content"]) == ("Winter", 0, (await one.get())["content"])
    assert {"label", "targets"}.isdisjoint(answer.json()["copied"])


async def test_targets_keep_their_places_where_some_were_taken_out(one: Delivery) -> None:
    await one.client.delete(f"{one.url}/targets/2", headers=one.headers)
    copy = other(one, await copied(one))
    assert [item["position"] for item in (await copy.get("targets"))["items"]] == [1, 3]
    await copy.upload([mobile(4)])
    assert [item["position"] for item in (await copy.get("targets"))["items"]] == [1, 3, 4]


async def test_what_a_link_was_given_goes_along(one: Delivery) -> None:
    change = {"label": "Offer", "params": {"utm_source": "sms"}, "tracked": False}
    assert (await one.client.patch(f"{one.url}/links/0", json=change, headers=one.headers)).status_code == 200
    copy = other(one, await copied(one))
    (link,) = (await copy.get("links"))["items"]
    assert {name: link[name] for name in change} == change


async def test_a_gateway_that_is_deleted_is_not_taken_over(one: Delivery) -> None:
    key = (await one.get())["gateway"]
    assert (await one.client.delete(f"/v1/gateways/{key}", headers=one.headers)).status_code == 204
    answer = await copied(one)
    assert (answer.status_code, answer.json()["gateway"]) == (201, None)
    assert "gateway" not in answer.json()["copied"]


async def test_the_same_idempotency_key_makes_one_copy(one: Delivery) -> None:
    answers = [await copied(one, {"label": "Once"}, **{"Idempotency-Key": f"copy-{one.id}"}) for _ in range(3)]
    assert len({answer.json()["id"] for answer in answers}) == 1


async def test_a_copy_and_whoever_holds_the_original_do_not_wait_for_each_other(one: Delivery) -> None:
    async with one.app.state.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM deliveries WHERE id = $1 FOR UPDATE", one.id)
        answer = await asyncio.wait_for(copied(one), 20)
        assert (answer.status_code, answer.json()["targets"]) == (201, 3)


async def test_an_audience_that_is_being_changed_is_not_copied(one: Delivery) -> None:
    from app.deliveries import outbox

    async with one.app.state.pool.acquire() as connection, connection.transaction():
        assert await connection.fetchval(outbox.QUERIES["lock_handling"], one.id)
        assert (await copied(one)).status_code == 409
    assert (await copied(one)).status_code == 201


async def test_only_what_is_there_is_copied(one: Delivery, client: httpx.AsyncClient, admin: Headers) -> None:
    assert (await client.post("/v1/deliveries/999999/copy", headers=admin)).status_code == 404
    assert (await copied(one, {"colour": "red"})).status_code == 422


# --- delete ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prepared", [False, True])
async def test_a_draft_is_gone_with_all_that_was_made_of_it(one: Delivery, prepared: bool, key: KeyMaker) -> None:
    if prepared:
        await one.prepare()
    gone = {"targets": 3, "messages": 2 if prepared else 0, "excluded": 1 if prepared else 0}
    tried = (await deleted(one, dry_run="true")).json()
    assert tried == {"dry_run": True, "id": str(one.id), "code": f"DM{one.id}", **gone}
    assert (await one.get())["targets"] == 3
    assert (await deleted(one)).json() == tried | {"dry_run": False}
    for path in ("", "/targets", "/summary", "/messages", "/links", "/audit"):
        assert (await one.client.get(f"{one.url}{path}", headers=one.headers)).status_code == 404
    assert (await deleted(one)).status_code == 404
    async with one.app.state.pool.acquire() as connection:
        for table in (
            "targets",
            "messages",
            "message_state",
            "exclusions",
            "preparations",
            "links",
            "link_blocks",
            "counters",
        ):
            assert await connection.fetchval(f"SELECT count(*) FROM {table} WHERE delivery_id = $1", one.id) == 0, table
    headers = await key("deliveries:read")
    journal = (await one.client.get("/v1/audit", params={"limit": 50}, headers=headers)).json()["items"]
    (entry,) = [
        each for each in journal if each["code"] == "DLV-DELETED" and each["data"]["delivery_id"] == str(one.id)
    ]
    assert entry["text"] == f"The draft DM{one.id} was deleted."
    assert (await one.client.get("/v1/audit/verify", headers=headers)).json()["intact"] is True


@pytest.mark.parametrize("status", sorted({*get_args(lifecycle.Status)} - {"editing", "prepared"}))
async def test_what_is_no_draft_is_not_deleted(one: Delivery, status: str) -> None:
    await one.set_status(status)
    answer = await deleted(one)
    assert (answer.status_code, status.replace("_", " ") in answer.json()["detail"]) == (409, True)
    assert (await one.get())["targets"] == 3
    await one.set_status("cancelled")


async def test_a_draft_with_proofs_is_not_deleted_for_receipts_may_come(one: Delivery) -> None:
    body = {"addresses": [{"address": mobile(1)}]}
    assert (await one.client.post(f"{one.url}/proofs", json=body, headers=one.headers)).status_code == 201
    answer = await deleted(one)
    assert (answer.status_code, "Proofs" in answer.json()["detail"]) == (409, True)


@pytest.mark.parametrize(
    ("path", "row", "status"),
    [
        ("messages", {"address": mobile(1)}, 404),
        ("links", {"address": mobile(1), "reference": "r-1", "url": "https://shop.example/offer"}, 409),
    ],
)
async def test_messages_of_a_draft_that_is_deleted_meanwhile_find_no_delivery(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers, path: str, row: dict[str, str], status: int
) -> None:
    made = await Delivery.make(app, client, admin, content=None, gateway=await make_gateway(client, admin))
    async with app.state.pool.acquire() as connection:
        async with connection.transaction():
            await connection.execute("DELETE FROM deliveries WHERE id = $1", made.id)
            told = asyncio.create_task(client.post(f"{made.url}/{path}", json=[row], headers=admin))
            await asyncio.sleep(0.5)
        assert (await asyncio.wait_for(told, 20)).status_code == status
        assert await connection.fetchval("SELECT count(*) FROM messages WHERE delivery_id = $1", made.id) == 0


async def test_a_draft_that_is_being_uploaded_to_or_prepared_is_not_deleted(one: Delivery) -> None:
    from app.deliveries import outbox

    async with one.app.state.pool.acquire() as connection, connection.transaction():
        assert await connection.fetchval(outbox.QUERIES["lock_handling"], one.id)
        assert (await deleted(one)).status_code == 409
    assert (await deleted(one)).status_code == 200
