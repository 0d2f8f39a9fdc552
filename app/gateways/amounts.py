"""Amounts of money as providers write them: with a point or a comma, in thousands, with an exponent."""

import re
from decimal import Decimal

#: What an amount is below: a thousand million.
MOST = 10**9
_DIGITS = 9
_LONGEST = 40

_POINT = re.compile(r"[+-]?(?:[0-9]{1,9}(?:\.[0-9]*)?|\.[0-9]+)(?:e[+-]?[0-9]{1,2})?", re.IGNORECASE)
_POINT_IN_THOUSANDS = re.compile(r"[+-]?[0-9]{1,3}(?:,[0-9]{3})+\.[0-9]+")
_COMMA = re.compile(r"[+-]?[0-9]{0,9},[0-9]+(?:e[+-]?[0-9]{1,2})?", re.IGNORECASE)
_COMMA_IN_THOUSANDS = re.compile(r"[+-]?[0-9]{1,3}(?:\.[0-9]{3})+,[0-9]+")
#: `1,234` is a bit more than one here, and a bit more than a thousand there: nobody can tell.
_EITHER = re.compile(r"[+-]?[1-9][0-9]{0,2},[0-9]{3}")


def amount(value: object) -> Decimal | None:
    """A number, or a text that can be read as one in one way only, exactly; None for all else, and from `MOST` on."""
    if type(value) is str:
        return _of_text(value.strip())
    if type(value) is float or type(value) is int:
        value = Decimal(repr(value)) if type(value) is float else Decimal(value) if abs(value) < MOST else None
    return _bounded(value) if type(value) is Decimal else None


def _of_text(text: str) -> Decimal | None:
    if len(text) > _LONGEST or _EITHER.fullmatch(text):
        return None
    if _POINT.fullmatch(text) or _POINT_IN_THOUSANDS.fullmatch(text):
        plain = text.replace(",", "")
    elif _COMMA.fullmatch(text) or _COMMA_IN_THOUSANDS.fullmatch(text):
        plain = text.replace(".", "").replace(",", ".")
    else:
        return None
    return _bounded(Decimal(plain))


def _bounded(number: Decimal) -> Decimal | None:
    """Looks at the exponent first, so that `1e999999` is never written out."""
    if not number.is_finite():
        return None
    if number == 0:
        return Decimal(0)
    return number if -_LONGEST < number.adjusted() < _DIGITS else None
