"""What the service feels, seen from processes of their own: how long its loop stands still, and how much memory it has.

A prober asks `/healthz` on its own connection every 5 ms. On a busy machine an answer is also late because the
service had no processor just then: that is not its fault and is taken off, as far as it is known. Linux says how long each
of its threads waited for a processor (`schedstat`), where the service runs on this machine; and an idle process beside
the prober notes when it was itself woken late.
"""

import asyncio
import contextlib
import http.client
import json
import os
import select
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import PIPE, Popen
from types import TracebackType
from typing import Self

from tests.adversary.wire import Door

_EVERY_SECONDS = 0.005
#: An answer as quick as this is no stall, and needs no excuse.
_QUICK_SECONDS = 0.020
#: A sleep that took so much longer than it should is noise.
_LATE_SECONDS = 0.003
#: Who answers nothing for so long has hung.
PATIENCE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Felt:
    """`stall_seconds`: the longest wait that was the service's own doing. `raw_seconds`: the longest one seen.
    `rss_bytes`: the most memory since the last look; 0 where the service runs elsewhere."""

    stall_seconds: float
    raw_seconds: float
    rss_bytes: int
    probes: int


class Watch:
    """The prober as a process. `look` says what was felt since the last look."""

    def __init__(self, door: Door, pid: int | None) -> None:
        self._command = [
            sys.executable,
            "-m",
            "tests.adversary.watch",
            door.host,
            str(door.port),
            str(door.tls),
            str(pid or 0),
        ]
        self._process: asyncio.subprocess.Process

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(*self._command, stdin=PIPE, stdout=PIPE)
        await self.look()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), 10)
            return
        self._process.kill()
        await self._process.wait()

    async def look(self) -> Felt:
        """Returns when the probe that is under way has its answer, or is given up."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"look\n")
        line = await asyncio.wait_for(self._process.stdout.readline(), 2 * PATIENCE_SECONDS)
        return Felt(**json.loads(line))


# --- the process -----------------------------------------------------------------------------------------------------


class Threads:
    """How long the service's threads waited for a processor: what Linux tells of a process on this machine."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._waited: dict[str, int] = {}
        self.missed()

    def missed(self) -> float:
        """Seconds since the last call in which the loop's thread could not run for want of a processor: its own, and those
        of the other thread that waited longest, because that one may have held the interpreter."""
        before, self._waited = self._waited, self._read()
        main = str(self._pid)
        grown = {thread: waited - before.get(thread, waited) for thread, waited in self._waited.items()}
        return (grown.pop(main, 0) + max(grown.values(), default=0)) / 1e9

    def _read(self) -> dict[str, int]:
        found = {}
        if self._pid:
            with contextlib.suppress(OSError):
                for thread in os.listdir(f"/proc/{self._pid}/task"):
                    with contextlib.suppress(OSError, IndexError):
                        found[thread] = int(Path(f"/proc/{self._pid}/task/{thread}/schedstat").read_text().split()[1])
        return found

    def peak_rss(self) -> int:
        """The most resident memory since the last call, in bytes; the kernel keeps it."""
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{self._pid}/status").read_text()
            peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) * 1024
            with contextlib.suppress(OSError):
                Path(f"/proc/{self._pid}/clear_refs").write_text("5")
            return peak
        return 0


@dataclass(slots=True)
class Late:
    """Waits worth a thought: when they began and ended, and how much of each is excused already."""

    slow: list[tuple[float, float, float]] = field(default_factory=list)
    noise: list[tuple[float, float]] = field(default_factory=list)
    longest: float = 0.0
    probes: int = 0

    def add(self, began: float, ended: float, excused: float) -> None:
        self.probes += 1
        self.longest = max(self.longest, ended - began)
        if ended - began > _QUICK_SECONDS:
            self.slow.append((began, ended, excused))

    def stall(self) -> float:
        """The longest wait less what is excused: by threads without a processor, or by noise meanwhile."""
        own = (ended - began - max(excused, self._noise(began, ended)) for began, ended, excused in self.slow)
        return max(0.0, min(self.longest, _QUICK_SECONDS), *own)

    def _noise(self, began: float, ended: float) -> float:
        return sum(max(0.0, min(ended, until) - max(began, since)) for since, until in self.noise)


class Prober:
    def __init__(self, host: str, port: int, tls: bool) -> None:
        kind = http.client.HTTPSConnection if tls else http.client.HTTPConnection
        self._connection = kind(host, port, timeout=PATIENCE_SECONDS)

    def probe(self) -> None:
        try:
            self._connection.request("GET", "/healthz")
            self._connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            self._connection.close()  # the next probe opens it again


def _probe_for_ever(prober: Prober, service: Threads, noise: "Popen[bytes]") -> None:
    me = Threads(os.getpid())
    late, said = Late(), b""
    assert noise.stdout is not None
    os.set_blocking(noise.stdout.fileno(), False)
    while True:
        service.missed(), me.missed()
        began = time.monotonic()
        prober.probe()
        ended = time.monotonic()
        late.add(began, ended, service.missed() + me.missed())
        said += noise.stdout.read() or b""
        if select.select([sys.stdin], [], [], _EVERY_SECONDS)[0]:
            if not sys.stdin.readline():
                return
            time.sleep(_EVERY_SECONDS)  # whoever was late says so a moment later
            said += noise.stdout.read() or b""
            late.noise = [(float(since), float(until)) for since, until in map(bytes.split, said.splitlines())]
            felt = {
                "stall_seconds": late.stall(), "raw_seconds": late.longest, "rss_bytes": service.peak_rss(),
                "probes": late.probes,
            }  # fmt: skip
            sys.stdout.write(json.dumps(felt) + "\n")
            sys.stdout.flush()
            late, said = Late(), b""


def _note_noise_for_ever() -> None:
    while True:
        wanted = time.monotonic() + 0.002
        time.sleep(0.002)
        woken = time.monotonic()
        if woken - wanted > _LATE_SECONDS:
            sys.stdout.write(f"{wanted} {woken}\n")
            sys.stdout.flush()


def _main(arguments: list[str]) -> None:
    if arguments == ["noise"]:
        with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
            _note_noise_for_ever()
        return
    host, port, tls, pid = arguments
    noise = Popen([sys.executable, "-m", "tests.adversary.watch", "noise"], stdout=PIPE)
    try:
        _probe_for_ever(Prober(host, int(port), tls == "True"), Threads(int(pid)), noise)
    except KeyboardInterrupt:
        pass
    finally:
        noise.kill()
        noise.wait()


if __name__ == "__main__":
    _main(sys.argv[1:])
