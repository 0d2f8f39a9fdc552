"""Erased is erased: not only the number goes but all that is known of the person, and what comes later still counts."""

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import httpx
import orjson
import pytest
import pytest_asyncio
from fastapi import FastAPI

from app import audit
from app.addresses.person import Said, known
from app.addresses.spellings import Spellings
from app.db import Pool
from app.links.clicks import new_id
from tests.conftest import KeyMaker
from tests.ingest.test_roads import TOKEN, Account, until

from .dump import NUMBER, contents, plain_dump, spellings
from .test_erasure import prepared

DIGITS = NUMBER[1:]
#: All that somebody else than the number could be known by. None of it may be left.
PERSONAL = ("Zenobia", "Quiñones", "zenobia.q@example.org", "customer-4711", "Opel Kadett", "Zenobia Quiñones")
OTHER = "+34600123987"
#: What the browsers of many say.
SHARED = "Phone like many"


async def erase(client: httpx.AsyncClient, number: str = NUMBER, **query: str) -> dict[str, Any]:
    params = {"reason": "Zenobia Quiñones asked", **query}
    answer = await client.delete(f"/v1/addresses/{quote(number)}", params=params)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def account(client: httpx.AsyncClient, app: FastAPI, pool: Pool) -> Account:
    """A person with a past in every table."""
    account = await Account.make(client)
    params = {"name": "Zenobia Quiñones", "mail": "zenobia.q@example.org", "car": "Opel Kadett", "city": "Madrid"}
    others = [{"address": f"+3460012388{n}", "params": {"name": f"Bo {n}", "city": "Madrid"}} for n in range(3)]
    speaking = {"address": OTHER, "recipient_id": f"friend of {DIGITS}", "params": {"name": "Al", "friend": NUMBER}}
    targets = [{"address": NUMBER, "recipient_id": "customer-4711", "params": params}, *others, speaking]
    await prepared(client, account.key, targets, content="Hi {{name}}")
    proof = {"addresses": [{"address": NUMBER, "params": params}], "gateway": account.key, "force": True}
    id = (await client.post("/v1/deliveries", json={"label": "p", "sender": "A", "content": "Hi {{name}}"})).json()[
        "id"
    ]
    headers = {"Idempotency-Key": f"proof-{DIGITS}"}
    answer = await client.post(f"/v1/deliveries/{id}/proofs", json=proof, headers=headers)
    assert answer.status_code == 201, answer.text
    await account.messages(
        {"address": NUMBER, "recipient_id": "customer-4711", "reference": "zenobia-order", "provider_message_id": "z1"},
        {"address": NUMBER, "provider_message_id": f"id-{DIGITS}", "reference": f"ref-{DIGITS}"},
        {"address": OTHER, "provider_message_id": f"other-{DIGITS}", "reference": "Ñ"},
    )
    await account.callback({"provider_message_id": "z1", "status": "ACCEPTD", "to": NUMBER, "for": "Zenobia Quiñones"})
    await account.callback(
        {"provider_message_id": "unmatched-1", "reference": f"unr-{DIGITS}", "status": "ACCEPTD", "mail": PERSONAL[2]}
    )
    await account.callback({"reference": f"unr-{DIGITS}-2", "status": f"word {DIGITS}"})
    await account.callback({"provider_message_id": f"other-{DIGITS}", "status": "ACCEPTD", "note": NUMBER})
    await account.callback({"type": "inbound", "from": NUMBER, "to": "5555", "text": "STOP, says Zenobia"})
    await account.callback({"type": "inbound", "from": OTHER, "to": "5555", "text": "ask zenobia.q@example.org"})
    await client.post(f"/callbacks/{account.key}?x=customer-4711", content="broken", headers={"X-Acuse-Token": TOKEN})
    await client.post("/v1/quarantine", json=[{"address": NUMBER, "note": "her name is Zenobia", "sender": "Shop"}])
    answer = await client.delete(
        f"/v1/quarantine/{quote(NUMBER)}", params={"reason": "Zenobia called", "sender": "Shop"}
    )
    assert answer.status_code == 200, answer.text
    await _clicks(pool)
    async with pool.acquire() as connection, connection.transaction():
        await audit.append(
            connection, audit.PLATFORM, "TST-OLD", f"An older version wrote {NUMBER}.", at=datetime.now(UTC), actor="x"
        )
    await until(lambda: pool.fetchval("SELECT count(*) FROM inbox"), lambda rows: rows == 0)
    await until(lambda: pool.fetchval("SELECT count(*) FROM inbound WHERE applied_at IS NULL"), lambda rows: rows == 0)
    await until(lambda: pool.fetchval("SELECT count(*) FROM counters WHERE metric = 'unknown'"), lambda rows: rows == 1)
    return account


async def _clicks(pool: Pool) -> None:
    """Of the person, and of another message: those from before visitors had a table, whose agents name the number, and those
    whose texts stand there. One of those two share."""
    visit: dict[str, Any] = {"method": "GET", "headers": {"accept-language": "xx-Quiñones"}}
    plain: dict[str, Any] = {"method": "GET"}
    for condition, said in (("address = $1", visit), ("address <> $1", plain)):
        await pool.execute(
            "INSERT INTO clicks (id, message_id, delivery_id, link, clicked_at, human, reasons, device, agent, visit, network, "
            "rules_version) SELECT $2, id, delivery_id, 0, now(), true, '{}', 'phone', $3, $4, '192.0.2.0/24', 1 FROM messages "
            f"WHERE {condition} ORDER BY id LIMIT 1",
            NUMBER, new_id(), f"Phone of {DIGITS}", said,
        )  # fmt: skip
    seen = (
        ("address = $1", f"New phone of {DIGITS}", visit), ("address = $1", "Only hers", plain),
        ("address = $1", SHARED, plain), ("address <> $1", SHARED, plain),
        ("address <> $1", "Sent by zenobia.q@example.org", {"headers": {DIGITS: NUMBER}}),
    )  # fmt: skip
    for condition, agent, said in seen:
        await pool.execute(
            "INSERT INTO click_inbox (id, message_id, delivery_id, link, clicked_at, human, reasons, device, agent, visit, "
            "network, rules_version) SELECT $2, id, delivery_id, 0, now(), true, '{}', 'phone', $3, $4, '192.0.2.0/24', 1 FROM "
            f"messages WHERE {condition} ORDER BY id LIMIT 1",
            NUMBER, new_id(), agent, said,
        )  # fmt: skip
    await until(lambda: pool.fetchval("SELECT count(*) FROM click_inbox"), lambda rows: rows == 0)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def certificate(account: Account, client: httpx.AsyncClient, pool: Pool) -> dict[str, Any]:
    """Once erased, after a dry run and an export."""
    before = await contents(pool)
    there = {name for name, text in before.items() if spellings(text) or any(each in text for each in PERSONAL)}
    assert there >= {
        "targets.params", "targets.recipient_id", "messages.recipient_id", "messages.params", "messages.reference",
        "correlations.value", "counters.label", "clicks.agent", "clicks.visit", "visitors.agent", "visitors.visit",
        "inbound.text", "inbound.raw", "rejected.request", "decisions.note", "audit_private.value", "idempotency.key",
        "receipts.raw", "audit.text",
    }  # fmt: skip
    counted = await erase(client, dry_run="true")
    assert counted["dry_run"] is True
    assert _facts(await contents(pool)) == _facts(before)
    found = await erase(client)
    assert found["dry_run"] is False
    assert found["replaced"] == counted["replaced"]
    return found


def _facts(found: Mapping[str, str]) -> dict[str, str]:
    """Without what the clock counts and remembers meanwhile."""
    return {name: text for name, text in found.items() if not name.startswith(("counters.", "platform.", "processes."))}


# --- nowhere ---------------------------------------------------------------------------------------------------------


async def test_neither_number_nor_person_is_left_in_any_column_but_for_old_entries_of_the_journal(
    certificate: Mapping[str, Any], pool: Pool
) -> None:
    found = {
        name: [*spellings(text)[:3], *(each for each in PERSONAL if each in text)]
        for name, text in (await contents(pool)).items()
        if name != "audit.text"
    }
    assert {name: places for name, places in found.items() if places} == {}


async def test_nor_in_a_dump(certificate: Mapping[str, Any], database_url: str) -> None:
    dump = (await asyncio.to_thread(plain_dump, database_url)).replace(f"An older version wrote {NUMBER}.", "")
    assert [each for each in PERSONAL if each in dump] == []
    assert spellings(dump) == []


async def test_nor_in_a_file_of_the_data_directory(certificate: Mapping[str, Any], app: FastAPI) -> None:
    files = [path for path in app.state.settings.data_dir.rglob("*") if path.is_file()]
    text = "\n".join(path.read_bytes().decode("latin-1") for path in files)
    assert spellings(text) == []
    assert [each for each in PERSONAL if each.encode().decode("latin-1") in text] == []


async def test_entries_of_older_versions_are_named_and_all_chains_hold(
    certificate: Mapping[str, Any], pool: Pool
) -> None:
    assert certificate["journal_entries"] == len(certificate["journals"]) == 1
    (entry,) = certificate["journals"]
    text = await pool.fetchval(
        "SELECT text FROM audit WHERE chain = $1 AND seq = $2", int(entry["chain"]), entry["seq"]
    )
    assert NUMBER in text
    async with pool.acquire() as connection:
        for row in await connection.fetch("SELECT chain FROM audit_heads"):
            assert (await audit.verify(connection, row["chain"]))[1] is None


async def test_what_others_share_stays(certificate: Mapping[str, Any], pool: Pool) -> None:
    assert await pool.fetchval("SELECT count(*) FROM targets WHERE params ->> 'city' = 'Madrid'") == 3
    assert await pool.fetchval("SELECT params ->> 'name' FROM targets WHERE given = $1", OTHER) == "Al"
    assert await pool.fetchval("SELECT sum(value) FROM counters WHERE metric = 'unknown'") == 1


async def test_of_visitors_only_what_others_said_is_left(certificate: Mapping[str, Any], pool: Pool) -> None:
    left = {row["agent"] for row in await pool.fetch("SELECT agent FROM visitors")}
    assert left == {SHARED, f"Sent by {certificate['pseudonym']}"}
    rows = await pool.fetch(
        "SELECT v.id = visitor_id(v.agent, v.visit) AS own, m.address FROM visitors v JOIN clicks c ON c.visitor = v.id "
        "JOIN messages m ON m.id = c.message_id"
    )
    assert len(rows) == 2, "of each of them, the click of another message"
    assert all(row["own"] and row["address"] != certificate["pseudonym"] for row in rows)
    assert certificate["replaced"]["visitors"] == 2


async def test_the_certificate_says_what_is_beyond_reach(certificate: Mapping[str, Any]) -> None:
    assert {each["where"] for each in certificate["remains"]} == {
        "tables", "write_ahead_log", "backups", "stored_answers", "other_hosts",
    }  # fmt: skip
    assert all(each["what"] and each["until"] for each in certificate["remains"])


async def test_certificates_are_listed_and_fetched_again_and_name_nobody(
    certificate: Mapping[str, Any], client: httpx.AsyncClient, key: KeyMaker
) -> None:
    headers = await key("quarantine:read")
    for id in (certificate["id"], certificate["pseudonym"]):
        answer = await client.get(f"/v1/erasures/{id}", headers=headers)
        assert answer.status_code == 200, answer.text
        assert answer.json()["replaced"] == certificate["replaced"]
    assert (await client.get(f"/v1/erasures/{'0' * 32}")).status_code == 404
    await erase(client, "+34600111777")
    first = (await client.get("/v1/erasures?limit=1", headers=headers)).json()
    second = (await client.get(f"/v1/erasures?limit=1&cursor={first['next_cursor']}", headers=headers)).json()
    assert first["total"] == 2
    assert second["items"][0]["id"] == certificate["id"]
    assert spellings(str(first) + str(second)) == []
    assert not any(each in str(second) for each in PERSONAL)
    assert (await client.get("/v1/erasures", headers=await key("deliveries:read"))).status_code == 403


# --- later -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"provider_message_id": "z1"}, "z1"),
        ({"reference": "zenobia-order"}, "z1"),
        ({"provider_message_id": f"id-{DIGITS}"}, f"id-{DIGITS}"),
        ({"reference": f"ref-{DIGITS}"}, f"id-{DIGITS}"),
        ({"provider_message_id": "a new one", "reference": f"ref-{DIGITS}"}, f"id-{DIGITS}"),
        ({"provider_message_id": f"other-{DIGITS}"}, f"other-{DIGITS}"),
    ],
)
async def test_a_later_receipt_still_counts_by_whatever_id_or_reference(
    certificate: Mapping[str, Any],
    account: Account,
    app: FastAPI,
    pool: Pool,
    names: dict[str, str],
    message: str,
) -> None:
    of_key = app.state.pseudonyms.of_key
    find = "SELECT message_id FROM correlations WHERE kind = 'id' AND value = ANY($1::text[])"
    id = await pool.fetchval(find, [message, of_key(message)])
    assert id is not None
    receipts = "SELECT count(*) FROM correlations c JOIN receipts r ON r.correlation_id = c.id WHERE c.message_id = $1"
    before = await pool.fetchval(receipts, id)
    await account.callback({**names, "status": "DELIVRD"})
    await until(lambda: pool.fetchval(receipts, id), lambda count: count == before + 1)
    status = "SELECT status::text FROM message_state WHERE message_id = $1"
    assert await until(lambda: pool.fetchval(status, id), lambda found: found == "received")
    assert not await pool.fetch("SELECT value FROM correlations WHERE value LIKE $1", f"%{DIGITS}%")


async def test_a_submission_finds_the_receipts_that_waited_under_an_erased_reference(
    certificate: Mapping[str, Any], account: Account, pool: Pool
) -> None:
    await account.messages({"address": OTHER, "reference": f"unr-{DIGITS}-2", "provider_message_id": "late"})
    found = await pool.fetchval(
        "SELECT count(*) FROM messages m JOIN correlations c ON c.message_id = m.id JOIN receipts r ON r.correlation_id = c.id "
        "WHERE m.reference = $1",
        f"unr-{DIGITS}-2",
    )
    assert found == 1
    await pool.execute("UPDATE messages SET reference = NULL WHERE reference = $1", f"unr-{DIGITS}-2")


async def test_rows_sent_again_do_not_bring_the_number_back(
    certificate: Mapping[str, Any], account: Account, pool: Pool
) -> None:
    answer = await account.messages(
        {"address": NUMBER, "provider_message_id": f"id-{DIGITS}", "reference": f"ref-{DIGITS}"},
        {"address": NUMBER, "recipient_id": "customer-4711", "reference": "zenobia-order", "provider_message_id": "z1"},
    )
    assert (answer.status_code, answer.json()["accepted"]) == (422, 0)
    assert await pool.fetchval("SELECT count(*) FROM messages WHERE address = $1", NUMBER) == 0


async def test_the_opt_out_still_holds(certificate: Mapping[str, Any], client: httpx.AsyncClient) -> None:
    (item,) = (await client.post("/v1/addresses/check", json=[NUMBER])).json()["items"]
    assert (item["allowed"], item["reason"]) == (False, "denylisted")


async def test_a_submission_by_an_erased_reference_finds_its_message(
    certificate: Mapping[str, Any], account: Account
) -> None:
    answer = await account.submissions({"reference": f"ref-{DIGITS}", "provider_message_id": f"id-{DIGITS}"})
    assert (answer.status_code, answer.json().get("accepted")) == (200, 1), answer.text


# --- before anything is done -----------------------------------------------------------------------------------------


async def test_while_another_process_of_the_data_directory_has_receipts_in_its_spool_it_waits(
    client: httpx.AsyncClient, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.addresses.api._SPOOL_WAIT_SECONDS", 0.3)
    path = app.state.settings.data_dir / "spool" / "another.sqlite3"
    path.parent.mkdir(exist_ok=True)
    lock = path.with_suffix(".lock").open("ab")
    fcntl.flock(lock, fcntl.LOCK_EX)  # it lives
    spool = sqlite3.connect(path)
    spool.execute("CREATE TABLE spool (id INTEGER PRIMARY KEY, row BLOB)")
    spool.execute("INSERT INTO spool VALUES (1, 'x')")
    spool.commit()
    try:
        answer = await client.delete("/v1/addresses/%2B34600111888", params={"reason": "x"})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
        spool.execute("DELETE FROM spool")
        spool.commit()
        assert (await erase(client, "+34600111888"))["replaced"] == {}
    finally:
        spool.close()
        os.unlink(path)
        lock.close()
        os.unlink(path.with_suffix(".lock"))


async def test_a_reply_that_is_not_applied_yet_is_heard_first(
    client: httpx.AsyncClient, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.addresses.api._SPOOL_WAIT_SECONDS", 0.3)
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE decisions IN EXCLUSIVE MODE")  # nobody can apply it
        async with pool.acquire() as other:
            await other.execute(
                "INSERT INTO inbound (gateway_id, received_at, address, text, verified, raw) "
                "SELECT min(id), now(), '+34600111999', 'STOP', true, 'x' FROM gateways"
            )
        answer = await client.delete("/v1/addresses/%2B34600111999", params={"reason": "x"})
        assert answer.status_code == 503, answer.text
    await until(lambda: pool.fetchval("SELECT count(*) FROM inbound WHERE applied_at IS NULL"), lambda rows: rows == 0)
    await erase(client, "+34600111999")
    (item,) = (await client.post("/v1/addresses/check", json=["+34600111999"])).json()["items"]
    assert item["reason"] == "denylisted"


# --- all about one ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["application/json", "application/x-ndjson"])
async def test_everything_about_a_number_is_given_out_whole_and_noted_each_time(
    client: httpx.AsyncClient, form: str
) -> None:
    account, number = await Account.make(client), f"+3460022200{len(form) % 10}"
    targets = [{"address": number, "recipient_id": "c-9", "params": {"name": "Ana"}}]
    id, _ = await prepared(client, account.key, targets, content="Hi {{name}}")
    await account.messages({"address": number, "provider_message_id": f"x{number}", "reference": "r"})
    await account.callback({"provider_message_id": f"x{number}", "status": "DELIVRD", "own": "words"})
    await account.callback({"type": "inbound", "from": number, "to": "5555", "text": "STOP please"})
    url = f"/v1/addresses/{quote(number)}/export"

    async def look() -> list[dict[str, Any]]:
        answer = await client.get(url, headers={"Accept": form})
        assert answer.status_code == 200, answer.text
        if form == "application/json":
            assert answer.json()["address"] == number
            items: list[dict[str, Any]] = answer.json()["items"]
            return items
        return [orjson.loads(line) for line in answer.text.splitlines()]

    items = await until(look, lambda found: {"receipt", "decision"} <= {each["kind"] for each in found})
    kinds = {each["kind"] for each in items}
    assert kinds >= {"message", "target", "submission", "key", "receipt", "inbound", "decision", "quarantine"}
    (receipt,) = [each for each in items if each["kind"] == "receipt"]
    assert orjson.loads(receipt["raw"])["own"] == "words"
    (target,) = [each for each in items if each["kind"] == "target"]
    assert (target["params"], target["recipient_id"], target["delivery_id"]) == ({"name": "Ana"}, "c-9", id)
    entries = (await client.get("/v1/audit")).json()["items"]
    before = [each for each in entries if each["code"] == "ADR-EXPORTED"]
    await look()
    entries = (await client.get("/v1/audit")).json()["items"]
    after = [each for each in entries if each["code"] == "ADR-EXPORTED"]
    assert len(after) == len(before) + 1
    assert number not in str(after)


@pytest.mark.parametrize("without", ["quarantine:read", "deliveries:read", "pii:read"])
async def test_the_export_needs_three_scopes(client: httpx.AsyncClient, key: KeyMaker, without: str) -> None:
    scopes = {"quarantine:read", "deliveries:read", "pii:read"} - {without}
    answer = await client.get(f"/v1/addresses/{quote(OTHER)}/export", headers=await key(*scopes))
    assert answer.status_code == 403


async def test_of_an_erased_number_the_export_has_the_pseudonym(
    certificate: Mapping[str, Any], client: httpx.AsyncClient
) -> None:
    for name in (quote(NUMBER), certificate["pseudonym"]):
        found = (await client.get(f"/v1/addresses/{name}/export")).json()
        assert found["address"] == certificate["pseudonym"]
        assert {each["kind"] for each in found["items"]} >= {"message", "receipt", "inbound"}


# --- who it is -------------------------------------------------------------------------------------------------------


def test_what_tells_a_person_is_replaced_however_it_is_written() -> None:
    said = [Said("customer-4711", "ref/ñ", {"name": "José Ñandú", "mail": "j@ex.org", "city": "Lugo", "n": 7})]
    around = [Said("customer-4712", None, {"name": "Bo", "city": "Lugo"})]
    person, own = known(Spellings("+34600987654", "erased:x"), said, around)
    for text in (
        "to José Ñandú!", "to JOSÉ ÑANDÚ", '{"a": "Jos\\u00e9 \\u00d1and\\u00fa"}', "n=Jos%C3%A9+%C3%91and%C3%BA",
        "mail=j%40ex.org", "<j@ex.org>", "id customer-4711;",
    ):  # fmt: skip
        assert "erased:x" in person.replace(text), text
    assert b"erased:x" in person.replace("José Ñandú".encode())
    for text in ("customer-47110", "xj@ex.org", "Lugo", "José", "7"):
        assert person.replace(text) == own.replace(text) == text
