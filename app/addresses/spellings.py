"""One phone number in texts, however it is written there, and its pseudonym in its place. Pure.

Found are the international form with `+`, `00`, `%2B` or nothing before it, and the national one with or without its
leading zero; with blanks, dashes, dots or brackets between the digits, escaped or not; and all of that inside words of
hexadecimal or base64. Digits that are part of a longer run of digits are another number or an id, and stay.
"""

import base64
import binascii
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import phonenumbers
from phonenumbers import PhoneNumberFormat

from app.numbers import normalise

#: What may stand between two digits of one number: as text, in a URL, as UTF-8 read byte by byte, as half a UTF-16 unit.
_BETWEEN = (
    r"(?:[ \t.\-/()_\u00a0\u2000-\u2015\u202f\x00]|\xc2\xa0|\xe2\x80[\x80-\xaf]"
    r"|%20|%2[dDeEfF89]|%[cC]2%[aA]0|\\u00[aA]0|\+){0,3}"
)
#: The same for PostgreSQL, wider, in bytes written as `encode(…, 'escape')` does.
_BETWEEN_SQL = r"(%[0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4}|\\[0-7]{3}|[^0-9]){0,4}"
_PLUS = rf"(?:(?:\+|%2[bB]|(?<!\d)(?:00|011|0011)){_BETWEEN})"
#: Where a number can begin: not inside digits, unless those belong to an escaped character.
_BEGIN = r"(?:(?<!\d)|(?<=%[0-9A-Fa-f][0-9])|(?<=\\u[0-9A-Fa-f]{3}[0-9]))"
#: Another country's code right before digits makes them another number.
_ABROAD = re.compile(rf"(?:\+|%2[bB]|(?<!\d)00){_BETWEEN}\d{{1,3}}{_BETWEEN}$")
_LONGEST_CODE = 24
_QUOTES = re.compile(r'\\.|"')
_WORD = re.compile(r"[A-Za-z0-9+/_-]{12,}={0,2}")
#: So many last digits must be there before a row is looked at closely.
_TAIL = 7


@dataclass(frozen=True)  # without slots, for what is computed once
class Spellings:
    """`address` in E.164, and what stands for it."""

    address: str
    pseudonym: str

    # --- replacing ---------------------------------------------------------------------------------------------------

    def replace(self, value: Any) -> Any:
        """`value` (text, bytes, JSON, a list of texts) with the pseudonym wherever the number stood; itself if nowhere."""
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, bytes):
            return self._text(value.decode("latin-1")).encode("latin-1")
        if isinstance(value, dict):
            return {self._text(name): self.replace(inner) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.replace(inner) for inner in value]
        if isinstance(value, int | float) and not isinstance(value, bool):
            written = str(int(value)) if abs(value) < 1e16 else ""
            return self.pseudonym if self._written.fullmatch(written) else value
        return value

    def is_meant(self, given: str, region: str | None) -> bool:
        """Whether an address as somebody gave it is this number."""
        return normalise(given, region) == self.address

    def _text(self, text: str) -> str:
        if not any(char.isdigit() for char in text) and not _WORD.search(text):
            return text
        return self._plain(_WORD.sub(self._word, text))

    def _plain(self, text: str) -> str:
        document = text.lstrip()[:1] in ("{", "[")

        def put(match: re.Match[str]) -> str:
            before = text[max(0, match.start() - _LONGEST_CODE) : match.start()]
            if match["national"] is not None and _ABROAD.search(before):
                return match[0]
            bare = document and before.rstrip()[-1:] in (":", ",", "[") and not _in_quotes(text, match.start())
            return f'"{self.pseudonym}"' if bare else self.pseudonym

        return self._written.sub(put, text)

    def _word(self, match: re.Match[str]) -> str:
        """A word of hexadecimal or base64, if it hides the number."""
        word = match[0]
        for decode, encode in _CODES:
            try:
                hidden = decode(word).decode("latin-1")
            except (ValueError, binascii.Error):
                continue
            shown = self._plain(hidden)
            if shown != hidden:
                return encode(shown.encode("latin-1"))
        return word

    # --- finding -----------------------------------------------------------------------------------------------------

    @cached_property
    def _number(self) -> phonenumbers.PhoneNumber:
        return phonenumbers.parse(self.address)

    @cached_property
    def _national(self) -> str:
        return self.address.removeprefix(f"+{self._number.country_code}")

    @cached_property
    def _written(self) -> re.Pattern[str]:
        code, national = str(self._number.country_code), self._national
        inside = re.sub(r"\D", "", phonenumbers.format_number(self._number, PhoneNumberFormat.NATIONAL))
        at_home = "|".join(_spaced(each) for each in sorted({national, f"0{national}", inside}, key=len, reverse=True))
        zero = rf"(?:{_BETWEEN}\(?0\)?{_BETWEEN})?"
        abroad = rf"(?:{_PLUS}|{_BEGIN}){_spaced(code)}{_BETWEEN}{zero}{_spaced(national)}"
        return re.compile(rf"(?:{abroad}|{_BEGIN}(?P<national>{at_home}))(?!\d)")

    @property
    def tail(self) -> str:
        """The last digits, the same in every spelling."""
        return self._national[-_TAIL:]

    @property
    def pattern(self) -> str:
        """A regular expression for PostgreSQL that finds every text in which the number could stand, and a few more."""
        tail = self.tail
        plain = _BETWEEN_SQL.join(tail)
        hexadecimal = "(00)?".join(f"3{digit}" for digit in tail)
        words = [
            _base64_of(tail.encode(coding), shift)
            for coding in ("ascii", "utf-16-be", "utf-16-le")
            for shift in range(3)
        ]
        return "|".join([plain, hexadecimal, *map(re.escape, words)])


def _spaced(digits: str) -> str:
    return _BETWEEN.join(digits)


def _in_quotes(document: str, place: int) -> bool:
    """Whether `place` is inside a text of a JSON document; a bare number there becomes a text."""
    return [mark[0] for mark in _QUOTES.finditer(document, 0, place)].count('"') % 2 == 1


def _from_base64(word: str) -> bytes:
    plain = word.rstrip("=").replace("-", "+").replace("_", "/")
    return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)


def _to_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


#: How to read a word, and how to write it again.
_CODES = ((bytes.fromhex, bytes.hex), (_from_base64, _to_base64))


def _base64_of(data: bytes, shift: int) -> str:
    """What base64 surely writes for `data` when `shift` octets stand before it."""
    written = base64.b64encode(bytes(shift) + data + bytes(3)).decode()
    return written[-(-shift * 8 // 6) : (shift + len(data)) * 8 // 6]
