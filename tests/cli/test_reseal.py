"""Changing the sealing key with the command line, each command as a process with keys of its own."""

import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from app import sealing
from app.sealing import KEY_FILE, SealKey

from .test_cli import Done, acuse

FIRST, SECOND, THIRD = (name * 4 for name in ("first-key-", "second-key", "third-key-"))
Run = Callable[..., Done]


@pytest.fixture
def run(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    def run(*arguments: str, keys: str = "", stdin: str = "") -> Done:
        monkeypatch.setattr(sealing, "_RING", {})
        return acuse(tmp_path, *arguments, stdin=stdin, ACUSE_DATABASE_URL=database_url, ACUSE_SEAL_KEYS=keys)

    return run


def test_a_key_is_rotated_and_a_lost_one_costs_what_it_sealed(run: Run) -> None:
    made = run("gateways", "create", "acme", "--kind", "generic", "--auth", "token", stdin="secret-secret\n")
    assert made.returncode == 0, made.stderr
    assert "The key stands in the database" in run("doctor").stdout
    assert run("reseal", keys=FIRST).returncode == 0
    assert "of ACUSE_SEAL_KEYS" in run("doctor", keys=FIRST).stdout

    for command in (("gateways", "list"), ("reseal",)):
        alone = run(*command, keys=SECOND)
        assert (alone.returncode, "Set ACUSE_SEAL_KEYS" in alone.stderr) == (1, True), alone.stderr
        assert "Traceback" not in alone.stderr
    assert "Set ACUSE_SEAL_KEYS" in run("doctor", keys=SECOND).stdout
    assert "Set ACUSE_SEAL_KEYS" in run("run", keys=SECOND).stderr

    assert "run `acuse reseal`" in run("doctor", keys=f"{SECOND},{FIRST}").stdout
    resealed = run("reseal", keys=f"{SECOND},{FIRST}")
    assert resealed.returncode == 0, resealed.stderr
    assert f"Sealed with the key {SealKey.of(SECOND).id}" in resealed.stdout
    assert f"Nothing needs {SealKey.of(FIRST).id} any more" in run("doctor", keys=f"{SECOND},{FIRST}").stdout
    assert "token" in run("gateways", "list", keys=SECOND).stdout

    accepted = run("reseal", "--accept-loss", keys=THIRD)
    assert (accepted.returncode, "gateway acme" in accepted.stderr) == (1, True), accepted.stderr
    assert "unreadable" in run("gateways", "list", keys=THIRD).stdout
    doctor = run("doctor", keys=THIRD)
    assert (doctor.returncode, "gateway acme" in doctor.stdout) == (1, True)
    assert (
        "gateway acme"
        not in run("doctor", keys=f"{THIRD},{SECOND}").stdout.partition("secrets")[2].partition("need")[0]
    )
    assert run("reseal", keys=f"{THIRD},{SECOND}").returncode == 0, "a key that is found again opens what stayed"
    said = "".join(each.stdout + each.stderr for each in (resealed, accepted, doctor))
    assert not any(key in said for key in (FIRST, SECOND, THIRD))


def test_an_embedded_database_has_its_key_in_a_file_beside_it(tmp_path: Path) -> None:
    made = acuse(
        tmp_path, "gateways", "create", "acme", "--kind", "generic", "--auth", "token", stdin="secret-secret\n"
    )
    assert made.returncode == 0, made.stderr
    file = tmp_path / KEY_FILE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "a copy of the data directory shows all" in words(acuse(tmp_path, "doctor"))
    file.chmod(0o644)
    assert "chmod 600" in words(acuse(tmp_path, "doctor"))
    assert stat.S_IMODE(file.stat().st_mode) == 0o644, "the doctor changes nothing"
    assert acuse(tmp_path, "gateways", "list").returncode == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600, "whoever starts the server makes what stands beside it private"


def words(done: Done) -> str:
    """What it said, without the table's lines: a long path makes them wrap."""
    return " ".join(done.stdout.replace("│", " ").split())
