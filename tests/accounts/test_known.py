"""What is known is kept beside the spool, sealed, so that a start without the database verifies all the same."""

import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from app.accounts import store
from app.accounts.directory import GatewayDirectory
from app.accounts.known import FILE_NAME, KnownFile
from app.db import Pool
from app.errors import Busy
from app.sealing import KEY_FILE, Sealing, make_key_file
from app.security import KeyRing, hash_secret, new_secret
from app.settings import Settings

AWAY = "postgresql://nobody@127.0.0.1:9/none"
SECRET = "a-secret-of-the-gateway"
RULES = [{"keyword": "ADIOS", "action": "denylist"}]


def known_file(data_dir: Path, *keys: str) -> KnownFile:
    sealing = Sealing.of(Settings(data_dir=data_dir, seal_keys=tuple(map(SecretStr, keys))))
    return KnownFile(data_dir / FILE_NAME, sealing)


async def add(pool: Pool, key: str) -> int:
    async with pool.acquire() as connection, connection.transaction():
        row = await store.insert_gateway(
            connection, key=key, kind="generic", label="x", implementation="Own", options={"receipts_per": "message"},
            auth={"mode": "token", "secrets": [SECRET]}, now=datetime.now(UTC),
        )  # fmt: skip
        assert row is not None
        await connection.execute("UPDATE gateways SET reply_rules = $2 WHERE id = $1", row.id, RULES)
        return row.id


async def running(url: str, file: KnownFile) -> GatewayDirectory:
    directory = GatewayDirectory(url, KeyRing(), file=file)
    await directory.start()
    return directory


@pytest.fixture(params=["none", "a key file", "given"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> KnownFile:
    """Whichever way this process has its sealing keys."""
    if request.param == "a key file":
        make_key_file(tmp_path / KEY_FILE)
    return known_file(tmp_path, *(["k" * 40] if request.param == "given" else []))


async def test_a_start_without_the_database_knows_what_the_last_one_knew(
    file: KnownFile, tmp_path: Path, app: FastAPI, pool: Pool, database_url: str
) -> None:
    secret = new_secret()
    async with pool.acquire() as connection:
        await store.insert_key(
            connection, secret[-8:].lower(), hash_secret(secret), ["receipts:write"], datetime.now(UTC)
        )
    name = f"known-{os.urandom(4).hex()}"
    id = await add(pool, name)
    before = await running(database_url, file)
    await before.refresh()
    path = tmp_path / FILE_NAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert SECRET.encode() not in path.read_bytes()
    await pool.execute("UPDATE gateways SET deleted_at = now() WHERE id = $1", id)
    gone = f"gone-{name}"
    id = await add(pool, gone)
    await before.refresh()  # a change is written at once
    await before.stop()

    after = await running(AWAY, file)
    assert (after.loaded, after.reachable) == (True, False)
    found = after.get(gone)
    assert found == before.get(gone)
    assert found is not None
    assert (found.id, found.auth.secrets, found.implementation) == (id, (SECRET,), "Own")
    assert (found.options.receipts_per, list(found.reply_rules or ())) == ("message", RULES)
    assert after.get(name) is None
    deleted = after.answering(name)
    assert deleted is not None
    assert deleted == before.answering(name)
    principal = await after.find_key(hash_secret(secret))
    assert principal is not None
    assert principal.scopes == {"receipts:write"}
    for unknown in (after.find("unknown"), after.find_answering("unknown"), after.find_key(hash_secret("unknown"))):
        with pytest.raises(Busy):  # nobody can say that it does not exist
            await unknown
    await after.stop()


async def test_the_database_overrules_the_file(tmp_path: Path, app: FastAPI, pool: Pool, database_url: str) -> None:
    file = known_file(tmp_path)
    await add(pool, "overruled")
    before = await running(database_url, file)
    await before.refresh()
    await before.stop()
    await pool.execute("UPDATE gateways SET implementation = 'New' WHERE key = 'overruled'")
    after = await running(database_url, file)
    await after.refresh()
    found = after.get("overruled")
    assert found is not None
    assert found.implementation == "New"
    await after.stop()


@pytest.mark.parametrize("content", [b"", b"sealed:", b"sealed:0123:AAAA", b"\xff\xfe", b"nonsense"])
async def test_a_file_that_cannot_be_read_is_as_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    directory = await running(AWAY, known_file(tmp_path))
    assert not directory.loaded
    with pytest.raises(Busy):
        await directory.find("anything")
    await directory.stop()


async def test_a_file_sealed_with_another_key_is_as_none(
    tmp_path: Path, app: FastAPI, pool: Pool, database_url: str
) -> None:
    directory = await running(database_url, known_file(tmp_path, "a" * 40))
    await directory.refresh()
    await directory.stop()
    assert known_file(tmp_path, "a" * 40).read() is not None
    assert known_file(tmp_path, "b" * 40).read() is None


async def test_a_file_that_cannot_be_written_is_tried_again_and_costs_nothing_else(
    tmp_path: Path, app: FastAPI, pool: Pool, database_url: str
) -> None:
    (tmp_path / FILE_NAME).mkdir()
    directory = await running(database_url, known_file(tmp_path))
    await add(pool, "unwritten")
    await directory.refresh()
    assert directory.get("unwritten") is not None
    assert [name for name in os.listdir(tmp_path) if name.startswith(f".{FILE_NAME}")] == []
    (tmp_path / FILE_NAME).rmdir()
    await directory.refresh()
    assert (tmp_path / FILE_NAME).is_file()
    await directory.stop()
