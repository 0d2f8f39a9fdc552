"""What is known about one number, as it is shown."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.api.paging import Page

_EXAMPLE: dict[str, Any] = {
    "address": "+34600123000",
    "erased_at": None,
    "health": {"address": "+34600123000", "status": "quarantined", "entries": [], "evidence": []},
    "held": 0,
    "totals": {"messages": 1, "receipts": 2, "exclusions": 1, "inbound": 0, "decisions": 0, "clicks": 0},
    "messages": [
        {
            "id": "42",
            "delivery_id": "1",
            "label": "Autumn sale",
            "sender": "Acme",
            "status": "failed",
            "gateway": "acme",
            "proof": False,
            "receipts": 2,
            "created_at": "2026-11-23T08:00:00Z",
            "submitted_at": "2026-11-23T08:00:00Z",
            "occurred_at": "2026-11-23T08:00:04Z",
            "updated_at": "2026-11-23T08:00:05Z",
        }
    ],
    "exclusions": [
        {
            "delivery_id": "2",
            "label": "Winter sale",
            "recipient_id": "c-17",
            "reason": "quarantined",
            "text": "In quarantine since 2026-11-23: user_unknown, from receipts.",
            "excluded_at": "2026-11-24T08:00:00Z",
        }
    ],
    "inbound": [],
    "decisions": [],
    "clicks": [],
}
_CERTIFICATE: dict[str, Any] = {
    "id": "0f6c1d7e0b7f4bd7a2d0f3a1c9e8b765",
    "pseudonym": "erased:0f6c1d7e0b7f4bd7a2d0f3a1c9e8b765",
    "erased_at": "2026-11-24T09:00:00Z",
    "actor": "office",
    "reason": "Request of 24 November",
    "replaced": {"messages": 1, "quarantine": 1, "receipts": 2, "targets": 1},
    "journal_entries": 0,
    "journals": [],
    "kept": "Health, opt-outs, messages, receipts and counters are kept under the pseudonym.",
    "remains": [
        {"where": "backups", "what": "Copies made before.", "until": "They have reached their end."},
    ],
    "dry_run": False,
}


class Message(BaseModel):
    id: str
    delivery_id: str
    label: str = Field(description="The delivery's.")
    sender: str
    status: str
    gateway: str | None
    proof: bool
    receipts: int
    created_at: datetime
    submitted_at: datetime | None
    occurred_at: datetime
    updated_at: datetime


class Exclusion(BaseModel):
    delivery_id: str
    label: str
    recipient_id: str | None
    reason: str
    text: str
    excluded_at: datetime


class Inbound(BaseModel):
    id: str
    gateway: str
    received_at: datetime
    recipient: str | None
    text: str
    keyword: str | None
    action: str | None
    repeat_of: str | None


class Decision(BaseModel):
    id: str
    kind: Literal["denylist", "allow", "quarantine", "release"]
    sender: str | None = Field(description="Null: whoever sends.")
    at: datetime
    recorded_at: datetime
    reason: str
    origin: str
    actor: str
    note: str | None
    inbound_id: str | None


class Click(BaseModel):
    id: str
    message_id: str
    delivery_id: str
    link: int
    label: str | None
    clicked_at: datetime
    human: bool
    reasons: list[str] = Field(description="What speaks for a machine.")
    device: str


class Totals(BaseModel):
    messages: int
    receipts: int
    exclusions: int
    inbound: int
    decisions: int
    clicks: int


class Address(BaseModel):
    """Everything about one number; lists are the newest hundred."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    address: str = Field(description="E.164, masked without `pii:read`; an erased number by its pseudonym.")
    erased_at: datetime | None
    health: dict[str, Any] = Field(description="As `GET /v1/quarantine/{address}` gives it.")
    held: int = Field(description="Failures that a breaker holds: they count for nothing until it is decided.")
    totals: Totals
    messages: list[Message]
    exclusions: list[Exclusion]
    inbound: list[Inbound]
    decisions: list[Decision] = Field(description="Opt-outs, opt-ins, releases: by replies, imports and operators.")
    clicks: list[Click] = Field(description="Visits to the short URLs of its messages, by people and machines.")


class JournalEntry(BaseModel):
    chain: str = Field(description="A delivery's id; 0: the platform's own journal.")
    seq: int


class Remains(BaseModel):
    where: str = Field(description="`tables`, `write_ahead_log`, `backups`, `stored_answers`, `other_hosts`.")
    what: str
    until: str


class Certificate(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [_CERTIFICATE]})

    id: str
    pseudonym: str = Field(description="What stands for the number everywhere; nobody can turn it back.")
    erased_at: datetime = Field(description="The first time.")
    actor: str
    reason: str
    replaced: dict[str, int] = Field(description="Rows by table, all times together.")
    journal_entries: int = Field(
        description="Entries of the journals' chains that name the number all the same, written by older versions: they "
        "cannot be altered."
    )
    journals: list[JournalEntry] = Field(description="Which they are, at the most a thousand.")
    kept: str
    remains: list[Remains] = Field(description="What is beyond the reach of this service, and until when.")
    dry_run: bool = Field(description="True: nothing was changed.")


class CertificatePage(Page[Certificate]):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"items": [_CERTIFICATE], "next_cursor": None, "total": 1}]}
    )
