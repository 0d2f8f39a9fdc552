"""Masks for people's numbers and mail addresses in what others wrote. Pure, linear in its input, never much at a time.

A mask errs on the safe side: an id that is made of digits is masked like a number.
"""

import asyncio
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

MASK = "•••"
#: How pseudonyms of erased numbers begin (`app.privacy.pseudonyms`): they say nothing, and stay.
_PSEUDONYM = "erased:"
#: Fewer digits than this are no phone number.
_PHONE_DIGITS = 7
#: A digit, also as URLs and JSON may escape it.
_DIGIT = r"(?:\d|%3\d|\\u003\d)"
#: What people, forms and spreadsheets put between the digits of one number: blanks of all kinds, signs, nothing visible.
_BETWEEN = (
    r"(?:[^\S\n]|[\0.()/+\-_·\u2010-\u2015\u2212\u00ad\u180e\u200b-\u200f\u2060\ufeff]"
    r"|%(?:20|2[89bBdDeEfF]|[aA]0)|\\u00[aA]0)"
)
_NUMBER = re.compile(rf"(?:\+|%2[bB])?{_DIGIT}(?:{_BETWEEN}{{0,4}}{_DIGIT}){{{_PHONE_DIGITS - 1},}}")
#: Up to 64 characters before the sign, which is all that a local part may have; expanded from the sign backwards.
_MAIL_SIGN = re.compile(r"@|%40|\\u0040")
_MAIL_LOCAL = re.compile(r"[\w.+%'&=-]{0,64}")
_MAIL_DOMAIN = re.compile(r"[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
_LOCAL_LENGTH = 64
#: Characters of one text in one go: some milliseconds at the most.
_PIECE = 8_192
#: A character that stands in no number and no mail address; between two pieces there is one.
_BORDER = re.compile(r"[\n,;:{}\[\]\"<>|?!*]")
_LETTERS = re.compile(r"[^\d@%\\]{16}")
#: How long work on many values may hold up the event loop.
LONGEST_SECONDS = 0.005


def mask(address: str) -> str:
    """`+34600123000` → `+34600•••000`; what is too short to mask in part is masked whole. A pseudonym says nothing."""
    if address.startswith(_PSEUDONYM):
        return address
    return f"{address[:6]}{MASK}{address[-3:]}" if len(address) > 9 else MASK


def mask_numbers(text: str) -> str:
    """`text` with everything masked that could be a phone number or a mail address."""
    if len(text) <= _PIECE:
        return _masked(text)
    return "".join(_masked(piece) for piece in pieces(text))


def holds_number(text: str) -> bool:
    """Whether a mask would change `text`."""
    return mask_numbers(text) != text


def mask_within(value: Any) -> Any:
    """`value` with all that could be a phone number masked, however deep."""
    if isinstance(value, str):
        return mask_numbers(value)
    if isinstance(value, Mapping):
        return {mask_numbers(str(name)): mask_within(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [mask_within(each) for each in value]
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) >= 10 ** (_PHONE_DIGITS - 1):
        return MASK
    return value


def pieces(text: str) -> Iterator[str]:
    """`text` in pieces that can be masked each by itself: none parts a number. Where there is no border for long,
    all is one run that nobody can read anyhow, and is parted where it is."""
    start = 0
    while start < len(text):
        end = start + _PIECE
        if end < len(text):
            end = _last_border(text, start, end)
        yield text[start:end]
        start = end


def _last_border(text: str, start: int, end: int) -> int:
    """Behind the last border of the window; else in the middle of the last letters that no digit stands near."""
    for pattern, inside in ((_BORDER, 0), (_LETTERS, 8)):
        last = None
        for last in pattern.finditer(text, max(start + 1, end - _PIECE // 4), end):  # noqa: B007
            pass
        if last is not None:
            return last.end() - inside
    return end


def _masked(text: str) -> str:
    masked = _NUMBER.sub(MASK, text)
    return _without_mails(masked) if _MAIL_SIGN.search(masked) else masked


def _without_mails(text: str) -> str:
    done: list[str] = []
    at = 0
    for sign in _MAIL_SIGN.finditer(text):
        domain = _MAIL_DOMAIN.match(text, sign.end())
        if domain is None or sign.start() < at:
            continue
        backwards = text[max(at, sign.start() - _LOCAL_LENGTH) : sign.start()][::-1]
        local = _MAIL_LOCAL.match(backwards)
        length = _local_length(local[0]) if local else 0
        done += [text[at : sign.start() - length], MASK]
        at = domain.end()
    return "".join((*done, text[at:]))


def _local_length(backwards: str) -> int:
    """How much of what stands before the sign is the address: in a query it begins behind `=` or `&`."""
    ends = [place for sign in "=&" if (place := backwards.find(sign)) >= 0]
    return min(ends, default=len(backwards))


async def in_pieces(work: Iterable[Any]) -> list[Any]:
    """All of `work`, which may be long; whoever else waits for the event loop gets it every few milliseconds."""
    found: list[Any] = []
    until = time.perf_counter() + LONGEST_SECONDS
    for each in work:
        found.append(each)
        if time.perf_counter() > until:
            await asyncio.sleep(0)
            until = time.perf_counter() + LONGEST_SECONDS
    return found


async def mask_long(text: str) -> str:
    """As `mask_numbers`, for a text of any length, without holding up the event loop."""
    return "".join(await in_pieces(_masked(piece) for piece in pieces(text)))
