"""One message through the API, with real facts: what is masked, and what is not."""

from datetime import timedelta

import httpx
import pytest_asyncio
from fastapi import FastAPI

from app.projections.fold import fold
from tests.conftest import Headers, KeyMaker

from .rows import BEGIN, add_delivery, add_gateway


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def message(app: FastAPI) -> int:
    """Submitted in one part, reported twice the same as received; the payload holds the number."""
    async with app.state.pool.acquire() as connection, connection.transaction():
        gateway, delivery = await add_gateway(connection, "acme"), await add_delivery(connection)
        id = int(
            await connection.fetchval(
                "INSERT INTO messages (delivery_id, address, gateway_id, created_at) "
                "VALUES ($1, '+34600123123', $2, $3) RETURNING id",
                delivery, gateway, BEGIN,
            )
        )  # fmt: skip
        await connection.execute(
            "INSERT INTO submissions (message_id, gateway_id, submitted_at, recorded_at, provider_message_ids) "
            "VALUES ($1, $2, $3, $3, '{A1}')",
            id, gateway, BEGIN,
        )  # fmt: skip
        correlation = await connection.fetchval(
            "INSERT INTO correlations (gateway_id, kind, value, raw, message_id, origin, part, bearing, created_at, "
            "seen_at) VALUES ($1, 'id', 'A1', 'A1', $2, 'submission', 1, true, $3, $3) RETURNING id",
            gateway, id, BEGIN,
        )  # fmt: skip
        for number, raw in enumerate((b"to=34600123123&id=A1", b"to=34600123123&id=A1", b"\xff34600123123"), start=1):
            await connection.execute(
                "INSERT INTO receipts (id, correlation_id, gateway_id, received_at, status, status_text, fingerprint, "
                "verified, raw, details) VALUES ($1, $2, $3, $4, $5, 'DELIVRD', $6, true, $7, $8)",
                number, correlation, gateway, BEGIN + timedelta(seconds=number), "received" if number < 3 else None,
                number // 3, raw, {"to": "34600123123", "n": 34600123123, "list": ["x34600123123"]},
            )  # fmt: skip
        await fold(connection, [id], BEGIN)
    return id


async def test_a_message_is_explained_fact_by_fact(client: httpx.AsyncClient, admin: Headers, message: int) -> None:
    answer = await client.get(f"/v1/messages/{message}", headers=admin)
    found = answer.json()
    assert found["status"] == "received"
    assert [entry["kind"] for entry in found["timeline"]] == ["created", "submission", "receipt", "receipt", "receipt"]
    assert found["timeline"][3]["repeat_of"] == "1"
    assert found["timeline"][2]["raw"] == "to=34600123123&id=A1"
    assert found["timeline"][4]["encoding"] == "base64"
    assert found["timeline"][-1]["effect"]["after"] == found["status"]
    assert found["by_part"][0] | {"occurred_at": None} == {
        "part": 1, "provider_message_id": "A1", "status": "received", "receipts": 3, "receipt_id": "1",
        "occurred_at": None,
    }  # fmt: skip
    assert found["timeline_complete"] is True


async def test_without_the_scope_no_number_is_shown_anywhere(
    client: httpx.AsyncClient, key: KeyMaker, message: int
) -> None:
    answer = await client.get(f"/v1/messages/{message}", headers=await key("deliveries:read"))
    assert answer.status_code == 200
    assert "600123" not in answer.text.replace("+34600•••123", "")
    last = answer.json()["timeline"][-1]
    assert (last["raw"], last["encoding"]) == (None, "hidden")


async def test_reading_a_message_needs_the_scope(client: httpx.AsyncClient, key: KeyMaker, message: int) -> None:
    assert (await client.get(f"/v1/messages/{message}")).status_code == 401
    answer = await client.get(f"/v1/messages/{message}", headers=await key("receipts:write"))
    assert answer.status_code == 403
