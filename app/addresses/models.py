"""What is known about one number, as it is shown."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from app.api.paging import Page


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
    message_id: str | None = Field(description="The message that it most likely answers.")
    delivery_id: str | None


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
    until: datetime | None = Field(description="When it ends; null: it does not.")


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
    pass
