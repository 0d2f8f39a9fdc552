"""A callback brings a bounded number of items: what has more is kept whole, and read in pieces when somebody asks."""

import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from app.gateways.receipt import Callback
from app.ingest import batches
from app.settings import Settings
from tests.api.lag import lag
from tests.ingest.test_roads import until

MOST = 1_000
STALL_SECONDS = 0.5
_SERIAL = itertools.count()
FORM = "application/x-www-form-urlencoded"
NDJSON = "application/x-ndjson"


@pytest.fixture(scope="module")
def settings(settings: Settings) -> Settings:
    assert settings.max_callback_items == MOST
    return settings


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def keys(client: httpx.AsyncClient) -> AsyncIterator[dict[str, str]]:
    made = {}
    for kind in ("generic", "smpp", "twilio", "kannel"):
        key = f"batch-{kind}"
        new = {"key": key, "kind": kind, "auth": {"mode": "none"}}
        assert (await client.post("/v1/gateways", json=new)).status_code == 201
        made[kind] = key
    yield made


def receipts(count: int, kind: str = "generic") -> list[dict[str, Any]]:
    ids = [f"b-{next(_SERIAL)}" for _ in range(count)]
    if kind == "smpp":
        return [{"tlvs": {"receipted_message_id": each, "message_state": 2}} for each in ids]
    return [{"provider_message_id": each, "status": "delivered"} for each in ids]


def lines(rows: list[Any]) -> bytes:
    return b"\n".join(json.dumps(row).encode() for row in rows)


TOO_MANY = {
    "numbers": ("generic", "application/json", b"[" + b"1," * 480_000 + b"1]"),
    "no type": ("generic", "", b"[" + b"1," * 480_000 + b"1]"),
    "blanks": ("generic", "application/json", b"[" + b"1 ,\n" * 200_000 + b"1]"),
    "brackets": ("generic", "application/json", b"[" + b"[]," * 300_000 + b"[]]"),
    "broken behind": ("generic", "application/json", b"[" + b"1," * 400_000),
    "fields": ("generic", "application/json", b"{" + b",".join(b'"%d":1' % n for n in range(100_001)) + b"}"),
    "lines": ("generic", NDJSON, b"1\n" * 400_000),
    "lines of receipts": ("generic", NDJSON, lines(receipts(MOST + 1))),
    "smpp": ("smpp", "application/json", b"[" + b"1," * 480_000 + b"1]"),
    "smpp tlvs": ("smpp", "application/json", b'{"tlvs":{' + b",".join(b'"%d":1' % n for n in range(100_001)) + b"}}"),
    "form": ("twilio", FORM, b"a=1&" * 240_000),
    "form without values": ("twilio", FORM, b"&" * 900_000),
    "one more": ("generic", "application/json", json.dumps(receipts(MOST + 1)).encode()),
}


@pytest.mark.parametrize("what", TOO_MANY)
async def test_a_callback_with_too_many_items_is_kept_whole_as_one(
    client: httpx.AsyncClient, keys: dict[str, str], what: str
) -> None:
    kind, content_type, body = TOO_MANY[what]
    before = (await client.get("/v1/receipts/rejected", params={"gateway": keys[kind], "limit": 1})).json()["total"]
    headers = {"Content-Type": content_type} if content_type else {}
    async with lag() as seen:
        answer = await client.post(f"/callbacks/{keys[kind]}", content=body, headers=headers)
    assert answer.status_code == 400
    assert seen.worst < STALL_SECONDS
    shelf = (await client.get("/v1/receipts/rejected", params={"gateway": keys[kind], "limit": 1})).json()
    assert shelf["total"] == before + 1
    assert shelf["items"][0]["id"] in answer.json()["detail"]
    assert "than" in shelf["items"][0]["reason"]


async def test_a_query_with_too_many_parameters_is_kept_as_one(client: httpx.AsyncClient, keys: dict[str, str]) -> None:
    answer = await client.get(f"/callbacks/{keys['kannel']}?type=1&fid=1&" + "a=1&" * MOST)
    assert (answer.status_code, "parameters" in answer.json()["detail"]) == (400, True)


@pytest.mark.parametrize("content_type", ["application/json", NDJSON])
async def test_as_many_as_are_allowed_are_read_at_once(
    client: httpx.AsyncClient, keys: dict[str, str], content_type: str
) -> None:
    rows = receipts(MOST)
    body = json.dumps(rows).encode() if content_type != NDJSON else lines(rows)
    answer = await client.post(f"/callbacks/{keys['generic']}", content=body, headers={"Content-Type": content_type})
    assert answer.status_code == 200


async def test_without_its_token_a_large_batch_is_401_and_leaves_nothing(client: httpx.AsyncClient) -> None:
    new = {"key": "batch-token", "kind": "generic", "auth": {"mode": "token", "secrets": ["long-enough-token"]}}
    assert (await client.post("/v1/gateways", json=new)).status_code == 201
    answer = await client.post("/callbacks/batch-token", content=TOO_MANY["numbers"][2])
    assert answer.status_code == 401
    shelf = (await client.get("/v1/receipts/rejected", params={"gateway": "batch-token", "kind": "unreadable"})).json()
    assert shelf["total"] == 0


@pytest.mark.parametrize(("kind", "content_type"), [("generic", "application/json"), ("generic", NDJSON), ("smpp", "")])
async def test_retry_reads_a_large_batch_in_pieces_and_leaves_only_what_is_unreadable(
    client: httpx.AsyncClient, kind: str, content_type: str
) -> None:
    key = f"batch-retry-{next(_SERIAL)}"
    new = {"key": key, "kind": kind, "auth": {"mode": "none"}}
    assert (await client.post("/v1/gateways", json=new)).status_code == 201
    rows: list[Any] = receipts(1_200, kind)
    rows[10:10] = [7, {"status": 1}, [[1]]]
    body = lines(rows) if content_type == NDJSON else json.dumps(rows).encode()
    headers = {"Content-Type": content_type} if content_type else {}
    kept = (await client.post(f"/callbacks/{key}", content=body, headers=headers)).json()["detail"]
    async with lag() as seen:
        answer = await client.post("/v1/receipts/rejected/retry", json={"gateway": key})
    assert answer.json() == {"read": 0, "still_rejected": 1}
    assert seen.worst < STALL_SECONDS
    (left,) = (await client.get("/v1/receipts/rejected", params={"gateway": key})).json()["items"]
    assert left["id"] in kept
    found = (
        [json.loads(each) for each in left["raw"].splitlines()] if content_type == NDJSON else json.loads(left["raw"])
    )
    assert found == [7, {"status": 1}, [[1]]]

    async def waiting() -> Any:
        page = await client.get("/v1/receipts/unmatched", params={"gateway": key, "limit": 1})
        return page.json()["total"]

    await until(waiting, lambda total: total == 1_200)


async def test_retry_of_a_large_batch_that_is_all_good_leaves_nothing(client: httpx.AsyncClient) -> None:
    new = {"key": "batch-good", "kind": "generic", "auth": {"mode": "none"}}
    assert (await client.post("/v1/gateways", json=new)).status_code == 201
    body = json.dumps(receipts(MOST + 500)).encode()
    assert (await client.post("/callbacks/batch-good", content=body)).status_code == 400
    answer = await client.post("/v1/receipts/rejected/retry", json={"gateway": "batch-good"})
    assert answer.json() == {"read": 1, "still_rejected": 0}


async def test_a_deep_receipt_is_kept_and_does_not_cost_its_neighbours(
    client: httpx.AsyncClient, keys: dict[str, str]
) -> None:
    (good,) = receipts(1)
    deep = '{"provider_message_id":' + "[" * 500 + "]" * 500 + "}"
    body = f"[{json.dumps(good)},{deep}]"
    assert (await client.post(f"/callbacks/{keys['generic']}", content=body)).status_code == 200
    shelf = (await client.get("/v1/receipts/rejected", params={"gateway": keys["generic"], "limit": 1})).json()
    assert "nested" in shelf["items"][0]["reason"]
    alone = await client.post(f"/callbacks/{keys['smpp']}", content=deep)
    assert (alone.status_code, "nested" in alone.json()["detail"]) == (400, True)


@pytest.mark.parametrize("body", [b"[" + b"1," * 50_000 + b"1]", b"1\n" * 50_000, b"[" * 200_000])
async def test_trying_out_reads_a_bounded_number_of_receipts(
    client: httpx.AsyncClient, keys: dict[str, str], body: bytes
) -> None:
    for content_type in ("application/json", "text/plain", NDJSON):
        async with lag() as seen:
            answer = await client.post(
                f"/v1/gateways/{keys['generic']}/test", content=body, headers={"Content-Type": content_type}
            )
        assert answer.status_code in (200, 400, 422)
        assert len(answer.content) < 2_000_000
        assert seen.worst < STALL_SECONDS


def test_a_small_callback_is_not_looked_at() -> None:
    body = json.dumps(receipts(5)).encode()
    callback = Callback(method="POST", url="", query="", headers={}, body=body)
    assert batches.fault(callback, MOST) is None
