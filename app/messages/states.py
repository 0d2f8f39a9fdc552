"""The fold, pure: what a message's status is, from its facts alone.

`queries.sql` does the same to a whole batch; a property test feeds both and they agree. The result is a maximum over a
total order of evidence (rank, time, receipt id), so order and repetition of the facts cannot matter.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum


class Status(IntEnum):
    """Weakest evidence to strongest; the names are those of the database's `message_status`."""

    PENDING = 0
    CANCELLED = 1
    SUBMITTED = 2
    ACCEPTED = 3
    SENT = 4
    NO_RECEIPT = 5
    FAILED = 6
    RECEIVED = 7


#: A gateway's clock may run ahead of ours by this much before its time is not believed.
TOLERATED_LEAD = timedelta(minutes=10)
#: The part under which evidence about the whole message is filed.
WHOLE = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """One submission. `qualification` names the error when the submission itself failed."""

    id: int
    at: datetime
    with_id: bool
    failed: bool = False
    qualification: object = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One receipt, under the key (`correlation`) that found the message. `status` None: a word nobody knows."""

    id: int
    correlation: int
    fingerprint: int
    status: Status | None
    received_at: datetime
    occurred_at: datetime | None = None
    qualification: object = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    created_at: datetime
    handovers: Sequence[Handover] = ()
    reports: Sequence[Report] = ()
    #: The keys that are parts: ids that a submission gave; where none gave any, ids that receipts brought.
    parts: frozenset[int] = frozenset()
    cancelled_at: datetime | None = None
    expired_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    status: Status
    occurred_at: datetime
    qualification: object = None
    receipt_id: int | None = None
    parts: int = 1
    parts_received: int = 0
    contradictory: bool = False
    unknown_receipts: int = 0
    #: First time each of accepted, sent, failed and received was reached.
    reached: Mapping[Status, datetime] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, order=True)
class Evidence:
    """Compares as evidence does: rank first, then time, then id."""

    status: Status
    at: datetime
    id: int
    part: int
    qualification: object = field(compare=False)


def fold(facts: Facts) -> State:
    """The message's state: that of the strongest evidence, whichever came first.

    Equal for every permutation and every repetition of the same facts."""
    submitted_at = min((each.at for each in facts.handovers), default=None)
    reports = distinct(facts.reports)
    evidence = [_evidence(each, facts.parts, submitted_at) for each in reports if each.status is not None]
    evidence += [
        Evidence(Status.FAILED, each.at, -each.id, WHOLE, each.qualification) for each in facts.handovers if each.failed
    ]
    handed = _handed(facts)
    by_parts = _by_parts(evidence, facts.parts, handed)
    as_whole = max((each.status for each in evidence if each.part == WHOLE), default=None)
    clock = Status.NO_RECEIPT if facts.expired_at else None
    status = max(each for each in (by_parts, as_whole, handed, clock) if each is not None)
    decisive = max(
        (each for each in evidence if each.status is status), key=lambda each: (each.at, each.id), default=None
    )
    parts = max(len(facts.parts), 1)
    return State(
        status=status,
        occurred_at=decisive.at if decisive else _without_receipt(facts, status, submitted_at),
        qualification=decisive.qualification if decisive and status is Status.FAILED else None,
        receipt_id=decisive.id if decisive and decisive.id > 0 else None,
        parts=parts,
        parts_received=parts if as_whole is Status.RECEIVED else len(_received(evidence)),
        contradictory=status is Status.RECEIVED and any(each.status is Status.FAILED for each in evidence),
        unknown_receipts=sum(each.status is None for each in reports),
        reached=_reached(evidence, facts, by_parts),
    )


def distinct(reports: Iterable[Report]) -> list[Report]:
    """Each report once: of its repeats the first, by id."""
    first: dict[tuple[int, int], Report] = {}
    for report in sorted(reports, key=lambda each: each.id):
        first.setdefault((report.correlation, report.fingerprint), report)
    return list(first.values())


def sane_time(report: Report, submitted_at: datetime | None) -> datetime:
    """The gateway's time of the event when it is sane, else ours."""
    theirs = report.occurred_at
    if (
        theirs is None
        or theirs > report.received_at + TOLERATED_LEAD
        or (submitted_at is not None and theirs < submitted_at)
    ):
        return report.received_at
    return theirs


def _evidence(report: Report, parts: frozenset[int], submitted_at: datetime | None) -> Evidence:
    assert report.status is not None
    part = report.correlation if report.correlation in parts else WHOLE
    return Evidence(report.status, sane_time(report, submitted_at), report.id, part, report.qualification)


def _handed(facts: Facts) -> Status:
    if any(each.with_id for each in facts.handovers):
        return Status.ACCEPTED
    if facts.handovers:
        return Status.SUBMITTED
    return Status.CANCELLED if facts.cancelled_at else Status.PENDING


def _by_parts(evidence: Sequence[Evidence], parts: frozenset[int], handed: Status) -> Status | None:
    """Failed as soon as one part is, received when all are, else the weakest; a part not heard of is as handed over."""
    strongest: dict[int, Status] = {}
    for each in evidence:
        if each.part != WHOLE:
            strongest[each.part] = max(each.status, strongest.get(each.part, each.status))
    if Status.FAILED in strongest.values():
        return Status.FAILED
    unheard = [handed] if len(strongest) < len(parts) else []
    return min([*strongest.values(), *unheard], default=None)


def _received(evidence: Sequence[Evidence]) -> set[int]:
    return {each.part for each in evidence if each.part != WHOLE and each.status is Status.RECEIVED}


def _reached(evidence: Sequence[Evidence], facts: Facts, by_parts: Status | None) -> Mapping[Status, datetime]:
    reached: dict[Status, datetime] = {}
    for status in (Status.ACCEPTED, Status.SENT, Status.FAILED):
        times = [each.at for each in evidence if each.status is status]
        if status is Status.ACCEPTED:
            times += [each.at for each in facts.handovers if each.with_id]
        if times:
            reached[status] = min(times)
    received = [_first(evidence, WHOLE)]
    if by_parts is Status.RECEIVED:
        received.append(max(filter(None, (_first(evidence, part) for part in facts.parts)), default=None))
    if times := [at for at in received if at]:
        reached[Status.RECEIVED] = min(times)
    return reached


def _first(evidence: Sequence[Evidence], part: int) -> datetime | None:
    return min((each.at for each in evidence if each.part == part and each.status is Status.RECEIVED), default=None)


def _without_receipt(facts: Facts, status: Status, submitted_at: datetime | None) -> datetime:
    if status is Status.NO_RECEIPT and facts.expired_at:
        return facts.expired_at
    return submitted_at or facts.created_at
