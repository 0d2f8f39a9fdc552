"""One id, other clothes: every pair that must meet, and every one that must not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gateways.ids import FORMATS, alternatives, canonical, fault
from app.gateways.receipt import IdFormat

UUID = "1b1720be-5f48-41c4-b3f8-6e59dbf45366"


@pytest.mark.parametrize(
    ("raw", "fmt", "form"),
    [
        ("0002567", "as_is", "0002567"),
        (" 2567\n", "as_is", "2567"),
        ("0002567", "decimal", "2567"),
        ("2567", "decimal", "2567"),
        ("000", "decimal", "0"),
        (" 7 ", "decimal", "7"),
        ("A07", "decimal", "A07"),
        ("-7", "decimal", "-7"),
        ("²", "decimal", "²"),
        ("٣", "decimal", "٣"),
        ("A07", "hexadecimal", "2567"),
        ("00000a07", "hexadecimal", "2567"),
        ("0xA07", "hexadecimal", "2567"),
        ("0Xa07", "hexadecimal", "2567"),
        ("0", "hexadecimal", "0"),
        ("A0_7", "hexadecimal", "A0_7"),
        ("0x", "hexadecimal", "0x"),
        ("xyz", "hexadecimal", "xyz"),
        ("+A07", "hexadecimal", "+A07"),
        (UUID, "hexadecimal", UUID),
        (UUID.upper(), "hex_string", UUID.replace("-", "")),
        ("00A07", "hex_string", "a07"),
        ("0x00A07", "hex_string", "a07"),
        ("0000", "hex_string", "0"),
        ("2567", "hex_string", "2567"),
        ("---", "hex_string", "---"),
        ("smsc_01", "hex_string", "smsc_01"),
        ("", "decimal", ""),
        ("", "hexadecimal", ""),
        ("", "hex_string", ""),
        ("f" * 5000, "hexadecimal", "f" * 5000),
    ],
)
def test_each_format_has_one_canonical_form(raw: str, fmt: IdFormat, form: str) -> None:
    assert canonical(raw, fmt) == form


@given(st.integers(0, 2**64), st.integers(0, 8), st.booleans(), st.booleans())
def test_a_number_in_hexadecimal_meets_itself_in_decimal(number: int, zeros: int, upper: bool, prefix: bool) -> None:
    digits = "0" * zeros + (f"{number:X}" if upper else f"{number:x}")
    hexadecimal = canonical(("0x" if prefix else "") + digits, "hexadecimal")
    assert hexadecimal == canonical("0" * zeros + str(number), "decimal") == str(number)


@given(st.uuids(), st.booleans(), st.booleans())
def test_a_uuid_meets_itself_in_any_clothes(uuid: object, upper: bool, dashes: bool) -> None:
    text = str(uuid) if dashes else str(uuid).replace("-", "")
    assert canonical(text.upper() if upper else text, "hex_string") == canonical(str(uuid), "hex_string")


@given(st.text() | st.text("0123456789abcdefABCDEFx- "), st.sampled_from(["as_is", "decimal", "hex_string"]))
def test_what_is_canonical_stays_as_it_is(raw: str, fmt: IdFormat) -> None:
    assert canonical(canonical(raw, fmt), fmt) == canonical(raw, fmt)


@given(st.text())
def test_hexadecimal_never_raises_and_gives_decimal_or_what_came(raw: str) -> None:
    form = canonical(raw, "hexadecimal")
    assert form == raw.strip() or form.isdigit()


def test_alternatives_are_the_other_formats_that_make_a_difference() -> None:
    assert alternatives("00A07", "as_is") == {"hexadecimal": "2567", "hex_string": "a07"}
    assert alternatives("2567", "as_is") == {"hexadecimal": "9575"}
    assert alternatives("smsc_01", "decimal") == {}


@given(st.text() | st.text("0123456789abcdefABCDEFx-"), st.sampled_from(FORMATS))
def test_an_alternative_is_never_the_present_format_or_form(raw: str, fmt: IdFormat) -> None:
    others = alternatives(raw, fmt)
    assert fmt not in others
    assert canonical(raw, fmt) not in others.values()


def test_an_id_is_at_fault_for_its_length_or_a_nul() -> None:
    assert fault("fid", "a" * 255) is None
    assert fault("fid", "a" * 256) == "fid is longer than 255 characters"
    assert fault("fid", "\x00") == "fid contains a NUL character"
