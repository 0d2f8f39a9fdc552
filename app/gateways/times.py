"""Times as providers write them. What is not a time is None: a date is dropped, never invented."""

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

#: A time outside of these is nobody's event: a counter, an unset field, the first day of somebody's calendar.
YEARS = range(1990, 2200)
#: Longer texts are no times.
_LONGEST = 60


def read(text: str) -> datetime | None:
    """A time in any way of writing that can be read in one way only: in UTC where it names its zone, naive where it does not.

    Digits as `local` reads them, SMPP's absolute form, RFC 3339 and its neighbours, mail's. What has no time of the day, a
    year of two digits between separators, or a month that could be a day, is None."""
    if len(text) > _LONGEST:
        return None
    text = text.strip()
    if text.isdigit():
        return local(text)
    try:
        when = _absolute(text) or _iso(text) or _compact(text) or _of_mail(text)
        if when is not None and when.tzinfo is not None:
            when = when.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return when if when is not None and when.year in YEARS else None


def local(digits: str) -> datetime | None:
    """YYMMDDhhmm, YYMMDDhhmmss, YYYYMMDDhhmm, YYYYMMDDhhmmss, or that with hundredths, as a naive local time.

    Twelve digits are read with seconds, as SMPP has it, wherever they can be."""
    if not (digits.isascii() and digits.isdigit()):
        return None
    match len(digits):
        case 10:
            return _of_digits("20" + digits)
        case 12:
            return _of_digits("20" + digits) or _of_digits(digits)
        case 14 | 16:
            return _of_digits(digits[:14])
    return None


def _of_digits(full: str) -> datetime | None:
    """YYYYMMDDhhmm, with or without seconds."""
    full = full.ljust(14, "0")
    year, month, day, hour, minute, second = int(full[:4]), full[4:6], full[6:8], full[8:10], full[10:12], full[12:]
    try:
        when = datetime(year, int(month), int(day), int(hour), int(minute), int(second))
    except ValueError:
        return None
    return when if when.year in YEARS else None


#: SMPP 3.4 §7.1.1: YYMMDDhhmmss, tenths of a second, quarters of an hour ahead of UTC (+) or behind it (-). One that ends
#: in R is a span, not a time.
_ABSOLUTE = re.compile(r"((?:[0-9]{2})?[0-9]{12})[0-9]([0-9]{2})([+-])")
#: The farthest zone.
_QUARTERS = 48


def _absolute(text: str) -> datetime | None:
    found = _ABSOLUTE.fullmatch(text)
    if found is None or int(found[2]) > _QUARTERS:
        return None
    when = _of_digits(found[1] if len(found[1]) == 14 else "20" + found[1])
    if when is None:
        return None
    ahead = timedelta(minutes=15 * int(found[2]))
    return (when - ahead if found[3] == "+" else when + ahead).replace(tzinfo=UTC)


_ISO = re.compile(
    r"([0-9]{4})([-/])([0-9]{2})\2([0-9]{2})[T ]([0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]{1,9})?)?)"
    r"(?: ?(Z|UTC|GMT|[+-][0-9]{2}(?::?[0-9]{2})?))?",
    re.IGNORECASE,
)


def _iso(text: str) -> datetime | None:
    """RFC 3339, also with slashes, without seconds, with `UTC` or an offset without a colon; naive without any."""
    found = _ISO.fullmatch(text)
    if found is None:
        return None
    year, __, month, day, time, zone = found.groups()
    offset = {None: "", "Z": "Z", "UTC": "Z", "GMT": "Z"}.get(zone and zone.upper(), zone)
    return datetime.fromisoformat(f"{year}-{month}-{day}T{time}{offset}")


_COMPACT = re.compile(
    r"([0-9]{8})T?([0-9]{4}(?:[0-9]{2})?)(?:[.,][0-9]{1,9})?(Z|[+-][0-9]{2}(?::?[0-9]{2})?)", re.IGNORECASE
)


def _compact(text: str) -> datetime | None:
    """`20260304T101542Z`, `202603041015+0100`."""
    found = _COMPACT.fullmatch(text)
    when = local(found[1] + found[2]) if found else None
    return datetime.fromisoformat(f"{when.isoformat()}{found[3].upper()}") if found and when else None


#: RFC 5322: `Wed, 04 Mar 2026 10:15:42 +0000`.
_MAIL = re.compile(
    r"(?:[A-Z]{3}, ?)?[0-9]{1,2} [A-Z]{3} [0-9]{4} [0-9]{2}:[0-9]{2}(?::[0-9]{2})? (?:[+-][0-9]{4}|GMT|UTC?)",
    re.IGNORECASE,
)


def _of_mail(text: str) -> datetime | None:
    if _MAIL.fullmatch(text) is None:
        return None
    when = parsedate_to_datetime(text)
    # An offset of -0000 is UTC, of a machine that does not say where it stands.
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when


def in_zone(when: datetime, zone: str) -> datetime:
    """A naive time as the clocks of `zone` show it, in UTC. An hour that comes twice is read as the first."""
    return when.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def unix(text: str) -> datetime | None:
    """Seconds since 1970, in UTC. 0 is an unset field, not a time."""
    if not (text.isascii() and text.isdigit() and len(text) <= 11) or int(text) == 0:
        return None
    when = datetime.fromtimestamp(int(text), UTC)
    return when if when.year in YEARS else None


def rfc3339(text: str) -> datetime | None:
    """RFC 3339 with its zone, in UTC. A time without a zone is None."""
    # `fromisoformat` also takes basic and week dates, which RFC 3339 does not have: the separators tell.
    if len(text) < 20 or text[4] != "-" or text[7] != "-" or text[13] != ":" or text[16] != ":":
        return None
    try:
        when = datetime.fromisoformat(text.upper())
        return None if when.tzinfo is None else when if when.tzinfo is UTC else when.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def checked_zone(name: str | None) -> str | None:
    """`name` when it is an IANA time zone. Raises `ValueError`; for validators of options."""
    if name is None:
        return None
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("not an IANA time zone, such as Europe/Madrid") from error
    return name
