"""Numbers in E.164, whichever way they were written."""

import random
import timeit

import pytest

from app import numbers
from app.numbers import normalise


@pytest.mark.parametrize(
    ("raw", "region", "expected"),
    [
        ("+34600123123", None, "+34600123123"),
        ("+34 600 12 31 23", None, "+34600123123"),
        ("600123123", "ES", "+34600123123"),
        ("0034600123123", "ES", "+34600123123"),
        ("+390612345678", None, "+390612345678"),
        ("٦٠٠١٢٣١٢٣", "ES", "+34600123123"),
        ("+54 9 11 2345 6789", None, "+5491123456789"),
    ],
)
def test_a_possible_number_becomes_e164(raw: str, region: str | None, expected: str) -> None:
    assert normalise(raw, region) == expected


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "+",
        "+34",
        "+3460012312",
        "+346001231234",
        "+0600123123",
        "600123123",
        "abc",
        "\0",
        "+99912345678",
        "+" + "9" * 300,
    ],
)
def test_what_is_no_possible_number_is_none(raw: str) -> None:
    assert normalise(raw, None) is None


def test_a_number_with_an_extension_takes_no_text() -> None:
    assert normalise("+1 202 555 0123 ext. 7", None) is None


def test_the_cheap_path_says_what_the_full_parser_says() -> None:
    chance = random.Random(7)
    written = ["+" + "".join(chance.choices("0123456789", k=chance.randint(4, 17))) for _ in range(20_000)]
    cheap = [raw for raw in written if numbers._is_plain(raw)]
    assert len(cheap) > 1_000
    assert [raw for raw in cheap if numbers._parsed(raw, None) != raw] == []


def test_the_cheap_path_is_cheap() -> None:
    best = min(timeit.repeat(lambda: normalise("+34600123123"), number=10_000, repeat=5)) / 10_000
    full = min(timeit.repeat(lambda: numbers._parsed("+34600123123", None), number=200, repeat=5)) / 200
    assert best < full / 4
