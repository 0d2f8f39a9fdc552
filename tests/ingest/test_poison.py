"""One row that is to blame among good ones, on each of the roads: the good ones go on at once, it is set aside whole, and
trying it again when all is mended gives what the first reading would have given."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI

from app.db import Pool
from app.ingest import pipeline
from app.links.clicks import ClickRow, click, visitor

pytestmark = pytest.mark.slow

SECRET = "token-of-the-gateway"
POISON = "poison-me"
#: By SQLSTATE: of values, of constraints, of a trigger's own words, of the server's inside, of what looks like its state.
SQLSTATES = ("22001", "23514", "P0001", "XX000", "54000", "53100", "25006", "55000")
#: The road, the table at which it ends, and which of its columns says the poison.
ROADS = {
    "the inbox takes receipts": ("inbox", "encode(NEW.raw, 'escape')"),
    "receipts are applied": ("receipts", "encode(NEW.raw, 'escape')"),
    "the inbox takes replies": ("inbound", "NEW.text"),
    "replies are applied": ("decisions", "NEW.address"),
    "the inbox takes clicks": ("click_inbox", "NEW.agent"),
    "clicks are applied": ("visitors", "NEW.agent"),
}
KINDS = {"inbox": "receipt", "receipts": "receipt", "inbound": "reply", "decisions": "reply"}
BAD_PHONE = "+34699000001"


@contextlib.asynccontextmanager
async def poisoned(pool: Pool, table: str, what: str, sqlstate: str) -> AsyncIterator[None]:
    """As long as the block lasts, or until it is mended, `table` raises for rows that say the poison."""
    said = BAD_PHONE if table == "decisions" else POISON
    await pool.execute(
        f"CREATE FUNCTION poisoned() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF position('{said}' IN {what}) > 0 "
        f"THEN RAISE 'poison' USING ERRCODE = '{sqlstate}'; END IF; RETURN NEW; END $$"
    )
    await pool.execute(f"CREATE TRIGGER poisoned BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION poisoned()")
    try:
        yield
    finally:
        await mended(pool)


async def mended(pool: Pool) -> None:
    await pool.execute("DROP FUNCTION IF EXISTS poisoned() CASCADE")


class Caller:
    """Sends good ones and bad ones, of receipts, replies and clicks, and knows what must become of them."""

    def __init__(self, app: FastAPI, client: httpx.AsyncClient, pool: Pool, message_id: int, key: str) -> None:
        self.app, self.client, self.pool, self.message_id, self.key = app, client, pool, message_id, key
        self.numbers = iter(range(1, 1_000_000))

    async def _post(self, path: str, **more: Any) -> None:
        answer = await self.client.post(f"/callbacks/{self.key}{path}", headers={"X-Acuse-Token": SECRET}, **more)
        assert answer.status_code == 200, answer.text

    async def receipt(self, word: str = "") -> str:
        """By a reference in the path, so that reading the body alone again would not be enough."""
        number = next(self.numbers)
        await self._post(f"/ref-{self.key}-{number}", json={"status": "delivered", "word": word})
        return f"ref-{self.key}-{number}"

    async def reply(self, word: str = "", phone: str | None = None) -> str:
        phone = phone or f"+346{int(self.key[1:]):03d}{next(self.numbers):05d}"
        await self._post("", json={"type": "inbound", "from": phone, "text": f"STOP {word}"})
        return phone

    async def click(self, word: str = "phone") -> int:
        row: ClickRow = click(
            self.message_id, 1, 0, datetime.now(UTC), visitor("GET", [(b"user-agent", word.encode())]), None
        )
        done = self.app.state.inbox.offer(row)
        assert done is not None
        await done
        return row.id

    async def is_applied(self, what: str | int) -> bool:
        if isinstance(what, int):
            return bool(await self.pool.fetchval("SELECT count(*) = 1 FROM clicks WHERE id = $1", what))
        if what.startswith("ref-"):
            query = (
                "SELECT count(*) = 1 FROM receipts r JOIN correlations c ON c.id = r.correlation_id "
                "WHERE c.kind = 'reference' AND c.value = $1 AND r.status = 'received'"
            )
        else:
            query = "SELECT count(*) = 1 FROM decisions WHERE address = $1 AND kind = 'denylist'"
        return bool(await self.pool.fetchval(query, what))

    async def shelf(self, kind: str) -> list[dict[str, Any]]:
        page = await self.client.get("/v1/receipts/rejected", params={"kind": kind})
        return list(page.json()["items"])

    async def retry(self, kind: str) -> dict[str, int]:
        return dict((await self.client.post("/v1/receipts/rejected/retry", json={"kind": kind})).json())


async def until(asked: Any, what: str, *, seconds: float = 30.0) -> None:
    for _ in range(int(seconds / 0.05)):
        if await asked():
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"waited in vain: {what}")


_keys = iter(range(100, 1_000))


@pytest_asyncio.fixture(loop_scope="session")
async def caller(app: FastAPI, client: httpx.AsyncClient, pool: Pool) -> Caller:
    key = f"p{next(_keys)}"
    body = {"key": key, "kind": "generic", "auth": {"mode": "token", "secrets": [SECRET]}}
    assert (await client.post("/v1/gateways", json=body)).status_code == 201
    delivery = (await client.post("/v1/deliveries", json={"label": "P", "sender": "A", "gateway": key})).json()
    row = {"address": "+34600000001", "provider_message_id": "first"}
    await client.post(f"/v1/deliveries/{delivery['id']}/messages", json=[row])
    await pool.execute("DELETE FROM rejected")
    await pool.execute(
        "UPDATE clicks SET visitor = NULL"
    )  # what is known already is not written again, and meets no poison
    await pool.execute("DELETE FROM visitors")
    await pool.execute("DELETE FROM decisions WHERE address = $1", BAD_PHONE)
    return Caller(app, client, pool, await pool.fetchval("SELECT max(id) FROM messages"), key)


@pytest.mark.parametrize("spooled", [False, True], ids=["directly", "by the spool"])
@pytest.mark.parametrize("sqlstate", ["22001", "P0001", "XX000"])
@pytest.mark.parametrize("road", ROADS)
async def test_a_poisonous_row_is_set_aside_and_its_neighbours_are_applied_at_once(
    caller: Caller, pool: Pool, road: str, sqlstate: str, spooled: bool
) -> None:
    await _one_among_good_ones(caller, pool, road, sqlstate, spooled)


@pytest.mark.parametrize("sqlstate", [each for each in SQLSTATES if each not in ("22001", "P0001", "XX000")])
@pytest.mark.parametrize("road", ["the inbox takes receipts", "receipts are applied"])
async def test_whatever_its_error_is_called(caller: Caller, pool: Pool, road: str, sqlstate: str) -> None:
    await _one_among_good_ones(caller, pool, road, sqlstate, spooled=False)


async def _one_among_good_ones(caller: Caller, pool: Pool, road: str, sqlstate: str, spooled: bool) -> None:
    table, what = ROADS[road]
    kind = KINDS.get(table, "click")
    send: Any = {"receipt": caller.receipt, "reply": caller.reply, "click": caller.click}[kind]
    outage = caller.app.state.inbox.outage
    async with poisoned(pool, table, what, sqlstate):
        if spooled:
            outage.tables |= {"inbox", "inbound", "click_inbox"}
        some = [send() for _ in range(5)]
        bad = caller.reply(phone=BAD_PHONE) if table == "decisions" else send(POISON)
        sent = await asyncio.gather(*some[:3], bad, *some[3:])
        good = [*sent[:3], *sent[4:]]

        async def applied() -> bool:
            return all([await caller.is_applied(each) for each in good])

        async def kept() -> bool:
            return len(await caller.shelf(kind)) == 1

        await until(applied, "the good ones are applied", seconds=4)
        await until(kept, "the poisonous one is set aside")
        another = await send()
        await until(lambda: caller.is_applied(another), "what came behind it is applied")
    assert await pool.fetchval("SELECT count(*) FROM rejected") == 1
    (item,) = await caller.shelf(kind)
    assert "applied" in item["reason"] or "refused" in item["reason"]
    assert await caller.retry(kind) == {"read": 1, "still_rejected": 0}

    async def all_well() -> bool:
        return await caller.is_applied(sent[3]) and not await caller.shelf(kind)

    await until(all_well, "the poisonous one is applied when all is mended")


async def test_a_constraint_that_one_row_breaks_costs_only_that_row(caller: Caller, pool: Pool) -> None:
    await pool.execute(
        "ALTER TABLE inbox ADD CONSTRAINT poisoned CHECK (position('poison-me' IN encode(raw, 'escape')) = 0)"
    )
    try:
        sent = await asyncio.gather(caller.receipt(), caller.receipt(POISON), caller.receipt())
        for each in (sent[0], sent[2]):
            await until(lambda each=each: caller.is_applied(each), "the good ones are applied", seconds=4)
        (item,) = await caller.shelf("receipt")
        assert item["reason"] == "The database refused this row: CheckViolationError."
        assert await caller.retry("receipt") == {"read": 0, "still_rejected": 1}
    finally:
        await pool.execute("ALTER TABLE inbox DROP CONSTRAINT poisoned")
    assert await caller.retry("receipt") == {"read": 1, "still_rejected": 0}
    await until(lambda: _nothing_waits(pool), "what was tried again is applied")  # before the next test's constraint
    await until(lambda: caller.is_applied(sent[1]), "it is applied when all is mended")


@pytest.mark.parametrize("error", [TypeError, KeyError, RecursionError, ValueError])
async def test_a_fault_of_our_own_that_one_receipt_brings_out_costs_only_that_one(
    caller: Caller, pool: Pool, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    meet = pipeline.meet

    async def stumbling(connection: Any) -> None:
        found = await connection.fetchval(
            "SELECT count(*) FROM batch WHERE position('poison-me' IN encode(raw, 'escape')) > 0"
        )
        if found:
            raise error("poison")
        await meet(connection)

    with monkeypatch.context() as patched:
        patched.setattr(pipeline, "meet", stumbling)
        sent = await asyncio.gather(caller.receipt(), caller.receipt(POISON), caller.receipt())
        for each in (sent[0], sent[2]):
            await until(lambda each=each: caller.is_applied(each), "the good ones are applied", seconds=4)
        await until(lambda: _shelved(caller), "it is set aside")
    assert await caller.retry("receipt") == {"read": 1, "still_rejected": 0}
    await until(lambda: _nothing_waits(pool), "what was tried again is applied")  # before the next test's constraint
    await until(lambda: caller.is_applied(sent[1]), "it is applied when all is mended")


async def test_a_fault_of_our_own_that_strikes_all_sets_nothing_aside(
    caller: Caller, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stumbling(connection: Any) -> None:
        raise TypeError("always")

    with monkeypatch.context() as patched:
        patched.setattr(pipeline, "meet", stumbling)
        sent = [await caller.receipt() for _ in range(3)]
        phone = await caller.reply()
        await until(lambda: caller.is_applied(phone), "replies go on meanwhile")
        await asyncio.sleep(1)
        assert await pool.fetchval("SELECT count(*) FROM rejected") == 0
    for each in sent:
        await until(lambda each=each: caller.is_applied(each), "they are applied when all is mended")


async def test_a_receipt_whose_message_somebody_holds_waits_and_holds_up_no_other(caller: Caller, pool: Pool) -> None:
    delivery = (
        await caller.client.post("/v1/deliveries", json={"label": "H", "sender": "A", "gateway": caller.key})
    ).json()
    row = {"address": "+34600000002", "provider_message_id": f"held-{caller.key}"}
    await caller.client.post(f"/v1/deliveries/{delivery['id']}/messages", json=[row])
    held = await pool.fetchval("SELECT max(id) FROM messages")
    other = {"address": "+34600000003", "provider_message_id": f"free-{caller.key}"}
    await caller.client.post(f"/v1/deliveries/{delivery['id']}/messages", json=[other])
    database = await pool.fetchval("SELECT current_database()")
    await pool.execute(f"ALTER DATABASE {database} SET lock_timeout = '50ms'")
    await caller.app.state.pool.expire_connections()
    try:
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("SET LOCAL lock_timeout = 0")
            await connection.execute("SELECT FROM message_state WHERE message_id = $1 FOR UPDATE", held)
            headers = {"X-Acuse-Token": SECRET}
            body = [{"provider_message_id": f"held-{caller.key}", "status": "delivered"}]
            assert (await caller.client.post(f"/callbacks/{caller.key}", json=body, headers=headers)).status_code == 200
            good = [await caller.receipt() for _ in range(3)]
            for each in good:
                await until(lambda each=each: caller.is_applied(each), "the others are applied", seconds=8)
            await asyncio.sleep(5)
            assert await pool.fetchval("SELECT count(*) FROM rejected") == 0
    finally:
        await pool.execute(f"ALTER DATABASE {database} RESET lock_timeout")
        await caller.app.state.pool.expire_connections()

    async def applied() -> bool:
        status = await pool.fetchval("SELECT status::text FROM message_state WHERE message_id = $1", held)
        return bool(status == "received")

    await until(applied, "it is applied when nobody holds it any more")


async def _nothing_waits(pool: Pool) -> bool:
    return not await pool.fetchval("SELECT EXISTS (SELECT FROM inbox)")


async def _shelved(caller: Caller) -> bool:
    return len(await caller.shelf("receipt")) == 1


async def test_what_the_shelf_itself_refuses_is_kept_there_packed(caller: Caller, pool: Pool) -> None:
    async with poisoned(pool, "rejected", "encode(NEW.raw, 'escape')", "P0001"):
        bodies = (b"no JSON", POISON.encode(), b"none either")
        headers = {"X-Acuse-Token": SECRET, "Content-Type": "application/json"}
        answers = [
            await caller.client.post(f"/callbacks/{caller.key}", content=body, headers=headers) for body in bodies
        ]
        assert [answer.status_code for answer in answers] == [400] * 3
        told = [answer.json()["detail"] for answer in answers]
        (packed,) = await caller.shelf("spooled")
        assert packed["id"] in told[1]
        assert len(await caller.shelf("unreadable")) == 2
    assert await caller.retry("spooled") == {"read": 1, "still_rejected": 0}
    assert {item["raw"] for item in await caller.shelf("unreadable")} == {body.decode() for body in bodies}


@pytest.mark.parametrize("table", ["inbox", "receipts"])
@pytest.mark.parametrize("spooled", [False, True], ids=["directly", "by the spool"])
async def test_a_constraint_that_our_probes_break_too_costs_no_good_row(
    caller: Caller, pool: Pool, table: str, spooled: bool
) -> None:
    await pool.execute(f"ALTER TABLE {table} ADD CONSTRAINT poisoned CHECK (status_text = 'delivered') NOT VALID")
    headers = {"X-Acuse-Token": SECRET}
    try:
        if spooled:
            caller.app.state.inbox.outage.tables.add("inbox")
        good = [asyncio.create_task(caller.receipt()) for _ in range(4)]
        answer = await caller.client.post(f"/callbacks/{caller.key}/bad", json={"status": "sent"}, headers=headers)
        assert answer.status_code == 200
        for each in good:
            reference = await each
            await until(lambda it=reference: caller.is_applied(it), "the good ones are applied", seconds=8)
        await until(lambda: _shelved(caller), "the other is set aside")
    finally:
        await pool.execute(f"ALTER TABLE {table} DROP CONSTRAINT poisoned")
    assert await caller.retry("receipt") == {"read": 1, "still_rejected": 0}
    await until(lambda: _nothing_waits(pool), "what was tried again is applied")  # before the next test's constraint
