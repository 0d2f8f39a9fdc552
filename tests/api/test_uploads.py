"""Bulk uploads that break off: the journal tells what took effect, whatever ended them."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx
import orjson
import pytest
import pytest_asyncio
from fastapi import FastAPI

from app.api.uploads import SILENT, close_orphans
from app.db import Pool
from tests.conftest import ADMIN_SECRET
from tests.ingest.test_roads import Account

pytestmark = pytest.mark.slow

ROWS = 6_000
_NUMBERS = iter(range(610_000_000, 699_000_000))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {ADMIN_SECRET}"}
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://acuse.test", headers=headers, timeout=60
    ) as client:
        yield client


# --- the endpoints: one line each ------------------------------------------------------------------------------------


def _messages(first: int) -> Iterator[Mapping[str, Any]]:
    for number in range(first, first + ROWS):
        yield {"address": f"+34{number}", "provider_message_id": f"p{number}", "reference": f"r{number}"}


def _submissions(first: int) -> Iterator[Mapping[str, Any]]:
    for number in range(first, first + ROWS):
        yield {"reference": f"r{number}", "provider_message_id": f"again{number}"}


def _links(first: int) -> Iterator[Mapping[str, Any]]:
    for number in range(first, first + ROWS):
        yield {"address": f"+34{number}", "reference": f"l{number}", "url": "https://a.example/"}


def _numbers(first: int) -> Iterator[Mapping[str, Any]]:
    for number in range(first, first + ROWS):
        yield {"address": f"+34{number}"}


#: Where, its rows, the entry's code, the table and condition that count what took effect.
BULK = {
    "messages": (_messages, "DLV-MESSAGES", "messages", "right(address, 9)::int"),
    "submissions": (_submissions, "DLV-SUBMISSIONS", "correlations", "substring(value from '^again([0-9]+)$')::int"),
    "links": (_links, "DLV-LINKS", "messages", "right(address, 9)::int"),
    "quarantine": (_numbers, "QRT-IMPORTED", "quarantine", "right(address, 9)::int"),
    "targets": (_numbers, "DLV-TARGETS", "targets", "right(given, 9)::int"),
}


class Case:
    """One endpoint with rows of its own."""

    def __init__(self, app: FastAPI, client: httpx.AsyncClient, pool: Pool, kind: str) -> None:
        self.app, self.client, self.pool = app, client, pool
        self.rows, self.code, self.table, self.number = BULK[kind]
        self.first = 0
        self.journal = "/v1/audit"
        self.url = ""

    async def begin(self, kind: str) -> None:
        account = await Account.make(self.client)
        delivery = account.delivery
        self.first = next(_NUMBERS)
        for _ in range(ROWS):
            next(_NUMBERS)
        if kind == "submissions":
            rows = b"".join(map(_line, _messages(self.first)))
            await self.client.post(f"/v1/deliveries/{delivery}/messages", content=rows, headers=NDJSON)
        if kind == "targets":
            delivery = (await self.client.post("/v1/deliveries", json={"label": "x", "sender": "x"})).json()["id"]
        self.url = f"/v1/deliveries/{delivery}/{kind}" if kind != "quarantine" else "/v1/quarantine?status=denylisted"
        if kind != "quarantine":
            self.journal = f"/v1/deliveries/{delivery}/audit"

    async def effect(self) -> int:
        count: int = await self.pool.fetchval(
            f"SELECT count(*) FROM {self.table} WHERE {self.number} BETWEEN $1 AND $2", self.first, self.first + ROWS
        )
        return count

    async def entries(self) -> list[dict[str, Any]]:
        items = (await self.client.get(self.journal, params={"limit": 1000})).json()["items"]
        return [item for item in items if item["code"] == self.code]


NDJSON = {"Content-Type": "application/x-ndjson"}


def _line(row: Mapping[str, Any]) -> bytes:
    return orjson.dumps(row) + b"\n"


@pytest.fixture(scope="module", autouse=True)
def _short_hosts(app: FastAPI) -> None:
    from app.links.shortening import Bases, Links

    app.state.links = Links(bases=Bases.of(("s.example",), None))


@pytest_asyncio.fixture
async def case(request: pytest.FixtureRequest, app: FastAPI, client: httpx.AsyncClient, pool: Pool) -> Case:
    made = Case(app, client, pool, request.param)
    await made.begin(request.param)
    return made


async def send(app: FastAPI, url: str, pieces: Sequence[bytes], *, cut: bool) -> None:
    """A request by hand, of which the connection is `cut` after these pieces, or left open for ever."""
    path, _, query = url.partition("?")
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http", "path": path,
        "raw_path": quote(path).encode(), "query_string": query.encode(), "root_path": "", "client": ("127.0.0.1", 1),
        "server": ("acuse.test", 80),
        "headers": [
            (b"authorization", f"Bearer {ADMIN_SECRET}".encode()), (b"content-type", b"application/x-ndjson"),
            (b"host", b"acuse.test"),
        ],
    }  # fmt: skip
    waiting = list(pieces)

    async def receive() -> dict[str, Any]:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(0), "more_body": True}
        if not cut:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def answer(message: Any) -> None:
        pass

    await app(scope, receive, answer)


def _pieces(rows: Sequence[bytes]) -> list[bytes]:
    return [b"".join(rows[start : start + 500]) for start in range(0, len(rows), 500)]


# --- what ends them --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["messages", "submissions", "links", "quarantine"], indirect=True)
async def test_a_connection_cut_leaves_one_entry_with_what_took_effect(case: Case) -> None:
    before = len(await case.entries())
    rows = [_line(row) for row in case.rows(case.first)]
    await send(case.app, case.url, _pieces(rows[: ROWS * 7 // 10]), cut=True)
    entries = await case.entries()
    assert len(entries) == before + 1
    assert await case.effect() == entries[0]["data"]["accepted"] == 4_000
    assert (entries[0]["level"], entries[0]["data"]["broken_off"]) == ("warning", "the connection was cut")
    assert "broke off" in entries[0]["text"]
    assert await case.pool.fetchval("SELECT count(*) FROM uploads") == 0


@pytest.mark.parametrize("case", ["messages", "submissions", "links", "quarantine"], indirect=True)
async def test_a_failure_in_the_middle_leaves_one_entry_with_what_took_effect(case: Case) -> None:
    before = len(await case.entries())
    table = {"submissions": "submissions", "quarantine": "decisions"}.get(case.url.rpartition("/")[2].partition("?")[0])
    table = table or "messages"
    await case.pool.execute(
        "CREATE OR REPLACE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN IF NEW::text LIKE '%poison%' THEN RAISE EXCEPTION 'poison'; END IF; RETURN NEW; END $$"
    )
    await case.pool.execute(f"CREATE TRIGGER poison BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION poison()")
    rows = [dict(row) for row in case.rows(case.first)]
    rows[4_500][{"decisions": "note", "submissions": "error_text"}.get(table, "recipient_id")] = "poison"
    try:
        answer = await case.client.post(case.url, content=b"".join(map(_line, rows)), headers=NDJSON)
    finally:
        await case.pool.execute(f"DROP TRIGGER poison ON {table}")
    assert answer.status_code >= 500, answer.text
    entries = await case.entries()
    assert len(entries) == before + 1
    assert await case.effect() == entries[0]["data"]["accepted"] == 4_000
    assert "broken_off" in entries[0]["data"]


@pytest.mark.parametrize("case", ["targets"], indirect=True)
async def test_an_audience_is_whole_or_nothing_and_leaves_no_entry(case: Case) -> None:
    rows = [_line(row) for row in case.rows(case.first)]
    await send(case.app, case.url, _pieces(rows[: ROWS * 7 // 10]), cut=True)
    assert await case.effect() == 0
    assert await case.entries() == []


@pytest.mark.parametrize("case", ["messages", "submissions", "links", "quarantine"], indirect=True)
async def test_what_comes_to_its_end_leaves_one_entry_as_before(case: Case) -> None:
    before = len(await case.entries())
    rows = [*map(_line, case.rows(case.first)), b"{}\n"]
    answer = await case.client.post(case.url, content=b"".join(rows), headers=NDJSON)
    assert answer.status_code == 200, answer.text
    entries = await case.entries()
    assert len(entries) == before + 1
    assert (entries[0]["data"]["accepted"], entries[0]["data"]["rejected"]) == (ROWS, 1)
    assert "broken_off" not in entries[0]["data"]
    assert await case.pool.fetchval("SELECT count(*) FROM uploads") == 0


@pytest.mark.parametrize("case", ["messages", "quarantine"], indirect=True)
async def test_an_upload_that_took_no_effect_leaves_none(case: Case) -> None:
    before = len(await case.entries())
    rows = [_line(row) for row in case.rows(case.first)]
    await send(case.app, case.url, _pieces(rows[:500]), cut=True)
    assert (await case.effect(), len(await case.entries())) == (0, before)


_CHILD = """
import asyncio, sys
from pathlib import Path
from pydantic import SecretStr
from app.main import create_app
from app.settings import Settings
from tests.api import test_uploads as tests
from tests.conftest import ADMIN_SECRET

async def main(database_url, data_dir, url, first):
    settings = Settings(database_url=database_url, data_dir=Path(data_dir), admin_key=SecretStr(ADMIN_SECRET))
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        rows = [tests._line(row) for row in tests._messages(int(first))]
        await tests.send(app, url, tests._pieces(rows[:4200]), cut=False)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("case", ["messages"], indirect=True)
async def test_a_process_killed_in_the_middle_is_told_by_the_clock_of_another(
    case: Case, pool: Pool, database_url: str, tmp_path: Any
) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _CHILD, database_url, str(tmp_path), case.url, str(case.first)
    )
    try:
        for _ in range(600):
            if await case.effect() == 4_000:
                break
            await asyncio.sleep(0.1)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGKILL)
        await child.wait()
    now = datetime.now(UTC)
    async with pool.acquire() as connection, connection.transaction():
        assert await close_orphans(connection, now) == 0  # it could still be going on
    async with pool.acquire() as connection, connection.transaction():
        assert await close_orphans(connection, now + SILENT + timedelta(seconds=1)) == 1
    (entry,) = await case.entries()
    assert (entry["data"]["accepted"], entry["level"]) == (4_000, "warning")
    assert entry["data"]["broken_off"] == "nobody went on with it"
