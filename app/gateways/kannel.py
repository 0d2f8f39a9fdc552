"""Kannel's delivery reports: a GET on the `dlr-url` that was given when the message was sent.

https://github.com/pruiz/kannel gw/dlr.h, gw/smsbox.c, doc/userguide/userguide.xml (2014 mirror, @cdbcfc1).

The caller writes that URL, so its parameters have the names that the caller likes. Paste this one, with `dlr-mask=31`
(or 63 for intermediate notifications), a `ref` of your own and the callback's token:

    https://…/callbacks/KEY?token=…&ref=…&type=%d&fid=%F&smsc=%i&iid=%I&from=%p&to=%P&ts=%T&reply=%A&meta=%D

or tell the names you use in the option `parameters`. Kannel takes only 200 and 202 for success (204 is a failure!) and
by default tries once: set `http-request-retry` in the group `smsbox`.

A message from a phone comes by the `get-url` of a group `sms-service`, and is known by having a text and no type:

    get-url = "https://…/callbacks/KEY?token=…&from=%p&to=%P&text=%a&iid=%I"

What we answer is sent to the phone; set `omit-empty = true`, or Kannel tells it that there was no answer. Kannel puts long
messages together itself, before it calls (`sms-combine-concatenated-mo`, on by default).
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast, get_args
from urllib.parse import unquote_to_bytes

from pydantic import AfterValidator, Field

from app.gateways import ids, smpp_text, times
from app.gateways.receipt import (
    Adapter,
    Answer,
    Callback,
    Gateway,
    Inbound,
    Item,
    Options,
    Outcome,
    Qualification,
    Receipt,
    Unreadable,
)
from app.gateways.smpp_network import NetworkError, network_error
from app.gateways.texts import WORD_LENGTH, shown, shown_or_none

Parameter = Literal["type", "fid", "smsc", "iid", "from", "to", "ts", "reply", "meta", "ref", "text"]
PARAMETERS: tuple[Parameter, ...] = get_args(Parameter)

#: gw/dlr.h: `type` is made of these bits.
DELIVERED = 1
FAILED = 2
BUFFERED = 4
ACCEPTED = 8
REFUSED = 16
INTERMEDIATE = 32


def _complete(names: dict[Parameter, str]) -> dict[Parameter, str]:
    # A gateway from before messages were read may have given the name to another parameter.
    text = "text" if "text" not in names.values() else "inbound_text"
    names = {"text": text, **names}
    names = {parameter: names.get(parameter, parameter) for parameter in PARAMETERS}
    if "" in names.values() or len(set(names.values())) < len(names):
        raise ValueError("each parameter needs a name of its own")
    return names


class KannelOptions(Options):
    id_from: Literal["fid", "iid"] = Field(
        "fid", description="The id that receipts go by: the SMSC's (%F), or Kannel's own (%I)."
    )
    errors_per: Literal["gateway", "smsc"] = Field(
        "gateway",
        description="Whose errors they are: the gateway's as a whole, or those of each SMSC apart, by its name (%i).",
    )
    parameters: Annotated[dict[Parameter, str], AfterValidator(_complete)] = Field(
        default_factory=dict,
        validate_default=True,
        description="Names in your dlr-url that differ from the template's, such as {'type': 'dlr', 'fid': 'smsc_id'}.",
    )


def outcome(bits: int) -> Outcome:
    """Tested bit by bit, for newer Kannels add bits: 34 and 66 are failures too."""
    success, failure = bits & DELIVERED, bits & (FAILED | REFUSED)
    if success and failure:
        return Outcome.UNKNOWN
    if failure:
        return Outcome.FAILED
    if success:
        return Outcome.RECEIVED
    if bits & INTERMEDIATE:  # the SMSC tells of an attempt: by then the mobile network has it
        return Outcome.SENT
    return Outcome.ACCEPTED if bits & (BUFFERED | ACCEPTED) else Outcome.UNKNOWN


def parse(callback: Callback, gateway: Gateway) -> list[Item]:
    options = cast(KannelOptions, gateway.options)
    given, names, raw = callback.params, options.parameters, callback.query.encode("utf-8", "surrogatepass")
    if names["type"] not in given and names["text"] in given:
        return [_inbound(given, options, raw)]
    kind = given.get(names["type"], "")
    message_id = given.get(names[options.id_from], "").strip() or None
    reference = given.get(names["ref"]) or callback.reference
    reason = _refusal(kind, message_id, reference, options)
    if reason:
        return [Unreadable(reason=reason, raw=raw)]
    said = outcome(int(kind))
    reply = _Reply(given, names) if said is Outcome.FAILED else None
    occurred_at = times.unix(given.get(names["ts"], ""))
    return [
        Receipt(
            outcome=said,
            status=kind,
            provider_message_id=message_id,
            reference=reference,
            address=shown_or_none(given.get(names["to"]), WORD_LENGTH),
            error_text=reply.error_text if reply else None,
            failure_key=reply.failure_key if reply else None,
            failure_source=given.get(names["smsc"], "").strip() or None
            if reply and options.errors_per == "smsc"
            else None,
            occurred_at=occurred_at,
            raw=raw,
            details=_details(given, options, occurred_at is None, reply),
        )
    ]


def _inbound(given: Mapping[str, str], options: KannelOptions, raw: bytes) -> Item:
    names = options.parameters
    sender = given.get(names["from"], "")
    if not sender.strip():
        return Unreadable(reason=f"{names['from']} missing: a message from a phone needs its sender", raw=raw)
    message_id = (given.get(names["iid"]) or given.get(names["fid"]) or "").strip()
    if fault := ids.fault(names["iid"], message_id):
        return Unreadable(reason=fault, raw=raw)
    return Inbound(
        sender=shown(sender, WORD_LENGTH),
        recipient=shown_or_none(given.get(names["to"], "").strip(), WORD_LENGTH),
        text=shown(given[names["text"]], smpp_text.MAX_TEXT),
        provider_message_id=message_id or None,
        raw=raw,
    )


def reply(text: str | None) -> Answer:
    """What Kannel sends to the phone: `text`; of nothing nothing, where `omit-empty` is set."""
    return Answer(body=(text or "").replace("\0", "").encode("utf-8", "replace"))


def _refusal(kind: str, message_id: str | None, reference: str | None, options: KannelOptions) -> str | None:
    names = options.parameters
    if not (kind.isascii() and kind.isdigit() and len(kind) <= 9):
        return f"{names['type']} is not a number; is it %d in the dlr-url?"
    if not message_id and not reference:
        return f"neither {names[options.id_from]} nor {names['ref']}: nothing says which message this is about"
    return ids.fault(names[options.id_from], message_id or "") or ids.fault(names["ref"], reference or "")


class _Reply:
    """Why a message failed, as the SMSC's reply (%A) and the meta-data (%D) tell.

    Kannel has no error code of its own, so `Receipt.error_code` stays None and `failure_key` tells errors apart, under
    Kannel's status: "UNDELIV 069" for a receipt's `stat` and `err`; "GSM 27" where `err` says nothing and the network's
    code came in the meta-data; "NACK 0x0000000b" for a refused submission. `error_text` is the same for people.
    """

    def __init__(self, given: Mapping[str, str], names: Mapping[Parameter, str]) -> None:
        reply = given.get(names["reply"], "")
        meta = given.get(names["meta"])
        self.network = _network_error(meta) if meta else None
        self.receipt = smpp_text.parse(reply)
        self.is_nack = reply[:5].upper() == "NACK/"
        self.nack = [part.strip() for part in reply[5:].split("/", 1)] if self.is_nack else []
        self.reply = reply

    @property
    def failure_key(self) -> str | None:
        if self.is_nack:
            return self._nack_key()
        status = shown(self.receipt.stat or "", WORD_LENGTH).upper()
        # What the SMSC itself calls unknown is a failure for Kannel only: left to an operator, whatever the codes say.
        if status == "UNKNOWN":
            return status
        if not smpp_text.says_nothing(self.receipt.err):
            return f"{status} {shown(self.receipt.err or '', WORD_LENGTH)}".lstrip()
        return self.network.label if self.network else (smpp_text.word(status) or status or None)

    def _nack_key(self) -> str | None:
        code = self.nack[0].lower()
        if code.startswith("0x") and len(code) <= 10:
            return f"NACK {shown(code)}"
        return "NACK Retries Exceeded" if code == "retries exceeded" else None

    @property
    def error_text(self) -> str | None:
        if self.is_nack or not self.receipt.is_receipt:
            return shown_or_none(self.reply)
        err = f"err:{self.receipt.err}" if self.receipt.err else ""
        return shown_or_none(f"{self.receipt.stat or ''} {err}".strip())

    def details(self) -> dict[str, Any]:
        return {
            "smpp_stat": shown_or_none(self.receipt.stat, WORD_LENGTH),
            "smpp_err": shown_or_none(self.receipt.err, WORD_LENGTH),
            "network_error": self.network.as_details() if self.network else None,
        }


def _network_error(meta: str) -> NetworkError | None:
    """From `?smpp?dlr_err=%03%00%1b`: the TLV's three octets, percent-encoded once more inside the parameter."""
    _, found, value = meta.partition("dlr_err=")
    return network_error(unquote_to_bytes(value.partition("&")[0][:9])) if found else None


_SHOWN: tuple[Parameter, ...] = ("smsc", "fid", "iid")


def _details(given: Mapping[str, str], options: KannelOptions, undated: bool, reply: _Reply | None) -> dict[str, Any]:
    names = options.parameters
    details: dict[str, Any] = {}
    warnings = []
    for name in _SHOWN:
        if value := given.get(names[name]):
            details[name] = shown(value, WORD_LENGTH)
    if undated and given.get(names["ts"]):
        warnings.append(f"{names['ts']} is not a time in seconds since 1970; is it %T in the dlr-url?")
    if reply and options.errors_per == "smsc" and not given.get(names["smsc"], "").strip():
        warnings.append(f"{names['smsc']} is missing: whose error this is cannot be told; is it %i in the dlr-url?")
    if warnings:
        details["warnings"] = warnings
    if reply:
        details.update((name, value) for name, value in reply.details().items() if value is not None)
    return details


def _own(text: str) -> Qualification:
    return Qualification(failure_type="ignored", reason="refused", sentence=text)


#: SMPP's command_status (3.4 §5.1.3) in a refused submission, as Kannel writes it.
_NACKS = {
    "NACK 0x00000001": _own("The SMSC found the message's length invalid. Look at Kannel's route for long messages."),
    "NACK 0x00000008": _own("The SMSC had an internal error. Says nothing about the phone: try again later."),
    "NACK 0x0000000a": _own("The SMSC does not accept this sender. Register it with the provider."),
    "NACK 0x0000000b": Qualification(
        failure_type="hard",
        reason="invalid_address",
        sentence="The SMSC calls the number invalid. Correct it, or remove it from the audience.",
    ),
    "NACK 0x00000014": _own("The SMSC's queue is full. Send more slowly, and again later."),
    "NACK 0x00000058": _own("Sent faster than the SMSC allows. Lower `throughput` in Kannel, and send again."),
    "NACK Retries Exceeded": _own("Kannel gave up handing the message over. Look at the connection to the SMSC."),
}

ADAPTER = Adapter(
    kind="kannel",
    label="Kannel",
    source="github.com/pruiz/kannel gw/dlr.h and userguide.xml @cdbcfc1 (2014)",
    methods=frozenset({"GET"}),
    parse=parse,
    options=KannelOptions,
    answer=Answer(status=200),
    reply=reply,
    qualifications={**smpp_text.QUALIFICATIONS, **{("*", code): meaning for code, meaning in _NACKS.items()}},
)
