"""`{{name}}` in a text: found once, filled a million times. Nothing is evaluated, and a value is never read again."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Self

#: A name has at most 64 characters; blanks around it do not count. Three braces are not two: that is malformed.
PLACEHOLDER = r"(?<!\{)\{\{\s*[A-Za-z_][A-Za-z0-9_.-]{0,63}\s*\}\}(?!\})"
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
    #: The text in pieces, "" where a placeholder stands; and which piece takes which name.
    _pieces: list[str]
    _slots: tuple[tuple[int, str], ...]

    @classmethod
    def parse(cls, content: str) -> Self:
        pieces: list[str] = []
        slots: list[tuple[int, str]] = []
        malformed: list[Malformed] = []
        end = 0
        for found in _TOKEN.finditer(content):
            if not found["good"]:
                malformed.append(Malformed(position=found.start(), snippet=found[0][:_SNIPPET_LENGTH]))
                continue
            pieces += content[end : found.start()], ""
            slots.append((len(pieces) - 1, found[0][2:-2].strip()))
            end = found.end()
        pieces.append(content[end:])
        names = tuple(dict.fromkeys(name for _, name in slots))
        return cls(names=names, malformed=tuple(malformed), _pieces=pieces, _slots=tuple(slots))

    @classmethod
    def slot(cls, name: str) -> Self:
        """Nothing but a placeholder, whatever its name."""
        return cls(names=(name,), malformed=(), _pieces=[""], _slots=((0, name),))

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """One after the other. What is malformed in them is not told: it was in the whole."""
        pieces: list[str] = []
        slots: list[tuple[int, str]] = []
        for part in parts:
            slots += ((len(pieces) + place, name) for place, name in part._slots)
            pieces += part._pieces
        names = tuple(dict.fromkeys(name for _, name in slots))
        return cls(names=names, malformed=(), _pieces=pieces, _slots=tuple(slots))

    def render(self, params: Mapping[str, Any]) -> str:
        """The text for one recipient. Raises `MissingParam` for the first placeholder without a value."""
        pieces = self._pieces.copy()
        for piece, name in self._slots:
            value = params.get(name)
            if value.__class__ is not str:
                value = written(value)
            if not value:
                raise MissingParam(name)
            pieces[piece] = value
        return "".join(pieces)

    def filled(self, values: Mapping[str, str]) -> str:
        """The text with what is there; a placeholder without a value is left out."""
        pieces = self._pieces.copy()
        for piece, name in self._slots:
            pieces[piece] = values.get(name, "")
        return "".join(pieces)


def written(value: object) -> str:
    """A param as people read it; "" for what is none."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | float | Decimal) else ""
