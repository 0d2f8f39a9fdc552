"""The text of an SMPP receipt, and the words and numbers for its states. Pure; for every door that receipts come by.

`id:… sub:001 dlvrd:001 submit date:YYMMDDhhmm done date:YYMMDDhhmm stat:DELIVRD err:000 text:…` is appendix B of SMPP
3.4, which leaves it to the vendor; so fields come in any order, in any case, with newlines between them, or not at
all. Sources of the deviations: tests/gateways/samples/smpp/receipts.jsonl, key `basis`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.gateways.receipt import FailureType, Outcome, Qualification

#: A receipt's fields stand in its first 250 octets; what is further behind is text and not worth searching.
MAX_TEXT = 4096
#: data_coding of UCS-2 (SMPP 3.4 §5.2.19).
UCS2 = 8
#: SMPP 5.0 §4.8.4.49: a message id has at most 64 octets and a NUL.
MAX_SMPP_ID = 65

OUTCOMES: Mapping[str, Outcome] = {
    "SCHEDULED": Outcome.ACCEPTED,
    # Final in the table of 3.4 ("read by customer service"), intermediate in practice: Kannel, Jasmin, and our issue.
    "ACCEPTD": Outcome.ACCEPTED,
    "ENROUTE": Outcome.SENT,
    "DELIVRD": Outcome.RECEIVED,
    "EXPIRED": Outcome.FAILED,
    "DELETED": Outcome.FAILED,
    "UNDELIV": Outcome.FAILED,
    "REJECTD": Outcome.FAILED,
    "SKIPPED": Outcome.FAILED,
    # "Message is in invalid state": says nothing. Kannel fails it, Jasmin leaves it open; so do we.
    "UNKNOWN": Outcome.UNKNOWN,
}

#: The message_state TLV (0x0427), 5.0 §4.7.15. Beware: jsmpp numbers its receipt states otherwise.
STATES: Mapping[int, str] = {
    0: "SCHEDULED",
    1: "ENROUTE",
    2: "DELIVRD",
    3: "EXPIRED",
    4: "DELETED",
    5: "UNDELIV",
    6: "ACCEPTD",
    7: "UNKNOWN",
    8: "REJECTD",
    9: "SKIPPED",
}

#: Other spellings seen, to the word of the specification.
SPELLINGS: Mapping[str, str] = {
    **{word: word for word in OUTCOMES},
    "SCHEDLD": "SCHEDULED",
    "ACCEPTED": "ACCEPTD",
    "ACKED": "ACCEPTD",  # this and the next two: Kannel's smsc_smpp.c reads them as buffered
    "BUFFRED": "ACCEPTD",
    "BUFFERD": "ACCEPTD",
    "BUFFERED": "ACCEPTD",
    "DELIVERED": "DELIVRD",
    "DELIVERD": "DELIVRD",
    "EXPIRD": "EXPIRED",
    "UNDELIVERABLE": "UNDELIV",
    "UNDELIVERED": "UNDELIV",
    "UNDELIVRD": "UNDELIV",
    "FAILED": "UNDELIV",
    "REJECTED": "REJECTD",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptText:
    """The fields of a receipt's text, letter for letter; None where the field is absent or empty."""

    id: str | None = None
    sub: str | None = None
    dlvrd: str | None = None
    submit_date: str | None = None
    done_date: str | None = None
    stat: str | None = None
    err: str | None = None
    #: Everything after `text:`. "" when the field stands there and is empty.
    text: str | None = None
    #: Fields given twice with different values; the first one is kept.
    twice: frozenset[str] = frozenset()

    @property
    def is_receipt(self) -> bool:
        """Whether any field was found: `text:` alone makes no receipt."""
        return any((self.id, self.sub, self.dlvrd, self.submit_date, self.done_date, self.stat, self.err))

    @property
    def undecodable(self) -> bool:
        """Whether the text holds control characters or replacements: octets of another alphabet, cut anywhere."""
        return self.text is not None and _CONTROLS.search(self.text) is not None

    @property
    def status_after_text(self) -> str | None:
        """A status behind `text:`, where anybody who wrote the SMS could have put it."""
        found = _STATUS.search(self.text or "")
        return found[1] if found else None


def word(status: str | None) -> str | None:
    """The specification's word for a status as sent; None when it is none of the known spellings."""
    return SPELLINGS.get(status.upper()) if status else None


def parse(text: str) -> ReceiptText:
    """Read what is there. Never raises; a key that is not known is passed over with its value."""
    head, tail = _parted(text[:MAX_TEXT])
    fields: dict[str, Any] = {} if tail is None else {"text": tail}
    twice = set()
    for name, value in _FIELD.findall(head):
        key = _KEYS[name] if name in _KEYS else _KEYS[name.lower()]
        if "\x00" in value:
            value = value.strip("\x00")  # the end of a C string; inside of one it stays, and an id is refused for it
        if value and fields.setdefault(key, value) != value:
            twice.add(key)
    return ReceiptText(twice=frozenset(twice), **fields)


def _parted(text: str) -> tuple[str, str | None]:
    """The fields, and what stands behind `text:`, which never is a field."""
    found = _TEXT.search(text)
    return (text[: found.start()], text[found.end() :]) if found else (text, None)


def decoded(octets: bytes, data_coding: int) -> str:
    """A short_message as text. The fields of a receipt are ASCII in every alphabet but UCS-2.

    Some centres say UCS-2 because the *message* was, and send the receipt in ASCII: then ASCII it is.
    """
    if data_coding == UCS2:
        text = octets[: 2 * MAX_TEXT].decode("utf-16-be", "replace").removeprefix("\ufeff")
        if _FIELD.search(text) or not _FIELD.search(octets[:MAX_TEXT].decode("latin-1")):
            return text
    return octets.decode("latin-1")


def says_nothing(err: str | None) -> bool:
    """Whether an `err` field is absent, all zeros, or a placeholder ("...", seen in vumi's tests)."""
    return not err or not err.strip("0.")


_TEXT = re.compile(r"(?<!\S)text[ \t]?:", re.IGNORECASE)
_NAME = r"(id|sub|dlvrd|submit[ _\n]?date|done[ _\n]?date|status|stat|err)[ \t]?:"
#: A value is the first word behind the colon, unless that is already the next field; of a date with separators two words.
_VALUE = r"\S+(?:(?<=[0-9]{4}[-/][0-9]{2}[-/][0-9]{2}) [0-9]{2}:[0-9]{2}\S*)?"
_FIELD = re.compile(rf"(?<!\S){_NAME}(?:\s*(?!{_NAME.replace('(', '(?:', 1)})({_VALUE}))?", re.ASCII | re.IGNORECASE)
_STATUS = re.compile(r"(?<!\S)stat(?:us)?[ \t]?:\s*(\S+)", re.ASCII | re.IGNORECASE)
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffd]")
_KEYS = {
    **{key: key for key in ("id", "sub", "dlvrd", "stat", "err")},
    **{f"{which}{gap}date": f"{which}_date" for which in ("submit", "done") for gap in ("", " ", "_", "\n")},
    "status": "stat",
}

# --- what its states mean for an address ---------------------------------------------------------------------------

_STATE_QUALIFICATIONS = {
    "EXPIRED": Qualification(
        failure_type="soft",
        reason="unreachable",
        sentence="The phone could not be reached before the message's validity was over: off or out of coverage. "
        "Nothing to do; an address where this goes on for days is quarantined.",
    ),
    "DELETED": Qualification(
        failure_type="ignored",
        reason="error_ignored",
        sentence="The message centre deleted the message before it was delivered. Says nothing about the phone: "
        "ask the provider who cancelled it.",
    ),
    "SKIPPED": Qualification(
        failure_type="ignored",
        reason="error_ignored",
        sentence="The message centre left this message out on purpose (SMPP 5.0). Ask the provider for its rule.",
    ),
}

# 3GPP TS 29.002 §17.6.6 and 17.7.7, the errors of MAP that a centre hands on in network_error_code with type GSM.
_GSM: Mapping[int, tuple[FailureType, str, str]] = {
    1: ("hard", "user_unknown", "The number is not in use. Remove it from the audience."),
    5: ("hard", "user_unknown", "The network does not know this subscriber. Remove the number from the audience."),
    6: ("soft", "unreachable", "The phone is off or out of coverage. Nothing to do, unless it goes on for days."),
    9: ("hard", "account_disabled", "The subscriber is barred from the network. Remove the number from the audience."),
    11: ("hard", "refused", "The subscription does not include SMS. Remove the number, or use another channel."),
    12: ("soft", "unreachable", "The network does not admit this phone. It may be replaced; nothing to do for now."),
    13: ("soft", "refused", "Incoming messages are barred on this subscription for now. Try again later."),
    21: ("ignored", "refused", "The network does not offer this service. Ask the provider about its route."),
    27: ("soft", "unreachable", "The phone is off or out of coverage. Nothing to do, unless it goes on for days."),
    31: ("soft", "unreachable", "The phone was busy with another message. A later message may arrive."),
    32: ("soft", "mailbox_full", "The phone could not store the message: its memory is full, or it has a fault."),
    33: ("ignored", "refused", "The network's list of waiting messages is full. Try again later."),
    34: ("ignored", "refused", "A fault in the mobile network. Says nothing about the phone: try again later."),
    35: ("ignored", "refused", "The network missed data in the request. Ask the provider."),
    36: ("ignored", "refused", "The network did not expect a value in the request. Ask the provider."),
}


def _qualifications() -> dict[tuple[str, str], Qualification]:
    # UNDELIV and REJECTD without a code are left out on purpose: the centre gave up and does not say why. They stay
    # `to_qualify`, and an operator who knows the route decides. So is every `err` code: each vendor has its own list.
    found = {("*", state): meaning for state, meaning in _STATE_QUALIFICATIONS.items()}
    for spelling, state in SPELLINGS.items():
        if state in _STATE_QUALIFICATIONS:
            found |= {(spelling, code): _STATE_QUALIFICATIONS[state] for code in ("", "000")}
    for code, (failure_type, reason, sentence) in _GSM.items():
        found["*", f"GSM {code}"] = Qualification(failure_type=failure_type, reason=reason, sentence=sentence)
    return found


#: Shared by the kinds that pass SMPP errors on: a state's word or "GSM n" as the code, for every status.
QUALIFICATIONS: Mapping[tuple[str, str], Qualification] = _qualifications()
