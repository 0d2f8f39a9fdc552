"""What is wrong with a field, in our words: pydantic's own speak of inputs, strings and models.

A fault is the end of a sentence that begins with the field's name (`is missing`, `must be a text`), or, with a capital, a
sentence of its own. None repeats what was sent.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from app.api.fields import SLUG
from app.errors import sayable

Context = Mapping[str, Any]

_QUOTED = re.compile(r"'([^']*)'")
_MOST_CHOICES = 40
#: What the patterns of `app/api/fields.py` and of the models mean.
_PATTERNS: Mapping[str, str] = {
    SLUG: "must be 1 to 63 small letters, digits, `-` or `_`, a letter or digit first",
    r"^[0-9]{1,18}$": "must be an id: 1 to 18 digits",
    r"^[a-z_]{1,40}$": "must be small letters and `_`, 40 at the most",
    r"^[!-~]+$": "must be printable characters without spaces",
}


def _count(number: object, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _length(context: Context, name: str) -> str:
    """Of a list, or of a text that was checked in another way before."""
    of_list = str(context.get("field_type")) in ("List", "Tuple", "Set", "Frozenset", "Dictionary")
    return _count(context[name], *(("item", "items") if of_list else ("character", "characters")))


def _choices(context: Context) -> str:
    found = _QUOTED.findall(str(context.get("expected", ""))) or _QUOTED.findall(str(context.get("expected_tags", "")))
    return f"must be one of {', '.join(found[:_MOST_CHOICES])}" if found else "must be another value"


_FAULTS: Mapping[str, Callable[[Context], str]] = {
    "missing": lambda _: "is missing",
    "extra_forbidden": lambda _: "is no field here",
    "string_type": lambda _: "must be a text",
    "string_unicode": lambda _: "must be a text in UTF-8",
    "string_too_short": lambda c: f"must have at least {_count(c['min_length'], 'character', 'characters')}",
    "string_too_long": lambda c: f"must have at most {_count(c['max_length'], 'character', 'characters')}",
    "string_pattern_mismatch": lambda c: _PATTERNS.get(str(c["pattern"]), "has another form than it must have"),
    "literal_error": _choices,
    "enum": _choices,
    "union_tag_invalid": _choices,
    "union_tag_not_found": lambda c: f"must say its {str(c.get('discriminator', 'kind')).strip(chr(39))}",
    "int_type": lambda _: "must be a whole number",
    "int_parsing": lambda _: "must be a whole number",
    "int_from_float": lambda _: "must be a whole number",
    "int_parsing_size": lambda _: "must be a smaller number",
    "float_type": lambda _: "must be a number",
    "float_parsing": lambda _: "must be a number",
    "finite_number": lambda _: "must be a number",
    "bool_type": lambda _: "must be true or false",
    "bool_parsing": lambda _: "must be true or false",
    "none_required": lambda _: "must be null",
    "greater_than_equal": lambda c: f"must be at least {c['ge']}",
    "greater_than": lambda c: f"must be more than {c['gt']}",
    "less_than_equal": lambda c: f"must be at most {c['le']}",
    "less_than": lambda c: f"must be less than {c['lt']}",
    "multiple_of": lambda c: f"must be a multiple of {c['multiple_of']}",
    "list_type": lambda _: "must be a list",
    "tuple_type": lambda _: "must be a list",
    "set_type": lambda _: "must be a list",
    "too_short": lambda c: f"must have at least {_length(c, 'min_length')}",
    "too_long": lambda c: f"must have at most {_length(c, 'max_length')}",
    "dict_type": lambda _: "must be an object",
    "model_type": lambda _: "must be an object",
    "model_attributes_type": lambda _: "must be an object",
    "dataclass_type": lambda _: "must be an object",
    "invalid_key": lambda _: "must be a name in text",
    "json_invalid": lambda _: "is not JSON",
    "json_type": lambda _: "must be JSON in text",
    "recursion_loop": lambda _: "is nested too deeply",
    "url_parsing": lambda _: "must be a URL",
    "url_type": lambda _: "must be a URL",
    "url_scheme": lambda _: "must be a URL with another scheme",
    "url_too_long": lambda _: "must be a shorter URL",
}


def fault(error: Mapping[str, Any]) -> str:
    """Of one of pydantic's errors, without a full stop at its end. What our own checks say stays as it is."""
    words = _FAULTS.get(error["type"])
    if words is not None:
        return words(error.get("ctx") or {})
    return str(error["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ").rstrip(".")


def named(place: Sequence[int | str], said: str) -> str:
    """The sentence: where, and what is wrong there. Names that are not ours can be anything, and are not repeated."""
    end = "" if said.endswith(("!", "?")) else "."
    where = name_of(place)
    if not where:
        return f"{said[:1].upper()}{said[1:]}{end}"
    return f"`{where}` {said}{end}" if _goes_on(said) else f"`{where}`: {said}{end}"


def name_of(place: Sequence[int | str]) -> str:
    found = ""
    for step in place:
        if isinstance(step, int):
            found += f"[{step}]"
        else:
            found += ("." if found else "") + (step if sayable(step) else "…")
    return found


def _goes_on(said: str) -> bool:
    return said.startswith(("must ", "is ", "has ", "cannot "))
