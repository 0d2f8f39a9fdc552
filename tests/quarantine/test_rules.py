"""Every rule of an address's health, at its thresholds and one step to each side, with a clock that the test holds."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.quarantine.breaker import trips
from app.quarantine.rules import ANYBODY, Event, Health, Meaning, Thresholds, explain, health, meaning_at, reach

T0 = datetime(2026, 11, 1, 8, tzinfo=UTC)
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
RULES = Thresholds()


def event(kind: str, after: timedelta = timedelta(0), id: int = 1, **fields: Any) -> Event:
    return Event(at=T0 + after, kind=kind, id=id, **fields)  # type: ignore[arg-type]


def soft(after: timedelta, **fields: Any) -> Event:
    return event("failed", after, **{"failure_type": "soft", "reason": "unreachable", "sender": "Acme"} | fields)


def hard(after: timedelta = timedelta(0), **fields: Any) -> Event:
    return event("failed", after, **{"failure_type": "hard", "reason": "user_unknown", "sender": "Acme"} | fields)


def daily(count: int, **fields: Any) -> list[Event]:
    return [soft(number * DAY, id=number, **fields) for number in range(count)]


def found(events: Sequence[Event], now: timedelta | None = None, scope: str = ANYBODY) -> Health | None:
    """The health right after the last event, or at `now`."""
    at = max(each.at for each in events) if now is None else T0 + now
    return health(events, at, RULES).get(scope)


def status(events: Sequence[Event], now: timedelta | None = None, scope: str = ANYBODY) -> str:
    health = found(events, now, scope)
    return health.status if health else "valid"


# --- failures --------------------------------------------------------------------------------------------------------


def test_nobody_of_whom_nothing_is_known_has_a_status() -> None:
    assert health([], T0, RULES) == {}


def test_a_hard_failure_quarantines_at_once() -> None:
    now = found([hard()])
    assert now is not None
    assert (now.status, now.event.reason, now.since, now.clears_at) == ("quarantined", "user_unknown", T0, None)


@pytest.mark.parametrize(
    ("apart", "errors"), [(24 * HOUR - SECOND, 1), (24 * HOUR, 2), (24 * HOUR + SECOND, 2), (timedelta(0), 1)]
)
def test_a_soft_failure_counts_when_24_hours_passed_since_the_last_one_counted(apart: timedelta, errors: int) -> None:
    now = found([soft(timedelta(0), id=1), soft(apart, id=2)])
    assert now is not None
    assert (now.status, now.errors) == ("with_errors", errors)


def test_the_24_hours_run_from_the_last_one_counted_not_from_the_last_one() -> None:
    now = found([soft(number * 12 * HOUR, id=number) for number in range(5)])  # 0 h, 24 h and 48 h count
    assert now is not None
    assert now.errors == 3


@pytest.mark.parametrize(("count", "as_"), [(4, "with_errors"), (5, "quarantined"), (6, "quarantined")])
def test_five_soft_errors_quarantine(count: int, as_: str) -> None:
    now = found(daily(count))
    assert now is not None
    assert (now.status, now.errors) == (as_, min(count, 5))


def test_the_fifth_soft_error_within_24_hours_of_the_fourth_does_not_quarantine() -> None:
    assert status([*daily(4), soft(4 * DAY - SECOND, id=9)]) == "with_errors"
    assert status([*daily(4), soft(4 * DAY, id=9)]) == "quarantined"


@pytest.mark.parametrize("failure_type", ["ignored", "undefined"])
def test_failures_that_say_nothing_about_the_address_never_count(failure_type: str) -> None:
    assert status([hard(id=number, failure_type=failure_type) for number in range(20)]) == "valid"
    assert status(daily(20, failure_type=failure_type)) == "valid"


@pytest.mark.parametrize(
    "so", [{"ignored": True}, {"verified": False}, {"held": True}], ids=["state ignore", "unverified", "held"]
)
@pytest.mark.parametrize("as_", ["hard", "soft", "denylisted"])
def test_what_is_ignored_unverified_or_held_by_a_breaker_never_counts(so: dict[str, bool], as_: str) -> None:
    fields = {"reason": "denylisted"} if as_ == "denylisted" else {}
    make = soft if as_ == "soft" else hard
    events = [make(number * DAY, id=number, **fields) for number in range(6)]
    silent = [make(number * DAY, id=number, **fields, **so) for number in range(6)]
    assert health(events, T0 + 6 * DAY, RULES)
    assert health(silent, T0 + 6 * DAY, RULES) == {}


def test_a_success_of_which_nobody_knows_who_said_it_clears_nothing() -> None:
    assert status([soft(timedelta(0)), event("received", HOUR, 2, verified=False)]) == "with_errors"


def test_a_failure_of_a_quarantined_address_changes_nothing() -> None:
    first = found([hard()])
    assert found([hard(), hard(HOUR, id=2), soft(2 * HOUR, id=3)]) == first


# --- clearing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 4])
def test_a_success_clears_errors(count: int) -> None:
    assert status([*daily(count), event("received", 5 * DAY, 9)]) == "valid"


def test_after_a_success_the_next_soft_error_is_the_first_at_any_distance() -> None:
    now = found([*daily(4), event("received", 3 * DAY + HOUR, 8), soft(3 * DAY + 2 * HOUR, id=9)])
    assert now is not None
    assert (now.status, now.errors, now.since) == ("with_errors", 1, T0 + 3 * DAY + 2 * HOUR)


@pytest.mark.parametrize(
    ("events", "as_"),
    [
        ([hard()], "quarantined"),
        (daily(5), "quarantined"),
        ([event("denylist")], "denylisted"),
        ([event("quarantine")], "quarantined"),
    ],
)
def test_neither_success_nor_time_clears_a_quarantine_or_an_opt_out(events: list[Event], as_: str) -> None:
    assert status([*events, event("received", 6 * DAY, 99)], now=4_000 * DAY) == as_


@pytest.mark.parametrize(("reason", "days"), [("unreachable", 10), ("mailbox_full", 30)])
def test_errors_are_forgotten_when_the_last_one_is_older_than_its_days(reason: str, days: int) -> None:
    errors = [soft(timedelta(0), id=1), soft(DAY, id=2, reason=reason)]
    now = found(errors, now=(days + 1) * DAY)
    assert now is not None
    assert (now.status, now.clears_at) == ("with_errors", T0 + (days + 1) * DAY)
    assert status(errors, now=(days + 1) * DAY - SECOND) == "with_errors"
    assert status(errors, now=(days + 1) * DAY + SECOND) == "valid"


def test_an_error_that_was_too_soon_to_count_is_still_the_last_one() -> None:
    errors = [soft(timedelta(0), id=1), soft(HOUR, id=2)]
    assert status(errors, now=10 * DAY + HOUR) == "with_errors"
    assert status(errors, now=10 * DAY + HOUR + SECOND) == "valid"


@pytest.mark.parametrize(
    ("reason", "gap", "errors"),
    [
        ("unreachable", 10 * DAY, 2),
        ("unreachable", 10 * DAY + SECOND, 1),
        ("mailbox_full", 10 * DAY + SECOND, 2),
        ("mailbox_full", 30 * DAY, 2),
        ("mailbox_full", 30 * DAY + SECOND, 1),
    ],
)
def test_after_they_were_forgotten_errors_start_at_one_again(reason: str, gap: timedelta, errors: int) -> None:
    now = found([soft(timedelta(0), id=1, reason=reason), soft(gap, id=2)])
    assert now is not None
    assert now.errors == errors


def test_a_hard_failure_after_errors_that_were_forgotten_shows_none_of_them() -> None:
    now = found([*daily(3), hard(20 * DAY, id=9)])
    assert now is not None
    assert (now.status, now.errors, now.last_error_at) == ("quarantined", 0, None)


# --- people ----------------------------------------------------------------------------------------------------------


def test_an_opt_out_that_the_provider_reports_holds_for_the_sender_of_the_message() -> None:
    events = [hard(reason="denylisted")]
    assert status(events, scope="Acme") == "denylisted"
    assert status(events) == "valid"
    assert status(events, scope="Other") == "valid"


def test_opt_outs_hold_per_sender_and_one_for_everybody_beside_them() -> None:
    events = [event("denylist", id=1, sender="Acme"), event("denylist", HOUR, 2)]
    assert {scope: each.status for scope, each in health(events, T0 + HOUR, RULES).items()} == {
        "Acme": "denylisted",
        ANYBODY: "denylisted",
    }


def test_whoever_allows_everybody_lifts_what_was_said_to_one_sender_too() -> None:
    events = [event("denylist", id=1, sender="Acme"), event("denylist", id=2)]
    assert health([*events, event("allow", HOUR, 3)], T0 + HOUR, RULES) == {}
    assert set(health([*events, event("allow", HOUR, 3, sender="Acme")], T0 + HOUR, RULES)) == {ANYBODY}


def test_an_opt_out_again_after_an_opt_in_holds_again() -> None:
    events = [event("denylist", id=1), event("allow", HOUR, 2), event("denylist", 2 * HOUR, 3)]
    now = found(events)
    assert now is not None
    assert (now.status, now.since) == ("denylisted", T0 + 2 * HOUR)


def test_an_opt_out_hides_a_quarantine_that_stands_again_once_it_is_lifted() -> None:
    events = [hard(), event("denylist", HOUR, 2)]
    assert status(events) == "denylisted"
    assert status([*events, event("allow", 2 * HOUR, 3)]) == "quarantined"


def test_a_release_forgets_errors_before_it_only() -> None:
    release = event("release", DAY, 50)
    assert status([hard(), release]) == "valid"
    assert status([release, hard(DAY - SECOND, id=9)]) == "valid"  # it came in after the release
    assert status([release, hard(DAY + SECOND, id=9)]) == "quarantined"
    errors = found([*daily(5), event("release", 4 * DAY + HOUR, 50), soft(4 * DAY + 2 * HOUR, id=9)])
    assert errors is not None
    assert (errors.status, errors.errors) == ("with_errors", 1)


def test_a_release_does_not_lift_an_opt_out_nor_an_opt_in_a_quarantine() -> None:
    assert status([event("denylist", id=1), event("release", HOUR, 2)]) == "denylisted"
    assert status([hard(), event("allow", HOUR, 2)]) == "quarantined"


def test_a_decision_to_quarantine_holds_until_it_is_released() -> None:
    decided = event("quarantine", id=7, reason="account_disabled", origin="import")
    now = found([decided, event("received", HOUR, 8)])
    assert now is not None
    assert (now.status, now.event) == ("quarantined", decided)
    assert status([decided, event("release", HOUR, 8)]) == "valid"


def for_a_day(kind: str, id: int = 7, days: int = 1, **fields: Any) -> Event:
    return event(kind, id=id, until=T0 + days * DAY, **fields)


@pytest.mark.parametrize(("kind", "held"), [("denylist", "denylisted"), ("quarantine", "quarantined")])
def test_what_is_decided_for_a_time_ends_with_it(kind: str, held: str) -> None:
    decided = for_a_day(kind)
    now = found([decided])
    assert now is not None
    assert (now.status, now.clears_at) == (held, T0 + DAY)
    assert status([decided], DAY - SECOND) == held
    assert status([decided], DAY) == "valid"


@pytest.mark.parametrize("kind", ["denylist", "quarantine"])
def test_of_two_decisions_the_one_that_lasts_longer_holds_whichever_came_first(kind: str) -> None:
    day, week, good = for_a_day(kind, 1), for_a_day(kind, 2, 7), event(kind, id=3)
    for pair in ([day, week], [week, day]):
        assert status(pair, 7 * DAY - SECOND) != "valid"
        assert status(pair, 7 * DAY) == "valid"
    assert status([week, good], 70 * DAY) == status([good, week], 70 * DAY) != "valid"


def test_failures_count_while_a_decision_for_a_time_holds() -> None:
    decided = for_a_day("quarantine")
    assert status([decided, hard(HOUR, id=8)], 7 * DAY) == "quarantined"
    assert status([decided, soft(HOUR, id=8)], 2 * DAY) == "with_errors"
    assert status([decided, *(soft(number * DAY, id=number) for number in range(1, 6))], 9 * DAY) == "quarantined"


def test_a_release_and_an_opt_in_end_what_is_decided_for_a_time() -> None:
    assert status([for_a_day("quarantine"), event("release", HOUR, 8)]) == "valid"
    assert status([for_a_day("denylist"), event("allow", HOUR, 8)]) == "valid"
    assert status([for_a_day("denylist"), event("allow", HOUR, 8), for_a_day("denylist", 9)]) == "valid"


def test_of_what_happened_at_the_same_moment_a_decision_comes_last_and_a_success_after_a_failure() -> None:
    assert status([event("release", id=1), hard(id=2)]) == "valid"
    assert status([event("received", id=1), soft(timedelta(0), id=2)]) == "valid"


def test_the_thresholds_are_those_that_are_given() -> None:
    strict = Thresholds(soft_errors=2, interval=HOUR, forgotten_after=2 * HOUR, mailbox_forgotten_after=3 * HOUR)
    events = [soft(timedelta(0), id=1), soft(HOUR, id=2)]
    assert health(events, T0 + HOUR, strict)[ANYBODY].status == "quarantined"
    assert health(events[:1], T0 + 2 * HOUR + SECOND, strict) == {}
    full = [soft(timedelta(0), reason="mailbox_full")]
    assert set(health(full, T0 + 3 * HOUR, strict)) == {ANYBODY}
    assert health(full, T0 + 3 * HOUR + SECOND, strict) == {}


# --- order -----------------------------------------------------------------------------------------------------------

AFTER = st.sampled_from(
    [
        timedelta(0),
        SECOND,
        *(days * DAY + more for days in (1, 2, 3, 10, 11, 30) for more in (-SECOND, timedelta(0), SECOND)),
    ]
)
EVENTS = st.lists(
    st.builds(
        event,
        kind=st.sampled_from(["failed"] * 6 + ["received", "denylist", "allow", "quarantine", "release"]),
        after=AFTER,
        sender=st.sampled_from([ANYBODY, "Acme", "Blue"]),
        reason=st.sampled_from(["unreachable", "mailbox_full", "user_unknown", "denylisted"]),
        failure_type=st.sampled_from(["soft", "soft", "soft", "hard", "ignored", "undefined"]),
        ignored=st.sampled_from([False, False, False, True]),
        verified=st.sampled_from([True, True, True, False]),
        held=st.sampled_from([False, False, False, True]),
    ),
    max_size=14,
).map(lambda events: [_numbered(each, id) for id, each in enumerate(events)])


def _numbered(each: Event, id: int) -> Event:
    fields = {name: getattr(each, name) for name in Event.__dataclass_fields__}
    return Event(**fields | {"id": id})


@given(events=EVENTS, data=st.data(), later=AFTER)
def test_health_is_equal_for_every_order_of_what_is_known(
    events: list[Event], data: st.DataObject, later: timedelta
) -> None:
    now = T0 + 30 * DAY + later
    shuffled = data.draw(st.permutations(events))
    assert health(shuffled, now, RULES) == health(events, now, RULES)
    assert explain(shuffled, RULES) == explain(events, RULES)


@given(events=EVENTS)
def test_every_event_is_explained_and_the_last_explanation_ends_with_the_health(events: list[Event]) -> None:
    told = explain(events, RULES)
    assert sorted(each.event.id for each in told) == list(range(len(events)))
    for number, each in enumerate(told):
        known = [before.event for before in told[: number + 1]]
        stands = health(known, each.event.at, RULES).get(ANYBODY)
        assert each.status == (stands.status if stands else None)
        assert each.rule.endswith(".")


# --- how an error was qualified when ---------------------------------------------------------------------------------


def meaning(failure_type: str, since: timedelta | None = None, reason: str = "refused") -> Meaning:
    at = None if since is None else T0 + since
    return Meaning(since=at, failure_type=failure_type, reason=reason, ignored=False)  # type: ignore[arg-type]


def types(meanings: Sequence[Meaning], *after: timedelta) -> list[str]:
    return [meaning_at(meanings, T0 + each).failure_type for each in after]


def test_a_change_holds_for_failures_from_its_time_on() -> None:
    changed = [meaning("undefined"), meaning("hard", 10 * DAY)]
    assert types(changed, -DAY, 10 * DAY - SECOND, 10 * DAY, 50 * DAY) == ["undefined", "undefined", "hard", "hard"]


def test_what_is_changed_back_is_exactly_as_it_was() -> None:
    back = [meaning("undefined"), meaning("hard", DAY), meaning("undefined", 2 * DAY)]
    assert types(back, timedelta(0), DAY + HOUR, 9 * DAY) == ["undefined"] * 3
    twice = [meaning("undefined"), meaning("hard", DAY), meaning("soft", 2 * DAY), meaning("hard", 3 * DAY)]
    assert types(twice, timedelta(0), DAY, 2 * DAY + HOUR, 9 * DAY) == ["undefined", "hard", "hard", "hard"]


def test_a_change_of_the_reason_alone_is_a_change() -> None:
    changed = [meaning("hard"), meaning("hard", DAY, "denylisted")]
    assert meaning_at(changed, T0).reason == "refused"
    assert meaning_at(changed, T0 + DAY).reason == "denylisted"


def test_a_later_change_prevails_also_for_what_is_older() -> None:
    changed = [meaning("undefined"), meaning("hard", 5 * DAY), meaning("soft", 3 * DAY)]
    assert types(changed, 2 * DAY, 3 * DAY, 6 * DAY) == ["undefined", "soft", "soft"]


def test_a_change_reaches_from_its_time_on_and_what_takes_it_back_as_far_as_it_did() -> None:
    first = [meaning("undefined"), meaning("hard", DAY)]
    assert reach(first[:1], first[1]) == T0 + DAY
    assert reach(first, meaning("undefined", 50 * DAY)) == T0 + DAY
    assert reach(first, meaning("soft", 50 * DAY)) == T0 + 50 * DAY


# --- the breaker -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failures", "finals", "usual", "outage"),
    [
        (99, 99, None, False),
        (100, 100, None, True),
        (101, 101, None, True),
        (100, 0, None, True),  # finals are counted when they are final; a failure that changed its error is none
        (249, 1_000, None, False),
        (250, 1_000, None, True),
        (251, 1_000, None, True),
        (250, 1_000, 0.01, True),
        (249, 1_000, 0.01, False),
        (749, 1_000, 0.25, False),
        (750, 1_000, 0.25, True),
        (1_000, 1_000, 0.33, True),
        (1_000, 1_000, 0.34, False),
        (20_000, 20_000, 0.0, True),
    ],
)
def test_an_outage_is_many_failures_and_a_share_far_above_the_usual(
    failures: int, finals: int, usual: float | None, outage: bool
) -> None:
    assert trips(failures, finals, usual) is outage
