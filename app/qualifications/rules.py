"""What makes one error like another, and what it means as far as its provider documents it. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from app.gateways.receipt import FailureType, Qualification

State = Literal["keep", "ignore", "to_qualify"]
#: Longest last part of a qualification's key.
KEY_LENGTH = 120
#: Longest name of whose error it is, within a key.
SOURCE_LENGTH = 40
_SOURCE = " @ "
#: What stands in a key for everything that differs between like errors.
VARIABLE = "#MESSAGE#"
#: Longer texts say nothing more about the kind of error, and cost time.
_READ_LENGTH = 500

_MONTHS = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
_DATE = rf"\d{{1,2}}[ -](?:{_MONTHS})[a-z]{{0,6}}[ -]\d{{2,4}}|(?:{_MONTHS})[a-z]{{0,6}} \d{{1,2}}(?:,? \d{{4}})?"
_WORD = r"\w+://\S+|[^\s,;:()\[\]{}\"'<>=]+"
#: Dates with a month's name, and all words: those with a digit, an @ or a scheme are ids, numbers, times, addresses.
_PIECES = re.compile(rf"\b(?P<date>{_DATE})\b|{_WORD}", re.IGNORECASE)
_VARYING = re.compile(r"\d|@|://")
_REPEATED = re.compile(rf"{VARIABLE}(?:[\s:]+{VARIABLE})+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Qualified:
    """What a new qualification row starts with."""

    failure_type: FailureType
    reason: str
    sentence: str
    state: State


UNKNOWN_ERROR = Qualified(
    failure_type="undefined",
    reason="refused",
    sentence="The provider reported an error that nobody has qualified yet: the message failed, the address is left "
    "alone. Look the code up with the provider and qualify it.",
    state="to_qualify",
)


def failure_key(error_code: str | None, error_text: str | None) -> str:
    """The last part of a qualification's key: the code, or without one the text with all that varies taken out."""
    if error_code and (code := error_code.strip()):
        return code[:KEY_LENGTH]
    text = _PIECES.sub(_variable, (error_text or "")[:_READ_LENGTH])
    return _REPEATED.sub(VARIABLE, " ".join(text.split()))[:KEY_LENGTH]


def of_source(key: str, source: str) -> str:
    """`key`, of an error of `source` alone: `UNDELIV 069 @ smsc-1`."""
    return f"{key[: KEY_LENGTH - SOURCE_LENGTH - len(_SOURCE)]}{_SOURCE}{source}"


def _variable(found: re.Match[str]) -> str:
    """The stop behind a word belongs to its sentence, not to the id."""
    word = found[0]
    if not found["date"] and not _VARYING.search(word):
        return word
    return VARIABLE + word[len(word.rstrip(".:!?")) :]


def shown(implementation: str, status: str, code: str) -> str:
    """The key as people read it: `SR Acme UNDELIV 069`."""
    return " ".join(part for part in ("SR", implementation, status, code) if part)


def meaning(table: Mapping[tuple[str, str], Qualification], status: str, code: str) -> Qualified:
    """What the provider documents for this error: for this status and code, else for the code, else for the status. Whose
    error it is does not matter for that."""
    word, code = status.upper(), code.rpartition(_SOURCE)[0] if _SOURCE in code else code
    found = table.get((word, code)) or (code and table.get(("*", code))) or table.get((word, ""))
    if not found:
        return UNKNOWN_ERROR
    return Qualified(
        failure_type=found.failure_type,
        reason=found.reason,
        sentence=found.sentence,
        state="to_qualify" if found.failure_type == "undefined" else "keep",
    )
