"""The proof that what is known of an address makes its health, whatever the order and repetition in which it came.

Messages to a few addresses are recorded, receipts about them arrive in any order, late, twice, in batches of any size,
applied by two workers of which one may die between any two statements, and people decide in between. Afterwards the
table `quarantine` is what the pure rules say of the same facts, on other addresses it is the same for another order of
the same, its counters are counts of its rows, and building everything anew finds no difference.
"""

import itertools
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from app.db import TRANSIENT, Pool
from app.gateways.receipt import Auth, Gateway, Options, Outcome, Receipt
from app.ingest.rows import inbox_row
from app.ingest.store import append
from app.matching.recording import Sent, record_messages
from app.messages.states import Status, fold
from app.projections.replay import recompute, replay
from app.quarantine.changing import Decision, record
from app.quarantine.rules import ANYBODY, Event, Thresholds, health
from tests.ingest.test_agreement import Run, Said, Scenario

pytestmark = pytest.mark.slow

BEGIN = datetime.now(UTC).replace(microsecond=0) - timedelta(days=60)
SECOND = timedelta(seconds=1)
#: Days from `BEGIN` that lie one, ten and thirty apart; nothing is close to being forgotten while the test runs.
AFTER = [
    timedelta(days=days) + more for days in (25, 44, 53, 54, 55, 56, 57, 58) for more in (-SECOND, 0 * SECOND, SECOND)
]
#: By the code of the error: failure type, reason, state.
ERRORS = {
    "hard": ("hard", "user_unknown", "keep"),
    "soft": ("soft", "unreachable", "keep"),
    "full": ("soft", "mailbox_full", "keep"),
    "spam": ("ignored", "error_ignored", "keep"),
    "stop": ("hard", "denylisted", "keep"),
    "new": ("undefined", "refused", "to_qualify"),
    "mute": ("hard", "user_unknown", "ignore"),
}
SENDERS = ("Acme", "Blue")
_serial = itertools.count(1)


@dataclass(frozen=True)
class Heard(Said):
    after: timedelta = timedelta(0)
    verified: bool = True

    @property
    def at(self) -> datetime:
        return BEGIN + self.after


@dataclass(frozen=True)
class Decided:
    address: int
    kind: Literal["denylist", "allow", "quarantine", "release"]
    sender: str
    after: timedelta
    when: int  # after how many receipts

    @property
    def at(self) -> datetime:
        return BEGIN + self.after


@dataclass(frozen=True)
class Lesson(Scenario):
    addresses: Sequence[int]  # of each message
    senders: Sequence[int]  # likewise
    decided: Sequence[Decided]
    breaker: tuple[str, str | None] | None  # an error that is held, and what was decided about it


_ADDRESSES = st.sampled_from((0, 0, 0, 0, 1, 2))


def _about(message: int) -> st.SearchStrategy[list[Heard]]:
    """Receipts about one message. Of two things said for the same moment the later to arrive prevails: that is no matter
    of order, and left out."""
    one = st.builds(
        Heard,
        message=st.just(message),
        part=st.sampled_from((0, 0, 0, 1)),
        by=st.sampled_from(("id", "id", "reference", "both")),
        outcome=st.sampled_from([Outcome.FAILED] * 5 + [Outcome.RECEIVED, Outcome.RECEIVED, Outcome.SENT]),
        code=st.sampled_from(["soft"] * 9 + list(ERRORS)),
        minutes=st.none(),
        unique=st.just(0),
        after=st.sampled_from(AFTER),
        verified=st.sampled_from([True] * 9 + [False]),
    )
    return st.lists(one, max_size=3, unique_by=lambda each: each.after)


@st.composite
def lessons(draw: st.DrawFn) -> Lesson:
    parts = draw(st.lists(st.sampled_from((0, 1, 1, 1, 1, 2)), min_size=1, max_size=9))
    said = [each for index in range(len(parts)) for each in draw(_about(index))]
    repeated = draw(st.lists(st.sampled_from(said), max_size=5)) if said else []
    decided = st.builds(
        Decided,
        address=_ADDRESSES,
        kind=st.sampled_from(["denylist", "allow", "quarantine", "release"]),
        sender=st.sampled_from([ANYBODY, *SENDERS]),
        after=st.sampled_from(AFTER),
        when=st.integers(0, len(said)),
    )
    return Lesson(
        parts=parts,
        whole=draw(st.booleans()),
        said=draw(st.permutations([*said, *repeated])),
        record_after=[draw(st.integers(0, len(said) + 1)) for _ in parts],
        batches=draw(st.lists(st.integers(2, 9), min_size=1, max_size=3)),
        deaths=draw(st.lists(st.one_of(st.none(), st.integers(0, 20)), max_size=4)),
        addresses=[draw(_ADDRESSES) for _ in parts],
        senders=[draw(st.integers(0, 1)) for _ in parts],
        decided=draw(st.lists(decided, max_size=4, unique_by=lambda each: (each.address, each.after))),
        breaker=draw(
            st.none() | st.tuples(st.sampled_from(("hard", "soft")), st.sampled_from((None, "apply", "discard")))
        ),
    )


def heard(message: int, day: int, code: str | None, *, part: int = 0, by: str = "id") -> Heard:
    """Failed with `code`, or received."""
    return Heard(
        message=message, part=part, by=by, outcome=Outcome.FAILED if code else Outcome.RECEIVED, code=code, minutes=None,
        unique=0, after=timedelta(days=day),
    )  # fmt: skip


def lesson(parts: Sequence[int], *said: Heard, breaker: tuple[str, str | None] | None = None) -> Lesson:
    """All to one address, one receipt after the other."""
    return Lesson(
        parts=parts, whole=False, said=said, record_after=[0] * len(parts), batches=[1], deaths=[],
        addresses=[0] * len(parts), senders=[0] * len(parts), decided=[], breaker=breaker,
    )  # fmt: skip


#: A success that becomes known last, from before the fifth error: it is no fifth.
LATE_SUCCESS = lesson([1] * 6, *(heard(number, 54 + number, "soft") for number in range(5)), heard(5, 55, None))
#: A success that turns out to be from before the error that it had cleared.
EARLIER_SUCCESS = lesson([1, 1], heard(0, 56, None), heard(1, 55, "soft"), heard(0, 54, None))
#: One that is none any more: the message has a part of which nobody heard.
LOST_SUCCESS = lesson(
    [0, 1],
    heard(0, 56, None, by="both"),
    heard(1, 55, "soft"),
    replace(heard(0, 57, None, part=1, by="both"), outcome=Outcome.SENT),
)
#: A failure that put the address away becomes one that a breaker holds.
HELD_INSTEAD = lesson([1], heard(0, 54, "hard"), heard(0, 55, "soft"), breaker=("soft", None))


@example(lesson=LATE_SUCCESS, seed=0)
@example(lesson=EARLIER_SUCCESS, seed=0)
@example(lesson=LOST_SUCCESS, seed=0)
@example(lesson=HELD_INSTEAD, seed=0)
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(lesson=lessons(), seed=st.integers(0, 2**16))
async def test_the_quarantine_is_what_the_rules_say_of_any_facts_in_any_order(
    pool: Pool, lesson: Lesson, seed: int
) -> None:
    one = await School.begin(pool, lesson)
    await one.play()
    await one.check()
    chance = random.Random(seed)
    said = [*lesson.said, *chance.choices(lesson.said, k=3)] if lesson.said else []
    chance.shuffle(said)
    other = await School.begin(pool, replace(lesson, said=said, deaths=lesson.deaths[::-1]))
    await other.play()
    await other.check()
    assert await one.rows() == await other.rows()
    await one.check_counters()


class School(Run):
    """One lesson on a gateway, two deliveries and three addresses of its own."""

    scenario: Lesson

    @classmethod
    async def begin(cls, pool: Pool, scenario: Scenario) -> "School":
        name = f"school-{next(_serial)}"
        options = Options(receipts_per="message" if scenario.whole else "part")
        gateway_id = await pool.fetchval(
            "INSERT INTO gateways (key, kind, label, implementation, options, auth, created_at, updated_at) "
            "VALUES ($1, 'generic', $1, $1, $2, '{}', now(), now()) RETURNING id",
            name,
            options.model_dump(),
        )
        auth = Auth(mode="token")
        gateway = Gateway(id=gateway_id, key=name, kind="generic", implementation=name, options=options, auth=auth)
        school = cls(pool, scenario, gateway, 0)
        await school._furnish()
        return school

    async def _furnish(self) -> None:
        rows = await self.pool.fetch(
            "INSERT INTO deliveries (label, sender, gateway_id, validity_seconds, tracking, metadata, status, created_at, "
            "updated_at) SELECT $1, s, $2, 302400, true, '{}', 'in_progress', now(), now() FROM unnest($3::text[]) s "
            "RETURNING id, sender",
            self.gateway.key,
            self.gateway.id,
            SENDERS,
        )
        self.deliveries = {row["sender"]: int(row["id"]) for row in rows}
        rows = await self.pool.fetch(
            "INSERT INTO qualifications (implementation, status, error_code, failure_type, reason, sentence, state, updated_at) "
            "SELECT $1, 'FAILED', c, t::failure_type, r, '-', s::qualification_state, now() "
            "FROM unnest($2::text[], $3::text[], $4::text[], $5::text[]) AS q (c, t, r, s) RETURNING id, error_code",
            self.gateway.implementation,
            list(ERRORS),
            *map(list, zip(*ERRORS.values(), strict=True)),
        )
        self.codes = {int(row["id"]): str(row["error_code"]) for row in rows}
        self.undecided = list(self.scenario.decided)
        self.recorded: set[int] = set()
        if self.scenario.breaker:
            code, decision = self.scenario.breaker
            await self.pool.execute(
                "INSERT INTO breakers (gateway_id, qualification_id, opened_at, closed_at, decision, failures, finals) "
                "VALUES ($1, $2, now(), CASE WHEN $3::text IS NOT NULL THEN now() + interval '1 hour' END, $3, 1, 1)",
                self.gateway.id,
                {code: id for id, code in self.codes.items()}[code],
                decision,
            )

    def _address(self, number: int) -> str:
        return f"+3460{self.gateway.id:05d}{number}"

    # --- playing -----------------------------------------------------------------------------------------------------

    async def _arrive(self, said: Sequence[Said]) -> None:
        now = datetime.now(UTC)
        anybody = replace(self.gateway, auth=Auth(mode="none"))
        sources = [self.gateway if isinstance(each, Heard) and each.verified else anybody for each in said]
        rows = [inbox_row(source, self._receipt(each), now) for source, each in zip(sources, said, strict=True)]
        async with self.pool.acquire() as connection:
            await append(connection, rows)

    def _receipt(self, said: Said) -> Receipt:
        return replace(super()._receipt(said), status=said.outcome.value)

    async def _record(self, after: int) -> None:
        for sender, delivery_id in self.deliveries.items():
            due = [
                index
                for index, when in enumerate(self.scenario.record_after)
                if when <= after and index not in self.recorded and SENDERS[self.scenario.senders[index]] == sender
            ]
            if due:
                await self._record_some(delivery_id, due)
                self.recorded.update(due)
        await self._decide(after)

    async def _record_some(self, delivery_id: int, due: Sequence[int]) -> None:
        rows = [self._sent(index) for index in due]
        while True:
            try:
                async with self.pool.acquire() as connection, connection.transaction():
                    outcome = await record_messages(connection, delivery_id, rows, datetime.now(UTC))
            except TRANSIENT:  # as the API does
                continue
            assert (outcome.accepted, outcome.errors) == (len(due), [])
            return

    def _sent(self, index: int) -> Sent:
        return Sent(
            line=index,
            address=self._address(self.scenario.addresses[index]),
            gateway=self.gateway,
            provider_message_ids=tuple(self._id(index, part) for part in range(self.scenario.parts[index])),
            reference=self._reference(index),
            submitted_at=BEGIN,
        )

    async def _decide(self, after: int) -> None:
        due = [each for each in self.undecided if each.when <= after]
        self.undecided = [each for each in self.undecided if each.when > after]
        if not due:
            return
        decisions = [
            Decision(
                address=self._address(each.address), kind=each.kind, reason="not_defined", origin="operator",
                actor="tests", at=each.at, sender=each.sender if each.kind in ("denylist", "allow") else ANYBODY,
            )
            for each in due
        ]  # fmt: skip
        async with self.pool.acquire() as connection, connection.transaction():
            await record(connection, decisions, datetime.now(UTC))

    # --- checking ----------------------------------------------------------------------------------------------------

    async def check(self) -> None:
        events = await self._events()
        wanted = {}
        for number, known in events.items():
            for sender, each in health(known, datetime.now(UTC), Thresholds()).items():
                code = self.codes.get(each.event.qualification_id or 0)
                reason = "denylisted" if each.status == "denylisted" else each.event.reason
                wanted[number, sender] = (
                    each.status, reason, each.event.origin, each.errors, each.since, each.last_error_at, each.clears_at,
                    code, each.event.kind == "failed",
                )  # fmt: skip
        assert await self.rows() == wanted
        for delivery_id in self.deliveries.values():
            async with self.pool.acquire() as connection, connection.transaction():
                found = await recompute(connection, delivery_id, datetime.now(UTC))
                assert (found["drift"], found["quarantine_changed"]) == (0, 0)
            async with self.pool.acquire() as connection:
                assert [each async for each in replay(connection, delivery_id) if not each.empty] == []

    async def rows(self) -> dict[tuple[int, str], tuple[Any, ...]]:
        """The table, by number of the address and sender, without what another run has otherwise."""
        rows = await self.pool.fetch(
            "SELECT * FROM quarantine WHERE address = ANY($1::text[])", [self._address(number) for number in range(3)]
        )
        return {
            (int(row["address"][-1]), row["sender"]): (
                row["status"], row["reason"], row["origin"], row["errors"], row["since"], row["last_error_at"],
                row["clears_at"], self.codes.get(row["qualification_id"]), row["message_id"] is not None,
            )
            for row in rows
        }  # fmt: skip

    async def _events(self) -> dict[int, list[Event]]:
        """What is known of each address, from the recorded facts by the pure fold."""
        recorded = await self.pool.fetch(
            "SELECT r.*, c.kind::text AS kind, c.value FROM receipts r JOIN correlations c ON c.id = r.correlation_id "
            "WHERE r.gateway_id = $1 ORDER BY r.id",
            self.gateway.id,
        )
        assert len(recorded) == len(self.scenario.said)
        verified = {row["id"]: row["verified"] for row in recorded}
        messages = await self.pool.fetch(
            "SELECT id, reference, created_at FROM messages WHERE delivery_id = ANY($1::bigint[])",
            list(self.deliveries.values()),
        )
        by_reference = {row["reference"]: row for row in messages}
        events: dict[int, list[Event]] = {number: [] for number in range(3)}
        for index in range(len(self.scenario.parts)):
            message = by_reference[self._reference(index)]
            facts = self._facts(index, message["created_at"], recorded)
            state = fold(replace(facts, handovers=[replace(each, at=BEGIN) for each in facts.handovers]))
            if state.status in (Status.FAILED, Status.RECEIVED):
                code = self.codes.get(int(str(state.qualification or 0)))
                failure_type, reason, marked = ERRORS[code] if code else ("undefined", "not_defined", "keep")
                events[self.scenario.addresses[index]].append(
                    Event(
                        at=state.reached[state.status],
                        kind="failed" if code else "received",
                        id=message["id"],
                        sender=SENDERS[self.scenario.senders[index]],
                        reason=reason,
                        failure_type=failure_type,  # type: ignore[arg-type]
                        ignored=marked == "ignore",
                        verified=verified[state.receipt_id],
                        held=bool(self.scenario.breaker and self.scenario.breaker in ((code, None), (code, "discard"))),
                        qualification_id=state.qualification,  # type: ignore[arg-type]
                    )
                )
        for number, each in enumerate(self.scenario.decided):
            sender = each.sender if each.kind in ("denylist", "allow") else ANYBODY
            events[each.address].append(Event(at=each.at, kind=each.kind, id=number, sender=sender, origin="operator"))
        return events

    async def check_counters(self) -> None:
        """Over all that was ever played."""
        rows = await self.pool.fetch(
            "SELECT coalesce(gateway_id, 0) AS gateway, status || '/' || reason || '/' || origin AS label, "
            "coalesce(qualification_id, 0) AS bucket, delivery_id, status::text AS status FROM quarantine"
        )
        counted = await self.pool.fetch(
            "SELECT * FROM counters WHERE metric IN ('quarantine', 'new_quarantines') AND value <> 0"
        )
        platform = Counter((row["gateway"], row["label"], row["bucket"]) for row in rows)
        assert platform == {
            (row["gateway_id"], row["label"], row["bucket"]): row["value"]
            for row in counted
            if row["metric"] == "quarantine"
        }
        new = Counter(
            (row["delivery_id"], row["status"])
            for row in rows
            if row["delivery_id"] is not None and row["status"] != "with_errors"
        )
        assert new == {
            (row["delivery_id"], row["label"]): row["value"] for row in counted if row["metric"] == "new_quarantines"
        }
