"""Proofs: a delivery's text to chosen addresses. Strict like the outbox, and counted nowhere."""

from typing import Any, get_args

import httpx
import pytest
from fastapi import FastAPI

from app.deliveries import lifecycle
from app.privacy import pseudonyms
from tests.conftest import Headers, KeyMaker
from tests.deliveries.sending import Sending, make_gateway

ANA = {"address": "600 000 001", "params": {"name": "Ana"}}


@pytest.fixture
async def sending(app: FastAPI, client: httpx.AsyncClient, admin: Headers) -> Sending:
    return await Sending.make(app, client, admin)


async def made(sending: Sending, *addresses: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    answer = await sending.post("proofs", {"addresses": list(addresses or [ANA])} | fields)
    assert answer.status_code == 201, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def refused(sending: Sending, *addresses: dict[str, Any], **fields: Any) -> list[dict[str, str]]:
    answer = await sending.post("proofs", {"addresses": list(addresses)} | fields)
    assert answer.status_code == 422, answer.text
    assert (await sending.get("proofs"))["total"] == 0
    errors: list[dict[str, str]] = answer.json()["errors"]
    return errors


async def keep_away(sending: Sending, address: str, status: str, sender: str = "") -> None:
    await sending.execute(
        "INSERT INTO quarantine (address, sender, status, reason, origin, errors, since, updated_at) "
        "VALUES ($1, $3, $2, 'refused', 'operator', 0, now(), now()) "
        "ON CONFLICT (address, sender) DO UPDATE SET status = excluded.status",
        address, status, sender,
    )  # fmt: skip


async def test_a_proof_has_the_text_of_now_and_keeps_it(sending: Sending) -> None:
    (row,) = await made(sending)
    assert row == {
        "message_id": row["message_id"],
        "reference": f"acuse-{row['message_id']}",
        "address": "+34600000001",
        "text": "Hello Ana, STOP to 25252",
        "parts": 1,
        "sender": "Acme",
    }
    change = {"content": "Bye {{name}}", "sender": "Other"}
    assert (await sending.client.patch(sending.url, json=change, headers=sending.headers)).status_code == 200
    assert (await made(sending))[0]["text"] == "Bye Ana"
    page = await sending.get("proofs")
    assert [(item["text"], item["sender"]) for item in page["items"]] == [
        ("Bye Ana", "Other"), ("Hello Ana, STOP to 25252", "Acme"),
    ]  # fmt: skip
    assert page["items"][1] | {"gateway": sending.key, "status": "pending", "submitted_at": None} == page["items"][1]


async def test_proofs_count_nowhere(sending: Sending) -> None:
    ids = await sending.prepare([{"name": "Ana"}])
    before = await sending.get("summary")
    (row,) = await made(sending)
    assert (await sending.submit({"message_id": row["message_id"], "provider_message_id": "pr-1"}))["accepted"] == 1
    await sending.callback({"provider_message_id": "pr-1", "status": "delivered"})
    await sending_becomes(sending, row["message_id"], "received")
    assert await sending.get("summary") == before
    assert [int(item["id"]) for item in (await sending.get("messages"))["items"]] == ids
    assert (await sending.get("messages"))["total"] == 1
    delivery = await sending.get()
    assert (delivery["status"], delivery["first_receipt_at"]) == ("prepared", None)
    assert await sending.journal("DLV-FIRST-RECEIPT") == []
    await sending.check_books()


async def sending_becomes(sending: Sending, id: str, status: str) -> None:
    from tests.ingest.test_roads import until

    await until(lambda: sending.message_status(id), lambda found: found == status)


async def test_a_proof_is_a_message_that_can_be_explained(sending: Sending) -> None:
    (row,) = await made(sending)
    message = await sending.message(row["message_id"])
    assert (message["proof"], message["reference"], message["status"]) == (True, row["reference"], "pending")
    (item,) = (await sending.get("proofs"))["items"]
    assert item["message_id"] == row["message_id"]


@pytest.mark.parametrize("status", get_args(lifecycle.Status))
async def test_proofs_are_made_before_and_while_it_is_sent(sending: Sending, status: str) -> None:
    await sending.set_status(status)
    answer = await sending.post("proofs", {"addresses": [ANA]})
    if status in ("editing", "prepared", "in_progress"):
        assert answer.status_code == 201
        assert await sending.status() == status
    else:
        assert answer.status_code == 409
        assert f"this one is {status.replace('_', ' ')}" in answer.json()["detail"]


async def test_without_content_there_is_nothing_to_prove(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers
) -> None:
    one = await Sending.make(app, client, admin, content=None)
    assert (await one.post("proofs", {"addresses": [ANA]})).status_code == 409


async def test_everything_that_is_wrong_is_named_and_nothing_is_made(sending: Sending) -> None:
    await keep_away(sending, "+34600000077", "denylisted")
    errors = await refused(
        sending,
        ANA,
        {"address": "nonsense", "params": {"name": "Bo"}},
        {"address": "600000002"},
        {"address": "600000002", "params": {"name": None}},
        {"address": "600000077", "params": {"name": "Bo"}},
    )
    assert [error["pointer"] for error in errors] == [
        "/addresses/1/address", "/addresses/2/params", "/addresses/3/params", "/addresses/4/address",
    ]  # fmt: skip
    assert "`name`" in errors[1]["detail"]
    assert await sending.journal("DLV-PROOFS") == []


async def test_a_quarantined_address_can_be_forced_and_a_denylisted_one_never(sending: Sending) -> None:
    quarantined = {"address": "+34600000081", "params": {"name": "Q"}}
    denylisted = {"address": "+34600000082", "params": {"name": "D"}}
    await keep_away(sending, quarantined["address"], "quarantined")  # type: ignore[arg-type]
    await keep_away(sending, denylisted["address"], "denylisted", sender="Acme")  # type: ignore[arg-type]
    assert len(await refused(sending, quarantined, denylisted)) == 2
    (error,) = await refused(sending, quarantined, denylisted, force=True)
    assert error["pointer"] == "/addresses/1/address"
    assert len(await made(sending, quarantined, force=True)) == 1


async def test_the_denylist_of_another_sender_and_errors_that_do_not_count_yet_are_no_hindrance(
    sending: Sending,
) -> None:
    await keep_away(sending, "+34600000083", "denylisted", sender="Someone")
    await keep_away(sending, "+34600000084", "with_errors")
    rows = [{"address": f"+3460000008{number}", "params": {"name": "N"}} for number in (3, 4)]
    assert len(await made(sending, *rows)) == 2


async def test_the_opt_out_of_an_erased_number_still_holds(sending: Sending) -> None:
    async with sending.app.state.pool.acquire() as connection:
        pseudonym = (await pseudonyms.load(connection)).of("+34600000085")
        await connection.execute("INSERT INTO erased VALUES ($1, now(), '{}')", pseudonym)
    await keep_away(sending, pseudonym, "denylisted")
    (error,) = await refused(sending, {"address": "+34600000085", "params": {"name": "E"}}, force=True)
    assert error["pointer"] == "/addresses/0/address"


@pytest.mark.parametrize(
    "body",
    [
        {}, {"addresses": []}, {"addresses": [ANA] * 101}, {"addresses": [ANA], "gateway": "nobody"},
        {"addresses": [ANA], "colour": "red"}, {"addresses": [{"address": "+34600000001", "params": []}]},
        {"addresses": [{"address": "+3460000\u00000001"}]}, {"addresses": [ANA], "force": "yes"},
    ],
)  # fmt: skip
async def test_a_body_that_cannot_be_taken_is_refused(sending: Sending, body: dict[str, Any]) -> None:
    answer = await sending.post("proofs", body)
    assert answer.status_code == 422
    assert answer.json()["errors"]


async def test_the_same_idempotency_key_makes_proofs_once(sending: Sending) -> None:
    body = {"addresses": [ANA]}
    header = {"Idempotency-Key": f"proof-{sending.id}"}
    first, again = [await sending.post("proofs", body, **header) for _ in range(2)]
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert again.headers["idempotency-replayed"] == "true"
    assert (await sending.get("proofs"))["total"] == 1
    other = await sending.post("proofs", {"addresses": [ANA, ANA]}, **header)
    assert other.status_code == 409


async def test_proofs_can_go_through_another_gateway(sending: Sending) -> None:
    other = await make_gateway(sending.client, sending.headers)
    (row,) = await made(sending, gateway=other)
    assert (await sending.get("proofs"))["items"][0]["gateway"] == other
    await sending.callback({"reference": row["reference"], "status": "delivered"}, gateway=other)
    await sending_becomes(sending, row["message_id"], "received")
    (second,) = await made(sending, gateway=other)
    await sending.submit({"message_id": second["message_id"], "provider_message_id": "elsewhere-1"})
    await sending.callback({"provider_message_id": "elsewhere-1", "status": "delivered"}, gateway=other)
    await sending_becomes(sending, second["message_id"], "received")


async def test_before_the_start_only_proofs_have_submissions(sending: Sending) -> None:
    (pending,) = await sending.prepare([{"name": "Ana"}])
    assert (await sending.post("submissions", [{"message_id": str(pending)}])).status_code == 409
    (row,) = await made(sending)
    answer = await sending.submit(
        {"reference": row["reference"], "provider_message_id": "before-1"}, {"message_id": str(pending)}
    )
    assert (answer["accepted"], answer["rejected"]) == (1, 1)
    assert "has not started" in answer["errors"][0]["detail"]
    assert await sending.statuses() == ["pending"]


async def test_pages_of_proofs_go_from_the_newest_to_the_oldest(sending: Sending) -> None:
    rows = await made(sending, *[{"address": f"+3460000010{n}", "params": {"name": "N"}} for n in range(5)])
    page = await sending.get("proofs", limit=2)
    seen = [item["message_id"] for item in page["items"]]
    while page["next_cursor"]:
        assert page["total"] == 5
        page = await sending.get("proofs", limit=2, cursor=page["next_cursor"])
        seen += [item["message_id"] for item in page["items"]]
    assert seen == [row["message_id"] for row in rows][::-1]


async def test_without_pii_read_addresses_are_masked(sending: Sending, key: KeyMaker) -> None:
    headers = await key("deliveries:write", "deliveries:read")
    answer = await sending.client.post(f"{sending.url}/proofs", json={"addresses": [ANA]}, headers=headers)
    assert answer.json()["items"][0]["address"] == "+34600•••001"
    page = (await sending.client.get(f"{sending.url}/proofs", headers=headers)).json()
    assert page["items"][0]["address"] == "+34600•••001"


async def test_the_journal_tells_of_proofs_without_addresses(sending: Sending) -> None:
    rows = await made(sending, ANA, ANA)
    (entry,) = await sending.journal("DLV-PROOFS")
    assert entry["data"]["proofs"] == 2
    assert entry["data"]["first_message_id"] == rows[0]["message_id"]
    assert "600000001" not in str(entry)


async def test_cancelling_takes_back_proofs_that_were_not_sent(sending: Sending) -> None:
    (row,) = await made(sending)
    await sending.post("cancel")
    assert await sending.message_status(row["message_id"]) == "cancelled"
    assert (await sending.get())["indicators"]["cancelled"] == 0


# --- like a target ---------------------------------------------------------------------------------------------------


async def audience(sending: Sending) -> None:
    """Two targets with recipient ids, the first twice."""
    rows = [
        {"address": "+34600000010", "recipient_id": "c-1", "params": {"name": "Ana", "town": "Cádiz"}},
        {"address": "+34600000011", "recipient_id": "c-2"},
        {"address": "+34600000012", "recipient_id": "c-1", "params": {"name": "Other"}},
    ]
    assert (await sending.post("targets", rows)).json()["accepted"] == 3


async def test_a_proof_like_a_target_has_the_text_that_this_recipient_gets(sending: Sending) -> None:
    await audience(sending)
    me = {"address": "600 000 001"}
    (row,) = await made(sending, me, like={"recipient_id": "c-1"})
    assert (row["address"], row["text"]) == ("+34600000001", "Hello Ana, STOP to 25252")
    (row,) = await made(sending, me | {"like": {"recipient_id": "c-1"}})
    assert row["text"] == "Hello Ana, STOP to 25252"
    (row,) = await made(sending, me | {"params": {"name": "Me"}}, like={"recipient_id": "c-1"})
    assert row["text"] == "Hello Me, STOP to 25252"


async def test_each_address_can_be_like_another_target(sending: Sending) -> None:
    await audience(sending)
    like = {"like": {"recipient_id": "c-2"}, "params": {"name": "Two"}}
    rows = await made(
        sending, {"address": "600 000 001"}, {"address": "600 000 002"} | like, like={"recipient_id": "c-1"}
    )
    assert [row["text"] for row in rows] == ["Hello Ana, STOP to 25252", "Hello Two, STOP to 25252"]


async def test_a_hundred_proofs_can_be_like_a_hundred_targets_each_like_the_first_of_its_id(sending: Sending) -> None:
    rows = [
        {"address": f"+346000100{k:02d}", "recipient_id": f"h-{k}", "params": {"name": f"N{k}"}} for k in range(100)
    ]
    again = [{**row, "params": {"name": "Later"}} for row in rows]
    assert (await sending.post("targets", [*rows, *again])).json()["accepted"] == 200
    wanted = [{"address": "600 000 001", "like": {"recipient_id": f"h-{k}"}} for k in reversed(range(100))]
    found = await made(sending, *wanted)
    assert [row["text"] for row in found] == [f"Hello N{k}, STOP to 25252" for k in reversed(range(100))]


@pytest.mark.parametrize(
    ("addresses", "fields", "pointer"),
    [
        ([{"address": "600 000 001"}], {"like": {"recipient_id": "nobody"}}, "/like/recipient_id"),
        ([{"address": "600 000 001", "like": {"recipient_id": "c"}}], {}, "/addresses/0/like/recipient_id"),
        ([{"address": "600 000 001"}], {"like": {"recipient_id": "c-2"}}, "/addresses/0/params"),
        ([{"address": "600 000 001"}], {"like": {}}, "/like/recipient_id"),
        ([{"address": "600 000 001"}], {"like": {"recipient_id": ""}}, "/like/recipient_id"),
        ([{"address": "600 000 001"}], {"like": {"address": "+34600000010"}}, "/like/recipient_id"),
    ],
)
async def test_a_proof_like_nobody_is_refused(
    sending: Sending, addresses: list[dict[str, Any]], fields: dict[str, Any], pointer: str
) -> None:
    await audience(sending)
    assert pointer in [error["pointer"] for error in await refused(sending, *addresses, **fields)]


async def test_a_proof_like_somebody_needs_pii_read(sending: Sending, key: KeyMaker) -> None:
    await audience(sending)
    headers = await key("deliveries:write")
    for body in (
        {"addresses": [{"address": "600 000 001"}], "like": {"recipient_id": "c-1"}},
        {"addresses": [{"address": "600 000 001", "like": {"recipient_id": "c-1"}}]},
    ):
        answer = await sending.client.post(f"{sending.url}/proofs", json=body, headers=headers)
        assert (answer.status_code, "pii:read" in answer.json()["detail"]) == (403, True)
