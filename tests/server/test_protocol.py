"""What the server takes of a connection: how much, how many, and what is no HTTP."""

import socket
import threading
import time
from collections.abc import Iterator

import orjson
import psutil
import pytest

from tests.server.conftest import Serve, ask, hear

_CLOSE = b"Connection: close\r\n"
_HOST = b"Host: a\r\n"
_GET = b"GET / HTTP/1.1\r\n" + _HOST


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    from tests.server.conftest import serving

    with serving() as found:
        yield found


def statuses(said: bytes) -> list[int]:
    return [int(part[:3]) for part in said.split(b"HTTP/1.1 ")[1:]]


def assert_refused(said: bytes, status: int) -> None:
    """The last answer is a problem with this status, and the connection is at its end."""
    head, _, body = said.rpartition(b"\r\n\r\n")
    assert statuses(said)[-1:] == [status], said[:300]
    assert b"content-type: application/problem+json" in head
    assert b"connection: close" in head
    problem = orjson.loads(body)
    assert problem["status"] == status
    assert problem["detail"].endswith(".")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nhOST: a\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: \xff\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400),
        (b"GET /callbacks/g1?text=\xe9 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"G\xe9T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200), 400),  # TLS
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"CONNECT example.com:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX : a\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET /?" + b"a" * 1_000_000, 414),
        (_GET + b"X: " + b"a" * 70_000 + b"\r\n\r\n", 431),
        (_GET + b"a" * 70_000, 431),  # a name without an end
        (_GET + b"X: a\r\n" * 150 + b"\r\n", 431),
        (_GET + b"a:\r\n" * 100_000 + b"\r\n", 431),
        (b"\r\n" * 50_000, 431),
    ],
    ids=lambda value: repr(value[:60]) if isinstance(value, bytes) else None,
)
def test_what_is_refused_is_a_problem_and_the_end(port: int, request_: bytes, status: int) -> None:
    assert_refused(ask(port, request_), status)


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (_GET + _CLOSE + b"\r\n", {"body": 0}),
        (b"GET / HTTP/1.0\r\n\r\n", {"body": 0}),
        (b"GET / HTTP/1.1\r\nHost:\r\n" + _CLOSE + b"\r\n", {"body": 0}),
        (b"GET / HTTP/1.1\r\nHost: [::1]:8000\r\n" + _CLOSE + b"\r\n", {"body": 0}),
        (b"GET / HTTP/1.1\r\nHost: under_score.example:80\r\n" + _CLOSE + b"\r\n", {"body": 0}),
        (b"\r\n\r\n" + _GET + _CLOSE + b"\r\n", {"body": 0}),
        (b"GET http://other.example/x HTTP/1.1\r\nHost: a\r\n" + _CLOSE + b"\r\n", {"path": "/x"}),
        (_GET + b"X: " + b"a" * 60_000 + b"\r\n" + _CLOSE + b"\r\n", {"body": 0}),
        (_GET + b"X: a\r\n" * 148 + _CLOSE + b"\r\n", {"body": 0}),
        (b"GET /" + b"a" * 60_000 + b" HTTP/1.1\r\nHost: a\r\n" + _CLOSE + b"\r\n", {"body": 0}),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n" + _CLOSE + b"\r\n" + b"x" * 300_000, {"body": 300_000}),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n" + _CLOSE + b"\r\n"
            + b"1\r\na\r\n" * 50_000 + b"0\r\n\r\n",
            {"body": 50_000},
        ),
        (_GET + b"Connection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n", {"body": 0}),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, close\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc",
            {"body": 3},
        ),
    ],
    ids=lambda value: repr(value[:60]) if isinstance(value, bytes) else None,
)  # fmt: skip
def test_what_is_right_is_answered(port: int, request_: bytes, expected: dict[str, object]) -> None:
    said = ask(port, request_)
    assert statuses(said) == [200], said[:300]
    answer = orjson.loads(said.split(b"\r\n\r\n", 1)[1].split(b"\r\n")[1])
    assert expected.items() <= answer.items()


def test_a_client_that_expects_100_gets_it(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(
            b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\n"
        )
        assert client.recv(1_000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"ab")
        assert b'"body":2' in hear(client)


def test_a_connection_goes_on_after_an_upgrade_that_is_none(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(_GET + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
        first = client.recv(65_536)
        while not first.endswith(b"0\r\n\r\n"):
            first += client.recv(65_536)
        client.sendall(_GET + _CLOSE + b"\r\n")
        assert statuses(hear(client)) == [200]


def test_trailers_are_no_headers_and_have_the_same_bound(port: int) -> None:
    chunked = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n" + _CLOSE + b"\r\n1\r\na\r\n0\r\n"
    said = ask(port, chunked + b"Authorization: x\r\nHost: b\r\n\r\n")
    assert statuses(said) == [200]
    assert b"authorization" not in said
    assert_refused(ask(port, chunked + b"X: " + b"a" * 200_000), 431)
    assert_refused(ask(port, chunked + b"a:\r\n" * 100_000), 431)


def test_two_hundred_requests_at_once_are_answered_in_their_order(port: int) -> None:
    requests = [b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(199)]
    said = ask(port, b"".join(requests) + b"GET /199 HTTP/1.1\r\nHost: a\r\n" + _CLOSE + b"\r\n")
    paths = [orjson.loads(line)["path"] for line in said.splitlines() if line.startswith(b"{")]
    assert paths == [f"/{number}" for number in range(200)]


def test_what_comes_before_a_bad_request_is_answered_and_the_bad_one_ends_it(port: int) -> None:
    said = ask(port, _GET + b"\r\n" + _GET + b"\r\n" + b"GET / HTTP/1.1\r\n\r\n" + _GET + b"\r\n")
    assert statuses(said)[:2] == [200, 200]
    assert len(statuses(said)) <= 3  # never what came behind it


def test_more_at_once_than_anybody_sends_is_cut_off(port: int) -> None:
    said = ask(port, (_GET + b"\r\n") * 5_000)
    assert 400 <= len(statuses(said)) <= 1_000


def test_a_large_head_after_a_large_body_in_the_same_piece_is_not_refused(port: int) -> None:
    body = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50000\r\n\r\n" + b"x" * 50_000
    head = _GET + b"X: " + b"a" * 40_000 + b"\r\n" + _CLOSE + b"\r\n"
    assert statuses(ask(port, body + head[:10_000], head[10_000:])) == [200, 200]


def test_a_hundred_megabytes_of_header_cost_neither_memory_nor_others(port: int) -> None:
    """Refused after 64 kB, whatever comes; others are answered meanwhile."""
    before, worst = psutil.Process().memory_info().rss, 0.0
    with socket.create_connection(("127.0.0.1", port), timeout=10) as hostile:
        hostile.sendall(_GET + b"X: ")
        sent = 0
        for _ in range(100):
            try:
                sent += hostile.send(b"a" * 1_000_000)
            except OSError:
                break
            began = time.monotonic()
            assert statuses(ask(port, _GET + _CLOSE + b"\r\n")) == [200]
            worst = max(worst, time.monotonic() - began)
        said = hear(hostile)
    assert b" 431 " in said or sent < 100_000_000  # told; or cut off before it listened
    assert worst < 1.0
    assert psutil.Process().memory_info().rss - before < 50_000_000


def test_pieces_of_a_head_count_together(serve: Serve) -> None:
    with serve(max_head_bytes=8_192) as port:
        assert_refused(ask(port, _GET, *[b"X: aaaaaaaaaaaaaaaa\r\n"] * 1_000), 431)


@pytest.mark.parametrize("size", [1, 65_400, *range(65_430, 65_540, 7), 65_536, 131_072, 1_000_000])
@pytest.mark.parametrize("chunk", [None, 1, 1_000])
def test_a_body_is_whole_however_it_fills_the_buffer(port: int, size: int, chunk: int | None) -> None:
    """Reading pauses whenever the buffer was full: whether more comes after that or nothing, all of it is read."""
    body = bytes(range(256)) * (size // 256 + 1)
    head = b"POST / HTTP/1.1\r\nHost: a\r\n" + _CLOSE
    if chunk is None:
        sent = head + b"Content-Length: %d\r\n\r\n" % size + body[:size]
    else:
        size = min(size, 300_000 * chunk)
        pieces = (body[at : min(at + chunk, size)] for at in range(0, size, chunk))
        sent = (
            head
            + b"Transfer-Encoding: chunked\r\n\r\n"
            + b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in pieces)
        )
        sent += b"0\r\n\r\n"
    said = ask(port, sent)
    assert statuses(said) == [200]
    assert b'"body":%d}' % size in said


def test_servers_in_one_process_keep_their_bodies_apart(serve: Serve) -> None:
    """Each loop reads into a buffer of its own, and gives the interpreter away while it does."""
    said: list[bytes] = []

    def post(port: int, letter: bytes) -> None:
        body = letter * 200_000
        for _ in range(20):
            said.append(
                ask(port, b"POST /echo HTTP/1.1\r\nHost: a\r\n" + _CLOSE + b"Content-Length: 200000\r\n\r\n" + body)
            )

    with serve() as one, serve() as another:
        threads = [threading.Thread(target=post, args=each) for each in ((one, b"a"), (another, b"b"))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert {bytes({*answer.rpartition(b"\r\n\r\n")[2]}) for answer in said} == {b"a", b"b"}
    assert len(said) == 40
