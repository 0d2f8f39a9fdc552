"""One target of an audience: taken out, or corrected. Positions stay: a finding's "target 7" is the same one afterwards."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from app.api.fields import LONGEST_PATH, DeliveryId, DryRun, Flag, FreeJson, Plain, known_id
from app.api.reader import RowRefused
from app.db import Connection, writing
from app.deliveries import audience, codes, lifecycle, starting, store
from app.deliveries.audience_api import ShownTarget, shown
from app.deliveries.preparation import QUERIES
from app.deliveries.requests import allowed, existing, hold_alone, note
from app.errors import Invalid, NotFound
from app.security import Writer

router = APIRouter(tags=["deliveries"])

_MOST = 2**31 - 1


async def _position(
    position: Annotated[Plain, Path(max_length=LONGEST_PATH, description="The target's `position`.", examples=["1"])],
) -> int:
    found = known_id(position)
    if found is None or found > _MOST:
        raise NotFound("There is no such target.")
    return found


Position = Annotated[int, Depends(_position)]


class TargetChange(BaseModel):
    """Only what is given changes; null takes away."""

    model_config = ConfigDict(extra="forbid")

    address: Annotated[Plain, Field(max_length=audience.LONGEST_ADDRESS)] | None = None
    recipient_id: Annotated[Plain, Field(max_length=audience.LONGEST_ID)] | None = None
    params: FreeJson | None = Field(
        None, description="Those given change, the others stay; a param that is null is taken away, null all of them."
    )
    control: Flag | None = None


class TakenOut(BaseModel):
    dry_run: bool
    target: ShownTarget = Field(description="What is taken out; with `dry_run`, what would be.")
    total: int = Field(description="Targets that the delivery has now; with `dry_run`, would have.")


@router.delete(
    "/v1/deliveries/{id}/targets/{position}", summary="Take a target out of the audience", response_model=TakenOut
)
async def take_out(
    request: Request,
    id: DeliveryId,
    position: Position,
    principal: Writer,
    dry_run: DryRun = False,
) -> dict[str, Any]:
    """Before the start: 409 unless the delivery is `editing` or `prepared`; what was prepared must be prepared again. The others
    keep their positions."""
    now = datetime.now(UTC)
    async with writing(request) as connection:
        row, target = await _held(connection, id, position)
        total = row["targets"] - 1
        if not dry_run:
            await starting.take_back(connection, row, actor=principal.name, now=now, why=starting.CHANGED)
            await connection.execute(QUERIES["take_out_target"], id, position)
            await connection.execute(QUERIES["set_targets"], id, total, now)
            data = {"position": position, "total": total}
            personal = {"target": _fields(target)}
            await note(
                connection, row, codes.TARGETS, f"Target {position} was taken out; now: {total}.", principal, now, data, personal
            )  # fmt: skip
    return {"dry_run": dry_run, "target": principal.shown(shown(target)), "total": total}


@router.patch("/v1/deliveries/{id}/targets/{position}", summary="Correct a target", response_model=ShownTarget)
async def correct(
    request: Request, id: DeliveryId, position: Position, body: TargetChange, principal: Writer
) -> dict[str, Any]:
    """Before the start: 409 unless the delivery is `editing` or `prepared`; what was prepared must be prepared again."""
    now = datetime.now(UTC)
    async with writing(request) as connection:
        row, target = await _held(connection, id, position)
        wanted = _corrected(target, body.model_dump(exclude_unset=True))
        new = {"position": position, **wanted._asdict(), "params": wanted.params or {}}
        was, is_now = _fields(target), _fields(new)
        changes = {name: {"old": was[name], "new": value} for name, value in is_now.items() if value != was[name]}
        if changes:
            await starting.take_back(connection, row, actor=principal.name, now=now, why=starting.CHANGED)
            await connection.execute(QUERIES["update_target"], id, position, *wanted)
            await connection.execute(QUERIES["set_targets"], id, row["targets"], now)
            text = f"Target {position} was corrected: {', '.join(changes)}."
            data = {"position": position, "total": row["targets"]}
            await note(connection, row, codes.TARGETS, text, principal, now, data, {"changes": changes})
    return principal.shown(shown(new))


async def _held(connection: Connection, id: int, position: int) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The delivery and its target, ours until the commit. Raises `NotFound` and `Conflict`."""
    await hold_alone(connection, id)
    row = existing(await store.lock(connection, id))
    target = await connection.fetchrow(QUERIES["find_target"], id, position)
    if target is None:
        raise NotFound(f"This delivery has no target {position}.")
    allowed(lifecycle.after_edit, row["status"])
    return row, dict(target)


def _corrected(target: Mapping[str, Any], change: Mapping[str, Any]) -> audience.Target:
    """Raises `Invalid` for what an upload would refuse."""
    wanted = {**_fields(target), **change}
    if change.get("params") is not None:
        wanted["params"] = {**target["params"], **change["params"]}
        wanted["params"] = {name: value for name, value in wanted["params"].items() if value is not None}
    try:
        return audience.checked(wanted)
    except RowRefused as refused:
        name, _, sentence = str(refused).partition(": ")
        raise Invalid.field(f"/{name}", f"{sentence[:1].upper()}{sentence[1:]}") from refused


def _fields(target: Mapping[str, Any]) -> dict[str, Any]:
    """By the API's names."""
    return {"address": target["given"]} | {name: target[name] for name in ("recipient_id", "params", "control")}
