"""HTTP by hand: requests as no library would send them. The answer is read while the request is still being written,
because a good server says no long before the end of a hundred megabytes.
"""

import asyncio
import contextlib
import ssl
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

#: Of an answer's body so much is kept; the rest is counted only.
_KEPT_BYTES = 200_000
_PIECE_BYTES = 262_144


@dataclass(frozen=True, slots=True)
class Answer:
    """`status` 0: the connection was closed without an answer. -1: nothing came in time."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    seconds: float = 0.0
    bytes_read: int = 0

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Door:
    """Where the service listens."""

    host: str
    port: int
    tls: bool = False

    @classmethod
    def of(cls, url: str) -> "Door":
        parts = urlsplit(url)
        tls = parts.scheme == "https"
        return cls(parts.hostname or "127.0.0.1", parts.port or (443 if tls else 80), tls)

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        context = ssl.create_default_context() if self.tls else None
        return await asyncio.open_connection(self.host, self.port, ssl=context, limit=_PIECE_BYTES)


async def ask(door: Door, pieces: Iterable[bytes], *, within: float, head: bool = False) -> Answer:
    """Sends `pieces` on a connection of its own and returns what is answered within so many seconds. `head`: no body comes."""
    began = time.monotonic()
    try:
        reader, writer = await asyncio.wait_for(door.open(), within)
    except (OSError, TimeoutError):
        return Answer(0, seconds=time.monotonic() - began)
    writing = asyncio.create_task(_write(writer, pieces))
    try:
        status, headers, body, read = await asyncio.wait_for(_read(reader, head), within)
    except TimeoutError:
        status, headers, body, read = -1, {}, b"", 0
    except (OSError, EOFError, ValueError, IndexError):
        status, headers, body, read = 0, {}, b"", 0
    finally:
        writing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await writing
        writer.transport.abort()
    return Answer(status, headers, body, time.monotonic() - began, read)


async def _write(writer: asyncio.StreamWriter, pieces: Iterable[bytes]) -> None:
    with contextlib.suppress(OSError):
        for piece in pieces:
            for start in range(0, len(piece), _PIECE_BYTES):
                writer.write(piece[start : start + _PIECE_BYTES])
                await writer.drain()


async def _read(reader: asyncio.StreamReader, bodiless: bool = False) -> tuple[int, dict[str, str], bytes, int]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in head[1:] if line)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    status = int(head[0].split()[1])
    if bodiless or status in (204, 304):
        return status, headers, b"", 0
    if headers.get("transfer-encoding") == "chunked":
        return status, headers, *await _chunked(reader)
    return status, headers, *await _counted(reader, int(headers.get("content-length", 0)))


async def _counted(reader: asyncio.StreamReader, length: int) -> tuple[bytes, int]:
    kept = bytearray()
    left = length
    while left:
        piece = await reader.read(min(left, _PIECE_BYTES))
        if not piece:
            raise EOFError("the answer broke off")
        left -= len(piece)
        kept += piece[: _KEPT_BYTES - len(kept)]
    return bytes(kept), length


async def _chunked(reader: asyncio.StreamReader) -> tuple[bytes, int]:
    kept, read = bytearray(), 0
    while size := int((await reader.readline()).strip() or b"0", 16):
        piece = await reader.readexactly(size)
        await reader.readexactly(2)
        read += size
        kept += piece[: _KEPT_BYTES - len(kept)]
    await reader.readline()
    return bytes(kept), read


class Line:
    """One connection for many requests, opened again when the service has closed it."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def exchange(self, request: bytes, *, within: float = 30.0) -> Answer:
        try:
            return await asyncio.wait_for(self._exchange(request), within)
        except TimeoutError:
            await self.close()
            return Answer(-1)
        except (OSError, EOFError, ValueError, IndexError):
            await self.close()
            return Answer(0)

    async def _exchange(self, request: bytes) -> Answer:
        if self._streams is None:
            self._streams = await self._door.open()
        reader, writer = self._streams
        writer.write(request)
        status, headers, body, read = await _read(reader)
        if headers.get("connection", "").lower() == "close":
            await self.close()
        return Answer(status, headers, body, bytes_read=read)

    async def close(self) -> None:
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None
