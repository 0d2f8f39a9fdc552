"""A server of the tests' own: the real protocol on uvloop in a thread, with a small application behind it."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest
import uvicorn
from starlette.types import Message, Receive, Scope, Send

from app.server.config import config_of
from app.server.whole import Whole
from app.settings import Settings

WHOLE = Whole.of(201, [(b"content-type", b"text/plain"), (b"x-said", b"a b\xe9"), (b"content-length", b"5")], b"whole")
Serve = Callable[..., contextlib.AbstractContextManager[int]]


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with what it was asked, when the body is whole; `/early` before that, `/long` with 100 MB, `/echo` with the
    body, `/whole` and `/parts` with the same answer in one piece and in two."""
    if scope["type"] != "http":
        return
    body, more = b"", scope["path"] != "/early"
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message.get("body", b"")
        more = message.get("more_body", False)
    if scope["path"] in ("/whole", "/parts"):
        plain = {name: value for name, value in scope.items() if name != "extensions"}
        await WHOLE.send(scope if scope["path"] == "/whole" else plain, send)
        return
    if scope["path"] == "/echo":
        length = (b"content-length", b"%d" % len(body))
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": body})
        return
    names = [name.decode("latin-1") for name, _ in scope["headers"]]
    answer = orjson.dumps({"path": scope["path"], "headers": names, "body": len(body)})
    start: Message = {"type": "http.response.start", "status": 200, "headers": []}
    await send(start)
    for _ in range(1_000 if scope["path"] == "/long" else 0):
        await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})
        await asyncio.sleep(0)
    await send({"type": "http.response.body", "body": answer})


@contextlib.contextmanager
def serving(**settings: Any) -> Iterator[int]:
    """The port of a server with these settings."""
    config = config_of(Settings(port=0, **settings), "tests.server.conftest:application", factory=False)
    config.lifespan = "off"
    config.timeout_graceful_shutdown = 1
    server, listening = uvicorn.Server(config), socket.create_server(("127.0.0.1", 0), backlog=2_000)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield int(listening.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


@pytest.fixture
def serve() -> Serve:
    return serving


def ask(port: int, *pieces: bytes, seconds: float = 10) -> bytes:
    """All that the server says to these bytes until it closes, or falls silent."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as client:
        with contextlib.suppress(OSError):
            for piece in pieces:
                client.sendall(piece)
        return hear(client)


def hear(client: socket.socket) -> bytes:
    said = b""
    with contextlib.suppress(OSError):
        while piece := client.recv(65_536):
            said += piece
    return said
