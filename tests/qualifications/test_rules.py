"""What makes errors alike, and what they mean."""

import timeit

import pytest

from app.gateways.receipt import FailureType, Qualification
from app.qualifications.reasons import CODES, Reason
from app.qualifications.rules import KEY_LENGTH, failure_key, meaning, shown


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        ("069", "anything", "069"),
        (" 069 ", None, "069"),
        ("", "Unknown subscriber", "Unknown subscriber"),
        (None, None, ""),
        (None, "Message 8f3a-12 to +34600123123 failed at 2026-11-23 10:00:01.",
            "Message #MESSAGE# to #MESSAGE# failed at #MESSAGE#."),
        (None, "23 Nov 2026: absent subscriber (27)", "#MESSAGE#: absent subscriber (#MESSAGE#)"),
        (None, "Invalid number 600 123 123", "Invalid number #MESSAGE#"),
        (None, "mail a@b.com see https://x.y/z?q=1", "mail #MESSAGE# see #MESSAGE#"),
        (None, "  spaced \n out ", "spaced out"),
        (None, "id=abc123;err:005", "id=#MESSAGE#;err:#MESSAGE#"),
    ],
)  # fmt: skip
def test_like_errors_share_a_key(code: str | None, text: str | None, expected: str) -> None:
    assert failure_key(code, text) == expected


def test_a_key_is_cropped() -> None:
    assert len(failure_key("x" * 1_000, None)) == len(failure_key(None, "x y " * 1_000)) == KEY_LENGTH


@pytest.mark.parametrize(
    "text", ["a" * 500, "1" * 500, "jan " * 125, "1 jan 1 " * 60, "://" * 160, "a:" * 250, "#MESSAGE# " * 50]
)
def test_no_text_takes_long(text: str) -> None:
    assert min(timeit.repeat(lambda: failure_key(None, text), number=20, repeat=3)) / 20 < 0.005


def documented(failure_type: FailureType, reason: str) -> Qualification:
    return Qualification(failure_type=failure_type, reason=reason, sentence="It says so.")


TABLE = {
    ("UNDELIV", "1"): documented("hard", "user_unknown"),
    ("*", "1"): documented("soft", "unreachable"),
    ("UNDELIV", ""): documented("soft", "mailbox_full"),
    ("REJECTD", "9"): documented("undefined", "refused"),
}


@pytest.mark.parametrize(
    ("status", "code", "reason", "state"),
    [
        ("UNDELIV", "1", "user_unknown", "keep"),
        ("undeliv", "1", "user_unknown", "keep"),
        ("EXPIRED", "1", "unreachable", "keep"),
        ("UNDELIV", "2", "mailbox_full", "keep"),
        ("UNDELIV", "", "mailbox_full", "keep"),
        ("REJECTD", "9", "refused", "to_qualify"),
        ("EXPIRED", "2", "refused", "to_qualify"),
        ("EXPIRED", "", "refused", "to_qualify"),
    ],
)
def test_an_error_means_what_is_documented_closest_to_it(status: str, code: str, reason: str, state: str) -> None:
    found = meaning(TABLE, status, code)
    assert (found.reason, found.state) == (reason, state)


def test_an_error_nobody_knows_leaves_the_address_alone() -> None:
    assert meaning({}, "UNDELIV", "7").failure_type == "undefined"


def test_a_key_is_shown_as_people_read_it() -> None:
    assert shown("Acme", "UNDELIV", "069") == "SR Acme UNDELIV 069"
    assert shown("Acme", "", "") == "SR Acme"


def test_every_reason_has_its_code() -> None:
    assert set(CODES) == set(Reason)
    assert len(set(CODES.values())) == len(CODES)
