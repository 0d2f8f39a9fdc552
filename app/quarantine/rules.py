"""What is known about an address makes its health: the rules, pure (domain.md §6).

The health is computed from all that is known, in the order of time: what each message came to, and what people decided.
So the order in which it became known, and how often, cannot matter, and an old failure that comes in after a release
stands before it and does not undo it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from app.gateways.receipt import FailureType

Status = Literal["with_errors", "quarantined", "denylisted"]
Kind = Literal["failed", "received", "denylist", "allow", "quarantine", "release"]
#: Where it is from: `receipts`, `reply`, `operator`, or `import`, which can say more exactly what list it is of.
Origin = str
OWN_ORIGINS = ("receipts", "reply", "operator", "erasure")

#: The scope of what holds whoever sends.
ANYBODY = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    #: So many soft errors quarantine.
    soft_errors: int = 5
    #: A soft error counts when the last one counted is at least this old.
    interval: timedelta = timedelta(hours=24)
    #: An address with errors, the last of which is older than this, is cleared.
    forgotten_after: timedelta = timedelta(days=10)
    #: The same when the last one was a full mailbox.
    mailbox_forgotten_after: timedelta = timedelta(days=30)

    def forgets(self, reason: str) -> timedelta:
        return self.mailbox_forgotten_after if reason == "mailbox_full" else self.forgotten_after


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing known about an address: what a message came to, or what somebody decided.

    A message is one event however many receipts it has: `failed`, at the first time that it failed or that we heard of a
    failure, whichever was earlier, unless it was received in the end. Times are aware UTC."""

    at: datetime
    kind: Kind
    #: Of the message, or of the decision.
    id: int
    #: In which of the phone's spellings it stands.
    address: str = ""
    #: Of a message: who sent it. Of a decision: whose messages it is about; `ANYBODY`: everybody's.
    sender: str = ANYBODY
    #: A code of `qualifications.reasons`.
    reason: str = "not_defined"
    #: Of a failure, as it is qualified for the time at which it happened.
    failure_type: FailureType = "undefined"
    #: The qualification's state is `ignore`: it never touches the address.
    ignored: bool = False
    #: The source of the receipt proved who it is.
    verified: bool = True
    #: A breaker holds it, or it was discarded with others that a breaker held.
    held: bool = False
    origin: Origin = "receipts"
    delivery_id: int | None = None
    gateway_id: int | None = None
    qualification_id: int | None = None
    #: Of a decision that holds for a time only: it ends there.
    until: datetime | None = None

    def holds(self, now: datetime) -> bool:
        return self.until is None or self.until > now

    def outlasts(self, other: "Event | None") -> bool:
        return other is None or (other.until is not None and (self.until is None or self.until > other.until))


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What an address is for one scope, and the event that made it so."""

    status: Status
    event: Event
    errors: int
    since: datetime
    last_error_at: datetime | None = None
    #: When it is cleared by time: errors, and what was decided for a time.
    clears_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """An event with the rule that was applied to it."""

    event: Event
    rule: str
    #: For whoever sends, right after it.
    status: Status | None


def health(events: Iterable[Event], now: datetime, thresholds: Thresholds) -> dict[str, Health]:
    """What all events together make of an address, by scope; a scope that is not in it is valid.

    Equal for every order of the same events."""
    walk = Walk(thresholds)
    for event in in_order(events):
        walk.step(event)
    return walk.result(now)


def explain(events: Iterable[Event], thresholds: Thresholds) -> list[Explained]:
    walk = Walk(thresholds)
    return [
        Explained(event=event, rule=walk.step(event), status=walk.status(event.at, ANYBODY))
        for event in in_order(events)
    ]


_UNVERIFIED = "The source of this receipt is not verified: it does not count."
_AT_ONCE: Mapping[Kind, int] = {"failed": 0, "received": 1, "quarantine": 2, "denylist": 2, "allow": 2, "release": 2}


def in_order(events: Iterable[Event]) -> Sequence[Event]:
    """By time; of what happened at the same moment a decision comes last, and so prevails."""
    return sorted(events, key=lambda event: (event.at, _AT_ONCE[event.kind], event.id))


@dataclass(slots=True)
class Walk:
    """Goes through an address's events in order. `step` says which rule it applied."""

    thresholds: Thresholds
    errors: int = 0
    errors_since: datetime | None = None
    counted_at: datetime | None = None
    last_error: Event | None = None
    quarantined: Event | None = None
    denied: dict[str, Event] = field(default_factory=dict)

    def step(self, event: Event) -> str:
        match event.kind:
            case "failed":
                return self._failed(event)
            case "received":
                return self._received(event)
            case "denylist":
                self._deny(event)
                return f"Denylisted {_scope(event.sender)}{_until(event)}."
            case "allow":
                return self._allow(event)
            case "quarantine":
                if event.outlasts(self.quarantined):
                    self.quarantined = event
                return f"Quarantined by decision{_until(event)}."
            case "release":
                self._forget()
                self.quarantined = None
                return "Released: errors before this no longer count."

    def _failed(self, event: Event) -> str:
        if not event.verified:
            return _UNVERIFIED
        if event.held:
            return "Held by a breaker, or discarded with it: it does not count."
        if event.ignored or event.failure_type in ("ignored", "undefined"):
            return "This error says nothing about the address: it does not count."
        if event.reason == "denylisted":
            self._deny(event)
            return f"The provider reports an opt-out: denylisted {_scope(event.sender)}."
        if self.quarantined and self.quarantined.until is None:
            return "Quarantined already: it changes nothing."
        if self._is_forgotten(event.at):
            self._forget()
        if event.failure_type == "hard":
            self.quarantined = event
            return "A hard error quarantines at once."
        return self._soft(event)

    def _soft(self, event: Event) -> str:
        self.last_error = event
        if self.counted_at is not None and event.at - self.counted_at < self.thresholds.interval:
            return "A soft error, too soon after the last one counted: not counted."
        self.errors += 1
        self.counted_at = event.at
        self.errors_since = self.errors_since or event.at
        if self.errors < self.thresholds.soft_errors:
            return f"Soft error {self.errors} of {self.thresholds.soft_errors}: still sent to."
        self.quarantined = event
        return f"Soft error {self.errors} of {self.thresholds.soft_errors}: quarantined."

    def _received(self, event: Event) -> str:
        if not event.verified:
            return _UNVERIFIED
        if self.quarantined and self.quarantined.until is None:
            return "Received; a success does not lift a quarantine."
        cleared = self.errors
        self._forget()
        return "Received: its errors are cleared." if cleared else "Received."

    def _deny(self, event: Event) -> None:
        if event.outlasts(self.denied.get(event.sender)):
            self.denied[event.sender] = event

    def _allow(self, event: Event) -> str:
        """Whoever allows everybody lifts what was said to one sender, too."""
        if event.sender == ANYBODY:
            self.denied.clear()
        else:
            self.denied.pop(event.sender, None)
        return f"Allowed {_scope(event.sender)}: opt-outs before this no longer hold."

    def _is_forgotten(self, now: datetime) -> bool:
        error = self.last_error
        return error is not None and now - error.at > self.thresholds.forgets(error.reason)

    def _forget(self) -> None:
        self.errors, self.errors_since, self.counted_at, self.last_error = 0, None, None, None

    # --- what it came to -----------------------------------------------------------------------------------------

    def status(self, now: datetime, scope: str) -> Status | None:
        found = self.result(now).get(scope)
        return found.status if found else None

    def result(self, now: datetime) -> dict[str, Health]:
        found = {
            sender: Health(status="denylisted", event=event, errors=0, since=event.at, clears_at=event.until)
            for sender, event in self.denied.items()
            if event.holds(now)
        }
        if ANYBODY not in found and (by_errors := self._by_errors(now)):
            found[ANYBODY] = by_errors
        return found

    def _by_errors(self, now: datetime) -> Health | None:
        last_error_at = self.last_error.at if self.last_error else None
        if self.quarantined and self.quarantined.holds(now):
            event = self.quarantined
            return Health(
                status="quarantined", event=event, errors=self.errors, since=event.at, last_error_at=last_error_at,
                clears_at=event.until,
            )  # fmt: skip
        if not self.last_error or not self.errors or self._is_forgotten(now):
            return None
        assert self.errors_since is not None
        return Health(
            status="with_errors",
            event=self.last_error,
            errors=self.errors,
            since=self.errors_since,
            last_error_at=last_error_at,
            clears_at=self.last_error.at + self.thresholds.forgets(self.last_error.reason),
        )


def _scope(sender: str) -> str:
    return "for whoever sends" if sender == ANYBODY else f"for the sender {sender}"


def _until(event: Event) -> str:
    return f" until {event.until:%Y-%m-%d %H:%M} UTC" if event.until else ""


# --- how an error was qualified when -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """How an error is qualified for failures from `since` on; None: for all before any change."""

    since: datetime | None
    failure_type: FailureType
    reason: str
    ignored: bool


def meaning_at(meanings: Sequence[Meaning], at: datetime) -> Meaning:
    """The meaning that holds for a failure at `at`; `meanings` in the order in which they were given, the first without
    a time. A change that takes back the one before it leaves things exactly as they were."""
    return next(each for each in reversed(_standing(meanings)) if each.since is None or each.since <= at)


def reach(meanings: Sequence[Meaning], changed: Meaning) -> datetime | None:
    """From when on failures mean something else once `changed` follows `meanings`: what takes a change back reaches as
    far as that change did."""
    standing = _standing(meanings)
    return standing[-1].since if _takes_back(standing, changed) else changed.since


def _standing(meanings: Sequence[Meaning]) -> list[Meaning]:
    standing: list[Meaning] = []
    for meaning in meanings:
        if _takes_back(standing, meaning):
            standing.pop()
        else:
            standing.append(meaning)
    return standing


def _takes_back(standing: Sequence[Meaning], meaning: Meaning) -> bool:
    return len(standing) > 1 and _same(standing[-2], meaning)


def _same(one: Meaning, other: Meaning) -> bool:
    return (one.failure_type, one.reason, one.ignored) == (other.failure_type, other.reason, other.ignored)
