"""The quarantine at the door: what is taken, and what is shown."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from app.api.fields import Flag, Id, Plain, Slug, Time
from app.api.paging import Page
from app.quarantine.reading import Filter

Status = Literal["with_errors", "quarantined", "denylisted"]
Origin = Annotated[
    Slug,
    Field(max_length=40, description="`receipts`, `reply`, `operator`, `import`, or the list that an import names."),
]

Note = Annotated[
    Plain,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=500),
    Field(description="Why: for people, kept in the journal.", examples=["The carrier had an outage"]),
]
Word = Annotated[Plain, StringConstraints(min_length=1, max_length=120)]


class Entry(BaseModel):
    """One row of the quarantine."""

    address: str = Field(description="E.164, masked without `pii:read`; an erased number by its pseudonym.")
    sender: str | None = Field(description="Only messages of this sender are meant; null: whoever sends.")
    status: Status
    reason: str
    text: str = Field(description="Why, in a sentence.")
    origin: str | None = Field(
        description="`receipts`, `reply`, `operator`, `import` or the list that it names; null: of a delivery's exclusions."
    )
    errors: int = Field(description="Soft errors counted.")
    since: datetime
    last_error_at: datetime | None
    clears_at: datetime | None = Field(
        description="When errors are forgotten, if no new one comes; of an import: until when it said that it holds."
    )
    gateway: str | None
    error: str | None = Field(description="The error's key: implementation, status, code.")
    delivery_id: str | None = Field(description="The delivery whose receipts put it there.")
    message_id: str | None
    note: str | None
    actor: str | None
    updated_at: datetime


class EntryPage(Page[Entry]):
    pass


class Evidence(BaseModel):
    """One fact about the address, with the rule that was applied to it."""

    at: datetime
    kind: Literal["failed", "received", "denylist", "allow", "quarantine", "release"]
    message_id: str | None
    delivery_id: str | None
    gateway: str | None
    error: str | None
    failure_type: str | None
    reason: str | None
    sender: str | None
    verified: bool
    held: bool
    origin: str
    actor: str | None
    note: str | None
    rule: str
    status: Status | None = Field(description="For whoever sends, right after it; null: valid.")


class AddressHealth(BaseModel):
    address: str
    status: Literal["valid", "with_errors", "quarantined", "denylisted"] = Field(description="For whoever sends.")
    entries: list[Entry]
    evidence: list[Evidence] = Field(description="Everything that the status rests on, in the order of time.")


class ReleaseFilter(BaseModel):
    """At least one is needed; all that are given must hold."""

    model_config = ConfigDict(extra="forbid")

    status: Literal["with_errors", "quarantined"] | None = None
    gateway: Word | None = None
    reason: Word | None = None
    error_code: Word | None = None
    origin: Origin | None = None
    delivery_id: Id | None = None
    since_after: Time | None = Field(None, description="Put there from this time on.")
    since_before: Time | None = Field(None, description="Put there before this time.")

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if not any(getattr(self, name) is not None for name in type(self).model_fields):
            raise ValueError("name at least one of " + ", ".join(type(self).model_fields))
        return self

    def asked(self) -> Filter:
        return Filter(
            statuses=(self.status,) if self.status else (),
            reasons=(self.reason,) if self.reason else (),
            origin=self.origin,
            gateway=self.gateway,
            error_code=self.error_code,
            delivery_id=int(self.delivery_id) if self.delivery_id else None,
            since_after=self.since_after,
            since_before=self.since_before,
        )


class Release(BaseModel):
    model_config = ConfigDict(extra="forbid")

    filter: ReleaseFilter
    reason: Note
    dry_run: Annotated[Flag, Field(description="Only count.")] = False


class Released(BaseModel):
    addresses: int = Field(description="How many are released, or would be.")
    dry_run: bool


class Breaker(BaseModel):
    id: str
    gateway: str
    error: str
    text: str
    opened_at: datetime = Field(description="Failures received from here on are held.")
    closed_at: datetime | None
    decision: Literal["apply", "discard"] | None
    decided_by: str | None
    note: str | None
    failures: int = Field(description="With this error, in the minutes that tripped it.")
    finals: int = Field(description="Messages of the gateway with a final answer, in the same minutes.")
    usual_share: float | None = Field(description="Of the week before; null: too few to tell.")
    held: int = Field(description="Messages whose failure waits for a decision.")


class BreakerPage(Page[Breaker]):
    pass


class Decide(BaseModel):
    model_config = ConfigDict(extra="forbid")

    reason: Note


class Decided(BaseModel):
    addresses: int = Field(description="Addresses that were held.")
    messages: int
    breaker: Breaker


COLUMNS = tuple(Entry.model_fields)


def error_key(row: Mapping[str, Any]) -> str | None:
    parts = (row["implementation"], row["error_status"], row["error_code"])
    return " ".join(("SR", *filter(None, parts))) if row["implementation"] else None


def shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the quarantine as `Entry`."""
    same = ("status", "reason", "origin", "errors", "since", "last_error_at", "clears_at", "gateway", "updated_at")
    return {name: row[name] for name in same} | {
        "address": row["address"],
        "sender": row["sender"] or None,
        "text": _sentence(row),
        "error": error_key(row),
        "delivery_id": None if row["delivery_id"] is None else str(row["delivery_id"]),
        "message_id": None if row["message_id"] is None else str(row["message_id"]),
        "note": row["note"],
        "actor": row["actor"],
    }


_BY_ORIGIN = {
    "reply": "The person wrote back that they want no more.",
    "import": "An import says not to send to it.",
    "operator": "An operator decided not to send to it.",
}


def _sentence(row: Mapping[str, Any]) -> str:
    if row["origin"] is None:
        return f"The address was {row['status']} when the delivery was prepared."
    if row["sentence"] or row["origin"] == "receipts":
        return row["sentence"] or "The provider reported an error."
    return _BY_ORIGIN.get(row["origin"]) or f"An import says not to send to it: {row['origin']}."


def shown_breaker(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the breakers as `Breaker`."""
    same = ("gateway", "opened_at", "closed_at", "decision", "decided_by", "note", "failures", "finals", "held")
    return {name: row[name] for name in same} | {
        "id": str(row["id"]),
        "error": error_key(row) or "",
        "text": row["sentence"],
        "usual_share": None if row["usual_share"] is None else float(row["usual_share"]),
    }
