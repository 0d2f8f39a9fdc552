"""Gateways and keys in memory: changes of other processes are found, and a database away costs nothing that is known."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from app.accounts import administering as changes
from app.accounts import store
from app.accounts.directory import TIMEOUT_SECONDS, GatewayDirectory, Gateways
from app.db import Pool
from app.errors import Busy
from app.security import KeyRing, hash_secret, new_secret


async def add(pool: Pool, key: str, **fields: Any) -> store.GatewayRow:
    """As another process would."""
    given: dict[str, Any] = {
        "kind": "generic",
        "label": "x",
        "implementation": "x",
        "options": {},
        "auth": {"mode": "none"},
    }
    async with pool.acquire() as connection:
        row = await store.insert_gateway(connection, key=key, now=datetime.now(UTC), **given | fields)
    assert row is not None
    return row


@pytest.fixture
async def directory(database_url: str) -> AsyncIterator[GatewayDirectory]:
    directory = GatewayDirectory(database_url, KeyRing())
    await directory.start()
    await directory.refresh()
    yield directory
    await directory.stop()


async def test_what_another_process_made_is_found_when_it_is_asked_for(directory: GatewayDirectory, pool: Pool) -> None:
    assert await directory.find("late") is None
    row = await add(pool, "late")
    assert directory.get("late") is None
    found = await directory.find("late")
    assert found is not None
    assert directory.get("late") == directory.by_id(row.id) == found
    secret = new_secret()
    async with pool.acquire() as connection:
        await store.insert_key(connection, "late", hash_secret(secret), ["admin"], datetime.now(UTC))
    principal = await directory.find_key(hash_secret(secret))
    assert principal is not None
    assert principal.may("pii:read")


async def test_changes_and_deletions_are_noticed(directory: GatewayDirectory, pool: Pool) -> None:
    await add(pool, "changing")
    await directory.refresh()
    await pool.execute("UPDATE gateways SET implementation = 'new' WHERE key = 'changing'")
    await directory.refresh()
    found = directory.get("changing")
    assert found is not None
    assert found.implementation == "new"
    await pool.execute("UPDATE gateways SET deleted_at = now() WHERE key = 'changing'")
    await directory.refresh()
    assert directory.get("changing") is None


async def test_strangers_who_try_names_cost_few_questions(
    directory: GatewayDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0
    real = store.change_mark

    async def counted(connection: Any) -> str:
        nonlocal asked
        asked += 1
        return await real(connection)

    monkeypatch.setattr(store, "change_mark", counted)
    began = time.monotonic()
    found = await asyncio.gather(*(directory.find(f"stranger-{number}") for number in range(2_000)))
    assert found == [None] * 2_000
    assert asked <= 2 + (time.monotonic() - began) / 0.05


async def test_names_that_cannot_be_are_not_asked_for(
    directory: GatewayDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "change_mark", None)
    for name in ("", "A", "a b", "a\0", "é", "x" * 64, "a\n"):
        assert await directory.find(name) is None


async def test_a_database_away_costs_nothing_that_is_known(
    directory: GatewayDirectory, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add(pool, "known")
    await directory.refresh()

    async def away(connection: Any) -> str:
        raise OSError

    with monkeypatch.context() as patched:
        patched.setattr(store, "change_mark", away)
        assert await directory.find("known") is not None
        with pytest.raises(Busy):
            await directory.find("unknown")
        assert (directory.reachable, directory.loaded) == (False, True)
        began = time.monotonic()
        for _ in range(100):  # answered from the failure a moment ago
            with pytest.raises(Busy):
                await directory.find("unknown")
        assert time.monotonic() - began < 0.5
    await directory.refresh()
    assert directory.reachable
    assert await directory.find("unknown") is None


async def test_who_goes_away_while_he_asks_says_nothing_of_the_database(
    directory: GatewayDirectory, pool: Pool
) -> None:
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE gateways IN ACCESS EXCLUSIVE MODE")
        gone = asyncio.create_task(directory.find("first"))
        await asyncio.sleep(0.2)
        others = [asyncio.create_task(directory.find(f"other-{number}")) for number in range(3)]
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
    assert await asyncio.gather(*others) == [None] * 3
    assert directory.reachable


async def test_a_process_that_stood_still_does_not_blame_the_database(directory: GatewayDirectory, pool: Pool) -> None:
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE gateways IN ACCESS EXCLUSIVE MODE")
        asking = asyncio.create_task(directory.find("unknown"))
        await asyncio.sleep(0.2)
        time.sleep(TIMEOUT_SECONDS + 1)  # noqa: ASYNC251
    assert await asking is None
    assert directory.reachable


async def test_never_reached_is_never_no() -> None:
    directory = GatewayDirectory("postgresql://nobody@127.0.0.1:9/none", KeyRing())
    await directory.start()
    with pytest.raises(Busy):
        await directory.find("anything")
    with pytest.raises(Busy):
        await directory.find_key(hash_secret("anything"))
    assert not directory.loaded
    await directory.stop()


async def test_a_gateway_that_cannot_be_read_here_is_later_not_never(directory: GatewayDirectory, pool: Pool) -> None:
    """Its plug-in is gone, say: its callbacks must come again, and the others must not suffer."""
    await add(pool, "gone", kind="vanished")
    await add(pool, "odd", options={"no_such_option": 1})
    await add(pool, "fine")
    await directory.refresh()
    assert directory.get("fine") is not None
    for name in ("gone", "odd"):
        with pytest.raises(Busy):
            await directory.find(name)
    await pool.execute("UPDATE gateways SET deleted_at = now() WHERE key IN ('gone', 'odd')")
    await directory.refresh()
    assert await directory.find("gone") is None


def test_no_gateways_at_all() -> None:
    assert Gateways().by_key == {}


async def test_options_keep_only_what_was_given() -> None:
    adapter = changes.adapter_of("generic")
    assert changes.checked_options(adapter, {"receipts_per": "part"}) == {"receipts_per": "part"}
