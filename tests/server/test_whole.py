"""An answer that is handed over whole is on the wire what it would be in two messages."""

import pytest
from starlette.types import Message, Scope

from app.server.whole import EXTENSION, Whole

from .conftest import WHOLE, Serve, ask


def without_date(said: bytes) -> list[bytes]:
    return [line for line in said.split(b"\r\n") if not line.startswith(b"date: ")]


@pytest.mark.parametrize(
    "request_line", [b"GET %s HTTP/1.1", b"POST %s HTTP/1.1", b"GET %s HTTP/1.0", b"HEAD %s HTTP/1.1"]
)
@pytest.mark.parametrize("connection", [b"close", b"Close, TE"])
def test_it_reads_as_the_same_answer_in_parts(serve: Serve, request_line: bytes, connection: bytes) -> None:
    rest = b"\r\nHost: acuse.example\r\nConnection: %s\r\nContent-Length: 0\r\n\r\n" % connection
    with serve() as port:
        whole = ask(port, request_line % b"/whole" + rest)
        parts = ask(port, request_line % b"/parts" + rest)
    assert without_date(whole) == without_date(parts)
    assert whole.startswith(b"HTTP/1.1 201 Created\r\ncontent-type: text/plain\r\n")
    assert whole.count(b"\r\ndate: ") == parts.count(b"\r\ndate: ") == 1
    assert whole.count(b"connection: close\r\n") == 1
    assert whole.endswith(b"\r\n\r\n" if request_line.startswith(b"HEAD") else b"\r\n\r\nwhole")


def test_those_of_one_connection_come_in_order_and_it_stays_open(serve: Serve) -> None:
    ask_for = b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n"
    last = b"GET /parts HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    with serve() as port:
        said = ask(port, ask_for % b"/whole" + ask_for % b"/nothing" + ask_for % b"/whole", last)
    answers = said.split(b"HTTP/1.1 ")[1:]
    assert [each[:3] for each in answers] == [b"201", b"200", b"201", b"201"]
    assert [b"whole" in each for each in answers] == [True, False, True, True]
    assert [b"connection: close" in each for each in answers] == [False, False, False, True]


async def test_a_server_without_the_extension_gets_two_messages() -> None:
    sent: list[Message] = []
    without: list[Scope] = [{}, {"extensions": {}}, {"extensions": {"http.response.push": {}}}]

    async def send(message: Message) -> None:
        sent.append(message)

    for scope in without:
        sent.clear()
        await WHOLE.send(scope, send)
        assert [each["type"] for each in sent] == ["http.response.start", "http.response.body"]
    sent.clear()
    await WHOLE.send({"extensions": {EXTENSION: {}}}, send)
    assert [each["type"] for each in sent] == [EXTENSION]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"location", b"https://shop.example/\r\nset-cookie: a=b"),
        (b"location", b"\nx"),
        (b"location", b"x\r"),
        (b"location", b"\x00"),
        (b"location", b"\x7f"),
        (b"x said", b"x"),
        (b"x:", b"x"),
        (b"", b"x"),
        (b"x\n", b"x"),
    ],
)
def test_a_header_that_would_not_stay_on_its_line_is_refused(name: bytes, value: bytes) -> None:
    with pytest.raises(ValueError, match="header"):
        Whole.of(302, [(name, value)])
