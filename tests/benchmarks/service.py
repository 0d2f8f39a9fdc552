"""The service under measurement as a process of its own, with its embedded PostgreSQL, and the few calls it takes."""

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import psutil

from app.db import Pool, create_pool
from app.embedded import running_dsn
from app.ingest.runtime import WORKER_SETTINGS

ROOT = Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"
_START_SECONDS = 120
_STOP_SECONDS = 60
_DRAIN_SECONDS = 300
_PIECE_BYTES = 65_536


class Service:
    """`url`, `http` (with the admin key), `pool` (straight into its database), `pid`."""

    def __init__(self, data_dir: Path, port: int, key: str, process: subprocess.Popen[bytes]) -> None:
        self.data_dir = data_dir
        self.port = port
        self.url = f"http://{HOST}:{port}"
        self.pid = process.pid
        self.http = httpx.AsyncClient(base_url=self.url, headers={"Authorization": f"Bearer {key}"}, timeout=600)
        self.dsn = ""
        self.pool: Pool

    async def connect(self, database_url: str | None) -> None:
        self.dsn = database_url or running_dsn(self.data_dir) or ""
        if not self.dsn:
            raise RuntimeError(f"The service runs no PostgreSQL in {self.data_dir}.")
        self.pool = await create_pool(self.dsn, name="bench", size=2, settings=WORKER_SETTINGS)

    async def close(self) -> None:
        await self.http.aclose()
        with contextlib.suppress(AttributeError):
            self.pool.terminate()

    # --- what the measurements ask of it ---------------------------------------------------------------------------

    async def create_gateway(self, key: str, kind: str) -> tuple[int, str]:
        """Its id in the database, and the token that its callbacks need."""
        token = secrets.token_urlsafe(24)
        body = {"key": key, "kind": kind, "auth": {"mode": "token", "secrets": [token]}}
        _checked(await self.http.post("/v1/gateways", json=body))
        return await self.pool.fetchval("SELECT id FROM gateways WHERE key = $1 AND deleted_at IS NULL", key), token

    async def create_delivery(self, label: str, gateway: str) -> int:
        body = {"label": label, "sender": "Bench", "gateway": gateway}
        return int(_checked(await self.http.post("/v1/deliveries", json=body)).json()["id"])

    async def summary(self, delivery: int) -> dict[str, Any]:
        found: dict[str, Any] = _checked(await self.http.get(f"/v1/deliveries/{delivery}/summary")).json()
        return found

    async def post_rows(self, path: str, rows: Sequence[bytes]) -> float:
        """Streams `rows` as NDJSON in one request; returns the seconds it took. Every row must be accepted."""
        pieces = _pieces(rows)
        began = time.perf_counter()
        answer = await self.http.post(path, content=_stream(pieces), headers={"Content-Type": "application/x-ndjson"})
        seconds = time.perf_counter() - began
        tally = _checked(answer).json()
        if tally["accepted"] != len(rows):
            raise RuntimeError(f"{path} took {tally['accepted']} of {len(rows)} rows: {tally['errors'][:3]}")
        return seconds

    async def drained(self) -> float:
        """Waits until the worker has applied everything; returns the seconds it took. A benchmark's neighbours need quiet."""
        began = time.perf_counter()
        while await self.pool.fetchval("SELECT EXISTS (SELECT FROM inbox) OR EXISTS (SELECT FROM click_inbox)"):
            if time.perf_counter() - began > _DRAIN_SECONDS:
                raise RuntimeError(f"The inbox is not empty after {_DRAIN_SECONDS} s.")
            await asyncio.sleep(0.05)
        return time.perf_counter() - began

    def processes(self) -> list[psutil.Process]:
        """The service's own, without PostgreSQL's."""
        try:
            parent = psutil.Process(self.pid)
            return [parent, *(each for each in parent.children(recursive=True) if "postgres" not in each.name())]
        except psutil.NoSuchProcess:
            return []


@contextlib.asynccontextmanager
async def running(database_url: str | None = None, *, checkout: Path | None = None) -> AsyncIterator[Service]:
    """A service in a new folder, gone with all its data at the end; on an embedded database unless another is given.
    `checkout`: another one, whose own `.venv` runs it."""
    folder = _new_folder()
    port, key = free_port(), secrets.token_urlsafe(32)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ACUSE_")} | {
        "ACUSE_DATA_DIR": str(folder / "data"), "ACUSE_HOST": HOST, "ACUSE_PORT": str(port), "ACUSE_ADMIN_KEY": key,
        "ACUSE_CLICK_BURST_NETWORK": "1000000000", "ACUSE_CLICK_BURST_TOKEN": "1000000000",  # every click gets its row
        "ACUSE_PUBLIC_URL": f"http://{HOST}:{port}",
        **({"ACUSE_DATABASE_URL": database_url} if database_url else {}),
    }  # fmt: skip
    try:
        with process(_command(checkout), folder / "service.log", environment) as started:
            service = Service(folder / "data", port, key, started)
            try:
                await answering(f"{service.url}/readyz", started, folder / "service.log")
                await service.connect(database_url)
                yield service
            finally:
                await service.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def process(command: Sequence[str], log: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """`command` running; at the end it is asked to stop, and made to if it does not. So are its children, by their pids."""
    with log.open("wb") as output:
        started = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        yield started
    finally:
        children = _children(started.pid)
        started.send_signal(signal.SIGTERM)
        try:
            started.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()
        for child in children:  # none is left, unless it had to be killed
            with contextlib.suppress(psutil.Error):
                child.send_signal(signal.SIGQUIT)
                child.wait(10)


async def answering(url: str, started: subprocess.Popen[bytes], log: Path) -> None:
    """Waits until `url` answers 200. Raises with the process's last words when it does not."""
    deadline = time.monotonic() + _START_SECONDS
    async with httpx.AsyncClient(timeout=5) as client:
        while started.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(httpx.TransportError):
                if (await client.get(url)).status_code == 200:
                    return
            await asyncio.sleep(0.1)
    raise RuntimeError(f"{url} does not answer. The process said:\n{_last_words(log)}")


def uvicorn(module: str, port: int) -> list[str]:
    """The command that serves `module` as Acuse is served: uvloop, httptools, no access log, one process."""
    return [
        sys.executable, "-m", "uvicorn", module, "--host", HOST, "--port", str(port), "--loop", "uvloop",
        "--http", "httptools", "--no-access-log", "--log-level", "warning",
    ]  # fmt: skip


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return int(listener.getsockname()[1])


def _new_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="acuse-bench-"))
    folder.chmod(0o711)  # as root, PostgreSQL runs as another user and must get through
    return folder


def _last_words(log: Path) -> str:
    return "\n".join(log.read_text("utf-8", "replace").splitlines()[-15:])


def _command(checkout: Path | None) -> list[str]:
    if checkout is not None:
        return [str(checkout / ".venv/bin/acuse"), "run"]
    script = Path(sys.executable).with_name("acuse")
    return [str(script), "run"] if script.exists() else [sys.executable, "-m", "app.cli", "run"]


def _children(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        found: list[psutil.Process] = psutil.Process(pid).children(recursive=True)
        return found
    return []


def _checked(answer: httpx.Response) -> httpx.Response:
    if answer.status_code >= 300:
        raise RuntimeError(
            f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {answer.text[:500]}"
        )
    return answer


def _pieces(rows: Iterable[bytes]) -> list[bytes]:
    body = b"\n".join(rows)
    return [body[start : start + _PIECE_BYTES] for start in range(0, len(body), _PIECE_BYTES)]


async def _stream(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
