"""What JSON may look like before anything is built from it: how deep, how many digits. Judged by its bytes.

All of it is a few passes in C over the text, and linear: brackets that are too few to be too deep end it at once.
Parsers are as generous as their language: brackets become stacks, digits become numbers of a million digits.
"""

import re

#: What may stand around any value of JSON (RFC 8259, section 2).
BLANK = b" \t\r\n"
MAX_DEPTH = 32
MAX_DIGITS = 40

_SHAPES = bytes.maketrans(b"123456789.E-", b"0000000000e+")
_DIGITS = b"0" * (MAX_DIGITS + 1)
_EXPONENTS = (b"0e000", b"0e+000")
#: Exponents beyond 308, which 64 bits do not hold, or of more than three digits.
_LARGE = re.compile(rb"[0-9.][eE][+-]?(?:[0-9]{4}|309|3[1-9][0-9]|[4-9][0-9]{2})")
_RUN = b"[" * (MAX_DEPTH + 1)
_BRACKETS = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def depth_fault(json: bytes) -> str | None:
    """What is wrong with the nesting of a JSON text, as the end of a sentence; None when nothing is."""
    if json.count(b"[") + json.count(b"{") <= MAX_DEPTH:
        return None
    return f"is nested deeper than {MAX_DEPTH} levels" if _too_deep(outside_strings(json)) else None


def fault(json: bytes) -> str | None:
    """What is wrong with nesting or numbers of a JSON text, as the end of a sentence; None when nothing is.

    Broken JSON is none of its business: what cannot be parsed is told by whoever parses."""
    if found := depth_fault(json):
        return found
    shapes = json.translate(_SHAPES)
    if _DIGITS not in shapes and not any(each in shapes for each in _EXPONENTS):
        return None
    outside = outside_strings(json)
    if _DIGITS in outside.translate(_SHAPES):
        return f"has a number of more than {MAX_DIGITS} digits"
    return "has a number with too large an exponent" if _LARGE.search(outside) else None


def values_fault(json: bytes, most: int) -> str | None:
    """Whether a JSON text holds more than some `most` values, as the end of a sentence: each may cost an error, a row,
    an object, whatever its two bytes are."""
    if _values(json) <= most or _values(outside_strings(json)) <= most:
        return None
    return f"has more than {most} values"


def _values(json: bytes) -> int:
    return json.count(b",") + json.count(b"[") + json.count(b"{")


def outside_strings(json: bytes) -> bytes:
    """The text without what stands within its strings: a quote for each of their ends."""
    if b"\\" in json:  # pairs of backslashes first: only an odd one escapes the quote after it
        json = json.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b'""'.join(json.split(b'"')[::2])


def _too_deep(outside: bytes) -> bool:
    """Each pass takes away the innermost pairs, so what is as deep as allowed is gone after as many."""
    rest = outside.translate(_BRACKETS, _NOT_BRACKETS)
    if _RUN in rest:
        return True
    for _ in range(MAX_DEPTH):
        shorter = rest.replace(b"[]", b"")
        if len(shorter) == len(rest):
            break
        rest = shorter
    return b"[]" in rest or rest.count(b"[") > MAX_DEPTH
