"""What a `deliver_sm` says: the receipt that its text and its TLVs make together. For every door that it comes by.

The TLVs for id and state come before the text, as Kannel and Jasmin do it. Whatever disagrees is a warning, but for a
status that contradicts the TLV: that receipt is refused, unless `on_status_conflict` says whom to believe.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Literal, cast

from pydantic import AfterValidator, Field

from app.gateways import smpp_text, times
from app.gateways.receipt import Inbound, Item, Numbering, Options, Outcome, Receipt, Unreadable
from app.gateways.smpp_network import NetworkError, network_error
from app.gateways.smpp_text import MAX_SMPP_ID, OUTCOMES, STATES, ReceiptText
from app.gateways.smpp_udh import Headed, Piece, headed
from app.gateways.texts import WORD_LENGTH, shown, shown_or_none

#: esm_class, bits 5-2 (SMPP 3.4 §5.2.12).
MESSAGE_TYPE = 0x3C
PLAIN_MESSAGE = 0x00
RECEIPT = 0x04
INTERMEDIATE = 0x20
#: Of the phone, and of its owner.
ACKNOWLEDGEMENTS = (0x08, 0x10)
#: Types of number, SMPP 3.4 §5.2.5. 0 is unknown; 4 a number inside an area; the others are no numbers of phones as such.
_NUMBERING: dict[int, Numbering] = {1: "international", 2: "national", 3: "other", 4: "other", 5: "other", 6: "other"}


class SmppOptions(Options):
    on_status_conflict: Literal["reject", "tlv", "text"] = Field(
        "reject",
        description="When the status in the text contradicts message_state: refuse the receipt, or believe one.",
    )
    status_after_text: bool = Field(
        False,
        description="Take a status that stands behind `text:`. Whoever writes the SMS can write one there: "
        "only for a provider known to put the text in the middle.",
    )
    timezone: Annotated[str | None, AfterValidator(times.checked_zone)] = Field(
        None,
        description="IANA zone of the provider's dates, which seldom name one. Without it those are only shown.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverSm:
    """What a `deliver_sm` says, whichever door it came by."""

    #: Octets as they came, with their user data header if they have one; or text, where whoever took the PDU decoded it.
    short_message: bytes | str = b""
    #: TLV 0x0424: stands for `short_message` when that is empty.
    message_payload: bytes | str = b""
    data_coding: int = 0
    esm_class: int = RECEIPT
    #: TLV 0x001E, without the NUL that ends it.
    receipted_message_id: str | None = None
    message_state: int | None = None
    #: TLV 0x0423, its octets.
    network_error_code: bytes | None = None
    #: In a receipt the phone, for a receipt goes the way that the message came.
    source_addr: str | None = None
    #: Its type of number (SMPP 3.4 §5.2.5); None: not said.
    source_addr_ton: int | None = None
    destination_addr: str | None = None
    #: TLVs 0x020C, 0x020E and 0x020F: which part of a long message it is, where no header says so.
    sar: Piece | None = None
    raw: bytes = b""
    #: What could not be read of it, in sentences.
    warnings: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return self._decoded(self.headed.content)

    @property
    def headed(self) -> Headed:
        return headed(self.short_message or self.message_payload, self.esm_class)

    @property
    def piece(self) -> Piece | None:
        return self.headed.piece or (self.sar if self.sar is not None and self.sar.sane else None)

    def _decoded(self, content: bytes | str) -> str:
        return content if isinstance(content, str) else smpp_text.decoded(content, self.data_coding)


def read(pdu: DeliverSm, options: SmppOptions) -> Item:
    """The receipt that `pdu` carries; or the inbound message, for a PDU that does not say it is a receipt."""
    if pdu.esm_class & MESSAGE_TYPE == PLAIN_MESSAGE and pdu.receipted_message_id is None:
        # Even if its text looks like a receipt: phones can write such a text, but no phone can set a TLV.
        return _inbound(pdu)
    text = smpp_text.parse(pdu.text)
    if _is_acknowledgement(pdu) and not text.is_receipt:
        return _inbound(pdu)  # a phone's own acknowledgement is a text of its owner
    verdict = _verdict(pdu, text, options)
    reason = _refusal(pdu, text) or (verdict if isinstance(verdict, str) else None)
    if reason or isinstance(verdict, str):
        return Unreadable(reason=reason or "", raw=pdu.raw)
    return _receipt(pdu, text, verdict, options)


def _is_acknowledgement(pdu: DeliverSm) -> bool:
    """Whether a phone or its owner acknowledges a message, and nothing of it says that this is a receipt."""
    told = pdu.receipted_message_id is not None or pdu.message_state is not None
    return pdu.esm_class & MESSAGE_TYPE in ACKNOWLEDGEMENTS and not told and pdu.source_addr is not None


# --- what it says ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verdict:
    outcome: Outcome
    #: The specification's word for the state that counts; None for a status that is in no table.
    word: str | None
    warnings: list[str] = field(default_factory=list)


def _refusal(pdu: DeliverSm, text: ReceiptText) -> str | None:
    """Why this is no receipt to count on, whatever its status says."""
    if not text.is_receipt and pdu.receipted_message_id is None and pdu.message_state is None:
        return "not a receipt text: no field that a receipt has, and no TLV"
    if pdu.receipted_message_id is None and "id" in text.twice:
        return "id given twice with different values"
    message_id = pdu.receipted_message_id or text.id
    if not message_id:
        return "id missing: neither the text nor receipted_message_id names a message"
    if len(message_id) > MAX_SMPP_ID:
        return f"id longer than {MAX_SMPP_ID} characters"
    if "\x00" in message_id:
        return "id contains a NUL character"
    return None


def _verdict(pdu: DeliverSm, text: ReceiptText, options: SmppOptions) -> _Verdict | str:
    """What the state is, or why it is none."""
    status = _status(text, options)
    if pdu.message_state is None:
        return _by_text(pdu, text, status)
    said, state = smpp_text.word(status), STATES.get(pdu.message_state)
    if state is None:
        return _Verdict(outcome=Outcome.UNKNOWN, word=None, warnings=["message_state value not in the table"])
    if not _contradict(said, state):
        different = said is not None and said != state
        return _concluded(state, ["stat in text differs from message_state"] if different else [])
    if options.on_status_conflict == "reject":
        return "stat in text contradicts message_state; the option on_status_conflict can say which to believe"
    believed = state if options.on_status_conflict == "tlv" else cast(str, said)
    return _concluded(believed, [f"stat in text contradicts message_state; {options.on_status_conflict} is believed"])


def _by_text(pdu: DeliverSm, text: ReceiptText, status: str | None) -> _Verdict | str:
    if status is None:
        return _state_missing(pdu, text)
    if "stat" in text.twice:
        return "state given twice with different values"
    word = smpp_text.word(status)
    return _Verdict(outcome=OUTCOMES[word] if word else Outcome.UNKNOWN, word=word)


def _state_missing(pdu: DeliverSm, text: ReceiptText) -> str:
    if pdu.network_error_code is not None and network_error(pdu.network_error_code) is None:
        return "network_error_code must be 3 octets and there is no state"
    if text.status_after_text:
        return "state missing: it stands only behind text:, where anybody can write it"
    return "state missing: neither stat in the text nor message_state"


def _status(text: ReceiptText, options: SmppOptions) -> str | None:
    return text.stat or (text.status_after_text if options.status_after_text else None)


def _contradict(said: str | None, state: str) -> bool:
    """Whether text and TLV cannot both be true. UNKNOWN says nothing, so it contradicts nothing."""
    if said is None or "UNKNOWN" in (said, state):
        return False
    return _finality(said) != _finality(state)


def _finality(word: str) -> Outcome:
    """ACCEPTD and ENROUTE are both under way, EXPIRED and UNDELIV both failed: a difference, no contradiction."""
    return Outcome.SENT if OUTCOMES[word] is Outcome.ACCEPTED else OUTCOMES[word]


def _concluded(word: str, warnings: list[str]) -> _Verdict:
    return _Verdict(outcome=OUTCOMES[word], word=word, warnings=warnings)


# --- what we make of it ---------------------------------------------------------------------------------------------


def _receipt(pdu: DeliverSm, text: ReceiptText, verdict: _Verdict, options: SmppOptions) -> Receipt:
    network = network_error(pdu.network_error_code) if pdu.network_error_code is not None else None
    status = _status(text, options) or ""
    done = times.read(text.done_date) if text.done_date else None
    outcome, notes = _attempt(pdu, verdict.outcome)
    warnings = [*pdu.warnings, *verdict.warnings, *_warnings(pdu, text, verdict.outcome, done, network), *notes]
    return Receipt(
        outcome=outcome,
        status=shown(status, WORD_LENGTH),
        provider_message_id=pdu.receipted_message_id or text.id,
        address=shown_or_none(pdu.source_addr, WORD_LENGTH),
        error_code=shown_or_none(text.err, WORD_LENGTH),
        failure_key=failure_key(status, verdict.word, text.err, network) if outcome is Outcome.FAILED else None,
        occurred_at=_moment(done, options.timezone),
        raw=pdu.raw,
        details=_details(pdu, text, done, network, warnings),
    )


def _moment(done: datetime | None, zone: str | None) -> datetime | None:
    """`done` in UTC; None where neither itself nor the option names its zone."""
    if done is None or done.tzinfo is not None:
        return done
    return times.in_zone(done, zone) if zone else None


def failure_key(status: str, word: str | None, err: str | None, network: NetworkError | None) -> str | None:
    """What stands for the error code where `err` cannot.

    `err` is the provider's own code and comes first. When it says nothing (absent, "000") the network's code tells
    more, and is kept apart by its type: GSM 27 and SMPP 27 are different errors. Where the status does not tell the
    state (a receipt of TLVs only) the state's word stands in the key; other spellings of no code become "000".
    """
    told = bool(status) and smpp_text.word(status) in (word, None)
    if not smpp_text.says_nothing(err):
        return None if told else f"{word or 'UNKNOWN'} {shown(err or '', WORD_LENGTH)}"
    if network:
        return network.label
    if not told:
        return word
    return "000" if err and err != "000" else None


def _attempt(pdu: DeliverSm, outcome: Outcome) -> tuple[Outcome, list[str]]:
    """An intermediate notification tells of one attempt: the centre will try again, so its failure is not final."""
    if pdu.esm_class & MESSAGE_TYPE == INTERMEDIATE and outcome is Outcome.FAILED:
        return Outcome.SENT, ["intermediate notification: an attempt failed, the message centre goes on trying"]
    return outcome, []


def _warnings(
    pdu: DeliverSm, text: ReceiptText, outcome: Outcome, done: datetime | None, network: NetworkError | None
) -> list[str]:
    doubts = {
        "id in text differs from receipted_message_id": pdu.receipted_message_id and _text_id_differs(pdu, text),
        "dlvrd is smaller than sub": outcome is Outcome.RECEIVED and _fewer(text.dlvrd, text.sub),
        "done date is empty": text.done_date and not text.done_date.strip("0"),
        "done date is not a date": text.done_date and text.done_date.strip("0") and done is None,
        "network_error_code must be 3 octets": pdu.network_error_code is not None and network is None,
        "state was found behind text:": not text.stat and pdu.message_state is None,
        "esm_class does not say that this is a receipt": pdu.esm_class & MESSAGE_TYPE == PLAIN_MESSAGE,
    }
    repeated = [f"{name} given twice with different values" for name in sorted(text.twice)]
    return [sentence for sentence, holds in doubts.items() if holds] + repeated


def _text_id_differs(pdu: DeliverSm, text: ReceiptText) -> bool:
    return text.id is not None and text.id != pdu.receipted_message_id


def _fewer(dlvrd: str | None, sub: str | None) -> bool:
    counts = [int(count) for count in (dlvrd, sub) if count and count.isascii() and count.isdigit() and len(count) < 9]
    return len(counts) == 2 and counts[0] < counts[1]


def _details(
    pdu: DeliverSm, text: ReceiptText, done: datetime | None, network: NetworkError | None, warnings: list[str]
) -> dict[str, Any]:
    readable = text.text is not None and not text.undecodable
    details = {
        "sub": text.sub,
        "dlvrd": text.dlvrd,
        "submit_date_raw": text.submit_date,
        "done_date_raw": text.done_date,
        "done_date_local": done.isoformat() if done and done.tzinfo is None else None,
        "text": text.text if readable else None,
        "text_undecodable": True if text.undecodable else None,
        "message_state": pdu.message_state,
        "network_error": network.as_details() if network else None,
        "warnings": warnings or None,
    }
    return {name: shown(is_) if isinstance(is_, str) else is_ for name, is_ in details.items() if is_ is not None}


def _inbound(pdu: DeliverSm) -> Item:
    if not pdu.source_addr:
        return Unreadable(
            reason="not a receipt by its esm_class, and an inbound message needs source_addr", raw=pdu.raw
        )
    piece = pdu.piece
    return Inbound(
        sender=shown(pdu.source_addr, WORD_LENGTH),
        recipient=shown_or_none(pdu.destination_addr, WORD_LENGTH),
        text=shown(pdu.text, smpp_text.MAX_TEXT),
        numbering=_NUMBERING.get(pdu.source_addr_ton or 0),
        part_reference=str(piece.reference) if piece else None,
        part=piece.part if piece else None,
        parts=piece.parts if piece else None,
        raw=pdu.raw,
    )
