"""Times as providers write them. What is not a time is None: a date is dropped, never invented."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

#: Years that a 14 digit date may name; others are a counter or an unset field.
_SANE_YEARS = range(1970, 2200)


def local(digits: str) -> datetime | None:
    """YYMMDDhhmm, YYMMDDhhmmss or YYYYMMDDhhmmss as a naive local time."""
    if not (digits.isascii() and digits.isdigit() and len(digits) in (10, 12, 14)):
        return None
    full = (digits if len(digits) == 14 else "20" + digits).ljust(14, "0")
    year, month, day, hour, minute, second = int(full[:4]), full[4:6], full[6:8], full[8:10], full[10:12], full[12:]
    try:
        when = datetime(year, int(month), int(day), int(hour), int(minute), int(second))
    except ValueError:
        return None
    return when if when.year in _SANE_YEARS else None


def in_zone(naive: datetime, zone: str) -> datetime:
    """`naive` as the clocks of `zone` show it, in UTC. An hour that comes twice is read as the first."""
    return naive.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def unix(text: str) -> datetime | None:
    """Seconds since 1970, in UTC. 0 is an unset field, not a time."""
    if not (text.isascii() and text.isdigit() and len(text) <= 11) or int(text) == 0:
        return None
    when = datetime.fromtimestamp(int(text), UTC)
    return when if when.year in _SANE_YEARS else None


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
