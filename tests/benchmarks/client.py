"""Posts one `delivered` about each message over keep-alive connections, each waiting for its answer, and says how long it took.

A process of its own: python -m tests.benchmarks.client URL TOKEN PREFIX MESSAGES CONNECTIONS
"""

import asyncio
import re
import sys
import time
from collections import deque
from typing import Any, cast
from urllib.parse import urlsplit

import orjson
import uvloop

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
#: Refusals are sent again, but not for ever.
_MOST_REFUSALS = 100_000


class Job:
    def __init__(self, url: str, token: str, prefix: str, messages: int) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 80
        self._head = (
            f"POST {parts.path} HTTP/1.1\r\nHost: {self.host}\r\nContent-Type: application/json\r\n"
            f"X-Acuse-Token: {token}\r\nContent-Length: "
        ).encode()
        self._prefix = prefix
        self.waiting = deque(range(messages))
        self.open = messages
        self.refused = 0
        self.times: list[float] = []
        self.done = asyncio.get_running_loop().create_future()

    def request(self, index: int) -> bytes:
        body = b'{"provider_message_id":"%s%07d","status":"delivered"}' % (self._prefix.encode(), index)
        return b"%s%d\r\n\r\n%s" % (self._head, len(body), body)

    def answered(self, index: int, ok: bool, seconds: float) -> None:
        if ok:
            self.open -= 1
            self.times.append(seconds)
        else:
            self.refused += 1
            self.waiting.append(index)
        if not self.done.done() and (not self.open or self.refused > _MOST_REFUSALS):
            self.done.set_result(None)

    def failed(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)


class Connection(asyncio.Protocol):
    """Sends, waits for the whole answer, sends the next."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._buffer = b""
        self._index = -1
        self._began = 0.0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its bases
        self._send()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        if not end:
            return
        length = _LENGTH.search(head)
        if len(body) < (int(length[1]) if length else 0):
            return
        self._buffer = b""
        self._job.answered(self._index, head[9:10] == b"2", time.perf_counter() - self._began)
        self._index = -1
        self._send()

    def connection_lost(self, error: Exception | None) -> None:
        if self._index >= 0:
            self._job.failed(error or ConnectionError("The service closed a connection with a request on it."))

    def _send(self) -> None:
        if not self._job.waiting:
            self._transport.close()
            return
        self._index = self._job.waiting.popleft()
        self._began = time.perf_counter()
        self._transport.write(self._job.request(self._index))


async def main(url: str, token: str, prefix: str, messages: int, connections: int) -> None:
    job = Job(url, token, prefix, messages)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: job.failed(_error(context)))
    began = time.perf_counter()
    for _ in range(connections):
        await loop.create_connection(lambda: Connection(job), job.host, job.port)
    await job.done
    seconds = time.perf_counter() - began
    times = sorted(job.times)
    if job.open:
        raise SystemExit(f"{job.open} receipts were refused again and again.")
    p50, p99 = (times[len(times) * percent // 100] * 1e3 for percent in (50, 99))
    found = {"seconds": seconds, "refused": job.refused, "p50_ms": p50, "p99_ms": p99}
    sys.stdout.write(orjson.dumps(found).decode() + "\n")


def _error(context: dict[str, Any]) -> Exception:
    error = context.get("exception")
    return error if isinstance(error, Exception) else RuntimeError(context["message"])


if __name__ == "__main__":
    url, token, prefix, messages, connections = sys.argv[1:]
    uvloop.run(main(url, token, prefix, int(messages), int(connections)))
