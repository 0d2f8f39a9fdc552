"""Phone numbers as everybody inside writes them: E.164, `+34600123123`.

The full parser takes 70 µs a number, and audiences have millions. Numbers that are written plainly (`+34600123123`,
`0034600123123` or `600123123` with the delivery's region, with blanks or dashes or without) take a cheap road instead,
which gives up wherever only the full parser can tell. A property test holds the two equal.

Numbers are read, never guessed. The full parser is a dialler: it dials letters, takes what stands behind a number for
more of it, and prefers one of two readings. So it is asked only about digits and what may stand between them, and where a
number can be read in two ways it is the one that its plan knows, or none.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from re import Pattern, compile
from typing import Literal

import phonenumbers
from phonenumbers import NumberParseException, PhoneMetadata, PhoneNumber, PhoneNumberFormat, ValidationResult

from app.identities import given_up, identity
from app.written import bare, has_letters, is_shortened

#: E.164 (ITU-T): a plus and at most 15 digits.
MAX_LENGTH = 16

Kind = Literal["landline", "premium_rate", "other"]

_SEPARATED = compile(r"\+?[0-9]+(?:[ -][0-9]+)+")
_LONGEST_DAY = len("2026-11-28")
_NO_SEPARATORS = str.maketrans("", "", " -")


def normalise(raw: str, region: str | None = None) -> str | None:
    """`raw` in E.164, or None when it is no possible number (the length is checked, not whether it was ever given out).

    A number without `+` or `00` is read as one of `region` (ISO 3166 alpha-2); without a region it is none. A text with a
    letter in it is none, but for `tel:` and its like before it. A spelling that its plan has given up is read as the one
    that took its place. What stands for an erased number is none, whatever digits are in it."""
    if raw.startswith("erased:"):  # pseudonyms.PREFIX
        return None
    return _cheaply(raw, region) or _as_written(raw, region)


def of_either(digits: str, region: str) -> str | None:
    """Digits that may be an international number without its plus, or a national one of `region`: the one that is possible;
    where both are, the one that was given out by its plan; None where nobody can tell."""
    readings = normalise(f"+{digits}"), normalise(digits, region)
    found = list(dict.fromkeys(each for each in readings if each))
    return found[0] if len(found) == 1 else _only_valid(found)


Unread = Literal["shortened", "letters", "no_plus", "two_readings", "impossible"]


def why_not(raw: str, region: str | None) -> Unread:
    """Why `normalise` reads nothing: a spreadsheet has shortened it, there are letters, there is no country to read it by, two
    readings are as good as each other, or nothing fits."""
    if is_shortened(raw):
        return "shortened"
    if has_letters(raw):
        return "letters"
    text = bare(raw)
    if text is None or text[0] == "+":
        return "impossible"
    if region is None:
        return "impossible" if normalise(f"+{text}") is None else "no_plus"
    return "two_readings" if _readings(text, region) else "impossible"


def unread(why: Unread | None, region: str | None) -> str:
    """A sentence for whoever gave the number; it repeats nothing of it."""
    if why == "shortened":
        return "A spreadsheet has shortened this number: format its column as text, and give the number whole."
    if why == "letters":
        return "A text with a letter in it is no phone number."
    if why == "no_plus":
        return "The number has no `+`: write it before the country's code (+34…), or give a default region."
    if why == "two_readings":
        return (
            f"The number can be read as one of {region} and as an international one: write a `+` or the leading zero."
        )
    if region is None:
        return "This is not a possible phone number; without a default region only international numbers can be read."
    return f"This is not a possible phone number; national numbers are read as of {region}."


def is_region(region: str) -> bool:
    """True when national numbers of `region` can be read."""
    return region in phonenumbers.SUPPORTED_REGIONS


def country(address: str) -> str | None:
    """ISO 3166 alpha-2 of a number in E.164; None for numbers of no one country (`+800…`), and where several share a
    calling code and none is known to have it."""
    return _place(address)[0]


def kind(address: str) -> Kind:
    """What a number in E.164 is by its country's plan. Where mobiles and landlines look alike (North America) it is
    `other`, as are all that nobody knows."""
    _, plan, national = _place(address)
    if plan is None or not plan.general.matches(national):
        return "other"
    if plan.premium_rate.matches(national):
        return "premium_rate"
    if not plan.fixed_line.matches(national) or plan.mobile.matches(national):
        return "other"
    return "other" if any(each.matches(national) for each in plan.special) else "landline"


# --- the cheap road --------------------------------------------------------------------------------------------------


def _cheaply(raw: str, region: str | None) -> str | None:
    """What the full parser would say of a plainly written number; None when only it can tell."""
    if not raw.isascii():
        return None
    if not raw.isdigit():
        if raw[:1] == "+" and raw[1:].isdigit():
            return _plain(raw)
        if not _SEPARATED.fullmatch(raw) or (len(raw) <= _LONGEST_DAY and raw.count("-") == 2):  # a day, maybe
            return None
        return _cheaply(raw.translate(_NO_SEPARATORS), region)
    home = _home(region) if region else None
    if home is not None:
        return _from_home(raw, home)
    return _plain(f"+{raw[2:]}") if region is None and raw[:2] == "00" else None


def _plain(written: str) -> str | None:
    """`written`, a plus and digits, as it is, or as what took its place."""
    if _is_plain(written):
        return written
    now = given_up(written)
    return now if now is not None and _is_plain(now) else None


def _is_plain(raw: str) -> bool:
    """True when the full parser would give `raw`, a plus and digits, back as it is."""
    for end in (2, 3, 4):
        plan = _international(raw[1:end])
        if plan is not None:
            fits = len(raw) <= MAX_LENGTH and len(raw) - end in plan.lengths
            return fits and (plan.prefix is None or _strips_nothing(plan.prefix, raw, end))
    return False


def _from_home(raw: str, home: "_Home") -> str | None:
    """`raw`, only digits, dialled in a region: with its international prefix, its own calling code, or nationally."""
    abroad = home.international_prefix.match(raw)
    if raw[:2] == "00" and home.international_prefix.pattern != "00":
        return None  # two readings
    if abroad:
        written = f"+{raw[abroad.end() :]}"
        return _plain(written) if written[1:2] != "0" else None
    if raw.startswith(home.calling_code):
        return _plain(f"+{raw}") if len(raw) > home.longest else None
    national = raw
    if home.prefix is not None and not _strips_nothing(home.prefix, raw, 0):
        found = home.prefix.match(raw)
        if found is None or found.lastindex is not None or home.general.fullmatch(raw):
            return None
        national = raw[found.end() :]
    fits = len(national) in home.lengths and len(home.calling_code) + len(national) < MAX_LENGTH
    return f"+{home.calling_code}{national}" if fits else None


def _strips_nothing(prefix: Pattern[str], raw: str, start: int) -> bool:
    found = prefix.match(raw, start)
    return found is None or found.end() == start


@dataclass(frozen=True, slots=True, kw_only=True)
class _International:
    """How numbers behind a calling code are read: their possible lengths, and the prefix that the full parser strips."""

    lengths: frozenset[int]
    prefix: Pattern[str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Home:
    """How numbers are dialled inside a region."""

    calling_code: str
    international_prefix: Pattern[str]
    prefix: Pattern[str] | None
    lengths: frozenset[int]
    longest: int
    general: Pattern[str]


@lru_cache(maxsize=2048)
def _international(calling_code: str) -> _International | None:
    code = int(calling_code or 0)
    regions = None if calling_code[:1] == "0" else phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(code)
    metadata = PhoneMetadata.metadata_for_region_or_calling_code(code, regions[0]) if regions else None
    if metadata is None or metadata.general_desc is None:
        return None
    prefix = metadata.national_prefix_for_parsing
    return _International(
        lengths=frozenset(metadata.general_desc.possible_length), prefix=compile(prefix) if prefix else None
    )


@lru_cache(maxsize=512)
def _home(region: str) -> _Home | None:
    metadata = PhoneMetadata.metadata_for_region(region, None)
    if metadata is None or not metadata.international_prefix or metadata.general_desc is None:
        return None
    calling_code = str(metadata.country_code)
    main = _international(calling_code)
    if main is None:
        return None
    prefix, general = metadata.national_prefix_for_parsing, metadata.general_desc
    lengths = main.lengths & frozenset(general.possible_length)  # both are asked: the region's own, and its code's
    return _Home(
        calling_code=calling_code,
        international_prefix=compile(metadata.international_prefix),
        prefix=compile(prefix) if prefix else None,
        lengths=lengths,
        longest=max((*main.lengths, *general.possible_length, *general.possible_length_local_only)),
        general=compile(general.national_number_pattern or ""),
    )


# --- however it is written -------------------------------------------------------------------------------------------

#: Dialled inside Mexico before August 2019: before the ten digits that there are now.
_ABOLISHED = {"MX": compile(r"0(?:1|2|44|45)([0-9]{10})")}


def _as_written(raw: str, region: str | None) -> str | None:
    text = bare(raw)
    if text is None:
        return None
    found = _readings(text, region)
    if not found:
        return _of_an_older_plan(text, region)
    return found[0] if len(found) == 1 else _only_valid(found)


def _readings(text: str, region: str | None) -> list[str]:
    """All that a bare text can be: one number nearly always."""
    digits = _digits(text)
    home = _home(region) if region else None
    readings = [_parsed(text, region)]
    if text[0] != "+" and digits[:2] == "00":
        readings.append(_parsed(f"+{digits[2:]}", None))
    elif text[0] != "+" and home is not None and digits.startswith(home.calling_code):
        readings.append(_parsed(f"+{digits}", None))
    return list(dict.fromkeys(each for each in readings if each))


def _digits(text: str) -> str:
    return "".join(filter(str.isdigit, text))


def _only_valid(found: list[str]) -> str | None:
    """Of several readings the one that was given out by its plan, if it is the only one. Not a landline's whose own digits are
    a whole international number, too: plans take nearly any digits for some landline, and it would be another person's."""
    valid = [each for each in found if phonenumbers.is_valid_number(phonenumbers.parse(each))]
    if len(valid) != 1:
        return None
    one = valid[0]
    is_national = any(one != each and one.endswith(each[1:]) for each in found)
    return None if is_national and kind(one) == "landline" else one


def _of_an_older_plan(text: str, region: str | None) -> str | None:
    """What no plan reads any more, as the number that took its place."""
    digits = _digits(text)
    home = _home(region) if region else None
    written = [digits] if text[0] == "+" else [digits[2:]] if digits[:2] == "00" else []
    found = set()
    if not written and home is not None and region is not None:
        written = [digits, home.calling_code + digits]
        if region in _ABOLISHED and (dialled := _ABOLISHED[region].fullmatch(digits)):
            found.add(f"+{home.calling_code}{dialled[1]}")
    found |= {now for each in written if (now := identity(f"+{each}")) != f"+{each}"}
    read = {each for each in found if _parsed(each, None) == each}
    return read.pop() if len(read) == 1 else None


# --- what a number is ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pattern:
    lengths: frozenset[int]  # empty: not said
    digits: Pattern[str] | None  # none: no number is such

    def matches(self, national: str) -> bool:
        if self.digits is None or (self.lengths and len(national) not in self.lengths):
            return False
        return self.digits.fullmatch(national) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """A country's numbers by kind, compiled."""

    region: str
    leading_digits: Pattern[str] | None
    general: _Pattern
    premium_rate: _Pattern
    special: tuple[_Pattern, ...]  # freephone, voice over IP… : told before landlines are
    fixed_line: _Pattern
    mobile: _Pattern

    def holds(self, national: str) -> bool:
        if self.leading_digits is not None:
            return self.leading_digits.match(national) is not None
        kinds = (self.premium_rate, *self.special, self.fixed_line, self.mobile)
        return self.general.matches(national) and any(each.matches(national) for each in kinds)


def _place(address: str) -> tuple[str | None, _Plan | None, str]:
    """The country of a number, its plan, and the number without the calling code."""
    for end in (2, 3, 4):
        plans = _plans(address[1:end])
        if plans:
            national = address[end:]
            plan = plans[0] if len(plans) == 1 else next((each for each in plans if each.holds(national)), None)
            known = plan is not None and plan.region != phonenumbers.REGION_CODE_FOR_NON_GEO_ENTITY
            return (plan.region if plan and known else None), plan, national
    return None, None, ""


@lru_cache(maxsize=2048)
def _plans(calling_code: str) -> tuple[_Plan, ...]:
    """Of all regions that share the calling code, in the order in which they are asked."""
    if not calling_code.isdigit() or calling_code[0] == "0":
        return ()
    code = int(calling_code)
    regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(code, ())
    found = ((region, PhoneMetadata.metadata_for_region_or_calling_code(code, region)) for region in regions)
    return tuple(_compiled(region, metadata) for region, metadata in found if metadata is not None)


def _compiled(region: str, metadata: PhoneMetadata) -> _Plan:
    names = ("toll_free", "shared_cost", "voip", "personal_number", "pager", "uan", "voicemail")
    fixed_line = _pattern(metadata.fixed_line)
    return _Plan(
        region=region,
        leading_digits=compile(metadata.leading_digits) if metadata.leading_digits else None,
        general=_pattern(metadata.general_desc),
        premium_rate=_pattern(metadata.premium_rate),
        special=tuple(_given(_pattern(getattr(metadata, name)) for name in names)),
        fixed_line=fixed_line,
        mobile=fixed_line if metadata.same_mobile_and_fixed_line_pattern else _pattern(metadata.mobile),
    )


def _given(patterns: Iterator[_Pattern]) -> Iterator[_Pattern]:
    return (each for each in patterns if each.digits is not None)


def _pattern(described: phonenumbers.PhoneNumberDesc | None) -> _Pattern:
    digits = described.national_number_pattern if described is not None else None
    lengths = described.possible_length if described is not None else ()
    return _Pattern(lengths=frozenset(lengths), digits=compile(digits) if digits else None)


# --- the full parser -------------------------------------------------------------------------------------------------


def _parsed(raw: str, region: str | None) -> str | None:
    try:
        number: PhoneNumber = phonenumbers.parse(raw, region)
    except NumberParseException:
        return None
    possible = phonenumbers.is_possible_number_with_reason(number) == ValidationResult.IS_POSSIBLE
    if not possible or number.extension:
        return None
    written: str = phonenumbers.format_number(number, PhoneNumberFormat.E164)
    return written if len(written) <= MAX_LENGTH else None
