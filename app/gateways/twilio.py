"""Twilio Programmable Messaging: status callbacks and inbound messages.

https://www.twilio.com/docs/messaging/guides/outbound-message-status-in-status-callbacks (read 2026)
https://github.com/twilio/twilio-python twilio/request_validator.py @306691e, for the signature; 9.13 for HMAC-SHA256.

The account's auth token signs with HMAC-SHA1. A shared key signs with HMAC-SHA256, and is written `sha256:KEY` among the
secrets: the secret names the algorithm, and what the request says of it (X-Twilio-Webhooks-Signature-Settings) is not asked,
so that nobody can choose the weaker one.

A callback has no field for our reference: put `?ref=…` in the StatusCallback URL (the query is part of what Twilio
signs), or the reference at the end of its path. Twilio repeats a callback only when the connection failed; for more add
`#rc=3&rp=all` to the URL. It calls with GET when it was told to: then its fields stand in the query.

Inbound messages come by the same URL, given as the number's or the messaging service's webhook; the answer to one is
TwiML, which can hold a reply: https://www.twilio.com/docs/messaging/twiml (read 2026). Where Twilio itself took a message for
a STOP, START or HELP, by keywords set in its console, `OptOutType` says so, and it has answered already.
"""

import hmac
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any
from urllib.parse import unquote_to_bytes
from xml.sax.saxutils import escape

from app.gateways import ids, times
from app.gateways.auth import header_octets, octets
from app.gateways.receipt import (
    SHORTEST_SECRET,
    Adapter,
    Answer,
    Auth,
    Callback,
    FailureType,
    Gateway,
    Inbound,
    Item,
    OptOut,
    Outcome,
    Qualification,
    Receipt,
    Unreadable,
)
from app.gateways.texts import TEXT_LENGTH, WORD_LENGTH, shown, shown_or_none

SIGNATURE_HEADER = "x-twilio-signature"

OUTCOMES = {
    "accepted": Outcome.ACCEPTED,
    "scheduled": Outcome.ACCEPTED,
    "queued": Outcome.ACCEPTED,
    "sending": Outcome.ACCEPTED,  # on its way to the carrier, which has not got it
    "sent": Outcome.SENT,
    "delivered": Outcome.RECEIVED,
    "read": Outcome.RECEIVED,
    "undelivered": Outcome.FAILED,
    "failed": Outcome.FAILED,
    "canceled": Outcome.FAILED,  # a scheduled message that somebody cancelled at Twilio: it will not arrive
    # `partially_delivered` stands in Twilio's API without an explanation: left unknown.
}
INBOUND = {"receiving", "received"}
#: Of an inbound message, by https://www.twilio.com/docs/messaging/tutorials/advanced-opt-out (read 2026).
OPT_OUTS: Mapping[str, OptOut] = {"STOP": "denylist", "START": "allow", "HELP": "none"}


def parse(callback: Callback, gateway: Gateway) -> list[Item]:
    form, raw = (
        (callback.params, callback.query.encode()) if callback.method == "GET" else (callback.form, callback.body)
    )
    message_id = form.get("MessageSid") or form.get("SmsSid") or ""
    word = form.get("MessageStatus") or form.get("SmsStatus") or ""
    reference = callback.params.get("ref") or callback.reference
    reason = _refusal(message_id, word, reference)
    if reason:
        return [Unreadable(reason=reason, raw=raw)]
    if word.lower() in INBOUND:
        return [_inbound(form, message_id, raw)]
    return [
        Receipt(
            outcome=OUTCOMES.get(word.lower(), Outcome.UNKNOWN),
            status=shown(word, WORD_LENGTH),
            provider_message_id=message_id,
            reference=reference,
            address=shown_or_none(form.get("To"), WORD_LENGTH),
            error_code=_error_code(form),
            error_text=shown_or_none(form.get("ErrorMessage") or form.get("ChannelStatusMessage")),
            raw=raw,
            details=_details(form),
        )
    ]


def _refusal(message_id: str, word: str, reference: str | None) -> str | None:
    if not message_id.strip():
        return "MessageSid missing: nothing says which message this is about"
    if not word:
        return "MessageStatus missing"
    return ids.fault("MessageSid", message_id) or ids.fault("ref", reference or "")


def _inbound(form: Mapping[str, str], message_id: str, raw: bytes) -> Item:
    sender = form.get("From")
    if not sender:
        return Unreadable(reason="From missing: an inbound message needs its sender", raw=raw)
    return Inbound(
        sender=shown(sender, WORD_LENGTH),
        recipient=shown_or_none(form.get("To"), WORD_LENGTH),
        text=shown(form.get("Body", ""), 10 * TEXT_LENGTH),  # Twilio joins the parts: at most 1600 characters
        provider_message_id=message_id,
        opt_out=OPT_OUTS.get(form.get("OptOutType", "").upper()),
        raw=raw,
    )


def _error_code(form: Mapping[str, str]) -> str | None:
    code = form.get("ErrorCode")
    return shown(code, WORD_LENGTH) if code and code != "0" else None


def _details(form: Mapping[str, str]) -> dict[str, Any]:
    """RawDlrDoneDate is the carrier's clock in a zone that differs even within one carrier: shown, never counted on."""
    date = form.get("RawDlrDoneDate")
    if not date:
        return {}
    when = times.read(date)
    if when is None:
        return {"warnings": ["RawDlrDoneDate is not a date"]}
    return {"occurred_at_local": when.isoformat(timespec="minutes")}


#: What XML 1.0 cannot hold, even escaped.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def reply(text: str | None) -> Answer:
    """TwiML: `text` is sent back to the phone, from the number that it wrote to."""
    written = escape(_NOT_XML.sub("", text or ""))
    response = f"<Response><Message>{written}</Message></Response>" if written else "<Response/>"
    body = f'<?xml version="1.0" encoding="UTF-8"?>{response}'.encode()
    return Answer(body=body, content_type="text/xml; charset=utf-8")


def verify_signature(callback: Callback, auth: Auth) -> bool:
    """base64(HMAC(secret, URL and the sorted parameters)), for every way in which Twilio may write the URL."""
    given = header_octets(callback.headers.get(SIGNATURE_HEADER, ""))
    parameters = _signed_parameters(callback)
    if not given or parameters is None:
        return False
    return any(
        secret and hmac.compare_digest(given, signature(secret, url + parameters))
        for url in _signed_urls(callback.url)
        for secret in auth.secrets
    )


def why_refused(callback: Callback, auth: Auth) -> str | None:
    """The body's hash, or the algorithm."""
    if _signed_parameters(callback) is None:
        return "The hash that the URL names (bodySHA256) is not the body's."
    for secret in auth.secrets:
        algorithm, key = _algorithm(secret)
        other = "sha256" if algorithm == "sha1" else "sha1"
        if verify_signature(callback, replace(auth, secrets=(f"{other}:{key}",))):
            return f"It is signed with HMAC-{other.upper()}, and the secret is one for HMAC-{algorithm.upper()}: `{other}:KEY`."
    return None


def signature(secret: str, signed: str) -> bytes:
    """By the algorithm that `secret` names."""
    algorithm, key = _algorithm(secret)
    return b64encode(hmac.digest(octets(key), octets(signed), algorithm))


def secret_fault(secret: str) -> str | None:
    """What is wrong with a secret for signatures, or None."""
    named = _NAMED.match(secret)
    if named is None:
        return None
    if _name(named) not in _ALGORITHMS:
        return f"A secret may name {' or '.join(_ALGORITHMS)}, as in `sha256:KEY`; without a name it is sha1."
    return (
        None if len(secret) - named.end() >= SHORTEST_SECRET else f"The key has at least {SHORTEST_SECRET} characters."
    )


#: Before a secret: `sha256:`, or as Twilio writes it, `HMAC_SHA256:`.
_NAMED = re.compile(r"(?:hmac[-_]?)?(sha|md)[-_]?(\d+):", re.IGNORECASE)
_ALGORITHMS = ("sha1", "sha256")


def _algorithm(secret: str) -> tuple[str, str]:
    named = _NAMED.match(secret) if ":" in secret else None
    if named is None or _name(named) not in _ALGORITHMS:
        return "sha1", secret
    return _name(named), secret[named.end() :]


def _name(named: re.Match[str]) -> str:
    return f"{named[1].lower()}{named[2]}"


def _signed_parameters(callback: Callback) -> str | None:
    """What Twilio puts behind the URL; None when the URL names a hash that is not the body's. Of a GET nothing: its
    parameters stand in the URL, and its body is not read."""
    if callback.method == "GET":
        return ""
    if "bodySHA256=" in callback.query and not _is_form(callback):
        expected = octets(callback.params.get("bodySHA256", "").lower())
        return "" if hmac.compare_digest(sha256(callback.body).hexdigest().encode(), expected) else None
    # A name may come several times: Twilio sorts its values and leaves out repeats.
    return "".join(name + value for name, value in sorted(set(callback.form_pairs)))


def _is_form(callback: Callback) -> bool:
    return callback.headers.get("content-type", "").lower().startswith("application/x-www-form-urlencoded")


def _signed_urls(url: str) -> Iterator[str]:
    """The URL as called, then its twin without the port or with the default one: Twilio signs either. Then both with the
    query's escapes taken back: Twilio may sign `?ref=sip:1@host` and call `?ref=sip%3A1%40host` (twilio-node #1059)."""
    yield url
    yield _twin(url)
    if "%" in url.partition("?")[2]:
        yield _unescaped(url)
        yield _twin(_unescaped(url))


def _twin(url: str) -> str:
    scheme, _, rest = url.partition("://")
    end = min((at for at in map(rest.find, "/?#") if at >= 0), default=len(rest))
    host, path = rest[:end], rest[end:]
    name, colon, port = host.rpartition(":")
    if colon and port.isdigit():
        return f"{scheme}://{name}{path}"
    return f"{scheme}://{host}:{443 if scheme.lower() == 'https' else 80}{path}"


#: All but `#`, `%`, `&` and `+`, which would make the query mean something else.
_ESCAPES = re.compile(r"(?:%(?!2[356bB])[0-9A-Fa-f]{2})+")


def _unescaped(url: str) -> str:
    path, _, query = url.partition("?")
    return f"{path}?{_ESCAPES.sub(_characters, query)}"


def _characters(escapes: re.Match[str]) -> str:
    try:
        return unquote_to_bytes(escapes[0]).decode()
    except UnicodeDecodeError:
        return escapes[0]


def _meanings(
    failure_type: FailureType, reason: str, sentences: Mapping[int, str]
) -> dict[tuple[str, str], Qualification]:
    return {
        ("*", str(code)): Qualification(failure_type=failure_type, reason=reason, sentence=sentence)
        for code, sentence in sentences.items()
    }


# https://www.twilio.com/docs/api/errors. Twilio does not say which errors last; "permanent" is read from its text. An
# error that comes from the account, the sender, the content or the carrier's filter says nothing about the address.
QUALIFICATIONS: Mapping[tuple[str, str], Qualification] = {
    **_meanings(
        "hard",
        "invalid_address",
        {
            21211: "The recipient's number is not valid. Correct it, or remove it from the audience.",
            21614: "The recipient's number is not a mobile number. Remove it from the audience.",
        },
    ),
    **_meanings(
        "hard",
        "denylisted",
        {
            21610: "The recipient answered STOP to this sender, and Twilio does not send any more. "
            "Only a START from that phone lifts it."
        },
    ),
    **_meanings("hard", "user_unknown", {30005: "The number is not in use. Remove it from the audience."}),
    **_meanings(
        "hard",
        "unreachable",
        {30006: "The number is a landline, or its carrier takes no SMS. Remove it from the audience."},
    ),
    **_meanings(
        "hard",
        "refused",
        {30004: "The recipient's number is blocked from receiving this message. Remove it from the audience."},
    ),
    **_meanings(
        "soft",
        "unreachable",
        {30003: "The phone is off or out of coverage. Nothing to do, unless it goes on for days."},
    ),
    **_meanings(
        "soft",
        "not_defined",
        {30008: "The carrier gave no reason. Nothing to do, unless it goes on for days; then ask Twilio."},
    ),
    **_meanings(
        "ignored",
        "size_limited",
        {
            21617: "The text is longer than 1600 characters. Shorten it.",
            30019: "The content is larger than the carrier allows. Shorten it.",
        },
    ),
    **_meanings(
        "ignored",
        "unreachable",
        {21612: "No route from this sender to this number. Use a sender that reaches its country."},
    ),
    **_meanings(
        "ignored",
        "error_ignored",
        {
            30009: "Part of an inbound message got lost. Nothing to do.",
            30012: "The validity period is too short. Make it longer.",
            30013: "The validity period is too long. Make it shorter.",
            30020: "Twilio failed to schedule the message. Send it again.",
            30021: "Twilio's messaging service failed inside. Send it again.",
            30025: "Half of today's allowance at T-Mobile is used up. Mind the rest.",
            30026: "70 % of today's allowance at T-Mobile is used up. Mind the rest.",
            30028: "The request named an API version that does not exist. Correct the sender's settings.",
            30029: "The request's content retention is not valid. Correct the sender's settings.",
            30030: "The request's address retention is not valid. Correct the sender's settings.",
            30031: "The request's maximum rate is not valid. Correct the sender's settings.",
        },
    ),
    **_meanings(
        "ignored",
        "refused",
        {
            21408: "The account may not send to this region. Enable it in Twilio's console.",
            30001: "Twilio's queue for this sender is full. Send more slowly, or through more senders.",
            30002: "The Twilio account is suspended. Settle it with Twilio, then send again.",
            30007: "Twilio or the carrier filtered the message as spam. Review the text, the links and the sender.",
            30010: "The price was above the limit set in the request. Raise the limit, or leave the country out.",
            30011: "MMS is not available for this number and region. Send an SMS.",
            30014: "Attributes of the recipient in the request are not valid. Correct the request.",
            30015: "The request used a channel that is not supported. Correct the request.",
            30016: "Sender and recipient are on different channels. Use one channel for both.",
            30017: "The carrier's network is congested. Send again later.",
            30018: "The destination requires senders to be registered first. Register this one.",
            30022: "Above the allowed rate for US long codes (10DLC). Send more slowly.",
            30023: "Today's allowance for US long codes (10DLC) is used up. Go on tomorrow.",
            30024: "The numeric sender is not set up at this carrier. Ask Twilio, or use another sender.",
            30027: "Today's allowance at T-Mobile is used up. Go on tomorrow.",
            30032: "The toll-free sender is not verified. Verify it with Twilio.",
            30034: "The US long code is not registered for business messages (10DLC). Register it.",
            30410: "A provider behind Twilio did not answer in time. Send again later.",
            63018: "Above the channel's rate limit. Send more slowly.",
        },
    ),
    ("CANCELED", ""): Qualification(
        failure_type="ignored",
        reason="error_ignored",
        sentence="The message was cancelled at Twilio before it was sent. Says nothing about the phone.",
    ),
}

ADAPTER = Adapter(
    kind="twilio",
    label="Twilio",
    source="twilio.com/docs/messaging: outbound message status in status callbacks (2026)",
    methods=frozenset({"GET", "POST"}),
    parse=parse,
    auth_modes=("signature", "token", "basic", "bearer", "none"),
    verify_signature=verify_signature,
    signature_header=SIGNATURE_HEADER,
    why_refused=why_refused,
    secret_fault=secret_fault,
    secret_form="The account's auth token (HMAC-SHA1), or `sha256:` and a shared key (HMAC-SHA256).",
    reply=reply,
    qualifications=QUALIFICATIONS,
)
