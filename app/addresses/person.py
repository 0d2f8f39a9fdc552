"""What is known of one person besides the number: names, e-mail addresses, ids of another system. Pure."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple
from urllib.parse import quote, quote_plus

import orjson

from app.addresses.spellings import Spellings

#: More values than this are not looked for.
_MOST = 300
_LETTER = re.compile(r"[^\W\d_]")


class Said(NamedTuple):
    """What one row says of somebody."""

    recipient_id: str | None
    reference: str | None
    params: Mapping[str, Any] | None


@dataclass(frozen=True)  # without slots, for what is computed once
class Person(Spellings):
    """A number, and values that stand for the same person; all of them are replaced by the pseudonym."""

    values: tuple[str, ...] = ()

    def _text(self, text: str) -> str:
        text = super()._text(text)
        return self._said.sub(self.pseudonym, text) if self._said is not None else text

    @cached_property
    def _said(self) -> re.Pattern[str] | None:
        written = {each for value in self.values for each in _written(value)}
        if not written:
            return None
        either = "|".join(re.escape(each) for each in sorted(written, key=len, reverse=True))
        return re.compile(rf"(?<!\w)(?:{either})(?!\w)", re.IGNORECASE)

    @property
    def pattern(self) -> str:
        """Like that of the number alone; of octets, which PostgreSQL writes as text, too."""
        written = {each for value in self.values for one in _written(value) for each in (one, _escaped(one))}
        return "(?i)" + "|".join([super().pattern, *(re.escape(each) for each in sorted(written))])


def known(spellings: Spellings, said: Iterable[Said], others: Iterable[Said]) -> tuple[Person, Person]:
    """Who it is, for texts of others and for its own: what people around it have, too, is nobody's own. In texts of
    others only what can hardly mean anybody else is looked for: ids, e-mail addresses, whole names."""
    mine = {value: sure for row in said for value, sure in _values(row)}
    shared = {value.casefold() for row in others for value, _ in _values(row)}
    own = sorted(value for value in mine if value.casefold() not in shared)[:_MOST]
    address, pseudonym = spellings.address, spellings.pseudonym
    return (
        Person(address, pseudonym, tuple(value for value in own if mine[value])),
        Person(address, pseudonym, tuple(own)),
    )


def _values(row: Said) -> Iterator[tuple[str, bool]]:
    """Texts by which a person could be known, and whether hardly anybody else is."""
    for id in (row.recipient_id, row.reference):
        if id is not None and _tells(id):
            yield id, len(id) >= 5
    for value in _texts(row.params):
        value = value.strip()
        if _tells(value):
            yield value, "@" in value or (len(value) >= 6 and (" " in value or any(map(str.isdigit, value))))


def _tells(value: str) -> bool:
    return (
        len(value) >= 3 and (_LETTER.search(value) is not None or len(value) >= 5) and not value.startswith("erased:")
    )


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)


def _written(value: str) -> set[str]:
    """As it stands in a text, in JSON, in a URL, and its UTF-8 read byte by byte."""
    in_json = orjson.dumps(value).decode()[1:-1]
    ascii_json = json.dumps(value)[1:-1]
    forms = {value, in_json, ascii_json, quote(value), quote_plus(value), quote(value, safe="@")}
    return forms | {each.encode().decode("latin-1") for each in forms}


def _escaped(text: str) -> str:
    """As PostgreSQL writes octets that hold it: backslashes doubled, what is beyond ASCII in octal."""
    return "".join(
        "\\\\" if octet == 0x5C else chr(octet) if 0x20 <= octet < 0x7F else f"\\{octet:03o}" for octet in text.encode()
    )
