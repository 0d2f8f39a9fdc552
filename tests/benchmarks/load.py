"""Two kinds of load over keep-alive connections: wrk for a while, and a client of our own for an exact number of receipts."""

import asyncio
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson
import psutil

from .service import ROOT

CONNECTIONS = 64
MISSING_WRK = "wrk is not installed: apt-get install wrk (Debian, Ubuntu), brew install wrk (macOS)"
_SCRIPT = Path(__file__).with_name("wrk.lua")
_VISITS = Path(__file__).with_name("redirects.lua")

Format = Literal["generic", "kannel"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where callbacks go, and about which messages: provider ids `prefix` + 0000000 … `messages` - 1."""

    url: str
    format: Format
    token: str
    prefix: str
    messages: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What wrk saw. `answered` counts only 2xx and 3xx."""

    answered: int
    refused: int
    seconds: float
    p50_ms: float
    p99_ms: float
    cpu_seconds: float  # processor time of the server's processes meanwhile

    @property
    def rate(self) -> float:
        return self.answered / self.seconds

    @property
    def cpu_us(self) -> float:
        """Processor time a request, in millionths of a second: moves less than the rate when others are at work."""
        return self.cpu_seconds / max(1, self.answered) * 1e6


def has_wrk() -> bool:
    return shutil.which("wrk") is not None


async def wrk(target: Target, server: Sequence[psutil.Process], *, seconds: float, first: int = 0) -> Round:
    """One thread (the cores are for the service and its database), 64 connections. The n-th request is about message
    (`first` + n) modulo `messages`, and says what follows what the previous pass over all messages said."""
    arguments = (target.format, target.token, target.prefix, str(target.messages), str(first))
    return await _wrk(_SCRIPT, target.url, arguments, server, seconds)


async def visit(url: str, tokens: Path, server: Sequence[psutil.Process], *, seconds: float, first: int = 0) -> Round:
    """The same load of visits to short URLs: tokens from a file, one a line, from the `first` on; a mix of visitors."""
    return await _wrk(_VISITS, url, (str(tokens), str(first)), server, seconds)


async def _wrk(
    script: Path, url: str, arguments: Sequence[str], server: Sequence[psutil.Process], seconds: float
) -> Round:
    cpu_before = _cpu_seconds(server)
    found = await _json_line(
        "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{max(1, round(seconds))}s", "--timeout", "10s", "-s", str(script), url,
        "--", *arguments, limit=seconds + 60,
    )  # fmt: skip
    errors = sum(found[name] for name in ("connect", "read", "write", "timeout"))
    refused = found["status"] + errors
    return Round(
        answered=found["requests"] - found["status"], refused=refused, seconds=found["duration_us"] / 1e6,
        p50_ms=found["p50_us"] / 1e3, p99_ms=found["p99_us"] / 1e3, cpu_seconds=_cpu_seconds(server) - cpu_before,
    )  # fmt: skip


async def post_all(target: Target, *, limit_seconds: float = 600) -> dict[str, Any]:
    """One `delivered` for each message of `target`, as fast as they are answered, from a process of its own; what is
    refused is sent again. Returns `{"seconds", "refused", "p50_ms", "p99_ms"}`."""
    job = [target.url, target.token, target.prefix, str(target.messages), str(CONNECTIONS)]
    return await _json_line(sys.executable, "-m", "tests.benchmarks.client", *job, limit=limit_seconds)


def _cpu_seconds(processes: Sequence[psutil.Process]) -> float:
    times = [each.cpu_times() for each in processes]
    return float(sum(each.user + each.system for each in times))


async def _json_line(*command: str, limit: float) -> dict[str, Any]:
    """Runs `command` and reads the line of JSON that it ends with."""
    started = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        output, _ = await asyncio.wait_for(started.communicate(), limit)
    finally:
        if started.returncode is None:
            started.kill()
            await started.wait()
    lines = re.findall(rb"^\{.*\}$", output, re.MULTILINE)
    if started.returncode or not lines:
        raise RuntimeError(f"{command[0]} ended with {started.returncode}: {output.decode('utf-8', 'replace')[-2000:]}")
    found: dict[str, Any] = orjson.loads(lines[-1])
    return found
