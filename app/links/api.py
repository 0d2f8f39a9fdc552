"""A delivery's links with their figures, and its log of clicks."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from app.api import export
from app.api.fields import AskedFlag, AskedWhole, DeliveryId
from app.api.listing import Found, Listing, PageAsked, listed, paged, whole
from app.api.paging import Page
from app.db import snapshot
from app.errors import NotFound
from app.links import reading
from app.links.tokens import LINKS
from app.security import Principal, Reader

router = APIRouter(tags=["reading a delivery"])


class Link(BaseModel):
    """Clicks are people's; those of proofs never count."""

    number: int
    label: str
    type: Literal["fixed", "template"] = Field(description="`template`: made for each message from its params.")
    source_url: str
    tracked: bool
    params: dict[str, Any] = Field(description="Added to the query on redirect.")
    in_content: bool
    clicks: int
    unique_clicks: int = Field(description="Messages in which a person opened this link.")
    machine_clicks: int


class LinkPage(Page[Link]):
    pass


class Click(BaseModel):
    """One visit to a short URL."""

    id: str
    message_id: str
    address: str = Field(description="E.164; masked without `pii:read`.")
    recipient_id: str | None
    link: int
    label: str | None
    clicked_at: datetime
    human: bool
    reasons: list[str] = Field(description="What speaks for a machine; empty for a person.")
    device: Literal["phone", "tablet", "desktop", "other"]
    agent: str
    network: str | None = Field(
        description="Of the visitor, IPv4 /24 or IPv6 /48; null without `pii:read`, and once it is forgotten."
    )
    count: int = Field(
        1, description="Clicks that it stands for: of a burst (reason `burst`) those of its minute beyond some."
    )


class ClickPage(Page[Click]):
    pass


COLUMNS = tuple(Click.model_fields)


Human = Annotated[AskedFlag | None, Query(description="People's clicks, or machines'; none: all.")]
Number = Annotated[AskedWhole | None, Query(ge=0, lt=LINKS, description="The number of one link.", examples=[0])]


@router.get(
    "/v1/deliveries/{id}/links",
    summary="A delivery's links with their clicks",
    response_model=LinkPage,
    responses=export.STREAMS,
)
async def list_links(request: Request, principal: Reader, id: DeliveryId) -> Any:
    """All of them (64 at the most), by number. The figures come from counters."""
    async with snapshot(request) as connection:
        rows = await reading.links(connection, id)
    if rows is None:
        raise NotFound("There is no such delivery.")
    items = [shown_link(dict(row), principal) for row in rows]
    return whole(request, principal, Link, items, LinkPage(items=items, next_cursor=None, total=len(items)))


@router.get("/v1/deliveries/{id}/clicks", summary="The log of clicks", **paged(ClickPage))
async def list_clicks(
    request: Request, principal: Reader, page: PageAsked, id: DeliveryId, human: Human = None, link: Number = None
) -> Any:
    """One row a click, newest first. Machines' are kept and shown, but left out of the indicators; those of proofs are not
    part of it. `total` comes from the counters."""

    async def find(after: Sequence[Any] | None, limit: int, counted: bool) -> Found:
        async with snapshot(request) as connection:
            before = after[0] if after else None
            found = await reading.clicks(connection, id, human=human, link=link, before=before, limit=limit)
        if found is None:
            raise NotFound("There is no such delivery.")
        return Found(*found)

    clicks = Listing(
        scope=f"clicks {id} {human} {link}", find=find, position=lambda row: [row["id"]],
        show=lambda rows: principal.all_shown(map(_item, rows), "click"), model=Click,
    )  # fmt: skip
    return await listed(page, principal, clicks)


def _item(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"id": str(row["id"]), "message_id": str(row["message_id"])}


def shown_link(row: Mapping[str, Any], principal: Principal) -> Link:
    return Link(**principal.shown(row, "link"), type="template" if row["template"] else "fixed")
