"""Qualifications: what each provider's errors mean; changing one says first what it moves."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Self

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from app import audit
from app.api.fields import Plain, path_id
from app.api.listing import Found, Listing, PageAsked, listed, paged
from app.api.paging import Page
from app.db import Connection, pool_of, snapshot, writing
from app.errors import Invalid, NotFound
from app.gateways.receipt import FailureType
from app.privacy.masking import in_pieces
from app.qualifications import store
from app.qualifications.reasons import Reason
from app.qualifications.rules import State, shown
from app.qualifications.sentences import following
from app.quarantine.changing import drain, requalified, would_move
from app.security import Principal, Reader, Writer, asks

router = APIRouter(tags=["qualifications"])

CHANGED = "QUA-CHANGED"
REQUALIFIED = "DLV-REQUALIFIED"
#: Older deliveries are not told in their journal; the platform's journal says how many those are.
_TOLD = timedelta(days=90)
_MOST_TOLD = 200
_MOST_SHOWN = 100


class Qualification(BaseModel):
    id: str
    error: str = Field(description="The key as people read it.")
    implementation: str
    status: str
    error_code: str
    failure_type: FailureType
    reason: str
    sentence: str = Field(description="What it means and what to do.")
    state: State = Field(description="`keep` confirmed · `ignore` never touches the address · `to_qualify` new.")
    occurrences: int = Field(description="Messages that are failed for this, in all deliveries.")
    first_text: str | None = Field(description="What the provider wrote the first time.")
    first_seen_at: datetime | None
    last_seen_at: datetime | None
    updated_at: datetime


class QualificationPage(Page[Qualification]):
    pass


Sentence = Annotated[Plain, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]


class Proposal(BaseModel):
    """What would change; what is not given stays."""

    model_config = ConfigDict(extra="forbid")

    failure_type: FailureType | None = None
    reason: Reason | None = None
    state: State | None = None

    @model_validator(mode="after")
    def _null_is_no_value(self) -> Self:
        if gone := [name for name in self.model_fields_set if getattr(self, name) is None]:
            raise ValueError(f"cannot be null: {', '.join(sorted(gone))}")
        return self


class Change(Proposal):
    sentence: Sentence | None = Field(None, description="What it means and what to do.")

    model_config = ConfigDict(extra="forbid")


class MovedDelivery(BaseModel):
    delivery_id: str
    code: str
    label: str
    messages: int
    counters: int


class Moved(BaseModel):
    """How much a change moves. All zero when neither failure type nor reason change."""

    messages: int = Field(description="Failed messages that show another failure type or reason.")
    deliveries: int
    counters: int = Field(description="Figures by failure type and by reason that change, in all these deliveries.")
    quarantines: int = Field(description="Addresses whose quarantine changes.")
    per_delivery: list[MovedDelivery] = Field(description=f"The newest {_MOST_SHOWN}.")


class Changed(BaseModel):
    qualification: Qualification
    moved: Moved


# --- reading ---------------------------------------------------------------------------------------------------------


Id = Annotated[int, Depends(path_id("qualification", "7", most=2**31 - 1))]


def asked_filter(
    implementation: Annotated[Plain | None, Query(max_length=200, description="Exactly.", examples=["Acme"])] = None,
    state: Annotated[State | None, Query(description="`to_qualify`: what waits for an operator.")] = None,
    failure_type: Annotated[FailureType | None, Query()] = None,
    reason: Annotated[Reason | None, Query()] = None,
    error_code: Annotated[Plain | None, Query(max_length=200, description="Exactly.", examples=["069"])] = None,
    code: Annotated[
        Plain | None, Query(max_length=200, deprecated=True, description="`error_code` by its old name.")
    ] = None,
    q: Annotated[Plain | None, Query(max_length=200, description="Part of the key or the texts.")] = None,
) -> store.Filter:
    if None not in (error_code, code) and error_code != code:
        raise Invalid.field("?code", "This is the old name of `error_code`, and they differ: give one of them.")
    return store.Filter(
        implementation=implementation, state=state, failure_type=failure_type, reason=reason,
        error_code=code if error_code is None else error_code, q=q,
    )  # fmt: skip


Asked = Annotated[store.Filter, Depends(asked_filter)]


@router.get(
    "/v1/qualifications",
    summary="List qualifications",
    **paged(QualificationPage),
)
async def list_qualifications(request: Request, principal: Reader, page: PageAsked, asked: Asked) -> Any:
    """One for each error of each gateway implementation, with how often it occurs. `q` looks through what the key may see."""
    asks(principal, words=(asked.implementation, asked.error_code))
    asked = replace(asked, masked=not principal.sees_all)

    async def find(after: Sequence[Any] | None, limit: int, counted: bool) -> Found:
        async with snapshot(request) as connection:
            rows = await store.page(connection, asked, after=after[0] if after else 0, limit=limit)
            return Found(rows, await store.total(connection, asked) if counted else None)

    qualifications = Listing(
        scope=f"qualifications {asked!r}", find=find, position=lambda row: [row["id"]],
        show=lambda rows: in_pieces(_shown(row, principal).model_dump() for row in rows), model=Qualification,
    )  # fmt: skip
    return await listed(page, principal, qualifications)


@router.get("/v1/qualifications/{id}", summary="Read a qualification", response_model=Qualification)
async def read(request: Request, id: Id, principal: Reader) -> Qualification:
    """With how often it occurs."""
    async with snapshot(request) as connection:
        row = await store.read(connection, id)
    return _shown(_found(row), principal)


def _shown(row: Mapping[str, Any], principal: Principal) -> Qualification:
    names = ("implementation", "status", "error_code", "failure_type", "reason", "state")
    times = ("first_seen_at", "last_seen_at", "updated_at")
    values = {name: row[name] for name in (*names, *times, "sentence", "first_text")} | {
        "id": str(row["id"]),
        "error": shown(row["implementation"], row["status"], row["error_code"]),
        "occurrences": int(row["occurrences"]),
    }
    return Qualification(**principal.shown(values, "qualification"))


def _found(row: Mapping[str, Any] | None) -> Mapping[str, Any]:
    if row is None:
        raise NotFound("There is no such qualification.")
    return row


# --- changing --------------------------------------------------------------------------------------------------------


@router.post("/v1/qualifications/{id}/preview", summary="What requalifying would move", response_model=Moved)
async def preview(request: Request, id: Id, body: Proposal, principal: Reader) -> Moved:
    """Changes nothing."""
    async with writing(request) as connection:
        old = _found(await store.lock(connection, id))
        values = _values(body, old)
        quarantines = await would_move(connection, old, {**old, **values}, datetime.now(UTC))
        moved = _moved(old, values, await store.touched(connection, id), quarantines)
    return Moved(**principal.shown(moved.model_dump()))


@router.patch("/v1/qualifications/{id}", summary="Requalify an error", response_model=Changed)
async def change(request: Request, id: Id, body: Change, principal: Writer) -> Changed:
    """Without a `sentence` of yours, one that said what no longer holds is made anew of what you decide; one that somebody
    wrote stays. Retroactive: all messages that failed with this error show the new failure type and reason at once, and so do
    the figures of their deliveries. The health of addresses moves by failures of the last 30 days; changing the error
    back takes exactly that back. The journals of the deliveries touched say so (of the last 90 days, the newest
    200; the platform's journal has the whole figure)."""
    now = datetime.now(UTC)
    async with writing(request) as connection:
        old = _found(await store.lock(connection, id))
        values = await _with_sentence(connection, body, old, _values(body, old))
        touched = await store.touched(connection, id)
        quarantines = await would_move(connection, old, {**old, **values}, now)
        moved = _moved(old, values, touched, quarantines)
        if values:
            await store.change(connection, id, values, now)
            await requalified(connection, old, {**old, **values}, now)
            await _tell(connection, old, values, touched if moved.messages else [], moved, principal.name, now)
    if values:
        await drain(pool_of(request), now)
    told = Moved(**principal.shown(moved.model_dump()))
    return Changed(qualification=await read(request, id, principal), moved=told)


def _values(body: Proposal, old: Mapping[str, Any]) -> dict[str, Any]:
    """What of `body` differs from what stands, by column."""
    given = body.model_dump(mode="json", exclude_unset=True)
    return {name: value for name, value in given.items() if value != old[name]}


async def _with_sentence(
    connection: Connection, body: Proposal, old: Mapping[str, Any], values: dict[str, Any]
) -> dict[str, Any]:
    """`values`, with the sentence that says them, where what was decided changes and nobody gave one."""
    if not values or "sentence" in body.model_fields_set:
        return values
    said = following(await store.documented(connection, old), old, {**old, **values})
    return values if said == old["sentence"] else values | {"sentence": said}


def _moved(
    old: Mapping[str, Any], values: Mapping[str, Any], touched: Sequence[store.Touched], quarantines: int
) -> Moved:
    """Each message leaves one figure and joins another, by failure type and by reason alike."""
    counters = 2 * len(values.keys() & {"failure_type", "reason"})
    moving = touched if counters else []
    return Moved(
        messages=sum(each.messages for each in moving),
        deliveries=len(moving),
        counters=counters * len(moving),
        quarantines=quarantines,
        per_delivery=[
            MovedDelivery(
                delivery_id=str(each.delivery_id),
                code=f"DM{each.delivery_id}",
                label=each.label,
                messages=each.messages,
                counters=counters,
            )
            for each in moving[:_MOST_SHOWN]
        ],
    )


async def _tell(
    connection: Connection,
    old: Mapping[str, Any],
    values: Mapping[str, Any],
    touched: Sequence[store.Touched],
    moved: Moved,
    actor: str,
    now: datetime,
) -> None:
    """Writes the change into the platform's journal and into those of the deliveries touched, in one order."""
    key = shown(old["implementation"], old["status"], old["error_code"])
    changes = {name: {"old": old[name], "new": value} for name, value in values.items()}
    told = [each for each in touched if each.created_at >= now - _TOLD][:_MOST_TOLD]
    figures = moved.model_dump(exclude={"per_delivery"}) | {"deliveries_told": len(told)}
    data, said = {"qualification_id": str(old["id"])}, {"error": key, "changes": changes}
    text = f"An error was requalified: {moved.messages} messages of {moved.deliveries} deliveries moved."
    more: dict[str, Any] = data | {"moved": figures}
    await audit.append(connection, audit.PLATFORM, CHANGED, text, at=now, actor=actor, data=more, personal=said)
    for each in sorted(told, key=lambda each: each.delivery_id):
        text = f"An error was requalified: {each.messages} messages moved."
        more = data | {"messages": each.messages}
        await audit.append(
            connection, each.delivery_id, REQUALIFIED, text, at=now, actor=actor, data=more, personal=said
        )
