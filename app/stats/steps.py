"""The steps of a time series: `5m`, `1h`, `1d`, or ISO 8601 (`PT5M`, `P1D`). Whole minutes, at most a year."""

import re
from datetime import datetime

#: More points than this no chart shows.
MAX_POINTS = 2_000
#: Points that a series without a given step aims at.
_AIM = 240
_AUTOMATIC = (1, 5, 15, 30, 60, 180, 360, 720, 1_440, 10_080)
_MAX_MINUTES = 366 * 1_440
_SHORT = re.compile(r"(\d{1,6})([mhd])", re.ASCII)
_ISO = re.compile(r"P(?:(\d{1,3})D)?(?:T(?:(\d{1,4})H)?(?:(\d{1,6})M)?)?", re.ASCII)
_UNIT_MINUTES = {"m": 1, "h": 60, "d": 1_440}


def minutes_of(step: str) -> int | None:
    """Minutes of a step as written, or None when it is none."""
    minutes = 0
    if found := _SHORT.fullmatch(step):
        minutes = int(found[1]) * _UNIT_MINUTES[found[2]]
    elif found := _ISO.fullmatch(step):
        days, hours, rest = (int(number or 0) for number in found.groups())
        minutes = (days * 24 + hours) * 60 + rest
    return minutes if 0 < minutes <= _MAX_MINUTES else None


def automatic(start: int, end: int) -> int:
    """The finest usual step that keeps `start`–`end` (minutes) a readable chart."""
    fitting = (step for step in _AUTOMATIC if (end - start) / step <= _AIM)
    return next(fitting, -(-(end - start) // _AIM))


def iso(minutes: int) -> str:
    """`PT5M`, `P1D`: the step as ISO 8601 writes it."""
    days, rest = divmod(minutes, 1_440)
    hours, rest = divmod(rest, 60)
    date = f"{days}D" if days else ""
    time = (f"{hours}H" if hours else "") + (f"{rest}M" if rest else "")
    return f"P{date}" + (f"T{time}" if time else "")


def minute(at: datetime) -> int:
    """Minutes since 1970, rounded down."""
    return int(at.timestamp() // 60)
