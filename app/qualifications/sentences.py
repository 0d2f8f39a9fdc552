"""What an error means and what to do, in a sentence that says the same as its qualification. Pure.

Whoever requalifies an error may write a sentence of his own. Where he does not, the sentence that stood there would go on
saying what no longer holds: then one is made of what he decided.
"""

from collections.abc import Mapping

from app.qualifications.reasons import Reason
from app.qualifications.rules import UNKNOWN_ERROR, Qualified

_CAUSES: Mapping[str, str] = {
    Reason.NOT_DEFINED: "The provider reported an error, and no reason is given for it.",
    Reason.USER_UNKNOWN: "The number is not in use, or the network does not know it.",
    Reason.INVALID_DOMAIN: "The number's network could not be found.",
    Reason.UNREACHABLE: "The phone could not be reached: off or out of coverage.",
    Reason.ACCOUNT_DISABLED: "The subscriber is barred from the network.",
    Reason.MAILBOX_FULL: "The phone could not store the message: its memory is full.",
    Reason.NOT_CONNECTED: "The phone was not connected to the network.",
    Reason.ADDRESS_NOT_SPECIFIED: "No number was given.",
    Reason.DENYLISTED: "The person does not want messages.",
    Reason.QUARANTINED: "The number is in the provider's quarantine.",
    Reason.DOUBLE: "The provider took the message for one that it had already.",
    Reason.EXCLUDED_BY_RULE: "A rule of the provider's leaves this number out.",
    Reason.EXCLUDED_BY_ARBITRATION: "The number had as many messages as the provider allows.",
    Reason.INVALID_ADDRESS: "The provider calls the number invalid.",
    Reason.SIZE_LIMITED: "The message was too long.",
    Reason.REFUSED: "The message was refused.",
    Reason.ERROR_IGNORED: "The message was not delivered, for a cause that has nothing to do with the phone.",
    Reason.CONTROL_GROUP: "The recipient belongs to a control group.",
}
_EFFECTS: Mapping[str, str] = {
    "hard": "The address is quarantined at once.",
    "soft": "It counts as a temporary error; an address where this goes on for days is quarantined.",
    "ignored": "It says nothing about the address, which is left alone.",
    "undefined": "What it says about the address is not decided: the address is left alone.",
}
_OPTED_OUT = "The address is denylisted for this sender."
_MUTE = "The address is left alone."


def sentence(documented: Qualified, failure_type: str, reason: str, state: str) -> str:
    """Of an error that its provider documents so (or not at all: `UNKNOWN_ERROR`), and that is qualified so."""
    same = (failure_type, reason) == (documented.failure_type, documented.reason)
    if same and (state == documented.state or (state != "ignore" and documented != UNKNOWN_ERROR)):
        return documented.sentence
    effect = _effect(failure_type, reason, state)
    if documented == UNKNOWN_ERROR:
        return f"{_CAUSES.get(reason, _CAUSES[Reason.NOT_DEFINED])} {effect}"
    return f"{documented.sentence} An operator decided otherwise: {effect[:1].lower()}{effect[1:]}"


def following(documented: Qualified, old: Mapping[str, str], new: Mapping[str, str]) -> str:
    """The sentence of a qualification that was `old` and is `new`, where nobody gave one: his own stays whoever wrote one."""
    before = sentence(documented, old["failure_type"], old["reason"], old["state"])
    if old["sentence"] not in (before, documented.sentence, UNKNOWN_ERROR.sentence):
        return old["sentence"]
    return sentence(documented, new["failure_type"], new["reason"], new["state"])


def _effect(failure_type: str, reason: str, state: str) -> str:
    if state == "ignore":
        return _MUTE
    return _OPTED_OUT if reason == "denylisted" and failure_type in ("hard", "soft") else _EFFECTS[failure_type]
