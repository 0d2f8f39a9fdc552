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
    #: The text in pieces, "" where a placeholder stands; which piece takes which name; and which has which default.
    _pieces: list[str]
    _slots: tuple[tuple[int, str], ...]
    _defaults: Mapping[int, str]

    @property
    def required(self) -> tuple[str, ...]:
        """Those that stand somewhere without a default: who has no value for one of them has no text."""
        return tuple(dict.fromkeys(name for piece, name in self._slots if piece not in self._defaults))

    @property
    def defaults(self) -> Mapping[str, str]:
        """Of each name that has one, the longest."""
        found: dict[str, str] = {}
        for piece, name in self._slots:
            default = self._defaults.get(piece)
            if default is not None and len(default) >= len(found.get(name, "")):
                found[name] = default
        return found

    @classmethod
    def parse(cls, content: str) -> Self:
        pieces: list[str] = []
        slots: list[tuple[int, str]] = []
        defaults: dict[int, str] = {}
        malformed: list[Malformed] = []
        end = 0
        for found in _TOKEN.finditer(content):
            if not found["good"]:
                malformed.append(Malformed(position=found.start(), snippet=found[0][:_SNIPPET_LENGTH]))
                continue
            pieces += content[end : found.start()], ""
            name, bar, default = found[0][2:-2].partition("|")
            slots.append((len(pieces) - 1, name.strip()))
            if bar:
                defaults[len(pieces) - 1] = default.strip()
            end = found.end()
        pieces.append(content[end:])
        return cls._of(pieces, slots, defaults, malformed)

    @classmethod
    def slot(cls, name: str) -> Self:
        """Nothing but a placeholder, whatever its name."""
        return cls._of([""], [(0, name)], {})

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """One after the other. What is malformed in them is not told: it was in the whole."""
        pieces: list[str] = []
        slots: list[tuple[int, str]] = []
        defaults: dict[int, str] = {}
        for part in parts:
            slots += ((len(pieces) + place, name) for place, name in part._slots)
            defaults |= {len(pieces) + place: default for place, default in part._defaults.items()}
            pieces += part._pieces
        return cls._of(pieces, slots, defaults)

    @classmethod
    def _of(
        cls,
        pieces: list[str],
        slots: Sequence[tuple[int, str]],
        defaults: Mapping[int, str],
        malformed: Sequence[Malformed] = (),
    ) -> Self:
        names = tuple(dict.fromkeys(name for _, name in slots))
        return cls(names=names, malformed=tuple(malformed), _pieces=pieces, _slots=tuple(slots), _defaults=defaults)

    def render(self, params: Mapping[str, Any]) -> str:
        """The text for one recipient. Raises `MissingParam` for the first placeholder without a value or default."""
        if self._defaults:
            return self._render_with_defaults(params)
        pieces = self._pieces.copy()
        for piece, name in self._slots:
            value = params.get(name)
            if value.__class__ is not str:
                value = written(value)
            if not value:
                raise MissingParam(name)
            pieces[piece] = value
        return "".join(pieces)

    def _render_with_defaults(self, params: Mapping[str, Any]) -> str:
        """Apart, so that texts without any take no longer."""
        pieces = self._pieces.copy()
        for piece, name in self._slots:
            value = written(params.get(name))
            default = self._defaults.get(piece)
            if default is not None and not value.strip():
                value = default
            elif not value:
                raise MissingParam(name)
            pieces[piece] = value
        return "".join(pieces)

    def filled(self, values: Mapping[str, str]) -> str:
        """The text with what is there, else with defaults; a placeholder without either is left out."""
        pieces = self._pieces.copy()
        for piece, name in self._slots:
            pieces[piece] = values.get(name) or self._defaults.get(piece, "")
        return "".join(pieces)


def written(value: object) -> str:
    """A param as people read it; "" for what is none."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | float | Decimal) else ""
