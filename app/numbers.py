"""Phone numbers as everybody inside writes them: E.164, `+34600123123`."""

from functools import lru_cache
from re import Pattern, compile

import phonenumbers
from phonenumbers import NumberParseException, PhoneMetadata, PhoneNumber, PhoneNumberFormat, ValidationResult

#: E.164 (ITU-T): a plus and at most 15 digits.
MAX_LENGTH = 16


def normalise(raw: str, region: str | None = None) -> str | None:
    """`raw` in E.164, or None when it is no possible number (the length is checked, not whether it was ever given out).

    A number without `+` is read as one of `region` (ISO 3166 alpha-2); without a region it is none."""
    if raw[:1] == "+" and raw[1:].isascii() and raw[1:].isdigit() and _is_plain(raw):
        return raw
    return _parsed(raw, region)


def is_region(region: str) -> bool:
    """True when national numbers of `region` can be read."""
    return region in phonenumbers.SUPPORTED_REGIONS


def _is_plain(raw: str) -> bool:
    """True when the full parser would give `raw` back as it is; False when only the full parser can tell."""
    for end in (2, 3, 4):
        plan = _plan(raw[1:end])
        if plan is not None:
            lengths, prefix = plan
            fits = len(raw) <= MAX_LENGTH and len(raw) - end in lengths
            return fits and (prefix is None or not prefix.match(raw, end))
    return False


@lru_cache(maxsize=2048)
def _plan(calling_code: str) -> tuple[frozenset[int], Pattern[str] | None] | None:
    """Lengths of the national numbers behind `calling_code`, and the prefix that the full parser would strip there."""
    code = int(calling_code or 0)
    regions = None if calling_code[:1] == "0" else phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(code)
    metadata = PhoneMetadata.metadata_for_region_or_calling_code(code, regions[0]) if regions else None
    if metadata is None or metadata.general_desc is None:
        return None
    prefix = metadata.national_prefix_for_parsing
    return frozenset(metadata.general_desc.possible_length), compile(prefix) if prefix else None


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
