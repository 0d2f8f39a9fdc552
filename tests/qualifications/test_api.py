"""Qualifications through the API: requalifying is retroactive, says first what it moves, and leaves a trace."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI

from tests.conftest import Headers, KeyMaker
from tests.messages.rows import Row, add_delivery, add_gateway, add_messages, add_qualifications

URL = "/v1/qualifications"


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Two deliveries with 3 and 2 messages that failed with the first qualification, and others."""

    deliveries: Sequence[int]
    qualifications: Sequence[int]

    @property
    def url(self) -> str:
        return f"{URL}/{self.qualifications[0]}"


@pytest_asyncio.fixture(loop_scope="session")
async def world(app: FastAPI) -> World:
    """Fresh for each test: they change it."""
    async with app.state.pool.acquire() as connection:
        await connection.execute(
            "TRUNCATE deliveries, messages, message_state, counters, qualifications, meanings, quarantine, gateways, audit, "
            "audit_heads RESTART IDENTITY CASCADE"
        )
        await add_gateway(connection, "acme")
        qualifications = await add_qualifications(connection)
        deliveries = [await add_delivery(connection, label) for label in ("One", "Two", "Other")]
        for delivery, count in zip(deliveries, (3, 2, 0), strict=True):
            rows = [
                Row(address="+34600123123", status="failed", gateway="acme", qualification=qualifications[0])
            ] * count
            rows += [Row(address="+34600123124", status="failed", qualification=qualifications[1])]
            await add_messages(connection, delivery, rows)
    return World(deliveries=deliveries, qualifications=qualifications)


async def summary(client: httpx.AsyncClient, admin: Headers, delivery: int) -> dict[str, Any]:
    found: dict[str, Any] = (await client.get(f"/v1/deliveries/{delivery}/summary", headers=admin)).json()
    return found


async def test_a_list_shows_how_often_each_occurs(client: httpx.AsyncClient, admin: Headers, world: World) -> None:
    page = (await client.get(URL, headers=admin)).json()
    assert [(item["error"], item["occurrences"]) for item in page["items"]] == [
        ("SR Acme UNDELIV 000", 5), ("SR Acme UNDELIV 001", 3), ("SR Acme UNDELIV 002", 0), ("SR Acme UNDELIV 003", 0),
    ]  # fmt: skip
    assert (await client.get(world.url, headers=admin)).json() == page["items"][0]


async def test_a_list_is_narrowed_and_paged(client: httpx.AsyncClient, admin: Headers, world: World) -> None:
    for params, total in (
        ({"failure_type": "soft"}, 2), ({"reason": "refused"}, 1), ({"implementation": "Acme"}, 4),
        ({"implementation": "acme"}, 0), ({"state": "to_qualify"}, 0), ({"q": "MAILBOX"}, 1), ({"q": "%"}, 0),
    ):  # fmt: skip
        page = (await client.get(URL, params=params, headers=admin)).json()
        assert (page["total"], len(page["items"])) == (total, total), params
    first = (await client.get(URL, params={"limit": 3}, headers=admin)).json()
    rest = (await client.get(URL, params={"limit": 3, "cursor": first["next_cursor"]}, headers=admin)).json()
    assert len(first["items"] + rest["items"]) == 4
    assert rest["next_cursor"] is None
    table = await client.get(URL, headers=admin | {"Accept": "text/csv"})
    assert len(table.text.splitlines()) == 5


async def test_a_preview_says_what_would_move_and_changes_nothing(
    client: httpx.AsyncClient, admin: Headers, world: World
) -> None:
    body = {"failure_type": "ignored", "reason": "error_ignored"}
    moved = (await client.post(f"{world.url}/preview", json=body, headers=admin)).json()
    assert (moved["messages"], moved["deliveries"], moved["counters"], moved["quarantines"]) == (5, 2, 8, 1)
    assert [(each["label"], each["messages"]) for each in moved["per_delivery"]] == [("Two", 2), ("One", 3)]
    assert (await summary(client, admin, world.deliveries[0]))["by_reason"] == {"user_unknown": 3, "unreachable": 1}


async def test_requalifying_is_retroactive(client: httpx.AsyncClient, admin: Headers, world: World) -> None:
    body = {"failure_type": "soft", "reason": "unreachable", "sentence": "Try again."}
    preview = {name: value for name, value in body.items() if name != "sentence"}
    would = (await client.post(f"{world.url}/preview", json=preview, headers=admin)).json()
    done = (await client.patch(world.url, json=body, headers=admin)).json()
    assert done["moved"] == would
    assert done["qualification"]["sentence"] == "Try again."
    found = await summary(client, admin, world.deliveries[0])
    assert found["by_reason"] == {"unreachable": 4}
    assert found["by_failure_type"] | {"soft": 0} == dict.fromkeys(("hard", "soft", "ignored", "undefined"), 0)
    url = f"/v1/deliveries/{world.deliveries[0]}/messages"
    page = (await client.get(url, params={"reason": "unreachable"}, headers=admin)).json()
    assert (page["total"], len(page["items"])) == (4, 4)
    assert (await client.get(url, params={"reason": "user_unknown"}, headers=admin)).json()["total"] == 0


async def told(client: httpx.AsyncClient, admin: Headers, delivery: int) -> list[str]:
    """What a delivery's journal tells, without what the clock may add at any time."""
    items = (await client.get(f"/v1/deliveries/{delivery}/audit", headers=admin)).json()["items"]
    return [each["code"] for each in items if each["code"] != "DLV-FINISHED"]


async def test_the_journals_tell_a_requalification(client: httpx.AsyncClient, admin: Headers, world: World) -> None:
    await client.patch(world.url, json={"reason": "refused"}, headers=admin)
    entry = (await client.get("/v1/audit", headers=admin)).json()["items"][0]
    assert entry["code"] == "QUA-CHANGED"
    assert entry["data"]["changes"] == {"reason": {"old": "user_unknown", "new": "refused"}}
    assert entry["data"]["moved"]["messages"] == 5
    for delivery, count in zip(world.deliveries, (1, 1, 0), strict=True):
        assert await told(client, admin, delivery) == ["DLV-REQUALIFIED"] * count


async def test_a_change_that_moves_no_figure_is_told_once(
    client: httpx.AsyncClient, admin: Headers, world: World
) -> None:
    done = (await client.patch(world.url, json={"state": "ignore"}, headers=admin)).json()
    assert (done["qualification"]["state"], done["moved"]["messages"]) == ("ignore", 0)
    assert (await client.get("/v1/audit", headers=admin)).json()["total"] == 1
    assert await told(client, admin, world.deliveries[0]) == []
    await client.patch(world.url, json={"state": "ignore"}, headers=admin)
    assert (await client.get("/v1/audit", headers=admin)).json()["total"] == 1


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"error_code": "001"}, ["001"]), ({"code": "001"}, ["001"]), ({"error_code": "001", "code": "001"}, ["001"]),
        ({"error_code": "nobody's"}, []), ({"code": "nobody's"}, []),
    ],
)  # fmt: skip
async def test_an_error_code_is_asked_for_by_its_name_or_its_old_one(
    client: httpx.AsyncClient, admin: Headers, world: World, asked: dict[str, str], found: list[str]
) -> None:
    page = (await client.get(URL, params=asked, headers=admin)).json()
    assert ([item["error_code"] for item in page["items"]], page["total"]) == (found, len(found))
    assert not any("code" in item for item in page["items"])


async def test_two_names_of_one_error_code_must_not_differ(
    client: httpx.AsyncClient, admin: Headers, world: World
) -> None:
    answer = await client.get(URL, params={"error_code": "001", "code": "002"}, headers=admin)
    assert answer.status_code == 422
    assert answer.json()["errors"] == [
        {"pointer": "?code", "detail": "This is the old name of `error_code`, and they differ: give one of them."}
    ]


@pytest.mark.parametrize(
    "body",
    [
        {"failure_type": "bad"}, {"reason": "because"}, {"state": "x"}, {"reason": None}, {"sentence": ""},
        {"sentence": "a\0"}, {"sentence": "x" * 501}, {"code": "1"}, {"error_code": "1"}, [],
    ],
)  # fmt: skip
async def test_a_change_that_cannot_be_is_refused(
    client: httpx.AsyncClient, admin: Headers, world: World, body: Any
) -> None:
    assert (await client.patch(world.url, json=body, headers=admin)).status_code == 422


async def test_a_preview_takes_no_sentence(client: httpx.AsyncClient, admin: Headers, world: World) -> None:
    answer = await client.post(f"{world.url}/preview", json={"sentence": "x"}, headers=admin)
    assert answer.status_code == 422


@pytest.mark.parametrize("id", ["0", "99999", "9" * 30, "x"])
async def test_a_qualification_that_does_not_exist_is_not_found(
    client: httpx.AsyncClient, admin: Headers, id: str
) -> None:
    assert (await client.get(f"{URL}/{id}", headers=admin)).status_code == 404
    assert (await client.patch(f"{URL}/{id}", json={"state": "keep"}, headers=admin)).status_code == 404
    assert (await client.post(f"{URL}/{id}/preview", json={}, headers=admin)).status_code == 404


async def test_changing_needs_the_scope(client: httpx.AsyncClient, key: KeyMaker, world: World) -> None:
    reader = await key("deliveries:read")
    assert (await client.post(f"{world.url}/preview", json={}, headers=reader)).status_code == 200
    assert (await client.patch(world.url, json={"state": "keep"}, headers=reader)).status_code == 403
