"""Deliveries with an audience, for tests: created, uploaded to and prepared as an operator does it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import httpx
import orjson
from fastapi import FastAPI

from app.db import Connection
from app.deliveries.preparation import QUERIES

CONTENT = "Our shop is open again. STOP to 25252"


def mobile(number: int) -> str:
    return f"+346{number:08d}"


class Delivery:
    """One delivery, and the calls of whoever prepares it."""

    def __init__(self, app: FastAPI, client: httpx.AsyncClient, headers: Mapping[str, str], id: int) -> None:
        self.app = app
        self.client = client
        self.headers = dict(headers)
        self.id = id
        self.url = f"/v1/deliveries/{id}"

    @classmethod
    async def make(
        cls, app: FastAPI, client: httpx.AsyncClient, headers: Mapping[str, str], **fields: Any
    ) -> "Delivery":
        body = {"label": "Audience", "sender": "Acme", "default_region": "ES", "content": CONTENT} | fields
        answer = await client.post("/v1/deliveries", json=body, headers=dict(headers))
        assert answer.status_code == 201, answer.text
        return cls(app, client, headers, int(answer.json()["id"]))

    async def upload(self, rows: Sequence[Any], *, mode: str = "append") -> httpx.Response:
        """As NDJSON; a text is a target with only this address."""
        lines = [orjson.dumps({"address": row} if isinstance(row, str) else row) for row in rows]
        return await self.post(f"targets?mode={mode}", b"\n".join(lines), "application/x-ndjson")

    async def post(self, path: str, body: bytes = b"", content_type: str = "application/json") -> httpx.Response:
        headers = self.headers | {"Content-Type": content_type}
        return await self.client.post(f"{self.url}/{path}", content=body, headers=headers)

    async def get(self, path: str = "", **params: Any) -> Any:
        answer = await self.client.get(f"{self.url}/{path}".rstrip("/"), params=params, headers=self.headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def prepare(self) -> dict[str, Any]:
        answer = await self.post("prepare?wait=60")
        assert answer.status_code == 202, answer.text
        found: dict[str, Any] = answer.json()
        assert found["status"] == "prepared", found
        return found

    async def prepared(self, rows: Sequence[Any]) -> dict[int, str | None]:
        """Uploads `rows`, prepares, and says what each target became."""
        answer = await self.upload(rows)
        assert answer.status_code == 200, answer.text
        await self.prepare()
        await self.books_balance()
        return await self.outcomes()

    async def outcomes(self) -> dict[int, str | None]:
        """By target: the reason of its exclusion, None for a message. Each target has exactly one outcome."""
        async with self.app.state.pool.acquire() as connection:
            rows = await connection.fetch(
                "SELECT position, NULL AS reason FROM messages WHERE delivery_id = $1 AND NOT proof UNION ALL "
                "SELECT position, reason FROM exclusions WHERE delivery_id = $1 ORDER BY position",
                self.id,
            )
        found = {row["position"]: row["reason"] for row in rows}
        assert len(found) == len(rows), "a target with two outcomes"
        assert list(found) == list(range(1, (await self.get())["targets"] + 1)), "a target without an outcome"
        return found

    async def books_balance(self) -> None:
        outcomes = Counter((await self.outcomes()).values())
        summary = await self.get("summary")
        assert summary["to_send"] == summary["by_status"]["pending"] == outcomes.pop(None, 0)
        assert summary["excluded_by_reason"] == dict(outcomes)
        assert summary["targeted"] == summary["to_send"] + summary["excluded"] == (await self.get())["targets"]
        causes = await self.get("exclusions/causes")
        assert {cause["reason"]: cause["count"] for cause in causes} == dict(outcomes)
        recomputed = (await self.post("recompute")).json()
        assert (recomputed["drift"], recomputed["states_changed"]) == (0, 0)

    async def journal(self, code: str) -> list[dict[str, Any]]:
        """Its entries of this code, the oldest first."""
        items = (await self.get("audit", limit=1000))["items"]
        return [entry for entry in reversed(items) if entry["code"] == code]

    async def set_status(self, status: str) -> None:
        async with self.app.state.pool.acquire() as connection:
            await connection.execute("UPDATE deliveries SET status = $2 WHERE id = $1", self.id, status)

    async def begin(self, now: datetime) -> None:
        """Asks for the preparation as of `now`, without anybody being told."""
        async with self.app.state.pool.acquire() as connection, connection.transaction():
            await connection.execute(QUERIES["begin_preparation"], self.id, now, "tests")
            await connection.execute("UPDATE deliveries SET status = 'preparing' WHERE id = $1", self.id)


async def put_away(connection: Connection, address: str, status: str, *, sender: str = "") -> None:
    await connection.execute(
        "INSERT INTO quarantine (address, sender, status, reason, origin, errors, since, updated_at) "
        "VALUES ($1, $2, $3, 'user_unknown', 'receipts', 0, $4, $4)",
        address, sender, status, datetime.now(UTC),
    )  # fmt: skip
