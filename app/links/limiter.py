"""Who asks for short URLs that are none is slowed down, network by network; what is remembered is bounded.

A miss adds one to its network's count, and time takes away. Beyond the budget misses are told to wait, while links that lead
somewhere still do, however far a neighbour goes: behind one address of a phone company are thousands of people, and one who
walks through tokens must not shut out the others. What protects links from him is not this count but the tokens' own check: a
wrong one is refused without asking anybody, and of guesses one in 2^18 is right.
"""

import time
from collections import OrderedDict
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network

#: Misses of one network that are nobody's fault: cut links, favicons, somebody's curiosity.
BUDGET = 60.0
#: Forgiven a second.
RATE = 1.0
#: No count goes further up: who rests is let alone again after some time.
MOST = 1_000.0
_NETWORKS = 20_000


class Limiter:
    """Counts of one process; several add up."""

    def __init__(self) -> None:
        #: By network: the count, and when that was.
        self._counts: OrderedDict[str | None, tuple[float, float]] = OrderedDict()

    def missed(self, network: str | None) -> int:
        """Counts a miss; how many seconds the network must wait before the next, 0 within the budget."""
        count = min(self._count(network) + 1, MOST)
        self._counts[network] = (count, time.monotonic())
        self._counts.move_to_end(network)
        if len(self._counts) > _NETWORKS:
            self._counts.popitem(last=False)
        return _wait(count)

    def _count(self, network: str | None) -> float:
        count, at = self._counts.get(network, (0.0, 0.0))
        return max(count - (time.monotonic() - at) * RATE, 0.0) if count else 0.0


def _wait(count: float) -> int:
    return int(min((count - BUDGET) / RATE, 60)) + 1 if count > BUDGET else 0


@lru_cache(maxsize=4_096)
def network_of(host: str | None) -> str | None:
    """The network of an address: what is kept of a visitor, and what is slowed. None for what is no address."""
    try:
        address = ip_address((host or "").partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    return str(ip_network(f"{address}/{24 if address.version == 4 else 48}", strict=False))
