"""HTTP itself, before any key is asked for: H4, L9, and connections that say nothing (M8)."""

from collections.abc import Iterator
from functools import partial

from tests.adversary.bodies import MEGABYTE, in_pieces, many, repeated
from tests.adversary.cases import CLOSED, Case, raw
from tests.adversary.target import Target
from tests.adversary.wire import Answer

_HOST = "Host: {host}\r\n"
_X = b"x" * MEGABYTE
_GET = "GET /healthz HTTP/1.1\r\n"
_POST = "POST /callbacks/{generic} HTTP/1.1\r\n" + _HOST + "X-Acuse-Token: {token}\r\n"
#: Too large: said so, or closed while it was still coming.
_TOO_LARGE = (400, 413, 414, 431, CLOSED)


def _stream(piece: bytes, times: int, after: bytes = b"") -> partial[Iterator[bytes]]:
    return partial(repeated, piece, times, b"", after)


def _large() -> tuple[Case, ...]:
    short = many("a: b", 250_000, "\r\n").encode() + b"\r\n"
    return (
        Case("H4", "one header of 100 MB", raw(_GET + _HOST + "X-Large: ", _stream(_X, 100, b"\r\n\r\n")), _TOO_LARGE, within=30),
        Case("H4", "2 000 000 short headers", raw(_GET + _HOST, _stream(short, 8, b"\r\n")), _TOO_LARGE, within=30),
        Case("H4", "a URL of 100 MB", raw("GET /", _stream(_X, 100, b" HTTP/1.1\r\n\r\n")), _TOO_LARGE, within=30),
        Case("H4", "a query of 50 MB at the callbacks", raw("GET /callbacks/{kannel}?", _stream(_X, 50, b" HTTP/1.1\r\n\r\n")), _TOO_LARGE, within=30),
        Case("H4", "the name of a header of 50 MB", raw(_GET + _HOST, _stream(_X, 50, b": 1\r\n\r\n")), _TOO_LARGE, within=30),
        Case("H4", "a method of 20 MB", raw(_stream(b"G" * MEGABYTE, 20, b" / HTTP/1.1\r\n\r\n")), _TOO_LARGE, within=30),
        Case("H4", "70 kB of headers", raw(_GET + _HOST + "X: " + "x" * 70_000 + "\r\n\r\n"), _TOO_LARGE),
        Case("H4", "70 kB of URL", raw("GET /healthz?" + "x" * 70_000 + " HTTP/1.1\r\n" + _HOST + "\r\n"), _TOO_LARGE),
        Case("H4", "70 kB of headers, byte by byte", raw(_GET + _HOST, partial(in_pieces, b"X: " + b"x" * 70_000, 7)), (*_TOO_LARGE, -1), within=5),
        Case("H4", "empty lines before the request", raw(_stream(b"\r\n" * 500_000, 20), _GET + _HOST + "\r\n"), (200, *_TOO_LARGE), within=30),
        Case("H4", "a trailer of 50 MB", raw(_POST + "Transfer-Encoding: chunked\r\n\r\n0\r\nX: ", _stream(_X, 50, b"\r\n\r\n")), (*_TOO_LARGE, 401), within=30),
        Case("H4", "1 000 000 trailers", raw(_POST + "Transfer-Encoding: chunked\r\n\r\n0\r\n", _stream(short, 4, b"\r\n")), (*_TOO_LARGE, 401), within=30),
        Case("H4", "a chunk with an extension of 50 MB", raw(_POST + "Transfer-Encoding: chunked\r\n\r\n1;", _stream(_X, 50, b"\r\n1\r\n0\r\n\r\n")), _TOO_LARGE, within=30),
        Case("H4", "a million chunks of one byte", raw(_POST + "Transfer-Encoding: chunked\r\n\r\n", _stream(b"1\r\n1\r\n" * 100_000, 10, b"0\r\n\r\n")), (400, 413, CLOSED), within=60),
        Case("H4", "headers that go on over lines", raw(_GET + _HOST + "X: a" + "\r\n b" * 20_000 + "\r\n\r\n"), (200, *_TOO_LARGE)),
        Case("H4", "30 kB of headers are still right", raw(_GET + _HOST + "X: " + "x" * 30_000 + "\r\n\r\n"), (200,)),
    )  # fmt: skip


async def _is_a_problem(target: Target, answer: Answer) -> str | None:
    kind = answer.headers.get("content-type", "")
    return (
        None if kind.startswith("application/problem+json") else f"an error in another form: {kind} {answer.text[:100]}"
    )


_WRONG = (
    ("no Host", _GET + "\r\n"),
    ("two Hosts", _GET + _HOST + "Host: b\r\n\r\n"),
    ("raw octets in the URL", "GET /callbacks/\xff\xfe HTTP/1.1\r\n" + _HOST + "\r\n"),
    ("a length that is negative", _POST + "Content-Length: -1\r\n\r\n"),
    ("a length of 40 digits", _POST + "Content-Length: " + "9" * 40 + "\r\n\r\n"),
    ("two lengths", _POST + "Content-Length: 1\r\nContent-Length: 2\r\n\r\n1"),
    ("a length and chunks", _POST + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("a chunk of a size that is none", _POST + "Transfer-Encoding: chunked\r\n\r\nZ\r\n\r\n"),
    ("a chunk of 2^70", _POST + "Transfer-Encoding: chunked\r\n\r\n400000000000000000\r\n"),
    ("NUL in a header", _GET + _HOST + "X: a\0b\r\n\r\n"),
    ("no HTTP at all", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
    ("HTTP/9.9", "GET /healthz HTTP/9.9\r\n" + _HOST + "\r\n"),
    ("a space in a header's name", _GET + _HOST + "X y: 1\r\n\r\n"),
)
CASES: list[Case] = [
    *_large(),
    *(Case("L9", what, raw(text), (400,), then=_is_a_problem) for what, text in _WRONG),
    Case("L9", "the error of a row speaks plainly", raw("POST /v1/deliveries/{delivery}/messages HTTP/1.1\r\n" + _HOST + "Authorization: Bearer {key}\r\nContent-Type: application/x-ndjson\r\nContent-Length: 51\r\n\r\n" + '{"address": "+447700900001", "reference": "acuse-1"}'[:51]), (422,)),
]  # fmt: skip
