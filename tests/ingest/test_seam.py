"""The inbox has one seam: who takes rows in, or takes them out to make facts of them, does so by append, claim and finish."""

import asyncio
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from app.db import Pool, create_pool
from app.ingest import store
from app.ingest.kinds import KINDS, Kind, Row, WholeRow, kind_of
from app.ingest.rows import InboundRow, InboxRow, RejectedRow
from app.ingest.runtime import WORKER_SETTINGS
from app.links.clicks import ClickRow, new_id

APP = Path(store.__file__).parents[1]
#: Tables of the seam, as SQL names them. `inbound` holds facts from the start, which everybody may read: only who writes
#: there, or asks what waits, is named.
NAMED = re.compile(
    r"\b(?:FROM|INTO|UPDATE|JOIN|LIKE|TRUNCATE|TABLE)\s+(?:ONLY\s+)?(inbox|click_inbox|rejected)\b"
    r"|\b(?:INTO|UPDATE|DELETE FROM)\s+(inbound)\b|\b(inbound)\b[^;]*?\bapplied_at IS N"
    r"|\btable=\"(?:inbox|click_inbox|rejected|inbound)\""
    r"|copy\w*_to_table\(\s*\"(?:inbox|click_inbox|rejected|inbound)\""
    r"|from app\.tables import [^\n]*\b(inbox|click_inbox|rejected)\b"
)
#: Who names them all the same, and why.
ALLOWED = {
    "ingest/inbox.sql": "the seam's own statements",
    "ingest/kinds.py": "the one table of row kinds",
    "ingest/queries.sql": "a reply that repeats another is told from it by the facts, of which some are not applied yet",
    "ingest/dead_letters.sql": "the dead letters as they are listed, held to be tried again, and bounded",
    "ingest/retention.sql": "payloads are forgotten where they stand",
    "addresses/erasing.sql": "a person is found, and erased, wherever rows stand",
    "addresses/places.py": "the same, as a table of places",
    "doctor.sql": "what older versions set aside with nothing but its body",
}
OPERATIONS = {
    "append",
    "claim",
    "finish",
    "waiting",
    "read",
    "last_place",
    "only_reads",
    "backlog",
    "set_aside_by_kind",
}
NOW = datetime(2026, 11, 28, 8, 0, tzinfo=UTC)


def _naming() -> Iterator[tuple[str, str]]:
    for path in sorted([*APP.rglob("*.py"), *APP.rglob("*.sql")]):
        text = path.read_text("utf-8")
        for statement in re.split(r"\n\s*\n", text):
            if found := NAMED.search(statement):
                yield str(path.relative_to(APP)), found[0]


def test_nobody_else_names_the_tables_of_the_inbox() -> None:
    found: dict[str, str] = {}
    for path, said in _naming():
        found.setdefault(path, said)
    assert {path: said for path, said in found.items() if path not in ALLOWED} == {}
    assert ALLOWED.keys() - found.keys() == set(), "these exceptions are none any more"


def test_the_rest_of_the_code_uses_its_operations_alone() -> None:
    said = re.compile(r"from app\.ingest\.store import ([\w, ]+|\([^)]*\))")
    used = {
        name
        for path in APP.rglob("*.py")
        for names in said.findall(path.read_text("utf-8"))
        for name in re.findall(r"\w+", names)
    }
    assert used <= OPERATIONS


RECEIPT = InboxRow(**dict.fromkeys(InboxRow._fields))._replace(  # type: ignore[arg-type]
    gateway_id=1, received_at=NOW, provider_message_id="a", status="sent", status_text="sent", fingerprint=1, verified=True,
    raw=b"x",
)  # fmt: skip
REPLY = InboundRow(1, NOW, "+34600000001", None, "hello", None, True, b"x")
CLICK = ClickRow(new_id(), 1, 1, 0, NOW, True, [], "phone", "agent", {"method": "GET"}, None, 1)
ROWS: dict[Kind, WholeRow] = {"receipt": RECEIPT, "reply": REPLY, "click": CLICK}
TABLES = {kind.name: kind.table for kind in KINDS.values()}
KEYS = {"receipt": "id", "reply": "id", "click": "seq"}
of_each_kind = pytest.mark.parametrize("kind", ROWS)


@pytest.fixture(autouse=True)
async def _empty(pool: Pool) -> None:
    await pool.execute("TRUNCATE inbox, inbound, click_inbox, rejected")


async def _append(pool: Pool, *rows: Row) -> None:
    async with pool.acquire() as connection:
        await store.append(connection, rows)


@of_each_kind
async def test_what_is_appended_is_claimed_oldest_first_as_it_was(pool: Pool, kind: Kind) -> None:
    for _ in range(3):
        await _append(pool, ROWS[kind])
    places = await store.waiting(pool, kind, 10)
    assert places == sorted(places)
    assert len(places) == 3
    async with pool.acquire() as connection, connection.transaction():
        assert await store.claim(connection, kind, 2) == 2
        assert await store.read(connection, kind, places[0]) == ROWS[kind]
        await store.finish(connection, kind)
    assert await store.waiting(pool, kind, 10) == places[2:]


@of_each_kind
async def test_what_is_claimed_nobody_else_can_claim_until_the_transaction_ends(pool: Pool, kind: Kind) -> None:
    await _append(pool, ROWS[kind], ROWS[kind])
    async with pool.acquire() as one, pool.acquire() as other:
        async with one.transaction():
            assert await store.claim(one, kind, 1) == 1
            async with other.transaction():
                assert await store.claim(other, kind, 10) == 1
        async with other.transaction():
            assert await store.claim(other, kind, 10) == 2, "neither was finished"


@of_each_kind
async def test_what_a_process_claimed_that_dies_waits_at_once_as_before(
    pool: Pool, database_url: str, kind: Kind
) -> None:
    await _append(pool, ROWS[kind])
    before = await store.waiting(pool, kind, 10)
    doomed = await create_pool(database_url, name="doomed", size=1, settings=WORKER_SETTINGS)
    connection = await doomed.acquire()
    await connection.execute("BEGIN")
    assert await store.claim(connection, kind, 10) == 1
    await store.finish(connection, kind)
    backend = connection.get_server_pid()
    doomed.terminate()
    for _ in range(200):
        if not await pool.fetchval("SELECT count(*) FROM pg_stat_activity WHERE pid = $1", backend):
            break
        await asyncio.sleep(0.05)
    assert await store.waiting(pool, kind, 10) == before
    async with pool.acquire() as other, other.transaction():
        assert await store.claim(other, kind, 10) == 1


@of_each_kind
async def test_places_can_be_passed_over_or_be_the_only_ones(pool: Pool, kind: Kind) -> None:
    await _append(pool, *[ROWS[kind]] * 4)
    places = await store.waiting(pool, kind, 10)
    key = KEYS[kind]
    batch = {"receipt": "batch", "reply": "reply_batch", "click": "click_batch"}[kind]
    async with pool.acquire() as connection:
        async with connection.transaction():
            await store.claim(connection, kind, 2, without=places[:1])
            claimed = await connection.fetch(f"SELECT {key} FROM {batch} ORDER BY 1")
            assert [row[0] for row in claimed] == places[1:3]
            await store.finish(connection, kind)
        async with connection.transaction():
            assert await store.claim(connection, kind, 10, only=places[2:]) == 1
            await store.finish(connection, kind)
    assert await store.waiting(pool, kind, 10) == places[:1]


async def test_an_applied_reply_stays_as_a_fact_and_one_that_was_set_aside_does_not(pool: Pool) -> None:
    await _append(pool, REPLY, REPLY._replace(text="other"))
    first, second = await store.waiting(pool, "reply", 10)
    async with pool.acquire() as connection:
        for place, applied in ((first, True), (second, False)):
            async with connection.transaction():
                await store.claim(connection, "reply", 1, only=[place])
                await connection.execute("UPDATE reply_batch SET action = 'none'")
                await store.finish(connection, "reply", applied=applied)
    kept = await pool.fetch("SELECT id, action FROM inbound")
    assert [tuple(row) for row in kept] == [(first, "none")]


async def test_rows_of_all_kinds_are_appended_together_or_not_at_all(pool: Pool) -> None:
    rejected = RejectedRow("rj_1", 1, NOW, "no JSON", {"method": "POST"}, b"{", "unreadable")
    with pytest.raises(asyncpg.DataError):
        await _append(pool, RECEIPT, REPLY, CLICK, rejected._replace(reason="a\0b"))
    assert [await pool.fetchval(f"SELECT count(*) FROM {table}") for table in TABLES.values()] == [0, 0, 0, 0]
    await _append(pool, RECEIPT, REPLY, CLICK, rejected)
    assert [await pool.fetchval(f"SELECT count(*) FROM {table}") for table in TABLES.values()] == [1, 1, 1, 1]


@of_each_kind
async def test_a_row_that_says_nothing_is_refused_and_not_passed_over(pool: Pool, kind: Kind) -> None:
    row: Any = type(ROWS[kind])
    with pytest.raises(asyncpg.NotNullViolationError):
        await _append(pool, row(**dict.fromkeys(row._fields)))


async def test_a_caller_with_a_transaction_open_commits_itself(pool: Pool) -> None:
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await store.append(connection, [RECEIPT, REPLY])
        await transaction.rollback()
    assert await store.waiting(pool, "receipt", 1) == await store.waiting(pool, "reply", 1) == []


async def test_the_last_place_is_that_of_what_this_connection_appended(pool: Pool) -> None:
    for kind, row in ROWS.items():
        async with pool.acquire() as one, pool.acquire() as other:
            await store.append(one, [row])
            await store.append(other, [row])
            mine = await store.last_place(one)
            assert mine == min(await store.waiting(pool, kind, 10))


def test_each_kind_of_row_has_one_line() -> None:
    assert {kind_of(row).name for row in (RECEIPT, REPLY, CLICK)} == ROWS.keys()
    kinds = {id(kind): kind for kind in KINDS.values()}.values()
    for column in ("table", "name", "mark", "row"):
        assert len({getattr(kind, column) for kind in kinds}) == len(kinds), column
