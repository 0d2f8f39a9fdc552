"""The whole service while strangers hold its connections: gateways are answered, and the log says what is going on."""

import contextlib
import os
import re
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.server import limits
from tests.conftest import ADMIN_SECRET

pytestmark = pytest.mark.slow

_MIDWAY = (
    b"",
    b"GET /callbacks/crowd?id=1 HTTP/1.1\r\nHost: a\r\nX: ",
    b"POST /callbacks/crowd HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n[",
    b"POST /v1/receipts HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n"
    b"Authorization: Bearer " + ADMIN_SECRET.encode() + b"\r\n\r\n5\r\n{\"gat\r\n",
)  # fmt: skip


class Service:
    def __init__(self, url: str, log: Path) -> None:
        self.url = url
        self.log = log
        self.port = int(url.rpartition(":")[2])


@contextlib.contextmanager
def service(database_url: str, folder: Path, *, descriptors: int | None = None, **settings: str) -> Iterator[Service]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ACUSE_")}
    environment |= {
        "ACUSE_DATABASE_URL": database_url, "ACUSE_DATA_DIR": str(folder), "ACUSE_PORT": "0",
        "ACUSE_ADMIN_KEY": ADMIN_SECRET, "ACUSE_LOG_JSON": "true", "PYTHONUNBUFFERED": "1",
        **{f"ACUSE_{name.upper()}": value for name, value in settings.items()},
    }  # fmt: skip

    def bounded() -> None:
        if descriptors is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

    log = folder / "log"
    command = [sys.executable, "-m", "app.cli", "run"]
    with log.open("wb") as file, subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=file, text=True, preexec_fn=bounded
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            found = re.search(r"http://[\w.:]+", process.stdout.readline())
            assert found, log.read_text()
            url = found[0]
            assert httpx.get(f"{url}/readyz", timeout=30).status_code == 200
            gateway = {"key": "crowd", "kind": "generic", "auth": {"mode": "none"}}
            headers = {"Authorization": f"Bearer {ADMIN_SECRET}"}
            made = httpx.post(f"{url}/v1/gateways", json=gateway, headers=headers, timeout=30)
            assert made.status_code in (201, 409), made.text
            yield Service(url, log)
        finally:
            process.terminate()
            process.wait(30)


def called(service: Service, number: int) -> int:
    report = {"provider_message_id": str(number), "status": "delivered"}
    return httpx.post(f"{service.url}/callbacks/crowd", json=report, timeout=10).status_code


def is_closed(client: socket.socket) -> bool:
    client.setblocking(False)
    try:
        while client.recv(65_536):
            pass
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def test_who_is_silent_midway_is_sent_away_and_callbacks_are_answered_meanwhile(
    database_url: str, tmp_path: Path
) -> None:
    with (
        service(database_url, tmp_path, head_seconds="2", body_seconds="2") as running,
        contextlib.ExitStack() as stack,
    ):
        silent = []
        for number in range(200):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", running.port), timeout=10))
            client.sendall(_MIDWAY[number % len(_MIDWAY)])
            silent.append(client)
        number, deadline = 0, time.monotonic() + 20
        while not all(map(is_closed, silent)):
            assert time.monotonic() < deadline, "Some are still connected."
            assert called(running, number) == 200
            number += 1
            time.sleep(0.05)
        assert number > 5
        refused = httpx.get(f"{running.url}/metrics").text
    for reason in ("silent", "slow_head", "slow_body"):
        assert re.search(rf'acuse_http_refused_total{{reason="{reason}"}} \d', refused)
        assert running.log.read_text().count(f'"reason":"{reason}"') == 1


def test_more_idle_connections_than_descriptors_shut_nobody_out(database_url: str, tmp_path: Path) -> None:
    with service(database_url, tmp_path, descriptors=256) as running, contextlib.ExitStack() as stack:
        for number in range(500):
            stack.enter_context(socket.create_connection(("127.0.0.1", running.port), timeout=10))
            if number % 50 == 49:
                assert called(running, number) == 200
        assert all(called(running, number) == 200 for number in range(20))
        said = running.log.read_text()
    assert '"event":"server.few_descriptors"' in said
    assert '"reason":"crowded"' in said
    assert said.count('"reason":"crowded"') < 10


def test_where_nobody_can_be_sent_away_who_comes_is_told_to_come_again(database_url: str, tmp_path: Path) -> None:
    body = b"POST /callbacks/crowd HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n"
    with service(database_url, tmp_path, max_connections="10") as running, contextlib.ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(socket.create_connection(("127.0.0.1", running.port), timeout=10)).sendall(body)
        time.sleep(0.5)
        answer = httpx.get(f"{running.url}/healthz", timeout=10)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.headers["content-type"] == "application/problem+json"
        assert '"reason":"full"' in running.log.read_text()


def test_the_soft_limit_of_descriptors_is_raised_to_the_hard_one(monkeypatch: pytest.MonkeyPatch) -> None:
    held = {"now": (1_024, 4_096)}
    monkeypatch.setattr(resource, "getrlimit", lambda which: held["now"])
    monkeypatch.setattr(resource, "setrlimit", lambda which, wanted: held.update(now=wanted))
    assert limits.raise_descriptors() == 4_096
    held["now"] = (1_024, resource.RLIM_INFINITY)
    assert limits.raise_descriptors() == limits.MOST_DESCRIPTORS
