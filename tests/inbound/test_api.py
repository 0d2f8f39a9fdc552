"""Replies over the API: the list of what phones wrote, the reply rules of a gateway, and a reply tried out."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import orjson
import pytest
import pytest_asyncio
from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.db import Pool
from app.gateways import GATEWAYS
from app.inbound.api import Asked, page_query
from app.inbound.rules import SHIPPED, rules_of, stored
from app.ingest import pipeline
from app.ingest.store import QUERIES
from tests.conftest import Headers, KeyMaker

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
AUTH = {"mode": "token", "secrets": ["a-long-random-text"]}
_serial = itertools.count(1)


async def gateway(client: httpx.AsyncClient, admin: Headers, kind: str = "generic") -> str:
    key = f"in-{next(_serial)}"
    answer = await client.post("/v1/gateways", json={"key": key, "kind": kind, "auth": AUTH}, headers=admin)
    assert answer.status_code == 201, answer.text
    return key


async def items(client: httpx.AsyncClient, headers: Headers, **params: Any) -> list[dict[str, Any]]:
    answer = await client.get("/v1/inbound", params=params, headers=headers)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["total"] >= len(body["items"])
    found: list[dict[str, Any]] = body["items"]
    return found


# --- the list --------------------------------------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def wrote(client: httpx.AsyncClient, admin: Headers, app: FastAPI, pool: Pool) -> tuple[str, str]:
    """Keys of two gateways; phones wrote 25 messages to the first and one to the second, all applied."""
    first, second = await gateway(client, admin), await gateway(client, admin)
    texts = ["STOP", "start", "please stop", "hello, call +34911222333", "STOP"]
    rows = [
        (
            app.state.directory.get(first).id,
            NOW + timedelta(seconds=n // 2),
            f"+34600{n % 5:06d}",
            texts[n % 5],
            f"m{n}",
        )
        for n in range(24)
    ]
    rows.append((rows[0][0], NOW + timedelta(minutes=1), "+34600000000", "STOP", "m0"))  # the first again
    rows.append((app.state.directory.get(second).id, NOW, "5555", "STOP", "x"))
    await pool.executemany(
        "INSERT INTO inbound (gateway_id, received_at, address, text, provider_message_id, recipient, verified, raw) "
        "VALUES ($1, $2, $3, $4, $5, '4444', true, 'raw')",
        rows,
    )
    for _ in range(200):
        if not await pool.fetchval("SELECT count(*) FROM inbound WHERE applied_at IS NULL"):
            break
        app.state.inbox.arrived.set()
        await pool.execute("SELECT pg_sleep(0.05)")
    return first, second


async def test_newest_first_page_by_page_each_once(
    client: httpx.AsyncClient, admin: Headers, wrote: tuple[str, str]
) -> None:
    whole = await items(client, admin, gateway=wrote[0])
    assert len(whole) == 25
    assert [row["received_at"] for row in whole] == sorted((row["received_at"] for row in whole), reverse=True)
    paged: list[dict[str, Any]] = []
    cursor = None
    while True:
        params: dict[str, Any] = {"gateway": wrote[0], "limit": 7} | ({"cursor": cursor} if cursor else {})
        page = (await client.get("/v1/inbound", params=params, headers=admin)).json()
        assert page["total"] == 25
        paged += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert paged == whole


@pytest.mark.parametrize(
    ("action", "count"), [("denylist", 9), ("allow", 5), ("review", 5), ("unmatched", 5), ("repeat", 1), ("none", 0)]
)
async def test_what_came_of_it_is_a_filter_and_the_total_agrees(
    client: httpx.AsyncClient, admin: Headers, wrote: tuple[str, str], action: str, count: int
) -> None:
    answer = await client.get("/v1/inbound", params={"gateway": wrote[0], "action": action}, headers=admin)
    assert (answer.json()["total"], len(answer.json()["items"])) == (count, count)
    shown = None if action in ("unmatched", "repeat") else action
    assert {row["action"] for row in answer.json()["items"]} <= {shown}


async def test_one_phone_is_found_however_it_is_written(
    client: httpx.AsyncClient, admin: Headers, wrote: tuple[str, str]
) -> None:
    for written in ("+34600000000", " 34600000000", "0034600000000"):
        found = await items(client, admin, address=written)
        assert {row["address"] for row in found} == {"+34600000000"}
        assert len(found) == 6
    (again, *_, first) = await items(client, admin, address="+34600000000")
    assert (again["repeat_of"], again["action"]) == (first["id"], None)
    assert [row["action"] for row in await items(client, admin, address="5555")] == ["review"]
    assert await items(client, admin, address="+34600999999") == []


async def test_without_the_scope_numbers_come_masked(
    client: httpx.AsyncClient, key: KeyMaker, wrote: tuple[str, str]
) -> None:
    blind = await key("quarantine:read")
    for accept in ("application/json", "text/csv", "application/x-ndjson"):
        answer = await client.get("/v1/inbound", headers=blind | {"Accept": accept})
        assert "34600•••" in answer.text
        assert "34911222333" not in answer.text
        assert "+34600000000" not in answer.text
        assert "4444" in answer.text  # ours
    seeing = await key("quarantine:read", "pii:read")
    assert "34911222333" in (await client.get("/v1/inbound", headers=seeing)).text


async def test_the_whole_list_as_a_stream(client: httpx.AsyncClient, admin: Headers, wrote: tuple[str, str]) -> None:
    headers = admin | {"Accept": "application/x-ndjson"}
    lines = (await client.get("/v1/inbound", params={"gateway": wrote[0]}, headers=headers)).text.splitlines()
    assert [orjson.loads(line)["id"] for line in lines] == [
        row["id"] for row in await items(client, admin, gateway=wrote[0])
    ]
    csv = (await client.get("/v1/inbound", params={"action": "review"}, headers=admin | {"Accept": "text/csv"})).text
    assert csv.splitlines()[0].startswith("id,gateway,received_at,address,")
    assert len(csv.splitlines()) == 7


async def test_what_waits_is_part_of_the_total(
    client: httpx.AsyncClient, admin: Headers, pool: Pool, app: FastAPI
) -> None:
    key = await gateway(client, admin)
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("LOCK TABLE decisions IN SHARE MODE")  # the worker cannot go on meanwhile
        await pool.execute(
            "INSERT INTO inbound (gateway_id, received_at, address, text, verified, raw) "
            "VALUES ($1, $2, '+34600777777', 'STOP', true, '')",
            app.state.directory.get(key).id,
            NOW,
        )
        answer = await client.get("/v1/inbound", params={"gateway": key}, headers=admin)
        await transaction.rollback()
    assert answer.json()["total"] == 1
    assert (answer.json()["items"][0]["applied_at"], answer.json()["items"][0]["action"]) == (None, None)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("limit=0", 422),
        ("cursor=AAAA", 422),
        ("gateway=nobody", 422),
        ("action=maybe", 422),
        ("address=%00", 422),
    ],
)
async def test_wrong_questions_get_a_problem(
    client: httpx.AsyncClient, admin: Headers, query: str, status: int
) -> None:
    answer = await client.get(f"/v1/inbound?{query}", headers=admin)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["errors"][0]["pointer"] == f"?{query.partition('=')[0]}"


async def test_a_key_needs_the_scope(client: httpx.AsyncClient, key: KeyMaker) -> None:
    assert (await client.get("/v1/inbound", headers=await key("deliveries:read"))).status_code == 403
    assert (await client.get("/v1/inbound", headers={"Authorization": ""})).status_code == 401


# --- reply rules -----------------------------------------------------------------------------------------------------

OWN: list[dict[str, Any]] = [
    {
        "keyword": "Adiós", "action": "denylist", "match": "prefix", "short_code": "5555", "reply": "Adiós.\n¡Suerte!",
        "scope": "sender", "country": "ES", "language": "es", "source": "custom",
    },
    {
        "keyword": "INFO", "action": "none", "match": "word", "short_code": None, "reply": None, "scope": "address",
        "country": None, "language": None, "source": "custom",
    },
]  # fmt: skip


async def test_a_gateway_begins_with_the_shipped_rules_and_can_have_its_own(
    client: httpx.AsyncClient, admin: Headers, app: FastAPI
) -> None:
    path = f"/v1/gateways/{await gateway(client, admin)}/reply-rules"
    shipped = {"shipped": True, "rules": stored(SHIPPED)}
    assert (await client.get(path, headers=admin)).json() == shipped
    answer = await client.put(path, json={"rules": OWN}, headers=admin)
    assert (answer.status_code, answer.json()) == (200, {"shipped": False, "rules": OWN})
    assert (await client.get(path, headers=admin)).json() == answer.json()
    assert stored(rules_of(app.state.directory.get(path.split("/")[3]).reply_rules)) == OWN
    for reset in (b'{"rules": null}', b"null"):
        await client.put(path, json={"rules": OWN}, headers=admin)
        headers = admin | {"Content-Type": "application/json"}
        assert (await client.put(path, content=reset, headers=headers)).json() == shipped
        assert (await client.get(path, headers=admin)).json() == shipped


async def test_a_change_of_rules_is_in_the_journal_once(client: httpx.AsyncClient, admin: Headers) -> None:
    key = await gateway(client, admin)
    for _ in range(2):
        await client.put(f"/v1/gateways/{key}/reply-rules", json={"rules": OWN}, headers=admin)
    entries = (await client.get("/v1/audit", headers=admin)).json()["items"]
    changes = [entry for entry in entries if entry["code"] == "GTW-CHANGED" and entry["data"]["key"] == key]
    (change,) = changes
    assert change["data"]["changed"] == {"reply_rules": {"from": None, "to": OWN}}
    assert change["text"] == f"Gateway {key} was changed: reply_rules."


def rule(**fields: Any) -> dict[str, Any]:
    return {"keyword": "STOP", "action": "denylist"} | fields


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/rules"),
        ({"rules": []}, "/rules"),
        ({"rules": [rule()] * 101}, "/rules"),
        ({"rules": [rule(keyword="")]}, "/rules/0/keyword"),
        ({"rules": [rule(keyword="a b c d e f")]}, "/rules/0/keyword"),
        ({"rules": [rule(keyword="STOP*")]}, "/rules/0/keyword"),
        ({"rules": [rule(keyword="*", action="allow")]}, "/rules/0"),
        ({"rules": [rule(match="fuzzy")]}, "/rules/0/match"),
        ({"rules": [rule(country="Spain")]}, "/rules/0/country"),
        ({"rules": [rule(language="ES")]}, "/rules/0/language"),
        ({"rules": [rule(source="me")]}, "/rules/0/source"),
        ({"rules": [rule(keyword="STOP!")]}, "/rules/0/keyword"),
        ({"rules": [rule(keyword="S\0")]}, "/rules/0/keyword"),
        ({"rules": [rule(keyword="\u0301")]}, "/rules/0/keyword"),
        ({"rules": [rule(keyword="a" * 41)]}, "/rules/0/keyword"),
        ({"rules": [rule(), rule(action="delete")]}, "/rules/1/action"),
        ({"rules": [rule(reply="x" * 481)]}, "/rules/0/reply"),
        ({"rules": [rule(reply="")]}, "/rules/0/reply"),
        ({"rules": [rule(reply="a\0b")]}, "/rules/0/reply"),
        ({"rules": [rule(short_code=" ")]}, "/rules/0/short_code"),
        ({"rules": [rule(short_code="5\n5")]}, "/rules/0/short_code"),
        ({"rules": [rule(scope="world")]}, "/rules/0/scope"),
        ({"rules": [rule(colour="red")]}, "/rules/0/colour"),
        ({"rules": [{"action": "none"}]}, "/rules/0/keyword"),
        ({"rules": [rule()], "more": 1}, "/more"),
    ],
)
async def test_rules_that_cannot_be_are_refused_and_nothing_changes(
    client: httpx.AsyncClient, admin: Headers, body: Any, pointer: str
) -> None:
    path = f"/v1/gateways/{await gateway(client, admin)}/reply-rules"
    answer = await client.put(path, json=body, headers=admin)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert (await client.get(path, headers=admin)).json()["shipped"] is True


@pytest.mark.parametrize("keyword", ["a" * 40, "1", "Arrêt", "ARRE\u0302T", "стоп", "OPT OUT", "opt-out", "*"])
async def test_keywords_of_one_to_five_words_and_the_star_are_taken(
    client: httpx.AsyncClient, admin: Headers, keyword: str
) -> None:
    path = f"/v1/gateways/{await gateway(client, admin)}/reply-rules"
    answer = await client.put(path, json={"rules": [rule(keyword=keyword, reply="x" * 480)] * 100}, headers=admin)
    assert answer.status_code == 200, answer.text


async def test_the_shipped_rules_can_be_put_back_as_they_are_and_an_opt_in_is_always_exact(
    client: httpx.AsyncClient, admin: Headers
) -> None:
    path = f"/v1/gateways/{await gateway(client, admin)}/reply-rules"
    shipped = (await client.get(path, headers=admin)).json()["rules"]
    assert (await client.put(path, json={"rules": shipped}, headers=admin)).json() == {
        "shipped": False,
        "rules": shipped,
    }
    answer = await client.put(path, json={"rules": [rule(keyword="YES", action="allow")]}, headers=admin)
    assert answer.json()["rules"][0]["match"] == "exact"


async def test_an_empty_body_does_not_throw_the_rules_away(client: httpx.AsyncClient, admin: Headers) -> None:
    path = f"/v1/gateways/{await gateway(client, admin)}/reply-rules"
    await client.put(path, json={"rules": OWN}, headers=admin)
    answer = await client.put(path, content=b"", headers=admin | {"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert (await client.get(path, headers=admin)).json()["rules"] == OWN


async def test_rules_need_a_gateway_and_the_scope(client: httpx.AsyncClient, admin: Headers, key: KeyMaker) -> None:
    path = f"/v1/gateways/{await gateway(client, admin)}/reply-rules"
    for headers, status in (
        (await key("deliveries:read"), 200),
        (await key("gateways:write"), 200),
        ({"Authorization": ""}, 401),
    ):
        assert (await client.get(path, headers=headers)).status_code == status
    assert (await client.get(path, headers=await key("quarantine:read"))).status_code == 403
    assert (await client.put(path, json={"rules": OWN}, headers=await key("deliveries:write"))).status_code == 403
    for name in ("nobody", "a%00b"):
        assert (await client.get(f"/v1/gateways/{name}/reply-rules", headers=admin)).status_code == 404
        answer = await client.put(f"/v1/gateways/{name}/reply-rules", json={"rules": OWN}, headers=admin)
        assert answer.status_code == 404


# --- tried out -------------------------------------------------------------------------------------------------------


async def tried(client: httpx.AsyncClient, headers: Headers, key: str, body: Any) -> dict[str, Any]:
    answer = await client.post(f"/v1/gateways/{key}/test", json={"body": body}, headers=headers)
    assert answer.status_code == 200, answer.text
    (item,) = answer.json()["items"]
    return dict(item)


@pytest.mark.parametrize(
    ("text", "action", "keyword", "effect"),
    [
        ("¡Adiós!", "denylist", "Adiós", "denylisted: nothing more would be sent to it from the number"),
        ("info", "none", "INFO", "change nothing."),
        ("adoish", None, None, "No rule matches"),
        ("adiso", "review", "Adiós", "for a person"),
    ],
)
async def test_a_reply_tried_out_says_what_it_would_do_and_stores_nothing(
    client: httpx.AsyncClient, admin: Headers, pool: Pool, text: str, action: str, keyword: str, effect: str
) -> None:
    key = await gateway(client, admin)
    await client.put(f"/v1/gateways/{key}/reply-rules", json={"rules": OWN}, headers=admin)
    before = await pool.fetchval("SELECT count(*) FROM inbound")
    item = await tried(client, admin, key, {"type": "inbound", "from": "34600000001", "to": "5555", "text": text})
    assert (item["type"], item["action"], item["reply"]) == ("inbound", action, None)
    assert (item["rule"] and item["rule"]["keyword"]) == keyword
    assert effect in item["effect"]
    assert ("no way to answer" in item["effect"]) is (action == "denylist")
    assert await pool.fetchval("SELECT count(*) FROM inbound") == before


async def test_a_reply_tried_out_shows_the_answer_where_the_protocol_has_a_way(
    client: httpx.AsyncClient, admin: Headers, key: KeyMaker
) -> None:
    name = await gateway(client, admin, "twilio")
    await client.put(f"/v1/gateways/{name}/reply-rules", json={"rules": [OWN[0] | {"short_code": None}]}, headers=admin)
    body = "MessageSid=SM1&SmsStatus=received&From=%2B34600000001&To=%2B34911222333&Body=adios"
    item = await tried(client, admin, name, body)
    assert (item["reply"], item["fields"]["sender"]) == ("Adiós.\n¡Suerte!", "+34600000001")
    blind = await tried(client, await key("gateways:write"), name, body)
    assert "34600000001" not in str(blind)


def test_only_kinds_whose_protocol_has_a_way_answer_replies() -> None:
    assert {kind for kind, adapter in GATEWAYS.items() if adapter.reply is not None} == {"twilio", "kannel"}


# --- plans -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "index"),
    [
        (Asked(), "ix_inbound_received_at_id"),
        (Asked(gateway=1), "ix_inbound_gateway"),
        (Asked(action="review"), "ix_inbound_review"),
        (Asked(address="+34600000000"), "ix_inbound_address"),
        (Asked(delivery=1), "ix_inbound_delivery"),
    ],
)
async def test_a_page_reads_its_own_rows_by_an_index(engine: AsyncEngine, asked: Asked, index: str) -> None:
    query = page_query(asked, [NOW.isoformat(), 10**9], 101)
    compiled = query.compile(dialect=engine.dialect, compile_kwargs={"literal_binds": True})
    async with engine.connect() as connection:  # nothing of it is committed
        await connection.execute(text(MANY), {"now": NOW})
        await connection.execute(text("ANALYZE inbound"))
        plan = "\n".join(await connection.scalars(text(f"EXPLAIN {compiled}")))
    assert index in plan


#: Twenty thousand replies of 5 000 phones over two weeks, by 20 gateways; one in a hundred for a person to look at.
MANY = """
INSERT INTO inbound (gateway_id, received_at, address, text, provider_message_id, verified, raw, applied_at, action, delivery_id)
SELECT 1 + n % 20, CAST(:now AS timestamptz) - n * interval '1 minute', '+34600' || lpad((n % 5000)::text, 6, '0'), 'x',
    'many-' || n, true, '', CAST(:now AS timestamptz), CASE WHEN n % 100 = 0 THEN 'review' ELSE 'none' END,
    CASE WHEN n % 4 = 0 THEN 1 + n % 300 END
FROM generate_series(1, 20000) AS n
"""


async def test_the_worker_finds_what_waits_and_what_it_repeats_by_an_index(pool: Pool) -> None:
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(  # one phone that writes and writes
            "INSERT INTO inbound (gateway_id, received_at, address, text, provider_message_id, verified, raw, applied_at) "
            "SELECT 1, now(), '+34600888888', 'hello', 'm' || n, true, '', now() FROM generate_series(1, 5000) n"
        )
        await connection.execute("ANALYZE inbound")
        waiting = await connection.fetch(f"EXPLAIN {QUERIES['list_reply']}", 100, [])
        await connection.execute(QUERIES["open_reply"])
        claim = await connection.fetch(f"EXPLAIN {QUERIES['claim_reply']}", 100, [], None)
        repeats = await connection.fetch(f"EXPLAIN {pipeline.QUERIES['list_replies']}")
        await transaction.rollback()
    assert "ix_inbound_waiting" in "\n".join(row[0] for row in waiting)
    assert "ix_inbound_waiting" in "\n".join(row[0] for row in claim)
    assert "ix_inbound_provider_message_id" in "\n".join(row[0] for row in repeats)
