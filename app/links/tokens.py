"""What stands behind the short host: a token names one link of one message, and checks itself.

A token is refused without asking anybody: `tag = MAC(N)` of what it names (N = message and link) travels with
`N xor PRF(tag)`, so that N cannot be read, and nothing but the key makes a tag that fits; a guess hits once in 2^18.
The key's number, hidden under the tag as well, lets keys rotate. Each length has its own range of messages and its own
pads: there is one spelling for each message, link and key, and every accepted token encodes back to itself. Two tokens
with the same tag have the same pad: whoever has both knows how their names differ, and is no nearer to a third.

    value = tag (18 bits) | N xor pad (message bits + 6) | key number xor low bits of the tag (3 bits), in base 62
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

#: Digits, then capitals, then small letters. No `-` or `_`: phones leave them out at the end of a link.
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
LINKS = 64
#: Message ids are PostgreSQL's `bigint`, from 0.
MESSAGES = 1 << 63
KEY_NUMBERS = 8
SECRET_BYTES = 32

_TAG_BITS, _LINK_BITS, _KEY_BITS = 18, 6, 3
_TAG, _LINK, _KEY = (1 << _TAG_BITS) - 1, LINKS - 1, KEY_NUMBERS - 1
#: How many bits a message id may have in a token of so many characters: what base 62 leaves, 8 characters 20.
_MESSAGE_BITS = {8: 20, 9: 26, 10: 32, 11: 38, 12: 44, 13: 50, 14: 56, 15: 62, 16: 63}

_SINGLES = list(ALPHABET)
_PAIRS = [first + second for first in ALPHABET for second in ALPHABET]
_WORTH = {text: worth for table in (_SINGLES, _PAIRS) for worth, text in enumerate(table)}
_PAIR = len(_PAIRS)
#: The worth of what is none: more than any token holds, so that it is found out at the end and not on the way.
_NONE = 1 << 128

#: What closes a sentence, a quotation, a bracket or an emphasis.
_CLOSING = r"[.,:;!?)\]}>'\"*_~|=]"
#: Behind a token: a slash; closing marks, of which phones take some along at the end of a text; parameters that somebody added; a
#: blank, or a character that is not ASCII, with all that follows it.
_WITH_TAIL = re.compile(
    rf"([0-9A-Za-z]{{{min(_MESSAGE_BITS)},{max(_MESSAGE_BITS)}}})(?:/?{_CLOSING}{{1,3}}\Z|/?[&?#;\s]|/?[^\x00-\x7f]|/\Z)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shape:
    """What holds for tokens of one length."""

    length: int
    #: The ids whose tokens have this length: from `first`, below `end`.
    first: int
    end: int
    named_bits: int
    named: int
    #: Where the pieces stand: a single character first when the length is odd, then pairs.
    pieces: tuple[slice, ...]
    #: Tells the pads of one length from those of another.
    pad_domain: int

    @classmethod
    def of(cls, length: int, bits: int, first: int) -> "_Shape":
        starts = [0, *range(2 - length % 2, length, 2)]
        pieces = tuple(slice(start, end) for start, end in zip(starts, [*starts[1:], length], strict=True))
        return cls(
            length=length, first=first, end=1 << bits, named_bits=bits + _LINK_BITS, named=(LINKS << bits) - 1,
            pieces=pieces, pad_domain=length << _TAG_BITS,
        )  # fmt: skip


def _shapes() -> Iterator[_Shape]:
    first = 0
    for length, bits in _MESSAGE_BITS.items():
        yield _Shape.of(length, bits, first)
        first = 1 << bits


_SHAPES = {shape.length: shape for shape in _shapes()}
#: By the number of bits of a message id.
_FITTING = [next(shape for shape in _SHAPES.values() if bits <= _MESSAGE_BITS[shape.length]) for bits in range(64)]
#: Worked through in place of what has no token's length.
_ANY = _SHAPES[10]
_ANY_TOKEN = ALPHABET[0] * _ANY.length


@dataclass(frozen=True, slots=True)
class Keys:
    """The secrets that tokens may be made with, by number; new tokens are made with the current one."""

    current: int
    secrets: Mapping[int, bytes] = field(repr=False)
    #: Hashes with a key in them already, to be copied: for the tags and for the pads of each number.
    _tags: list[Any] = field(init=False, repr=False, compare=False)
    _pads: list[Any] = field(init=False, repr=False, compare=False)
    _known: tuple[bool, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if any(number not in range(KEY_NUMBERS) for number in self.secrets):
            raise ValueError(f"Keys have the numbers 0 to {KEY_NUMBERS - 1}.")
        if any(len(secret) != SECRET_BYTES for secret in self.secrets.values()):
            raise ValueError(f"A key has {SECRET_BYTES} bytes.")
        if self.current not in self.secrets:
            raise ValueError("There is no secret for the current key.")
        # A number without a secret is worked through with the current one, so that it takes as long.
        secrets = [self.secrets.get(number, self.secrets[self.current]) for number in range(KEY_NUMBERS)]
        object.__setattr__(self, "_tags", [_keyed(secret, b"link token tag") for secret in secrets])
        object.__setattr__(self, "_pads", [_keyed(secret, b"link token pad") for secret in secrets])
        object.__setattr__(self, "_known", tuple(number in self.secrets for number in range(KEY_NUMBERS)))


def rotated(keys: Keys, secret: bytes) -> Keys:
    """With a new current key under the next number. What had that number, eight rotations ago, is forgotten."""
    number = (keys.current + 1) % KEY_NUMBERS
    return Keys(number, {**keys.secrets, number: secret})


def encode(keys: Keys, message_id: int, link: int) -> str:
    """Raises ValueError for what no token can name."""
    if not (0 <= message_id < MESSAGES and 0 <= link < LINKS):
        raise ValueError("A token names a message id below 2^63 and a link from 0 to 63.")
    shape = _FITTING[message_id.bit_length()]
    number = keys.current
    named = message_id << _LINK_BITS | link
    tag = _hashed(keys._tags[number], named) & _TAG
    hidden = named ^ (_hashed(keys._pads[number], shape.pad_domain | tag) & shape.named)
    value = (tag << shape.named_bits | hidden) << _KEY_BITS | (number ^ tag & _KEY)
    return _spelled(value, shape.length)


def decode(keys: Keys, token: str) -> tuple[int, int] | None:
    """The message id and the link, or None for what none of the keys made. However it is wrong, it takes as long."""
    shape = _SHAPES.get(len(token))
    good = shape is not None
    if shape is None:
        shape, token = _ANY, _ANY_TOKEN
    value = 0
    worth = _WORTH.get
    for piece in shape.pieces:
        value = value * _PAIR + worth(token[piece], _NONE)
    tag = value >> _KEY_BITS + shape.named_bits
    good &= tag <= _TAG
    tag &= _TAG
    number = (value ^ tag) & _KEY
    good &= keys._known[number]
    pad = _hashed(keys._pads[number], shape.pad_domain | tag)
    named = (value >> _KEY_BITS ^ pad) & shape.named
    good &= shape.first <= named >> _LINK_BITS < shape.end
    good &= _hashed(keys._tags[number], named) & _TAG == tag
    return (named >> _LINK_BITS, named & _LINK) if good else None


def without_tail(text: str) -> str | None:
    """The token at the beginning of `text`, when only what phones take along stands behind it; it may still be a wrong one.
    None when there is nothing behind it, or something else."""
    found = _WITH_TAIL.match(text)
    return found and found[1]


def _keyed(secret: bytes, person: bytes) -> Any:
    keyed = hashlib.blake2b(key=secret, digest_size=16, person=person)
    keyed.update(b"\0")  # now the block that holds the key is behind, and no copy has to take it in again
    return keyed


def _hashed(keyed: Any, number: int) -> int:
    copy = keyed.copy()
    copy.update(number.to_bytes(9, "big"))
    return int.from_bytes(copy.digest(), "big")


def _spelled(value: int, length: int) -> str:
    pieces = []
    for _ in range(length // 2):
        value, pair = divmod(value, _PAIR)
        pieces.append(_PAIRS[pair])
    if length % 2:
        pieces.append(_SINGLES[value])
    pieces.reverse()
    return "".join(pieces)
