"""One target taken out or corrected before the start, and defaults where it has no value."""

from typing import Any

import httpx
import orjson
import pytest
from fastapi import FastAPI

from app.deliveries import preparation
from tests.conftest import Headers, KeyMaker

from .audience import Delivery, mobile

ROWS = [
    {"address": mobile(number), "recipient_id": f"c-{number}", "params": {"name": f"N{number}"}}
    for number in range(1, 6)
]


@pytest.fixture
async def one(app: FastAPI, client: httpx.AsyncClient, admin: Headers) -> Delivery:
    made = await Delivery.make(app, client, admin, content="Hello {{name}}, STOP to 25252")
    assert (await made.upload(ROWS)).status_code == 200
    return made


async def ask(delivery: Delivery, method: str, position: object, body: Any = None, **params: Any) -> httpx.Response:
    url = f"{delivery.url}/targets/{position}"
    return await delivery.client.request(method, url, json=body, params=params, headers=delivery.headers)


async def outcomes(delivery: Delivery) -> dict[int, str | None]:
    async with delivery.app.state.pool.acquire() as connection:
        rows = await connection.fetch(
            "SELECT position, NULL AS reason FROM messages WHERE delivery_id = $1 AND NOT proof UNION ALL "
            "SELECT position, reason FROM exclusions WHERE delivery_id = $1 ORDER BY position",
            delivery.id,
        )
    return {row["position"]: row["reason"] for row in rows}


async def books(delivery: Delivery, targets: int) -> None:
    summary = await delivery.get("summary")
    assert (
        summary["targeted"] == summary["to_send"] + summary["excluded"] == targets == (await delivery.get())["targets"]
    )
    assert (await delivery.post("recompute")).json()["drift"] == 0


async def outbox(delivery: Delivery) -> list[dict[str, Any]]:
    answer = await delivery.client.get(f"{delivery.url}/outbox", headers=delivery.headers)
    return [orjson.loads(line) for line in answer.content.splitlines()]


# --- taken out -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gone", [(1,), (3,), (5,), (1, 2), (2, 4), (4, 5), (1, 2, 3, 4)])
async def test_who_is_taken_out_gets_nothing_and_all_others_keep_their_places(
    one: Delivery, gone: tuple[int, ...]
) -> None:
    for number, position in enumerate(gone, 1):
        answer = await ask(one, "DELETE", position)
        assert (answer.status_code, answer.json()["total"]) == (200, 5 - number)
        assert answer.json()["target"]["recipient_id"] == f"c-{position}"
    prepared = await one.prepare()
    left = [position for position in range(1, 6) if position not in gone]
    assert await outcomes(one) == dict.fromkeys(left)
    assert prepared["preparation"]["messages"] == len(left)
    await books(one, len(left))
    assert (await one.post("start")).status_code == 200
    assert [row["text"] for row in await outbox(one)] == [f"Hello N{position}, STOP to 25252" for position in left]
    (entry,) = await one.journal("DLV-PREPARED")
    assert entry["data"]["targets"] == len(left)


async def test_holes_of_whole_chunks_hold_nothing_up(one: Delivery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparation, "CHUNK", 2)
    await one.upload([mobile(number) for number in range(10, 20)])
    for position in (3, 4, 5, 6, 7, 8, 15):
        assert (await ask(one, "DELETE", position)).status_code == 200
    content = {"content": "Hello {{name|you}}, STOP to 25252"}
    assert (await one.client.patch(one.url, json=content, headers=one.headers)).status_code == 200
    await one.prepare()
    assert sorted(await outcomes(one)) == [1, 2, 9, 10, 11, 12, 13, 14]
    await books(one, 8)


async def test_what_is_uploaded_afterwards_comes_behind_all_others(one: Delivery) -> None:
    await ask(one, "DELETE", 2)
    assert (await one.upload([mobile(9)])).json()["total"] == 5
    assert [item["position"] for item in (await one.get("targets"))["items"]] == [1, 3, 4, 5, 6]
    assert (await one.upload([mobile(8)], mode="replace")).json()["total"] == 1
    assert [item["position"] for item in (await one.get("targets"))["items"]] == [1]


async def test_a_dry_run_only_shows_whom_it_would_take_out(one: Delivery) -> None:
    before = await one.get("targets")
    answer = (await ask(one, "DELETE", 3, dry_run="true")).json()
    assert (answer["dry_run"], answer["total"], answer["target"]) == (True, 4, before["items"][2])
    assert await one.get("targets") == before
    assert len(await one.journal("DLV-TARGETS")) == 1


async def test_the_last_one_taken_out_leaves_no_audience(one: Delivery) -> None:
    for position in range(1, 6):
        await ask(one, "DELETE", position)
    answer = await one.post("prepare")
    assert (answer.status_code, "no targets" in answer.json()["detail"]) == (409, True)


@pytest.mark.parametrize("position", [0, 6, 2**31, 10**18, -1, "x", "²"])
async def test_a_target_that_is_not_there_is_not_found(one: Delivery, position: object) -> None:
    for method, body in (("DELETE", None), ("PATCH", {"address": mobile(1)})):
        assert (await ask(one, method, position, body)).status_code == 404


async def test_the_journal_says_who_was_taken_out(one: Delivery) -> None:
    await ask(one, "DELETE", 2)
    entry = (await one.journal("DLV-TARGETS"))[-1]
    assert entry["text"] == "Target 2 was taken out; now: 4."
    assert entry["data"]["target"] == {
        "address": mobile(2),
        "recipient_id": "c-2",
        "params": {"name": "N2"},
        "control": False,
    }
    assert (await one.get("audit/verify"))["intact"] is True


# --- corrected -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"address": " +34600000099 "}, {"address": "+34600000099"}),
        ({"address": None}, {"address": None}),
        ({"recipient_id": "new"}, {"recipient_id": "new"}),
        ({"recipient_id": None}, {"recipient_id": None}),
        ({"control": True}, {"control": True}),
        ({"params": {"name": "Ana"}}, {"params": {"name": "Ana"}}),
        ({"params": {"town": "Cádiz"}}, {"params": {"name": "N2", "town": "Cádiz"}}),
        ({"params": {"name": None, "points": 7}}, {"params": {"points": 7}}),
        ({"params": None}, {"params": {}}),
        ({"params": {}}, {}),
        ({}, {}),
    ],
)
async def test_only_what_is_given_changes(one: Delivery, change: dict[str, Any], expected: dict[str, Any]) -> None:
    before = (await one.get("targets"))["items"]
    answer = await ask(one, "PATCH", 2, change)
    assert (answer.status_code, answer.json()) == (200, before[1] | expected)
    assert (await one.get("targets"))["items"] == [before[0], answer.json(), *before[2:]]
    assert len(await one.journal("DLV-TARGETS")) == (2 if expected else 1)


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"address": 5}, "/address"),
        ({"address": "6" * 201}, "/address"),
        ({"recipient_id": "r" * 256}, "/recipient_id"),
        ({"params": {"a": [1]}}, "/params"),
        ({"params": {"a": "b" * 1_001}}, "/params"),
        ({"params": {str(number): 1 for number in range(60)}}, "/params"),
        ({"control": "yes"}, "/control"),
        ({"colour": "red"}, "/colour"),
    ],
)
async def test_a_wrong_correction_is_refused_by_its_field(one: Delivery, change: dict[str, Any], pointer: str) -> None:
    answer = await ask(one, "PATCH", 2, change)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer), answer.text


async def test_what_was_prepared_must_be_prepared_again_and_then_is_right(one: Delivery) -> None:
    await one.upload([{"address": "nobody", "params": {}}])
    found = await one.prepare()
    assert {each["code"] for each in found["preparation"]["findings"] if each["level"] == "error"} == set()
    assert await outcomes(one) == dict.fromkeys(range(1, 6)) | {6: "invalid_address"}
    assert (await ask(one, "PATCH", 6, {"address": mobile(6), "params": {"name": "Six"}})).status_code == 200
    assert (await one.get())["status"] == "editing"
    assert (await one.post("start")).status_code == 409
    await one.prepare()
    assert await outcomes(one) == dict.fromkeys(range(1, 7))
    await books(one, 6)


@pytest.mark.parametrize("status", ["preparing", "in_progress", "finished", "cancelled", "failed"])
async def test_after_the_start_nobody_is_taken_out_or_corrected(one: Delivery, status: str) -> None:
    await one.set_status(status)
    for method, body in (("DELETE", None), ("PATCH", {"control": True})):
        answer = await ask(one, method, 1, body)
        assert (answer.status_code, status.replace("_", " ") in answer.json()["detail"]) == (409, True)
    assert (await one.get("targets"))["total"] == 5
    await one.set_status("editing")


async def test_a_key_without_pii_read_corrects_and_sees_masks(one: Delivery, key: KeyMaker) -> None:
    headers = await key("deliveries:read", "deliveries:write")
    url = f"{one.url}/targets/1"
    answer = await one.client.patch(url, json={"address": mobile(77), "params": {"name": "Zoe"}}, headers=headers)
    assert answer.json() == {
        "position": 1, "address": "+34600•••077", "recipient_id": "•••", "params": {"name": "•••"}, "control": False,
    }  # fmt: skip
    gone = (await one.client.delete(url, headers=headers)).json()
    assert gone["target"] == answer.json()
    journal = (await one.client.get(f"{one.url}/audit", headers=headers)).text
    assert "Zoe" not in journal
    assert mobile(77) not in journal


# --- defaults --------------------------------------------------------------------------------------------------------


async def test_a_default_stands_in_the_text_of_whoever_has_no_value(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers
) -> None:
    one = await Delivery.make(app, client, admin, content="Hello {{name|dear customer}}, STOP to 25252")
    params = [{"name": "Ana"}, {}, {"name": ""}, {"name": "  "}, {"name": None}]
    await one.upload([{"address": mobile(place), "params": each} for place, each in enumerate(params)])
    findings = {each["code"]: each for each in (await one.prepare())["preparation"]["findings"]}
    assert "placeholder_missing" not in findings
    assert findings["placeholder_default"]["text"] == "{{name}} has no value in 4 targets: the default stands there."
    longest = "Hello dear customer, STOP to 25252"
    assert findings["parts"]["data"]["units"] == len(longest)
    assert (await one.post("start")).status_code == 200
    assert [row["text"] for row in await outbox(one)] == ["Hello Ana, STOP to 25252", *[longest] * 4]


async def test_a_default_in_another_alphabet_makes_the_dearest_text(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers
) -> None:
    one = await Delivery.make(app, client, admin, content="{{name|Ł}} STOP")
    await one.upload([{"address": mobile(1), "params": {"name": "Max"}}, mobile(2)])
    findings = {each["code"]: each for each in (await one.prepare())["preparation"]["findings"]}
    assert findings["parts"]["data"]["encoding"] == "ucs2"  # the default's letter costs more than the name
