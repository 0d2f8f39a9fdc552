"""Short URLs while the service or PostgreSQL dies: a redirect that waited for its click is a promise."""

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import asyncpg
import httpx

from app.links import signing as token_keys
from app.links.machines import TOO_SOON_SECONDS
from app.links.tokens import encode

from .harness import (
    Ledger,
    Service,
    fetch,
    postgres,
    say,
    service,
    set_up,
    until,
)

OFFER = "https://shop.example/offer"
PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"
KILLS = 10
#: Visits from one network, all of which are to have rows of their own.
MANY = {"ACUSE_CLICK_BURST_NETWORK": "1000000", "ACUSE_CLICK_BURST_TOKEN": "1000000"}
#: With so much patience every redirect has waited until its click was durable, unless it took as long as this.
WAIT_MS = 4_000


class Visits:
    """People who open links as long as the block lasts. Each visit has a mark of its own in its user agent."""

    def __init__(self, acuse: Service, tokens: Sequence[str], *, connections: int = 16) -> None:
        self._acuse = acuse
        self._tokens = tokens
        self._connections = connections
        self._numbers = itertools.count(1)
        self._tasks: list[asyncio.Task[None]] = []
        self._over = False
        self.answers: Counter[str] = Counter()
        #: Marks of those that were redirected.
        self.redirected: set[str] = set()
        self.slowest_seconds = 0.0

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._visit_for_ever(seed)) for seed in range(self._connections)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over = True
        await asyncio.gather(*self._tasks)

    async def go_on(self, visits: int = 1) -> None:
        """Returns when so many more have been redirected."""
        wanted = len(self.redirected) + visits

        async def reached() -> bool:
            return len(self.redirected) >= wanted

        await until(reached, f"{visits} more redirects; so far {dict(self.answers)}")

    async def _visit_for_ever(self, seed: int) -> None:
        draw = random.Random(seed)
        async with httpx.AsyncClient(trust_env=False, timeout=15) as client:
            while not self._over:
                await self._visit(client, draw.choice(self._tokens))
                await asyncio.sleep(draw.uniform(0.002, 0.01))

    async def _visit(self, client: httpx.AsyncClient, token: str) -> None:
        mark = f"v{next(self._numbers)}"
        headers = {
            "User-Agent": f"{PHONE} {mark}",
            "Accept": "text/html", "Accept-Language": "es",
        }  # fmt: skip
        began = time.monotonic()
        try:
            answer = await client.get(f"http://127.0.0.1:{self._acuse.port}/r/{token}", headers=headers)
        except httpx.TransportError:
            self.answers["none"] += 1
            await asyncio.sleep(0.1)
            return
        self.answers[str(answer.status_code)] += 1
        self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - began)
        if answer.status_code == 302:
            assert answer.headers["location"] == OFFER
            self.redirected.add(mark)


async def tracked(acuse: Service, dsn: str) -> tuple[Ledger, list[str]]:
    """A delivery with a link, and the tokens of its messages, once the service knows where they lead."""
    ledger = await set_up(acuse, messages=100)
    delivery = int(ledger.delivery_id)
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(
            "INSERT INTO links (delivery_id, number, label, source_url, template, tracked, params, in_content) "
            "VALUES ($1, 0, 'Offer', $2, false, true, '{}', false)", delivery, OFFER,
        )  # fmt: skip
        await connection.execute(
            "INSERT INTO link_blocks SELECT min(id), max(id), delivery_id FROM messages WHERE delivery_id = $1 GROUP BY 3 "
            "ON CONFLICT DO NOTHING", delivery,
        )  # fmt: skip
        await connection.execute("UPDATE deliveries SET updated_at = now() WHERE id = $1", delivery)
        keys = await token_keys.load(connection)
        ids = [row["id"] for row in await connection.fetch("SELECT id FROM messages WHERE delivery_id = $1", delivery)]
    finally:
        await connection.close()
    assert keys is not None
    tokens = [encode(keys, id, 0) for id in ids]

    async def known() -> bool:
        return (await acuse.api.head(f"/r/{tokens[0]}")).status_code == 302

    await until(known, "the service knows the link")
    await asyncio.sleep(TOO_SOON_SECONDS)  # so soon after the sending no person clicks
    return ledger, tokens


async def settled(acuse: Service, dsn: str) -> Counter[str]:
    """Waits until no click waits; how often each mark is among the facts."""

    async def empty() -> bool:
        (row,) = await fetch(dsn, "SELECT count(*) AS n FROM click_inbox")
        return bool(row["n"] == 0 and (await acuse.get("/readyz"))["spooled"] == 0)

    await until(empty, "every click is applied")
    rows = await fetch(
        dsn,
        "SELECT substring(v.agent FROM 'v[0-9]+$') AS mark FROM clicks c JOIN visitors v ON v.id = c.visitor "
        "WHERE v.visit ->> 'method' = 'GET'",
    )
    return Counter(row["mark"] for row in rows)


async def counted_once(acuse: Service, ledger: Ledger, marks: Counter[str]) -> None:
    """The summary counts each once, and a recompute finds nothing to mend."""
    found = await acuse.get(f"/v1/deliveries/{ledger.delivery_id}/summary")
    assert found["clicks"] == len(marks) == marks.total()
    assert (await acuse.post(f"/v1/deliveries/{ledger.delivery_id}/recompute"))["drift"] == 0


async def test_no_click_whose_redirect_waited_is_lost_by_sigkill() -> None:
    seed = random.randrange(2**32)
    say(f"seed {seed}")
    moments = random.Random(seed)
    settings = {"ACUSE_CLICK_WAIT_MS": str(WAIT_MS), "ACUSE_COMMIT_TIMEOUT_SECONDS": "30", **MANY}
    with postgres() as database:
        async with service(database.url, **settings) as acuse:
            ledger, tokens = await tracked(acuse, database.dsn)
            async with Visits(acuse, tokens) as visits:
                for _ in range(KILLS):
                    await visits.go_on()
                    await asyncio.sleep(moments.uniform(0.0, 0.7))  # the random moment
                    await asyncio.to_thread(acuse.kill)
                    acuse.start()
                await visits.go_on(200)
            await acuse.ready()
            assert visits.slowest_seconds < WAIT_MS / 1_000, "an answer may have gone out without its click"
            marks = await settled(acuse, database.dsn)
            assert visits.redirected - marks.keys() == set()
            assert set(visits.answers) <= {"302", "503", "none"}, visits.answers  # 503: links not known yet
            await counted_once(acuse, ledger, marks)
            say(
                f"{KILLS} kills: {len(visits.redirected)} redirected, {marks.total()} clicks; answers {dict(visits.answers)}"
            )


async def test_links_lead_on_while_postgresql_is_away_and_every_click_of_that_time_counts_once() -> None:
    with postgres() as database:
        async with service(database.url, **MANY) as acuse:
            ledger, tokens = await tracked(acuse, database.dsn)
            async with Visits(acuse, tokens) as visits:
                for _ in range(3):
                    await visits.go_on(200)
                    await asyncio.to_thread(database.kill)
                    await visits.go_on(500)
                    await asyncio.to_thread(database.back)
                await visits.go_on(200)
            assert visits.answers.keys() == {"302"}, visits.answers
            assert visits.slowest_seconds < 1.5, "a redirect waited as long as a commit may take"
            marks = await settled(acuse, database.dsn)
            assert marks.keys() == visits.redirected
            await counted_once(acuse, ledger, marks)
            say(f"slowest redirect {visits.slowest_seconds * 1e3:.0f} ms; {marks.total()} clicks")
