"""What asks for a short URL: a link by itself, or a row that names its message and a link."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from app.api import fields
from app.api.columns import Shape
from app.api.fields import Address, AskedWhole, Plain
from app.matching.recording import Sent
from app.references import message_of
from app.submissions.api import Id

Url = Annotated[Plain, Field(min_length=1, max_length=2_000)]


class NewLink(BaseModel):
    model_config = ConfigDict(extra="forbid")

    url: Url
    label: Annotated[Plain, Field(min_length=1, max_length=200)] | None = None


class LinkRow(BaseModel):
    """A message, by its id or by its reference (with the address that it is sent to), and a URL or a link's number."""

    model_config = ConfigDict(extra="forbid")

    message_id: fields.Id | None = None
    reference: Id | None = None
    address: Address | None = None
    recipient_id: Id | None = None
    gateway: Annotated[Plain, Field(max_length=63)] | None = None
    url: Url | None = None
    link: Annotated[AskedWhole, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _names_both(self) -> "LinkRow":
        if (self.message_id is None) == (self.reference is None or self.address is None):
            raise ValueError("give either message_id, or reference and address")
        if message_of(self.reference) is not None:
            raise ValueError("this reference is that of a message that is sent from here: give its message_id")
        if (self.url is None) == (self.link is None):
            raise ValueError("give either url or link")
        return self


ROW = TypeAdapter(LinkRow)
SHAPE = Shape(fields=tuple(LinkRow.model_fields))


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One row, checked: the message by its id, or as one to be made."""

    line: int
    message_id: int | None
    sent: Sent | None
    url: str | None
    link: int
