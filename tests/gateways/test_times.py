"""Times as providers write them: read, or dropped, never invented."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gateways.times import in_zone, local, rfc3339, unix


@pytest.mark.parametrize(
    ("digits", "when"),
    [
        ("2603041016", "2026-03-04T10:16:00"),
        ("260304101647", "2026-03-04T10:16:47"),
        ("20260304101647", "2026-03-04T10:16:47"),
        ("2402291016", "2024-02-29T10:16:00"),
        ("2602291016", None),
        ("2613041016", None),
        ("2603042516", None),
        ("0000000000", None),
        ("00000000000000", None),
        ("19010101000000", None),
        ("26030410", None),
        ("260304-1016", None),
        ("２６０３０４１０１６", None),
        ("", None),
    ],
)
def test_dates_of_10_12_and_14_digits(digits: str, when: str | None) -> None:
    found = local(digits)
    assert (found and found.isoformat()) == when


def test_a_local_time_and_its_zone_are_a_time() -> None:
    assert in_zone(datetime(2026, 1, 4, 10), "Europe/Madrid") == datetime(2026, 1, 4, 9, tzinfo=UTC)
    assert in_zone(datetime(2026, 7, 4, 10), "Europe/Madrid") == datetime(2026, 7, 4, 8, tzinfo=UTC)


def test_an_hour_that_comes_twice_is_read_as_the_first() -> None:
    assert in_zone(datetime(2026, 10, 25, 2, 30), "Europe/Madrid") == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("2026-03-04T10:15:42Z", "2026-03-04T10:15:42+00:00"),
        ("2026-03-04t10:15:42z", "2026-03-04T10:15:42+00:00"),
        ("2026-03-04 10:15:42.5+01:00", "2026-03-04T09:15:42.500000+00:00"),
        ("2026-03-04T10:15:42-00:00", "2026-03-04T10:15:42+00:00"),
        ("2026-03-04T10:15:42", None),
        ("20260304T101542+0000", None),
        ("2026-W10-3T10:15:42Z", None),
        ("2026-03-04T10:15:42+99:00", None),
        ("9999-12-31T23:59:59-14:00", None),
    ],
)
def test_rfc_3339_needs_its_zone(text: str, when: str | None) -> None:
    found = rfc3339(text)
    assert (found and found.isoformat()) == when


@pytest.mark.parametrize("read", [local, unix, rfc3339])
@given(text=st.text() | st.text("0123456789-:TZ+. ", min_size=8, max_size=30))
def test_any_text_is_a_time_or_none(read: Callable[[str], datetime | None], text: str) -> None:
    assert read(text) is None or isinstance(read(text), datetime)
