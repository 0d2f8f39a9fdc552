"""Health, metrics, front page."""

import httpx
import pytest
from fastapi import FastAPI

from tests.conftest import Headers


async def test_alive_ready_and_what_it_is(client: httpx.AsyncClient) -> None:
    assert (await client.get("/healthz")).json() == {"alive": True}
    ready = await client.get("/readyz")
    assert ready.status_code == 200
    assert ready.json() == {"ready": True, "database": True, "spool": True, "spooled": 0, "queued": 0}
    front = (await client.get("/")).json()
    assert (front["name"], front["docs"]) == ("Acuse", "/docs")


@pytest.mark.parametrize(("database", "spool", "status"), [(True, False, 200), (False, True, 200), (False, False, 503)])
async def test_ready_when_receipts_can_be_made_durable_somewhere(
    app: FastAPI, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, database: bool, spool: bool, status: int
) -> None:
    found = {"database": database, "spool": spool, "spooled": 0, "queued": 0}
    monkeypatch.setattr(app.state.runtime, "ready", lambda: found)
    response = await client.get("/readyz")
    assert response.status_code == status
    assert (response.json()["database"], response.json()["spool"]) == (database, spool)


async def test_metrics_count_receipts_and_name_no_address(client: httpx.AsyncClient, admin: Headers) -> None:
    body = {"key": "metered", "kind": "generic", "auth": {"mode": "none"}}
    await client.post("/v1/gateways", json=body, headers=admin)
    report = {"provider_message_id": "1", "status": "delivered", "address": "+34600123000"}
    assert (await client.post("/callbacks/metered", json=report)).status_code == 200
    text = (await client.get("/metrics")).text
    assert 'acuse_receipts_total{gateway="metered",outcome="received"} 1.0' in text
    assert "acuse_inbox_queue 0.0" in text
    assert "600123000" not in text
