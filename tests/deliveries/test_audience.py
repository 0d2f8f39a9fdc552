"""Audiences in: what is taken, what is refused, and that an upload is whole or not at all."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import pytest_asyncio
from fastapi import FastAPI
from pydantic import SecretStr
from starlette.types import Message

from app.api.bulk import Line
from app.deliveries import audience as targets
from app.settings import Settings
from tests.conftest import ADMIN_SECRET, Headers, KeyMaker

from .audience import Delivery, mobile

MOST = 5_000


@pytest.fixture(scope="module")
def settings(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    data_dir: Path = tmp_path_factory.mktemp("data")
    return Settings(database_url=database_url, data_dir=data_dir, admin_key=SecretStr(ADMIN_SECRET), audience_max=MOST)


@pytest_asyncio.fixture(loop_scope="session")
async def delivery(app: FastAPI, client: httpx.AsyncClient, admin: Headers) -> Delivery:
    return await Delivery.make(app, client, admin)


async def kept(delivery: Delivery) -> list[dict[str, Any]]:
    """The audience as it stands, positions checked to be without gaps."""
    async with delivery.app.state.pool.acquire() as connection:
        rows = await connection.fetch("SELECT * FROM targets WHERE delivery_id = $1 ORDER BY position", delivery.id)
    assert [row["position"] for row in rows] == list(range(1, len(rows) + 1))
    assert (await delivery.get())["targets"] == len(rows)
    return [{name: row[name] for name in ("given", "recipient_id", "params", "control")} for row in rows]


# --- one row ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"address": " +34 600 "}, ("+34 600", None, None, False)),
        ({}, ("", None, None, False)),
        ({"address": None, "recipient_id": None, "params": None, "control": None}, ("", None, None, False)),
        ({"address": "nonsense", "recipient_id": "", "params": {}}, ("nonsense", None, None, False)),
        ({"address": "\0"}, ("�", None, None, False)),
        ({"address": "1", "control": True, "recipient_id": "c"}, ("1", "c", None, True)),
        ({"params": {"a": "x", "b": 1, "c": 1.5, "d": True, "e": None}},
         ("", None, {"a": "x", "b": 1, "c": 1.5, "d": True, "e": None}, False)),
        ({"params": {"n" * 64: "v" * 1_000}}, ("", None, {"n" * 64: "v" * 1_000}, False)),
        ({"params": {"n": 2**63 - 1}}, ("", None, {"n": 2**63 - 1}, False)),
    ],
)  # fmt: skip
def test_a_good_row_is_taken_as_it_is_given(row: Mapping[str, Any], expected: tuple[Any, ...]) -> None:
    assert tuple(targets.read(Line(1, orjson.dumps(row)))) == expected
    assert tuple(targets.read(Line(1, dict(row)))) == expected


@pytest.mark.parametrize(
    "row",
    [
        {"address": 34600123123}, {"address": ["+34600123123"]}, {"address": "1" * 201}, {"recipient_id": 7},
        {"recipient_id": "c" * 256}, {"recipient_id": "\0"}, {"control": "true"}, {"control": 1}, {"params": []},
        {"params": "x"}, {"params": {"a": {}}}, {"params": {"a": ["x"]}}, {"params": {"a": "x" * 1_001}},
        {"params": {"a": "\0"}}, {"params": {"\0": "a"}}, {"params": {"n" * 65: "a"}}, {"params": {"a": 2**63}},
        {"params": {str(number): 1 for number in range(51)}}, {"adress": "+34600123123"}, [], "x", None, 7,
    ],
)  # fmt: skip
def test_a_row_with_wrong_types_is_refused_with_a_sentence(row: Any) -> None:
    with pytest.raises(ValueError, match=r"^\w.*\.$"):
        targets.read(Line(1, orjson.dumps(row)))


@pytest.mark.parametrize(
    ("said", "control"),
    [("true", True), ("1", True), ("Yes", True), ("false", False), ("0", False), ("NO", False), ("", False)],
)
def test_csv_says_who_is_in_the_control_group_in_words(said: str, control: bool) -> None:
    assert targets.read(Line(1, {"address": "1", "control": said}, csv=True)).control is control


@pytest.mark.parametrize("row", [{"control": "perhaps"}, {"params": "{}"}])
def test_csv_that_cannot_be_meant_is_refused(row: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=next(iter(row))):
        targets.read(Line(1, row, csv=True))


# --- a whole upload --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["application/x-ndjson", "application/json", "text/csv"])
async def test_each_kind_of_body_gives_the_same_audience(delivery: Delivery, kind: str) -> None:
    rows = [
        {"address": "+34600000001", "recipient_id": "c-1", "params": {"name": "Ana, de Sol", "code": "007"}},
        {"address": "no number", "control": True},
        {"recipient_id": "c-3"},
    ]
    bodies = {
        "application/x-ndjson": "\n".join(map(json.dumps, rows)),
        "application/json": json.dumps(rows),
        "text/csv": 'address,recipient_id,control,name,code\n+34600000001,c-1,,"Ana, de Sol",007\nno number,,yes,,\n,c-3,0,,\n',
    }
    answer = await delivery.post("targets", bodies[kind].encode(), kind)
    told = answer.json()
    assert (answer.status_code, told.pop("reading")["rows"]) == (200, 3)
    assert told == {"accepted": 3, "rejected": 0, "errors": [], "total": 3}
    assert await kept(delivery) == [
        {"given": "+34600000001", "recipient_id": "c-1", "params": {"name": "Ana, de Sol", "code": "007"}, "control": False},
        {"given": "no number", "recipient_id": None, "params": None, "control": True},
        {"given": "", "recipient_id": "c-3", "params": None, "control": False},
    ]  # fmt: skip


async def test_a_bad_row_never_costs_its_neighbours(delivery: Delivery) -> None:
    body = b'{"address": "+34600000001"}\n{"address": 5}\nnonsense\n{"address": "+34600000002"}'
    answer = (await delivery.post("targets", body, "application/x-ndjson")).json()
    assert (answer["accepted"], answer["rejected"], answer["total"]) == (2, 2, 2)
    assert answer["errors"] == [
        {"line": 2, "detail": "address: this must be a text."}, {"line": 3, "detail": "The row is not JSON."}
    ]  # fmt: skip
    assert [row["given"] for row in await kept(delivery)] == ["+34600000001", "+34600000002"]
    (entry,) = await delivery.journal("DLV-TARGETS")
    assert (entry["level"], entry["data"]) == (
        "warning", {"mode": "append", "accepted": 2, "rejected": 2, "total": 2}
    )  # fmt: skip


async def test_an_upload_is_added_or_takes_the_place_of_all_others(delivery: Delivery) -> None:
    await delivery.upload(["1", "2"])
    assert (await delivery.upload(["3"])).json()["total"] == 3
    assert [row["given"] for row in await kept(delivery)] == ["1", "2", "3"]
    assert (await delivery.upload(["4", "5"], mode="replace")).json()["total"] == 2
    assert [row["given"] for row in await kept(delivery)] == ["4", "5"]


async def test_an_upload_without_one_good_row_changes_nothing(delivery: Delivery) -> None:
    await delivery.upload(["1", "2"])
    for mode in ("append", "replace"):
        answer = await delivery.upload([{"address": 1}], mode=mode)
        assert (answer.status_code, answer.json()["total"]) == (422, 2)
        assert (await delivery.post(f"targets?mode={mode}", b"", "application/x-ndjson")).status_code == 400
    assert [row["given"] for row in await kept(delivery)] == ["1", "2"]


@pytest.mark.parametrize("mode", ["append", "replace"])
async def test_an_audience_that_is_too_large_is_refused_whole(delivery: Delivery, mode: str) -> None:
    await delivery.upload(["1", "2"])
    most = MOST - 2 if mode == "append" else MOST
    for way in (f"{mode}&dry_run=true", mode):
        answer = await delivery.upload([mobile(number) for number in range(most + 1)], mode=way)
        assert answer.status_code == 413
        assert str(MOST) in answer.json()["detail"]
    fits = await delivery.upload([mobile(number) for number in range(most)], mode=f"{mode}&dry_run=true")
    assert (fits.status_code, fits.json()["accepted"]) == (200, most)
    assert len(await kept(delivery)) == 2
    assert (await delivery.upload([mobile(number) for number in range(most)], mode=mode)).json()["total"] == MOST
    assert len(await kept(delivery)) == MOST


async def test_an_upload_that_breaks_off_keeps_nothing(delivery: Delivery) -> None:
    await delivery.upload(["1"])
    messages: Iterator[Message] = iter(
        [
            {"type": "http.request", "body": b'{"address": "2"}\n' * 1_000, "more_body": True},
            {"type": "http.disconnect"},
        ]
    )
    answers: list[Message] = []

    async def receive() -> Message:
        return next(messages)

    async def send(message: Message) -> None:
        answers.append(message)

    scope = {
        "type": "http", "method": "POST", "path": f"{delivery.url}/targets", "query_string": b"mode=replace",
        "headers": [(b"content-type", b"application/x-ndjson"), (b"authorization", delivery.headers["Authorization"].encode())],
        "http_version": "1.1", "scheme": "http", "server": ("acuse.test", 80), "client": ("127.0.0.1", 1), "root_path": "",
    }  # fmt: skip
    await delivery.app(scope, receive, send)
    assert answers[0]["status"] == 400
    assert [row["given"] for row in await kept(delivery)] == ["1"]


async def test_a_json_array_that_breaks_off_keeps_nothing(delivery: Delivery) -> None:
    await delivery.upload(["1"])
    body = json.dumps([{"address": mobile(number)} for number in range(3_000)])[:-20].encode()
    assert (await delivery.post("targets?mode=replace", body, "application/json")).status_code == 400
    assert [row["given"] for row in await kept(delivery)] == ["1"]


@pytest.mark.parametrize("status", ["preparing", "in_progress", "finished", "cancelled", "failed"])
async def test_the_audience_is_locked_unless_it_is_edited(delivery: Delivery, status: str) -> None:
    await delivery.upload(["1"])
    await delivery.set_status(status)
    assert (await delivery.upload(["2"])).status_code == 409
    assert len(await kept(delivery)) == 1


async def test_what_was_prepared_must_be_prepared_again(delivery: Delivery) -> None:
    await delivery.prepared([mobile(1)])
    await delivery.upload([mobile(2)])
    assert (await delivery.get())["status"] == "editing"


async def test_a_wrong_type_or_mode_and_a_delivery_that_is_not_there_are_told(delivery: Delivery) -> None:
    assert (await delivery.post("targets", b"x", "text/plain")).status_code == 415
    assert (await delivery.upload(["1"], mode="merge")).status_code == 422
    delivery.url = "/v1/deliveries/999999"
    assert (await delivery.upload(["1"])).status_code == 404


async def test_two_uploads_at_once_leave_no_half_state(delivery: Delivery) -> None:
    async def upload(first: int) -> httpx.Response:
        return await delivery.upload([mobile(first + number) for number in range(1_000)])

    answers = await asyncio.gather(upload(0), upload(10_000), upload(20_000))
    taken = [answer for answer in answers if answer.status_code == 200]
    assert taken
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert len(await kept(delivery)) == 1_000 * len(taken)


async def test_a_cancelled_delivery_takes_no_upload_that_was_under_way(delivery: Delivery) -> None:
    cancelled = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b'{"address": "1"}\n'
        await cancelled.wait()
        yield b'{"address": "2"}\n'

    headers = delivery.headers | {"Content-Type": "application/x-ndjson"}
    upload = asyncio.create_task(delivery.client.post(f"{delivery.url}/targets", content=body(), headers=headers))
    await asyncio.sleep(0.05)
    assert (await delivery.post("cancel")).status_code == 200
    cancelled.set()
    assert (await upload).status_code == 409
    assert await kept(delivery) == []


async def test_the_audience_is_shown_page_by_page_and_masked(delivery: Delivery, key: KeyMaker) -> None:
    row = {"address": "+34600123000", "params": {"phone": "+34600999111", "points": 3}}
    await delivery.upload([row, {"address": ""}, *map(mobile, range(5))])
    page = await delivery.get("targets", limit=2)
    assert page["total"] == 7
    assert [item["address"] for item in page["items"]] == ["+34600123000", None]
    rest = await delivery.get("targets", cursor=page["next_cursor"])
    assert [item["position"] for item in rest["items"]] == [3, 4, 5, 6, 7]
    delivery.headers = await key("deliveries:read")
    item = (await delivery.get("targets", limit=1))["items"][0]
    assert (item["address"], item["params"]) == ("+34600•••000", {"phone": "•••", "points": "•••"})
    assert (await delivery.upload(["1"])).status_code == 403
