"""`{{name}}` in a text: found once, filled a million times. Nothing is evaluated, and a value is never read again.

`{{name|customer}}` has a default: it stands where the recipient has no such param, or one of nothing but blanks."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Self

#: A name has at most 64 characters, a default 200, without braces and `|`; blanks around them do not count. Three braces are
#: not two: that is malformed.
PLACEHOLDER = r"(?<!\{)\{\{\s*[A-Za-z_][A-Za-z0-9_.-]{0,63}\s*(?:\|[^{}|]{0,200})?\}\}(?!\})"
_TOKEN = re.compile(rf"(?P<good>{PLACEHOLDER})|\{{{{2,}}+[^{{}}]*+\}}{{2,}}|\{{{{2,}}|\}}{{2,}}")
_SNIPPET_LENGTH = 40


class MissingParam(Exception):
    """There is nothing to put in place of a placeholder: no such param, null, an empty text, or no plain value."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


@dataclass(frozen=True, slots=True, kw_only=True)
class Malformed:
    """Braces that are no placeholder: unpaired, around nothing, or around what is no name. They stay in the text."""

    position: int
    #: As written, at most 40 characters.
    snippet: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    #: Each once, in the order of first use.
    names: tuple[str, ...]
    malformed: tuple[Malformed, ...]
    #: The text in pieces, "" where a placeholder stands; and which piece takes which name, and else which default.
    _pieces: list[str]
    _slots: tuple[tuple[int, str, str | None], ...]

    @property
    def required(self) -> tuple[str, ...]:
        """Those that stand somewhere without a default: who has no value for one of them has no text."""
        return tuple(dict.fromkeys(name for _, name, default in self._slots if default is None))

    @property
    def defaults(self) -> Mapping[str, str]:
        """Of each name that has one, the longest."""
        found: dict[str, str] = {}
        for _, name, default in self._slots:
            if default is not None and len(default) >= len(found.get(name, "")):
                found[name] = default
        return found

    @classmethod
    def parse(cls, content: str) -> Self:
        pieces: list[str] = []
        slots: list[tuple[int, str, str | None]] = []
        malformed: list[Malformed] = []
        end = 0
        for found in _TOKEN.finditer(content):
            if not found["good"]:
                malformed.append(Malformed(position=found.start(), snippet=found[0][:_SNIPPET_LENGTH]))
                continue
            pieces += content[end : found.start()], ""
            name, bar, default = found[0][2:-2].partition("|")
            slots.append((len(pieces) - 1, name.strip(), default.strip() if bar else None))
            end = found.end()
        pieces.append(content[end:])
        names = tuple(dict.fromkeys(name for _, name, _ in slots))
        return cls(names=names, malformed=tuple(malformed), _pieces=pieces, _slots=tuple(slots))

    @classmethod
    def slot(cls, name: str) -> Self:
        """Nothing but a placeholder, whatever its name."""
        return cls(names=(name,), malformed=(), _pieces=[""], _slots=((0, name, None),))

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """One after the other. What is malformed in them is not told: it was in the whole."""
        pieces: list[str] = []
        slots: list[tuple[int, str, str | None]] = []
        for part in parts:
            slots += ((len(pieces) + place, name, default) for place, name, default in part._slots)
            pieces += part._pieces
        names = tuple(dict.fromkeys(name for _, name, _ in slots))
        return cls(names=names, malformed=(), _pieces=pieces, _slots=tuple(slots))

    def render(self, params: Mapping[str, Any]) -> str:
        """The text for one recipient. Raises `MissingParam` for the first placeholder without a value or default."""
        pieces = self._pieces.copy()
        for piece, name, default in self._slots:
            value = params.get(name)
            if value.__class__ is not str:
                value = written(value)
            if default is not None:
                value = value if value.strip() else default
            elif not value:
                raise MissingParam(name)
            pieces[piece] = value
        return "".join(pieces)

    def filled(self, values: Mapping[str, str]) -> str:
        """The text with what is there, else with defaults; a placeholder without either is left out."""
        pieces = self._pieces.copy()
        for piece, name, default in self._slots:
            pieces[piece] = values.get(name) or default or ""
        return "".join(pieces)


def written(value: object) -> str:
    """A param as people read it; "" for what is none."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | float | Decimal) else ""
