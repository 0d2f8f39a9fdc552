"""One phone, one identity: whatever spelling of its number is given, it is one phone for all that is known of it."""

import itertools
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fastapi import FastAPI

from app import audit
from app.db import Pool
from app.identities import SEVERAL_SPELLINGS
from app.quarantine.store import examine_some
from tests.deliveries.audience import Delivery
from tests.ingest.test_roads import TOKEN, until

from .test_api import becomes, failed, health, make, qualified

CASES = json.loads((Path(__file__).parent.parent / "cases/numbers/one_phone.json").read_text())
_serial = itertools.count(1)


def argentine() -> tuple[str, str]:
    """The two spellings of a phone that no test before had."""
    number = f"11{next(_serial):08d}"
    return f"+54{number}", f"+549{number}"


def ago(days: int) -> str:
    """Errors are forgotten after a while; these are not."""
    return (datetime.now(UTC) - timedelta(days=days)).isoformat()


async def check(client: httpx.AsyncClient, *addresses: str) -> list[dict[str, Any]]:
    answer = await client.post("/v1/addresses/check", json=list(addresses))
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


async def denylist(client: httpx.AsyncClient, *addresses: str) -> None:
    answer = await client.post("/v1/quarantine", json=[{"address": each} for each in addresses])
    assert answer.json()["accepted"] == len(addresses), answer.text


async def entries(client: httpx.AsyncClient, address: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await client.get("/v1/quarantine", params={"address": address})).json()["items"]
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["plan"])
async def test_an_opt_out_of_one_spelling_holds_for_the_other(client: httpx.AsyncClient, case: dict[str, Any]) -> None:
    one, other = case["spellings"]
    await denylist(client, one)
    (found,) = await check(client, other)
    assert (found["allowed"], found["reason"]) == (False, "denylisted")
    assert (await health(client, other))["status"] == "denylisted"
    assert [entry["address"] for entry in await entries(client, other)] == [one]  # as it was given
    for two in case.get("others", []):
        assert (await check(client, two))[0]["allowed"]


async def test_two_spellings_in_a_list_are_a_double(client: httpx.AsyncClient) -> None:
    one, other = argentine()
    assert [each["reason"] for each in await check(client, other, one, other)] == [None, "double", "double"]


async def test_an_import_knows_what_stands_in_another_spelling(client: httpx.AsyncClient) -> None:
    one, other = argentine()
    await denylist(client, one, other)
    await denylist(client, other)
    assert [entry["address"] for entry in await entries(client, one)] == [one]


async def test_a_release_lifts_what_stands_in_another_spelling(client: httpx.AsyncClient) -> None:
    one, other = argentine()
    await denylist(client, one)
    answer = await client.delete(f"/v1/quarantine/{quote(other)}", params={"reason": "she called"})
    assert (answer.status_code, answer.json()["status"]) == (200, "valid"), answer.text
    assert (await check(client, one))[0]["allowed"]
    assert await entries(client, one) == []


async def test_a_stop_from_one_spelling_holds_for_the_other(client: httpx.AsyncClient) -> None:
    account = await make(client)
    one, other = argentine()
    body = {"type": "inbound", "from": other[1:], "to": "5555", "text": "STOP"}
    answer = await client.post(f"/callbacks/{account.key}", json=body, headers={"X-Acuse-Token": TOKEN})
    assert answer.status_code == 200, answer.text
    found = await becomes(client, one, "denylisted")
    assert [entry["address"] for entry in found["entries"]] == [other]
    assert [item["address"] for item in (await client.get("/v1/inbound", params={"address": one})).json()["items"]] == [
        other
    ]


async def test_errors_of_all_spellings_count_together_and_a_success_clears_them(client: httpx.AsyncClient) -> None:
    account = await make(client)
    await qualified(client, account, "8", failure_type="soft", reason="unreachable")
    one, other = argentine()
    await failed(account, one, "8", occurred_at=ago(4))
    await until(lambda: entries(client, one), lambda found: [each["errors"] for each in found] == [1])
    await failed(account, other, "8", occurred_at=ago(2))
    await until(lambda: entries(client, one), lambda found: [each["errors"] for each in found] == [2])
    await account.messages({"address": one, "provider_message_id": f"{account.key}-ok", "submitted_at": ago(1)})
    await account.callback({"provider_message_id": f"{account.key}-ok", "status": "DELIVRD", "occurred_at": ago(1)})
    await until(lambda: entries(client, other), lambda found: found == [])
    drift = (await client.post(f"/v1/deliveries/{account.delivery}/recompute")).json()
    assert drift["drift"] == 0


async def test_a_success_clears_what_stands_in_another_spelling(client: httpx.AsyncClient) -> None:
    account = await make(client)
    await qualified(client, account, "8", failure_type="soft", reason="unreachable")
    one, other = argentine()
    await failed(account, one, "8", occurred_at=ago(4))
    await until(lambda: entries(client, other), lambda found: [each["address"] for each in found] == [one])
    await account.messages({"address": other, "provider_message_id": f"{account.key}-ok"})
    await account.callback({"provider_message_id": f"{account.key}-ok", "status": "DELIVRD"})
    await until(lambda: entries(client, one), lambda found: found == [])


async def test_a_hard_error_of_one_spelling_is_one_entry_and_is_counted_once(client: httpx.AsyncClient) -> None:
    account = await make(client)
    await qualified(client, account, "1", failure_type="hard", reason="user_unknown")
    before = (await client.get(f"/v1/deliveries/{account.delivery}/summary")).json()["new_quarantines"]
    one, other = argentine()
    await failed(account, one, "1")
    await becomes(client, other, "quarantined")
    await failed(account, other, "1")
    await until(lambda: health(client, one), lambda found: len(found["evidence"]) == 2)
    assert len(await entries(client, one)) == 1
    summary = (await client.get(f"/v1/deliveries/{account.delivery}/summary")).json()
    assert summary["new_quarantines"] == before + 1


async def test_preparation_knows_doubles_opt_outs_and_landlines_by_the_phone(
    client: httpx.AsyncClient, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.deliveries.preparation.CHUNK", 4)
    phones = [argentine() for _ in range(4)]
    await denylist(client, phones[3][1])
    delivery = await Delivery.make(app, client, {}, default_region="AR", rules={"countries": {"only": ["AR"]}})
    (a, a9), (b, b9), (c, c9), (d, _) = phones
    outcomes = await delivery.prepared([a, b9, a9, c, a, b, b9, d, c9, d, "+34600123123", a9])
    assert outcomes == {
        1: None, 2: None, 3: "double", 4: None, 5: "double", 6: "double", 7: "double", 8: "denylisted", 9: "double",
        10: "double", 11: "excluded_by_rule", 12: "double",
    }  # fmt: skip
    items = (await delivery.get("exclusions", limit=100))["items"]
    said = {item["position"]: item["text"] for item in items}
    stays = {3: 1, 5: 1, 6: 2, 7: 2, 9: 4, 10: 8, 12: 1}
    assert [position for position, first in stays.items() if f"target {first} stays" not in said[position]] == []
    assert {item["address"] for item in items if item["position"] == 3} == {a9}  # as it was given


async def test_messages_to_all_spellings_count_together(client: httpx.AsyncClient, app: FastAPI, pool: Pool) -> None:
    """Also those of before the number was erased."""
    number = f"{next(_serial):06d}"
    spelt = [f"+2416{number}", f"+24106{number}", f"+24166{number}"]
    for each in spelt[:2]:
        assert await (await Delivery.make(app, client, {})).prepared([each]) == {1: None}
    for last, allowed, expected in ((spelt[2], 3, None), (spelt[1], 3, "excluded_by_arbitration")):
        limited = await Delivery.make(app, client, {}, rules={"max_messages": allowed})
        assert await limited.prepared([last]) == {1: expected}
    (item,) = (await limited.get("exclusions"))["items"]
    assert "has 3 messages of other deliveries" in item["text"]
    one, other = argentine()
    assert await (await Delivery.make(app, client, {})).prepared([one]) == {1: None}
    answer = await client.delete(f"/v1/addresses/{quote(one)}", params={"reason": "asked"})
    assert answer.status_code == 200, answer.text
    again = await Delivery.make(app, client, {}, rules={"max_messages": 1})
    assert await again.prepared([other]) == {1: "excluded_by_arbitration"}


async def test_messages_are_found_by_any_spelling_and_after_the_number_was_erased(client: httpx.AsyncClient) -> None:
    account = await make(client)
    one, other = argentine()
    await account.messages({"address": one, "provider_message_id": f"{account.key}-found"})
    for path in ("/v1/messages", f"/v1/deliveries/{account.delivery}/messages"):
        found = (await client.get(path, params={"address": other})).json()
        assert ([item["address"] for item in found["items"]], found["total"]) == ([one], 1), path
    assert (await client.delete(f"/v1/addresses/{quote(one)}", params={"reason": "asked"})).status_code == 200
    assert (await client.get("/v1/messages", params={"address": other})).json()["total"] == 1


async def test_what_a_delivery_left_out_is_found_by_another_spelling(client: httpx.AsyncClient, app: FastAPI) -> None:
    one, other = argentine()
    delivery = await Delivery.make(app, client, {})
    assert await delivery.prepared([one, other]) == {1: None, 2: "double"}
    found = await delivery.get("exclusions", address=one)
    assert ([item["address"] for item in found["items"]], found["total"]) == ([other], 1)


async def test_a_proof_is_refused_to_whoever_opted_out_in_another_spelling(
    client: httpx.AsyncClient, app: FastAPI
) -> None:
    one, other = argentine()
    await denylist(client, one)
    delivery = await Delivery.make(app, client, {}, default_region="AR")
    answer = await client.post(f"{delivery.url}/proofs", json={"addresses": [{"address": other}]})
    assert answer.status_code == 422, answer.text
    assert "opted out" in answer.text


async def test_erasing_one_spelling_erases_the_phone_and_its_opt_out_holds(
    client: httpx.AsyncClient, pool: Pool
) -> None:
    account = await make(client)
    one, other = argentine()
    await account.messages(
        {"address": one, "provider_message_id": f"{account.key}-1"},
        {"address": other, "provider_message_id": f"{account.key}-2"},
    )
    await denylist(client, one)
    page = (await client.get(f"/v1/addresses/{quote(other)}")).json()
    assert page["totals"]["messages"] == 2
    dry = await client.delete(f"/v1/addresses/{quote(other)}", params={"reason": "asked", "dry_run": True})
    assert dry.json()["replaced"]["messages"] == 2, dry.text
    answer = await client.delete(f"/v1/addresses/{quote(other)}", params={"reason": "asked"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["replaced"]["messages"] == 2
    for table in ("messages", "decisions", "quarantine", "held", "to_examine"):
        assert await pool.fetchval(f"SELECT count(*) FROM {table} WHERE address = ANY($1)", [one, other]) == 0, table
    assert await pool.fetchval("SELECT count(*) FROM erased WHERE returned_as IS NOT NULL") == 0
    assert [each["reason"] for each in await check(client, other, one)] == ["denylisted", "double"]
    for each in (one, other):
        found = (await client.get(f"/v1/addresses/{quote(each)}")).json()
        assert (found["address"], found["totals"]["messages"]) == (answer.json()["pseudonym"], 2)
        assert found["health"]["status"] == "denylisted"


@pytest.mark.parametrize("spelling", [0, 1])
async def test_a_list_that_comes_again_does_not_bring_back_who_was_erased(
    spelling: int, client: httpx.AsyncClient, pool: Pool
) -> None:
    both = argentine()
    await denylist(client, both[0])
    assert (await client.delete(f"/v1/addresses/{quote(both[0])}", params={"reason": "asked"})).status_code == 200
    await denylist(client, both[spelling])
    for table in ("decisions", "quarantine", "to_examine"):
        assert await pool.fetchval(f"SELECT count(*) FROM {table} WHERE address = ANY($1)", both) == 0, table
    assert await pool.fetchval("SELECT count(*) FROM erased WHERE returned_as = ANY($1)", both) == 0
    assert [each["reason"] for each in await check(client, *both)] == ["denylisted", "double"]


async def test_the_certificate_names_the_entries_of_older_versions_in_each_spelling(
    client: httpx.AsyncClient, pool: Pool
) -> None:
    one, other = argentine()
    async with pool.acquire() as connection, connection.transaction():
        for text in (f"It wrote {one}.", f"It wrote {other}.", f"It wrote {one} and {other}."):
            await audit.append(connection, audit.PLATFORM, "DLV-OLD", text, at=datetime.now(UTC), actor="x")
    rows = await pool.fetch("SELECT chain::text, seq FROM audit WHERE code = 'DLV-OLD' AND text ~ $1", other[-8:])
    expected = sorted((row["chain"], row["seq"]) for row in rows)
    assert len(expected) == 3
    for dry_run in (True, False, False):
        asked = {"reason": "asked", "dry_run": dry_run}
        certificate = (await client.delete(f"/v1/addresses/{quote(one)}", params=asked)).json()
        assert sorted((each["chain"], each["seq"]) for each in certificate["journals"]) == expected
        assert certificate["journal_entries"] == 3
    kept = (await client.get(f"/v1/erasures/{certificate['id']}")).json()
    assert kept["journals"] == certificate["journals"]


async def test_erasing_finds_a_spelling_that_its_plan_has_given_up(client: httpx.AsyncClient, pool: Pool) -> None:
    account = await make(client)
    body = {"type": "inbound", "from": "5215587654321", "to": "5555", "text": "hello from 52 1 55 8765 4321"}
    answer = await client.post(f"/callbacks/{account.key}", json=body, headers={"X-Acuse-Token": TOKEN})
    assert answer.status_code == 200, answer.text
    await until(
        lambda: pool.fetchval(
            "SELECT count(*) FROM inbound WHERE address = '+525587654321' AND applied_at IS NOT NULL"
        ),
        lambda found: found == 1,
    )
    row = b'{"nobody": "reads 5215587654321"}'
    await client.post(f"/callbacks/{account.key}", content=row, headers={"X-Acuse-Token": TOKEN})
    answer = await client.delete("/v1/addresses/%2B525587654321", params={"reason": "asked"})
    assert answer.status_code == 200, answer.text
    kept = await pool.fetch("SELECT encode(raw, 'escape') || coalesce(request::text, '') AS said FROM rejected")
    kept += await pool.fetch("SELECT encode(raw, 'escape') || text || address AS said FROM inbound")
    assert [each["said"] for each in kept if "5587654321" in each["said"]] == []


async def test_who_was_erased_in_one_spelling_by_an_older_version_is_known_in_the_other(
    client: httpx.AsyncClient, app: FastAPI, pool: Pool
) -> None:
    one, other = argentine()
    name = app.state.pseudonyms._hashed(one)
    await pool.execute("INSERT INTO erased (pseudonym, erased_at, certificate) VALUES ($1, now(), '{}')", name)
    await pool.execute(
        "INSERT INTO decisions (address, sender, kind, at, recorded_at, reason, origin, actor) "
        "VALUES ($1, '', 'denylist', now(), now(), 'denylisted', 'operator', 'x')",
        name,
    )
    await pool.execute("INSERT INTO to_examine VALUES ($1)", name)
    await until(lambda: health(client, one), lambda found: found["status"] == "denylisted")
    (found,) = await check(client, other)
    assert found["reason"] == "denylisted"
    delivery = await Delivery.make(app, client, {}, default_region="AR")
    assert await delivery.prepared([other]) == {1: "denylisted"}


async def test_rows_of_an_older_version_become_one_when_they_are_examined(
    client: httpx.AsyncClient, pool: Pool
) -> None:
    """As its migration queues them."""
    one, other = argentine()
    async with pool.acquire() as connection, connection.transaction():
        for address in (one, other):
            await connection.execute(
                "INSERT INTO decisions (address, sender, kind, at, recorded_at, reason, origin, actor) "
                "VALUES ($1, '', 'denylist', $2, $2, 'denylisted', 'operator', 'x')",
                address, datetime(2026, 1, 1, tzinfo=UTC),
            )  # fmt: skip
            await connection.execute(
                "INSERT INTO quarantine (address, sender, status, reason, origin, errors, since, updated_at) "
                "VALUES ($1, '', 'denylisted', 'denylisted', 'operator', 0, $2, $2)",
                address, datetime(2026, 1, 1, tzinfo=UTC),
            )  # fmt: skip
    assert {each["reason"] for each in await check(client, one)} == {"denylisted"}
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("INSERT INTO to_examine VALUES ($1)", one)
        await examine_some(connection, datetime.now(UTC))
    await until(lambda: entries(client, one), lambda found: len(found) == 1)


def test_the_migration_queues_all_numbers_that_may_have_several_spellings() -> None:
    path = Path(__file__).parent.parent.parent / "migrations/versions/20261128_identities.py"
    text = path.read_text("utf-8")
    assert all(f'"{each}"' in text for each in SEVERAL_SPELLINGS)
