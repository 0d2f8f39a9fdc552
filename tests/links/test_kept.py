"""The file beside the spool that redirects need while the database is away: private, bounded, and within erasure's reach."""

import asyncio
import os
import stat
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI

from app.db import Pool
from app.links.kept import Kept
from app.links.routes import Routes
from app.processes import Process

from .conftest import Maker

SECRET = "Marta-Ruiz-Gil"


def kept_in(folder: Path, *, max_bytes: int = 10_000_000) -> Kept:
    return Kept(
        folder / "links.sqlite3",
        max_bytes=max_bytes,
        seal=lambda _, data: data.hex(),
        unseal=lambda _, text: bytes.fromhex(text),
    )


@pytest_asyncio.fixture(loop_scope="session")
async def kept(tmp_path: Path) -> AsyncIterator[Kept]:
    found = kept_in(tmp_path)
    yield found
    await found.close()


def on_disk(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


def rights(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


async def test_nobody_else_may_read_it_whatever_the_umask(kept: Kept, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        await kept.keep_given({1: {"name": SECRET}})
    finally:
        os.umask(before)
    assert rights(tmp_path) == dict.fromkeys(("links.sqlite3", "links.sqlite3-wal", "links.sqlite3-shm"), 0o600)


async def test_what_is_forgotten_is_in_none_of_its_files_and_not_in_another_process_of_the_directory(
    kept: Kept, tmp_path: Path
) -> None:
    other = kept_in(tmp_path)
    await kept.keep_given({1: {"name": SECRET}, 2: {"name": "Ana"}})
    assert SECRET.encode() in on_disk(tmp_path)
    assert await other.params(1) == {"name": SECRET}
    await other.forget([1])
    assert (await kept.params(1), await kept.params(2)) == (None, {"name": "Ana"})
    assert SECRET.encode() not in on_disk(tmp_path)
    await other.close()


async def test_beyond_its_bound_it_takes_nothing_more_and_what_is_old_leaves_it(tmp_path: Path) -> None:
    kept = kept_in(tmp_path, max_bytes=200_000)
    for start in range(0, 10_000, 100):
        await kept.keep_given({id: {"name": "x" * 100} for id in range(start, start + 100)})
    assert (tmp_path / "links.sqlite3").stat().st_size < 400_000
    assert await kept.params(0) is not None
    assert await kept.params(9_999) is None
    await kept.forget_before(datetime.now(UTC).timestamp() + 10)
    assert await kept.params(0) is None
    await kept.keep_given({9_999: {"name": "y"}})
    assert await kept.params(9_999) == {"name": "y"}
    await kept.close()


async def test_a_broken_file_costs_nothing_but_the_answers_without_the_database(tmp_path: Path) -> None:
    (tmp_path / "links.sqlite3").write_bytes(b"this is no database" * 100)
    kept = kept_in(tmp_path)
    await kept.keep_given({1: {"name": "Ana"}})
    assert (await kept.params(1), list(await kept.blocks()), await kept.keys()) == (None, [], {})
    await kept.close()


@pytest.mark.parametrize("others", [False, True])
async def test_who_is_erased_is_gone_from_the_file_whichever_process_was_asked(
    app: FastAPI, client: httpx.AsyncClient, admin: dict[str, str], make: Maker, pool: Pool, database_url: str, tmp_path: Path,
    others: bool,
) -> None:  # fmt: skip
    made = await make("https://shop.example/{{name}}", params=[{"name": SECRET}], messages=1)
    address = await pool.fetchval("SELECT address FROM messages WHERE id = $1", made.messages[0])
    routes = Routes(database_url, Process(), life_days=1, kept=kept_in(tmp_path)) if others else app.state.routes
    folder = tmp_path if others else app.state.settings.data_dir
    if others:
        await routes.start()
    await routes.give(made.delivery, made.messages)
    assert SECRET in str(await routes.location(made.messages[0], "https://shop.example/{{name}}"))
    assert SECRET.encode() in (folder / "links.sqlite3").read_bytes() + (folder / "links.sqlite3-wal").read_bytes()
    assert (await client.delete(f"/v1/addresses/{address}?reason=asked", headers=admin)).status_code == 200
    if others:
        await routes.refresh()
    left = [path.name for path in folder.glob("links.sqlite3*") if SECRET.encode() in path.read_bytes()]
    assert left == []
    assert not [key for key in routes._locations if key[0] == made.messages[0]]
    if others:
        await routes.stop()


async def test_what_other_hosts_give_out_comes_to_this_disk_behind(
    make: Maker, database_url: str, tmp_path: Path
) -> None:
    kept = kept_in(tmp_path)
    made = await make(
        "https://shop.example/{{code}}", params=[{"code": str(n), "name": "Unused-Value"} for n in range(30)], messages=30,
        started_at=datetime.now(UTC) - timedelta(minutes=1),
    )  # fmt: skip
    routes = Routes(database_url, Process(), life_days=1, kept=kept)
    await routes.start()
    try:
        for _ in range(300):
            if await kept.params(made.messages[-1]) is not None:
                break
            await asyncio.sleep(0.1)
        assert await kept.params(made.messages[-1]) == {"code": "29"}
        assert b"Unused-Value" not in on_disk(tmp_path)
    finally:
        await routes.stop()
