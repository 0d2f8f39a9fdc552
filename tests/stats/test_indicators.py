"""The formulas of the summary, and the steps of a history."""

import math
import random

import pytest

from app.stats.indicators import GROWTH, beside, main_indicators, percentile, share
from app.stats.steps import automatic, iso, minutes_of
from app.tables import MESSAGE_STATUSES


def test_the_books_balance_whatever_the_statuses() -> None:
    chance = random.Random(3)
    for _ in range(200):
        by_status = {status: chance.randrange(50) for status in MESSAGE_STATUSES if chance.random() < 0.7}
        found = main_indicators(by_status, beside([("excluded", "double", 3), ("new_quarantines", "quarantined", 2)]))
        assert found["to_send"] == sum(by_status.values())
        assert found["targeted"] == found["to_send"] + found["excluded"]
        assert (found["excluded"], found["new_quarantines"]) == (3, 2)
        assert found["processed"] == found["success"] + found["errors"]
        rest = found["no_receipt"] + found["in_transit"] + found["cancelled"]
        assert found["processed"] + rest == found["to_send"]


def test_a_share_of_nothing_is_none() -> None:
    assert share(0, 0) is None
    assert share(1, 3) == 0.3333


def test_no_latency_before_the_first_message_was_received() -> None:
    assert percentile([], 0.5) is None


@pytest.mark.parametrize("seed", range(20))
def test_a_percentile_is_at_most_five_percent_off(seed: int) -> None:
    chance = random.Random(seed)
    seconds = sorted(chance.lognormvariate(2, 1.5) + 0.1 for _ in range(2_000))
    classes: dict[int, int] = {}
    for each in seconds:
        number = math.floor(math.log(each) / math.log(GROWTH))
        classes[number] = classes.get(number, 0) + 1
    for quantile in (0.5, 0.95):
        exact = seconds[math.ceil(quantile * len(seconds)) - 1]
        found = percentile(classes.items(), quantile)
        assert found is not None
        assert abs(found - exact) / exact <= 0.055  # 5 % and the rounding to three digits


@pytest.mark.parametrize(
    ("step", "minutes"),
    [("1m", 1), ("5m", 5), ("1h", 60), ("1d", 1440), ("PT5M", 5), ("PT1H30M", 90), ("P1D", 1440), ("P1DT1M", 1441)],
)
def test_a_step_is_minutes_hours_days_or_iso(step: str, minutes: int) -> None:
    assert minutes_of(step) == minutes
    assert minutes_of(iso(minutes)) == minutes


@pytest.mark.parametrize(
    "step", ["", "0m", "P", "PT", "PT0M", "5", "5s", "PT5S", "-5m", "999999d", "1.5h", "P1M", "٥m"]
)
def test_what_is_no_step_is_none(step: str) -> None:
    assert minutes_of(step) is None


@pytest.mark.parametrize("minutes", [1, 59, 240, 241, 1_440, 5_040, 100_000, 10_000_000])
def test_the_automatic_step_keeps_a_chart_readable(minutes: int) -> None:
    assert minutes / automatic(0, minutes) <= 240
