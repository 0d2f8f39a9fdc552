"""Times as providers write them: read, or dropped, never invented."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gateways.times import in_zone, local, read, rfc3339, unix


@pytest.mark.parametrize(
    ("digits", "when"),
    [
        ("2603041016", "2026-03-04T10:16:00"),
        ("260304101647", "2026-03-04T10:16:47"),
        ("20260304101647", "2026-03-04T10:16:47"),
        ("201906190720", "2019-06-19T07:20:00"),
        ("201302170004", "2013-02-17T00:04:00"),
        ("202612312359", "2026-12-31T23:59:00"),
        ("200101020030", "2020-01-01T02:00:30"),  # the longer reading only where the usual one is none
        ("2023010112000100", "2023-01-01T12:00:01"),
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
def test_dates_of_10_to_16_digits(digits: str, when: str | None) -> None:
    found = local(digits)
    assert (found and found.isoformat()) == when


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("201906190720", "2019-06-19T07:20:00"),
        ("260304101647000+", "2026-03-04T10:16:47+00:00"),
        ("260304101647904+", "2026-03-04T09:16:47+00:00"),
        ("260304101647022-", "2026-03-04T15:46:47+00:00"),
        ("20260304101647004+", "2026-03-04T09:16:47+00:00"),
        ("260304101647049+", None),
        ("260304101647000R", None),
        ("000002000000000R", None),
        ("261304101647000+", None),
        ("2013-02-17 00:04:32", "2013-02-17T00:04:32"),
        ("2013/02/17 00:04", "2013-02-17T00:04:00"),
        ("2026-03-04T10:15:42.123456789", "2026-03-04T10:15:42.123456"),
        ("2026-03-04T10:15:42,5Z", "2026-03-04T10:15:42.500000+00:00"),
        ("2026-03-04T10:15:42+01", "2026-03-04T09:15:42+00:00"),
        ("2026-03-04 10:15:42 GMT", "2026-03-04T10:15:42+00:00"),
        ("202111301827+0000", "2021-11-30T18:27:00+00:00"),
        ("20260304T101542.123+0530", "2026-03-04T04:45:42+00:00"),
        ("Tue, 20 May 2014 04:34:22 +0000", "2014-05-20T04:34:22+00:00"),
        ("4 Mar 2026 10:15:42 -0000", "2026-03-04T10:15:42+00:00"),
        (" 2603041016 ", "2026-03-04T10:16:00"),
        ("Tue, 20 May 14 04:34:22 +0000", None),
        ("2026-03/04 10:15", None),
        ("04-03-2026 10:15:42", None),
        ("26-03-04 10:15:42", None),
        ("2026-03-04", None),
        ("20260304", None),
        ("2026-03-04T10:15:60Z", None),
        ("2026-03-04T10:15:42 01:00", None),
        ("0001-01-01T00:00:00Z", None),
        ("0001-01-01T00:00:00+14:00", None),
        ("1970-01-01T00:00:00Z", None),
        ("9999-12-31T23:59:59-14:00", None),
        ("1772619342", None),
        ("1772619342000", None),
        ("now", None),
        ("2026-03-04T10:15:42Z" + " " * 100, None),
        ("", None),
    ],
)
def test_a_time_is_read_in_every_way_of_writing_that_has_one_meaning(text: str, when: str | None) -> None:
    found = read(text)
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


@pytest.mark.parametrize("reader", [local, read, unix, rfc3339])
@given(text=st.text() | st.text("0123456789-:TZ+. ", min_size=8, max_size=30))
def test_any_text_is_a_time_or_none(reader: Callable[[str], datetime | None], text: str) -> None:
    assert reader(text) is None or isinstance(reader(text), datetime)
