"""Rates: of one API key, and of one source without a valid one. Callbacks have none."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import httpx
import pytest
import structlog
from fastapi import FastAPI

from app import metrics
from app.server.rates import Buckets, Rates, source_of
from app.settings import Settings, guessable
from tests.conftest import Headers, KeyMaker
from tests.test_error_shape import assert_problem


@asynccontextmanager
async def coming_from(app: FastAPI, host: str) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=app, client=(host, 1_234))
    async with httpx.AsyncClient(transport=transport, base_url="http://acuse.test") as client:
        yield client


@pytest.fixture
def strict(app: FastAPI, settings: Settings) -> Iterator[None]:
    """Two requests a key at once, then one in ten seconds; four failures a source, then one in ten seconds."""
    kept = app.state.rates
    app.state.rates = Rates(settings.model_copy(update={"key_requests_per_second": 0.2, "failed_keys_per_second": 0.1}))
    yield
    app.state.rates = kept


def test_a_bucket_gives_its_burst_and_then_its_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("app.server.rates.time.monotonic", lambda: now[0])
    bucket = Buckets(2.0, 5.0)
    assert [bucket.take("a") for _ in range(10)] == [0.0] * 10
    assert bucket.take("a") == pytest.approx(0.5)
    assert bucket.take("b") == 0.0
    now[0] += 0.5
    assert bucket.take("a") == 0.0
    assert bucket.wait("a") > 0
    now[0] += 1_000
    assert [bucket.take("a") > 0 for _ in range(11)] == [False] * 10 + [True]


def test_the_table_of_sources_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.server.rates._MOST", 100)
    bucket = Buckets(0.001, 1.0)
    for number in range(1_000):
        bucket.take(str(number))
    assert len(bucket._full_at) == 100


@pytest.mark.parametrize(
    ("host", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9%eth0", "2001:db8:1:2::/64"),
        ("", "unknown"),
        ("testclient", "unknown"),
    ],
)
def test_sources(host: str, source: str) -> None:
    assert source_of(host) == source


@pytest.mark.usefixtures("strict")
async def test_a_key_that_asks_too_often_is_told_to_wait_and_others_are_not(app: FastAPI, key: KeyMaker) -> None:
    eager, other = await key("deliveries:read"), await key("deliveries:read")
    with structlog.testing.capture_logs() as logged:
        async with coming_from(app, "192.0.2.1") as client:
            assert [(await client.get("/v1/deliveries", headers=eager)).status_code for _ in range(4)] == [
                200,
                200,
                429,
                429,
            ]
            response = await client.get("/v1/deliveries", headers=eager)
            assert_problem(response, 429)
            assert 1 <= int(response.headers["retry-after"]) <= 10
            assert (await client.get("/v1/deliveries", headers=other)).status_code == 200
    assert [each["reason"] for each in logged if each["event"] == "http.too_many"] == ["key"]


@pytest.mark.usefixtures("strict")
async def test_a_source_without_a_valid_key_is_slowed_and_a_right_guess_does_not_show(
    app: FastAPI, key: KeyMaker, admin: Headers
) -> None:
    known, guessed = await key("deliveries:read"), await key("deliveries:read")
    async with coming_from(app, "2001:db8::1") as client, coming_from(app, "2001:db8::2") as neighbour:
        assert (await client.get("/v1/deliveries", headers=known)).status_code == 200
        tries = [await client.get("/v1/deliveries", headers={"Authorization": f"Bearer {n}"}) for n in range(6)]
        assert [each.status_code for each in tries] == [401] * 4 + [429] * 2
        assert_problem(tries[-1], 429)
        assert int(tries[-1].headers["retry-after"]) > 0
        assert (await neighbour.get("/v1/deliveries", headers=guessed)).status_code == 429  # the same /64
        assert (await client.get("/v1/deliveries", headers=known)).status_code == 200  # it came from here before
    async with coming_from(app, "2001:db8:1::1") as elsewhere:
        assert (await elsewhere.get("/v1/deliveries", headers=guessed)).status_code == 200
        assert (await elsewhere.get("/v1/deliveries")).status_code == 401


@pytest.mark.usefixtures("strict")
async def test_callbacks_are_never_slowed(app: FastAPI, admin: Headers) -> None:
    async with coming_from(app, "192.0.2.2") as client:
        body = {"key": "unslowed", "kind": "generic", "auth": {"mode": "token", "secrets": ["secret-secret"]}}
        assert (await client.post("/v1/gateways", json=body, headers=admin)).status_code == 201
        for number in range(30):
            report = {"provider_message_id": str(number), "status": "sent"}
            assert (await client.post("/callbacks/unslowed", json=report)).status_code == 401
        for number in range(30):
            report = {"provider_message_id": str(number), "status": "sent"}
            assert (await client.post("/callbacks/unslowed?token=secret-secret", json=report)).status_code == 200


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, "missing"),
        ({"Authorization": "Basic eDp5"}, "missing"),
        ({"Authorization": "Bearer"}, "missing"),
        ({"Authorization": "Bearer never-a-key-of-anybody"}, "wrong"),
    ],
)
async def test_a_failed_authentication_is_counted_and_logged_without_the_secret(
    app: FastAPI, headers: Headers, reason: str, request: pytest.FixtureRequest
) -> None:
    before = metrics.auth_failed_total.labels(reason)._value.get()
    host = f"198.51.100.{abs(hash(request.node.name)) % 250}"
    with structlog.testing.capture_logs() as logged:
        async with coming_from(app, host) as client:
            for _ in range(3):
                assert_problem(await client.get("/v1/gateways", headers=headers), 401)
    assert metrics.auth_failed_total.labels(reason)._value.get() == before + 3
    (entry,) = [each for each in logged if each["event"] == "auth.failed"]
    assert (entry["reason"], entry["source"]) == (reason, host)
    assert "never-a-key" not in str(entry)


async def test_a_deleted_key_is_counted_as_wrong(app: FastAPI, client: httpx.AsyncClient, admin: Headers) -> None:
    made = await client.post("/v1/keys", json={"name": "gone", "scopes": ["deliveries:read"]}, headers=admin)
    headers = {"Authorization": f"Bearer {made.json()['secret']}"}
    assert (await client.delete("/v1/keys/gone", headers=admin)).status_code == 204
    before = metrics.auth_failed_total.labels("wrong")._value.get()
    assert_problem(await client.get("/v1/deliveries", headers=headers), 401)
    assert metrics.auth_failed_total.labels("wrong")._value.get() == before + 1


@pytest.mark.parametrize(
    ("secret", "expected"),
    [
        ("correct-horse-battery", True),
        ("MyCompanyAdmin2026", True),
        ("aaaaaaaaaaaaaaaaaaaaaaaaaaaa", True),
        ("shortbutRandom7%", True),
        ("3qXyB0v9Jw2mZk7Tq1Rr8sLd", False),
        ("q0Yt0PpZ4W3b0Zk7v1M2h6G5s8R9xAcD+/efgU=", False),
    ],
)
def test_an_admin_key_that_a_person_thought_up_is_known(secret: str, expected: bool) -> None:
    assert guessable(secret) is expected
