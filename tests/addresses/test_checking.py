"""May these numbers be sent to: one answer a row, by the rules of preparation; nothing is stored."""

import csv
import io
import random
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx
import orjson
import pytest
import pytest_asyncio

from app.addresses import api
from app.addresses.checking import FirstLines
from app.db import Pool
from tests.conftest import KeyMaker

OPTED_OUT, DEAD, NOT_THIS_SENDER, SOFT = "+34600200001", "+34600200002", "+34600200003", "+34600200004"
LANDLINE, PREMIUM, FRENCH = "+34911234567", "+34803123456", "+33612345678"


@pytest_asyncio.fixture(scope="module", loop_scope="session", autouse=True)
async def _quarantine(client: httpx.AsyncClient) -> AsyncIterator[None]:
    rows = [
        {"address": OPTED_OUT},
        {"address": DEAD, "status": "quarantined", "reason": "user_unknown"},
        {"address": NOT_THIS_SENDER, "sender": "Shop"},
    ]
    assert (await client.post("/v1/quarantine", json=rows)).json()["accepted"] == 3
    yield


async def ask(client: httpx.AsyncClient, rows: list[Any], **query: Any) -> dict[str, Any]:
    answer = await client.post("/v1/addresses/check", json=rows, params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def reasons(client: httpx.AsyncClient, rows: list[Any], **query: Any) -> list[str | None]:
    return [item["reason"] for item in (await ask(client, rows, **query))["items"]]


async def test_each_row_has_one_answer_in_order_with_a_sentence(client: httpx.AsyncClient) -> None:
    rows = [
        "600 200 100",
        {"address": ""},
        {},
        "nonsense",
        "+34600200100",
        OPTED_OUT,
        {"address": DEAD, "name": "x"},
        7,
    ]
    found = await ask(client, rows, default_region="ES")
    assert [item["line"] for item in found["items"]] == list(range(1, 9))
    assert [item["reason"] for item in found["items"]] == [
        None,
        "address_not_specified",
        "address_not_specified",
        "invalid_address",
        "double",
        "denylisted",
        "quarantined",
        "unreadable",
    ]
    assert (found["allowed"], found["excluded"]) == (1, 7)
    assert [item["address"] for item in found["items"]][:5] == ["+34600200100", None, None, None, "+34600200100"]
    for item in found["items"]:
        assert item["allowed"] == (item["reason"] is None) == (item["text"] is None)
    assert found["items"][4]["text"] == "The address stands in the list already: line 1 stays."
    assert found["items"][6]["text"].startswith("In quarantine since 20")


async def test_a_double_of_an_excluded_number_is_a_double_as_in_a_delivery(client: httpx.AsyncClient) -> None:
    assert await reasons(client, [OPTED_OUT, OPTED_OUT]) == ["denylisted", "double"]


async def test_opt_outs_to_one_sender_hold_for_that_sender_only(client: httpx.AsyncClient) -> None:
    assert await reasons(client, [NOT_THIS_SENDER]) == [None]
    assert await reasons(client, [NOT_THIS_SENDER], sender="Shop") == ["denylisted"]
    assert await reasons(client, [NOT_THIS_SENDER, OPTED_OUT], sender="Other") == [None, "denylisted"]


async def test_an_opt_out_goes_before_a_quarantine(client: httpx.AsyncClient) -> None:
    both = "+34600200009"
    rows = [{"address": both, "status": "quarantined"}, {"address": both, "sender": "Shop"}]
    assert (await client.post("/v1/quarantine", json=rows)).json()["accepted"] == 2
    assert await reasons(client, [both], sender="Shop") == ["denylisted"]
    assert await reasons(client, [both]) == ["quarantined"]


async def test_the_rules_are_those_of_a_delivery(client: httpx.AsyncClient) -> None:
    rows = [LANDLINE, PREMIUM, FRENCH, "+34600200050"]
    rule = "excluded_by_rule"
    assert await reasons(client, rows) == [rule, rule, None, None]
    assert await reasons(client, rows, landlines="send", premium_rate="send") == [None] * 4
    assert await reasons(client, rows, landlines="send", countries_only="FR") == [rule, rule, None, rule]
    assert await reasons(client, rows, landlines="send", countries_except="FR,PT") == [None, rule, rule, None]
    found = await ask(client, [FRENCH], countries_only="ES")
    assert found["items"][0]["text"] == "This is a number of FR, which the delivery's countries leave out."


@pytest.mark.parametrize(
    "query",
    [
        {"default_region": "XX"},
        {"landlines": "maybe"},
        {"countries_only": "XX"},
        {"countries_only": "ES", "countries_except": "PT"},
        {"sender": "a\0b"},
    ],
)
async def test_wrong_queries_are_refused_before_anything_is_answered(
    client: httpx.AsyncClient, query: dict[str, str]
) -> None:
    answer = await client.post("/v1/addresses/check", json=["+34600200100"], params=query)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


async def test_bodies_that_are_no_list_are_refused(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def post(content: str, kind: str) -> int:
        headers = {"Content-Type": kind}
        return (await client.post("/v1/addresses/check", content=content, headers=headers)).status_code

    assert await post("hello", "text/plain") == 415
    assert await post("[", "application/json") == 400
    assert await post("[]", "application/json") == 400
    assert await post("", "application/x-ndjson") == 400
    assert await post("a,a\n1,2\n", "text/csv") == 400
    monkeypatch.setattr(api, "MOST_BYTES", 10)
    assert await post('["+34600200100"]', "application/json") == 413


async def test_lists_come_and_go_as_csv_and_ndjson(client: httpx.AsyncClient) -> None:
    headers = {"Content-Type": "text/csv", "Accept": "text/csv"}
    answer = await client.post(
        "/v1/addresses/check", content=f"name,address\nx,{OPTED_OUT}\ny,+34600200100\nz,\n", headers=headers
    )
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(row["line"], row["address"], row["allowed"], row["reason"]) for row in rows] == [
        ("2", OPTED_OUT, "false", "denylisted"),
        ("3", "+34600200100", "true", ""),
        ("4", "", "false", "address_not_specified"),
    ]
    headers = {"Content-Type": "application/x-ndjson", "Accept": "application/x-ndjson"}
    content = f'{{"address": "{DEAD}"}}\n"+34600200100"\n{{broken\n'
    answer = await client.post("/v1/addresses/check", content=content, headers=headers)
    lines = [orjson.loads(line) for line in answer.text.splitlines()]
    assert [line["reason"] for line in lines] == ["quarantined", None, "unreadable"]


async def test_checking_needs_the_right_to_see_numbers(client: httpx.AsyncClient, key: KeyMaker) -> None:
    for scopes, status in ((("quarantine:read",), 403), (("pii:read",), 403), (("quarantine:read", "pii:read"), 200)):
        answer = await client.post("/v1/addresses/check", json=[DEAD], headers=await key(*scopes))
        assert answer.status_code == status


async def test_an_erased_number_is_still_kept_away(client: httpx.AsyncClient) -> None:
    gone = "+34600200077"
    assert (await client.post("/v1/quarantine", json=[{"address": gone}])).json()["accepted"] == 1
    assert (await client.delete(f"/v1/addresses/{quote(gone)}", params={"reason": "x"})).status_code == 200
    assert await reasons(client, [gone, SOFT]) == ["denylisted", None]


async def test_nothing_is_stored(client: httpx.AsyncClient, pool: Pool) -> None:
    tables = ("messages", "exclusions", "targets", "decisions", "quarantine", "counters", "audit")
    counts = [await pool.fetchval(f"SELECT count(*) FROM {table}") for table in tables]
    await ask(client, [f"+3460030{n:04d}" for n in range(3000)])
    assert counts == [await pool.fetchval(f"SELECT count(*) FROM {table}") for table in tables]


def test_first_lines_are_those_of_a_dictionary() -> None:
    first, known = FirstLines(), dict[str, int]()
    numbers = [f"+{random.Random(n).randrange(1, 40_000) * 7_919 + 34_600_000_000}" for n in range(60_000)]
    for line, number in enumerate(numbers, start=1):
        assert first.meet(number, line) == known.setdefault(number, line)
