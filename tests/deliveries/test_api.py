"""Deliveries through the API: create, list, read, change, cancel, recompute."""

import json
from datetime import UTC, datetime
from typing import Any, get_args

import httpx
import pytest
from fastapi import FastAPI

from app.deliveries import lifecycle
from app.projections.fold import fold
from tests.conftest import Headers, KeyMaker
from tests.messages.rows import Row, add_delivery, add_gateway, add_messages

URL = "/v1/deliveries"
NEW = {"label": "Autumn sale", "sender": "Acme"}


async def created(client: httpx.AsyncClient, admin: Headers, **fields: Any) -> dict[str, Any]:
    answer = await client.post(URL, json=NEW | fields, headers=admin)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def journal(client: httpx.AsyncClient, admin: Headers, id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await client.get(f"{URL}/{id}/audit", headers=admin)).json()["items"]
    return found


async def set_status(app: FastAPI, id: str, status: str) -> None:
    async with app.state.pool.acquire() as connection:
        await connection.execute("UPDATE deliveries SET status = $2 WHERE id = $1", int(id), status)


# --- create ----------------------------------------------------------------------------------------------------------


async def test_a_new_delivery_is_editing_and_has_a_code(client: httpx.AsyncClient, admin: Headers) -> None:
    found = await created(client, admin)
    assert found["code"] == f"DM{found['id']}"
    assert (found["status"], found["tracking"], found["validity_seconds"]) == ("editing", True, 302_400)
    assert found["indicators"]["to_send"] == 0
    assert (await client.get(f"{URL}/{found['id']}", headers=admin)).json() == found
    entry = (await journal(client, admin, found["id"]))[-1]
    assert (entry["code"], entry["data"]["values"]["label"]) == ("DLV-CREATED", "Autumn sale")


@pytest.mark.parametrize(
    "fields",
    [
        {"sender": "12345678901"[:11] + "x"}, {"sender": "Acme!"}, {"sender": ""}, {"sender": "+0123"},
        {"sender": "+12345678901234567"}, {"sender": "12"}, {"sender": "A\0"}, {"label": ""}, {"label": "  "},
        {"label": "x" * 201}, {"label": "a\0b"}, {"label": None}, {"label": 7}, {"label": "\ud800"},
        {"default_region": "XX"}, {"default_region": "es"}, {"validity_seconds": 59}, {"validity_seconds": 2_592_001},
        {"validity_seconds": "60"}, {"validity_seconds": 60.5}, {"tracking": "yes"}, {"tracking": 1},
        {"metadata": []}, {"metadata": {"a": "x" * 10_000}}, {"metadata": {"a": ["\0"]}}, {"metadata": {"\0": 1}},
        {"metadata": {"a": "\ud800"}}, {"metadata": {"a": 2**70}}, {"gateway": "nobody"}, {"gateway": "a\0"},
        {"content": "x" * 10_001}, {"content": "\0"}, {"colour": "red"},
    ],
)  # fmt: skip
async def test_a_field_that_cannot_be_taken_is_named(
    client: httpx.AsyncClient, admin: Headers, fields: dict[str, Any]
) -> None:
    body = json.dumps(NEW | fields)  # escapes what httpx would not encode
    answer = await client.post(URL, content=body, headers=admin | {"Content-Type": "application/json"})
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["errors"][0]["pointer"].startswith(f"/{next(iter(fields))}")


@pytest.mark.parametrize("sender", ["Acme", "My Shop-1", "A&B.c_d", "+34600123123", "25252", "12345678"])
async def test_senders_are_names_or_numbers(client: httpx.AsyncClient, admin: Headers, sender: str) -> None:
    assert (await created(client, admin, sender=sender))["sender"] == sender


async def test_the_same_idempotency_key_creates_once(client: httpx.AsyncClient, admin: Headers) -> None:
    headers = admin | {"Idempotency-Key": "one"}
    first = await client.post(URL, json=NEW, headers=headers)
    again = await client.post(URL, json=NEW, headers=headers)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert (await client.post(URL, json=NEW | {"label": "B"}, headers=headers)).status_code == 409


async def test_reading_and_writing_need_their_scopes(client: httpx.AsyncClient, key: KeyMaker) -> None:
    reader = await key("deliveries:read")
    assert (await client.get(URL, headers=reader)).status_code == 200
    assert (await client.post(URL, json=NEW, headers=reader)).status_code == 403
    assert (await client.get(URL)).status_code == 401


# --- list ------------------------------------------------------------------------------------------------------------


async def test_pages_go_from_the_newest_to_the_oldest(client: httpx.AsyncClient, admin: Headers) -> None:
    ids = [(await created(client, admin, label="Paged"))["id"] for _ in range(7)]
    seen: list[str] = []
    cursor: str | None = None
    while True:
        params: dict[str, Any] = {"q": "paged", "limit": 3} | ({"cursor": cursor} if cursor else {})
        page = (await client.get(URL, params=params, headers=admin)).json()
        assert page["total"] == 7
        seen += [item["id"] for item in page["items"]]
        if (cursor := page["next_cursor"]) is None:
            break
    assert seen == ids[::-1]


async def test_a_list_is_narrowed_by_all_that_is_given(client: httpx.AsyncClient, admin: Headers, app: FastAPI) -> None:
    one = await created(client, admin, label="50%_off", sender="Zed")
    await set_status(app, one["id"], "prepared")

    async def ids(**params: Any) -> list[str]:
        page = (await client.get(URL, params=params, headers=admin)).json()
        assert page["total"] == len(page["items"])
        return [item["id"] for item in page["items"]]

    assert await ids(q="50%_OFF") == await ids(q="zed") == [one["id"]]
    assert one["id"] in await ids(q=f"dm{one['id']}")
    assert await ids(q="%_%_%_") == []
    assert await ids(status="prepared,failed") == [one["id"]]
    assert await ids(status="prepared", q="nothing") == []
    assert await ids(q="Zed", created_before=one["created_at"]) == []
    assert await ids(q="Zed", created_after=one["created_at"]) == [one["id"]]


@pytest.mark.parametrize(
    "params", [{"status": "lost"}, {"q": "\0"}, {"created_after": "yesterday"}, {"cursor": "x"}, {"limit": "0"}]
)
async def test_a_question_that_makes_no_sense_is_refused(
    client: httpx.AsyncClient, admin: Headers, params: dict[str, str]
) -> None:
    assert (await client.get(URL, params=params, headers=admin)).status_code == 422


async def test_each_item_carries_its_indicators(client: httpx.AsyncClient, admin: Headers, app: FastAPI) -> None:
    async with app.state.pool.acquire() as connection:
        for label, count in (("Few", 2), ("More", 5)):
            rows = [Row(address="+34600123123", status="received")] * count
            await add_messages(connection, await add_delivery(connection, f"Counted {label}"), rows)
    page = (await client.get(URL, params={"q": "counted"}, headers=admin)).json()
    assert [item["indicators"]["success"] for item in page["items"]] == [5, 2]


@pytest.mark.parametrize("id", ["0", "999999", "9" * 30, "x", "-1"])
async def test_a_delivery_that_does_not_exist_is_not_found(client: httpx.AsyncClient, admin: Headers, id: str) -> None:
    assert (await client.get(f"{URL}/{id}", headers=admin)).status_code == 404
    assert (await client.patch(f"{URL}/{id}", json={"label": "x"}, headers=admin)).status_code == 404
    for action in ("cancel", "recompute"):
        assert (await client.post(f"{URL}/{id}/{action}", headers=admin)).status_code == 404


# --- change ----------------------------------------------------------------------------------------------------------


async def test_a_change_is_in_the_journal_with_old_and_new(
    client: httpx.AsyncClient, admin: Headers, app: FastAPI
) -> None:
    async with app.state.pool.acquire() as connection:
        await add_gateway(connection, "acme")
    one = await created(client, admin, content="Hello")
    change = {"label": "Winter", "content": None, "gateway": "acme"}
    answer = await client.patch(f"{URL}/{one['id']}", json=change, headers=admin)
    assert answer.status_code == 200
    assert {name: answer.json()[name] for name in change} == change
    entry = next(e for e in await journal(client, admin, one["id"]) if e["code"] == "DLV-EDITED")
    assert entry["data"]["changes"] == {
        "label": {"old": "Autumn sale", "new": "Winter"},
        "content": {"old": "Hello", "new": None},
        "gateway": {"old": None, "new": "acme"},
    }


async def test_a_change_that_changes_nothing_leaves_no_trace(client: httpx.AsyncClient, admin: Headers) -> None:
    one = await created(client, admin)
    answer = await client.patch(f"{URL}/{one['id']}", json={"label": "Autumn sale"}, headers=admin)
    assert answer.json() == one
    assert len(await journal(client, admin, one["id"])) == 1


@pytest.mark.parametrize("body", [{"label": None}, {"tracking": None}, {"metadata": None}, {"id": "1"}, [], "x"])
async def test_a_change_that_cannot_be_is_refused(client: httpx.AsyncClient, admin: Headers, body: Any) -> None:
    one = await created(client, admin)
    assert (await client.patch(f"{URL}/{one['id']}", json=body, headers=admin)).status_code == 422


async def test_what_was_prepared_must_be_prepared_again(
    client: httpx.AsyncClient, admin: Headers, app: FastAPI
) -> None:
    one = await created(client, admin)
    await set_status(app, one["id"], "prepared")
    named = await client.patch(f"{URL}/{one['id']}", json={"label": "B", "metadata": {"a": 1}}, headers=admin)
    assert named.json()["status"] == "prepared"  # no message has anything of these
    assert (await client.patch(f"{URL}/{one['id']}", json={"sender": "B2"}, headers=admin)).json()[
        "status"
    ] == "editing"


@pytest.mark.parametrize("status", ["preparing", "in_progress", "finished", "cancelled", "failed"])
async def test_a_delivery_is_locked_from_its_start_on(
    client: httpx.AsyncClient, admin: Headers, app: FastAPI, status: str
) -> None:
    one = await created(client, admin)
    await set_status(app, one["id"], status)
    for change in ({"sender": "B2"}, {"label": "B", "sender": "B2"}, {"metadata": {}, "content": "x"}):
        answer = await client.patch(f"{URL}/{one['id']}", json=change, headers=admin)
        assert answer.status_code == 409
        assert "label and metadata" in answer.json()["detail"]
    assert (await client.get(f"{URL}/{one['id']}", headers=admin)).json()["label"] == "Autumn sale"


@pytest.mark.parametrize("status", get_args(lifecycle.Status))
async def test_label_and_metadata_can_change_at_any_time(
    client: httpx.AsyncClient, admin: Headers, app: FastAPI, status: str
) -> None:
    one = await created(client, admin)
    await set_status(app, one["id"], status)
    change = {"label": "B", "metadata": {"order": 7}}
    answer = await client.patch(f"{URL}/{one['id']}", json=change, headers=admin)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["label"], answer.json()["metadata"], answer.json()["status"]) == ("B", {"order": 7}, status)
    entry = next(e for e in await journal(client, admin, one["id"]) if e["code"] == "DLV-EDITED")
    assert entry["data"]["changes"]["label"] == {"old": "Autumn sale", "new": "B"}


@pytest.mark.parametrize("status", get_args(lifecycle.Status))
def test_every_status_has_an_answer_to_every_change(status: lifecycle.Status) -> None:
    editable, cancellable = status in ("editing", "prepared"), status not in ("finished", "cancelled", "failed")
    for rule, allowed in ((lifecycle.after_edit, editable), (lifecycle.after_cancel, cancellable)):
        if allowed:
            assert rule(status) in ("editing", "cancelled")
        else:
            with pytest.raises(lifecycle.Locked):
                rule(status)


# --- cancel and recompute --------------------------------------------------------------------------------------------


async def with_messages(app: FastAPI, id: str, count: int) -> list[int]:
    """`count` pending messages, folded from facts."""
    async with app.state.pool.acquire() as connection, connection.transaction():
        rows = await connection.fetch(
            "INSERT INTO messages (delivery_id, address, created_at) "
            "SELECT $1, '+34600123123', $2 FROM generate_series(1, $3) RETURNING id",
            int(id), datetime.now(UTC), count,
        )  # fmt: skip
        ids = [row["id"] for row in rows]
        await fold(connection, ids, datetime.now(UTC))
    return ids


async def test_cancelling_takes_back_what_was_not_handed_over(
    client: httpx.AsyncClient, admin: Headers, app: FastAPI
) -> None:
    async with app.state.pool.acquire() as connection:
        gateway = await add_gateway(connection, "sender")
    one = await created(client, admin)
    ids = await with_messages(app, one["id"], 4_500)
    async with app.state.pool.acquire() as connection, connection.transaction():
        await connection.execute(
            "INSERT INTO submissions (message_id, gateway_id, submitted_at, recorded_at, provider_message_ids) "
            "VALUES ($1, $2, now(), now(), '{A1}')",
            ids[3], gateway,
        )  # fmt: skip
        await fold(connection, [ids[3]], datetime.now(UTC))
    await set_status(app, one["id"], "in_progress")
    found = (await client.post(f"{URL}/{one['id']}/cancel", headers=admin)).json()
    assert found["status"] == "cancelled"
    assert (found["indicators"]["cancelled"], found["indicators"]["in_transit"]) == (4_499, 1)
    again = await client.post(f"{URL}/{one['id']}/cancel", headers=admin)
    assert again.json()["indicators"] == found["indicators"]
    codes = [entry["code"] for entry in await journal(client, admin, one["id"])]
    assert codes.count("DLV-CANCELLED") == 1
    assert (await client.post(f"{URL}/{one['id']}/recompute", headers=admin)).json()["drift"] == 0


async def test_what_is_over_cannot_be_cancelled(client: httpx.AsyncClient, admin: Headers, app: FastAPI) -> None:
    for status in ("finished", "failed"):
        one = await created(client, admin)
        await set_status(app, one["id"], status)
        assert (await client.post(f"{URL}/{one['id']}/cancel", headers=admin)).status_code == 409


async def test_a_recompute_reports_the_drift_and_mends_it(
    client: httpx.AsyncClient, admin: Headers, app: FastAPI
) -> None:
    one = await created(client, admin)
    await with_messages(app, one["id"], 10)
    url = f"{URL}/{one['id']}/recompute"
    assert (await client.post(url, headers=admin)).json() == {
        "drift": 0, "states_changed": 0, "counters": {"pending": 10},
    }  # fmt: skip
    async with app.state.pool.acquire() as connection:
        await connection.execute(
            "UPDATE counters SET value = value + 3 WHERE delivery_id = $1 AND metric = 'status'", int(one["id"])
        )
    assert (await client.post(url, headers=admin)).json()["drift"] == 3
    assert (await client.post(url, headers=admin)).json()["drift"] == 0
    levels = [entry["level"] for entry in await journal(client, admin, one["id"]) if entry["code"] == "DLV-RECOMPUTED"]
    assert sorted(levels) == ["info", "info", "warning"]


async def test_a_change_of_gateway_or_validity_leaves_no_drift(
    client: httpx.AsyncClient, admin: Headers, app: FastAPI
) -> None:
    async with app.state.pool.acquire() as connection:
        await add_gateway(connection, "other")
    one = await created(client, admin)
    await with_messages(app, one["id"], 10)
    await client.patch(f"{URL}/{one['id']}", json={"gateway": "other", "validity_seconds": 60}, headers=admin)
    assert (await client.get(f"{URL}/{one['id']}/summary", headers=admin)).json()["by_gateway"] == {
        "other": {"pending": 10}
    }
    assert (await client.post(f"{URL}/{one['id']}/recompute", headers=admin)).json()["drift"] == 0
