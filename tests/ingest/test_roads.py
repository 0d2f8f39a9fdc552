"""Both roads on which facts come in, through the API: callbacks, bulk receipts, messages, submissions; and the shelves."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.gateways import GATEWAYS

_serial = itertools.count(1)
TOKEN = "token-of-the-gateway"


class Account:
    """A gateway of its own with one delivery, and the calls that a test makes on them."""

    def __init__(self, client: httpx.AsyncClient, key: str, delivery: str) -> None:
        self.client = client
        self.key = key
        self.delivery = delivery

    @classmethod
    async def make(cls, client: httpx.AsyncClient, kind: str = "generic", **options: Any) -> "Account":
        key = f"road-{next(_serial)}"
        auth = {"mode": "token", "secrets": [TOKEN]}
        answer = await client.post("/v1/gateways", json={"key": key, "kind": kind, "auth": auth, "options": options})
        assert answer.status_code == 201, answer.text
        body = {"label": key, "sender": "Acme", "gateway": key, "default_region": "ES"}
        answer = await client.post("/v1/deliveries", json=body)
        assert answer.status_code == 201, answer.text
        return cls(client, key, answer.json()["id"])

    async def callback(self, body: Any, **headers: str) -> httpx.Response:
        url = f"/callbacks/{self.key}"
        return await self.client.post(url, json=body, headers={"X-Acuse-Token": TOKEN, **headers})

    async def messages(self, *rows: Mapping[str, Any]) -> httpx.Response:
        return await self.client.post(f"/v1/deliveries/{self.delivery}/messages", json=list(rows))

    async def submissions(self, *rows: Mapping[str, Any]) -> httpx.Response:
        return await self.client.post(f"/v1/deliveries/{self.delivery}/submissions", json=list(rows))

    async def statuses(self) -> list[str]:
        items = (await self.client.get(f"/v1/deliveries/{self.delivery}/messages")).json()["items"]
        return [item["status"] for item in items]

    async def becomes(self, *wanted: str) -> None:
        """Waits until the delivery's messages have these statuses, in the order they were recorded."""
        await until(self.statuses, lambda found: found == list(wanted))

    async def waiting(self) -> list[Any]:
        items: list[Any] = (await self.client.get("/v1/receipts/unmatched", params={"gateway": self.key})).json()[
            "items"
        ]
        return items


async def until(look: Callable[[], Awaitable[Any]], right: Callable[[Any], bool]) -> Any:
    found = None
    for _ in range(100):
        found = await look()
        if right(found):
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(f"still {found}")


async def test_a_receipt_finds_its_message(client: httpx.AsyncClient) -> None:
    account = await Account.make(client)
    answer = await account.messages({"address": "600 000 001", "provider_message_id": "m1"})
    assert answer.json() | {"reading": None} == {"accepted": 1, "rejected": 0, "errors": [], "reading": None}
    assert await account.statuses() == ["accepted"]
    assert (await account.callback({"provider_message_id": "m1", "status": "DELIVRD"})).status_code == 200
    await account.becomes("received")


async def test_a_receipt_that_comes_before_its_submission_waits_and_is_found(client: httpx.AsyncClient) -> None:
    account = await Account.make(client)
    await account.callback({"provider_message_id": "early", "status": "delivered"})
    (item,) = await until(account.waiting, bool)
    assert (item["provider_message_id"], item["receipts"]) == ("early", 1)
    await account.messages({"address": "+34600000001", "provider_message_id": "early"})
    assert await account.statuses() == ["received"]
    assert await account.waiting() == []


async def test_a_receipt_with_our_reference_teaches_the_id(client: httpx.AsyncClient) -> None:
    account = await Account.make(client)
    await account.messages({"address": "+34600000001", "reference": "order-1"})
    assert await account.statuses() == ["submitted"]
    await account.callback({"provider_message_id": "x9", "reference": "order-1", "status": "sent"})
    await account.becomes("sent")
    await account.callback({"provider_message_id": "x9", "status": "delivered"})
    await account.becomes("received")


async def test_receipts_by_an_unknown_reference_wait_for_it_too(client: httpx.AsyncClient) -> None:
    account = await Account.make(client)
    await account.callback({"provider_message_id": "y1", "reference": "order-2", "status": "sent"})
    await account.callback({"reference": "order-3", "status": "failed", "error_code": "7"})
    await until(account.waiting, lambda items: len(items) == 2)
    await account.messages(
        {"address": "+34600000001", "reference": "order-2"}, {"address": "+34600000002", "reference": "order-3"}
    )
    assert await account.statuses() == ["sent", "failed"]


async def test_all_parts_must_be_received(client: httpx.AsyncClient) -> None:
    account = await Account.make(client)
    await account.messages({"address": "+34600000001", "provider_message_ids": ["p1", "p2"]})
    await account.callback([{"provider_message_id": "p1", "status": "delivered"}])
    await asyncio.sleep(0.3)
    assert await account.statuses() == ["accepted"]
    await account.callback([{"provider_message_id": "p2", "status": "delivered"}])
    await account.becomes("received")


async def test_rows_sent_again_are_recognised_and_change_nothing(client: httpx.AsyncClient) -> None:
    account = await Account.make(client)
    rows = [{"address": f"+3460000000{n}", "provider_message_id": f"r{n}", "reference": f"ref{n}"} for n in range(3)]
    for _ in range(2):
        assert (await account.messages(*rows)).json()["accepted"] == 3
    assert len(await account.statuses()) == 3


async def test_two_uploads_of_the_same_rows_at_once_make_each_message_once(client: httpx.AsyncClient) -> None:
    account = await Account.make(client)
    rows = [{"address": f"+346000{n:05d}", "provider_message_id": f"c{n}"} for n in range(300)]
    answers = await asyncio.gather(*(account.messages(*rows) for _ in range(3)))
    assert [answer.json()["accepted"] for answer in answers] == [300] * 3
    summary = (await client.get(f"/v1/deliveries/{account.delivery}/summary")).json()
    assert summary["to_send"] == 300


async def test_an_id_that_belongs_to_another_message_is_refused_without_its_neighbours(
    client: httpx.AsyncClient,
) -> None:
    account = await Account.make(client)
    await account.messages({"address": "+34600000001", "provider_message_id": "taken"})
    answer = await account.messages(
        {"address": "+34600000002", "provider_message_id": "taken"},
        {"address": "+34600000003", "provider_message_id": "free"},
    )
    assert (answer.json()["accepted"], [error["line"] for error in answer.json()["errors"]]) == (1, [1])


async def test_bad_rows_say_what_is_wrong_and_repeat_no_value(client: httpx.AsyncClient) -> None:
    account = await Account.make(client)
    bad: list[dict[str, Any]] = [
        {"address": "not a number"},
        {"address": "+34600000001", "gateway": "nobody"},
        {"address": "+34600000001", "provider_message_id": "a\0b"},
        {"address": "+34600000001", "colour": "red"},
        {"address": "+34600000001", "submitted_at": "2026-11-23T08:00:00"},
        {"address": "+34600000001", "submitted_at": "2999-01-01T00:00:00Z"},
        {"address": "+34600000001", "provider_message_id": "x" * 300},
        {},
    ]
    answer = await account.messages(*bad)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    reading = told.pop("reading")  # shows the first rows as they came, to whoever may read numbers
    assert told["rejected"] == len(bad)
    assert "600000001" not in str(told)
    assert "600000001" not in str([each["detail"] for each in reading["first_rows"]])
    assert await account.statuses() == []


async def test_submissions_report_ids_and_failures(client: httpx.AsyncClient) -> None:
    account = await Account.make(client)
    await account.messages(
        {"address": "+34600000001", "reference": "s1"}, {"address": "+34600000002", "reference": "s2"}
    )
    answer = await account.submissions(
        {"reference": "s1", "provider_message_id": "given"},
        {"reference": "s2", "error_code": "11", "error_text": "Invalid destination"},
        {"reference": "nobody"},
    )
    assert (answer.json()["accepted"], [error["line"] for error in answer.json()["errors"]]) == (2, [3])
    assert await account.statuses() == ["accepted", "failed"]
    await account.callback({"provider_message_id": "given", "status": "delivered"})
    await account.becomes("received", "failed")


@pytest.mark.parametrize("kind", ["application/x-ndjson", "text/csv", "application/json"])
async def test_receipts_in_bulk_reach_their_messages(client: httpx.AsyncClient, kind: str) -> None:
    account = await Account.make(client)
    await account.messages({"address": "+34600000001", "provider_message_id": "b1"})
    body = {
        "application/x-ndjson": f'{{"gateway":"{account.key}","provider_message_id":"b1","status":"read"}}\nnonsense\n',
        "text/csv": f"gateway,provider_message_id,status\n{account.key},b1,read\n{account.key},,\n",
        "application/json": f'[{{"gateway":"{account.key}","provider_message_id":"b1","status":"read"}},3]',
    }[kind]
    answer = await client.post("/v1/receipts", content=body.encode(), headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["accepted"], answer.json()["rejected"]) == (202, 1, 1)
    await account.becomes("received")


async def test_a_repeat_shows_as_a_repeat_and_changes_nothing(client: httpx.AsyncClient) -> None:
    account = await Account.make(client)
    await account.messages({"address": "+34600000001", "provider_message_id": "twice"})
    for _ in range(3):
        await account.callback({"provider_message_id": "twice", "status": "failed", "error_code": "42"})
    await account.becomes("failed")
    (item,) = (await client.get(f"/v1/deliveries/{account.delivery}/messages")).json()["items"]

    async def timeline() -> Any:
        facts = (await client.get(f"/v1/messages/{item['id']}")).json()["timeline"]
        return [fact for fact in facts if fact.get("status") == "failed" or "repeat_of" in fact]

    await until(timeline, lambda facts: sum(bool(fact.get("repeat_of")) for fact in facts) == 2)
    counted = await client.get("/v1/qualifications", params={"implementation": account.key})
    assert [row["occurrences"] for row in counted.json()["items"] if row["occurrences"]] == [1]


async def test_the_hint_names_the_options_under_which_ids_would_match_and_they_do(client: httpx.AsyncClient) -> None:
    account = await Account.make(client)
    await account.messages(
        {"address": "+34600000001", "provider_message_id": "A07"},
        {"address": "+34600000002", "provider_message_id": "00000B1C"},
    )
    await account.callback(
        [{"provider_message_id": "2567", "status": "delivered"}, {"provider_message_id": "2844", "status": "sent"}]
    )
    await until(account.waiting, lambda items: len(items) == 2)
    hint = (await client.get(f"/v1/gateways/{account.key}")).json()["hint"]
    assert hint["would_match"] == 2
    assert hint["options"]["submission_id_format"] == "hexadecimal"
    answer = await client.patch(f"/v1/gateways/{account.key}", json={"options": hint["options"]})
    assert answer.status_code == 200, answer.text
    assert await account.statuses() == ["received", "sent"]
    assert await account.waiting() == []


async def test_what_cannot_be_read_is_kept_and_read_again_later(client: httpx.AsyncClient) -> None:
    account = await Account.make(client, "smpp")
    await account.messages({"address": "+34600000001", "provider_message_id": "91"})
    answer = await account.callback({"text": "id:91 sub:001 dlvrd:001 text: stat:DELIVRD"})
    assert answer.status_code == 400
    (kept,) = (await client.get("/v1/receipts/rejected", params={"gateway": account.key})).json()["items"]
    assert kept["id"] in answer.json()["detail"]
    assert kept["kind"] == "unreadable"
    for kind, total in (("unreadable", 1), ("receipt", 0), ("reply", 0), ("click", 0), ("spooled", 0), ("refused", 0)):
        page = await client.get("/v1/receipts/rejected", params={"gateway": account.key, "kind": kind})
        assert (page.status_code, page.json()["total"], len(page.json()["items"])) == (200, total, total)
        if not total:
            again = await client.post("/v1/receipts/rejected/retry", json={"gateway": account.key, "kind": kind})
            assert again.json() == {"read": 0, "still_rejected": 0}
    again = await client.post("/v1/receipts/rejected/retry", json={"ids": [kept["id"]]})
    assert again.json() == {"read": 0, "still_rejected": 1}
    await client.patch(f"/v1/gateways/{account.key}", json={"options": {"status_after_text": True}})
    again = await client.post("/v1/receipts/rejected/retry", json={"gateway": account.key})
    assert again.json() == {"read": 1, "still_rejected": 0}
    await account.becomes("received")


async def test_one_unreadable_item_does_not_cost_its_neighbours(client: httpx.AsyncClient) -> None:
    account = await Account.make(client)
    await account.messages({"address": "+34600000001", "provider_message_id": "n1"})
    assert (
        await account.callback([{"status": "sent"}, {"provider_message_id": "n1", "status": "sent"}, 7])
    ).status_code == 200
    await account.becomes("sent")
    assert len((await client.get("/v1/receipts/rejected", params={"gateway": account.key})).json()["items"]) == 2


async def test_the_secret_in_the_url_is_not_kept(client: httpx.AsyncClient) -> None:
    account = await Account.make(client, "kannel")
    await account.messages({"address": "+34600000001", "provider_message_id": "k1"})
    url = f"/callbacks/{account.key}?token={TOKEN}&type=1&fid=k1&ts=1772619342"
    assert (await client.get(url)).status_code == 200
    await account.becomes("received")
    (item,) = (await client.get(f"/v1/deliveries/{account.delivery}/messages")).json()["items"]
    assert TOKEN not in (await client.get(f"/v1/messages/{item['id']}")).text


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ({"method": "POST", "url": "/callbacks/nobody"}, 404),
        ({"method": "PUT", "url": "/callbacks/{key}"}, 405),
        ({"method": "POST", "url": "/callbacks/{key}", "headers": {"X-Acuse-Token": "wrong"}}, 401),
        ({"method": "POST", "url": "/callbacks/{key}", "content": b"\xff\0", "headers": {"X-Acuse-Token": TOKEN}}, 400),
        (
            {
                "method": "POST",
                "url": "/callbacks/{key}",
                "content": b"x" * 1_000_001,
                "headers": {"X-Acuse-Token": TOKEN},
            },
            413,
        ),
        ({"method": "POST", "url": "/v1/receipts", "content": b"x", "headers": {"Content-Type": "text/plain"}}, 415),
        (
            {"method": "POST", "url": "/v1/receipts", "content": b"[", "headers": {"Content-Type": "application/json"}},
            400,
        ),
        ({"method": "POST", "url": "/v1/deliveries/0/messages", "json": []}, 404),
        ({"method": "GET", "url": "/v1/receipts/unmatched?cursor=AAAA"}, 422),
        ({"method": "GET", "url": "/v1/receipts/rejected?limit=0"}, 422),
        ({"method": "GET", "url": "/v1/receipts/rejected?gateway=nobody"}, 404),
        ({"method": "GET", "url": "/v1/receipts/rejected?kind=nothing"}, 422),
    ],
)
async def test_bad_requests_get_a_problem_of_one_shape(
    client: httpx.AsyncClient, request_: dict[str, Any], status: int
) -> None:
    account = await Account.make(client)
    answer = await client.request(**{**request_, "url": request_["url"].replace("{key}", account.key)})
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert {"type", "title", "status", "detail"} <= answer.json().keys()
    assert answer.json()["status"] == status


async def test_a_full_queue_tells_gateways_to_come_back(client: httpx.AsyncClient, app: FastAPI) -> None:
    account = await Account.make(client)
    app.state.inbox._receipts.rows += 1_000_000
    try:
        answer = await account.callback({"provider_message_id": "q", "status": "sent"})
    finally:
        app.state.inbox._receipts.rows -= 1_000_000
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


@pytest.mark.parametrize("kind", sorted(GATEWAYS))
async def test_every_kind_refuses_other_methods_and_bodies_that_are_too_large(
    client: httpx.AsyncClient, kind: str
) -> None:
    account = await Account.make(client, kind)
    url, headers = f"/callbacks/{account.key}", {"X-Acuse-Token": TOKEN}
    for method in {"GET", "POST", "PUT", "DELETE", "PATCH"} - GATEWAYS[kind].methods:
        answer = await client.request(method, url, headers=headers)
        assert (answer.status_code, answer.headers["allow"]) == (405, ", ".join(sorted(GATEWAYS[kind].methods)))
    for method in GATEWAYS[kind].methods:
        answer = await client.request(method, url, headers=headers, content=b"x" * 1_000_001)
        assert answer.status_code == 413
