"""The fold, alone: a maximum over evidence, the same for any order and any repetition of the facts."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from app.messages.states import Facts, Handover, Report, Status, fold, sane_time

T0 = datetime(2026, 11, 1, 8, tzinfo=UTC)
SENT = Handover(id=1, at=T0, with_id=True)
FINAL = (Status.FAILED, Status.RECEIVED)
FROM_RECEIPTS = (Status.ACCEPTED, Status.SENT, *FINAL)


def report(
    id: int, status: Status | None, *, correlation: int = 1, minutes: int | None = None, **more: object
) -> Report:
    at = None if minutes is None else T0 + timedelta(minutes=minutes)
    return Report(
        id=id,
        correlation=correlation,
        fingerprint=hash((status, minutes, tuple(more.items()))),
        status=status,
        received_at=T0 + timedelta(hours=1, seconds=id),
        occurred_at=at,
        **more,
    )


def facts(*reports: Report, parts: frozenset[int] = frozenset({1}), **more: object) -> Facts:
    return Facts(created_at=T0, handovers=(SENT,), reports=reports, parts=parts, **more)  # type: ignore[arg-type]


def status(*reports: Report, **more: object) -> Status:
    return fold(facts(*reports, **more)).status  # type: ignore[arg-type]


reports = st.lists(
    st.builds(
        report,
        id=st.integers(1, 1000),
        status=st.sampled_from((None, *FROM_RECEIPTS)),
        correlation=st.integers(1, 3),
        minutes=st.one_of(st.none(), st.integers(-60, 60 * 24)),
        qualification=st.integers(1, 3),
    ),
    max_size=10,
    unique_by=lambda each: each.id,
)


@given(reports, st.randoms(use_true_random=False), st.frozensets(st.integers(1, 3)))
def test_order_does_not_matter(given: list[Report], random: object, parts: frozenset[int]) -> None:
    shuffled = given.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert fold(facts(*given, parts=parts)) == fold(facts(*shuffled, parts=parts))


@given(reports, st.frozensets(st.integers(1, 3)))
def test_a_repeat_changes_nothing(given: list[Report], parts: frozenset[int]) -> None:
    again = [
        Report(
            id=each.id + 10_000,
            correlation=each.correlation,
            fingerprint=each.fingerprint,
            status=each.status,
            received_at=each.received_at + timedelta(days=1),
            occurred_at=each.occurred_at,
            qualification=each.qualification,
        )
        for each in given
    ]
    assert fold(facts(*given, parts=parts)) == fold(facts(*given, *again, parts=parts))


def test_every_pair_of_statuses_ends_in_the_stronger_whichever_came_first() -> None:
    for one in FROM_RECEIPTS:
        for other in FROM_RECEIPTS:
            assert status(report(1, one, minutes=1), report(2, other, minutes=2)) is max(one, other)


def test_delivered_after_failed_wins_and_the_contradiction_is_kept() -> None:
    state = fold(facts(report(1, Status.FAILED, minutes=1), report(2, Status.RECEIVED, minutes=2)))
    assert (state.status, state.contradictory) == (Status.RECEIVED, True)


def test_delivered_before_failed_wins_too() -> None:
    state = fold(facts(report(1, Status.RECEIVED, minutes=1), report(2, Status.FAILED, minutes=2)))
    assert (state.status, state.contradictory) == (Status.RECEIVED, True)


def test_within_one_rank_the_latest_time_decides_then_the_higher_id() -> None:
    early, late = (
        report(9, Status.FAILED, minutes=1, qualification=1),
        report(3, Status.FAILED, minutes=2, qualification=2),
    )
    assert fold(facts(early, late)).qualification == 2
    tie = report(4, Status.FAILED, minutes=2, qualification=3)
    assert fold(facts(late, tie)).receipt_id == 4


def test_an_unknown_word_is_counted_and_is_no_evidence() -> None:
    state = fold(facts(report(1, None)))
    assert (state.status, state.unknown_receipts) == (Status.ACCEPTED, 1)


def test_without_a_receipt_the_hand_over_speaks() -> None:
    assert fold(Facts(created_at=T0)).status is Status.PENDING
    assert fold(Facts(created_at=T0, handovers=(Handover(id=1, at=T0, with_id=False),))).status is Status.SUBMITTED
    assert status() is Status.ACCEPTED
    assert fold(Facts(created_at=T0, cancelled_at=T0)).status is Status.CANCELLED


def test_the_clock_is_stronger_than_sent_and_weaker_than_any_final_receipt() -> None:
    assert status(report(1, Status.SENT), expired_at=T0) is Status.NO_RECEIPT
    for final in FINAL:
        assert status(report(1, final), expired_at=T0) is final


def test_what_a_gateway_says_of_a_cancelled_message_is_stronger() -> None:
    cancelled = Facts(created_at=T0, cancelled_at=T0, reports=(report(1, Status.SENT, correlation=7),))
    assert fold(cancelled).status is Status.SENT


def test_a_long_message_is_received_only_when_every_part_is() -> None:
    two = frozenset({1, 2})
    assert status(report(1, Status.RECEIVED), parts=two) is Status.ACCEPTED
    state = fold(facts(report(1, Status.RECEIVED), report(2, Status.RECEIVED, correlation=2), parts=two))
    assert (state.status, state.parts, state.parts_received) == (Status.RECEIVED, 2, 2)


def test_a_long_message_has_failed_as_soon_as_one_part_has() -> None:
    two = frozenset({1, 2})
    assert status(report(1, Status.RECEIVED), report(2, Status.FAILED, correlation=2), parts=two) is Status.FAILED


def test_a_receipt_for_the_whole_message_speaks_for_all_its_parts() -> None:
    state = fold(facts(report(1, Status.RECEIVED, correlation=9), parts=frozenset({1, 2})))
    assert (state.status, state.parts_received) == (Status.RECEIVED, 2)


def test_a_failed_submission_is_a_failure_until_a_phone_has_the_message() -> None:
    refused = Handover(id=1, at=T0, with_id=False, failed=True, qualification=5)
    assert fold(Facts(created_at=T0, handovers=(refused,))).qualification == 5
    later = Facts(created_at=T0, handovers=(refused, SENT), reports=(report(1, Status.RECEIVED),), parts=frozenset({1}))
    assert fold(later).status is Status.RECEIVED


def test_a_time_too_far_ahead_or_before_the_submission_is_not_believed() -> None:
    ahead = report(1, Status.SENT, minutes=60 * 24)
    before = report(2, Status.SENT, minutes=-1)
    sane = report(3, Status.SENT, minutes=5)
    assert sane_time(ahead, T0) == ahead.received_at
    assert sane_time(before, T0) == before.received_at
    assert sane_time(sane, T0) == sane.occurred_at
    assert sane_time(before, None) == before.occurred_at


def test_the_first_time_of_each_status_is_kept() -> None:
    state = fold(
        facts(
            report(1, Status.RECEIVED, minutes=9),
            report(2, Status.RECEIVED, minutes=7),
            report(3, Status.SENT, minutes=3),
        )
    )
    assert state.reached[Status.RECEIVED] == T0 + timedelta(minutes=7)
    assert state.reached[Status.SENT] == T0 + timedelta(minutes=3)
    assert state.reached[Status.ACCEPTED] == T0
