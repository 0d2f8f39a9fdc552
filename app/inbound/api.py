"""What phones wrote to us, and what came of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, Field
from sqlalchemy import ColumnElement, Select, and_, case, func, literal_column, select, tuple_
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.ext.asyncio import AsyncConnection

from app.accounts.directory import directory_of
from app.api.excerpts import FETCHED, cut
from app.api.fields import Id, Plain, path_id
from app.api.listing import Found, Listing, PageAsked, listed, paged
from app.api.paging import Page
from app.db import snapshot
from app.errors import Invalid, NotFound
from app.identities import spellings
from app.inbound.rules import TOGETHER, number
from app.security import QuarantineReader, asks
from app.tables import counters, gateways, inbound

router = APIRouter(prefix="/v1", tags=["quarantine"])

Came = Literal["denylist", "allow", "none", "review", "unmatched", "repeat"]


class Item(BaseModel):
    """One message from a phone."""

    id: str
    gateway: str
    received_at: datetime
    address: str = Field(description="Who wrote: E.164; as the gateway wrote it where it is no possible number.")
    recipient: str | None = Field(description="Your number or short code.")
    text: str = Field(
        description="Its beginning, in lists. Without `pii:read` whatever could be a phone number is masked."
    )
    text_bytes: int = Field(description="Of the whole text, in UTF-8.")
    provider_message_id: str | None
    verified: bool = Field(description="The gateway proved who it is.")
    keyword: str | None = Field(description="Of the rule that matched; of the nearest one for what is to be reviewed.")
    action: Literal["denylist", "allow", "none", "review"] | None = Field(
        description="`review`: it changed nothing, and a person should look at it. Null: no rule matched."
    )
    repeat_of: str | None = Field(description="The message that it repeats; it changed nothing.")
    opt_out: Literal["denylist", "allow", "none"] | None = Field(
        description="What the gateway itself took it for (Twilio's `OptOutType`)."
    )
    part: int | None = Field(description="Of a long message in pieces: the first one that it is known by.")
    parts: int | None
    message_id: str | None = Field(description="The message that it most likely answers.")
    delivery_id: str | None
    applied_at: datetime | None = Field(description="Null: the rules have not been asked yet.")


class ItemPage(Page[Item]):
    pass


COLUMNS = tuple(Item.model_fields)


def _text() -> ColumnElement[str]:
    """The whole text: of a long message in pieces all that have come."""
    piece = inbound.alias("piece")
    pieces = select(
        func.string_agg(piece.c.text, aggregate_order_by(literal_column("''"), piece.c.part, piece.c.id))
    ).where(
        piece.c.address == inbound.c.address,
        piece.c.part_reference == inbound.c.part_reference,
        piece.c.gateway_id == inbound.c.gateway_id,
        piece.c.parts == inbound.c.parts,
        piece.c.recipient.is_not_distinct_from(inbound.c.recipient),
        piece.c.received_at.between(inbound.c.received_at - TOGETHER, inbound.c.received_at + TOGETHER),
        piece.c.repeat_of.is_(None),
    )
    return case((inbound.c.part_reference.is_(None), inbound.c.text), else_=pieces.correlate(inbound).scalar_subquery())


_TEXT = _text()
_SHOWN = (
    *(inbound.c[name] for name in COLUMNS if name not in ("gateway", "text", "text_bytes")),
    gateways.c.key.label("gateway"),
    func.octet_length(_TEXT).label("text_bytes"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A filter. `gateway`: its id."""

    gateway: int | None = None
    #: In E.164 where it is a number; and as it was asked for: what a gateway calls national is kept as it wrote it.
    address: str | None = None
    written: str | None = None
    action: Came | None = None
    delivery: int | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        # Pieces of a long message stand in the text of the first.
        found: list[ColumnElement[bool]] = [inbound.c.part_of.is_(None)]
        if self.delivery is not None:
            found.append(inbound.c.delivery_id == self.delivery)
        if self.gateway is not None:
            found.append(inbound.c.gateway_id == self.gateway)
        if self.address is not None:
            found.append(inbound.c.address.in_({*spellings(self.address), self.written or self.address}))
        if self.action is not None:
            found.append(_came(self.action))
        return found


def _came(action: Came) -> ColumnElement[bool]:
    if action == "repeat":
        return inbound.c.repeat_of.is_not(None)
    if action == "unmatched":
        return and_(inbound.c.applied_at.is_not(None), inbound.c.action.is_(None), inbound.c.repeat_of.is_(None))
    return inbound.c.action == literal_column(f"'{action}'")  # as it stands in the index of what is to be reviewed


@router.get("/inbound", summary="Messages from phones", **paged(ItemPage))
async def list_inbound(
    request: Request,
    principal: QuarantineReader,
    page: PageAsked,
    gateway: Annotated[Plain | None, Query(max_length=63, description="A gateway's key.")] = None,
    address: Annotated[
        Plain | None, Query(max_length=64, description="Exactly this sender (`+` as `%2B`).", examples=["+34600123000"])
    ] = None,
    action: Annotated[
        Came | None, Query(description="What came of it; `unmatched`: no rule matched; `repeat`: it came before.")
    ] = None,
    delivery_id: Annotated[Id | None, Query(description="What most likely answers messages of this delivery.")] = None,
) -> Any:
    """Newest first. `total` comes from the counters; with `address`, which needs `pii:read`, it is a count of what that phone
    wrote, and with `delivery_id` and `gateway` together of what is found."""
    asks(principal, number=address)
    asked = Asked(
        gateway=await _gateway(request, gateway), address=_address(address), written=address,
        action=action,
        delivery=None if delivery_id is None else int(delivery_id),
    )  # fmt: skip

    async def find(after: Sequence[Any] | None, limit: int, counted: bool) -> Found:
        async with snapshot(request) as connection:
            rows = await _page(connection, asked, after, limit)
            return Found(rows, await _total(connection, asked) if counted else None)

    async def show(rows: Sequence[Any]) -> Sequence[dict[str, Any]]:
        return [cut(each, "text") for each in await principal.all_shown(map(_shown, rows))]

    messages = Listing(scope=f"inbound {asked!r}", find=find, position=_position, show=show, model=Item)
    return await listed(page, principal, messages)


@router.get("/inbound/{id}", summary="One message from a phone, whole", response_model=Item)
async def read_inbound(
    request: Request, principal: QuarantineReader, id: Annotated[int, Depends(path_id("message from a phone", "7"))]
) -> Item:
    """With its whole text."""
    query = (
        select(*_SHOWN, _TEXT.label("text"))
        .join(gateways, gateways.c.id == inbound.c.gateway_id)
        .where(inbound.c.id == id)
    )
    async with snapshot(request) as connection:
        row = (await connection.execute(query)).mappings().one_or_none()
    if row is None:
        raise NotFound("There is no such message from a phone.")
    return Item(**principal.shown(_shown(dict(row))))


async def _gateway(request: Request, key: str | None) -> int | None:
    if key is None:
        return None
    gateway = await directory_of(request).find_answering(key)
    if gateway is None:
        raise Invalid.field("?gateway", "There is no such gateway.")
    return int(gateway.id)


def _address(asked: str | None) -> str | None:
    """In E.164 where it is a number (a `+` that was not escaped comes as a space), else as the gateway wrote it."""
    return asked and (number(asked) or asked)


# --- reading ---------------------------------------------------------------------------------------------------------


async def _page(
    connection: AsyncConnection, asked: Asked, before: Sequence[Any] | None, limit: int
) -> Sequence[Mapping[str, Any]]:
    rows = await connection.execute(page_query(asked, before, limit))
    return [dict(row) for row in rows.mappings()]


def page_query(asked: Asked, before: Sequence[Any] | None, limit: int) -> Select[Any]:
    """Rows older than the position `before`, newest first."""
    query = (
        select(*_SHOWN, func.left(_TEXT, FETCHED).label("text"))
        .join(gateways, gateways.c.id == inbound.c.gateway_id)
        .where(*asked.conditions())
        .order_by(inbound.c.received_at.desc(), inbound.c.id.desc())
        .limit(limit)
    )
    if before is not None:
        place = datetime.fromisoformat(before[0]), before[1]
        query = query.where(tuple_(inbound.c.received_at, inbound.c.id) < place)
    return query


def _position(row: Mapping[str, Any]) -> list[Any]:
    return [row["received_at"].isoformat(), row["id"]]


async def _total(connection: AsyncConnection, asked: Asked) -> int:
    if asked.address is not None or (asked.delivery is not None and asked.gateway is not None):
        return int(await connection.scalar(select(func.count()).select_from(inbound).where(*asked.conditions())) or 0)
    of_gateway = [] if asked.gateway is None else [counters.c.gateway_id == asked.gateway]
    of_action = [] if asked.action is None else [counters.c.label == asked.action]
    metric = "inbound" if asked.delivery is None else "replies"
    booked = select(func.coalesce(func.sum(counters.c.value), 0)).where(
        counters.c.delivery_id == (asked.delivery or 0), counters.c.metric == metric, *of_gateway, *of_action
    )
    found = int(await connection.scalar(booked) or 0)
    if asked.action is not None or asked.delivery is not None:  # what waits has neither yet
        return found
    waiting = select(func.count()).select_from(inbound).where(inbound.c.applied_at.is_(None), *asked.conditions())
    return found + int(await connection.scalar(waiting) or 0)


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    values = {name: row[name] for name in COLUMNS} | {
        name: None if row[name] is None else str(row[name]) for name in ("id", "repeat_of", "message_id", "delivery_id")
    }
    return {name: values[name] for name in COLUMNS}
