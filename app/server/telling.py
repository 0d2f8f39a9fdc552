"""What strangers can cause any number of times: each is counted, and told to the log once in a while."""

import time
from collections.abc import Mapping

from prometheus_client import Counter

from app.logs import log

#: One line a cause in so many seconds, with how often it came since the last one.
EVERY_SECONDS = 10.0
#: More causes than this are not told apart; they come from code, or from a bounded table.
_MOST = 1_000


class Seldom:
    """Counts every time in `counter`, labelled by reason; logs as `event` seldom."""

    def __init__(self, event: str, counter: Counter) -> None:
        self._event = event
        self._counter = counter
        #: By reason: when it was last told, and how often it came since.
        self._told: dict[str, tuple[float, int]] = {}

    def tell(self, reason: str, **fields: object) -> None:
        """`reason` is one of few words of ours, `fields` belong to the time that is told."""
        self._counter.labels(reason).inc()
        self._log(reason, reason, fields)

    def tell_of(self, reason: str, whose: str, **fields: object) -> None:
        """The same, with one line for each `whose`."""
        self._counter.labels(reason).inc()
        self._log(f"{reason} {whose}", reason, fields)

    def _log(self, key: str, reason: str, fields: Mapping[str, object]) -> None:
        now = time.monotonic()
        at, times = self._told.get(key, (-EVERY_SECONDS, 0))
        if now - at < EVERY_SECONDS:
            self._told[key] = (at, times + 1)
            return
        if len(self._told) >= _MOST:
            self._told.clear()
        self._told[key] = (now, 0)
        log.warning(self._event, reason=reason, times=times + 1, **fields)
