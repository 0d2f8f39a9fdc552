"""How a body goes wrong on its way: small functions that each damage it in one way. All chance comes from the `Random` given."""

import json
import re
from collections.abc import Callable, Mapping
from random import Random

Mutation = Callable[[Random, bytes], bytes]

_NUMBER = re.compile(rb"[0-9]+")
_NUMBERS = (
    *(
        b"1E+999999999",
        b"1e999",
        b"-1e-999",
        b"1.7976931348623157e309",
        b"1" * 5_000,
        b"9" * 30,
        b"18446744073709551616",
    ),
    *(b"-0", b"NaN", b"0x1"),
)
_OCTETS = (
    *(b"\0", b"\xff", b"\xfe\xff", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"\xe2\x80\xa8", b"\xef\xbb\xbf"),
    *(b"\xc2\xb2", b"\r", b"\x1b[2J", b"%00", b"%", rb"\ud800", rb"\u0000", rb"\udfff\ud800"),
)
_MARKS = (b'"', b"{", b"}", b"[", b"]", b",", b":", b"\\", b"\n", b"&", b"=", b";", b" ")
_VALUES = (b"null", b"true", b"[]", b"{}", b'""', b'"\xe2\x80\x8f"', b"[[[[[[[[]]]]]]]]", b"-", b"'")


def flip(random: Random, body: bytes) -> bytes:
    """One bit."""
    place = random.randrange(len(body))
    return body[:place] + bytes([body[place] ^ (1 << random.randrange(8))]) + body[place + 1 :]


def cut(random: Random, body: bytes) -> bytes:
    return body[: random.randrange(len(body))]


def lose(random: Random, body: bytes) -> bytes:
    """Some bytes out of the middle."""
    start = random.randrange(len(body))
    return body[:start] + body[start + random.randrange(1, 9) :]


def double(random: Random, body: bytes) -> bytes:
    """A stretch comes twice."""
    start = random.randrange(len(body))
    return body[:start] + body[start : start + random.randrange(1, 60)] + body[start:]


def insert(random: Random, body: bytes) -> bytes:
    """Octets that are no text, or no text for long."""
    place = random.randrange(len(body) + 1)
    return body[:place] + random.choice(_OCTETS) + body[place:]


def mark(random: Random, body: bytes) -> bytes:
    """A sign that means something."""
    place = random.randrange(len(body) + 1)
    return body[:place] + random.choice(_MARKS) + body[place:]


def enlarge(random: Random, body: bytes) -> bytes:
    """One number becomes another than was ever meant."""
    found = list(_NUMBER.finditer(body))
    if not found:
        return body
    chosen = random.choice(found)
    return body[: chosen.start()] + random.choice(_NUMBERS) + body[chosen.end() :]


def nest(random: Random, body: bytes) -> bytes:
    """Brackets around some place of it."""
    place, depth = random.randrange(len(body) + 1), random.choice((2, 40, 300, 3_000))
    opening, closing = random.choice(((b"[", b"]"), (b'{"a":', b"}")))
    return body[:place] + opening * depth + body[place:] + closing * depth


def swell(random: Random, body: bytes) -> bytes:
    """A long run of one octet."""
    place = random.randrange(len(body) + 1)
    return body[:place] + body[place : place + 1] * random.choice((300, 5_000)) + body[place:]


def replace(random: Random, body: bytes) -> bytes:
    """A value, or half of one, becomes another."""
    start = random.randrange(len(body))
    return body[:start] + random.choice(_VALUES) + body[start + random.randrange(12) :]


#: Quick and slight ones come more often than those that make a body large.
MUTATIONS: tuple[Mutation, ...] = (
    flip,
    flip,
    cut,
    lose,
    lose,
    double,
    insert,
    insert,
    mark,
    mark,
    enlarge,
    enlarge,
    nest,
    swell,
    replace,
)


def mutated(random: Random, body: bytes) -> bytes:
    """`body` after one to three accidents."""
    for _ in range(random.choice((1, 1, 2, 3))):
        body = random.choice(MUTATIONS)(random, body or b" ")
    return body


#: Values that are JSON, and of no use.
_USELESS = (
    *(
        "1E+999999999",
        "1e999",
        "-1e-999",
        "1" * 5_000,
        "9" * 30,
        "18446744073709551616",
        "0.1",
        "-0",
        "true",
        "null",
        '""',
        "{}",
        "[]",
    ),
    *(
        "[" * 20 + "]" * 20,
        '{"a":' * 20 + "1" + "}" * 20,
        r'"\ud800"',
        r'"\u0000"',
        r'"\ud83d\ude00"',
        '"²"',
        '"x"',
        f'"{"x" * 150_000}"',
    ),
    *('"0001-01-01T00:00:00+14:00"', '"9999-12-31T23:59:59-14:00"', '"\u202e+1"', "[" + "1," * 10_000 + "1]"),
)


def another_value(random: Random, row: Mapping[str, str]) -> bytes:
    """The row with another value in one of its fields, or in one that nobody knows."""
    name = random.choice([*row, "submitted_at", "foo"])
    members = {**{each: json.dumps(value) for each, value in row.items()}, name: random.choice(_USELESS)}
    return ("{" + ", ".join(f"{json.dumps(each)}: {value}" for each, value in members.items()) + "}").encode()
