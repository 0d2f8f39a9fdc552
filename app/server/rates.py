"""How often an API key may ask, and how often a source may ask with none that is valid.

Token buckets in the memory of one process; several processes add up. Callbacks do not pass here: they are never slowed.
A source that tries keys faster than mistakes explain is guessing: then a valid key that has not come from there before is
answered like a wrong one, so that a right guess does not show. Keys that worked from there go on working.
"""

import math
import time
from collections import OrderedDict
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network

from starlette.requests import HTTPConnection

from app import metrics
from app.errors import TooMany
from app.server.telling import Seldom
from app.settings import Settings

KEY_BURST_SECONDS = 10.0
FAILED_BURST_SECONDS = 40.0
#: Sources and keys that are told apart; beyond it those that were seen first are forgotten.
_MOST = 20_000

_failures = Seldom("auth.failed", metrics.auth_failed_total)
_limited = Seldom("http.too_many", metrics.rate_limited_total)


class Buckets:
    """By name: `per_second` tokens flow in, `burst_seconds` of them fit."""

    def __init__(self, per_second: float, burst_seconds: float) -> None:
        self._step = 1 / per_second
        self._burst = max(burst_seconds, self._step)
        #: When each will be full again. Who is not named has a full one.
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def wait(self, name: str) -> float:
        """Seconds until there is a token; 0 when there is one now."""
        return max(self._full_at.get(name, 0.0) + self._step - self._burst - time.monotonic(), 0.0)

    def take(self, name: str) -> float:
        """Takes a token: 0; or says how many seconds there will be none, and takes none."""
        now = time.monotonic()
        full_at = max(self._full_at.get(name, 0.0), now) + self._step
        if full_at - now > self._burst:
            return full_at - now - self._burst
        self._full_at[name] = full_at
        if len(self._full_at) > _MOST:
            self._full_at.popitem(last=False)
        return 0.0


class Rates:
    """Of one process."""

    def __init__(self, settings: Settings) -> None:
        self._keys = Buckets(settings.key_requests_per_second, KEY_BURST_SECONDS)
        self._sources = Buckets(settings.failed_keys_per_second, FAILED_BURST_SECONDS)
        #: Which key has come from which source, and was valid.
        self._proven: OrderedDict[tuple[str, str], None] = OrderedDict()

    def is_guessing(self, source: str) -> bool:
        return self._sources.wait(source) > 0

    def failed(self, source: str, reason: str, hashed: str | None) -> None:
        """A request without a valid key; `hashed`: the beginning of its hash. Raises `TooMany`."""
        _failures.tell_of(reason, source, source=source, key_hash=hashed)
        if wait := self._sources.take(source):
            raise _too_many("source", source, wait)

    def passed(self, source: str, key: str) -> None:
        """A request with a valid key, named `key`. Raises `TooMany`."""
        if (source, key) not in self._proven:
            if wait := self._sources.wait(source):
                raise _too_many("source", source, wait)
            self._proven[source, key] = None
            if len(self._proven) > _MOST:
                self._proven.popitem(last=False)
        if wait := self._keys.take(key):
            raise _too_many("key", key, wait)


def _too_many(what: str, whose: str, wait: float) -> TooMany:
    _limited.tell_of(what, whose, limited=whose)
    told = {
        "key": "Too many requests with this API key.",
        "source": "Too many requests without a valid API key from this address.",
    }
    return TooMany(told[what], retry_after=min(math.ceil(wait), 3_600))


@lru_cache(maxsize=4_096)
def source_of(host: str) -> str:
    """Whom a failed try is counted for: an IPv4 address, an IPv6 /64; `unknown` for what is no address."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is None:
            return str(ip_network(f"{address}/64", strict=False))
        address = address.ipv4_mapped
    return str(address)


def rates_of(connection: HTTPConnection) -> Rates:
    found: Rates = connection.app.state.rates
    return found
