"""What replies mean: which word is an opt-out, however it is written, and what is left to a person."""

import string
import unicodedata
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gateways.receipt import Numbering, OptOut
from app.inbound.rules import (
    SHIPPED,
    Match,
    Rule,
    Verdict,
    is_keyword,
    match,
    near_miss,
    number,
    rules_of,
    sender_of,
    stored,
    verdict,
)
from app.inbound.words import normalised_words, own_words

STOP = SHIPPED[0]
START = next(rule for rule in SHIPPED if rule.keyword == "START")
INFO = Rule(keyword="INFO", action="none", reply="Write to help@example.com")
PHONE = "+34600000000"


def action_of(text: str, recipient: str | None = "5555") -> str | None:
    return verdict(SHIPPED, text, recipient).action


@pytest.mark.parametrize(
    "text",
    [
        "stop",
        "STOP",
        " Stop. ",
        "STOP please",
        "Stop, gracias",
        '"STOP"',
        "«stop»",
        "_STOP_",
        "¡Baja!",
        "BAJA\n",
        "arrêt",
        "ARRE\u0302T",
        "arret",
        "ＳＴＯＰ",
        "𝐒𝐓𝐎𝐏",
        "Ⓢⓣⓞⓟ",
        "\u200bST\u200dOP\ufeff",
        "S\u00adTOP",
        "🛑 stop 🛑",
        "🛑\ufe0fSTOP",
        "\u202estop\u202c",
        "stöp",
        "StopAll",
        "Unsubscribe me",
        "REVOKE",
        "revoke my consent",
        "OPTOUT",
        "OPT OUT",
        "opt-out",
        "Opt  out, please",
        "cancel",
        "END",
        "END.",
        "quit!",
        "Parar",
        "alto",
        "...stop",
        "STOP sending me these messages",
        "STOP\n> Big sale, reply STOP to end",
    ],
)
def test_an_opt_out_however_it_is_written(text: str) -> None:
    assert action_of(text) == "denylist"


@pytest.mark.parametrize(
    "text",
    [
        "stopwatch",
        "stopping",
        "stop123",
        "STOPP",
        "unsubscribed",
        "Bajas temperaturas",
        "cancelled",
        "Cancelar",
        "Cancel my order",
        "End of story",
        "quit texting me",
        "Alto ahí",
        "the weekend is at an end",
    ],
)
def test_a_longer_word_or_text_that_begins_like_an_opt_out_is_left_to_a_person(text: str) -> None:
    assert action_of(text) == "review"


@pytest.mark.parametrize("text", ["Endlich! Danke", "Altogether great", "Ending soon?", "Endless", "quilt", "altos"])
def test_words_that_only_begin_like_a_short_keyword_opt_nobody_out(text: str) -> None:
    assert action_of(text) in (None, "review")


@pytest.mark.parametrize("text", ["start", "START!", " Start. ", "unstop", "¡Alta!", "álta"])
def test_an_opt_in(text: str) -> None:
    assert action_of(text) == "allow"


@pytest.mark.parametrize(
    "text",
    [
        "Starting tomorrow I am away",
        "Started already?",
        "Altamente recomendable",
        "START please",
        "start sending again",
        "Alta calidad",
        "unstoppable",
        "let us start",
    ],
)
@pytest.mark.parametrize("match", ["word", "prefix", "exact"])
def test_an_opt_in_is_the_whole_text_whatever_the_rule_says(text: str, match: Match) -> None:
    rules = [replace(rule, match=match) if rule.action == "allow" else rule for rule in SHIPPED]
    assert verdict(rules, text, None).action in (None, "review")
    assert verdict(rules, "start", None).action == "allow"


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "🛑",
        "¿?",
        "hello",
        "st",
        "когда",
        "and then",
        "En casa",
        "send it",
        "caballo",
        "en d'autres termes, qui t'a dit",
    ],
)
def test_what_no_rule_says_anything_about(text: str) -> None:
    assert verdict(SHIPPED, text, "5555") == Verdict()


@pytest.mark.parametrize(
    "text",
    [
        "don't stop",
        "S T O P",
        "s.t.o.p.",
        "o p t o u t",
        "UN-SUBSCRIBE",
        "please un subscribe me",
        "st op",
        "please stop",
        "no more: BAJA",
        "stpo",
        "sotp",
        "baha",
        "sto p stop",
        "Gracias por el mensaje de hoy, stop",
        "I will not stop",
        "please do opt out this number of all your lists, thank you very much indeed",
        "so long a text " * 200 + "stop",
        'I said "stop texting me"',
        '"please stop"',
    ],
)
def test_what_is_nearly_an_opt_out_is_left_to_a_person_and_answered_by_nobody(text: str) -> None:
    found = verdict([Rule(keyword="STOP", action="denylist", reply="Bye"), *SHIPPED], text, "5555")
    assert (found.action, found.reply) == ("review", None)


@pytest.mark.parametrize("word", ["stop", "unsubscribe", "cancel", "baja", "arret"])
def test_every_slip_of_one_letter_is_a_near_miss_or_a_match(word: str) -> None:
    slips = {word[:n] + word[n + 1 :] for n in range(len(word))}
    slips |= {word[:n] + letter + word[n:] for n in range(len(word) + 1) for letter in "xq7"}
    slips |= {word[:n] + letter + word[n + 1 :] for n in range(len(word)) for letter in "xq7"}
    slips |= {word[:n] + word[n + 1] + word[n] + word[n + 2 :] for n in range(len(word) - 1)}
    for slip in slips:
        assert action_of(slip) is not None, slip


@pytest.mark.parametrize("text", ["stpo!", "xstop", "stp", "sto bene", "sotp", "tsop"])
def test_one_slip_is_near(text: str) -> None:
    assert near_miss([STOP], own_words(text), None) == STOP


@pytest.mark.parametrize("text", ["spto", "tpso", "xxop", "s", "sttoop", "so that we may step"])
def test_two_slips_are_far(text: str) -> None:
    assert near_miss([STOP], own_words(text), None) is None


def test_an_opt_in_or_another_word_is_never_nearly_meant() -> None:
    assert near_miss([START, INFO], own_words("strat"), None) is None
    assert near_miss([START, INFO], own_words("please start"), None) is None


def test_rules_are_tried_top_to_bottom_and_the_first_that_matches_wins() -> None:
    keep, broad = Rule(keyword="STOPWATCH", action="none"), replace(STOP, match="prefix")
    assert match([keep, broad], own_words("stopwatch"), None) is keep
    assert match([keep, broad], own_words("stop"), None) is broad
    assert match([broad, keep], own_words("stopwatch"), None) is broad


@pytest.mark.parametrize(
    ("keyword", "how", "text", "matches"),
    [
        ("NO", "word", "no", True),
        ("NO", "word", "No, thanks", True),
        ("NO", "word", "November works for me", False),
        ("NO", "exact", "No, thanks", False),
        ("NO", "exact", "¡No!", True),
        ("NO", "prefix", "November works for me", True),
        ("1", "exact", "1", True),
        ("1", "word", "10 of us", False),
        ("T", "exact", "T", True),
        ("TD", "exact", "td.", True),
        ("退订", "prefix", "退订谢谢", True),
        ("退订", "word", "退订谢谢", False),
        ("NO MORE", "word", "no more", True),
        ("NO MORE", "word", "No more, please", True),
        ("NO MORE", "word", "no moreover", False),
        ("NO MORE", "prefix", "no moreover", True),
        ("NO MORE", "word", "no, more", True),
        ("NO MORE", "exact", "no more please", False),
        ("NO-MORE", "word", "no more", True),
    ],
)
def test_a_keyword_is_a_word_or_words_a_beginning_or_the_whole_text(
    keyword: str, how: Match, text: str, matches: bool
) -> None:
    rule = Rule(keyword=keyword, action="denylist", match=how)
    assert (match([rule], own_words(text), None) is rule) is matches


@pytest.mark.parametrize(("text", "action"), [("November works for me", None), ("Yesterday I called", None)])
def test_own_short_keywords_touch_no_longer_words(text: str, action: str | None) -> None:
    assert (
        verdict([Rule(keyword="NO", action="denylist"), Rule(keyword="YES", action="allow")], text, None).action
        is action
    )


def test_a_star_takes_what_no_rule_takes_and_hides_no_opt_out() -> None:
    rest = Rule(keyword="*", action="none", reply="Nobody reads this.")
    rules = [rest, *SHIPPED]
    assert verdict(rules, "hello", None) == Verdict(rule=rest, action="none")
    assert verdict(rules, "", None).reply == "Nobody reads this."
    assert verdict(rules, "stop", None).action == "denylist"
    assert verdict(rules, "please stop", None).action == "review"
    assert verdict([replace(rest, short_code="5555")], "hello", "4444") == Verdict()
    line = [Rule(keyword="*", action="denylist", short_code="5555"), *SHIPPED]  # a number that is for opt-outs only
    assert verdict(line, "please stop", "5555").action == verdict(line, "👍", "5555").action == "denylist"


@pytest.mark.parametrize(
    ("text", "opt_out", "action"),
    [
        ("Nein danke", "denylist", "denylist"),
        ("", "denylist", "denylist"),
        ("start", "denylist", "denylist"),  # of the two the opt-out is believed
        ("STOP", "allow", "denylist"),
        ("Ja bitte", "allow", "allow"),
        ("hilfe", "none", "none"),
        ("help, please stop", "none", "review"),
        ("STOP", "none", "denylist"),
    ],
)
def test_what_the_provider_takes_it_for_counts_as_much_as_a_keyword(text: str, opt_out: OptOut, action: str) -> None:
    assert verdict(SHIPPED, text, None, opt_out=opt_out).action == action


def test_what_the_provider_took_care_of_gets_no_second_answer_and_an_opt_in_needs_a_proof() -> None:
    stop = Rule(keyword="STOP", action="denylist", reply="You get no more.", scope="sender")
    assert verdict([stop], "stop", "5555").reply == "You get no more."
    found = verdict([stop], "stop", "5555", opt_out="denylist")
    assert (found.rule, found.reply) == (stop, None)
    assert verdict([stop], "ja", None, opt_out="allow", verified=False).action == "review"
    assert verdict([stop], "x", None, opt_out="denylist", sender_is_number=False).action == "review"


@pytest.mark.parametrize(
    "text",
    [
        "Liked “Reply STOP to opt out”",
        "Loved “Sale! Reply STOP to end”",
        'Disliked "Reply STOP to opt out"',
        "Laughed at “Reply STOP to",
        "Emphasized “STOP now and save”",
        "Questioned “BAJA al 5555”",
        "Removed a like from “Reply STOP to opt out”",
        "Reacted 👍 to “Reply STOP to opt out”",
        "Reacted with a thumbs up to “Reply STOP…”",
        "👍 to “Reply STOP to opt out”",
        "\u200a👍\u200b to “\u200aReply STOP to opt out\u200a”",
        "Le gustó “Responde BAJA”",
        "Le encantó “Responde BAJA”",
        "Reaccionó con 👍 a “Responde BAJA”",
        "A aimé « STOP au 36111 »",
        "A adoré « STOP au 36111 »",
        "Hat „STOP an 5555“ mit „Gefällt mir“ markiert",
        "> Reply STOP to end\nok thanks",
        "ok thanks\n\n> Big sale\n> Reply STOP to end",
    ],
)
def test_what_quotes_our_own_text_says_nothing_by_its_words(text: str) -> None:
    assert verdict(SHIPPED, text, None) == Verdict()


@pytest.mark.parametrize(
    "text",
    [
        "Liked “Reply STOP to opt out” STOP",
        "Loved “it” but please stop",
        'Thanks to "you": stop',
        "to “STOP”",
        "> Reply STOP\nquit this",
    ],
)
def test_words_beside_a_quotation_are_the_persons_own(text: str) -> None:
    assert action_of(text) == "review"


def test_the_shipped_words_say_where_they_come_from() -> None:
    by_word = {rule.keyword: rule for rule in SHIPPED}
    assert len(by_word) == len(SHIPPED)
    words = {name: {r.keyword for r in SHIPPED if (r.action, r.match) == name} for name in _KINDS}
    assert words == {
        ("denylist", "word"): {
            "STOP", "STOPALL", "UNSUBSCRIBE", "REVOKE", "OPTOUT", "OPT OUT", "BAJA", "PARAR", "ARRET",
        },
        ("denylist", "exact"): {"END", "QUIT", "CANCEL", "ALTO"},
        ("allow", "exact"): {"START", "UNSTOP", "ALTA"},
    }  # fmt: skip
    assert {rule.source for rule in SHIPPED} == {"law", "provider", "custom"}
    assert (by_word["REVOKE"].source, by_word["REVOKE"].country, by_word["BAJA"].language) == ("law", "US", "es")


_KINDS = [("denylist", "word"), ("denylist", "exact"), ("allow", "exact")]


# --- whom to believe -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("short_code", "recipient", "matches"),
    [
        (None, None, True),
        (None, "5555", True),
        ("5555", "5555", True),
        ("5555", " 55 55", True),
        ("+34 911 000 000", "34911000000", True),
        ("34911000000", "+34911000000", True),
        ("Acme", "ACME", True),
        ("5555", "5556", False),
        ("5555", None, False),
        ("5555", "", False),
    ],
)
def test_a_short_code_is_compared_without_plus_blanks_and_case(
    short_code: str | None, recipient: str | None, matches: bool
) -> None:
    rule = Rule(keyword="STOP", action="denylist", short_code=short_code)
    assert (match([rule], own_words("stop"), recipient) is rule) is matches
    assert (near_miss([rule], own_words("stpo"), recipient) is rule) is matches


@pytest.mark.parametrize(
    ("text", "verified", "is_number", "action"),
    [
        ("STOP", True, True, "denylist"),
        ("STOP", False, True, "denylist"),  # a STOP that is missed is worse than one that is forged
        ("STOP", True, False, "review"),
        ("START", True, True, "allow"),
        ("START", False, True, "review"),
        ("START", True, False, "review"),
        ("INFO", False, False, "none"),
    ],
)
def test_whom_to_believe(text: str, verified: bool, is_number: bool, action: str) -> None:
    found = verdict([*SHIPPED, INFO], text, "5555", sender_is_number=is_number, verified=verified)
    assert found.action == action


def test_the_reply_is_that_of_the_rule_that_takes_effect() -> None:
    stop = Rule(keyword="STOP", action="denylist", reply="You get no more.")
    start = Rule(keyword="START", action="allow", reply="Welcome back.")
    assert verdict([stop, INFO], "stop", None).reply == "You get no more."
    assert verdict([stop, INFO], "info", None).reply == INFO.reply
    assert verdict([start], "start", None, verified=False).reply is None
    assert verdict(SHIPPED, "stop", None).reply is None
    assert Verdict().reply is None


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("+34600000000", PHONE),
        ("34600000000", PHONE),
        ("0034600000000", PHONE),
        ("34 600-00 00.00", PHONE),
        ("+1 (415) 555-0100", "+14155550100"),
        ("5555", None),
        ("22000", None),
        ("Acme", None),
        ("", None),
        (None, None),
        ("+", None),
        ("1" * 40, None),
        ("whatsapp:+34600000000", PHONE),
        ("٣٤٦٠٠٠٠٠٠٠٠", PHONE),
        ("34600000000 Ana", None),
    ],
)
def test_numbers_as_providers_write_them(written: str | None, read: str | None) -> None:
    assert number(written) == read


def test_whose_messages_an_opt_out_is_about() -> None:
    narrow = Rule(keyword="STOP", action="denylist", scope="sender")
    assert sender_of(STOP, "5555") == ""
    assert sender_of(narrow, "5555") == "5555"
    assert sender_of(narrow, "34911000000") == "+34911000000"
    assert sender_of(narrow, " Acme ") == "Acme"
    assert sender_of(narrow, None) == ""  # nobody says which sender: then it is to all of them


def test_rules_come_back_as_they_were_stored() -> None:
    assert rules_of(stored(SHIPPED)) == SHIPPED == rules_of(None)
    assert rules_of([]) == ()


def test_rules_that_an_older_version_stored_match_words() -> None:
    (old,) = rules_of([{"keyword": "NO", "action": "denylist", "short_code": None, "reply": None, "scope": "address"}])
    assert match([old], own_words("no"), None) is old
    assert match([old], own_words("November"), None) is None


@pytest.mark.parametrize(
    "keyword", ["STOP", "opt out", "OPT-OUT", "1", "T", "退订", "Arrêt", "a" * 40, "*", "a b c d e"]
)
def test_what_can_be_a_keyword(keyword: str) -> None:
    assert is_keyword(keyword)


@pytest.mark.parametrize(
    "keyword", ["", " ", "-", "STOP!", "**", "* stop", "a" * 41, "a b c d e f", "\u0301", "S\0", "a\nb"]
)
def test_what_cannot(keyword: str) -> None:
    assert not is_keyword(keyword)


def test_no_shipped_word_hides_another() -> None:
    for rule in SHIPPED:
        found = match(SHIPPED, own_words(rule.keyword), None)
        assert found is not None
        assert found.action == rule.action


# --- any text --------------------------------------------------------------------------------------------------------


@given(st.text(), st.none() | st.text(), st.booleans(), st.booleans())
def test_any_text_has_a_verdict_and_never_raises(
    text: str, recipient: str | None, verified: bool, is_number: bool
) -> None:
    found = verdict(SHIPPED, text, recipient, verified=verified, sender_is_number=is_number)
    assert found.action in ("denylist", "allow", "none", "review", None)
    assert (found.rule is None) == (found.action is None)


@given(st.text())
def test_a_word_is_normal_already_when_it_was_made_so(text: str) -> None:
    words = normalised_words(text)
    assert all(normalised_words(word) == [word] and word.isalnum() for word in words)


@pytest.mark.parametrize(
    ("written", "country", "numbering", "read"),
    [
        ("2025550101", None, "national", None),  # jookies/jasmin#751: not Egypt's +20 25 55 01 01
        ("2025550101", "US", "national", "+12025550101"),
        ("600000000", "ES", "national", PHONE),
        ("0612345678", "FR", "national", "+33612345678"),
        ("600000000", "ES", None, PHONE),
        ("2025550101", "US", None, "+12025550101"),  # possible in Egypt, too, and never given out there
        ("34600000000", "US", None, PHONE),
        ("34600000000", "ES", None, PHONE),
        ("34600000000", "ES", "international", PHONE),
        ("2025550101", "US", "international", "+2025550101"),
        ("+34600000000", "US", "national", PHONE),  # with its plus it says whose it is
        ("0034600000000", "US", "international", PHONE),
        ("5555", "ES", "national", None),
        ("34600000000", None, "other", None),  # a name made of digits
        ("34600000000", "ES", "other", None),
        ("7700900123", "GB", None, "+447700900123"),
    ],
)
def test_a_national_number_is_read_by_the_gateways_country_or_not_at_all(
    written: str, country: str | None, numbering: Numbering | None, read: str | None
) -> None:
    assert number(written, country, numbering) == read


@given(st.none() | st.text())
def test_any_number_is_read_or_none(written: str | None) -> None:
    read = number(written)
    assert read is None or number(read) == read


_ACCENTS = ["\u0300", "\u0301", "\u0302", "\u0303", "\u0308", "\u20e3", "\ufe0f", "\u200b", "\u200d", "\ufeff"]
_AROUND = st.text(alphabet=string.punctuation.replace(">", "") + " \t\n¡¿«»“”…🛑👍\u200b\u2060\ufe0f", max_size=6)


@given(
    st.sampled_from([rule.keyword for rule in SHIPPED if " " not in rule.keyword]),
    _AROUND,
    _AROUND,
    st.lists(st.sampled_from(_ACCENTS), min_size=12, max_size=12),
    st.lists(st.booleans(), min_size=12, max_size=12),
    st.booleans(),
)
def test_decoration_does_not_change_the_match(
    keyword: str, before: str, after: str, accents: list[str], lower: list[bool], wide: bool
) -> None:
    letters = [letter.lower() if small else letter for letter, small in zip(keyword, lower, strict=False)]
    if wide:
        letters = [chr(ord(letter) + 0xFEE0) for letter in letters]
    dressed = "".join(letter + accent for letter, accent in zip(letters, accents, strict=False))
    for form in ("NFC", "NFD", "NFKC"):
        text = before + unicodedata.normalize(form, dressed) + after
        assert match(SHIPPED, own_words(text), None) == match(SHIPPED, own_words(keyword), None)
