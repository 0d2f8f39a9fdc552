"""What will happen to each message, and what the books must say afterwards. Pure, and the same for the same seed.

All numbers are reserved for fiction: +44 7700 900000–900999 (Ofcom, mobile) and 555-0100 to 555-0199 in every area
code of the North American plan.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from random import Random
from typing import Any, Literal

Side = Literal["json", "kannel"]
Said = Literal["accepted", "sent", "failed", "received", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One way to fail: what the gateway says, and what the service must make of it."""

    word: str
    code: str | None = None
    text: str | None = None
    #: The network's own code, as Kannel hands it on in its meta-data.
    meta: str | None = None
    failure_type: str
    reason: str
    weight: int


#: Of the JSON gateway: states of SMPP, and codes of its own that nobody has qualified yet.
JSON_FAILURES = (
    Failure(word="EXPIRED", failure_type="soft", reason="unreachable", weight=40),
    Failure(word="DELETED", failure_type="ignored", reason="error_ignored", weight=8),
    Failure(
        word="UNDELIV", code="301", text="Absent subscriber", failure_type="undefined", reason="refused", weight=30
    ),
    Failure(
        word="REJECTD", code="spam-7", text="Content filter", failure_type="undefined", reason="refused", weight=12
    ),
    Failure(word="failed", text="Route 4711 gave up", failure_type="undefined", reason="refused", weight=10),
)
#: Of Kannel: the SMSC's `stat` and `err`, the network's code, or a refused submission.
KANNEL_FAILURES = (
    Failure(word="2", text="EXPIRED 000", failure_type="soft", reason="unreachable", weight=30),
    Failure(
        word="2", text="UNDELIV 000", meta="%03%00%01", failure_type="hard", reason="user_unknown", weight=25
    ),
    Failure(
        word="2", text="UNDELIV 000", meta="%03%00%20", failure_type="soft", reason="mailbox_full", weight=10
    ),
    Failure(word="2", text="UNDELIV 069", failure_type="undefined", reason="refused", weight=20),
    Failure(
        word="16", text="NACK/0x0000000b/Invalid Destination Address", failure_type="hard", reason="invalid_address",
        weight=15,
    ),
)  # fmt: skip
FAILURES = {"json": JSON_FAILURES, "kannel": KANNEL_FAILURES}
WORDS: dict[Side, dict[Said, str]] = {
    "json": {"accepted": "queued", "sent": "sent", "received": "delivered", "unknown": "held for review"},
    "kannel": {"accepted": "8", "sent": "32", "received": "1"},
}

#: As many as there are numbers for, nearly.
MOST_MESSAGES = 70_000
_KANNEL_SHARE = 0.2
_EARLY_SHARE = 0.1
_LONG_SHARE = 0.04
_REPEATED_SHARE = 0.05
_REVERSED_SHARE = 0.06
_LATE_SHARE = 0.01
#: What becomes of messages, by weight.
_STORIES = {"delivered": 905, "failed": 75, "silent": 12, "contradicted": 4, "puzzling": 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One receipt as a gateway will send it. Times are seconds since sending began."""

    side: Side
    message: int
    part: int
    said: Said
    word: str
    failure: Failure | None = None
    happened: float
    #: When it is sent: later than it happened.
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    number: int
    side: Side
    address: str
    #: One provider message id a part, as a number; each gateway writes it in its own way.
    ids: tuple[int, ...]
    #: Its submission is told only after its receipts came.
    early: bool
    reports: tuple[Report, ...]


def plan(count: int, *, seconds: float, seed: int) -> list[Message]:
    """`count` messages whose receipts come within about `seconds`."""
    chance = Random(seed)
    addresses = _fictional_numbers()
    return [_message(number, next(addresses), seconds, chance) for number in range(1, count + 1)]


def _fictional_numbers() -> Iterator[str]:
    yield from (f"+447700900{last:03}" for last in range(1_000))
    for first, second, third, last in product("23456789", "012345678", "0123456789", range(100)):
        if second + third != "11":  # 911 and its like are no area codes
            yield f"+1{first}{second}{third}55501{last:02}"


def _message(number: int, address: str, seconds: float, chance: Random) -> Message:
    side: Side = "kannel" if chance.random() < _KANNEL_SHARE else "json"
    parts = chance.choice((2, 3)) if chance.random() < _LONG_SHARE else 1
    early = chance.random() < _EARLY_SHARE
    story = chance.choices(list(_STORIES), list(_STORIES.values()))[0]
    unlucky = chance.randint(1, parts)  # the part that the story is about; the others arrive
    reports: list[Report] = []
    for part in range(1, parts + 1):
        tale = _told(side, number, part, story if part == unlucky else "delivered", chance)
        reports += _in_time(tale, seconds / 2 if early else seconds, chance)
    ids = tuple(1_000_000 + number * 4 + part for part in range(parts))
    return Message(number=number, side=side, address=address, ids=ids, early=early, reports=tuple(reports))


def _told(side: Side, message: int, part: int, story: str, chance: Random) -> list[Report]:
    """The reports about one part in the order in which they happen; the times are filled in by `_in_time`."""
    said: list[Said] = ["accepted"]
    if chance.random() < 0.6:
        said.append("sent")
    if story == "puzzling" and side == "json":
        said.append("unknown")
    if story in ("failed", "contradicted"):
        said.append("failed")
    if story not in ("failed", "silent"):
        said.append("received")
    failures = FAILURES[side]
    failure = chance.choices(failures, [each.weight for each in failures])[0]
    return [
        Report(
            side=side, message=message, part=part, said=each, happened=0, at=0,
            word=failure.word if each == "failed" else WORDS[side][each],
            failure=failure if each == "failed" else None,
        )
        for each in said
    ]  # fmt: skip


def _in_time(tale: Sequence[Report], seconds: float, chance: Random) -> list[Report]:
    """`tale` with its times: minutes of a real network are seconds here. Some reports overtake, come late, or twice."""
    began = chance.uniform(0, 0.5) * seconds
    spread = 0.4 * seconds
    steps = sorted(min(chance.lognormvariate(-1.6, 0.8), 1.0) * spread for _ in tale)
    told = [
        replace(report, happened=math.floor((began + step) * 1000) / 1000, at=began + step)
        for report, step in zip(tale, steps, strict=True)
    ]
    if len(told) > 1 and chance.random() < _REVERSED_SHARE:
        times = [report.at for report in reversed(told)]
        told = [replace(report, at=max(at, report.happened)) for report, at in zip(told, times, strict=True)]
        told = [replace(told[0], at=told[-1].at + 0.02 * seconds), *told[1:]]
    if chance.random() < _LATE_SHARE:
        told[-1] = replace(told[-1], at=seconds)
    repeats = [replace(each, at=each.at + 0.03 * seconds) for each in told if chance.random() < _REPEATED_SHARE]
    return told + repeats


# --- the books -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """What the service's summary must say, by the same names."""

    by_status: dict[str, int]
    by_failure_type: dict[str, int]
    by_reason: dict[str, int]
    by_side: dict[str, dict[str, int]]
    parts: dict[str, int]
    contradictory: int
    unknown_receipts: int

    def differences(self, summary: dict[str, Any]) -> list[str]:
        """One sentence for each figure of the summary that is another one."""
        told = [
            ("parts", self.parts, summary["parts"]),
            ("contradictory", self.contradictory, summary["contradictory"]),
            ("unknown_receipts", self.unknown_receipts, summary["unknown_receipts"]),
        ]
        for name, ours in (
            ("by_status", self.by_status), ("by_failure_type", self.by_failure_type), ("by_reason", self.by_reason),
        ):  # fmt: skip
            told.append((name, _without_zeros(ours), _without_zeros(summary[name])))
        return [
            f"{name}: the gateways did {ours}, the summary says {theirs}"
            for name, ours, theirs in told
            if ours != theirs
        ]


class Books:
    """What the gateways did: only what was acknowledged counts, and counts once."""

    def __init__(self, messages: Iterable[Message]) -> None:
        self._messages = {message.number: message for message in messages}
        self._heard: dict[int, dict[tuple[int, str, float], Report]] = {number: {} for number in self._messages}
        self.acknowledged = 0

    def heard(self, report: Report) -> None:
        self.acknowledged += 1
        self._heard[report.message][report.part, report.word, report.happened] = report

    def totals(self) -> Totals:
        statuses: Counter[tuple[str, str]] = Counter()
        failures: Counter[Failure] = Counter()
        received = contradictory = unknown = 0
        for number, message in self._messages.items():
            reports = list(self._heard[number].values())
            status = _status(message, reports)
            statuses[message.side, status] += 1
            received += len({each.part for each in reports if each.said == "received"})
            unknown += sum(each.said == "unknown" for each in reports)
            failed = [each.failure for each in reports if each.failure]
            contradictory += status == "received" and bool(failed)
            if status == "failed" and failed[0]:
                failures[failed[0]] += 1
        return Totals(
            by_status=_summed((status, n) for (_, status), n in statuses.items()),
            by_failure_type=_summed((each.failure_type, n) for each, n in failures.items()),
            by_reason=_summed((each.reason, n) for each, n in failures.items()),
            by_side={side: {s: n for (of, s), n in statuses.items() if of == side} for side in WORDS},
            parts={"total": sum(len(each.ids) for each in self._messages.values()), "received": received},
            contradictory=contradictory,
            unknown_receipts=unknown,
        )


_STRENGTH = {"accepted": 0, "sent": 1, "failed": 2, "received": 3}


def _status(message: Message, reports: Sequence[Report]) -> str:
    """Failed as soon as one part is, received when all are, else the weakest; each part by its strongest report."""
    parts = [
        max(
            (each.said for each in reports if each.part == part and each.said in _STRENGTH),
            key=_STRENGTH.__getitem__,
            default="accepted",
        )
        for part in range(1, len(message.ids) + 1)
    ]
    return "failed" if "failed" in parts else min(parts, key=_STRENGTH.__getitem__)


def _summed(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    sums: Counter[str] = Counter()
    for name, count in pairs:
        sums[name] += count
    return dict(sums)


def _without_zeros(figures: dict[str, int]) -> dict[str, int]:
    return {name: count for name, count in sorted(figures.items()) if count}
