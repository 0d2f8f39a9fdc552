"""What a receipt is true without never costs it, on every road; and whoever sent it hears what was left out."""

import httpx
import pytest

from tests.ingest.test_roads import Account

NO_ZONE = "occurred_at was not read: it names no zone, as 2026-03-04T10:15:42Z does"


async def test_a_callback_with_a_local_time_counts_and_its_timeline_tells_what_was_left_out(
    client: httpx.AsyncClient,
) -> None:
    account = await Account.make(client)
    await account.messages({"address": "+447700900001", "provider_message_id": "a"})
    body = {"provider_message_id": "a", "status": "delivered", "occurred_at": "2026-03-04T10:15:42"}
    assert (await account.callback(body)).status_code == 200
    await account.becomes("received")
    (item,) = (await client.get(f"/v1/deliveries/{account.delivery}/messages")).json()["items"]
    timeline = (await client.get(f"/v1/messages/{item['id']}")).json()["timeline"]
    (receipt,) = [each for each in timeline if each["kind"] == "receipt"]
    assert receipt["occurred_at"] is None
    assert receipt["details"] == {"warnings": [NO_ZONE], "occurred_at_local": "2026-03-04T10:15:42"}


@pytest.mark.parametrize("content_type", ["application/x-ndjson", "text/csv"])
async def test_a_bulk_answer_tells_what_was_left_out_of_which_row(client: httpx.AsyncClient, content_type: str) -> None:
    account = await Account.make(client)
    await account.messages(*({"address": f"+44770090000{n}", "provider_message_id": f"{n}"} for n in (1, 2, 3)))
    names = ("gateway", "provider_message_id", "status", "occurred_at", "price")
    rows = [
        (account.key, "1", "delivered", "2026-03-04T10:15:42Z", "0,05"),
        (account.key, "2", "delivered", "2026-03-04T10:15:42", "0.05"),
        (account.key, "3", "delivered", "2026-03-04T10:15:42Z", "free"),
    ]
    if content_type == "text/csv":
        lines = [",".join(names), *(",".join(f'"{cell}"' for cell in row) for row in rows)]
        first = 2
    else:
        lines = ["{" + ",".join(f'"{n}":"{v}"' for n, v in zip(names, row, strict=True)) + "}" for row in rows]
        first = 1
    body = "\n".join(lines).encode()
    answer = (await client.post("/v1/receipts", content=body, headers={"Content-Type": content_type})).json()
    assert (answer["accepted"], answer["rejected"], answer["errors"]) == (3, 0, [])
    price = "price was not read: it must be a decimal below a thousand million, such as 0.0071"
    assert answer["warnings"] == [
        {"line": first + 1, "detail": NO_ZONE},
        {"line": first + 2, "detail": price},
    ]
    await account.becomes("received", "received", "received")
    cost = (await client.get(f"/v1/deliveries/{account.delivery}/summary")).json()["cost"]
    assert [float(value) for value in cost.values()] == [0.1]


async def test_a_row_that_is_refused_is_not_among_those_that_were_taken_all_the_same(client: httpx.AsyncClient) -> None:
    account = await Account.make(client)
    rows = [
        {"gateway": gateway, "provider_message_id": "1", "status": "delivered", "occurred_at": "2026-03-04T10:15:42"}
        for gateway in ("nobody", account.key, "")
    ]
    answer = (await client.post("/v1/receipts", json=rows)).json()
    assert (answer["accepted"], answer["rejected"]) == (1, 2)
    assert answer["warnings"] == [{"line": 2, "detail": NO_ZONE}]
