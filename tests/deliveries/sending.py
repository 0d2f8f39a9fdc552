"""Deliveries that are sent from here, for tests: prepared as preparation leaves them, without running it."""

import itertools
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import httpx
import orjson
from fastapi import FastAPI

from app.projections.fold import fold

TOKEN = "token-of-the-gateway"
CONTENT = "Hello {{name}}, STOP to 25252"
_serial = itertools.count(1)


class Sending:
    """A gateway and a delivery of its own, and the calls of whoever sends its messages."""

    def __init__(self, app: FastAPI, client: httpx.AsyncClient, headers: Mapping[str, str], key: str, id: int) -> None:
        self.app = app
        self.client = client
        self.headers = dict(headers)
        self.key = key
        self.id = id
        self.url = f"/v1/deliveries/{id}"

    @classmethod
    async def make(
        cls, app: FastAPI, client: httpx.AsyncClient, headers: Mapping[str, str], **fields: Any
    ) -> "Sending":
        key = await make_gateway(client, headers)
        body = {"label": key, "sender": "Acme", "gateway": key, "default_region": "ES", "content": CONTENT} | fields
        answer = await client.post("/v1/deliveries", json=body, headers=dict(headers))
        assert answer.status_code == 201, answer.text
        return cls(app, client, headers, key, int(answer.json()["id"]))

    async def prepare(self, params: Sequence[Mapping[str, Any] | None], findings: Sequence[Any] = ()) -> list[int]:
        """One target and message for each of `params`; returns the messages' ids."""
        now = datetime.now(UTC)
        async with self.app.state.pool.acquire() as connection, connection.transaction():
            first = await connection.fetchval("SELECT reserve_message_ids($1)", len(params))
            ids = list(range(first, first + len(params)))
            numbered = list(zip(ids, itertools.count(1), params, strict=False))
            await connection.copy_records_to_table(
                "targets",
                records=[(self.id, place, address(place), each, False) for _, place, each in numbered],
                columns=("delivery_id", "position", "given", "params", "control"),
            )
            await connection.copy_records_to_table(
                "messages",
                records=[(id, self.id, address(place), place, now) for id, place, _ in numbered],
                columns=("id", "delivery_id", "address", "position", "created_at"),
            )
            for start in range(0, len(ids), 5_000):
                await fold(connection, ids[start : start + 5_000], now)
            await connection.execute(
                "INSERT INTO preparations (delivery_id, actor, started_at, finished_at, step, total, done, findings, figures) "
                "VALUES ($1, 'tests', $2, $2, 'done', $3, $3, $4, '{}') "
                "ON CONFLICT (delivery_id) DO UPDATE SET findings = excluded.findings",
                self.id, now, len(params), list(findings),
            )  # fmt: skip
            await connection.execute(
                "UPDATE deliveries SET status = 'prepared', targets = $2 WHERE id = $1", self.id, len(params)
            )
        return ids

    async def started(self, count: int) -> list[int]:
        """The ids of `count` messages of a delivery that is in progress."""
        ids = await self.prepare([{"name": f"N{number}"} for number in range(count)])
        answer = await self.post("start")
        assert answer.status_code == 200, answer.text
        return ids

    async def set_status(self, status: str) -> None:
        async with self.app.state.pool.acquire() as connection:
            await connection.execute("UPDATE deliveries SET status = $2 WHERE id = $1", self.id, status)

    async def execute(self, query: str, *values: Any) -> None:
        async with self.app.state.pool.acquire() as connection:
            await connection.execute(query, *values)

    async def post(self, what: str, body: Any = None, **headers: str) -> httpx.Response:
        return await self.client.post(f"{self.url}/{what}", json=body, headers=self.headers | headers)

    async def get(self, what: str = "", **params: Any) -> Any:
        answer = await self.client.get(f"{self.url}/{what}".rstrip("/"), params=params, headers=self.headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def status(self) -> str:
        return str((await self.get())["status"])

    async def outbox(self, **params: Any) -> list[dict[str, Any]]:
        answer = await self.client.get(f"{self.url}/outbox", params=params, headers=self.headers)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/x-ndjson"
        return [orjson.loads(line) for line in answer.content.splitlines()]

    async def submit(self, *rows: Mapping[str, Any]) -> Any:
        return (await self.post("submissions", list(rows))).json()

    async def callback(self, body: Any, gateway: str | None = None) -> None:
        url = f"/callbacks/{gateway or self.key}"
        answer = await self.client.post(url, json=body, headers={"X-Acuse-Token": TOKEN})
        assert answer.status_code == 200, answer.text

    async def statuses(self) -> list[str]:
        return [item["status"] for item in (await self.get("messages"))["items"]]

    async def message(self, id: int | str) -> Any:
        return (await self.client.get(f"/v1/messages/{id}", headers=self.headers)).json()

    async def message_status(self, id: int | str) -> str:
        return str((await self.message(id))["status"])

    async def waiting(self) -> list[Any]:
        params = {"gateway": self.key}
        answer = await self.client.get("/v1/receipts/unmatched", params=params, headers=self.headers)
        items: list[Any] = answer.json()["items"]
        return items

    async def journal(self, code: str | None = None) -> list[dict[str, Any]]:
        """Oldest first."""
        items: list[dict[str, Any]] = (await self.get("audit"))["items"]
        return [entry for entry in items[::-1] if code in (None, entry["code"])]

    async def check_books(self) -> None:
        """Recomputing finds no drift, and the journal is whole."""
        assert (await self.post("recompute")).json()["drift"] == 0
        assert (await self.get("audit/verify"))["intact"] is True


async def make_gateway(client: httpx.AsyncClient, headers: Mapping[str, str]) -> str:
    key = f"sending-{next(_serial)}"
    body = {"key": key, "kind": "generic", "auth": {"mode": "token", "secrets": [TOKEN]}}
    answer = await client.post("/v1/gateways", json=body, headers=dict(headers))
    assert answer.status_code == 201, answer.text
    return key


def address(place: int) -> str:
    return f"+346{place:08d}"
