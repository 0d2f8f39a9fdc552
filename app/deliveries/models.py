"""Deliveries at the door: what is taken, and what is shown."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from app.api import fields
from app.api.fields import Flag, FreeJson, Plain, Time, Whole, refused
from app.deliveries.lifecycle import Status
from app.deliveries.rules import Rules

#: An alphanumeric sender has at most 11 characters (3GPP TS 23.040 §9.1.2.5) and at least one letter.
_NAME = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9][A-Za-z0-9 ._&-]{0,10}")
_NUMBER = re.compile(r"\+[1-9][0-9]{6,14}|[0-9]{3,8}")


def _sender(text: str) -> str:
    if not _NAME.fullmatch(text) and not _NUMBER.fullmatch(text):
        raise refused("must be at most 11 letters, digits, spaces or . _ & -, or a number in E.164, or a short number")
    return text


Label = Annotated[
    fields.Label,
    Field(description="Name for people, 1–200 characters.", examples=["Autumn sale"]),
]
Sender = Annotated[
    Plain,
    StringConstraints(strip_whitespace=True, max_length=40),
    AfterValidator(_sender),
    Field(description="At most 11 characters with a letter, a number in E.164, or a short number.", examples=["Acme"]),
]
Content = Annotated[
    Plain,
    StringConstraints(max_length=10_000),
    Field(description="The text, at most 10 000 characters.", examples=["Hello {name}"]),
]
GatewayKey = Annotated[
    Plain,
    StringConstraints(min_length=1, max_length=200),
    Field(description="Gateway of messages that name none themselves.", examples=["acme"]),
]
Region = Annotated[fields.Region, Field(description="Country of national numbers.", examples=["ES"])]
Validity = Annotated[
    Whole, Field(ge=60, le=2_592_000, description="After this a message without receipt is `no_receipt`.")
]
Metadata = Annotated[
    FreeJson,
    Field(description="Yours: any JSON object up to 10 kB.", examples=[{"order": 7}]),
]

_INDICATORS = {
    "targeted": 20000,
    "to_send": 20000,
    "processed": 19210,
    "success": 18400,
    "errors": 810,
    "no_receipt": 40,
    "in_transit": 750,
    "cancelled": 0,
    "excluded": 0,
    "new_quarantines": 0,
    "clicks": 0,
    "unique_clicks": 0,
    "machine_clicks": 0,
    "replies": 0,
    "opt_outs": 0,
}


class NewDelivery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    label: Label
    sender: Sender
    content: Content | None = None
    gateway: GatewayKey | None = None
    default_region: Region | None = None
    validity_seconds: Validity | None = Field(None, description="None: the service's default, 84 h.")
    tracking: Annotated[Flag, Field(description="Replace links by short URLs.")] = True
    metadata: Metadata = Field(default_factory=dict)
    rules: Rules = Field(default_factory=Rules)


class DeliveryChange(BaseModel):
    """Only what is given changes; null takes away where that is possible."""

    model_config = ConfigDict(extra="forbid")

    label: Label | None = None
    sender: Sender | None = None
    content: Content | None = None
    gateway: GatewayKey | None = None
    default_region: Region | None = None
    validity_seconds: Validity | None = None
    tracking: Flag | None = None
    metadata: Metadata | None = None
    rules: Rules | None = Field(None, description="All of them anew: what is not given has its default.")
    scheduled_at: Time | None = Field(
        None,
        description="When a `prepared` delivery starts by itself; null takes it back. By itself, without other fields.",
    )

    @model_validator(mode="after")
    def _keeps_what_every_delivery_has(self) -> Self:
        required = ("label", "sender", "validity_seconds", "tracking", "metadata", "rules")
        if gone := [name for name in required if name in self.model_fields_set and getattr(self, name) is None]:
            raise ValueError(f"`{'`, `'.join(gone)}` cannot be null")
        if "scheduled_at" in self.model_fields_set and len(self.model_fields_set) > 1:
            raise ValueError("scheduled_at is given by itself: with other changes the delivery must be prepared again")
        return self


class Indicators(BaseModel):
    """The main indicators; the summary has all, and what they mean."""

    targeted: int
    to_send: int
    processed: int
    success: int
    errors: int
    no_receipt: int
    in_transit: int
    cancelled: int
    excluded: int
    new_quarantines: int
    clicks: int
    unique_clicks: int
    machine_clicks: int
    replies: int
    opt_outs: int


class Progress(BaseModel):
    """How many targets have become messages or exclusions."""

    done: int
    total: int


class ShownFinding(BaseModel):
    """What is to be said about the text; an error stops the start."""

    level: Literal["info", "warning", "error"]
    code: str
    text: str
    data: dict[str, Any]


class ShownStep(BaseModel):
    """Steps overlap: their seconds may be more than the whole took."""

    count: int
    seconds: float


class Preparation(BaseModel):
    """The latest one that came to its end."""

    started_at: datetime
    finished_at: datetime
    messages: int = 0
    parts: int = Field(0, description="Of all texts, as they will be sent.")
    excluded: dict[str, int] = Field(default_factory=dict, description="By reason.")
    findings: list[ShownFinding]
    steps: dict[str, ShownStep] = Field(default_factory=dict)


class Delivery(BaseModel):
    id: str
    code: str = Field(description="`DM` and the id: for people to say.")
    status: Status
    label: str
    sender: str
    content: str | None
    gateway: str | None
    default_region: str | None
    validity_seconds: int
    tracking: bool
    metadata: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    first_receipt_at: datetime | None
    finished_at: datetime | None
    scheduled_at: datetime | None = Field(description="When it starts by itself; null once it has started.")
    paused_at: datetime | None = Field(description="Since when its outbox gives nothing, though it is `in_progress`.")
    rules: Rules
    targets: int = Field(description="Rows of the audience, as uploaded.")
    progress: Progress | None = Field(None, description="While `preparing`.")
    preparation: Preparation | None = Field(
        None, description="Once prepared; of the editing since then it knows nothing."
    )
    indicators: Indicators


class Recomputed(BaseModel):
    """`drift`: how far counters and states were from what the facts give; it must be 0. What was off is mended."""

    drift: int | float
    states_changed: int = 0
    counters: dict[str, int]


_NOT_COLUMNS = ("id", "code", "indicators", "progress", "preparation")


def shown(row: Mapping[str, Any], indicators: Mapping[str, int]) -> dict[str, Any]:
    """A row of `deliveries` with its gateway's key and its preparation as `Delivery`."""
    fields = {name: row[name] for name in Delivery.model_fields if name not in _NOT_COLUMNS}
    return fields | {
        "id": str(row["id"]),
        "code": f"DM{row['id']}",
        "indicators": dict(indicators),
        "progress": _progress(row),
        "preparation": _preparation(row),
    }


def _progress(row: Mapping[str, Any]) -> dict[str, Any] | None:
    if row["status"] != "preparing" or row["preparation_total"] is None:
        return None
    # A preparation counts by position, which is more where targets were taken out.
    return {"done": min(row["preparation_done"], row["targets"]), "total": row["targets"]}


def _preparation(row: Mapping[str, Any]) -> dict[str, Any] | None:
    if row["preparation_finished_at"] is None:
        return None
    figures = row["preparation_figures"]
    return {name: figures[name] for name in ("messages", "parts", "excluded", "steps") if name in figures} | {
        "started_at": row["preparation_started_at"],
        "finished_at": row["preparation_finished_at"],
        "findings": row["preparation_findings"],
    }
