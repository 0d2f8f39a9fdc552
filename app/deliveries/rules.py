"""What a delivery leaves out besides what it must: the operator's own rules, as they come and as they are kept."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app import numbers
from app.api.fields import Number, Region, Whole
from app.identities import identity
from app.texts.encoding import MAX_PARTS

Countries = Annotated[list[Region], Field(min_length=1, max_length=250)]
Choice = Literal["exclude", "send"]


class CountryRule(BaseModel):
    """Either `only` these, or all `except` these."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True, serialize_by_alias=True)

    only: Countries | None = None
    except_: Countries | None = Field(None, alias="except")

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Self:
        if (self.only is None) == (self.except_ is None):
            raise ValueError("give either `only` or `except`")
        return self

    def excludes(self, country: str | None) -> bool:
        """A number of no country is in no list."""
        return country not in self.only if self.only is not None else country in (self.except_ or ())


class Rules(BaseModel):
    """Which numbers a delivery leaves out by choice. What is not given has its default."""

    model_config = ConfigDict(extra="forbid")

    landlines: Choice = Field("exclude", description="Numbers that are surely landlines; most take no SMS.")
    premium_rate: Choice = Field("exclude", description="Numbers whose callers pay extra.")
    countries: CountryRule | None = Field(None, description="By the number's country.")
    max_messages: Annotated[Whole, Field(ge=1, le=10_000)] | None = Field(
        None, description="Most messages to one address, this one included, in `max_messages_days`. None: no limit."
    )
    max_messages_days: Annotated[Whole, Field(ge=1, le=366)] = Field(
        7, description="How far `max_messages` looks back."
    )
    control_share: Annotated[Number, Field(ge=0, le=0.5)] = Field(
        0,
        description="Share of the audience that is left out at random, to compare with; the same at each preparation.",
    )
    max_parts: Annotated[Whole, Field(ge=1, le=MAX_PARTS)] | None = Field(
        None, description="Recipients whose text would take more parts are left out. None: the most there can be, 255."
    )

    def of_number(self, address: str) -> dict[str, Any] | None:
        """The rule that leaves this number out, as the exclusion's detail; None when none does. It looks at the phone's
        identity: another spelling may look like a landline, or like another country's."""
        address = identity(address)
        if self.landlines == "exclude" or self.premium_rate == "exclude":
            kind = numbers.kind(address)
            if kind == "landline" and self.landlines == "exclude":
                return {"rule": "landline"}
            if kind == "premium_rate" and self.premium_rate == "exclude":
                return {"rule": "premium_rate"}
        if self.countries is not None and self.countries.excludes(country := numbers.country(address)):
            return {"rule": "country", "country": country}
        return None

    @property
    def most_parts(self) -> int:
        return self.max_parts or MAX_PARTS
