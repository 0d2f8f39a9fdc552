"""HTTP/1.1 as uvicorn speaks it, with bounds: on what comes before a body, on how slowly it comes, on how many come.

httptools reads whatever it is given and keeps it: a header of any length, any number of them, trailers. So it is given no
more at a time than may still come, and a connection that would go beyond is refused before anything is built of it.
What is refused is answered as every error here, and the connection ends. Malformed requests cannot be kept, not even
those to a gateway's callback: nobody can say which one, or what they hold.
"""

import asyncio
import re
import urllib.parse
from typing import Any, Literal

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.errors import problem_response
from app.server.config import Config
from app.server.cycle import Cycle
from app.server.seats import Doing, Seats, Seen, refusals
from app.server.whole import EXTENSION

#: Requests sent one after the other without waiting for answers. More would keep the loop busy for too long.
MOST_PIPELINED = 500
_NOT_HTTP = "This is not a well-formed HTTP request."
_HOST = re.compile(rb"(?:\[[0-9A-Za-z:.]{2,60}\]|[A-Za-z0-9._~!$&'()*+,;=%-]{0,255})(?::[0-9]{0,5})?")
_ONE_HOST = "A request names its host once, in `Host`."
#: Hosts that were found to be some: most requests name the same few.
_HOSTS: set[bytes | None] = set()
_MOST_HOSTS = 1_000
_EXTENSIONS: dict[str, dict[object, object]] = {EXTENSION: {}}
#: Looked up once: these stand in every request's way.
_on_body = HttpToolsProtocol.on_body
_on_message_complete = HttpToolsProtocol.on_message_complete


class Refused(Exception):
    """Raised where the parser calls: it stops at once."""


class Protocol(HttpToolsProtocol, asyncio.BufferedProtocol):
    """One connection.

    It reads into a buffer of ours, because the loop's own has 250 kB, and is filled again and again while there is more:
    tens of thousands of chunks of one byte each, before anybody else has a turn.

    Its own state stands in slots: beyond 30 names an object's dictionary is no longer shared with others of its class, and
    each request pays for it (measured: 3 us)."""

    __slots__ = (
        "_brought", "_buffer", "_bytes", "_leaving", "_limits", "_most", "_receiving", "_room", "_seats", "_whole", "_why",
        "seen",
    )  # fmt: skip
    config: Config

    def __init__(
        self,
        config: Config,
        server_state: Any,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        if config.seats is None:
            config.seats = Seats(config.limits, server_state.connections, self.loop)
        self._seats = config.seats
        self._buffer = config.seats.buffer
        self._limits = config.limits
        self.seen = Seen(self.loop.time())
        #: Bytes that may still come of anything but a body.
        self._room = self._most = config.limits.head_bytes
        #: Something was whole in the last piece: a head, or some of a body.
        self._whole = False
        #: A head has come, and its body not yet.
        self._receiving = False
        self._leaving = False
        self._bytes = 0
        #: Of the body under way, what the last piece brought: a chunk may be a single byte, and is not added one by one.
        self._brought: list[bytes] = []
        self._why: tuple[int, str, str] | None = None

    # --- what comes ------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._seats.take(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(bytes(self._buffer[:nbytes]))
        if nbytes == len(self._buffer) and not self.flow.read_paused and not self.transport.is_closing():
            self.transport.pause_reading()
            self.loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        if not self.flow.read_paused and not self.transport.is_closing():
            self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Gives the parser no more at a time than may still come, and refuses what would go beyond."""
        while len(data) > self._room and not self._leaving:
            piece, data = data[: self._room], data[self._room :]
            self._read(piece)
        if not self._leaving:
            self._read(data)

    def _read(self, data: bytes) -> None:
        self._whole = False
        try:
            self.parser.feed_data(data)
            if self._brought:
                self._hand_on()
        except httptools.HttpParserUpgrade as upgrade:
            self._go_on(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self.refuse(*(self._why or (400, "invalid", _NOT_HTTP)))
            return
        size = len(data)
        self._bytes += size
        if self._whole:
            self._room = self._most
            return
        self._room -= size
        if self._room <= 0:
            self._refuse_long()

    def on_headers_complete(self) -> None:
        """Checks host and number of headers, and hands the request on before its body has come."""
        self._whole = True
        host = None
        for name, value in self.headers:
            if name == b"host":
                if host is not None:
                    self._stop(400, "host", _ONE_HOST)
                host = value
        if host not in _HOSTS:
            self._check_host(host)
        if len(self.headers) > self._limits.headers:
            self._stop(431, "many_headers", f"A request may have {self._limits.headers} headers at the most.")
        if len(self.pipeline) >= MOST_PIPELINED:
            self._stop(400, "pipelined", "Too many requests were sent before their answers were read.")
        self._begin()
        self._receiving = True
        self.headers = []  # trailers come as headers: the request's own are complete

    def _begin(self) -> None:
        """The request goes to the application, or waits for those before it on this connection: as uvicorn does it, without
        what this service has no use for (WebSockets, a root path, a bound on tasks), and with `Cycle`."""
        parser, scope = self.parser, self.scope
        version = parser.get_http_version()
        if version != "1.1":
            scope["http_version"] = version
        url = httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        scope["method"] = parser.get_method().decode("ascii")
        scope["path"] = urllib.parse.unquote(path) if "%" in path else path
        scope["raw_path"] = url.path
        scope["query_string"] = url.query or b""
        scope["extensions"] = _EXTENSIONS
        before = self.cycle
        self.cycle = Cycle(
            scope=scope, transport=self.transport, flow=self.flow, logger=self.logger, access_logger=self.access_logger,
            access_log=False, default_headers=self.server_state.default_headers, message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue, keep_alive=version != "1.0" and parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )  # fmt: skip
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def on_body(self, body: bytes) -> None:
        self._whole = True
        self._brought.append(body)

    def _hand_on(self) -> None:
        body = b"".join(self._brought)
        self._brought.clear()
        _on_body(self, body)

    def on_message_complete(self) -> None:
        if self._brought:
            self._hand_on()
        if self.parser.should_upgrade() and self._framing():
            return  # the parser leaves the body to the other protocol, and so to us
        self._receiving = False
        _on_message_complete(self)

    def on_response_complete(self) -> None:
        """As uvicorn does it, without a timer started and stopped for each answer: `Seats` looks who has been idle."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())

    def _check_host(self, host: bytes | None) -> None:
        if host is None:
            if self.parser.get_http_version() == "1.1":
                self._stop(400, "host", _ONE_HOST)
            return
        if _HOST.fullmatch(host) is None:
            self._stop(400, "host", "The `Host` of this request is none.")
        if len(_HOSTS) < _MOST_HOSTS:
            _HOSTS.add(host)

    def _should_upgrade(self) -> bool:
        return False

    def _framing(self) -> list[tuple[bytes, bytes]]:
        """The headers that say how the request's body comes."""
        return [each for each in self.scope["headers"] if each[0] in (b"content-length", b"transfer-encoding")]

    def _go_on(self, rest: bytes) -> None:
        """After a request that asked for another protocol. There is none here, so it is answered as what it is; some
        clients ask with every request, and a callback's body must not be lost by that."""
        framing = self._framing()
        if not framing:
            if rest:
                self._read(rest)
            return
        self.cycle.keep_alive = False  # the second parser reads one body, and no request
        self.parser = httptools.HttpRequestParser(_Body(self))
        head = b"".join(b"%s: %s\r\n" % each for each in framing)
        self.parser.feed_data(b"POST / HTTP/1.1\r\n" + head + b"\r\n")
        if rest:
            self._read(rest)

    # --- refusing --------------------------------------------------------------------------------------------------

    def _stop(self, status: int, reason: str, detail: str) -> None:
        self._why = status, reason, detail
        raise Refused

    def _refuse_long(self) -> None:
        """Whatever takes most of the room is what is too long."""
        most = self._most
        if not self._receiving and self.scope is not None and "method" not in self.scope and len(self.url) > most // 2:
            self.refuse(414, "long_url", f"A request's URL may have {most} bytes at the most.")
        else:
            self.refuse(431, "long_headers", f"A request's head may have {most} bytes at the most.")

    def refuse(self, status: int, reason: str, detail: str) -> None:
        """Answers with an error and ends the connection. Earlier requests of it still get their own answers."""
        if self._leaving or self.transport.is_closing():
            return
        self._leaving = True
        refusals.tell(reason, status=status, at=self._where())
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if not self._receiving:  # an earlier request's: its answer is the last
                cycle.keep_alive = False
                return
            cycle.disconnected = True
            cycle.message_event.set()
        if (
            self._receiving and cycle is not None and (cycle.response_started or self.pipeline)
        ):  # there is an answer, or one comes first
            self.transport.close()
            return
        self.transport.write(_answer(status, detail))
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _where(self) -> Literal["callbacks", "elsewhere"]:
        url = getattr(self, "url", b"")  # none has come before the first request
        return "callbacks" if url.startswith(b"/callbacks/") else "elsewhere"

    # --- for the seats ---------------------------------------------------------------------------------------------

    def doing(self) -> tuple[Doing, object]:
        cycle = self.cycle
        answering = cycle is not None and not cycle.response_complete
        if self._leaving:
            return (Doing.OURS, cycle) if answering and not cycle.disconnected else (Doing.LEAVING, None)
        if self._receiving:
            ours = self.flow.read_paused or (answering and cycle.waiting_for_100_continue)
            return (Doing.OURS if ours else Doing.BODY), cycle
        if self.unsent():
            return Doing.SENDING, None
        if self.scope is not None and "method" not in self.scope:
            return Doing.HEAD, self.scope
        return (Doing.OURS if answering else Doing.IDLE), cycle

    def unsent(self) -> int:
        return self.transport.get_write_buffer_size()

    def closing(self) -> bool:
        return self.transport.is_closing()

    def received(self) -> int:
        return self._bytes

    def kept_alive(self) -> bool:
        return self.cycle is not None

    def close(self) -> None:
        self.transport.close()

    def abort(self) -> None:
        self.transport.abort()


class _Body:
    """What a parser calls that reads a body alone."""

    def __init__(self, protocol: Protocol) -> None:
        self.on_body = protocol.on_body
        self.on_message_complete = protocol.on_message_complete


def _answer(status: int, detail: str) -> bytes:
    """The one shape of errors, as bytes on the wire."""
    response = problem_response(status, detail, headers={"Retry-After": "1"} if status == 503 else None)
    response.headers["connection"] = "close"
    lines = [f"HTTP/1.1 {status} {_PHRASES[status]}".encode(), *(b": ".join(each) for each in response.raw_headers)]
    return b"\r\n".join([*lines, b"", bytes(response.body)])


_PHRASES = {
    400: "Bad Request",
    408: "Request Timeout",
    414: "URI Too Long",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}
