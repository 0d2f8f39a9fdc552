"""Beyond some clicks a minute of one token, counts stand in place of rows: whoever forges clicks fills no disk with them.

Of one token from one network, and of one token from all networks together (whoever invents networks). One row stands for such a
minute, whose id all processes make alike; each says how many clicks it has counted so far, and that number only grows. So a row
that comes twice, over the spool, counts once, and what several processes counted is added up where it is applied.
"""

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from app.links.clicks import ClickRow
from app.links.machines import RULES_VERSION

REASON = "burst"
#: Clicks that are counted become durable so much later at the most; their redirects do not wait.
_EVERY_SECONDS = 1.0
#: What is remembered of one minute.
_MOST = 200_000
_MINUTE_MS = 60_000
_CHANCE_BITS = 20

Token = tuple[int, int]  # message, link
Key = tuple[int, int, str | None]


@dataclass(slots=True)
class _Burst:
    delivery_id: int
    minute: int
    count: int = 0
    told: int = 0
    timer: asyncio.TimerHandle | None = None


@dataclass(slots=True, kw_only=True)
class Bursts:
    """Counts of one process. `offer` takes a row on the road of clicks; it may refuse, and is asked again with the next."""

    process: str
    offer: Callable[[ClickRow], object]
    most_of_network: int
    most_of_token: int
    _minute: int = 0
    _counts: dict[Key, int] = field(default_factory=dict)
    _of_token: dict[Token, int] = field(default_factory=dict)
    _bursts: dict[tuple[int, Key], _Burst] = field(default_factory=dict)

    def counted(self, message_id: int, delivery_id: int, link: int, network: str | None, at: float) -> bool:
        """Whether this click, at `at` (seconds since 1970), is one of too many: then it is counted here, and needs no row."""
        minute = int(at) // 60
        if minute != self._minute or len(self._counts) >= _MOST:
            self._minute = minute
            self._counts.clear()
            self._of_token.clear()
        token, key = (message_id, link), (message_id, link, network)
        self._counts[key] = of_network = self._counts.get(key, 0) + 1
        if of_network > self.most_of_network:
            self._count(key, delivery_id, minute)
            return True
        self._of_token[token] = of_token = self._of_token.get(token, 0) + 1
        if of_token > self.most_of_token:
            self._count((message_id, link, None), delivery_id, minute)
            return True
        return False

    def _count(self, key: Key, delivery_id: int, minute: int) -> None:
        burst = self._bursts.setdefault((minute, key), _Burst(delivery_id, minute))
        burst.count += 1
        if burst.timer is None:
            burst.timer = asyncio.get_running_loop().call_later(_EVERY_SECONDS, self._tell, key, burst)

    def _tell(self, key: Key, burst: _Burst) -> None:
        burst.timer = None
        if burst.count > burst.told:
            burst.told = burst.count
            self.offer(self._row(key, burst))
        if burst.minute != self._minute:
            self._bursts.pop((burst.minute, key), None)

    def flush(self) -> None:
        """Hands over all that was counted and not told yet: the process ends."""
        for (_, key), burst in list(self._bursts.items()):
            if burst.timer is not None:
                burst.timer.cancel()
                self._tell(key, burst)

    def _row(self, key: Key, burst: _Burst) -> ClickRow:
        message_id, link, network = key
        return ClickRow(
            burst_id(message_id, link, network, burst.minute), message_id, burst.delivery_id, link,
            datetime.fromtimestamp(burst.minute * 60, UTC), False, [REASON], "other", "",
            {"counted": {self.process: burst.count}}, network, RULES_VERSION, burst.count,
        )  # fmt: skip


def burst_id(message_id: int, link: int, network: str | None, minute: int) -> int:
    """The same in every process: within the minute, as clicks' ids follow time."""
    said = hashlib.blake2b(f"{message_id} {link} {network}".encode(), digest_size=8).digest()
    chance = int.from_bytes(said, "big")
    return minute * _MINUTE_MS + chance % _MINUTE_MS << _CHANCE_BITS | (chance >> 24) % (1 << _CHANCE_BITS)
