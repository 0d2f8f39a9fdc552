"""What receipts and operators teach about addresses, through the API."""

import asyncio
import itertools
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fastapi import FastAPI

from app.quarantine.store import forget_errors, lock_addresses
from tests.ingest.test_roads import Account, until

_serial = itertools.count(1)


async def make(client: httpx.AsyncClient) -> Account:
    """An account whose errors are qualified apart from all others'."""
    account = await Account.make(client)
    answer = await client.patch(f"/v1/gateways/{account.key}", json={"implementation": account.key})
    assert answer.status_code == 200, answer.text
    return account


def number() -> str:
    return f"+346{next(_serial):08d}"


async def qualified(client: httpx.AsyncClient, account: Account, code: str, **as_: str) -> str:
    """Makes error `code` of the account's gateway known, and qualifies it; returns its id."""
    await failed(account, number(), code)

    async def found() -> Any:
        answer = await client.get("/v1/qualifications", params={"implementation": account.key, "limit": 1000})
        return [item for item in answer.json()["items"] if item["error_code"] == code]

    (item,) = await until(found, bool)
    if as_:
        answer = await client.patch(f"/v1/qualifications/{item['id']}", json={"state": "keep", **as_})
        assert answer.status_code == 200, answer.text
    return str(item["id"])


async def failed(account: Account, address: str, code: str, **fields: str) -> str:
    """A message to `address` that fails with `code`; returns its provider message id."""
    id = f"{account.key}-{next(_serial)}"
    answer = await account.messages(
        {"address": address, "provider_message_id": id, "submitted_at": "2026-01-01T00:00:00Z"}
    )
    assert answer.json()["accepted"] == 1, answer.text
    await account.callback({"provider_message_id": id, "status": "UNDELIV", "error_code": code, **fields})
    return id


async def health(client: httpx.AsyncClient, address: str) -> dict[str, Any]:
    answer = await client.get(f"/v1/quarantine/{quote(address)}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def becomes(client: httpx.AsyncClient, address: str, status: str) -> dict[str, Any]:
    found: dict[str, Any] = await until(lambda: health(client, address), lambda found: found["status"] == status)
    return found


async def test_a_hard_error_quarantines_at_once_and_shows_its_evidence(client: httpx.AsyncClient) -> None:
    account = await make(client)
    await qualified(client, account, "1", failure_type="hard", reason="user_unknown")
    address = number()
    await failed(account, address, "1")
    found = await becomes(client, address, "quarantined")
    (entry,) = found["entries"]
    assert (entry["reason"], entry["origin"], entry["delivery_id"]) == ("user_unknown", "receipts", account.delivery)
    assert [each["rule"] for each in found["evidence"]] == ["A hard error quarantines at once."]
    summary = (await client.get(f"/v1/deliveries/{account.delivery}/summary")).json()
    listed = (await client.get(f"/v1/deliveries/{account.delivery}/quarantine")).json()
    assert listed["total"] == len(listed["items"]) == summary["new_quarantines"]


async def test_an_error_that_nobody_qualified_leaves_the_address_alone(client: httpx.AsyncClient) -> None:
    account = await make(client)
    address = number()
    await failed(account, address, "7")
    await until(lambda: health(client, address), lambda found: bool(found["evidence"]))
    assert (await health(client, address))["status"] == "valid"


async def test_a_release_is_not_undone_by_an_old_failure_that_comes_in_later(client: httpx.AsyncClient) -> None:
    account = await make(client)
    await qualified(client, account, "1", failure_type="hard", reason="user_unknown")
    address = number()
    await failed(account, address, "1")
    await becomes(client, address, "quarantined")
    answer = await client.delete(f"/v1/quarantine/{quote(address)}", params={"reason": "checked by hand"})
    assert answer.json()["status"] == "valid"
    await failed(account, address, "1", occurred_at="2026-02-01T00:00:00Z")
    await until(lambda: health(client, address), lambda found: len(found["evidence"]) == 3)
    assert (await health(client, address))["status"] == "valid"
    await failed(account, address, "1")
    await becomes(client, address, "quarantined")


async def test_requalifying_moves_addresses_says_so_before_and_is_undone_by_changing_back(
    client: httpx.AsyncClient,
) -> None:
    account = await make(client)
    id = await qualified(client, account, "9")
    addresses = [number() for _ in range(5)]
    for address in addresses:
        await failed(account, address, "9")
    await until(lambda: health(client, addresses[-1]), lambda found: bool(found["evidence"]))
    change = {"failure_type": "hard", "reason": "user_unknown", "state": "keep"}
    preview = (await client.post(f"/v1/qualifications/{id}/preview", json=change)).json()
    assert preview["quarantines"] == 6
    moved = (await client.patch(f"/v1/qualifications/{id}", json=change)).json()["moved"]
    assert moved == preview
    assert {(await health(client, each))["status"] for each in addresses} == {"quarantined"}
    back = {"failure_type": "undefined", "reason": "refused", "state": "to_qualify"}
    assert (await client.patch(f"/v1/qualifications/{id}", json=back)).json()["moved"]["quarantines"] == 6
    assert {(await health(client, each))["status"] for each in addresses} == {"valid"}


async def test_an_outage_trips_the_breaker_and_one_request_decides(client: httpx.AsyncClient, app: FastAPI) -> None:
    account = await make(client)
    await qualified(client, account, "50", failure_type="hard", reason="user_unknown")
    many = 1_500
    rows = [{"address": number(), "provider_message_id": f"{account.key}-o{each}"} for each in range(many)]
    assert (await account.messages(*rows)).json()["accepted"] == many
    receipts = [
        {
            "gateway": account.key,
            "provider_message_id": row["provider_message_id"],
            "status": "UNDELIV",
            "error_code": "50",
        }
        for row in rows
    ]
    assert (await client.post("/v1/receipts", json=receipts)).status_code == 202

    async def errors() -> Any:
        return (await client.get(f"/v1/deliveries/{account.delivery}/summary")).json()

    summary = await until(errors, lambda found: found["errors"] == many + 1)
    assert summary["new_quarantines"] < 200
    breakers = (await client.get("/v1/breakers")).json()
    (breaker,) = [each for each in breakers["items"] if each["gateway"] == account.key]
    assert breaker["held"] + summary["new_quarantines"] == many + 1
    decided = (await client.post(f"/v1/breakers/{breaker['id']}/apply", json={"reason": "they are real"})).json()
    assert decided["addresses"] == breaker["held"]
    assert (await errors())["new_quarantines"] == many + 1
    (noted,) = await told(client, account, "DLV-BREAKER-DECIDED")
    assert (noted["moved"], noted["decision"], noted["reason"]) == (breaker["held"], "apply", "they are real")
    again = await client.post(f"/v1/breakers/{breaker['id']}/discard", json={"reason": "no"})
    assert again.status_code == 409
    drift = (await client.post(f"/v1/deliveries/{account.delivery}/recompute")).json()
    assert drift["drift"] == 0


async def test_many_are_released_by_a_filter_after_a_dry_run(client: httpx.AsyncClient) -> None:
    account = await make(client)
    await qualified(client, account, "1", failure_type="hard", reason="user_unknown")
    for _ in range(3):
        await failed(account, number(), "1")

    async def count() -> Any:
        return (await client.get("/v1/quarantine", params={"gateway": account.key})).json()["total"]

    await until(count, lambda found: found == 4)
    body = {"filter": {"gateway": account.key, "error_code": "1"}, "reason": "an outage", "dry_run": True}
    assert (await client.post("/v1/quarantine/release", json=body)).json() == {"addresses": 4, "dry_run": True}
    assert await count() == 4
    assert (await client.post("/v1/quarantine/release", json=body | {"dry_run": False})).json()["addresses"] == 4
    assert await count() == 0
    summary = (await client.get(f"/v1/deliveries/{account.delivery}/summary")).json()
    assert summary["new_quarantines"] == 0


async def test_an_import_denylists_and_is_recognised_when_sent_again(client: httpx.AsyncClient) -> None:
    one, two = number(), number()
    rows = [{"address": one}, {"address": two, "status": "quarantined", "reason": "user_unknown"}, {"address": "12"}]
    answer = (await client.post("/v1/quarantine", json=rows)).json()
    assert (answer["accepted"], answer["rejected"]) == (2, 1)
    assert (await health(client, one))["status"] == "denylisted"
    assert (await health(client, two))["status"] == "quarantined"
    await client.post("/v1/quarantine", json=rows)
    assert len((await health(client, one))["evidence"]) == 1
    answer = await client.delete(f"/v1/quarantine/{quote(one)}", params={"reason": "asked for it"})
    assert answer.json()["status"] == "valid"


async def test_a_release_and_an_examination_of_the_same_address_do_not_wait_for_each_other_in_a_circle(
    client: httpx.AsyncClient, app: FastAPI
) -> None:
    address = number()
    await client.post("/v1/quarantine", json=[{"address": address}])
    async with app.state.pool.acquire() as examining:

        async def waiting() -> int:
            found: int = await examining.fetchval(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = "
                "(SELECT oid FROM pg_database WHERE datname = current_database())"
            )
            return found

        async with examining.transaction():
            await lock_addresses(examining, [address])
            releasing = asyncio.create_task(client.delete(f"/v1/quarantine/{quote(address)}?reason=a+test"))
            await until(waiting, bool)
            await examining.execute("UPDATE quarantine SET errors = errors WHERE address = $1", address)
    answer = await releasing
    assert (answer.status_code, answer.json()["status"]) == (200, "valid")


async def test_a_deactivation_list_is_imported_with_its_name_and_its_end(
    client: httpx.AsyncClient, app: FastAPI
) -> None:
    one, two = number(), number()
    ends, later = "2199-01-01T00:00:00Z", "2199-06-01T00:00:00Z"
    body = f"Phone Number;until\n{one};\n{two};{later}\n"
    asked = {"status": "quarantined", "origin": "deactivations", "until": ends}
    answer = await client.post("/v1/quarantine", params=asked, content=body, headers={"Content-Type": "text/csv"})
    assert answer.json()["accepted"] == 2, answer.text
    (entry,) = (await health(client, one))["entries"]
    assert (entry["origin"], entry["clears_at"]) == ("deactivations", ends)
    assert (await health(client, two))["entries"][0]["clears_at"] == later
    (fact,) = (await health(client, one))["evidence"]
    assert fact["rule"] == "Quarantined by decision until 2199-01-01 00:00 UTC."
    listed = (await client.get("/v1/quarantine", params={"origin": "deactivations"})).json()
    assert {item["address"] for item in listed["items"]} == {one, two}
    assert listed["total"] == 2
    async with app.state.pool.acquire() as connection, connection.transaction():
        await forget_errors(connection, datetime(2199, 1, 1, 0, 0, 1, tzinfo=UTC))
    assert (await health(client, one))["status"] == "valid"
    assert (await health(client, two))["status"] == "quarantined"


async def test_what_is_imported_for_longer_holds_for_longer_and_the_same_again_changes_nothing(
    client: httpx.AsyncClient,
) -> None:
    address = number()
    for ends, facts in (("2199-01-01T00:00:00Z", 1), ("2199-01-01T00:00:00Z", 1), ("2199-03-01T00:00:00Z", 2),
                         ("2199-02-01T00:00:00Z", 2), (None, 3), ("2199-12-01T00:00:00Z", 3)):  # fmt: skip
        await client.post("/v1/quarantine", json=[{"address": address, "until": ends}])
        assert len((await health(client, address))["evidence"]) == facts
    assert (await health(client, address))["entries"][0]["clears_at"] is None


@pytest.mark.parametrize(
    ("asked", "row"),
    [
        ({"until": "2020-01-01T00:00:00Z"}, {}),
        ({"until": "tomorrow"}, {}),
        ({"origin": "receipts"}, {}),
        ({"origin": "A list"}, {}),
        ({}, {"until": "2020-01-01T00:00:00Z"}),
        ({}, {"origin": "operator"}),
        ({}, {"origin": "a/b"}),
    ],
)
async def test_an_end_that_is_over_and_a_list_that_is_none_are_refused(
    client: httpx.AsyncClient, asked: dict[str, str], row: dict[str, str]
) -> None:
    answer = await client.post("/v1/quarantine", params=asked, json=[{"address": number(), **row}])
    assert answer.status_code == 422
    assert next(iter(asked or row)) in answer.text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/quarantine/nonsense", 422),
        ("DELETE", "/v1/quarantine/%2B34600123999", 422),
        ("DELETE", "/v1/quarantine/%2B34600123999?reason=x", 404),
        ("POST", "/v1/breakers/99/apply", 422),
        ("GET", "/v1/deliveries/999/quarantine", 404),
        ("GET", "/v1/quarantine?cursor=abc", 422),
    ],
)
async def test_what_cannot_be_gets_a_problem(client: httpx.AsyncClient, method: str, path: str, status: int) -> None:
    answer = await client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_release_without_a_filter_is_refused(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/quarantine/release", json={"filter": {}, "reason": "all"})
    assert answer.status_code == 422


async def told(client: httpx.AsyncClient, account: Account, code: str) -> list[dict[str, Any]]:
    """The data of the entries `code` in the delivery's journal, newest first."""
    items = (await client.get(f"/v1/deliveries/{account.delivery}/audit")).json()["items"]
    return [item["data"] for item in items if item["code"] == code]


async def test_the_journals_of_the_deliveries_whose_figures_move_tell_of_it(client: httpx.AsyncClient) -> None:
    one, other = await make(client), await make(client)
    addresses: dict[str, list[str]] = {}
    for account in (one, other):
        await qualified(client, account, "1", failure_type="hard", reason="user_unknown")
        addresses[account.key] = [number() for _ in range(4)]
        for each in addresses[account.key]:
            await failed(account, each, "1")
        for each in addresses[account.key]:
            await becomes(client, each, "quarantined")
    url = f"/v1/quarantine/{quote(addresses[one.key][0])}"
    assert (await client.delete(url, params={"reason": "asked"})).status_code == 200
    (released,) = await told(client, one, "DLV-RELEASED")
    assert (released["moved"], released["reason"]) == (1, "asked")
    imported = [{"address": addresses[each.key][n]} for each in (one, other) for n in (1, 2)]
    assert (await client.post("/v1/quarantine", json=imported)).json()["accepted"] == 4
    for account in (one, other):
        (moved,) = await told(client, account, "DLV-IMPORTED")
        assert moved["moved"] == 2
    body = {"filter": {"gateway": other.key, "error_code": "1"}, "reason": "an outage"}
    assert (await client.post("/v1/quarantine/release", json=body)).json()["addresses"] == 3
    (released,) = await told(client, other, "DLV-RELEASED")
    assert (released["moved"], released["filter"]["gateway"]) == (3, other.key)
    assert len(await told(client, one, "DLV-RELEASED")) == 1


async def test_a_status_and_its_evidence_are_of_one_moment(client: httpx.AsyncClient) -> None:
    account = await make(client)
    await qualified(client, account, "1", failure_type="hard", reason="user_unknown")
    for _ in range(10):
        address = number()
        await failed(account, address, "1")
        found = await health(client, address)
        while found["status"] != "quarantined":
            assert found["evidence"] == found["entries"] == []
            found = await health(client, address)
        assert len(found["evidence"]) == len(found["entries"]) == 1
