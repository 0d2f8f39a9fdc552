"""One request and its answer: uvicorn's, which also takes an answer that is whole at once (`whole.py`)."""

from collections.abc import Sequence
from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from app.server.whole import EXTENSION, Whole

_CLOSE = b"connection: close\r\n"
_send = RequestResponseCycle.send


class Cycle(RequestResponseCycle):
    async def send(self, message: Any) -> None:
        if message["type"] != EXTENSION:
            await _send(self, message)
            return
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if self.response_started:
            raise RuntimeError("An answer that is whole came after another one.")
        self.response_started = self.response_complete = True
        self.waiting_for_100_continue = False
        answer: Whole = message["answer"]
        closing = b"" if self.keep_alive else _CLOSE
        body = b"" if self.scope["method"] == "HEAD" else answer.body
        self.transport.write(b"".join((answer.head, _lines(self.default_headers), closing, b"\r\n", body)))
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()


#: The server's own headers, the date among them, stay the same object for a second.
_joined: tuple[Sequence[tuple[bytes, bytes]], bytes] = ((), b"")


def _lines(headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    global _joined
    if headers is not _joined[0]:
        _joined = headers, b"".join([b"%s: %s\r\n" % each for each in headers])
    return _joined[1]
