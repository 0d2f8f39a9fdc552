"""The command line as an operator uses it: real processes, a real embedded database."""

import contextlib
import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import httpx
import psutil
import pytest

from app import cli, embedded, logs

pytestmark = pytest.mark.slow

CLI = [sys.executable, "-m", "app.cli"]
ROOT = Path(__file__).parents[2]


def environment(data_dir: Path, **more: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ACUSE_")}
    return clean | {"ACUSE_DATA_DIR": str(data_dir), "ACUSE_PORT": "0", "COLUMNS": "200"} | more


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


def acuse(data_dir: Path, *arguments: str, stdin: str = "", **more: str) -> Done:
    """One command, in this process: starting Python takes longer than most of them."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        mock.patch.dict(os.environ, environment(data_dir, **more), clear=True),
        mock.patch.object(sys, "argv", ["acuse", *arguments]),
        mock.patch.object(sys, "stdin", io.StringIO(stdin)),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            cli.main()
        except SystemExit as left:
            code = left.code if isinstance(left.code, int) else 0
    logs.configure(json=True)  # the command sent them to `err`
    return Done(code, out.getvalue(), err.getvalue())


@dataclass
class Running:
    """`acuse run`, up and answering."""

    process: subprocess.Popen[bytes]
    said: str
    url: str

    @property
    def key(self) -> str | None:
        found = re.search(r"shown once: (\S+)", self.said)
        return found and found[1]

    def stop(self) -> int:
        assert self.process.stdout is not None
        self.process.send_signal(signal.SIGTERM)
        self.process.stdout.close()
        return self.process.wait(30)


def start(data_dir: Path, **more: str) -> Running:
    with (data_dir / "err").open("ab") as errors:
        process = subprocess.Popen(
            [*CLI, "run"], env=environment(data_dir, **more), cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, bufsize=0
        )
    assert process.stdout is not None
    said = ""
    while "Acuse is at" not in said:
        line = process.stdout.readline().decode()
        assert line, (data_dir / "err").read_text()
        said += line
    url = re.findall(r"http://\S+", said)[0]
    answer = httpx.get(f"{url}/readyz", timeout=30)  # the socket listens already: this waits until the service is up
    assert answer.status_code == 200, (answer.text, (data_dir / "err").read_text())
    os.set_blocking(process.stdout.fileno(), False)
    with contextlib.suppress(BlockingIOError):
        said += os.read(process.stdout.fileno(), 10_000).decode()
    return Running(process, said, url)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def running(data_dir: Path) -> Iterator[Running]:
    """With one gateway, made by the command line beside it."""
    service = start(data_dir)
    arguments = ("--kind", "generic", "--auth", "token", "--option", "receipt_id_format=decimal")
    made = acuse(data_dir, "gateways", "create", "acme", *arguments, stdin="secret-secret\n")
    assert made.returncode == 0, made.stderr
    yield service
    if service.process.poll() is None:
        service.stop()


def test_the_first_start_prints_commands_that_work_when_pasted(running: Running) -> None:
    commands = [line for line in running.said.splitlines() if line.startswith("curl ")]
    answers = [
        subprocess.run(f"{line} -sf", shell=True, capture_output=True, text=True, check=True) for line in commands
    ]
    assert '"kind":"generic"' in answers[0].stdout
    assert '"code":"DM1"' in answers[1].stdout


def test_commands_beside_a_running_service_use_its_database(running: Running, data_dir: Path) -> None:
    made = acuse(data_dir, "keys", "create", "crm", "--scope", "deliveries:read", "--scope", "pii:read")
    assert made.returncode == 0, made.stderr
    headers = {"Authorization": f"Bearer {made.stdout.strip()}"}
    assert httpx.get(f"{running.url}/v1/gateways", headers=headers).status_code == 200
    report = {"provider_message_id": "1", "status": "delivered"}
    assert httpx.post(f"{running.url}/callbacks/acme?token=secret-secret", json=report).status_code == 200
    assert "acme" in acuse(data_dir, "gateways", "list").stdout
    assert "crm" in acuse(data_dir, "keys", "list").stdout
    assert acuse(data_dir, "keys", "delete", "crm").returncode == 0
    assert httpx.get(f"{running.url}/readyz").status_code == 200  # it was not stopped with the command


def test_short_urls_lead_to_the_port_that_was_found_free(running: Running) -> None:
    with httpx.Client(base_url=running.url, headers={"Authorization": f"Bearer {running.key}"}) as client:
        made = client.post("/v1/deliveries", json={"label": "Links", "sender": "Acme", "gateway": "acme"}).json()
        row = b'{"reference": "a-1", "address": "+447700900001", "url": "https://shop.example/x"}'
        headers = {"Content-Type": "application/x-ndjson"}
        answer = client.post(f"/v1/deliveries/{made['id']}/links", content=row, headers=headers)
        short_url = answer.json()["short_url"]
        assert short_url.startswith(f"{running.url}/r/")
        assert client.get(f"{short_url}.").headers["location"] == "https://shop.example/x"


def test_what_the_service_writes_is_private(running: Running, data_dir: Path) -> None:
    cluster = data_dir / "postgres"
    for path in data_dir.iterdir():
        assert not path.stat().st_mode & 0o077 or path.is_socket(), path
    assert not [path for path in (data_dir / "spool").rglob("*") if path.stat().st_mode & 0o077]
    assert not cluster.stat().st_mode & 0o077
    assert not data_dir.stat().st_mode & 0o066  # started by root, the server's own user passes through


def test_doctor_replay_and_migrate(running: Running, data_dir: Path) -> None:
    doctor = acuse(data_dir, "doctor")
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr
    assert "PostgreSQL 18 answers." in doctor.stdout
    replay = acuse(data_dir, "replay")
    assert (replay.returncode, "No difference" in replay.stdout) == (0, True), replay.stderr
    assert "revision" in acuse(data_dir, "migrate").stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("keys", "delete", "admin"), "last key with scope admin"),
        (("keys", "delete", "nobody"), "no such key"),
        (("keys", "create", "x", "--scope", "everything"), "/scopes"),
        (("gateways", "create", "x", "--kind", "nonsense", "--auth", "none"), "/kind"),
        (("gateways", "delete", "nobody"), "no such gateway"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(
    running: Running, data_dir: Path, arguments: tuple[str, ...], says: str
) -> None:
    done = acuse(data_dir, *arguments)
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_killed_embedded_database_comes_back(running: Running, data_dir: Path) -> None:
    report = {"provider_message_id": "1", "status": "delivered"}
    assert httpx.post(f"{running.url}/callbacks/acme?token=secret-secret", json=report).status_code == 200
    pid = int((data_dir / "postgres" / "postmaster.pid").read_text().split()[0])
    psutil.Process(pid).kill()
    report = {"provider_message_id": "2", "status": "delivered"}
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert (
            httpx.post(f"{running.url}/callbacks/acme?token=secret-secret", json=report, timeout=10).status_code == 200
        )
        ready = httpx.get(f"{running.url}/readyz", timeout=10).json()
        if ready["database"] and not ready["spooled"] and embedded.running_dsn(data_dir):
            break
        time.sleep(0.1)
    assert ready["database"]


def test_stopping_stops_the_database_and_a_restart_has_its_data(running: Running, data_dir: Path) -> None:
    assert running.stop() == 0
    assert embedded.running_dsn(data_dir) is None
    again = start(data_dir, ACUSE_WORKERS="2")
    try:
        assert again.key is None
        headers = {"Authorization": f"Bearer {running.key}"}
        for _ in range(10):
            answer = httpx.get(f"{again.url}/v1/gateways", headers=headers)
            assert [each["key"] for each in answer.json()["items"]] == ["acme"]
    finally:
        again.stop()
    assert embedded.running_dsn(data_dir) is None


# --- without a service -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("ACUSE_PORT", "many", "ACUSE_PORT: "),
        ("ACUSE_ADMIN_KEY", "too-short", "ACUSE_ADMIN_KEY: An admin key has at least 16"),
        ("ACUSE_PUBLIC_URL", "ftp://x", "ACUSE_PUBLIC_URL: "),
    ],
)
def test_wrong_settings_are_sentences_without_their_values(
    tmp_path: Path, variable: str, value: str, says: str
) -> None:
    done = acuse(tmp_path, "run", **{variable: value})
    assert done.returncode == 2
    assert says in done.stderr
    assert value not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_database_that_cannot_be_reached(tmp_path: Path) -> None:
    url = "postgresql://nobody@127.0.0.1:9/none"
    listed = acuse(tmp_path, "keys", "list", ACUSE_DATABASE_URL=url)
    assert listed.returncode == 1
    assert "The database cannot be used" in listed.stderr
    doctor = acuse(tmp_path, "doctor", ACUSE_DATABASE_URL=url)
    assert doctor.returncode == 1
    assert "It cannot be asked" in doctor.stdout


def test_a_database_without_a_schema(tmp_path: Path, postgres: embedded.EmbeddedPostgres) -> None:
    """The server's own database, which nobody migrated."""
    listed = acuse(tmp_path, "keys", "list", ACUSE_DATABASE_URL=postgres.dsn)
    assert listed.returncode == 1
    assert "acuse migrate" in listed.stderr
    doctor = acuse(tmp_path, "doctor", ACUSE_DATABASE_URL=postgres.dsn)
    assert doctor.returncode == 1
    assert "run `acuse migrate`" in doctor.stdout


def test_the_admin_key_of_the_settings_is_made_and_none_printed(tmp_path: Path, database_url: str) -> None:
    service = start(tmp_path, ACUSE_DATABASE_URL=database_url, ACUSE_ADMIN_KEY="a-key-from-the-settings")
    try:
        assert service.key is None
        headers = {"Authorization": "Bearer a-key-from-the-settings"}
        names = [each["name"] for each in httpx.get(f"{service.url}/v1/keys", headers=headers).json()["items"]]
        assert names == ["env-admin"]
    finally:
        service.stop()
