"""Errors belong to the gateway that gives them; sharing a name for them is on purpose, and parting is told before."""

import itertools
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI

from app.accounts import parting
from app.db import Pool
from app.doctor import examined
from app.gateways import GATEWAYS
from app.settings import Settings
from tests.conftest import Headers
from tests.ingest.test_roads import TOKEN, Account, until

HARD = {"failure_type": "hard", "reason": "user_unknown", "state": "keep"}
_serial = itertools.count(1)


@pytest_asyncio.fixture(loop_scope="session")
async def administrator(client: httpx.AsyncClient, admin: Headers) -> httpx.AsyncClient:
    client.headers.update(admin)
    return client


async def create(client: httpx.AsyncClient, key: str, **fields: Any) -> dict[str, Any]:
    body = {"key": key, "kind": "generic", "auth": {"mode": "token", "secrets": [TOKEN]}} | fields
    answer = await client.post("/v1/gateways", json=body)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def account(client: httpx.AsyncClient, key: str, **fields: Any) -> Account:
    await create(client, key, **fields)
    body = {"label": key, "sender": "Acme", "gateway": key}
    delivery = (await client.post("/v1/deliveries", json=body)).json()["id"]
    return Account(client, key, delivery)


async def failing(account: Account, code: str) -> str:
    """A message that failed with `code`; its id."""
    number = next(_serial)
    row = {"address": f"+4477009{number:05d}", "provider_message_id": f"{account.key}-{number}"}
    assert (await account.messages(row)).json()["accepted"] == 1
    await account.callback({"provider_message_id": row["provider_message_id"], "status": "UNDELIV", "error_code": code})

    async def message() -> Any:
        url = f"/v1/deliveries/{account.delivery}/messages"
        return (await account.client.get(url, params={"address": row["address"]})).json()["items"]

    (found,) = await until(message, lambda items: items and items[0]["status"] == "failed")
    return str(found["id"])


async def known(client: httpx.AsyncClient, implementation: str) -> dict[str, Any]:
    """What stands under a name, by error code."""
    params: dict[str, Any] = {"implementation": implementation, "limit": 1000}
    items = (await client.get("/v1/qualifications", params=params)).json()["items"]
    return {item["error_code"]: item for item in items if item["status"] == "UNDELIV"}


async def qualify(client: httpx.AsyncClient, implementation: str, code: str, **change: str) -> None:
    id = (await known(client, implementation))[code]["id"]
    assert (await client.patch(f"/v1/qualifications/{id}", json=change or HARD)).status_code == 200


@pytest.mark.parametrize("kind", sorted(GATEWAYS))
async def test_a_new_gateways_errors_are_its_own(administrator: httpx.AsyncClient, kind: str) -> None:
    one, other = [await create(administrator, f"own-{kind}-{number}", kind=kind) for number in (1, 2)]
    assert (one["implementation"], other["implementation"]) == (f"own-{kind}-1", f"own-{kind}-2")


async def test_what_one_gateways_error_means_says_nothing_about_anothers(administrator: httpx.AsyncClient) -> None:
    one, other = [await account(administrator, f"apart-{number}") for number in (1, 2)]
    await failing(one, "9")
    await qualify(administrator, one.key, "9")
    theirs = await failing(other, "9")
    assert (await administrator.get(f"/v1/messages/{theirs}")).json()["failure_type"] == "undefined"


async def test_a_name_that_a_gateway_has_already_is_not_shared_by_chance(administrator: httpx.AsyncClient) -> None:
    await create(administrator, "chance-1", implementation="chance-2")
    assert (await create(administrator, "chance-2"))["implementation"] == "chance-2 2"
    assert (await create(administrator, "chance-3", implementation="chance-2"))["implementation"] == "chance-2"


async def test_where_all_names_that_could_be_its_own_are_taken_it_is_asked_for_one(
    administrator: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parting, "_NAMES", 4)
    for number, name in enumerate(("full", "full 2", "full 3")):
        await create(administrator, f"filling-{number}", implementation=name)
    body = {"key": "full", "kind": "generic", "auth": {"mode": "none"}}
    answer = await administrator.post("/v1/gateways", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/implementation")
    assert (await create(administrator, "full", implementation="Mine"))["implementation"] == "Mine"


async def test_a_gateway_that_is_revived_keeps_its_name(administrator: httpx.AsyncClient) -> None:
    await create(administrator, "phoenix", implementation="Ash")
    await administrator.delete("/v1/gateways/phoenix")
    assert (await create(administrator, "phoenix"))["implementation"] == "Ash"
    await administrator.delete("/v1/gateways/phoenix")
    assert (await create(administrator, "phoenix", implementation="Fire"))["implementation"] == "Fire"


async def test_parting_says_before_what_it_moves_and_takes_along_what_was_decided(
    administrator: httpx.AsyncClient, pool: Pool
) -> None:
    one, other = [await account(administrator, f"part-{number}", implementation="Both") for number in (1, 2)]
    old = await failing(other, "9")
    await failing(one, "10")
    await qualify(administrator, "Both", "9")
    url = f"/v1/gateways/{other.key}"
    preview = await administrator.patch(url, params={"dry_run": "true"}, json={"implementation": other.key})
    assert preview.status_code == 200, preview.text
    moved = preview.json()["moved"]
    assert preview.json()["dry_run"] is True
    assert (moved["old_implementation"], moved["implementation"]) == ("Both", "part-2")
    assert (moved["shared_with"], moved["shares_with"]) == (["part-1"], [])
    assert (moved["known_errors"], moved["messages"], moved["differing"]) == (1, 1, 0)
    assert moved["per_error"] == [
        {"status": "UNDELIV", "error_code": "9", "messages": 1, "before": HARD, "after": HARD}
    ]
    assert (await administrator.get(url)).json()["implementation"] == "Both"
    assert await known(administrator, other.key) == {}
    newest = (await administrator.get("/v1/audit?limit=1")).json()["items"][0]
    assert newest["code"] != "GTW-CHANGED"

    done = (await administrator.patch(url, json={"implementation": other.key})).json()
    assert (done["moved"], done["dry_run"]) == (moved, False)
    there = await known(administrator, other.key)
    assert {code: item["failure_type"] for code, item in there.items()} == {"9": "hard"}
    new = await failing(other, "9")
    answers = [(await administrator.get(f"/v1/messages/{id}")).json() for id in (old, new)]
    assert [each["error"] for each in answers] == ["SR Both UNDELIV 9", "SR part-2 UNDELIV 9"]
    assert {each["failure_type"] for each in answers} == {"hard"}
    await qualify(administrator, "Both", "9", failure_type="soft", reason="unreachable")
    assert (await administrator.get(f"/v1/messages/{new}")).json()["failure_type"] == "hard"
    entry = (await administrator.get("/v1/audit?limit=5")).json()["items"]
    (changed,) = [each for each in entry if each["code"] == "GTW-CHANGED"]
    assert changed["data"]["moved"]["messages"] == 1


async def test_sharing_another_name_says_what_will_mean_something_else(administrator: httpx.AsyncClient) -> None:
    one, other = [await account(administrator, f"join-{number}") for number in (1, 2)]
    for code in ("9", "10"):
        await failing(other, code)
    await failing(one, "9")
    await qualify(administrator, one.key, "9")
    await qualify(administrator, other.key, "10")
    change = {"implementation": one.key}
    moved = (await administrator.patch(f"/v1/gateways/{other.key}?dry_run=true", json=change)).json()["moved"]
    assert (moved["shared_with"], moved["shares_with"], moved["copied"]) == ([], [one.key], 0)
    assert moved["differing"] == 2
    after = {each["error_code"]: each["after"] for each in moved["per_error"]}
    assert after == {"9": HARD, "10": None}


async def test_a_dry_run_of_any_change_changes_nothing(administrator: httpx.AsyncClient, app: FastAPI) -> None:
    before = await create(administrator, "dry")
    change = {"label": "New", "options": {"receipt_id_format": "decimal"}}
    answer = (await administrator.patch("/v1/gateways/dry?dry_run=true", json=change)).json()
    assert (answer["label"], answer["moved"], answer["rekeyed"] is None) == ("New", None, False)
    after = (await administrator.get("/v1/gateways/dry")).json()
    assert (after["label"], after["options"]) == (before["label"], before["options"])
    assert app.state.directory.get("dry").options.receipt_id_format == "as_is"
    wrong = await administrator.patch("/v1/gateways/dry?dry_run=true", json={"options": {"nonsense": 1}})
    assert wrong.status_code == 422


async def test_while_a_breaker_is_open_nobody_parts(administrator: httpx.AsyncClient, pool: Pool) -> None:
    one = await account(administrator, "broken", implementation="Weak")
    await failing(one, "9")
    await pool.execute(
        "INSERT INTO breakers (gateway_id, qualification_id, opened_at, failures, finals) SELECT g.id, q.id, now(), 1, 1 "
        "FROM gateways g JOIN qualifications q USING (implementation) WHERE g.key = 'broken' AND q.error_code = '9'"
    )
    answer = await administrator.patch("/v1/gateways/broken", json={"implementation": "broken"})
    assert (answer.status_code, "breaker" in answer.json()["detail"]) == (409, True)
    assert (await administrator.patch("/v1/gateways/broken", json={"label": "x"})).status_code == 200
    await pool.execute("UPDATE breakers SET closed_at = now(), decision = 'discard'")


async def test_the_doctor_says_who_shares(
    administrator: httpx.AsyncClient, settings: Settings, database_url: str, pool: Pool
) -> None:
    async def found() -> Any:
        checks = {check.name: check for check in await examined(settings, database_url)}
        return checks["implementations"]

    await pool.execute("UPDATE gateways SET implementation = key || '/' || id")
    assert (await found()).state == "ok"
    for number in (1, 2):
        await create(administrator, f"sharing-{number}", implementation="On purpose")
    check = await found()
    assert check.state == "ok"
    assert "sharing-1, sharing-2 share On purpose" in check.finding
    for number in (1, 2):  # as older versions made them
        await create(administrator, f"older-{number}", implementation=GATEWAYS["generic"].label)
    check = await found()
    assert check.state == "warning"
    assert "older-1, older-2 share Generic (JSON)" in check.finding
    assert "dry_run=true" in check.finding


async def test_the_errors_of_kannels_smscs_are_qualified_apart(administrator: httpx.AsyncClient) -> None:
    await create(administrator, "box", kind="kannel", options={"errors_per": "smsc"})
    body = {"label": "box", "sender": "Acme", "gateway": "box"}
    delivery = (await administrator.post("/v1/deliveries", json=body)).json()["id"]
    errors = set()
    for smsc in ("smsc-1", "smsc-2"):
        row = {"address": "+447700900555", "provider_message_id": f"box-{smsc}"}
        assert (await Account(administrator, "box", delivery).messages(row)).json()["accepted"] == 1
        query = {"token": TOKEN, "type": 2, "fid": f"box-{smsc}", "smsc": smsc, "reply": "stat:UNDELIV err:069"}
        assert (await administrator.get(f"/callbacks/box?{urlencode(query)}")).status_code == 200

    async def failed() -> Any:
        items = (await administrator.get(f"/v1/deliveries/{delivery}/messages")).json()["items"]
        return {item["error"] for item in items if item["status"] == "failed"}

    errors = await until(failed, lambda found: len(found) == 2)
    assert errors == {"SR box 2 UNDELIV 069 @ smsc-1", "SR box 2 UNDELIV 069 @ smsc-2"}


async def test_after_requalification_every_answer_tells_the_new_sentence(administrator: httpx.AsyncClient) -> None:
    one = await account(administrator, "telling")
    message = await failing(one, "9")
    address = (await administrator.get(f"/v1/messages/{message}")).json()["address"]
    (entry,) = (await known(administrator, one.key)).values()
    url = f"/v1/qualifications/{entry['id']}"

    async def sentences() -> set[str]:
        read = (await administrator.get(f"/v1/messages/{message}")).json()
        listed = (await administrator.get(f"/v1/deliveries/{one.delivery}/messages")).json()["items"]
        health = (await administrator.get(f"/v1/quarantine/{quote(address)}")).json()
        page = (await administrator.get("/v1/quarantine", params={"gateway": one.key})).json()["items"]
        kept = (await administrator.get(f"/v1/deliveries/{one.delivery}/quarantine")).json()["items"]
        body = {"provider_message_id": "1", "status": "UNDELIV", "error_code": "9"}
        tried = (await administrator.post(f"/v1/gateways/{one.key}/test", json=body)).json()["items"]
        about = (await administrator.get(f"/v1/addresses/{quote(address)}")).json()
        found = {read["text"], (await administrator.get(url)).json()["sentence"], tried[0]["qualification"]["sentence"]}
        found |= {each["text"] for each in (*listed, *page, *kept, *health["entries"], *about["health"]["entries"])}
        found |= {each["qualification"]["text"] for each in read["timeline"] if each.get("qualification")}
        return found

    assert await sentences() == {entry["sentence"]}
    done = (await administrator.patch(url, json=HARD)).json()["qualification"]["sentence"]
    assert done == "The number is not in use, or the network does not know it. The address is quarantined at once."
    assert await sentences() == {done}
    await administrator.patch(url, json={"sentence": "This number is gone."})
    assert await sentences() == {"This number is gone."}
    await administrator.patch(url, json={"failure_type": "soft"})
    assert await sentences() == {"This number is gone."}
