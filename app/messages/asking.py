"""What the delivery log and the search for messages are narrowed to, as query parameters."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

from fastapi import Depends, Query, Request
from pydantic import StringConstraints

from app.accounts.directory import directory_of
from app.api.fields import AskedFlag, Plain, Region, Several, Time, with_plus
from app.errors import Invalid
from app.gateways.ids import canonical
from app.gateways.receipt import MAX_ID_LENGTH, FailureType
from app.messages import reading
from app.numbers import normalise
from app.privacy.pseudonyms import PREFIX

Status = Literal["pending", "cancelled", "submitted", "accepted", "sent", "no_receipt", "failed", "received"]

_Word = Annotated[Plain, StringConstraints(pattern=r"^[a-z_]{1,40}$")]
_Code = Annotated[Plain, StringConstraints(min_length=1, max_length=100)]
Statuses = Annotated[list[Status], Several, Query(description="One or several.", examples=[["failed"]])]
Types = Annotated[list[FailureType], Several, Query(description="One or several.", examples=[["hard"]])]
Reasons = Annotated[
    list[_Word], Several, Query(description="Of failed messages; one or several.", examples=[["user_unknown"]])
]
Codes = Annotated[
    list[_Code], Several, Query(description="The provider's, of failed messages; one or several.", examples=[["30003"]])
]
GatewayKey = Annotated[
    Plain | None, Query(max_length=200, description="A gateway's key; `-`: messages without one.", examples=["acme"])
]
Address = Annotated[
    Plain | None,
    Query(
        min_length=1, max_length=64, description="This number: in E.164 (`+` as `%2B`), or national with `region`.",
        examples=["+34600123000"],
    ),
]  # fmt: skip
AskedRegion = Annotated[Region | None, Query(description="Country of a national `address`.", examples=["ES"])]
Reference = Annotated[
    Plain | None,
    Query(min_length=1, max_length=MAX_ID_LENGTH, description="Yours, or ours (`acuse-42`).", examples=["order-7"]),
]
RecipientId = Annotated[
    Plain | None, Query(min_length=1, max_length=MAX_ID_LENGTH, description="Yours.", examples=["c-1001"])
]
ProviderId = Annotated[
    Plain | None,
    Query(
        min_length=1,
        max_length=MAX_ID_LENGTH,
        description="As the submission or the receipt wrote it.",
        examples=["SM1f"],
    ),
]
After = Annotated[Time | None, Query(description="What decided the status happened from then on.")]
Before = Annotated[Time | None, Query(description="What decided the status happened before.")]
Doubtful = Annotated[
    AskedFlag | None, Query(description="Failed or without a receipt though a person opened a link of it; or not.")
]
Contradictory = Annotated[AskedFlag | None, Query(description="Received though also reported as failed; or not.")]


def asked_names(
    reference: Reference = None,
    recipient_id: RecipientId = None,
    provider_message_id: ProviderId = None,
    address: Address = None,
    region: AskedRegion = None,
) -> reading.Filter:
    """What a message is known by; all that is given must hold."""
    if region is not None and address is None:
        raise Invalid.field("?region", "`region` is that of an `address`: give both.")
    return reading.Filter(
        reference=reference,
        recipient_id=recipient_id,
        provider_message_id=provider_message_id,
        address=None if address is None else _number(address, region),
    )


def _number(address: str, region: str | None) -> str:
    """In E.164; an erased number is found by its pseudonym, too."""
    if address.startswith(PREFIX):
        return address
    found = normalise(with_plus(address), region)
    if found is None:
        raise Invalid.field(
            "?address", "`address` must be a phone number in E.164 (`+` as `%2B`), or a national one with its `region`."
        )
    return found


def id_keys(request: Request, raw: str | None) -> Sequence[tuple[int, str]]:
    """Under which keys a provider's id can stand, by gateway: as submissions and as receipts write it."""
    if raw is None:
        return ()
    return sorted(
        {
            (gateway.id, canonical(raw, form))
            for gateway in directory_of(request).every()
            for form in (gateway.options.submission_id_format, gateway.options.receipt_id_format)
        }
    )


def asked_filter(
    names: Annotated[reading.Filter, Depends(asked_names)],
    status: Statuses = [],  # noqa: B006 — FastAPI copies it
    failure_type: Types = [],  # noqa: B006
    reason: Reasons = [],  # noqa: B006
    error_code: Codes = [],  # noqa: B006
    gateway: GatewayKey = None,
    occurred_after: After = None,
    occurred_before: Before = None,
    contradictory: Contradictory = None,
    doubtful: Doubtful = None,
) -> reading.Filter:
    return replace(
        names,
        statuses=tuple(sorted(set(status))),
        failure_types=tuple(sorted(set(failure_type))),
        reasons=tuple(sorted(set(reason))),
        error_codes=tuple(sorted(set(error_code))),
        gateway=gateway,
        occurred_after=occurred_after,
        occurred_before=occurred_before,
        contradictory=contradictory,
        doubtful=doubtful,
    )
