"""The quarantine: list, import, one address explained, release of one and of many, breakers, a delivery's own view."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from sqlalchemy.ext.asyncio import AsyncConnection

from app import audit
from app.api.fields import MOST_SEVERAL, AskedAddress, DeliveryId, DryRun, PathAddress, Plain, Time, path_id
from app.api.listing import Found, Listing, PageAsked, listed, paged
from app.db import Connection, load_queries, plain, pool_of, snapshot, writing
from app.errors import Conflict, NotFound
from app.privacy.masking import mask
from app.privacy.pseudonyms import PREFIX, pseudonyms_of
from app.quarantine import breaker, changing, models, reading
from app.quarantine.rules import ANYBODY, Explained, explain
from app.quarantine.store import facts_of, locked
from app.quarantine.thresholds import read_thresholds
from app.security import NumberReader, Principal, QuarantineReader, QuarantineWriter, asks

QUERIES = load_queries(__file__)

router = APIRouter(prefix="/v1", tags=["quarantine"])

RELEASED = "QRT-RELEASED"
DECIDED = "QRT-BREAKER-DECIDED"
#: What the journals of the deliveries concerned say then.
_OF_DELIVERIES = {
    RELEASED: (
        "DLV-RELEASED",
        "Addresses that this delivery's receipts had put into quarantine were released: {moved}.",
    ),
    DECIDED: ("DLV-BREAKER-DECIDED", "What a breaker held was decided; messages of this delivery: {moved}."),
}
_ENTRIES = 1_000

Statuses = Annotated[
    list[models.Status], Query(max_length=MOST_SEVERAL, description="One or several.", examples=[["quarantined"]])
]
Text = Annotated[Plain | None, Query(max_length=120)]
After = Annotated[Time | None, Query(description="Put there from this time on.")]
Before = Annotated[Time | None, Query(description="Put there before this time.")]
Reason = Annotated[
    Plain,
    Query(min_length=1, max_length=500, description="Why: for people, kept in the journal.", examples=["She called"]),
]


def asked_filter(
    status: Statuses = [],  # noqa: B006 — FastAPI copies it
    reason: Text = None,
    origin: models.Origin | None = None,
    gateway: Text = None,
    error_code: Text = None,
    sender: Text = None,
    address: Annotated[AskedAddress | None, Query(max_length=120)] = None,
    since_after: After = None,
    since_before: Before = None,
) -> reading.Filter:
    return reading.Filter(
        statuses=tuple(sorted(set(status))),
        reasons=(reason,) if reason else (),
        origin=origin,
        gateway=gateway,
        error_code=error_code,
        sender=sender,
        address=address,
        since_after=since_after,
        since_before=since_before,
    )


# --- lists -----------------------------------------------------------------------------------------------------------


@router.get("/quarantine", summary="The quarantine", **paged(models.EntryPage))
async def list_quarantine(
    request: Request,
    principal: QuarantineReader,
    page: PageAsked,
    asked: Annotated[reading.Filter, Depends(asked_filter)],
) -> Any:
    """By address. `total` comes from the counters, unless a filter by sender, address or time makes it a count. `address`
    needs `pii:read`."""
    asks(principal, number=asked.address, words=(asked.sender, asked.error_code, *asked.reasons))
    return await listed(page, principal, _standing(request, principal, asked))


@router.get(
    "/deliveries/{id}/quarantine",
    summary="A delivery's addresses in quarantine",
    **paged(models.EntryPage),
)
async def list_of_delivery(
    request: Request,
    principal: QuarantineReader,
    page: PageAsked,
    id: DeliveryId,
    origin: Annotated[
        Literal["preparation", "receipts"],
        Query(description="`receipts`: newly put there by this delivery's receipts · `preparation`: excluded for it."),
    ] = "receipts",
) -> Any:
    """Addresses that this delivery's own receipts put into quarantine, as they stand now; or those that its preparation
    left out because they were there then (the rows of `exclusions?reason=denylisted,quarantined`)."""
    delivery_id = id
    async with snapshot(request) as connection:
        if not await reading.delivery_exists(connection, delivery_id):
            raise NotFound("There is no such delivery.")
    found = (
        _standing(request, principal, reading.Filter(delivery_id=delivery_id))
        if origin == "receipts"
        else _left_out(request, principal, delivery_id)
    )
    return await listed(page, principal, found)


def _standing(request: Request, principal: Principal, asked: reading.Filter) -> Listing[models.Entry]:
    """Rows of the quarantine that a filter finds."""

    async def find(after: Sequence[Any] | None, limit: int, counted: bool) -> Found:
        async with snapshot(request) as connection:
            behind = None if after is None else (after[0], after[1])
            rows = await reading.page(connection, asked, after=behind, limit=limit)
            return Found(rows, await reading.total(connection, asked) if counted else None)

    return Listing(
        scope=f"quarantine {asked!r}", find=find, position=lambda row: [row["address"], row["sender"]],
        show=lambda rows: principal.all_shown(map(models.shown, rows)), model=models.Entry,
    )  # fmt: skip


def _left_out(request: Request, principal: Principal, delivery_id: int) -> Listing[models.Entry]:
    """Exclusions of a delivery for opt-out or quarantine."""

    async def find(after: Sequence[Any] | None, limit: int, counted: bool) -> Found:
        async with snapshot(request) as connection:
            rows = await reading.left_out(connection, delivery_id, after=after[0] if after else 0, limit=limit)
            return Found(rows, await reading.left_out_total(connection, delivery_id) if counted else None)

    return Listing(
        scope=f"quarantine excluded from {delivery_id}", find=find, position=lambda row: [row["position"]],
        show=lambda rows: principal.all_shown(map(models.shown, rows)), model=models.Entry,
    )  # fmt: skip


# --- one address -----------------------------------------------------------------------------------------------------


@router.get("/quarantine/{address}", summary="One address, explained", response_model=models.AddressHealth)
async def read_one(
    request: Request, number: PathAddress, principal: QuarantineReader, _: NumberReader
) -> models.AddressHealth:
    """Its status for whoever sends, its rows, and every fact that they rest on with the rule that was applied. Needs
    `pii:read`, too."""
    return await explained(request, number, principal)


async def explained(request: Request, address: str, principal: Principal) -> models.AddressHealth:
    async with snapshot(request) as connection:
        return await explained_in(connection, address, principal)


async def explained_in(connection: AsyncConnection, address: str, principal: Principal) -> models.AddressHealth:
    """As a `snapshot` sees it."""
    driver = await plain(connection)
    name, events = await facts_of(driver, address)
    thresholds = await read_thresholds(driver)
    notes = await reading.notes(connection, events)
    rows = await reading.page(connection, reading.Filter(address=name), after=None, limit=_ENTRIES)
    by_scope = {row["sender"]: row["status"] for row in rows}
    return models.AddressHealth(
        **principal.shown({"address": name if name.startswith(PREFIX) else address}),
        status=by_scope.get(ANYBODY, "valid"),
        entries=[models.Entry(**principal.shown(models.shown(row))) for row in rows],
        evidence=[models.Evidence(**principal.shown(_evidence(each, notes))) for each in explain(events, thresholds)],
    )


def _evidence(each: Explained, notes: reading.Notes) -> dict[str, Any]:
    event = each.event
    of_message = event.kind in ("failed", "received")
    decision = {} if of_message else notes.decisions.get(event.id, {})
    failed = event.kind == "failed"
    return {
        "at": event.at,
        "kind": event.kind,
        "message_id": str(event.id) if of_message else None,
        "delivery_id": None if event.delivery_id is None else str(event.delivery_id),
        "gateway": notes.gateways.get(event.gateway_id or 0),
        "error": notes.errors.get(event.qualification_id or 0) if failed else None,
        "failure_type": event.failure_type if failed else None,
        "reason": None if event.kind in ("received", "allow", "release") else event.reason,
        "sender": event.sender or None,
        "verified": event.verified,
        "held": event.held,
        "origin": event.origin,
        "actor": decision.get("actor"),
        "note": decision.get("note"),
        "rule": each.rule,
        "status": each.status,
    }


@router.delete("/quarantine/{address}", summary="Release one address", response_model=models.AddressHealth)
async def release_one(
    request: Request,
    number: PathAddress,
    principal: QuarantineWriter,
    _: NumberReader,
    reason: Reason,
    sender: Annotated[
        Plain, Query(max_length=40, description="The row of this sender; none: that of whoever sends.")
    ] = ANYBODY,
    dry_run: DryRun = False,
) -> models.AddressHealth:
    """A quarantine is lifted and its errors are forgotten; of a denylisted address the opt-out is lifted, and nothing
    else. Older failures that come in later do not undo it. 404 when the address is not in quarantine. Needs `pii:read`,
    too. `dry_run` shows the rows as they would be then, with the evidence of now."""
    now = datetime.now(UTC)
    found = await explained(request, number, principal) if dry_run else None
    async with writing(request, dry_run=dry_run) as connection:
        names = await _names_of(connection, number)
        row = (await _by_sender(connection, names)).get(sender)
        if row is None:
            raise NotFound("This address is not in quarantine.")
        address, status = row["address"], row["status"]
        decision = changing.Decision(
            address=address,
            kind="allow" if status == "denylisted" else "release",
            reason="not_defined",
            origin="operator",
            actor=principal.name,
            at=now,
            sender=sender if status == "denylisted" else ANYBODY,
            note=reason,
        )
        moved = await changing.record(connection, [decision], now)
        data = {"address": mask(address), "pseudonym": pseudonyms_of(request).of(address), "was": status}
        data |= {"kind": decision.kind, "sender": sender or None}
        said, by_delivery = {"reason": reason}, moved.deliveries
        await _note(connection, RELEASED, "An address was released.", principal, now, data, said, by_delivery)
        if found is not None:
            return await _as_it_is_now(connection, names, found)
    return await explained(request, number, principal)


async def _names_of(connection: Connection, number: str) -> Sequence[str]:
    """All that its rows may stand under. Nobody else examines it until the commit."""
    names = await locked(connection, [number])
    return list({*names, *names.values()})


async def _by_sender(connection: Connection, names: Sequence[str]) -> Mapping[str, Any]:
    """The rows of one phone."""
    return {row["sender"]: row for row in await connection.fetch(QUERIES["find_standing"], names)}


async def _as_it_is_now(
    connection: Connection, names: Sequence[str], found: models.AddressHealth
) -> models.AddressHealth:
    """Its rows as this transaction sees them."""
    statuses = {sender or None: row["status"] for sender, row in (await _by_sender(connection, names)).items()}
    found.entries = [
        each.model_copy(update={"status": statuses[each.sender]}) for each in found.entries if each.sender in statuses
    ]
    found.status = next((each.status for each in found.entries if not each.sender), "valid")
    return found


@router.post("/quarantine/release", summary="Release by a filter", response_model=models.Released)
async def release_many(
    request: Request, body: models.Release, principal: QuarantineWriter, dry_run: DryRun = False
) -> models.Released:
    """With `dry_run` it only counts. Opt-outs (`denylisted`) are never part of it: they are lifted one by one. All in one
    transaction, or nothing; the answer comes when the rows are gone."""
    now = datetime.now(UTC)
    asked = body.filter.asked()
    asks(principal, words=(asked.error_code, *asked.reasons))
    dry_run = dry_run or body.dry_run
    async with writing(request) as connection:
        count, by_delivery = await changing.release_many(
            connection, asked, actor=principal.name, note=body.reason, now=now, dry_run=dry_run
        )
        if count and not dry_run:
            said = {"filter": body.filter.model_dump(mode="json", exclude_none=True), "reason": body.reason}
            text = f"{count} addresses were released."
            await _note(connection, RELEASED, text, principal, now, {"addresses": count}, said, by_delivery)
    if not dry_run:
        await changing.drain(pool_of(request), now)
    return models.Released(addresses=count, dry_run=dry_run)


async def _note(
    connection: Connection,
    code: str,
    text: str,
    principal: Principal,
    now: datetime,
    data: Mapping[str, Any],
    said: Mapping[str, Any],
    by_delivery: Mapping[int, int],
) -> None:
    """Into the platform's journal, and into those of the deliveries whose figures move by it. What somebody typed (`said`)
    stands beside the chain: it may name a person, and an entry cannot be altered."""
    by = principal.name
    await audit.append(connection, audit.PLATFORM, code, text, at=now, actor=by, data=data, personal=said)
    own_code, own_text = _OF_DELIVERIES[code]
    await audit.tell_deliveries(connection, by_delivery, own_code, own_text, at=now, actor=by, data=data, personal=said)


# --- breakers --------------------------------------------------------------------------------------------------------


@router.get("/breakers", summary="Breakers", **paged(models.BreakerPage))
async def list_breakers(
    request: Request,
    principal: QuarantineReader,
    page: PageAsked,
    state: Annotated[Literal["open", "all"], Query(description="`open`: those that wait for a decision.")] = "open",
) -> Any:
    """Errors whose failures jumped far above their usual share: what they hold waits for `apply` or `discard`."""

    async def find(after: Sequence[Any] | None, limit: int, counted: bool) -> Found:
        async with snapshot(request) as connection:
            rows = await reading.breaker_page(
                connection, open_only=state == "open", before=after[0] if after else None, limit=limit
            )
            return Found(rows, await reading.breaker_total(connection, open_only=state == "open") if counted else None)

    breakers = Listing(
        scope=f"breakers {state}", find=find, position=lambda row: [row["id"]],
        show=lambda rows: principal.all_shown(map(models.shown_breaker, rows)), model=models.Breaker,
    )  # fmt: skip
    return await listed(page, principal, breakers)


BreakerId = Annotated[int, Depends(path_id("breaker", most=2**31 - 1))]


@router.post("/breakers/{id}/apply", summary="Apply what a breaker holds", response_model=models.Decided)
async def apply(
    request: Request, id: BreakerId, body: models.Decide, principal: QuarantineWriter, dry_run: DryRun = False
) -> models.Decided:
    """The failures count as if nothing had been: the addresses go into quarantine as the rules say."""
    return await _decide(request, id, "apply", body.reason, principal, dry_run=dry_run)


@router.post("/breakers/{id}/discard", summary="Discard what a breaker holds", response_model=models.Decided)
async def discard(
    request: Request, id: BreakerId, body: models.Decide, principal: QuarantineWriter, dry_run: DryRun = False
) -> models.Decided:
    """The failures never count for the addresses; the messages stay failed."""
    return await _decide(request, id, "discard", body.reason, principal, dry_run=dry_run)


async def _decide(
    request: Request,
    id: int,
    decision: Literal["apply", "discard"],
    reason: str,
    principal: Principal,
    *,
    dry_run: bool,
) -> models.Decided:
    now = datetime.now(UTC)
    async with writing(request, dry_run=dry_run) as connection:
        found = await breaker.decide(connection, id, decision, actor=principal.name, note=reason, now=now)
        if found is not None:
            data = {
                "breaker_id": str(id),
                "decision": decision,
                "addresses": found["addresses"],
                "messages": found["messages"],
            }
            text = f"What a breaker held was {'applied' if decision == 'apply' else 'discarded'}."
            said = {"reason": reason}
            await _note(connection, DECIDED, text, principal, now, data, said, found["by_delivery"])
    async with snapshot(request) as reader:
        shown = await reading.breaker(reader, id)
    if shown is None:
        raise NotFound("There is no such breaker.")
    if found is None:
        raise Conflict(f"This breaker was closed before: {shown['decision']}.")
    if not dry_run:
        await changing.drain(pool_of(request), now)
    told = models.Breaker(**principal.shown(models.shown_breaker(shown)))
    return models.Decided(addresses=found["addresses"], messages=found["messages"], breaker=told)
