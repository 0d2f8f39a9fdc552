"""Replies on their way: from the gateway's callback, durable, to decisions about addresses; and the answer to the phone."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree

import asyncpg
import httpx
import orjson
import pytest
import pytest_asyncio
from fastapi import FastAPI

from app.db import Pool
from app.gateways.receipt import Auth, Gateway, Inbound, Options
from app.gateways.twilio import reply, signature
from app.ingest.applying import Applier
from app.ingest.inbox import Inbox
from app.ingest.kinds import pack, put_back, unpack
from app.ingest.replies import apply
from app.ingest.rows import InboundRow, RejectedRow, inbound_row
from app.ingest.spool import Spool
from app.ingest.store import append
from app.settings import Settings

from .conftest import BASE
from .test_roads import until

SECRET = "token-of-the-gateway"
NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
_serial = itertools.count(1)


def phone() -> str:
    return f"+3460{next(_serial):07d}"


async def gateway(client: httpx.AsyncClient, kind: str = "generic", mode: str = "token", **rules: Any) -> str:
    key = f"replies-{next(_serial)}"
    auth = {"mode": mode} | ({} if mode == "none" else {"secrets": [SECRET]})
    answer = await client.post("/v1/gateways", json={"key": key, "kind": kind, "auth": auth})
    assert answer.status_code == 201, answer.text
    if rules:
        answer = await client.put(f"/v1/gateways/{key}/reply-rules", json=rules)
        assert answer.status_code == 200, answer.text
    return key


async def say(client: httpx.AsyncClient, key: str, sender: str, text: str, **more: Any) -> httpx.Response:
    body = {"type": "inbound", "from": sender, "to": "5555", "text": text, **more}
    answer = await client.post(f"/callbacks/{key}", json=body, headers={"X-Acuse-Token": SECRET})
    assert answer.status_code == 200, answer.text
    return answer


async def tweet(client: httpx.AsyncClient, key: str, **form: str) -> httpx.Response:
    """A signed callback of Twilio with an inbound message."""
    fields = {"MessageSid": f"SM{next(_serial)}", "SmsStatus": "received", "To": "+34911000000", **form}
    url = f"{BASE}/callbacks/{key}"
    signed = signature(SECRET, url + "".join(name + fields[name] for name in sorted(fields)))
    headers = {"X-Twilio-Signature": signed.decode(), "Content-Type": "application/x-www-form-urlencoded"}
    return await client.post(url, content=urlencode(fields), headers=headers)


async def applied(pool: Pool, sender: str) -> list[asyncpg.Record]:
    """What came of all that `sender` wrote, once it has come of it."""

    async def look() -> list[asyncpg.Record]:
        return await pool.fetch("SELECT * FROM inbound WHERE address = $1 ORDER BY id", sender)

    found: list[asyncpg.Record] = await until(look, lambda rows: rows and all(row["applied_at"] for row in rows))
    return found


async def health(pool: Pool, sender: str) -> dict[str, str]:
    rows = await pool.fetch("SELECT sender, status::text AS status FROM quarantine WHERE address = $1", sender)
    return {row["sender"]: row["status"] for row in rows}


# --- on the wire -----------------------------------------------------------------------------------------------------


async def test_stop_denylists_and_start_restores(client: httpx.AsyncClient, pool: Pool) -> None:
    key, sender = await gateway(client), phone()
    await say(client, key, sender, "¡Baja!")
    (row,) = await applied(pool, sender)
    assert (row["keyword"], row["action"], row["recipient"], row["verified"]) == ("BAJA", "denylist", "5555", True)
    assert await health(pool, sender) == {"": "denylisted"}
    (decision,) = await pool.fetch("SELECT * FROM decisions WHERE address = $1", sender)
    assert decision["at"] == row["received_at"]
    assert (decision["kind"], decision["origin"], decision["actor"]) == ("denylist", "reply", key)
    assert (decision["reason"], decision["inbound_id"], decision["sender"]) == ("denylisted", row["id"], "")
    await say(client, key, sender, "start")
    assert [each["action"] for each in await applied(pool, sender)] == ["denylist", "allow"]
    assert await health(pool, sender) == {}


async def test_a_twilio_reply_is_kept_applied_and_answered_with_empty_twiml(
    client: httpx.AsyncClient, pool: Pool
) -> None:
    key, sender = await gateway(client, "twilio", "signature"), phone()
    answer = await tweet(client, key, From=sender, Body="Stop, gracias")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/xml; charset=utf-8")
    assert answer.text == '<?xml version="1.0" encoding="UTF-8"?><Response/>'
    (row,) = await applied(pool, sender)
    assert (row["action"], row["recipient"], row["provider_message_id"][:2]) == ("denylist", "+34911000000", "SM")
    assert await health(pool, sender) == {"": "denylisted"}


async def test_the_reply_of_the_rule_goes_back_to_the_phone_escaped(client: httpx.AsyncClient, pool: Pool) -> None:
    text = "You & <we> are done: \"bye\" 'ñ' ☃"
    rules = [{"keyword": "stop", "action": "denylist", "reply": text}, {"keyword": "info", "action": "none"}]
    key, sender = await gateway(client, "twilio", "signature", rules=rules), phone()
    answer = await tweet(client, key, From=sender, Body="STOP")
    assert "<we>" not in answer.text
    assert ElementTree.fromstring(answer.content).findtext("Message") == text
    assert await pool.fetchval("SELECT count(*) FROM inbound WHERE address = $1", sender) == 1  # durable before that
    for body in ("info", "please stop", "hello"):
        assert (await tweet(client, key, From=sender, Body=body)).text.endswith("<Response/>")


async def test_a_status_callback_of_twilio_is_answered_as_before(client: httpx.AsyncClient) -> None:
    key = await gateway(client, "twilio", "signature")
    answer = await tweet(client, key, SmsStatus="delivered")
    assert (answer.status_code, answer.text) == (200, "")


def test_twiml_holds_any_text() -> None:
    odd = "".join(map(chr, [*range(32), 0x7F, 0xFFFE, 0xFFFF, 0x1F6D1])) + "]]>&amp;"
    message = ElementTree.fromstring(reply(odd).body).findtext("Message")
    assert message is not None
    assert message.endswith("🛑]]>&amp;")


async def test_a_deliver_sm_from_a_phone_is_a_reply(client: httpx.AsyncClient, pool: Pool) -> None:
    key, sender = await gateway(client, "smpp"), phone()
    body = {"text": "Stop.", "esm_class": 0, "source_addr": sender[1:], "destination_addr": "5555"}
    answer = await client.post(f"/callbacks/{key}", json=body, headers={"X-Acuse-Token": SECRET})
    assert (answer.status_code, answer.text) == (200, "")
    (row,) = await applied(pool, sender)
    assert (row["action"], row["text"]) == ("denylist", "Stop.")


async def test_a_national_sender_is_reviewed_and_with_the_gateways_country_read(
    client: httpx.AsyncClient, pool: Pool
) -> None:
    key = await gateway(client, "smpp")
    body = {
        "text": "STOP",
        "esm_class": 0,
        "source_addr": "2025550101",
        "source_addr_ton": 2,
        "destination_addr": "5555",
    }
    assert (await client.post(f"/callbacks/{key}", json=body, headers={"X-Acuse-Token": SECRET})).status_code == 200
    (row,) = await applied(pool, "2025550101")
    assert row["action"] == "review"
    assert await pool.fetchval("SELECT count(*) FROM quarantine WHERE address LIKE '%2025550101'") == 0
    answer = await client.patch(f"/v1/gateways/{key}", json={"options": {"country": "US"}})
    assert answer.status_code == 200, answer.text
    assert (await client.post(f"/callbacks/{key}", json=body, headers={"X-Acuse-Token": SECRET})).status_code == 200
    (row,) = await applied(pool, "+12025550101")
    assert row["action"] == "denylist"


async def test_replies_and_receipts_come_in_one_batch_and_a_bad_one_costs_nobody(
    client: httpx.AsyncClient, pool: Pool
) -> None:
    key, sender = await gateway(client), phone()
    body = [
        {"provider_message_id": "with-reply", "status": "delivered"},
        {"type": "inbound", "text": "STOP"},
        {"type": "inbound", "from": sender, "text": "hello"},
    ]
    answer = await client.post(f"/callbacks/{key}", json=body, headers={"X-Acuse-Token": SECRET})
    assert answer.status_code == 200
    (row,) = await applied(pool, sender)
    assert (row["action"], row["keyword"], row["recipient"]) == (None, None, None)
    (kept,) = (await client.get("/v1/receipts/rejected", params={"gateway": key})).json()["items"]
    assert "from is missing" in kept["reason"]


async def test_a_reply_that_was_refused_by_an_older_version_is_read_when_it_is_tried_again(
    client: httpx.AsyncClient, app: FastAPI, pool: Pool
) -> None:
    key, sender = await gateway(client), phone()
    raw = orjson.dumps({"type": "inbound", "from": sender, "text": "STOP"})
    await pool.execute(
        "INSERT INTO rejected (id, gateway_id, received_at, reason, request, raw) VALUES ($1, $2, $3, 'old', $4, $5)",
        f"rj_{sender}", app.state.directory.get(key).id, NOW, {"method": "POST"}, raw,
    )  # fmt: skip
    again = await client.post("/v1/receipts/rejected/retry", json={"gateway": key})
    assert again.json() == {"read": 1, "still_rejected": 0}
    (row,) = await applied(pool, sender)
    assert (row["action"], row["received_at"]) == ("denylist", NOW)


# --- what it does ----------------------------------------------------------------------------------------------------


async def test_a_reply_sent_again_changes_nothing_even_after_a_start(client: httpx.AsyncClient, pool: Pool) -> None:
    key, sender = await gateway(client), phone()
    await say(client, key, sender, "STOP", provider_message_id="mo-1")
    await say(client, key, sender, "START", provider_message_id="mo-2")
    await applied(pool, sender)
    await say(client, key, sender, "STOP", provider_message_id="mo-1")
    first, _, again = await applied(pool, sender)
    assert (again["repeat_of"], again["action"]) == (first["id"], None)
    assert await health(pool, sender) == {}
    assert await pool.fetchval("SELECT count(*) FROM decisions WHERE address = $1", sender) == 2


async def test_an_id_used_again_for_another_text_or_by_another_phone_is_no_repeat(
    client: httpx.AsyncClient, pool: Pool
) -> None:
    key, sender, other = await gateway(client), phone(), phone()
    await say(client, key, sender, "hello", provider_message_id="1")
    await say(client, key, sender, "STOP", provider_message_id="1")
    await say(client, key, other, "STOP", provider_message_id="1")
    assert [row["repeat_of"] for row in await applied(pool, sender) + await applied(pool, other)] == [None] * 3
    assert await health(pool, sender) == await health(pool, other) == {"": "denylisted"}


async def test_an_opt_out_to_one_sender_holds_for_that_sender(client: httpx.AsyncClient, pool: Pool) -> None:
    rules = [{"keyword": "stop", "action": "denylist", "scope": "sender"}]
    key, sender = await gateway(client, rules=rules), phone()
    await say(client, key, sender, "stop", to="34911000000")
    await applied(pool, sender)
    assert await health(pool, sender) == {"+34911000000": "denylisted"}


async def test_of_a_gateway_that_proves_nothing_a_stop_is_believed_and_a_start_is_not(
    client: httpx.AsyncClient, pool: Pool
) -> None:
    key, sender = await gateway(client, mode="none"), phone()
    await say(client, key, sender, "STOP")
    await say(client, key, sender, "START")
    assert [row["action"] for row in await applied(pool, sender)] == ["denylist", "review"]
    assert await health(pool, sender) == {"": "denylisted"}


async def test_a_stop_from_what_is_no_number_is_left_to_a_person(client: httpx.AsyncClient, pool: Pool) -> None:
    key = await gateway(client)
    sender = f"code{next(_serial)}"
    await say(client, key, sender, "STOP")
    (row,) = await applied(pool, sender)
    assert (row["action"], row["keyword"]) == ("review", "STOP")
    assert await pool.fetchval("SELECT count(*) FROM decisions WHERE address = $1", sender) == 0


async def test_the_counters_say_what_came_of_replies(client: httpx.AsyncClient, app: FastAPI, pool: Pool) -> None:
    key, sender = await gateway(client), phone()
    for text, id in (("STOP", "a"), ("STOP", "a"), ("hello", "b"), ("please stop", "c"), ("alta", "d")):
        await say(client, key, sender, text, provider_message_id=id)
    await applied(pool, sender)
    rows = await pool.fetch(
        "SELECT label, value FROM counters WHERE delivery_id = 0 AND metric = 'inbound' AND gateway_id = $1",
        app.state.directory.get(key).id,
    )
    counted = {row["label"]: row["value"] for row in rows}
    assert counted == {"denylist": 1, "repeat": 1, "unmatched": 1, "review": 1, "allow": 1}


# --- what gateways say besides ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "text", "action", "keyword", "health_after"),
    [
        ("STOP", "Nein danke", "denylist", "STOP", {"": "denylisted"}),
        ("STOP", "Stop", "denylist", "STOP", {"": "denylisted"}),
        ("START", "Ja", "allow", "START", {}),
        ("HELP", "Hilfe", "none", "HELP", {"": "denylisted"}),
    ],
)
async def test_what_twilio_takes_a_reply_for_holds_whatever_its_text_is(
    client: httpx.AsyncClient, pool: Pool, word: str, text: str, action: str, keyword: str, health_after: dict[str, str]
) -> None:
    rules = [{"keyword": "stop", "action": "denylist", "reply": "You get no more."}]
    key, sender = await gateway(client, "twilio", "signature", rules=rules), phone()
    if word != "STOP":
        await tweet(client, key, From=sender, Body="STOP")
    answer = await tweet(client, key, From=sender, Body=text, OptOutType=word)
    assert answer.text.endswith("<Response/>")  # Twilio has answered by itself
    *_, row = await applied(pool, sender)
    assert (row["action"], row["keyword"].upper(), row["opt_out"]) == (action, keyword, action)
    assert await health(pool, sender) == health_after


async def test_a_message_by_kannel_is_heard_and_answered(client: httpx.AsyncClient, pool: Pool) -> None:
    rules = [
        {"keyword": "stop", "action": "denylist", "reply": "Adiós ☃"},
        {"keyword": "*", "action": "none", "reply": "Nobody reads this."},
    ]
    key, sender = await gateway(client, "kannel", rules=rules), phone()
    for text, said in (("Stop it", "Adiós ☃"), ("hello", "Nobody reads this."), ("please stop", "")):
        query = urlencode({"token": SECRET, "from": sender, "to": "5555", "text": text, "iid": f"k-{next(_serial)}"})
        answer = await client.get(f"/callbacks/{key}?{query}")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/plain; charset=utf-8")
        assert answer.text == said
    rows = await applied(pool, sender)
    assert [(row["action"], row["keyword"]) for row in rows] == [
        ("denylist", "stop"),
        ("none", "*"),
        ("review", "stop"),
    ]
    assert await health(pool, sender) == {"": "denylisted"}
    report = await client.get(f"/callbacks/{key}?token={SECRET}&type=1&fid=k-77")
    assert (report.status_code, report.text) == (200, "")


def piece(number: int, of: int, text: str, sender: str, reference: str = "cc") -> dict[str, Any]:
    header = f"050003{reference}{of:02x}{number:02x}"
    return {
        "short_message_hex": header + text.encode().hex(), "data_coding": 0, "esm_class": 64, "source_addr": sender[1:],
        "destination_addr": "5555",
    }  # fmt: skip


async def deliver(client: httpx.AsyncClient, key: str, *pdus: dict[str, Any]) -> None:
    answer = await client.post(f"/callbacks/{key}", json=list(pdus), headers={"X-Acuse-Token": SECRET})
    assert answer.status_code == 200, answer.text


async def shown(client: httpx.AsyncClient, sender: str) -> list[tuple[str, str | None, int]]:
    page = (await client.get("/v1/inbound", params={"address": sender})).json()
    assert page["total"] == len(page["items"])
    return [(item["text"], item["action"], item["text_bytes"]) for item in page["items"]]


async def test_the_first_piece_of_a_long_reply_opts_out_before_the_rest_comes(
    client: httpx.AsyncClient, pool: Pool
) -> None:
    key, sender = await gateway(client, "smpp"), phone()
    await deliver(client, key, piece(1, 2, "STOP sending me these messages", sender))
    await applied(pool, sender)
    assert await health(pool, sender) == {"": "denylisted"}
    await deliver(client, key, piece(2, 2, ", I have had enough", sender))
    await applied(pool, sender)
    whole = "STOP sending me these messages, I have had enough"
    assert await shown(client, sender) == [(whole, "denylist", len(whole))]
    assert await pool.fetchval("SELECT count(*) FROM decisions WHERE address = $1", sender) == 1


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
async def test_pieces_are_read_whole_in_whatever_order_they_come(
    client: httpx.AsyncClient, pool: Pool, order: tuple[int, ...]
) -> None:
    key, sender = await gateway(client, "smpp"), phone()
    pieces = [piece(n + 1, 3, text, sender) for n, text in enumerate(("I have had eno", "ugh: pl", "ease do stop"))]
    for n in order:
        await deliver(client, key, pieces[n])
        await applied(pool, sender)
    found = await shown(client, sender)
    whole = "I have had enough: please do stop"
    assert (whole, "review", len(whole)) in found
    assert {action for _, action, _ in found} <= {"review", None}
    assert await health(pool, sender) == {}


async def test_pieces_of_one_callback_are_one_message(client: httpx.AsyncClient, app: FastAPI, pool: Pool) -> None:
    key, sender = await gateway(client, "smpp"), phone()
    await deliver(client, key, piece(2, 2, " it", sender), piece(1, 2, "Stop", sender), piece(1, 2, "Stop", sender))
    rows = await applied(pool, sender)
    assert sum(row["part_of"] is not None for row in rows) == 1
    assert sum(row["repeat_of"] is not None for row in rows) == 1
    assert await health(pool, sender) == {"": "denylisted"}
    counted = await pool.fetch(
        "SELECT label, value FROM counters WHERE delivery_id = 0 AND metric = 'inbound' AND gateway_id = $1",
        app.state.directory.get(key).id,
    )
    assert {row["label"]: row["value"] for row in counted} == {"denylist": 1, "repeat": 1}


async def test_a_later_piece_alone_neither_opts_out_nor_in(client: httpx.AsyncClient, pool: Pool) -> None:
    key, sender = await gateway(client, "smpp"), phone()
    await say_stop(client, key, sender)
    await deliver(client, key, piece(2, 2, "START", sender))
    *_, row = await applied(pool, sender)
    assert row["action"] == "review"
    assert await health(pool, sender) == {"": "denylisted"}


async def say_stop(client: httpx.AsyncClient, key: str, sender: str) -> None:
    await deliver(client, key, {"text": "STOP", "esm_class": 0, "source_addr": sender[1:], "destination_addr": "5555"})


async def test_two_long_messages_with_one_reference_are_two(client: httpx.AsyncClient, pool: Pool) -> None:
    key, sender = await gateway(client, "smpp"), phone()
    await deliver(client, key, piece(1, 2, "hello ", sender), piece(2, 2, "there", sender))
    await applied(pool, sender)
    await pool.execute("UPDATE inbound SET received_at = received_at - interval '1 hour' WHERE address = $1", sender)
    await deliver(client, key, piece(1, 2, "Stop ", sender), piece(2, 2, "it", sender))
    await applied(pool, sender)
    assert [text for text, *_ in await shown(client, sender)] == ["Stop it", "hello there"]


async def test_two_long_messages_that_waited_together_are_two(client: httpx.AsyncClient, pool: Pool) -> None:
    key, sender = await gateway(client, "smpp"), phone()
    id = await pool.fetchval("SELECT id FROM gateways WHERE key = $1", key)
    rows = [
        row_of(sender, gateway_id=id, text=text, part_reference="204", part=number, parts=2)._replace(received_at=at)
        for at, texts in ((NOW, ("hello ", "there")), (NOW + timedelta(hours=1), ("good ", "bye")))
        for number, text in enumerate(texts, 1)
    ]
    async with pool.acquire() as connection, connection.transaction():
        await append(connection, rows)
    await applied(pool, sender)
    assert [text for text, *_ in await shown(client, sender)] == ["good bye", "hello there"]


# --- one that cannot be applied --------------------------------------------------------------------------------------


@pytest_asyncio.fixture(loop_scope="session")
async def poison(pool: Pool) -> AsyncIterator[None]:
    """Decisions about +34699… make the database raise."""
    await pool.execute(
        "CREATE FUNCTION poison_reply() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF new.address LIKE '+34699%' THEN RAISE 'poison'; END IF; RETURN new; END $$"
    )
    await pool.execute("CREATE TRIGGER poison BEFORE INSERT ON decisions FOR EACH ROW EXECUTE FUNCTION poison_reply()")
    yield
    await pool.execute("DROP FUNCTION poison_reply() CASCADE")


@pytest.mark.usefixtures("poison")
async def test_a_reply_that_cannot_be_applied_costs_neither_replies_nor_receipts(
    client: httpx.AsyncClient, pool: Pool
) -> None:
    key, sender = await gateway(client), phone()
    bad = f"+34699{next(_serial):06d}"
    body = [{"type": "inbound", "from": each, "text": "STOP"} for each in (bad, sender)]
    await client.post(f"/callbacks/{key}", json=body, headers={"X-Acuse-Token": SECRET})
    assert [row["action"] for row in await applied(pool, sender)] == ["denylist"]
    shelf = await until(lambda: shelved(client, key), lambda items: len(items) == 1)
    assert (shelf[0]["kind"], shelf[0]["reason"]) == ("reply", "This reply could not be applied: RaiseError.")
    assert await pool.fetchval("SELECT count(*) FROM inbound WHERE address = $1", bad) == 0

    again = await client.post("/v1/receipts/rejected/retry", json={"gateway": key, "kind": "reply"})
    assert again.json() == {"read": 1, "still_rejected": 0}
    await until(lambda: shelved(client, key), lambda items: len(items) == 1)  # nothing has been mended
    await pool.execute("DROP TRIGGER poison ON decisions")
    again = await client.post("/v1/receipts/rejected/retry", json={"kind": "reply"})
    assert again.json() == {"read": 1, "still_rejected": 0}
    (row,) = await applied(pool, bad)
    assert (row["action"], row["text"]) == ("denylist", "STOP")


async def shelved(client: httpx.AsyncClient, key: str) -> list[dict[str, Any]]:
    page = (await client.get("/v1/receipts/rejected", params={"gateway": key, "kind": "reply"})).json()
    return list(page["items"])


async def test_workers_share_the_replies_and_none_is_applied_twice(client: httpx.AsyncClient, pool: Pool) -> None:
    key = await gateway(client)
    id = await pool.fetchval("SELECT id FROM gateways WHERE key = $1", key)
    rows = [row_of(f"+3461{n:07d}", gateway_id=id) for n in range(300)]
    async with pool.acquire() as connection:
        await append(connection, rows)

    async def work() -> int:
        async with pool.acquire() as connection, connection.transaction():
            return await apply(connection, 20)

    async def waiting() -> int:
        return int(await pool.fetchval("SELECT count(*) FROM inbound WHERE applied_at IS NULL"))

    while any(await asyncio.gather(*(work() for _ in range(3)))):  # and the service's own worker
        pass
    await until(waiting, lambda count: count == 0)
    assert await Applier("reply", pool, 20).step() == 0
    assert await pool.fetchval("SELECT count(*) FROM decisions WHERE address LIKE '+3461%'") == 300


# --- durable ---------------------------------------------------------------------------------------------------------


def row_of(sender: str = "+34600000000", *, gateway_id: int = 7, **fields: Any) -> InboundRow:
    account = Gateway(
        id=gateway_id, key="acme", kind="generic", implementation="Acme", options=Options(), auth=Auth(mode="token")
    )
    message: Mapping[str, Any] = {"sender": sender, "recipient": "5555", "text": "STOP", "raw": b"\xff\0raw", **fields}
    return inbound_row(account, Inbound(**message), NOW)


def test_rows_come_out_of_the_spool_as_they_went_in() -> None:
    long = row_of(opt_out="denylist", part_reference="204", part=1, parts=2)
    for row in (row_of(), long, row_of("Acme", recipient=None, text="", provider_message_id="mo-1", raw=b"")):
        assert unpack(pack(row)) == row
    older = [*orjson.loads(pack(row_of()))][:9]  # from before gateways were asked what they take a reply for
    assert unpack(orjson.dumps(older)) == row_of()


def test_rows_that_an_older_version_left_in_the_spool_are_still_read() -> None:
    old = orjson.dumps([True, "rj_1", 7, NOW, "not JSON", {"method": "POST"}, "e30="])
    row = unpack(old)
    assert isinstance(row, RejectedRow)
    assert row.raw == b"{}"


@pytest.mark.parametrize(
    ("sender", "kept"),
    [
        ("34600000000", "+34600000000"),
        ("0034600000000", "+34600000000"),
        (" 5555 ", "5555"),
        ("Ac\0me\ud800", "Ac\ufffdme?"),
        ("9" * 200, "9" * 64),
    ],
)
def test_what_a_phone_says_is_made_safe_for_the_database(sender: str, kept: str) -> None:
    assert row_of(sender).address == kept
    assert row_of(text="x" * 9_999 + "\0").text == "x" * 5_000
    assert row_of(text="a\0\ud800").text == "a\ufffd?"


async def test_a_reply_that_comes_while_the_database_is_away_waits_in_the_spool_and_is_brought_once(
    tmp_path: Path, pool: Pool
) -> None:
    inbox = Inbox(pool, Spool(tmp_path / "spool", max_bytes=10_000_000), Settings(data_dir=tmp_path))
    await inbox.start()
    inbox.outage.tables.add("inbound")
    sender = phone()
    await inbox.put([row_of(sender)])
    assert inbox.spooled == 1
    inbox.outage.tables.clear()
    await inbox.drain()
    await inbox.drain()
    assert await pool.fetchval("SELECT count(*) FROM inbound WHERE address = $1", sender) == 1
    await inbox.stop()


async def test_a_reply_that_the_database_refuses_goes_to_the_shelf_alone(tmp_path: Path, pool: Pool) -> None:
    good, bad = row_of(phone()), row_of(phone())._replace(text="STOP\0")
    inbox = Inbox(pool, Spool(tmp_path / "spool", max_bytes=10_000_000), Settings(data_dir=tmp_path))
    await inbox.start()
    await inbox.put([good, bad])
    assert not inbox.away
    await inbox.stop()
    assert await pool.fetchval("SELECT count(*) FROM inbound WHERE address = $1", good.address) == 1
    kept = await pool.fetchrow("SELECT kind, request, raw FROM rejected WHERE raw = $1 AND gateway_id = 7", bad.raw)
    assert kept is not None
    assert put_back(kept["kind"], kept["request"], kept["raw"]) == bad._replace(text="STOP\ufffd")


async def test_repeats_are_recognised_whichever_is_applied_first(client: httpx.AsyncClient, pool: Pool) -> None:
    key, sender = await gateway(client), phone()
    id = await pool.fetchval("SELECT id FROM gateways WHERE key = $1", key)
    rows = [row_of(sender, gateway_id=id, provider_message_id="mo-9") for _ in range(3)]
    rows = [row._replace(received_at=NOW + timedelta(seconds=n)) for n, row in enumerate(rows)]
    async with pool.acquire() as connection:
        await append(connection, rows)
        ids = [row["id"] for row in await connection.fetch("SELECT id FROM inbound WHERE address = $1", sender)]
        for only in ([max(ids)], ids):
            async with connection.transaction():
                await apply(connection, 20, only)
    assert await pool.fetchval("SELECT count(*) FROM decisions WHERE address = $1", sender) == 1
