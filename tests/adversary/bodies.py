"""What hostile bodies are made of: small functions, so that a line of a table says what is sent."""

from collections.abc import Iterator

MEGABYTE = 1_000_000


def nested(depth: int, opening: str = "[", closing: str = "]", core: str = "") -> str:
    """`[[[…]]]`"""
    return opening * depth + core + closing * depth


def objects(depth: int) -> str:
    """`{"a":{"a":…1…}}`"""
    return '{"a":' * depth + "1" + "}" * depth


def digits(many: int) -> str:
    return "1" * many


def text(size: int) -> str:
    """A JSON text of so many bytes."""
    return f'"{"x" * size}"'


def many(item: str, times: int, between: str = ",") -> str:
    """`item,item,…,item`"""
    return between.join([item] * times)


def array(*rows: str) -> str:
    return f"[{','.join(rows)}]"


def lines(*rows: str) -> str:
    return "\n".join(rows)


def in_pieces(body: bytes, size: int) -> Iterator[bytes]:
    """The same bytes, in pieces that each arrive by themselves."""
    for start in range(0, len(body), size):
        yield body[start : start + size]


def repeated(piece: bytes, times: int, before: bytes = b"", after: bytes = b"") -> Iterator[bytes]:
    """A long stream that nobody has to hold in memory."""
    yield before
    for _ in range(times):
        yield piece
    yield after
