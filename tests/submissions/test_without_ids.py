"""Rows with neither id nor reference are recognised when they are sent again: by all that they say together."""

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.matching import recording
from tests.conftest import Headers, KeyMaker
from tests.deliveries.sending import Sending

ROW: dict[str, Any] = {
    "address": "+34600111001",
    "recipient_id": "c-1",
    "submitted_at": "2026-11-23T08:00:00Z",
}


@pytest.fixture
async def sending(app: FastAPI, client: httpx.AsyncClient, admin: Headers) -> Sending:
    return await Sending.make(app, client, admin, content=None)


async def recorded(sending: Sending, *rows: dict[str, Any]) -> int:
    answer = (await sending.post("messages", list(rows))).json()
    assert (answer["accepted"], answer["errors"]) == (len(rows), []), answer
    return int((await sending.get("messages"))["total"])


@pytest.mark.parametrize(
    "again",
    [
        ROW,
        ROW | {"address": "600 111 001"},
        ROW | {"submitted_at": "2026-11-23T09:00:00+01:00"},
        ROW | {"gateway": None},
    ],
)
async def test_the_same_row_again_is_the_same_message(sending: Sending, again: dict[str, Any]) -> None:
    assert await recorded(sending, ROW) == 1
    assert await recorded(sending, {name: value for name, value in again.items() if value is not None}) == 1
    await sending.check_books()


@pytest.mark.parametrize(
    "other",
    [
        ROW | {"address": "+34600111002"},
        ROW | {"recipient_id": "c-2"},
        ROW | {"submitted_at": "2026-11-23T08:00:01Z"},
        {name: ROW[name] for name in ("address", "submitted_at")},
        {name: ROW[name] for name in ("address", "recipient_id")},
        ROW | {"metadata": {"order": 8}},
        ROW | {"metadata": {"order": "7"}},
        ROW | {"metadata": {"order": True}},
        ROW | {"metadata": {"order": 7, "more": None}},
        ROW | {"reference": "order-7"},
        ROW | {"provider_message_id": "SM-other"},
    ],
)
async def test_a_row_that_says_something_else_is_another_message(sending: Sending, other: dict[str, Any]) -> None:
    assert await recorded(sending, ROW) == 1
    assert await recorded(sending, other) == 2
    assert await recorded(sending, ROW, other) == 2


async def test_a_row_without_a_time_is_recognised_too(sending: Sending) -> None:
    row = {"address": "+34600111001"}
    assert await recorded(sending, row) == 1
    assert await recorded(sending, row, row) == 1


@pytest.mark.parametrize(
    ("metadata", "again"),
    [
        ({"order": 7, "shop": "a"}, {"shop": "a", "order": 7}),
        ({"price": 1e3}, {"price": 1000}),
        ({"of": [{"x": 0.1, "y": 1e-7}], "ñ": "😀"}, {"ñ": "😀", "of": [{"y": 0.0000001, "x": 0.1}]}),
        ({}, None),
    ],
)
async def test_metadata_is_compared_by_what_it_says_and_told_again(
    sending: Sending, metadata: dict[str, Any], again: dict[str, Any] | None, client: httpx.AsyncClient, key: KeyMaker
) -> None:
    assert await recorded(sending, ROW | {"metadata": metadata}) == 1
    assert await recorded(sending, ROW | ({} if again is None else {"metadata": again})) == 1
    assert await recorded(sending, ROW | {"metadata": {"order": 9}}) == 2
    url = f"/v1/messages/{(await sending.get('messages'))['items'][0]['id']}"
    assert (await client.get(url, headers=sending.headers)).json()["metadata"] == (metadata or None)
    masked = (await client.get(url, headers=await key("deliveries:read"))).json()["metadata"]
    assert masked == (dict.fromkeys(metadata, "•••") or None) or list(masked.values()) == [["•••"], "•••"]
    await sending.check_books()


async def test_metadata_in_a_file_is_json_in_a_cell(sending: Sending, client: httpx.AsyncClient) -> None:
    assert await recorded(sending, ROW | {"metadata": {"order": 7}}) == 1
    lines = ['"{""order"":7}"', '"{""order"": 7.0}"', '"{""order"":8}"', '""', "[1]", "order"]
    at = ROW["submitted_at"]
    cells = "\n".join(f"+34600111001,c-1,{at},{each}" for each in lines)
    answer = await client.post(
        f"{sending.url}/messages",
        content=f"address,recipient_id,submitted_at,metadata\n{cells}\n",
        headers={**sending.headers, "Content-Type": "text/csv"},
    )
    found = answer.json()
    assert (found["accepted"], [each["line"] for each in found["errors"]]) == (4, [6, 7]), found
    assert (await sending.get("messages"))["total"] == 3


async def test_twins_in_one_body_are_one(sending: Sending) -> None:
    assert await recorded(sending, ROW, ROW, ROW | {"recipient_id": "c-9"}) == 2


async def test_an_upload_that_broke_off_can_be_sent_again_whole(sending: Sending) -> None:
    rows = [ROW | {"recipient_id": f"c-{number}"} for number in range(1_500)]
    assert await recorded(sending, *rows[:700]) == 700
    assert await recorded(sending, *rows) == 1_500
    await sending.check_books()


async def test_of_all_that_stands_at_one_phone_only_what_is_asked_for_is_kept(
    sending: Sending, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A million rows to one phone, each with metadata, would fill the memory with every chunk that follows."""
    monkeypatch.setattr(recording, "_BARE_AT_A_TIME", 7)
    rows = [ROW | {"recipient_id": f"c-{number}"} for number in range(50)]
    assert await recorded(sending, *rows) == 50
    gateway = sending.app.state.directory.get(sending.key)
    at = datetime(2026, 11, 23, 8, tzinfo=UTC)
    asked = [
        recording.Sent(
            line=number,
            address=ROW["address"],
            gateway=gateway,
            recipient_id=f"c-{number}",
            submitted_at=at,
            said_at=at,
        )
        for number in (3, 49, 50)
    ]
    async with sending.app.state.pool.acquire() as connection, connection.transaction():
        standing = await recording._standing(connection, sending.id, asked)
    assert standing == {each.likeness for each in asked[:2]}


async def test_another_deliverys_message_is_none_of_ours(sending: Sending, client: httpx.AsyncClient) -> None:
    assert await recorded(sending, ROW) == 1
    other = await Sending.make(sending.app, client, sending.headers, content=None)
    assert await recorded(other, ROW) == 1
