"""Secrets at rest: what is sealed opens with its key and for its purpose, and all processes agree on the key in use."""

import asyncio
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from app import sealing
from app.db import Pool
from app.sealing import CURRENT_ROW, KEY_FILE, KEY_ROW, LOCAL_KEY_FILE, KeyMissing, SealError, Sealing, SealKey
from app.settings import Settings

OLD, NEW = "old-" + "o" * 40, "new-" + "n" * 40


def of(data_dir: Path, *keys: str) -> Sealing:
    return Sealing.of(Settings(data_dir=data_dir, seal_keys=tuple(map(SecretStr, keys))))


@pytest.fixture(autouse=True)
def _no_key_of_another_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process of its own."""
    monkeypatch.setattr(sealing, "_RING", {})


@pytest.fixture
async def _no_key_yet(pool: Pool) -> None:
    await pool.execute("DELETE FROM platform WHERE key LIKE 'seal_%'")


async def install(pool: Pool, *made: Sealing) -> None:
    for each in made:
        async with pool.acquire() as connection, connection.transaction():
            await each.install(connection)


def test_what_was_sealed_opens_for_its_purpose_and_no_other(tmp_path: Path) -> None:
    ours = of(tmp_path, NEW)
    sealed = ours.seal("a", b"secret")
    assert b"secret" not in sealed.encode()
    assert sealed != ours.seal("a", b"secret")
    assert ours.open("a", sealed) == b"secret"
    with pytest.raises(SealError, match=r"b was altered"):
        ours.open("b", sealed)


@pytest.mark.parametrize("place", range(20, 60, 7))
def test_what_was_altered_does_not_open(tmp_path: Path, place: int) -> None:
    ours = of(tmp_path, NEW)
    sealed = ours.seal("a", b"secret" * 5)
    altered = sealed[:place] + ("A" if sealed[place] != "A" else "B") + sealed[place + 1 :]
    with pytest.raises(SealError):
        ours.open("a", altered)


def test_an_older_key_opens_what_it_sealed_and_the_newest_seals(tmp_path: Path) -> None:
    before = of(tmp_path, OLD).seal("a", b"1")
    both = of(tmp_path, NEW, OLD)
    assert both.open("a", before) == b"1"
    after = both.seal("a", b"2")
    assert of(tmp_path, NEW).open("a", after) == b"2"
    with pytest.raises(KeyMissing, match=SealKey.of(OLD).id) as missing:
        of(tmp_path, NEW).open("a", before)
    assert OLD not in str(missing.value)
    assert [key_id for key_id, _ in both.derive_all("p")] == [SealKey.of(NEW).id, SealKey.of(OLD).id]
    assert both.derive("p") == dict(both.derive_all("p"))[both.key_id] == of(tmp_path, NEW).derive("p")
    assert len({both.derive("p"), both.derive("q"), of(tmp_path, OLD).derive("p")}) == 3


@pytest.mark.parametrize("wrong", ["short", "x" * 31, " " + "x" * 40 + " y", "x" * 40 + ",short", "é" * 8])
def test_a_key_that_can_be_guessed_is_refused_at_the_start(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACUSE_SEAL_KEYS", wrong)
    with pytest.raises(ValidationError, match="at least 32 printable characters"):
        Settings()


def test_keys_of_the_environment_are_parted_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACUSE_SEAL_KEYS", f"{NEW}, {OLD}")
    assert [each.get_secret_value() for each in Settings().seal_keys] == [NEW, OLD]
    assert NEW not in repr(Settings())


def test_a_key_file_is_made_once_and_for_nobody_else(tmp_path: Path) -> None:
    path = tmp_path / "data" / KEY_FILE
    with ThreadPoolExecutor(8) as threads:
        made = {key.id for key in threads.map(lambda _: sealing.make_key_file(path), range(32))}
    assert len(made) == 1
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == [KEY_FILE]


@pytest.mark.parametrize("content", ["", "short\n", "\0" * 10])
def test_a_key_file_that_holds_none_is_not_written_over(tmp_path: Path, content: str) -> None:
    (tmp_path / KEY_FILE).write_text(content)
    for use in (lambda: of(tmp_path), lambda: sealing.make_key_file(tmp_path / KEY_FILE)):
        with pytest.raises(SealError, match="holds no key"):
            use()
    assert (tmp_path / KEY_FILE).read_text() == content


@pytest.mark.usefixtures("_no_key_yet")
async def test_without_a_setting_all_processes_on_a_database_have_its_key(pool: Pool, tmp_path: Path) -> None:
    """Each has a data directory of its own, and they start at once."""
    several = [of(tmp_path / str(number)) for number in range(4)]
    with pytest.raises(SealError, match="not known yet"):
        several[0].seal("a", b"")
    await asyncio.gather(*(install(pool, each) for each in several))
    assert len({each.key_id for each in several}) == 1
    assert several[3].open("a", several[0].seal("a", b"1")) == b"1"
    assert await pool.fetchval("SELECT count(*) FROM platform WHERE key = $1", KEY_ROW) == 1


@pytest.mark.usefixtures("_no_key_yet")
async def test_a_key_file_keeps_the_key_out_of_the_database(pool: Pool, tmp_path: Path) -> None:
    key = sealing.make_key_file(tmp_path / KEY_FILE)
    ours = of(tmp_path)
    await install(pool, ours)
    assert ours.key_id == key.id
    rows = {row["key"]: row["value"] for row in await pool.fetch("SELECT * FROM platform WHERE key LIKE 'seal_%'")}
    assert rows == {CURRENT_ROW: key.id}


@pytest.mark.usefixtures("_no_key_yet")
@pytest.mark.parametrize("keys", [(), (NEW,)])
async def test_a_process_without_the_key_in_use_is_refused(pool: Pool, tmp_path: Path, keys: tuple[str, ...]) -> None:
    await install(pool, of(tmp_path, OLD))
    with pytest.raises(KeyMissing, match="Set ACUSE_SEAL_KEYS"):
        await install(pool, of(tmp_path, *keys))
    assert await pool.fetchval("SELECT value FROM platform WHERE key = $1", CURRENT_ROW) == SealKey.of(OLD).id
    await install(pool, of(tmp_path, NEW, OLD))
    await install(pool, of(tmp_path, NEW))  # nothing is known of what the old one sealed: see `acuse reseal`
    assert await pool.fetchval("SELECT value FROM platform WHERE key = $1", CURRENT_ROW) == SealKey.of(NEW).id


@pytest.mark.usefixtures("_no_key_yet")
async def test_the_first_setting_takes_over_from_the_key_beside_the_data(pool: Pool, tmp_path: Path) -> None:
    before, ours = of(tmp_path), of(tmp_path, NEW)
    await install(pool, before)
    sealed = before.seal("a", b"1")
    await install(pool, ours)
    assert ours.key_id == SealKey.of(NEW).id
    assert ours.open("a", sealed) == b"1"


def test_files_beside_the_spool_open_without_the_database(tmp_path: Path) -> None:
    sealed = of(tmp_path).beside.seal("spool", b"1")
    assert (tmp_path / LOCAL_KEY_FILE).exists()
    assert of(tmp_path).beside.open("spool", sealed) == b"1"
    assert of(tmp_path, NEW).beside.open("spool", sealed) == b"1", "the first setting does not close what stands there"
    given = of(tmp_path, NEW).beside.seal("spool", b"2")
    assert of(tmp_path, NEW).beside.open("spool", given) == b"2"
