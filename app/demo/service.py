"""A service for the demo: the one that runs here, or one of our own for as long as it takes. Loopback only."""

import asyncio
import contextlib
import ipaddress
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from app.settings import Settings

START_SECONDS = 120.0
STOP_SECONDS = 60.0
LOG_NAME = "service.log"


class NoService(Exception):
    """There is no service to work with. The message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    url: str
    key: str
    #: Where our own keeps its data; None when it is not ours.
    data_dir: Path | None = None


async def running(settings: Settings, key: str | None) -> Service | None:
    """The service that answers where the settings say, when there is a key for it."""
    key = key or (settings.admin_key.get_secret_value() if settings.admin_key else None)
    url = address_of(settings)
    if key is None or url is None or not await _answers(url, "/healthz"):
        return None
    return Service(url=url, key=key)


def address_of(settings: Settings) -> str | None:
    """Where a service with these settings is reached from here; None when that is not this machine."""
    given = httpx.URL(str(settings.public_url)) if settings.public_url else None
    if given is not None:
        return str(given).rstrip("/") if is_loopback(given.host) else None
    listened = settings.listened_url
    return listened if listened is not None and is_loopback(httpx.URL(listened).host) else None


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@contextlib.asynccontextmanager
async def own(data_dir: Path) -> AsyncIterator[Service]:
    """A service with an embedded PostgreSQL under `data_dir`, ended with the block. Raises `NoService`."""
    service = Service(
        url=f"http://127.0.0.1:{_free_port()}", key="demo_" + secrets.token_urlsafe(24), data_dir=data_dir
    )
    process = _start(service, data_dir)
    try:
        await _wait_until_ready(service, process)
        yield service
    finally:
        await asyncio.shield(asyncio.to_thread(_stop, process))


def _start(service: Service, data_dir: Path) -> subprocess.Popen[bytes]:
    """In a session of its own: an interrupted demo ends it in good order, the terminal does not."""
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / LOG_NAME).open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-c", "from app.cli import main; main()", "run"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=_environment(service), start_new_session=True,
        )  # fmt: skip


def _environment(service: Service) -> dict[str, str]:
    """Ours without any ACUSE_… setting, so that nothing but the demo's own data is touched."""
    inherited = {name: value for name, value in os.environ.items() if not name.upper().startswith("ACUSE_")}
    url = httpx.URL(service.url)
    return inherited | {
        "ACUSE_DATA_DIR": str(service.data_dir),
        "ACUSE_HOST": url.host,
        "ACUSE_PORT": str(url.port),
        "ACUSE_ADMIN_KEY": service.key,
        "ACUSE_PRIVATE_LINKS": "true",
    }


async def _wait_until_ready(service: Service, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not await _answers(service.url, "/readyz"):
        if process.poll() is not None or time.monotonic() > deadline:
            assert service.data_dir is not None
            why = "ended" if process.poll() is not None else f"was not ready within {START_SECONDS:.0f} s"
            raise NoService(f"The demo's service {why}. Its last words:\n{_last_words(service.data_dir / LOG_NAME)}")
        await asyncio.sleep(0.1)


async def _answers(url: str, path: str) -> bool:
    try:
        async with httpx.AsyncClient(
            base_url=url, timeout=2, trust_env=False, verify=url.startswith("https:")
        ) as client:
            return (await client.get(path)).status_code == 200
    except httpx.HTTPError:
        return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _last_words(path: Path) -> str:
    return path.read_text("utf-8", "replace")[-2_000:]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
