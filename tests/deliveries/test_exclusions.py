"""Exclusions as they are read: each reason in a sentence, pages, filters, streams, masks."""

import csv
import io
from typing import Any

import httpx
import orjson
import pytest
from fastapi import FastAPI

from app.deliveries.exclusions import CAUSES, sentence
from app.deliveries.tally import Tally
from app.qualifications.reasons import Reason
from tests.conftest import Headers, KeyMaker

from .audience import Delivery, mobile


@pytest.mark.parametrize(
    ("reason", "detail", "said"),
    [
        ("address_not_specified", None, "No address was given."),
        ("invalid_address", {"region": "ES"}, "This is not a possible phone number; national numbers are read as of ES."),
        ("invalid_address", {"region": None},
         "This is not a possible phone number; without a default region only international numbers can be read."),
        ("double", {"position": 3, "recipient_id": None}, "The address stands in the delivery already: target 3 stays."),
        ("denylisted", {"reason": "denylisted", "origin": "reply", "since": "2026-11-23T08:00:00Z", "sender": "Acme"},
         "Opted out of messages from Acme since 2026-11-23: denylisted, from reply."),
        ("quarantined", {"reason": "user_unknown", "origin": "receipts", "since": "2026-11-23T08:00:00Z", "sender": ""},
         "In quarantine since 2026-11-23: user_unknown, from receipts."),
        ("control_group", {"listed": True}, "Listed as control group."),
        ("control_group", {"share": 0.025}, "Drawn for the control group, a random 2.5% of the audience."),
        ("excluded_by_rule", {"rule": "landline"}, "This is a landline, which the delivery leaves out."),
        ("excluded_by_rule", {"rule": "premium_rate"}, "This is a premium-rate number, which the delivery leaves out."),
        ("excluded_by_rule", {"rule": "country", "country": "FR"},
         "This is a number of FR, which the delivery's countries leave out."),
        ("excluded_by_rule", {"rule": "country", "country": None},
         "This is a number of no one country, which the delivery's countries leave out."),
        ("excluded_by_arbitration", {"messages": 4, "limit": 3, "days": 7},
         "The address has 4 messages of other deliveries in 7 days; the delivery allows 3, its own included."),
        ("size_limited", {"parts": 3, "limit": 2}, "The text would take 3 parts; the delivery allows 2."),
    ],
)  # fmt: skip
def test_each_reason_is_said_in_a_sentence(reason: str, detail: dict[str, Any] | None, said: str) -> None:
    assert sentence(reason, detail) == said


@pytest.mark.parametrize("reason", CAUSES)
def test_a_reason_without_its_detail_still_has_a_sentence(reason: str) -> None:
    assert sentence(reason, None) == CAUSES[reason]
    assert Reason(reason)


def test_a_tally_comes_back_from_the_database_as_it_was() -> None:
    tally = Tally()
    tally.add_step("numbers", 3, 0.5)
    tally.note_params(("a", "b"), {"a": "x", "b": 12.5}, foreign=False)
    tally.note_params(("a",), {"a": "é"}, foreign=False)
    tally.note_params(("a",), {"a": "áá"}, foreign=True)
    tally.note_outcomes("double", 2, 0, None, ())
    tally.note_outcomes(None, 5, 7, "b", (1, 4))
    again = Tally.load(orjson.loads(orjson.dumps(tally.dump())))
    assert again == tally
    assert (tally.longest, tally.foreign) == ({"a": "áá", "b": "12.5"}, {"a": "áá"})
    assert Tally().merged(tally) == tally.merged(Tally()) == tally
    both = tally.merged(tally)
    assert (both.messages, both.parts, both.excluded, both.missing, both.missing_at) == (
        10, 14, {"double": 4}, {"b": 10}, {"b": [1, 4, 1, 4]},
    )  # fmt: skip


async def excluded(app: FastAPI, client: httpx.AsyncClient, headers: Headers) -> Delivery:
    """One message; then of three reasons seven, five and three exclusions, mixed."""
    one = await Delivery.make(app, client, headers)
    double, invalid = {"address": mobile(1), "recipient_id": "again"}, {"address": "=1+1"}
    await one.prepared([mobile(1), *[double, invalid, {}] * 3, *[double, invalid] * 2, *[double] * 2])
    return one


async def test_pages_and_totals_agree_with_the_causes(app: FastAPI, client: httpx.AsyncClient, admin: Headers) -> None:
    one = await excluded(app, client, admin)
    counts = {cause["reason"]: cause["count"] for cause in await one.get("exclusions/causes")}
    assert counts == {"address_not_specified": 3, "invalid_address": 5, "double": 7}
    for asked in ("", "double", "invalid_address,address_not_specified", "denylisted"):
        total = sum(counts.get(reason, 0) for reason in asked.split(",")) if asked else 15
        params: dict[str, Any] = {"reason": asked} if asked else {}
        seen: list[int] = []
        cursor = None
        while True:
            page = await one.get("exclusions", limit=2, **params, **({"cursor": cursor} if cursor else {}))
            assert page["total"] == total
            assert {item["reason"] for item in page["items"]} <= set(asked.split(",") if asked else counts)
            seen += [item["position"] for item in page["items"]]
            if (cursor := page["next_cursor"]) is None:
                break
        assert seen == sorted(set(seen))
        assert len(seen) == total


async def test_an_address_is_found_as_it_is_kept(app: FastAPI, client: httpx.AsyncClient, admin: Headers) -> None:
    one = await excluded(app, client, admin)
    assert (await one.get("exclusions", address=mobile(1)))["total"] == 7
    assert (await one.get("exclusions", address="=1+1"))["total"] == 5
    assert (await one.get("exclusions", address="=1+1", reason="double"))["total"] == 0
    assert (await one.get("exclusions", address=mobile(2)))["items"] == []


async def test_all_come_as_a_stream_and_no_cell_is_a_formula(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers
) -> None:
    one = await excluded(app, client, admin)
    answer = await client.get(f"{one.url}/exclusions", headers=admin | {"Accept": "text/csv"})
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert len(rows) == 15
    assert {row["status"] for row in rows} == {"ignored"}
    assert {row["address"] for row in rows} == {mobile(1), "'=1+1", ""}
    answer = await client.get(f"{one.url}/exclusions?reason=double", headers=admin | {"Accept": "application/x-ndjson"})
    lines = [orjson.loads(line) for line in answer.text.splitlines()]
    assert [line["recipient_id"] for line in lines] == ["again"] * 7


async def test_addresses_come_masked_without_the_scope(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers, key: KeyMaker
) -> None:
    one = await excluded(app, client, admin)
    one.headers = await key("deliveries:read")
    addresses = {item["address"] for item in (await one.get("exclusions"))["items"]}
    assert addresses == {f"{mobile(1)[:6]}•••{mobile(1)[-3:]}", "•••", None}


@pytest.mark.parametrize("params", [{"reason": "user_unknown"}, {"reason": "x"}, {"address": "\0"}, {"cursor": "x"}])
async def test_a_question_that_makes_no_sense_is_refused(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers, params: dict[str, str]
) -> None:
    one = await Delivery.make(app, client, admin)
    assert (await client.get(f"{one.url}/exclusions", params=params, headers=admin)).status_code == 422
    assert (await client.get("/v1/deliveries/999999/exclusions", headers=admin)).status_code == 404
    assert (await client.get("/v1/deliveries/999999/exclusions/causes", headers=admin)).status_code == 404
