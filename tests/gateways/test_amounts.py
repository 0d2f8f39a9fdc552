"""Amounts of money: read exactly where there is one way to read them."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gateways.amounts import MOST, amount


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("0,05", "0.05"),
        ("0,050", "0.05"),
        ("1.349,92", "1349.92"),
        ("1,349.92", "1349.92"),
        ("1.234.567,8", "1234567.8"),
        (",5", "0.5"),
        ("5.", "5"),
        ("+0.5", "0.5"),
        ("5e-2", "0.05"),
        ("0E+40", "0"),
        (5, "5"),
        (0.1, "0.1"),
        (Decimal("0.10"), "0.1"),
        ("1,349", None),
        ("1,234,567", None),
        ("1.2.3", None),
        ("1,2,3", None),
        ("1 234", None),
        ("0.05 EUR", None),
        ("$0.05", None),
        ("٠,٥", None),
        ("0x10", None),
        ("--1", None),
        ("", None),
        (",", None),
        (".", None),
        ("1e9", None),
        ("1e99", None),
        (MOST, None),
        (float("nan"), None),
        (Decimal("1e999999"), None),
        (True, None),
        (None, None),
        ([], None),
    ],
)
def test_an_amount_is_read_where_it_has_one_meaning(value: object, read: str | None) -> None:
    found = amount(value)
    assert found == (None if read is None else Decimal(read))


@given(st.text("0123456789.,eE+- ", max_size=45) | st.text() | st.floats() | st.integers() | st.decimals())
def test_anything_is_an_amount_or_none(value: object) -> None:
    found = amount(value)
    assert found is None or (found.is_finite() and abs(found) < MOST)
