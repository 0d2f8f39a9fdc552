"""Deliveries with messages and links, written as facts, and what visitors send."""

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import orjson
import pytest
from fastapi import FastAPI

from app.db import Connection, Pool
from app.links.tokens import encode
from app.messages.store import refold

PHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 "
    "Mobile/15E148 Safari/604.1"
)
#: What a browser sends when a person opens a link.
PERSON = {
    "User-Agent": PHONE,
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language": "es-ES,es;q=0.9",
}
PREVIEW = {"User-Agent": "WhatsApp/2.23.20.0 A", "Accept": "*/*"}
_ADDRESSES = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Made:
    """A delivery in the database: its id, and its messages' ids in order."""

    delivery: int
    messages: Sequence[int]
    app: FastAPI

    def token(self, message: int, link: int = 0) -> str:
        """Of the message at place `message`."""
        return encode(self.app.state.routes.keys, self.messages[message], link)

    def path(self, message: int, link: int = 0) -> str:
        return f"/r/{self.token(message, link)}"


class Maker:
    def __init__(self, app: FastAPI, pool: Pool) -> None:
        self._app = app
        self._pool = pool

    async def __call__(
        self,
        *urls: Any,
        messages: int = 1,
        proof: bool = False,
        status: str = "in_progress",
        started_at: datetime | None = None,
        params: Sequence[dict[str, Any]] | None = None,
        block: bool = True,
        submitted: bool = True,
    ) -> Made:
        """A delivery whose links are `urls` (text, or a dict of columns). `params`: of each message's target."""
        async with self._pool.acquire() as connection, connection.transaction():
            made = await self._made(connection, messages, status, started_at, proof=proof, targets=params)
            for number, url in enumerate(urls):
                await _link(connection, made.delivery, number, url)
            if block:
                await connection.execute(
                    "INSERT INTO link_blocks (first_id, last_id, delivery_id) VALUES ($1, $2, $3)",
                    made.messages[0], made.messages[-1], made.delivery,
                )  # fmt: skip
            if submitted:
                await submit(connection, made.messages)
            await refold(connection, made.messages, datetime.now(UTC))
        await self._app.state.routes.refresh()
        return made

    async def _made(
        self,
        connection: Connection,
        count: int,
        status: str,
        started_at: datetime | None,
        *,
        proof: bool,
        targets: Sequence[dict[str, Any]] | None,
    ) -> Made:
        now = datetime.now(UTC)
        delivery = await connection.fetchval(
            "INSERT INTO deliveries (label, sender, validity_seconds, tracking, metadata, status, created_at, updated_at, "
            "started_at) VALUES ('Links', 'Acme', 3600, true, '{}', $1::text::delivery_status, $2, $2, $3) RETURNING id",
            status, now, started_at or now - timedelta(hours=1),
        )  # fmt: skip
        first = await connection.fetchval("SELECT reserve_message_ids($1)", count)
        ids = list(range(first, first + count))
        await connection.executemany(
            "INSERT INTO messages (id, delivery_id, address, proof, position, created_at) VALUES ($1, $2, $3, $4, $5, $6)",
            [
                (
                    id,
                    delivery,
                    f"+346{next(_ADDRESSES):08d}",
                    proof,
                    place if targets else None,
                    now - timedelta(hours=1),
                )
                for place, id in enumerate(ids, 1)
            ],
        )
        for place, each in enumerate(targets or (), 1):
            await connection.execute(
                "INSERT INTO targets (delivery_id, position, given, params, control) VALUES ($1, $2, 'x', $3, false)",
                delivery, place, each,
            )  # fmt: skip
        return Made(delivery, ids, self._app)


async def submit(connection: Connection, messages: Sequence[int], at: datetime | None = None) -> None:
    """They were handed over, half an hour ago unless said otherwise, and no receipt came."""
    at = at or datetime.now(UTC) - timedelta(minutes=30)
    gateway = await gateway_id(connection)
    await connection.executemany(
        "INSERT INTO submissions (message_id, gateway_id, submitted_at, recorded_at, provider_message_ids) "
        "VALUES ($1, $2, $3, now(), '{x}')",
        [(id, gateway, at) for id in messages],
    )


async def gateway_id(connection: Connection) -> int:
    found: int = await connection.fetchval(
        "INSERT INTO gateways (key, kind, label, implementation, options, auth, created_at, updated_at) "
        "VALUES ('links', 'generic', 'Links', 'Links', '{}', '{\"mode\": \"none\"}', now(), now()) "
        "ON CONFLICT (key) WHERE deleted_at IS NULL DO UPDATE SET label = excluded.label RETURNING id"
    )
    return found


async def _link(connection: Connection, delivery: int, number: int, url: Any) -> None:
    values = {"source_url": url} if isinstance(url, str) else dict(url)
    await connection.execute(
        "INSERT INTO links (delivery_id, number, label, source_url, template, tracked, params, in_content) "
        "VALUES ($1, $2, $3, $4, $5, true, $6, true)",
        delivery, number, values.get("label", f"Link {number}"), values["source_url"], "{{" in values["source_url"],
        values.get("params", {}),
    )  # fmt: skip


@pytest.fixture(scope="module")
def make(app: FastAPI, pool: Pool) -> Maker:
    return Maker(app, pool)


@pytest.fixture(autouse=True)
def _nobody_was_slowed(request: pytest.FixtureRequest) -> None:
    """Tests come from one network: what one of them tried in vain is not held against the next."""
    if "app" in request.fixturenames:
        request.getfixturevalue("app").state.limiter._counts.clear()


async def applied(pool: Pool) -> None:
    """Returns when no click waits."""
    for _ in range(400):
        if not await pool.fetchval("SELECT count(*) FROM click_inbox"):
            return
        await asyncio.sleep(0.05)
    raise AssertionError("clicks still wait")


async def summary(client: httpx.AsyncClient, delivery: int, headers: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(
        (await client.get(f"/v1/deliveries/{delivery}/summary", headers=headers)).content
    )
    return found
