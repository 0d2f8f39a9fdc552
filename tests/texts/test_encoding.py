"""Parts at every boundary, and against a splitter that goes letter by letter."""

import string
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.texts.encoding import BASIC, EXTENSION, Encoding, in_gsm7, measure, nearest, why_ucs2

EMOJI = "😀"
HIGH, LOW = "\ud83d", "\ude00"
#: Everything that Python calls a character, surrogates too.
ANY_TEXT = st.text(st.integers(0, 0x10FFFF).map(chr))
#: Dense where the rules are: two-unit characters at every distance from a boundary.
GSM7_TEXT = st.text("aà \n€[|", max_size=700)
UCS2_TEXT = st.text(["a", "á", "€", EMOJI, HIGH, LOW, "\0"], max_size=400)
REPEATED = st.builds(lambda head, body, times: head + body * times, GSM7_TEXT, ANY_TEXT, st.integers(0, 400))


def atoms(text: str) -> tuple[Encoding, list[int]]:
    """How many units each character takes; what stands here cannot be split."""
    if all(each in BASIC or each in EXTENSION for each in text):
        return "gsm7", [2 if each in EXTENSION else 1 for each in text]
    joined = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    return "ucs2", [2 if ord(each) > 0xFFFF else 1 for each in joined]


def slow_parts(text: str) -> tuple[Encoding, int, int]:
    encoding, sizes = atoms(text)
    single, joined = {"gsm7": (160, 153), "ucs2": (70, 67)}[encoding]
    if sum(sizes) <= single:
        return encoding, sum(sizes), 1
    parts, room = 1, joined
    for size in sizes:
        if size > room:
            parts, room = parts + 1, joined
        room -= size
    return encoding, sum(sizes), parts


@pytest.mark.parametrize(
    ("text", "encoding", "units", "parts", "per_part"),
    [
        ("", "gsm7", 0, 1, 160),
        ("a", "gsm7", 1, 1, 160),
        ("a" * 159, "gsm7", 159, 1, 160),
        ("a" * 160, "gsm7", 160, 1, 160),
        ("a" * 161, "gsm7", 161, 2, 153),
        ("a" * 305, "gsm7", 305, 2, 153),
        ("a" * 306, "gsm7", 306, 2, 153),
        ("a" * 307, "gsm7", 307, 3, 153),
        ("a" * 459, "gsm7", 459, 3, 153),
        ("a" * 460, "gsm7", 460, 4, 153),
        ("a" * 153 * 255, "gsm7", 39015, 255, 153),
        ("a" * (153 * 255 + 1), "gsm7", 39016, 256, 153),
        ("€", "gsm7", 2, 1, 160),
        ("a" * 158 + "€", "gsm7", 160, 1, 160),
        ("a" * 159 + "€", "gsm7", 161, 2, 153),
        ("€" * 80, "gsm7", 160, 1, 160),
        ("€" * 81, "gsm7", 162, 2, 153),
        # 153 is odd: a part takes 76 of them, and one septet stays empty.
        ("€" * 152, "gsm7", 304, 2, 153),
        ("€" * 153, "gsm7", 306, 3, 153),
        ("a" + "€" * 152, "gsm7", 305, 2, 153),
        ("a" * 152 + "€" + "a" * 151, "gsm7", 305, 2, 153),
        ("a" * 152 + "€" + "a" * 152, "gsm7", 306, 3, 153),
        ("a" * 151 + "€" + "a" * 153, "gsm7", 306, 2, 153),
        ("a" * 305 + "€", "gsm7", 307, 3, 153),
        ("á", "ucs2", 1, 1, 70),
        ("\0", "ucs2", 1, 1, 70),
        ("á" * 69, "ucs2", 69, 1, 70),
        ("á" * 70, "ucs2", 70, 1, 70),
        ("á" * 71, "ucs2", 71, 2, 67),
        ("á" * 134, "ucs2", 134, 2, 67),
        ("á" * 135, "ucs2", 135, 3, 67),
        ("á" * 201, "ucs2", 201, 3, 67),
        ("á" * 202, "ucs2", 202, 4, 67),
        ("a" * 70 + "á", "ucs2", 71, 2, 67),
        # In UCS-2 the extension costs nothing extra.
        ("á" + "€" * 69, "ucs2", 70, 1, 70),
        (EMOJI, "ucs2", 2, 1, 70),
        (EMOJI * 35, "ucs2", 70, 1, 70),
        ("a" + EMOJI * 35, "ucs2", 71, 2, 67),
        (EMOJI * 66, "ucs2", 132, 2, 67),
        (EMOJI * 67, "ucs2", 134, 3, 67),
        ("á" * 66 + EMOJI + "á" * 65, "ucs2", 133, 2, 67),
        ("á" * 66 + EMOJI + "á" * 66, "ucs2", 134, 3, 67),
        ("á" * 65 + EMOJI + "á" * 67, "ucs2", 134, 2, 67),
        (HIGH, "ucs2", 1, 1, 70),
        ("á" * 66 + HIGH + LOW + "á" * 66, "ucs2", 134, 3, 67),
        ("á" * 66 + HIGH + "á" * 67, "ucs2", 134, 2, 67),
        ("á" * 67 + LOW + "á" * 66, "ucs2", 134, 2, 67),
        ("á" * 66 + LOW + HIGH + "á" * 66, "ucs2", 134, 2, 67),
    ],
)
def test_units_and_parts_at_every_boundary(text: str, encoding: str, units: int, parts: int, per_part: int) -> None:
    assert measure(text) == (encoding, units, parts, per_part)


def test_the_default_alphabet_stands_in_the_order_of_the_standard() -> None:
    code = {character: index for index, character in enumerate(BASIC[:0x1B] + "\x1b" + BASIC[0x1B:])}
    assert len(code) == 128
    same_as_ascii = set(string.printable) - set("$@[\\]^_`{|}~\t\x0b\x0c")
    assert {each for each in same_as_ascii if code[each] == ord(each)} == same_as_ascii
    others = {"@": 0, "£": 1, "$": 2, "Ç": 9, "Δ": 0x10, "_": 0x11, "Ξ": 0x1A, "É": 0x1F, "¤": 0x24, "¡": 0x40}
    others |= {"Ä": 0x5B, "Ö": 0x5C, "Ñ": 0x5D, "Ü": 0x5E, "§": 0x5F, "¿": 0x60, "ä": 0x7B, "ñ": 0x7D, "à": 0x7F}
    assert {each: code[each] for each in others} == others
    assert [unicodedata.name(each).split()[-1] for each in "ΔΦΓΛΩΠΨΣΘΞ" if code[each] in range(0x10, 0x1B)] == [
        "DELTA", "PHI", "GAMMA", "LAMDA", "OMEGA", "PI", "PSI", "SIGMA", "THETA", "XI",
    ]  # fmt: skip


@pytest.mark.parametrize("character", BASIC)
def test_a_character_of_the_default_alphabet_takes_one_septet(character: str) -> None:
    assert measure(character)[:2] == ("gsm7", 1)


@pytest.mark.parametrize("character", "\f^{}\\[~]|€")
def test_a_character_of_the_extension_takes_two(character: str) -> None:
    assert measure(character)[:2] == ("gsm7", 2)


@pytest.mark.parametrize("character", "àèéìòùñüöäåæøßÄÅÆÇÉÑÖØÜ")
def test_these_accented_letters_are_in_gsm7(character: str) -> None:
    assert measure(character).encoding == "gsm7"


@pytest.mark.parametrize("character", "áíóúçâêîôûëïãõÁÍÓÚÀÈŒœ`´’“”…–\t\x1b\x00ºªΑ\u2126Ж")
def test_these_characters_force_ucs2(character: str) -> None:
    assert measure(character).encoding == "ucs2"
    assert why_ucs2(f"ab{character}") == [(character, 2)]


def test_what_forces_ucs2_is_told_once_each_in_order_and_not_without_an_end() -> None:
    assert why_ucs2("Así, ¡aquí y allá!") == [("í", 2), ("á", 16)]
    assert why_ucs2("áéíóú", limit=2) == [("á", 0), ("í", 2)]
    assert why_ucs2("Olé, 5 € [oferta]") == []


@given(ANY_TEXT)
def test_something_forces_ucs2_exactly_when_it_is_ucs2(text: str) -> None:
    forcing = why_ucs2(text)
    assert bool(forcing) is (measure(text).encoding == "ucs2")
    assert all(text.index(character) == position for character, position in forcing)


@given(ANY_TEXT | GSM7_TEXT | UCS2_TEXT | REPEATED)
@example("€" * 153)
@example("á" * 66 + HIGH + EMOJI + LOW + "á" * 66)
def test_measure_agrees_with_a_splitter_that_goes_letter_by_letter(text: str) -> None:
    assert measure(text)[:3] == slow_parts(text)


@given(GSM7_TEXT | UCS2_TEXT | REPEATED, GSM7_TEXT | UCS2_TEXT)
def test_more_text_never_takes_fewer_parts(text: str, more: str) -> None:
    assert measure(text + more).parts >= measure(text).parts


@pytest.mark.parametrize(
    ("character", "instead"),
    [
        *[("á", "a"), ("Í", "I"), ("ç", "c"), ("ê", "e"), ("ő", "o"), ("ł", "l"), ("œ", "oe"), ("º", "o")],
        *[("’", "'"), ("“", '"'), ("«", '"'), ("–", "-"), ("…", "..."), ("\u00a0", " "), ("\t", " "), ("`", "'")],
        *[("™", "TM"), ("，", ","), (EMOJI, ""), ("Ж", ""), ("\u200b", ""), (HIGH, ""), ("\u0301", "")],
    ],
)
def test_the_nearest_character_in_gsm7(character: str, instead: str) -> None:
    assert nearest(character) == instead


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("“Rebajas” – sólo hoy… 😀", '"Rebajas" - solo hoy... '),
        ("man\u0303ana, Ole\u0301", "mañana, Olé"),
        ("Ñandú 5 €", "Ñandu 5 €"),
        ("Привет", None),
        ("Hola, 世界", None),
    ],
)
def test_a_text_in_gsm7_loses_accents_and_signs_but_no_letters(text: str, plain: str | None) -> None:
    assert in_gsm7(text) == plain


@given(ANY_TEXT)
def test_what_is_put_in_gsm7_is_in_gsm7(text: str) -> None:
    plain = in_gsm7(text)
    assert plain is None or measure(plain).encoding == "gsm7"
