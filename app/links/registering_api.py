"""Changing a link: its label at any time, what it does only before the start."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Self

from fastapi import APIRouter, Path, Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from app import audit
from app.api.fields import AskedWhole, DeliveryId, Flag, one_line
from app.db import Connection, snapshot, writing
from app.errors import Conflict, Invalid, NotFound
from app.links import reading, registering
from app.links.api import Link, shown_link
from app.links.registering import QUERIES
from app.links.tokens import LINKS
from app.security import Writer

router = APIRouter(tags=["deliveries"])

CHANGED = "DLV-LINK-CHANGED"
MOST_PARAMS = 20
_EDITABLE = ("editing", "prepared")
#: What texts are made by: a change of it must be prepared.
_PREPARED = frozenset({"tracked", "params"})


_Label = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), AfterValidator(one_line)
]
_Name = Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(one_line)]
_Value = Annotated[str, StringConstraints(max_length=200), AfterValidator(one_line)]


class LinkChange(BaseModel):
    """Only what is given changes."""

    model_config = ConfigDict(extra="forbid")

    label: _Label | None = None
    tracked: Flag | None = Field(
        None, description="Whether a short URL stands in its place; only while the delivery's `tracking` is on."
    )
    params: Annotated[dict[_Name, _Value], Field(max_length=MOST_PARAMS)] | None = Field(
        None,
        description="Added to the query on redirect, all of them anew; a name that the URL has keeps its value there.",
    )

    @model_validator(mode="after")
    def _keeps_what_every_link_has(self) -> Self:
        if gone := [name for name in self.model_fields_set if getattr(self, name) is None]:
            raise ValueError(f"cannot be null: {', '.join(sorted(gone))}")
        return self


Number = Annotated[AskedWhole, Path(ge=0, lt=LINKS, description="The link's `number`.", examples=[0])]


@router.patch("/v1/deliveries/{id}/links/{number}", summary="Change a link", response_model=Link)
async def change_link(request: Request, id: DeliveryId, number: Number, body: LinkChange, principal: Writer) -> Link:
    """The label at any time; `tracked` and `params` until the start (409 after). With these, what was `prepared` goes back to
    `editing`, and must be prepared again."""
    now = datetime.now(UTC)
    async with writing(request) as connection:
        held = await connection.fetchrow(QUERIES["lock_delivery"], id)
        if held is None:
            raise NotFound("There is no such delivery.")
        delivery = dict(held)
        old = await _link(connection, id, number)
        changed = {name: value for name, value in body.model_dump(exclude_unset=True).items() if value != old[name]}
        _check(delivery, old, changed)
        if changed:
            await _write(connection, delivery, old, changed, principal.name, now)
    async with snapshot(request) as reader:
        rows = await reading.links(reader, id) or ()
    row = next(row for row in rows if row["number"] == number)
    return shown_link(dict(row), principal)


async def _link(connection: Connection, id: int, number: int) -> Mapping[str, Any]:
    for row in await connection.fetch(QUERIES["list_links"], id):
        if row["number"] == number:
            return dict(row)
    raise NotFound("This delivery has no such link.")


def _check(delivery: Mapping[str, Any], old: Mapping[str, Any], changed: Mapping[str, Any]) -> None:
    """Raises `Conflict` for what is locked, `Invalid` for params with which the link would lead nowhere."""
    status = delivery["status"]
    if changed.keys() & _PREPARED and status not in _EDITABLE:
        said = status.replace("_", " ")
        raise Conflict(
            f"What a link does can be changed while its delivery is editing or prepared; this one is {said}."
        )
    if changed.get("tracked") and not delivery["tracking"]:
        raise Conflict("The delivery's `tracking` is off: turn it on first.")
    if refused := registering.longest_error(old["source_url"], changed.get("params", {}), {}):
        raise Invalid.field("/params", refused)


async def _write(
    connection: Connection,
    delivery: Mapping[str, Any],
    old: Mapping[str, Any],
    changed: Mapping[str, Any],
    actor: str,
    now: datetime,
) -> None:
    id, number = delivery["id"], old["number"]
    new, anew = {**old, **changed}, bool(changed.keys() & _PREPARED)
    await connection.execute(QUERIES["update_link"], id, number, new["label"], new["tracked"], new["params"])
    await connection.execute(QUERIES["touch_delivery"], id, now, anew)
    text = f"Changed {', '.join(changed)} of link {number}."
    data: dict[str, Any] = {"number": number}
    if anew and (at := delivery["scheduled_at"]) is not None:
        text += f" The start that was set for {at:%Y-%m-%d %H:%M:%S} UTC is off: the delivery must be prepared again."
        data |= {"scheduled_at": None, "before": at.isoformat().replace("+00:00", "Z")}
    changes = {name: {"old": old[name], "new": value} for name, value in changed.items()}
    await audit.append(connection, id, CHANGED, text, at=now, actor=actor, data=data, personal={"changes": changes})
