"""The preparation of one delivery: each target becomes a message or an exclusion, exactly one of the two.

It goes on in chunks. Each is one transaction that holds the delivery, makes what it makes, books it, and says how far
it came; so whatever happens between two transactions, the next one to take it up goes on there. While PostgreSQL works
at one chunk the next is read and screened here.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Any, Literal
from urllib.parse import urlsplit

import asyncpg

from app import audit
from app.db import Connection, Pool, load_queries
from app.deliveries import codes
from app.deliveries.exclusions import CAUSES
from app.deliveries.rules import Rules
from app.deliveries.screening import Screen, Screened
from app.deliveries.spelt import Limit, settle
from app.deliveries.tally import Tally
from app.deliveries.texts import Text, link_texts, short_url_length
from app.links.shortening import Links, Shortener
from app.privacy import pseudonyms
from app.texts.content import Finding, cropped, examine
from app.texts.hosts import private_reach

QUERIES = load_queries(__file__)
#: Targets of one transaction: large enough that its commit costs little, small enough to hold nobody up.
CHUNK = 2_500
#: Targets screened without a break: callbacks wait as long.
SLICE = 500
_DISCARD_CHUNK = 10_000
#: What takes back all that a preparation made, in this order.
DISCARDED = ("discard_messages", "discard_exclusions")
#: Plans are made once and kept, always by index. A foreign key's check is a query, too: planned anew for each row it
#: costs more than the row.
POOL_SETTINGS = {
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_mergejoin": "off",
    "work_mem": "32MB",
    "random_page_cost": "1.1",
    "synchronous_commit": "on",
}
_STEPS = {
    "discarding": "Took back what an earlier preparation had made",
    "numbers": "Read the addresses",
    "rules": "Applied the delivery's rules to the numbers",
    "texts": "Made the texts and counted their parts",
    "outcomes": "Left out doubles and whoever must not be sent to, and wrote messages and exclusions",
    "content": "Examined the content",
}


class Stopped(Exception):
    """The delivery is not being prepared any more: somebody cancelled it."""


@dataclass(slots=True, kw_only=True)
class Work:
    """A preparation under way. `done` and `tally` are what was committed last."""

    delivery_id: int
    actor: str
    started_at: datetime
    step: str
    #: The last target's position, and up to which one they have their outcome.
    total: int
    done: int
    first_message_id: int
    tally: Tally
    gateway_id: int | None
    sender: str
    content: str | None
    tracking: bool
    rules: Rules
    #: How many links are tracked, and whether they become short URLs.
    links: int
    shortener: Shortener | None
    private_links: bool
    screen: Screen = field(repr=False)


async def prepare(pool: Pool, delivery_id: int, links: Links | None = None) -> bool:
    """Prepares the delivery from wherever it stands, to the end. False when somebody else is at it. Without `links` those
    of the content stay as they are.

    Raises `Stopped`, and whatever the database raises; it can be taken up again afterwards."""
    async with pool.acquire() as connection:
        if not await connection.fetchval(QUERIES["lock_preparation"], delivery_id):
            return False
        try:
            await connection.execute("DISCARD PLANS")  # they may be of a time when the quarantine was empty
            await _go_on(pool, connection, delivery_id, links)
        except BaseException:
            connection.terminate()  # and what it held is free, in whatever state this left it
            raise
        await connection.execute(QUERIES["unlock_preparation"], delivery_id)
    return True


async def _go_on(pool: Pool, connection: Connection, delivery_id: int, links: Links | None) -> None:
    work = await load(connection, delivery_id, links)
    if work.step == "discarding":
        await discard(connection, work, links)
        work = await load(connection, delivery_id, links)
    await turn(pool, connection, work)
    await finish(connection, work, links)


async def load(connection: Connection, delivery_id: int, links: Links | None = None) -> Work:
    row = await connection.fetchrow(QUERIES["find_preparation"], delivery_id)
    if row is None:
        raise Stopped
    rules = Rules.model_validate(row["rules"])
    names = (
        "delivery_id",
        "actor",
        "started_at",
        "step",
        "total",
        "done",
        "gateway_id",
        "sender",
        "content",
        "tracking",
    )
    shortener = await links.shortener(connection, delivery_id, row["sender"]) if links else None
    screen = Screen(
        delivery_id=delivery_id,
        region=row["default_region"],
        rules=rules,
        text=Text.of(row["content"] or "", shortener),
        first_message_id=row["first_message_id"] or 0,
        pseudonyms=await pseudonyms.load(connection),
        any_erased=await pseudonyms.any_erased(connection),
    )
    return Work(
        **{name: row[name] for name in names},
        first_message_id=row["first_message_id"] or 0,
        tally=Tally.load(row["figures"]),
        rules=rules,
        links=len(await links.tracked(connection, delivery_id)) if links else 0,
        shortener=shortener,
        private_links=links is not None and links.private_links,
        screen=screen,
    )


async def _hold(connection: Connection, work: Work) -> None:
    """Ours until the commit. Raises `Stopped`."""
    if not await connection.fetchval(QUERIES["lock_preparing"], work.delivery_id, work.step, work.done):
        raise Stopped


# --- what an earlier preparation made --------------------------------------------------------------------------------


async def discard(connection: Connection, work: Work, links: Links | None = None) -> None:
    """Takes back all of an earlier result, and reserves the message ids of the new one, whose links are known from here."""
    began, count = perf_counter(), 0
    for name in DISCARDED:
        last = 0
        while gone := await _discard_chunk(connection, work, name, last):
            count += gone["rows"]
            last = gone["last"]
    work.tally.add_step("discarding", count, perf_counter() - began)
    async with connection.transaction():
        await _hold(connection, work)
        first_id = await connection.fetchval(QUERIES["begin_targets"], work.delivery_id, work.tally.dump())
        if links is not None:
            await links.register(connection, work.delivery_id, link_texts(work.content), tracked=work.tracking)
            if await links.tracked(connection, work.delivery_id):
                await links.add_block(connection, work.delivery_id, first_id, first_id + work.total - 1)


async def _discard_chunk(connection: Connection, work: Work, name: str, last: int) -> asyncpg.Record | None:
    async with connection.transaction():
        await _hold(connection, work)
        return await discard_chunk(connection, work.delivery_id, name, last)


async def discard_chunk(connection: Connection, delivery_id: int, name: str, last: int) -> asyncpg.Record | None:
    """Takes back some more of `name` (one of `DISCARDED`), those behind `last`: how many, and the last one. None: there are none
    left. The caller holds the delivery, and commits."""
    gone = await connection.fetchrow(QUERIES[name], delivery_id, last, _DISCARD_CHUNK)
    return gone if gone and gone["rows"] else None


# --- targets become messages or exclusions ---------------------------------------------------------------------------


async def turn(pool: Pool, connection: Connection, work: Work) -> None:
    """All targets that have no outcome yet."""
    ahead = asyncio.ensure_future(_screened(pool, work, work.done))
    try:
        while work.done < work.total:
            screened = await ahead
            ahead = asyncio.ensure_future(_screened(pool, work, screened.positions[-1]))
            await _record(connection, work, screened)
    finally:
        ahead.cancel()
        await asyncio.gather(ahead, return_exceptions=True)


async def _screened(pool: Pool, work: Work, after: int) -> Screened:
    """The next chunk; empty behind the last target."""
    screened = Screened()
    if after >= work.total:
        return screened
    async with pool.acquire() as connection:
        rows: list[Any] = await connection.fetch(QUERIES["list_targets"], work.delivery_id, after, CHUNK)
    for start in range(0, len(rows), SLICE):
        work.screen.screen(rows[start : start + SLICE], screened)
        await asyncio.sleep(0)
    return screened


async def _record(connection: Connection, work: Work, screened: Screened) -> None:
    now, upto = datetime.now(UTC), screened.positions[-1]
    async with connection.transaction():
        await _hold(connection, work)
        began = perf_counter()
        if screened.spelt:
            await settle(connection, work.delivery_id, work.sender, _limit(work), work.screen.pseudonyms, screened)
        rows = await connection.fetch(QUERIES["decide_outcomes"], *_outcome_values(work, screened, now))
        tally = work.tally.merged(screened.tally)
        for row in rows:
            tally.note_outcomes(row["reason"], row["targets"], row["parts"], row["missing"], row["first_ones"])
        tally.add_step("outcomes", len(screened.positions), perf_counter() - began)
        await connection.execute(QUERIES["note_progress"], work.delivery_id, upto, tally.dump())
    work.done, work.tally = upto, tally


def _limit(work: Work) -> Limit:
    days = work.rules.max_messages_days
    return Limit(messages=work.rules.max_messages, days=days, since=work.started_at - timedelta(days=days))


def _outcome_values(work: Work, screened: Screened, now: datetime) -> tuple[Any, ...]:
    limit = _limit(work)
    return (
        work.delivery_id, now, work.first_message_id, work.gateway_id, work.sender, limit.messages, limit.days,
        limit.since, screened.positions, screened.addresses, screened.recipients,
        screened.others, screened.early, screened.late, screened.details, screened.parts, screened.missing,
    )  # fmt: skip


# --- the end ---------------------------------------------------------------------------------------------------------


async def finish(connection: Connection, work: Work, links: Links | None = None) -> None:
    """The delivery is prepared; what was found and done stands in its journal."""
    now = datetime.now(UTC)
    with work.tally.step("content", 1):
        findings = [
            *_findings(work),
            *(await _link_findings(connection, work, links) if links and work.tracking else ()),
        ]
    tally = work.tally
    figures = {name: value for name, value in tally.dump().items() if name not in ("longest", "foreign")}
    async with connection.transaction():
        await _hold(connection, work)
        for entry in _entries(tally, findings):
            await audit.append(connection, work.delivery_id, at=now, actor="system", **entry)
        await audit.append(
            connection, work.delivery_id, codes.PREPARED, _summary(work, findings), at=now, actor=work.actor,
            data={"targets": tally.targets, "messages": tally.messages, "excluded": sum(tally.excluded.values()),
                  "parts": tally.parts, "seconds": round((now - work.started_at).total_seconds(), 3)},
        )  # fmt: skip
        shown = [_as_json(finding) for finding in findings]
        await connection.execute(QUERIES["finish_preparation"], work.delivery_id, now, shown, figures)


async def _link_findings(connection: Connection, work: Work, links: Links) -> list[Finding]:
    """Links that lead nowhere, or do not become what they should."""
    async with connection.transaction():
        await _hold(connection, work)
        content = link_texts(work.content)
        not_taken = await links.register(connection, work.delivery_id, content, tracked=work.tracking)
        unfit = await links.unfit(connection, work.delivery_id, work.tally.longest)
    found = [
        Finding(
            level="error", code=each.code, text=f"The link {cropped(each.url)}: {each.text}", data={"url": each.url}
        )
        for each in not_taken
    ]
    found += [
        Finding(
            level="warning",
            code=each.code,
            text=f"The link {cropped(each.url)} with the longest values of the audience: {each.text}",
            data={"url": each.url},
        )
        for each in unfit
    ]
    return [*found, *_base_findings(work)]


def _base_findings(work: Work) -> Iterator[Finding]:
    """What short URLs begin with, where there are links to track."""
    if work.links and work.shortener is None:
        text = (
            "The links stay as they are, and clicks are not counted: short URLs need a host, which neither "
            "ACUSE_SHORT_HOSTS nor ACUSE_PUBLIC_URL names."
        )
        yield Finding(level="warning", code="links_not_short", text=text, data={"links": work.links})
    elif work.shortener is not None and (reach := private_reach(urlsplit(work.shortener.base).hostname or "")):
        text = (
            f"The short URLs begin with {work.shortener.base}, which leads to {reach}: the phones of an audience cannot open "
            "them. Set ACUSE_PUBLIC_URL or ACUSE_SHORT_HOSTS, or turn the delivery's `tracking` off."
        )
        level: Literal["warning", "error"] = "warning" if work.private_links else "error"
        yield Finding(level=level, code="short_urls_private", text=text, data={"base": work.shortener.base})


def _findings(work: Work) -> Iterator[Finding]:
    tally, text = work.tally, work.screen.text
    last_id = work.first_message_id + max(work.total - 1, 0)
    short_urls = text.short_urls(last_id)
    yield from examine(
        work.content,
        tracking=work.tracking,
        longest=tally.longest_params(lambda values: text.filled(values, short_urls)),
        short_url_length=short_url_length(work.shortener, last_id),
        kept=[url for url in link_texts(work.content) if not work.shortener or url not in work.shortener.numbers],
        private_links=work.private_links,
    )
    for name, count in tally.defaulted.items():
        targets = "1 target" if count == 1 else f"{count} targets"
        yield Finding(
            level="info",
            code="placeholder_default",
            text=f"{{{{{name}}}}} has no value in {targets}: the default stands there.",
            data={"placeholder": name, "count": count},
        )
    for name, count in tally.missing.items():
        at = tally.missing_at[name]
        targets = f"target {at[0]}" if count == 1 else f"{count} targets, the first {', '.join(map(str, at))}"
        yield Finding(
            level="error",
            code="placeholder_missing",
            text=f"{{{{{name}}}}} has no value in {targets}.",
            data={"placeholder": name, "count": count, "positions": at},
        )


def _entries(tally: Tally, findings: list[Finding]) -> Iterator[dict[str, Any]]:
    for name, said in _STEPS.items():
        if (step := tally.steps.get(name)) and step.count:
            text = f"{said}: {step.count} in {step.seconds:.1f} s."
            data = {"step": name, "count": step.count, "seconds": round(step.seconds, 3)}
            yield {"code": codes.PREPARATION_STEP, "text": text, "data": data}
    if tally.excluded:
        causes = {reason: tally.excluded[reason] for reason in CAUSES if reason in tally.excluded}
        said = ", ".join(f"{reason} {count}" for reason, count in causes.items())
        yield {"code": codes.EXCLUSIONS, "text": f"Excluded: {said}.", "data": {"causes": causes}}
    for finding in findings:
        # Its sentence quotes the text, which may name somebody: it stands beside the chain.
        yield {
            "code": codes.FINDING, "text": f"About the text: {finding.code}.", "level": finding.level,
            "data": {"finding": finding.code}, "personal": {"sentence": finding.text} | dict(finding.data),
        }  # fmt: skip


def _summary(work: Work, findings: list[Finding]) -> str:
    errors = sum(finding.level == "error" for finding in findings)
    said = f"Prepared: {work.tally.messages} to send, {sum(work.tally.excluded.values())} excluded."
    return said + (f" Errors that forbid the start: {errors}." if errors else "")


def _as_json(finding: Finding) -> dict[str, Any]:
    return {"level": finding.level, "code": finding.code, "text": finding.text, "data": dict(finding.data)}
