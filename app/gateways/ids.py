"""Message ids in other clothes: hexadecimal or decimal, leading zeros, capitals, dashes.

The same id often comes written differently in the answer to a submission and in the receipt. Options of the gateway
say how each is written (`submission_id_format`, `receipt_id_format`); both are brought to one canonical text and
compared as that. Nothing is guessed: an id that does not fit its format stays as it is.
"""

import re
from collections.abc import Callable, Mapping
from typing import get_args

from app.gateways.receipt import MAX_ID_LENGTH, IdFormat

_HEX_NUMBER = re.compile(r"(?:0x)?[0-9a-f]+", re.ASCII | re.IGNORECASE)
_HEX_NAME = re.compile(r"(?:0x)?-*[0-9a-f][0-9a-f-]*", re.ASCII | re.IGNORECASE)


def canonical(raw: str, fmt: IdFormat) -> str:
    """The one text under which an id written in `fmt` is stored and looked up.

    A hexadecimal number becomes its decimal text, so that it meets a decimal receipt. All formats but `hexadecimal`
    are idempotent; apply it once, to the id as sent.
    """
    text = raw.strip()
    if fmt == "as_is" or len(text) > MAX_ID_LENGTH:
        return text
    return _FORMS[fmt](text)


def alternatives(raw: str, fmt: IdFormat) -> dict[IdFormat, str]:
    """What `raw` would be under each *other* format where that makes a difference: for "another option would match"."""
    present = canonical(raw, fmt)
    others = {other: canonical(raw, other) for other in FORMATS if other != fmt}
    return {other: form for other, form in others.items() if form != present}


def fault(name: str, raw: str) -> str | None:
    """Why `raw` cannot be kept as an id, as a sentence that starts with `name`; None when it can."""
    if len(raw) > MAX_ID_LENGTH:
        return f"{name} is longer than {MAX_ID_LENGTH} characters"
    if "\x00" in raw:
        return f"{name} contains a NUL character"
    return None


def _decimal(text: str) -> str:
    return (text.lstrip("0") or "0") if text.isascii() and text.isdigit() else text


def _hexadecimal(text: str) -> str:
    return str(int(text, 16)) if _HEX_NUMBER.fullmatch(text) else text


def _hex_string(text: str) -> str:
    if not _HEX_NAME.fullmatch(text):
        return text
    return text.lower().removeprefix("0x").replace("-", "").lstrip("0") or "0"


FORMATS: tuple[IdFormat, ...] = get_args(IdFormat)
_FORMS: Mapping[IdFormat, Callable[[str], str]] = {
    "decimal": _decimal,
    "hexadecimal": _hexadecimal,
    "hex_string": _hex_string,
}
