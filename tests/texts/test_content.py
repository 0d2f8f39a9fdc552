"""What preparation finds in a text: every finding at its threshold and one step to each side."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.inbound.rules import SHIPPED
from app.texts.content import OPT_OUT_WORDS, Finding, examine

STOP = " STOP"
LINK = "https://a.es/" + "x" * 27  # 40 characters


def found(content: str | None, *, tracking: bool = True, **options: Any) -> list[Finding]:
    return examine(content, tracking=tracking, **options)


def codes(content: str | None, **options: Any) -> list[tuple[str, str]]:
    return [(each.level, each.code) for each in found(content, **options)]


def only(code: str, content: str, **options: Any) -> Finding:
    (finding,) = [each for each in found(content, **options) if each.code == code]
    return finding


@pytest.mark.parametrize("content", [None, "", " ", "\n\t \u00a0"])
def test_a_delivery_without_a_text_is_an_error_and_no_more_is_said(content: str | None) -> None:
    assert codes(content) == [("error", "content_missing")]


def test_a_plain_text_with_an_opt_out_has_only_its_size() -> None:
    (finding,) = found("Hola. STOP")
    assert (finding.level, finding.code) == ("info", "parts")
    assert finding.data == {"encoding": "gsm7", "units": 10, "parts": 1, "per_part": 160}
    assert finding.text == "The longest text takes 1 part: 10 septets in GSM-7, of 160 a part."


def test_each_malformed_placeholder_is_an_error_with_its_place() -> None:
    findings = [each for each in found("{{a b}} {{ok}} }} STOP") if each.code == "placeholder_malformed"]
    assert [(each.level, each.data) for each in findings] == [
        ("error", {"position": 0, "snippet": "{{a b}}"}),
        ("error", {"position": 15, "snippet": "}}"}),
    ]


@pytest.mark.parametrize(
    ("units", "extra"),
    [
        (153 * 10, []),
        (153 * 10 + 1, [("warning", "many_parts")]),
        (153 * 255, [("warning", "many_parts")]),
        (153 * 255 + 1, [("error", "too_long")]),
    ],
)
def test_many_parts_are_a_warning_and_more_than_a_phone_can_join_an_error(units: int, extra: list[Any]) -> None:
    assert codes("a" * (units - len(STOP)) + STOP) == [("info", "parts"), *extra]


@pytest.mark.parametrize(
    ("longest", "parts"), [({"n": "x" * 5}, 1), ({"n": "x" * 6}, 2), (None, 1), ({}, 1), ({"m": "y" * 99}, 1)]
)
def test_parts_are_those_of_the_longest_value_of_each_placeholder(longest: dict[str, str] | None, parts: int) -> None:
    content = "a" * 150 + "{{n}}" + STOP
    assert only("parts", content, longest=longest).data["parts"] == parts


def test_what_forces_ucs2_is_named_with_its_place_and_what_gsm7_would_take() -> None:
    content = "Mañana habrá más descuentos en todas nuestras tiendas, y también en la web. STOP"
    finding = only("ucs2", content)
    assert finding.level == "warning"
    assert finding.data["characters"] == [
        {"character": "á", "position": 11, "nearest": "a"},
    ]
    assert finding.data["gsm7"] == {"encoding": "gsm7", "units": 80, "parts": 1, "per_part": 160}
    assert finding.text == (
        "á forces UCS-2: 70 characters a part. With characters of GSM-7 only it would take 1 part instead of 2."
    )


@pytest.mark.parametrize(
    ("content", "longest", "text"),
    [
        (
            "Sí o no 😀 STOP",
            None,
            "í, 😀 force UCS-2: 70 characters a part. With characters of GSM-7 only it would take 1 part as well.",
        ),
        (
            "Привет STOP",
            None,
            "П, р, и, в, е, т force UCS-2: 70 characters a part. It is written in an alphabet that GSM-7 does not have.",
        ),
        ("{{n}} STOP", {"n": "José"}, None),
        (
            "{{n}} STOP",
            {"n": "Begoñá"},
            "á forces UCS-2: 70 characters a part. With characters of GSM-7 only it would take 1 part as well.",
        ),
    ],
)
def test_the_sentence_about_ucs2(content: str, longest: dict[str, str] | None, text: str | None) -> None:
    assert [each.text for each in found(content, longest=longest) if each.code == "ucs2"] == ([text] if text else [])


def test_a_character_that_comes_from_a_param_is_told_by_its_placeholder() -> None:
    finding = only("ucs2", "¿Qué tal, {{ name }}, hoy aquí? STOP", longest={"name": "Lucía"})
    assert finding.data["characters"] == [
        {"character": "í", "position": 29, "nearest": "i"},
        {"character": "í", "placeholder": "name", "nearest": "i"},
    ]


def test_a_character_that_nobody_sees_is_told_by_its_code_point() -> None:
    characters = only("ucs2", "a\u200bb\u00a0c e\u0301 STOP").data["characters"]
    assert [each["character"] for each in characters] == ["U+200B", "U+00A0", "U+0301"]


def test_a_character_in_a_link_that_a_short_url_replaces_forces_nothing() -> None:
    content = "Ver https://españa.es/rebajás STOP"
    assert [code for _, code in codes(content, short_url_length=20)] == ["parts", "link"]
    assert ("warning", "ucs2") in codes(content, tracking=False, short_url_length=20)
    assert only("link", content, short_url_length=20).data["saved_parts"] == 0
    forcing = only("ucs2", content + " aquí", short_url_length=20).data["characters"]
    assert forcing == [{"character": "í", "position": 38, "nearest": "i"}]


@pytest.mark.parametrize(
    ("before", "short_url_length", "saved", "effect"),
    [
        (115, 20, (20, 0), "Its short URL of 20 saves 20 characters."),
        (116, 20, (20, 1), "Its short URL of 20 saves 20 characters and saves 1 part."),
        (115, 41, (-1, -1), "Its short URL of 41 costs 1 character and costs 1 part."),
        (110, 42, (-2, 0), "Its short URL of 42 costs 2 characters."),
        (115, 40, (0, 0), "Its short URL of 40 takes as much."),
    ],
)
def test_a_link_says_what_its_short_url_saves_or_costs(
    before: int, short_url_length: int, saved: tuple[int, int], effect: str
) -> None:
    content = "a" * (before - 1) + " " + LINK + STOP
    finding = only("link", content, short_url_length=short_url_length)
    assert finding.level == "info"
    assert finding.data == {
        "url": LINK,
        "length": 40,
        "short_length": short_url_length,
        "saved_characters": saved[0],
        "saved_parts": saved[1],
    }
    assert finding.text == f"The link {LINK} has 40 characters. {effect}"


def test_parts_are_those_of_the_text_with_short_urls() -> None:
    content = "a" * 119 + " " + LINK + STOP
    assert only("parts", content, short_url_length=20).data["units"] == 145
    assert only("parts", content, short_url_length=None).data["units"] == 165
    assert only("parts", content, tracking=False, short_url_length=20).data["units"] == 165


@pytest.mark.parametrize("options", [{"tracking": False, "short_url_length": 20}, {"tracking": True}])
def test_without_tracking_or_a_length_a_link_has_only_its_own(options: dict[str, Any]) -> None:
    assert only("link", f"{LINK} STOP", **options).data == {"url": LINK, "length": 40}


def test_each_of_several_links_is_compared_with_the_text_in_which_the_others_are_short() -> None:
    content = "a" * 95 + f" {LINK} {LINK}{STOP}"  # 182; with both short 142, with one short 162
    findings = [each for each in found(content, short_url_length=20) if each.code == "link"]
    assert [each.data["saved_parts"] for each in findings] == [1, 1]


@pytest.mark.parametrize(("count", "described", "many"), [(50, 50, False), (51, 50, True)])
def test_links_beyond_the_fiftieth_are_only_counted_but_still_checked(count: int, described: int, many: bool) -> None:
    found_codes = codes(f"{LINK} " * (count - 1) + "https://me@a.es STOP", short_url_length=20)
    assert found_codes.count(("info", "link")) == described
    assert (("warning", "many_links") in found_codes) is many
    assert ("error", "link_userinfo") in found_codes


def test_a_link_with_a_placeholder_counts_its_longest_value() -> None:
    finding = only("link", "https://a.es/{{code}} STOP", longest={"code": "x" * 20}, short_url_length=30)
    assert (finding.data["url"], finding.data["length"]) == ("https://a.es/{{code}}", 33)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("https://me@a.es STOP", [("error", "link_userinfo")]),
        ("https://{{host}}/x STOP", [("warning", "link_host_placeholder")]),
        ("https://a.es/{{path}} STOP", []),
        ("https://bit.ly/x STOP", [("warning", "public_shortener")]),
        ("bit.ly/x STOP", [("warning", "public_shortener")]),
        ("https://orbit.ly/x STOP", []),
        ("ftp://a.es/x STOP", [("warning", "link_not_http")]),
        ("http://a.es/x STOP", []),
    ],
)
def test_doubtful_links_are_told(content: str, expected: list[tuple[str, str]]) -> None:
    assert [each for each in codes(content) if each[1] not in ("parts", "link")] == expected


@pytest.mark.parametrize(
    "content",
    [
        *[f"Para salir {word}" for word in OPT_OUT_WORDS],
        *["stop", "Stop.", "¡BAJA!", "(parar)", "Arrêt au 36000", "arre\u0302t", "no+stop", "ＳＴＯＰ"],
        *[
            "Baja: https://a.es/x",
            "https://a.es/unsubscribe",
            "https://a.es/Baja?c={{c}}",
            "https://optout.a.es",
            "https://a.es/opt-out",
        ],
    ],
)
def test_an_opt_out_is_a_whole_word_in_any_dress_or_an_https_link_for_it(content: str) -> None:
    assert ("warning", "opt_out_missing") not in codes(content)


@pytest.mark.parametrize(
    "content",
    [
        *["Hola", "stopwatch", "trabaja", "STOP2", "endless", "asalto", "{{STOP}}", "S T O P"],
        *[
            "https://a.es/stop",
            "https://a.es/end-of-season",
            "http://a.es/unsubscribe",
            "www.a.es/baja",
            "ftp://a.es/optout",
        ],
    ],
)
def test_other_words_and_other_links_are_no_opt_out(content: str) -> None:
    assert ("warning", "opt_out_missing") in codes(content)


def test_a_text_may_say_every_word_that_the_shipped_rules_act_on() -> None:
    assert set(OPT_OUT_WORDS) == {rule.keyword for rule in SHIPPED if rule.action == "denylist"}


def test_the_opt_out_words_are_the_callers() -> None:
    assert ("warning", "opt_out_missing") not in codes("Responde NO MÁS", opt_out_words=["no mas"])
    assert ("warning", "opt_out_missing") in codes("Responde no, más tarde STOP", opt_out_words=["no mas tarde ya"])
    assert ("warning", "opt_out_missing") in codes("STOP", opt_out_words=["", "!"])


def test_an_opt_out_word_may_come_from_a_param() -> None:
    assert ("warning", "opt_out_missing") not in codes("Responde {{word}}", longest={"word": "Stop"})


@given(
    st.text()
    | st.text("{}ab /:.áЖ€😀@")
    | st.lists(st.sampled_from(["https://", "a.es", "/", "{{a}}", "{{", "}}", "á"])).map("".join),
    st.booleans(),
    st.none() | st.dictionaries(st.sampled_from("ab"), st.text()),
    st.none() | st.integers(1, 60),
)
def test_examining_never_fails_and_says_plain_json_in_sentences(
    content: str, tracking: bool, longest: dict[str, str] | None, short_url_length: int | None
) -> None:
    findings = examine(content, tracking=tracking, longest=longest, short_url_length=short_url_length)
    assert findings
    for each in findings:
        assert orjson.loads(orjson.dumps(each.data)) == each.data
        assert each.text.endswith(".")


@pytest.mark.parametrize(("private_links", "level"), [(False, "error"), (True, "warning")])
def test_a_link_that_phones_cannot_open_is_an_error_unless_that_is_allowed(private_links: bool, level: str) -> None:
    finding = only("link_private", "http://192.168.1.10/x STOP", private_links=private_links)
    assert (finding.level, finding.data["host"]) == (level, "192.168.1.10")
    assert "a private network" in finding.text
    assert ("error", "link_private") in codes("www.localhost.x http://localhost:3000 STOP", tracking=False)


@pytest.mark.parametrize(
    ("content", "short_url_length", "behind"),
    [
        ("https://shop.example/x查看 STOP", None, "查看"),
        ("https://zh.wikipedia.org/wiki/中国。STOP", 30, "中国"),
        ("https://shop.example/x查看 STOP", 30, None),
        ("https://shop.example/x 查看 STOP", None, None),
        ("https://shop.example/x。查看 STOP", None, None),
        ("https://shop.example/x😀 STOP", None, None),
    ],
)
def test_what_a_link_runs_into_is_told_where_it_may_be_part_of_it(
    content: str, short_url_length: int | None, behind: str | None
) -> None:
    findings = [each for each in found(content, short_url_length=short_url_length) if each.code == "link_runs_on"]
    assert [each.data["behind"] for each in findings] == ([behind] if behind else [])
