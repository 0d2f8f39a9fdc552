"""Kinds of values at the door: every parameter, field and cell is of one of them, so that none can forget what the
database and the calendar cannot hold.

What is refused is told as a sentence that repeats nothing of the value. A test walks all routes and models
(tests/api/test_fields.py): a bare `str`, `int`, `bool`, `float`, `datetime` or `dict` there is a failure.

JSON is taken as strictly as the OpenAPI document says it: `true` is no number, "5" is no integer, and a time is a
text.
"""

import math
import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import orjson
from fastapi import Depends, Path, Query
from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, ValidationInfo
from pydantic_core import PydanticCustomError

from app.errors import NotFound
from app.gateways.times import rfc3339
from app.numbers import is_region, normalise, why_not
from app.privacy.pseudonyms import PREFIX

#: Times outside of these are nobody's; within them no zone, step or validity comes to the ends of the calendar.
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(2200, 1, 1, tzinfo=UTC)
#: What a bigint surely holds.
ID_DIGITS = 18
MOST_INT = 2**63 - 1
#: Of free JSON (metadata, options): bytes, and levels within it.
JSON_BYTES = 10_000
JSON_DEPTH = 20
LONGEST_PATH = 200
_WHOLE = re.compile(r"-?[0-9]{1,18}", re.ASCII)
_DECIMAL = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?", re.ASCII)
_ID = re.compile(r"[0-9]{1,18}", re.ASCII)
SLUG = r"^[a-z0-9][a-z0-9_-]{0,62}$"
_SLUG = re.compile(SLUG.rstrip("$"), re.ASCII)


def refused(sentence: str) -> PydanticCustomError:
    """An error whose message is `sentence`, without pydantic's words before it. Braces have no meaning in it."""
    return PydanticCustomError("refused", "{sentence}", {"sentence": sentence})


# --- texts -----------------------------------------------------------------------------------------------------------


def plain(text: str) -> str:
    """`text`, which PostgreSQL and UTF-8 can hold. Raises for NUL and for lone surrogates."""
    if "\0" in text:
        raise refused("must not contain NUL characters")
    if not text.isascii() and any("\ud800" <= each <= "\udfff" for each in text):
        raise refused("must not contain characters that are none")
    return text


def one_line(text: str) -> str:
    """`text` without control characters and line ends. Raises."""
    if not plain(text).isprintable():
        raise refused("must not contain control characters or line ends")
    return text


def is_slug(text: str) -> bool:
    return _SLUG.fullmatch(text) is not None


#: A text of any length: put `Field(max_length=…)` beside it.
Plain = Annotated[str, AfterValidator(plain)]
Slug = Annotated[str, StringConstraints(pattern=SLUG), AfterValidator(one_line)]
Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100), AfterValidator(one_line)]
Label = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), AfterValidator(plain)]
#: For people, kept in journals.
Note = Annotated[str, StringConstraints(min_length=1, max_length=500), AfterValidator(plain)]
Secret = Annotated[str, StringConstraints(max_length=1000), AfterValidator(plain)]
Name = Annotated[str, Field(max_length=LONGEST_PATH), AfterValidator(plain)]


def looked_up(text: str) -> str:
    """A name that is only looked up: one that cannot be is simply not there."""
    return text.replace("\0", "\ufffd")


PathName = Annotated[str, Path(max_length=LONGEST_PATH), AfterValidator(looked_up)]
#: A number as somebody wrote it.
Address = Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(plain)]
#: Who sends, to whom an opt-out is: "" stands for everybody.
SenderName = Annotated[str, Field(max_length=16), AfterValidator(plain)]


def region(text: str) -> str:
    if not is_region(text):
        raise refused("must be a country code of ISO 3166-1 alpha-2 in capitals, such as `ES`")
    return text


Region = Annotated[str, Field(max_length=2), AfterValidator(region)]


# --- addresses in URLs -----------------------------------------------------------------------------------------------


def with_plus(text: str) -> str:
    """`text` of a URL, where a `+` that was not escaped comes as a space."""
    return f"+{text[1:]}" if text[:1] == " " else text


def e164(text: str) -> str:
    found = normalise(with_plus(text))
    if found is None:
        said = "There is no `+` before the country's code. " if why_not(text, None) == "no_plus" else ""
        raise refused(f"{said}Give a phone number in E.164, such as `+34600123000` (`+` escaped as `%2B`).")
    return found


def e164_or_pseudonym(text: str) -> str:
    """An erased number is found by its pseudonym, too."""
    return text if text.startswith(PREFIX) else e164(text)


_IN_PATH = Path(
    alias="address", max_length=60, description="In E.164 (`+` as `%2B` or as it is).", examples=["+34600123000"]
)
#: Read as numbers are, and given on in E.164.
E164 = Annotated[Plain, AfterValidator(e164)]
AskedAddress = Annotated[Plain, AfterValidator(e164_or_pseudonym)]
PathNumber = Annotated[E164, _IN_PATH]
PathAddress = Annotated[AskedAddress, _IN_PATH]


# --- numbers ---------------------------------------------------------------------------------------------------------


def whole(value: object) -> object:
    if type(value) is not int:
        raise refused("must be a whole number")
    return value


def asked_whole(value: object, info: ValidationInfo) -> object:
    if isinstance(value, str) and info.mode == "python" and _WHOLE.fullmatch(value):
        return int(value)
    return whole(value)


def flag(value: object) -> object:
    if type(value) is not bool:
        raise refused("must be true or false")
    return value


def asked_flag(value: object, info: ValidationInfo) -> object:
    return _FLAGS[value] if isinstance(value, str) and info.mode == "python" and value in _FLAGS else flag(value)


def number(value: object) -> object:
    if type(value) not in (int, float) or not math.isfinite(value):  # type: ignore[arg-type]
        raise refused("must be a number")
    return value


def asked_number(value: object) -> object:
    """In a query: digits with a point, no exponent."""
    return float(value) if isinstance(value, str) and _DECIMAL.fullmatch(value) else number(value)


_FLAGS = {"true": True, "false": False}
#: Of 64 bits; put narrower bounds beside it.
Whole = Annotated[int, Field(ge=-MOST_INT, le=MOST_INT), BeforeValidator(whole)]
Flag = Annotated[bool, BeforeValidator(flag)]
#: The same in queries, paths and bulk rows: where all is text (CSV, too) the digits, `true` and `false` are read.
AskedWhole = Annotated[int, Field(ge=-MOST_INT, le=MOST_INT), BeforeValidator(asked_whole)]
AskedFlag = Annotated[bool, BeforeValidator(asked_flag)]
#: Finite. `true` and "1" are none.
Number = Annotated[float, BeforeValidator(number)]
AskedNumber = Annotated[float, BeforeValidator(asked_number)]


#: Of every operation that cannot be taken back.
DryRun = Annotated[AskedFlag, Query(description="Only say what would happen: nothing is changed.")]


# --- times -----------------------------------------------------------------------------------------------------------


def time(value: object) -> datetime:
    """Of RFC 3339, in UTC."""
    at = rfc3339(value) if isinstance(value, str) else value
    if not isinstance(at, datetime) or at.tzinfo is None:
        raise refused("must be a time with its zone, such as 2026-03-04T10:15:42Z (RFC 3339)")
    if not EARLIEST <= at < LATEST:
        raise refused("must be a time between the years 1970 and 2200")
    return at.astimezone(UTC)


Time = Annotated[datetime, BeforeValidator(time)]


# --- several of a kind -----------------------------------------------------------------------------------------------

#: Values of one filter.
MOST_SEVERAL = 100


def split(values: object) -> object:
    """`?status=a&status=b` and `?status=a,b` alike."""
    if not isinstance(values, list):
        return values
    found = [part for each in values for part in str(each).split(",", MOST_SEVERAL)]
    if len(found) > MOST_SEVERAL:
        raise refused(f"must be at most {MOST_SEVERAL}")
    return found


#: Beside the type of a list in a query.
Several = BeforeValidator(split)


# --- free JSON -------------------------------------------------------------------------------------------------------


def free_json(value: dict[str, Any]) -> dict[str, Any]:
    """An object of the caller's own making, as it can be kept and given back unchanged. Raises."""
    _check(value, JSON_DEPTH)
    if len(orjson.dumps(value)) > JSON_BYTES:
        raise refused(f"must take at most {JSON_BYTES} bytes as JSON")
    return value


def _check(value: object, levels: int) -> None:
    if levels == 0:
        raise refused(f"must not be nested deeper than {JSON_DEPTH} levels")
    if isinstance(value, str):
        plain(value)
    elif isinstance(value, Mapping):
        for name, each in value.items():
            _check(name, levels)
            _check(each, levels - 1)
    elif isinstance(value, list | tuple):
        for each in value:
            _check(each, levels - 1)
    elif value.__class__ is int and abs(value) > MOST_INT:
        raise refused("must not contain numbers of more than 64 bits; give them as texts")
    elif value.__class__ is float and not math.isfinite(value):
        raise refused("must not contain numbers that are none")


FreeJson = Annotated[dict[str, Any], AfterValidator(free_json)]


# --- ids -------------------------------------------------------------------------------------------------------------

#: An id in a body or query, as its digits.
Id = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,18}$"), AfterValidator(plain)]


def known_id(text: str) -> int | None:
    """The id that `text` is; None for one that nobody has: other digits than ASCII's, or more than a bigint holds."""
    return int(text) if _ID.fullmatch(text) else None


def path_id(what: str, example: str = "1", *, most: int = MOST_INT) -> Callable[[str], Awaitable[int]]:
    """A dependency: the `{id}` of the path. Ids are opaque to callers: one that cannot be ours is simply not found."""

    async def read(id: Annotated[str, Path(description=f"The {what}'s `id`.", examples=[example])]) -> int:
        found = known_id(id)
        if found is None or found > most:
            raise NotFound(f"There is no such {what}.")
        return found

    return read


DeliveryId = Annotated[int, Depends(path_id("delivery"))]
MessageId = Annotated[int, Depends(path_id("message", "42"))]
