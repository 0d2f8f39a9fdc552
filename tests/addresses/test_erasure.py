"""Erasing a number: afterwards it stands nowhere, what is known of it still holds, and no figure has moved."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
import orjson
import pytest
import pytest_asyncio
from fastapi import FastAPI

from app import audit
from app.addresses import api
from app.db import Pool
from app.privacy.pseudonyms import PREFIX
from tests.conftest import KeyMaker
from tests.ingest.test_roads import TOKEN, Account, until
from tests.quarantine.test_api import becomes, failed, make, qualified

from .dump import NUMBER, OTHERS, contents, plain_dump, spellings

WAYS = (
    "+34600987654",
    "34600987654",
    "0034600987654",
    "600987654",
    "%2B34600987654",
    "+34 600 98 76 54",
    "600-987-654",
)


async def erase(client: httpx.AsyncClient, number: str, **headers: str) -> dict[str, Any]:
    answer = await client.delete(
        f"/v1/addresses/{quote(number)}", params={"reason": f"asked by {number}"}, headers=headers
    )
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def health(client: httpx.AsyncClient, number: str) -> str:
    answer = await client.get(f"/v1/quarantine/{quote(number)}")
    assert answer.status_code == 200, answer.text
    return str(answer.json()["status"])


async def prepared(
    client: httpx.AsyncClient, gateway: str, targets: list[dict[str, Any]], **fields: Any
) -> tuple[str, dict[int, Any]]:
    """A delivery with these targets, prepared, and its exclusions by target."""
    body = {"label": "Winter", "sender": "Acme", "content": "Hi {{name}}", "gateway": gateway, "default_region": "ES"}
    id = (await client.post("/v1/deliveries", json=body | fields)).json()["id"]
    answer = await client.post(f"/v1/deliveries/{id}/targets", json=targets)
    assert answer.status_code == 200, answer.text
    return id, await prepare(client, id)


async def prepare(client: httpx.AsyncClient, id: str) -> dict[int, Any]:
    answer = await client.post(f"/v1/deliveries/{id}/prepare")
    assert answer.status_code == 202, answer.text
    await until(lambda: _status(client, id), lambda status: status == "prepared")
    items = (await client.get(f"/v1/deliveries/{id}/exclusions")).json()["items"]
    return {item["position"]: item for item in items}


async def _status(client: httpx.AsyncClient, id: str) -> str:
    return str((await client.get(f"/v1/deliveries/{id}")).json()["status"])


@dataclass(frozen=True, kw_only=True)
class Story:
    """A number with a past: messages, receipts, a STOP, exclusions, and bodies that nobody could read."""

    account: Account
    deliveries: tuple[str, ...]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def story(client: httpx.AsyncClient, app: FastAPI, pool: Pool) -> Story:
    account = await Account.make(client)
    for number in OTHERS:
        await account.messages({"address": number, "provider_message_id": f"o{number}", "recipient_id": number})
        await account.callback({"provider_message_id": f"o{number}", "status": "DELIVRD", "to": number})
    await account.messages(
        *(
            {
                "address": "600 987 654" if n % 2 else NUMBER,
                "provider_message_id": f"m{n}",
                "recipient_id": f"c-{way}",
                "reference": f"order-{n}-{way}",
            }
            for n, way in enumerate(WAYS)
        )
    )
    for n, way in enumerate(WAYS):
        await account.callback(
            {"provider_message_id": f"m{n}", "status": "DELIVRD", "to": way, "error_text": f"to {way}"}
        )
        await account.callback({"provider_message_id": f"waits{n}", "status": "DELIVRD", "destination": way})
        await account.messages({"address": NUMBER, "provider_message_id": "dead"})
    await account.callback(
        {"provider_message_id": "dead", "status": "UNDELIV", "error_code": "66", "error_text": f"no {NUMBER}"}
    )
    await account.submissions({"reference": "order-0-+34600987654", "error_code": "9", "error_text": f"bad {NUMBER}"})
    for way in WAYS:
        await account.client.post(
            f"/callbacks/{account.key}?to={way}", content=f"to={way}&broken", headers={"X-Acuse-Token": TOKEN}
        )
    await account.callback({"type": "inbound", "from": NUMBER, "to": "5555", "text": f"STOP {WAYS[5]}"})
    await account.callback({"type": "inbound", "from": OTHERS[0], "to": "5555", "text": f"call {WAYS[6]}"})
    await until(lambda: health(client, NUMBER), lambda status: status == "denylisted")
    imported = [{"address": NUMBER, "sender": "Shop", "note": f"wrote from {WAYS[4]}"}]
    assert (await client.post("/v1/quarantine", json=imported)).json()["accepted"] == 1
    fields = {
        "label": f"For {WAYS[5]}",
        "content": f"Hi {{{{name}}}} tel:{NUMBER} https://a.example/?to={WAYS[1]}",
        "metadata": {"phone": 34600987654, "say": [WAYS[2]]},
    }
    targets: list[dict[str, Any]] = [
        {"address": WAYS[3], "recipient_id": "a", "params": {"name": WAYS[5]}},
        {"address": NUMBER, "params": {"name": "twice"}},
        {"address": OTHERS[1], "params": {"name": "Bo"}},
        {"address": f"{NUMBER} ext. 5", "params": {"name": "x"}},
    ]
    first, _ = await prepared(client, account.key, targets, **fields)
    body = {"label": "Open", "sender": "Acme", "content": "Hi", "default_region": "ES"}
    second = (await client.post("/v1/deliveries", json=body)).json()["id"]
    await client.post(f"/v1/deliveries/{second}/targets", json=[{"address": way} for way in WAYS if "%" not in way])
    await client.patch(f"/v1/deliveries/{first}", json={"label": f"Now for {WAYS[6]}", "content": f"Call {WAYS[5]}"})
    await until(lambda: pool.fetchval("SELECT count(*) FROM inbox"), lambda rows: rows == 0)
    return Story(account=account, deliveries=(account.delivery, first, second))


@pytest.fixture(scope="module")
def lines() -> list[str]:
    return []


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def certificate(client: httpx.AsyncClient, story: Story, pool: Pool, lines: list[str]) -> dict[str, Any]:
    """Once erased; beforehand the number is everywhere where this test looks for it."""
    before = await contents(pool)
    assert {name for name, text in before.items() if spellings(text)} >= {
        "messages.address", "messages.recipient_id", "messages.reference", "receipts.raw", "receipts.error_text",
        "submissions.error_text", "correlations.value", "correlations.raw", "inbound.address", "inbound.text",
        "inbound.raw", "decisions.address", "decisions.note", "quarantine.address", "exclusions.address", "targets.given",
        "targets.params", "rejected.raw", "rejected.request", "deliveries.label", "deliveries.metadata",
        "deliveries.content", "qualifications.first_text", "preparations.findings",
    }  # fmt: skip
    figures = await _figures(pool)
    handler = _Lines(lines)
    logging.getLogger().addHandler(handler)
    found = await erase(client, NUMBER)
    logging.getLogger().removeHandler(handler)
    assert await _figures(pool) == figures
    return found


class _Lines(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self.lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


async def _figures(pool: Pool) -> list[Any]:
    """Without those that a clock counts now and then."""
    rows = await pool.fetch(
        "SELECT * FROM counters WHERE value <> 0 AND metric NOT IN ('rejected', 'unmatched') ORDER BY 1, 2, 3, 4, 5"
    )
    return [tuple(row) for row in rows]


# --- nowhere ---------------------------------------------------------------------------------------------------------


async def test_no_column_of_any_table_holds_it(certificate: Mapping[str, Any], pool: Pool) -> None:
    found = {name: spellings(text)[:3] for name, text in (await contents(pool)).items()}
    assert {name: places for name, places in found.items() if places} == {}


async def test_no_dump_holds_it(certificate: Mapping[str, Any], database_url: str) -> None:
    assert spellings(await asyncio.to_thread(plain_dump, database_url)) == []


async def test_no_export_holds_it(certificate: Mapping[str, Any], client: httpx.AsyncClient, story: Story) -> None:
    lists = ["/v1/quarantine", "/v1/inbound", "/v1/audit", "/v1/qualifications"]
    lists += [
        f"/v1/deliveries/{id}/{name}"
        for id in story.deliveries
        for name in ("messages", "exclusions", "audit", "quarantine")
    ]
    for path in lists:
        for accept in ("text/csv", "application/x-ndjson", "application/json"):
            answer = await client.get(path, headers={"Accept": accept})
            assert answer.status_code == 200, answer.text
            assert spellings(answer.text) == [], path
    for path in ("/v1/receipts/unmatched", "/v1/receipts/rejected", "/v1/deliveries"):
        assert spellings((await client.get(path)).text) == []
    for id in story.deliveries:
        assert spellings((await client.get(f"/v1/deliveries/{id}/targets")).text) == []


async def test_no_log_holds_it(certificate: Mapping[str, Any], lines: list[str]) -> None:
    assert spellings("\n".join(lines)) == []


async def test_the_timeline_of_its_messages_names_the_pseudonym(
    certificate: Mapping[str, Any], client: httpx.AsyncClient, story: Story
) -> None:
    items = (await client.get(f"/v1/deliveries/{story.account.delivery}/messages")).json()["items"]
    erased = [item for item in items if item["address"] == certificate["pseudonym"]]
    assert len(erased) == len(WAYS) + 1
    message = (await client.get(f"/v1/messages/{erased[0]['id']}")).json()
    assert message["address"] == certificate["pseudonym"]
    (receipt,) = [each for each in message["timeline"] if each["kind"] == "receipt"]
    assert orjson.loads(receipt["raw"])["to"] == certificate["pseudonym"]


async def test_other_numbers_with_the_same_digits_are_untouched(
    certificate: Mapping[str, Any], client: httpx.AsyncClient, pool: Pool
) -> None:
    for number in OTHERS:
        found = (await client.get(f"/v1/addresses/{quote(number)}")).json()
        assert (found["address"], found["erased_at"]) == (number, None)
        assert found["totals"]["receipts"] == 1
        rows = await pool.fetch(
            "SELECT m.recipient_id, r.raw FROM messages m JOIN correlations c ON c.message_id = m.id "
            "JOIN receipts r ON r.correlation_id = c.id WHERE m.address = $1",
            number,
        )
        assert [(row["recipient_id"], orjson.loads(row["raw"])["to"]) for row in rows] == [(number, number)]


# --- what stays ------------------------------------------------------------------------------------------------------


async def test_the_certificate_says_what_was_replaced(certificate: Mapping[str, Any]) -> None:
    assert certificate["pseudonym"].startswith(PREFIX)
    assert spellings(certificate["reason"]) == []
    assert certificate["journal_entries"] == 0
    replaced = certificate["replaced"]
    assert replaced["messages"] == len(WAYS) + 1
    assert replaced["targets"] == 3 + 6  # of the prepared audience, one of them no possible number; and the open one
    assert replaced["quarantine"] == 2
    assert {
        "receipts",
        "rejected",
        "inbound",
        "decisions",
        "exclusions",
        "submissions",
        "correlations",
    } <= replaced.keys()


async def test_the_journal_has_it_by_mask_and_pseudonym_and_all_chains_stand(
    certificate: Mapping[str, Any], client: httpx.AsyncClient, pool: Pool
) -> None:
    entries = (await client.get("/v1/audit")).json()["items"]
    entry = next(entry for entry in entries if entry["code"] == "ADR-ERASED")
    assert entry["data"]["pseudonym"] == certificate["pseudonym"]
    async with pool.acquire() as connection:
        for row in await connection.fetch("SELECT chain FROM audit_heads"):
            assert (await audit.verify(connection, row["chain"]))[1] is None


async def test_a_second_time_it_is_the_same_certificate(
    certificate: Mapping[str, Any], client: httpx.AsyncClient
) -> None:
    assert await erase(client, NUMBER) == certificate


async def test_an_opt_out_still_holds_and_excludes_from_the_next_delivery_for_the_right_reason(
    certificate: Mapping[str, Any], client: httpx.AsyncClient, story: Story
) -> None:
    assert await health(client, NUMBER) == "denylisted"
    targets = [{"address": WAYS[3], "params": {"name": "x"}}]
    _, exclusions = await prepared(client, story.account.key, targets)
    assert exclusions[1]["reason"] == "denylisted"
    (item,) = (await client.post("/v1/addresses/check", json=[NUMBER])).json()["items"]
    assert (item["allowed"], item["reason"]) == (False, "denylisted")
    await erase(client, NUMBER)


async def test_its_page_is_found_by_the_number_and_by_the_pseudonym(
    certificate: Mapping[str, Any], client: httpx.AsyncClient
) -> None:
    by_number = (await client.get(f"/v1/addresses/{quote(NUMBER)}")).json()
    by_pseudonym = (await client.get(f"/v1/addresses/{certificate['pseudonym']}")).json()
    assert by_number == by_pseudonym
    assert by_number["address"] == certificate["pseudonym"]
    assert by_number["erased_at"] is not None
    assert by_number["totals"]["messages"] == len(WAYS) + 1
    assert by_number["health"]["status"] == "denylisted"


async def test_nothing_drifts_when_all_is_computed_anew(
    certificate: Mapping[str, Any], client: httpx.AsyncClient, story: Story
) -> None:
    for id in story.deliveries[:1]:
        found = (await client.post(f"/v1/deliveries/{id}/recompute")).json()
        assert found["drift"] == 0


async def test_preparing_again_an_audience_with_an_erased_number_leaves_it_out(
    certificate: Mapping[str, Any], client: httpx.AsyncClient, story: Story
) -> None:
    exclusions = await prepare(client, story.deliveries[1])
    assert {1, 2, 4} <= exclusions.keys()
    assert 3 not in exclusions
    assert [exclusions[each]["reason"] for each in (1, 2, 4)] == ["denylisted", "double", "invalid_address"]


async def test_start_lifts_it_and_stays_lifted_however_it_is_computed(
    certificate: Mapping[str, Any], client: httpx.AsyncClient, story: Story, pool: Pool
) -> None:
    await story.account.callback({"type": "inbound", "from": NUMBER, "to": "5555", "text": "START"})
    await until(lambda: health(client, NUMBER), lambda status: status == "valid")
    found = (await client.post(f"/v1/deliveries/{story.account.delivery}/recompute")).json()
    assert found["drift"] == 0
    assert await health(client, NUMBER) == "valid"
    await pool.execute("INSERT INTO to_examine (address) VALUES ($1)", certificate["pseudonym"])
    await until(lambda: pool.fetchval("SELECT count(*) FROM to_examine"), lambda rows: rows == 0)
    assert await health(client, NUMBER) == "valid"
    again = await erase(client, NUMBER)
    assert again["replaced"]["inbound"] == certificate["replaced"]["inbound"] + 1
    assert await pool.fetchval("SELECT returned_as FROM erased WHERE pseudonym = $1", certificate["pseudonym"]) is None
    assert await health(client, NUMBER) == "valid"
    assert await health(client, certificate["pseudonym"]) == "valid"


# --- the door --------------------------------------------------------------------------------------------------------


async def test_erasing_needs_both_scopes_a_number_and_a_reason(client: httpx.AsyncClient, key: KeyMaker) -> None:
    for scopes in (("quarantine:write",), ("pii:read",), ("quarantine:read", "deliveries:read", "pii:read")):
        answer = await client.delete(
            f"/v1/addresses/{quote(OTHERS[2])}", params={"reason": "x"}, headers=await key(*scopes)
        )
        assert answer.status_code == 403
    assert (await client.delete(f"/v1/addresses/{quote(OTHERS[2])}")).status_code == 422
    for wrong in ("hello", f"{PREFIX}{'0' * 32}", "600987655"):
        assert (await client.delete(f"/v1/addresses/{wrong}", params={"reason": "x"})).status_code == 422


async def test_a_number_that_nobody_knows_gets_a_certificate_too(client: httpx.AsyncClient) -> None:
    found = await erase(client, "+34600111222")
    assert found["replaced"] == {}
    assert await health(client, "+34600111222") == "valid"


async def test_while_receipts_wait_in_the_spool_nobody_is_told_that_the_number_is_gone(
    client: httpx.AsyncClient, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "_SPOOL_WAIT_SECONDS", 0.2)
    monkeypatch.setattr(type(app.state.inbox), "spooled", property(lambda inbox: 1))
    answer = await client.delete(f"/v1/addresses/{quote(OTHERS[2])}", params={"reason": "x"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")


async def test_two_at_once_erase_it_once(client: httpx.AsyncClient, pool: Pool) -> None:
    account = await Account.make(client)
    await account.messages(*({"address": "+34600111333", "provider_message_id": f"tw{n}"} for n in range(20)))
    one, other = await asyncio.gather(erase(client, "+34600111333"), erase(client, "+34600111333"))
    assert one["erased_at"] == other["erased_at"]
    assert await erase(client, "+34600111333") in (one, other)
    assert await pool.fetchval("SELECT count(*) FROM messages WHERE address = '+34600111333'") == 0


async def test_receipts_go_on_meanwhile_and_count_with_what_was_before(client: httpx.AsyncClient, pool: Pool) -> None:
    """Failures come in for the number while it is erased; its health is under one name in the end, and right."""
    account, number = await make(client), "+34600111444"
    await qualified(client, account, "1", failure_type="hard", reason="user_unknown")
    ids = [f"rush-{n}" for n in range(60)]
    await account.messages(*({"address": number, "provider_message_id": id} for id in ids))

    async def report() -> None:
        for id in ids:
            await account.callback({"provider_message_id": id, "status": "UNDELIV", "error_code": "1"})
            await asyncio.sleep(0.01)

    async def forget() -> None:
        for _ in range(8):
            await erase(client, number)

    await asyncio.gather(report(), forget())
    await until(account.statuses, lambda found: found.count("failed") == 61)
    pseudonym = (await erase(client, number))["pseudonym"]
    rows = await pool.fetch("SELECT * FROM quarantine WHERE address IN ($1, $2)", number, pseudonym)
    assert [(row["address"], row["status"]) for row in rows] == [(pseudonym, "quarantined")]
    assert await pool.fetchval("SELECT returned_as FROM erased WHERE pseudonym = $1", pseudonym) is None
    summary = (await client.get(f"/v1/deliveries/{account.delivery}/summary")).json()
    assert summary["new_quarantines"] == 2
    assert (await client.post(f"/v1/deliveries/{account.delivery}/recompute")).json()["drift"] == 0


async def test_a_number_written_to_again_counts_with_its_past(client: httpx.AsyncClient, pool: Pool) -> None:
    account, number = await make(client), "+34600111555"
    await qualified(client, account, "2", failure_type="soft", reason="unreachable")
    await failed(account, number, "2")
    await becomes(client, number, "with_errors")
    pseudonym = (await erase(client, number))["pseudonym"]
    again = await make(client)
    await qualified(client, again, "3", failure_type="hard", reason="user_unknown")
    await failed(again, number, "3")
    await becomes(client, number, "quarantined")
    for name in (number, pseudonym):
        found = (await client.get(f"/v1/addresses/{quote(name)}")).json()
        assert found["address"] == pseudonym
        assert [each["kind"] for each in found["health"]["evidence"]] == ["failed", "failed"]
        assert found["totals"]["messages"] == 2
    for delivery in (account.delivery, again.delivery):
        assert (await client.post(f"/v1/deliveries/{delivery}/recompute")).json()["drift"] == 0
    assert (await client.get(f"/v1/quarantine/{quote(number)}")).json()["status"] == "quarantined"
