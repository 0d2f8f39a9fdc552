"""Who is slow or silent is sent away after the time that the settings give; who is not stays."""

import contextlib
import socket
import time
from collections.abc import Iterator

import pytest

from tests.server.conftest import hear, serving
from tests.server.test_protocol import assert_refused, statuses

_HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"
_QUICK = {"head_seconds": 0.4, "body_seconds": 0.4, "send_seconds": 0.4, "idle_seconds": 1}


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving(**_QUICK) as found:
        yield found


@contextlib.contextmanager
def connected(port: int, *pieces: bytes) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        for piece in pieces:
            client.sendall(piece)
        yield client


def trickled(client: socket.socket, piece: bytes, pause: float) -> bytes:
    """What it says to one piece after the other, until it ends the connection."""
    client.settimeout(pause)
    said = b""
    for _ in range(int(8 / pause)):
        try:
            client.sendall(piece)
            heard = client.recv(65_536)
        except TimeoutError:
            continue
        except OSError:
            return said
        if not heard:
            return said
        said += heard
    raise AssertionError("It was never cut off.")


@pytest.mark.parametrize("begun", [b"G", b"GET / HT", b"GET / HTTP/1.1\r\nHost: a\r\nX: "])
def test_half_a_head_is_refused(port: int, begun: bytes) -> None:
    with connected(port, begun) as client:
        assert_refused(hear(client), 408)


@pytest.mark.parametrize(
    "begun",
    [
        _HEAD,
        _HEAD + b"x" * 1_000,
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ",
    ],
)
def test_half_a_body_is_refused(port: int, begun: bytes) -> None:
    with connected(port, begun) as client:
        assert_refused(hear(client), 408)


@pytest.mark.parametrize(
    ("begun", "piece"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n", b"X: a\r\n"),
        (b"GET /", b"a"),
        (_HEAD, b"x"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
    ],
)
def test_a_trickle_is_no_progress(port: int, begun: bytes, piece: bytes) -> None:
    with connected(port, begun) as client:
        assert 408 in statuses(trickled(client, piece, 0.1))


@pytest.mark.parametrize("begun", [b"", b"\r\n"])
def test_a_connection_that_begins_nothing_is_closed_without_a_word(port: int, begun: bytes) -> None:
    with connected(port, begun) as client:
        assert hear(client) == b""


def test_empty_lines_keep_no_connection(port: int) -> None:
    with connected(port) as client:
        assert trickled(client, b"\r\n", 0.1) == b""


def test_a_body_that_comes_slowly_but_comes_is_taken(port: int) -> None:
    """Three times as long as one stretch, never without progress."""
    with connected(port, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3000\r\nConnection: close\r\n\r\n") as client:
        for _ in range(15):
            client.sendall(b"x" * 200)
            time.sleep(0.08)
        assert statuses(hear(client)) == [200]


def test_a_body_after_its_answer_is_not_read_for_ever(port: int) -> None:
    early = b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"
    with connected(port, early) as client:
        assert statuses(trickled(client, b"x", 0.1)) == [200]


def test_who_does_not_read_his_answer_is_cut_off(port: int) -> None:
    with connected(port, b"GET /long HTTP/1.1\r\nHost: a\r\n\r\n") as client:
        time.sleep(2)
        assert len(hear(client)) < 50_000_000  # what stood in buffers, and then the end


def test_who_reads_slowly_is_not(port: int) -> None:
    with connected(port, b"GET /long HTTP/1.1\r\nHost: a\r\n\r\n") as client:
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            assert client.recv(1_000_000)
            time.sleep(0.05)


def test_an_idle_connection_is_kept_for_another_request(port: int) -> None:
    with connected(port, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") as client:
        time.sleep(0.7)  # longer than a head may take, shorter than an idle connection lives
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert statuses(hear(client)) == [200, 200]
