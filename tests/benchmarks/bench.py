"""What all measurements share: the service, the sizes, and a few small sums."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from .service import Service


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much is measured; the targets hold for `FULL`."""

    rounds: int
    seconds: float  # of one round of wrk
    recorded: int  # messages that callbacks are about
    visible: int  # receipts to be seen in the summary
    bulk: int  # rows of one bulk request
    delivery: int  # messages of the large delivery that is read
    readings: int  # of each page
    audience: int  # targets uploaded and prepared


FULL = Sizes(
    rounds=5,
    seconds=10,
    recorded=100_000,
    visible=100_000,
    bulk=200_000,
    delivery=1_000_000,
    readings=200,
    audience=1_000_000,
)
QUICK = Sizes(
    rounds=2, seconds=3, recorded=20_000, visible=20_000, bulk=40_000, delivery=50_000, readings=50, audience=50_000
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    service: Service
    sizes: Sizes


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the rounds' own ratios: what slows a machine for a while slows neighbours alike."""
    return statistics.median(our / their for our, their in zip(ours, theirs, strict=True))


def spread(values: Sequence[float]) -> str:
    """All rounds, for a note."""
    return ", ".join(f"{value:,.0f}".replace(",", " ") for value in values)
