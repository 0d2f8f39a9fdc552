"""The sentence of an error says what it is qualified as, whoever qualified it."""

from typing import Any, get_args

import pytest

from app.gateways import GATEWAYS, smpp_text
from app.gateways.receipt import FailureType
from app.qualifications.reasons import Reason
from app.qualifications.rules import KEY_LENGTH, UNKNOWN_ERROR, Qualified, State, meaning, of_source
from app.qualifications.sentences import following, sentence

EXPIRED = meaning(smpp_text.QUALIFICATIONS, "EXPIRED", "")


def row(documented: Qualified = UNKNOWN_ERROR, **fields: str) -> dict[str, str]:
    names = ("failure_type", "reason", "sentence", "state")
    return {name: getattr(documented, name) for name in names} | fields


def after(old: dict[str, str], documented: Qualified = UNKNOWN_ERROR, **fields: str) -> str:
    return following(documented, old, old | fields)


def test_an_error_that_nobody_knew_says_what_it_was_qualified_as() -> None:
    hard = after(row(), failure_type="hard", reason="user_unknown", state="keep")
    assert hard == "The number is not in use, or the network does not know it. The address is quarantined at once."
    mute = after(row(), failure_type="hard", reason="user_unknown", state="ignore")
    assert mute.endswith("The address is left alone.")


@pytest.mark.parametrize("failure_type", get_args(FailureType))
@pytest.mark.parametrize("reason", Reason)
@pytest.mark.parametrize("state", get_args(State))
def test_no_qualification_goes_on_saying_that_nobody_qualified_it(failure_type: str, reason: str, state: str) -> None:
    said = sentence(UNKNOWN_ERROR, failure_type, reason, state)
    as_new = (failure_type, reason, state) == ("undefined", "refused", "to_qualify")
    assert (said == UNKNOWN_ERROR.sentence) is as_new
    assert said.endswith(".")


def test_changed_back_it_says_what_it_said_before() -> None:
    for documented in (UNKNOWN_ERROR, EXPIRED):
        old = row(documented)
        change: dict[str, Any] = {"failure_type": "hard", "reason": "user_unknown", "state": "keep"}
        new = old | change | {"sentence": after(old, documented, **change)}
        assert new["sentence"] != old["sentence"]
        back = {name: old[name] for name in change}
        assert after(new, documented, **back) == old["sentence"]


def test_what_the_provider_documents_stays_and_the_decision_stands_behind_it() -> None:
    old = row(EXPIRED)
    assert after(old, EXPIRED, state="to_qualify") == EXPIRED.sentence
    hard = after(old, EXPIRED, failure_type="hard")
    assert hard == f"{EXPIRED.sentence} An operator decided otherwise: the address is quarantined at once."
    soft = after(old | {"failure_type": "hard", "sentence": hard}, EXPIRED, failure_type="soft")
    assert soft == EXPIRED.sentence


def test_words_of_somebodys_own_stay() -> None:
    own = row(failure_type="soft", reason="unreachable", state="keep", sentence="Call Joe.")
    assert after(own, failure_type="hard") == "Call Joe."


def test_a_sentence_that_an_older_version_left_behind_is_mended_with_the_next_change() -> None:
    stale = row(failure_type="hard", reason="user_unknown", state="keep")
    assert after(stale, failure_type="soft").endswith("is quarantined.")


def test_an_error_of_one_source_is_documented_as_that_of_any() -> None:
    table = GATEWAYS["kannel"].qualifications
    assert meaning(table, "2", of_source("GSM 27", "smsc-1")) == meaning(table, "2", "GSM 27") != UNKNOWN_ERROR
    assert meaning(table, "2", of_source("UNDELIV 069", "smsc-1")) == UNKNOWN_ERROR
    assert of_source("UNDELIV 069", "smsc-1") == "UNDELIV 069 @ smsc-1"
    assert len(of_source("x" * 500, "s" * 40)) == KEY_LENGTH
