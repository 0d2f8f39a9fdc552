"""What gateways say, as one documented shape: the frame that every adapter fills.

An adapter is a value, not a subclass: a few pure functions and tables gathered in an `Adapter`. It gets the
`Callback` as it arrived and the `Gateway` it is for, and returns what it read. It does no I/O and keeps no state.
"""

from codecs import BOM_UTF8
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

import orjson
import phonenumbers
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from app.gateways.urlencoded import pairs

if TYPE_CHECKING:
    from dataclasses import dataclass as plain_dataclass
else:

    def plain_dataclass(*, frozen, **options):
        """`dataclass` for what is made for each receipt. mypy holds it frozen, and at run time it is not: freezing makes
        a `Receipt` three times as dear."""
        return dataclass(**options)


IdFormat = Literal["as_is", "decimal", "hexadecimal", "hex_string"]
AuthMode = Literal["token", "basic", "bearer", "signature", "none"]
#: What a provider itself says that a reply is: STOP, START or HELP.
OptOut = Literal["denylist", "allow", "none"]
FailureType = Literal["hard", "soft", "ignored", "undefined"]
#: What a gateway says of how a number is written (SMPP's type of number): with its country's code, as inside its country, or
#: neither: a name, a short code, a network's own.
Numbering = Literal["international", "national", "other"]

#: Longest provider message id or reference we keep (SMPP 5.0 §4.8.4.49: 65 octets; HTTP providers use up to 100).
MAX_ID_LENGTH = 255


#: Of a gateway's secrets.
SHORTEST_SECRET = 8


class Outcome(StrEnum):
    """What a status word of a provider means, in our words. Only RECEIVED is success; FAILED and RECEIVED are final."""

    ACCEPTED = "accepted"  # the provider has it: queued, buffered, ACCEPTD
    SENT = "sent"  # handed to the mobile network: ENROUTE, "delivered to carrier"
    FAILED = "failed"  # final error
    RECEIVED = "received"  # on the phone: DELIVRD, delivered, read
    UNKNOWN = "unknown"  # a word this adapter does not know, or one that says nothing: kept, counted, never final


@plain_dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """One status report for one part of a message, as a gateway sent it."""

    outcome: Outcome
    #: Their word, letter for letter ("DELIVRD", "16"); "" when they gave none (an SMPP receipt of TLVs only).
    status: str
    #: As sent; made canonical by the gateway's options when it is matched, not here.
    provider_message_id: str | None = None
    #: Ours, given to the gateway when the message was sent and echoed by it.
    reference: str | None = None
    #: Recipient as the gateway writes it; only shown, never used to match.
    address: str | None = None
    error_code: str | None = None
    error_text: str | None = None
    #: What an error is qualified by, in place of `error_code`, where the gateway has no field of its own for it:
    #: Kannel tells "UNDELIV 069" in the SMSC's reply, SMPP "GSM 27" in a TLV. Stable and short; None: `error_code`.
    failure_key: str | None = None
    #: Whose error it is, where the gateway stands for several providers and an option tells them apart.
    failure_source: str | None = None
    #: The gateway's time of the event: aware, UTC. None when it gave none, or one without a zone.
    occurred_at: datetime | None = None
    part: int | None = None
    parts: int | None = None
    price: Decimal | None = None
    currency: str | None = None
    network: str | None = None
    #: Exactly the bytes this receipt was read from (one item of a batch, the query of a GET).
    raw: bytes = b""
    #: Whatever else is worth showing: local times, TLVs, `warnings` (list of sentences). JSON-serialisable.
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inbound:
    """An SMS from a phone to us, come on the same URL as the receipts."""

    #: The phone, as the gateway writes it.
    sender: str
    #: The number or short code of ours that it wrote to.
    recipient: str | None
    text: str
    #: The gateway's id of this message; tells a message that is sent again from another with the same text.
    provider_message_id: str | None = None
    #: How `sender` is written; None: the gateway does not say.
    numbering: Numbering | None = None
    #: What the gateway itself takes it for (Twilio's `OptOutType`); counts as much as a keyword.
    opt_out: OptOut | None = None
    #: Of a long message that comes in pieces: what is common to them, which one this is, and of how many.
    part_reference: str | None = None
    part: int | None = None
    parts: int | None = None
    raw: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """Something that could not be read; kept raw, with the reason, and never costs its neighbours."""

    reason: str
    raw: bytes


Item = Receipt | Inbound | Unreadable


def _country(code: str) -> str:
    if code not in phonenumbers.SUPPORTED_REGIONS:
        raise ValueError("must be a country's two capital letters, such as ES (ISO 3166)")
    return code


class Options(BaseModel):
    """Options that every kind of gateway has. A kind adds its own by subclassing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    submission_id_format: IdFormat = Field(
        "as_is", description="How this provider writes message ids in the answer to a submission."
    )
    receipt_id_format: IdFormat = Field("as_is", description="How this provider writes message ids in its receipts.")
    receipts_per: Literal["part", "message"] = Field(
        "part", description="`message`: one receipt speaks for all parts of a long message."
    )
    country: Annotated[str, AfterValidator(_country)] | None = Field(
        None,
        description="Country whose national numbers this provider gives (`ES`): those of phones that write to you. Without it "
        "a number that the provider calls national is kept as it is, and a person looks at what it wrote.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    """How callbacks of one gateway prove themselves. Any of several secrets is good, so that they can rotate."""

    mode: AuthMode
    secrets: tuple[str, ...] = field(default=(), repr=False)
    username: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """One configured account at a provider."""

    id: int
    key: str
    kind: str
    #: Name under which its errors are qualified ("SR Acme UNDELIV 069"); several gateways may share one.
    implementation: str
    options: Options
    auth: Auth
    #: What replies to it mean, as it is stored (`inbound.rules.Rule`); None: the rules that are shipped.
    reply_rules: tuple[Mapping[str, Any], ...] | None = field(default=None, hash=False)


@plain_dataclass(frozen=True, kw_only=True)
class Callback:
    """One HTTP request of a gateway, read whole."""

    method: str
    #: As the gateway called it: scheme and host from ACUSE_PUBLIC_URL where set, path, and query.
    url: str
    #: Raw query string, without "?".
    query: str
    #: Names in lower case. A header given several times keeps its last value.
    headers: Mapping[str, str]
    body: bytes
    #: From the path `/callbacks/{gateway}/{reference}`.
    reference: str | None = None

    @cached_property
    def params(self) -> dict[str, str]:
        """The query's parameters; of a repeated name the first. Undecodable octets become U+FFFD."""
        return _first(pairs(self.query))

    @property
    def payload(self) -> bytes:
        """The body without a byte order mark (RFC 8259, section 8.1), which signatures cover and no reader needs."""
        return self.body[len(BOM_UTF8) :] if self.body.startswith(BOM_UTF8) else self.body

    @cached_property
    def form_pairs(self) -> list[tuple[str, str]]:
        """The urlencoded body's pairs in their order, blanks kept."""
        return pairs(self.body.decode("utf-8", "replace").removeprefix("\ufeff"))

    @cached_property
    def form(self) -> dict[str, str]:
        """The urlencoded body's parameters; of a repeated name the first."""
        return _first(self.form_pairs)

    @cached_property
    def json(self) -> Any:
        """The body as JSON. Raises `ValueError` (orjson.JSONDecodeError) when it is none."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            if self.payload is self.body:
                raise
            return orjson.loads(self.payload)


def _first(pairs: list[tuple[str, str]]) -> dict[str, str]:
    return dict(reversed(pairs))


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the provider expects to hear once its callback is durable."""

    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Qualification:
    """What one error of a provider means; `sentence`: what happened and what to do about it."""

    failure_type: FailureType
    reason: str
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """The code for one kind of gateway."""

    kind: str
    label: str
    #: The provider's page this was read from, with its edition or date.
    source: str
    methods: frozenset[str]
    #: Reads a verified callback. Never raises for bad input: that is an `Unreadable` in what it returns.
    parse: Callable[[Callback, Gateway], Sequence[Item]]
    auth_modes: tuple[AuthMode, ...] = ("token", "basic", "bearer", "none")
    #: True when the kind's own signature is right; only called in auth mode `signature`.
    verify_signature: Callable[[Callback, Auth], bool] | None = None
    #: Where the kind's own signature stands: a header's name in lower case.
    signature_header: str | None = None
    #: What a refused signature failed by, a sentence, where more can be told than that it does not fit.
    why_refused: Callable[[Callback, Auth], str | None] | None = None
    #: What is wrong with a secret for the kind's own signature, or None; None: every secret will do.
    secret_fault: Callable[[str], str | None] | None = None
    #: How such a secret is written, where that is not plain: a sentence for people.
    secret_form: str | None = None
    options: type[Options] = Options
    answer: Answer = Answer()
    #: The answer to an inbound message, which carries our reply to the phone (None: no reply). Where the protocol has no
    #: way for that, `answer` is given.
    reply: Callable[[str | None], Answer] | None = None
    #: (status in upper case, error code or "") → meaning, as the provider documents it. ("*", code) holds for every
    #: status.
    qualifications: Mapping[tuple[str, str], Qualification] = field(default_factory=dict)
