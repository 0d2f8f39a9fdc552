"""The indicators of a delivery, from sums of its counters. Pure; the formulas are those of domain.md §9."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from app.tables import MESSAGE_STATUSES

IN_TRANSIT = ("pending", "submitted", "accepted", "sent")
#: Latency class n holds seconds from GROWTH^n to GROWTH^(n+1) (`messages/queries.sql`, `counted`).
GROWTH = 1.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """What stands beside the messages: exclusions, quarantine, replies and clicks."""

    excluded_by_reason: Mapping[str, int]
    new_quarantines: int
    clicks: int
    unique_clicks: int
    machine_clicks: int
    #: From phones that its messages went to, and those of them that opted out.
    replies: int
    opt_outs: int
    #: Messages that a person opened though they failed, or no receipt came.
    doubtful: int

    @property
    def excluded(self) -> int:
        return sum(self.excluded_by_reason.values())


#: The counters' metrics that `beside` is made from.
BESIDE = ("excluded", "new_quarantines", "replies", "clicks", "unique_clicks", "doubtful")


def beside(counts: Iterable[tuple[str, str, int]]) -> Beside:
    """The one place where exclusions, new quarantines and clicks come from: of `(metric, label, value)` those in
    `BESIDE`."""
    excluded: dict[str, int] = {}
    sums: Counter[str] = Counter()
    for metric, label, value in counts:
        if metric == "excluded" and value:
            excluded[label] = int(value)
        elif metric == "clicks":
            sums["clicks" if label == "human" else "machine_clicks"] += int(value)
        elif metric in BESIDE:
            if metric == "replies" and label == "denylist":
                sums["opt_outs"] += int(value)
            sums[metric] += int(value)
    return Beside(
        excluded_by_reason=excluded,
        new_quarantines=sums["new_quarantines"],
        clicks=sums["clicks"],
        unique_clicks=sums["unique_clicks"],
        machine_clicks=sums["machine_clicks"],
        replies=sums["replies"],
        opt_outs=sums["opt_outs"],
        doubtful=sums["doubtful"],
    )


def main_indicators(by_status: Mapping[str, int], other: Beside) -> dict[str, int]:
    """The figures that every list of deliveries shows."""
    count = {status: int(by_status.get(status, 0)) for status in MESSAGE_STATUSES}
    to_send = sum(count.values())
    return {
        "targeted": to_send + other.excluded,
        "to_send": to_send,
        "processed": count["received"] + count["failed"],
        "success": count["received"],
        "errors": count["failed"],
        "no_receipt": count["no_receipt"],
        "in_transit": sum(count[status] for status in IN_TRANSIT),
        "cancelled": count["cancelled"],
        "excluded": other.excluded,
        "new_quarantines": other.new_quarantines,
        "clicks": other.clicks,
        "unique_clicks": other.unique_clicks,
        "machine_clicks": other.machine_clicks,
        "replies": other.replies,
        "opt_outs": other.opt_outs,
    }


def share(part: int, whole: int) -> float | None:
    """`part / whole` with four decimals; None where there is nothing to divide by."""
    return round(part / whole, 4) if whole else None


def percentile(classes: Iterable[tuple[int, int]], quantile: float) -> float | None:
    """Seconds under which `quantile` of all latencies lie, from `(class, count)`; None when there are none.

    Interpolated inside its class on a logarithmic scale: at most 5 % off, and usually far less."""
    ordered = sorted((number, count) for number, count in classes if count > 0)
    rank = quantile * sum(count for _, count in ordered)
    below = 0
    for number, count in ordered:
        if below + count >= rank:
            return _rounded(math.pow(GROWTH, number + (rank - below) / count))
        below += count
    return None


def _rounded(seconds: float) -> float:
    """Three significant digits: more would pretend to know."""
    return float(f"{seconds:.3g}")
