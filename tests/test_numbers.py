"""Numbers in E.164, whichever way they were written."""

import json
import random
import timeit
from pathlib import Path

import hypothesis
import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import numbers
from app.numbers import normalise, unread, why_not

CASES = json.loads((Path(__file__).parent / "cases/numbers/read.json").read_text())

MOBILE, FIXED = phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE


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
        "erased:600123123600123123600123123600ab",
        "+" + "9" * 300,
    ],
)
def test_what_is_no_possible_number_is_none(raw: str) -> None:
    assert normalise(raw, None) is None


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['kind']}: {case['written']}")
def test_a_number_is_read_and_never_guessed(case: dict[str, str | None]) -> None:
    assert normalise(case["written"] or "", case["region"]) == case["read"]


@pytest.mark.parametrize(
    ("raw", "region", "said"),
    [
        ("34600222002", None, "The number has no `+`: write it before the country's code (+34…), or give a default region."),
        ("34 600 222 002", None, "The number has no `+`"),
        ("600 call me", "ES", "A text with a letter in it is no phone number."),
        ("4915112345678", "DE", "The number can be read as one of DE and as an international one: write a `+`"),
        ("3.46E+10", "ES", "A spreadsheet has shortened this number: format its column as text"),
        ("491511234567", "DE", "The number can be read as one of DE and as an international one"),
        ("123", None, "without a default region only international numbers can be read."),
        ("123", "ES", "national numbers are read as of ES."),
        ("+34123", "ES", "national numbers are read as of ES."),
        ("tel:123", "ES", "national numbers are read as of ES."),
    ],
)  # fmt: skip
def test_what_is_not_read_is_told_with_what_to_add(raw: str, region: str | None, said: str) -> None:
    assert normalise(raw, region) is None
    assert said in unread(why_not(raw, region), region)


@given(st.text(max_size=40), st.sampled_from([None, "ES", "DE", "US"]))
def test_whatever_is_written_is_read_or_told(raw: str, region: str | None) -> None:
    found = normalise(raw, region)
    if found is None:
        assert unread(why_not(raw, region), region).endswith(".")
    else:
        assert normalise(found) == found
        assert not any(char.isalpha() and char != "ー" for char in raw.partition(":")[2] or raw)


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


# --- the cheap road says what the full parser says --------------------------------------------------------------------

REGIONS = ("ES", "FR", "GB", "US", "IT", "DE", "MX", "BR", "AR", "CA", "GG", "RU", "KZ", "AU", "HU")


def _written(chance: random.Random, region: str) -> str:
    """A number as people of the region write it, or nearly: sometimes a digit is missing, or there is one too many."""
    example = phonenumbers.example_number_for_type(region, chance.choice((MOBILE, FIXED)))
    known = phonenumbers.national_significant_number(example) if example else "600123123"
    digits = "".join(chance.choices("0123456789", k=chance.randint(2, 14)))
    national = known[: chance.randint(1, len(known))] + digits
    national = chance.choice((known, national[: len(known)], national[: len(known)], digits, national[:15]))
    code = str(phonenumbers.country_code_for_region(region))
    trunk = chance.choice(("", "", "0", "1", "8", "15", "06", "90", "031"))
    raw = chance.choice(("+" + code, "00" + code, "011" + code, code, "0", "", trunk, "00")) + national
    if chance.random() < 0.3:
        place = chance.randint(1, len(raw))
        raw = raw[:place] + chance.choice((" ", "-", "  ", " - ")) + raw[place:]
    return raw


@pytest.mark.parametrize("region", REGIONS)
def test_the_cheap_road_says_of_every_writing_what_the_full_parser_says(region: str) -> None:
    chance = random.Random(region)
    written = [_written(chance, region) for _ in range(6_000)]
    taken = {raw: cheap for raw in written if (cheap := numbers._cheaply(raw, region)) is not None}
    assert len(taken) > 600
    assert [(raw, cheap) for raw, cheap in taken.items() if numbers._as_written(raw, region) != cheap] == []


@pytest.mark.slow
@given(st.sampled_from(REGIONS), st.from_regex(r"\A\+?[0-9](?:[ -]?[0-9]){0,17}\Z"))
@hypothesis.settings(max_examples=1_500)
def test_the_cheap_road_says_of_any_digits_what_the_full_parser_says(region: str, raw: str) -> None:
    cheap = numbers._cheaply(raw, region)
    assert cheap is None or cheap == numbers._as_written(raw, region)


@pytest.mark.parametrize(
    ("raw", "region"),
    [("+34600123123", "ES"), ("0034600123123", "ES"), ("600123123", "ES"), ("600 12 31 23", "ES"), ("0612345678", "FR"),
     ("07700900123", "GB"), ("2025550123", "US"), ("12025550123", "US"), ("01512345678", "DE"), ("0612345678", "IT")],
)  # fmt: skip
def test_the_usual_writings_take_the_cheap_road(raw: str, region: str) -> None:
    assert numbers._cheaply(raw, region) == numbers._as_written(raw, region) is not None


# --- what a number is ------------------------------------------------------------------------------------------------

_KINDS = {FIXED: "landline", phonenumbers.PhoneNumberType.PREMIUM_RATE: "premium_rate"}


@pytest.mark.parametrize("region", REGIONS)
def test_kind_and_country_are_those_of_the_library(region: str) -> None:
    chance = random.Random(region)
    addresses = {a for _ in range(3_000) if (a := normalise(_written(chance, region), region)) is not None}
    for number_type in range(11):
        example = phonenumbers.example_number_for_type(region, number_type)
        if example:
            addresses.add(phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164))
    # The library cannot be asked about what it would read anew as another number (a trunk prefix behind a code).
    for address in filter(lambda each: numbers._parsed(each, None) == each, addresses):
        parsed = phonenumbers.parse(address)
        assert numbers.kind(address) == _KINDS.get(phonenumbers.number_type(parsed), "other"), address
        known = phonenumbers.region_code_for_number(parsed)
        if known not in (None, "001"):
            assert numbers.country(address) == known


@pytest.mark.parametrize(
    ("address", "kind", "country"),
    [("+34600123123", "other", "ES"), ("+34911234567", "landline", "ES"), ("+34803123456", "premium_rate", "ES"),
     ("+34900123456", "other", "ES"), ("+12025550123", "other", "US"), ("+442079460000", "landline", "GB"),
     ("+14165550123", "other", "CA"), ("+80012345678", "other", None)],
)  # fmt: skip
def test_landlines_premium_rates_and_countries_are_known(address: str, kind: str, country: str | None) -> None:
    assert (numbers.kind(address), numbers.country(address)) == (kind, country)
