"""A signature that is refused is a 401, and stands on a shelf: why, for which URL, and to be tried again when that is mended."""

import asyncio
import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from fastapi import FastAPI

from app.db import Pool
from app.gateways.receipt import Callback, Gateway
from app.gateways.twilio import signature
from app.ingest import refused
from app.ingest.refused import KEPT, MOST_BODY_BYTES, MOST_BYTES, RefusedShelf

from .conftest import BASE

SECRET = "a-secret-of-the-gateway"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refused, "PAUSE_SECONDS", 0.05)


async def create(
    client: httpx.AsyncClient, key: str, kind: str = "twilio", *secrets: str, mode: str = "signature"
) -> None:
    body = {"key": key, "kind": kind, "auth": {"mode": mode, "secrets": list(secrets or [SECRET])}}
    answer = await client.post("/v1/gateways", json=body)
    assert answer.status_code == 201, answer.text


async def twilio(
    client: httpx.AsyncClient, key: str, id: str, *, signed: str = BASE, secret: str = SECRET, **headers: str
) -> int:
    """Called at our public URL, and signed for `signed`."""
    fields = {"MessageSid": id, "MessageStatus": "delivered"}
    path = f"/callbacks/{key}?ref=r-{id}"
    text = signed + path + "".join(name + value for name, value in sorted(fields.items()))
    proof = {"X-Twilio-Signature": signature(secret, text).decode()}
    answer = await client.post(path, content=urlencode(fields), headers=FORM | proof | headers)
    return answer.status_code


async def shelf(client: httpx.AsyncClient, key: str, wanted: int) -> list[dict[str, Any]]:
    for _ in range(200):
        answer = (await client.get(f"/v1/receipts/rejected?kind=refused&gateway={key}&limit=1000")).json()
        items: list[dict[str, Any]] = answer["items"]
        if len(items) >= wanted:
            break
        await asyncio.sleep(0.05)
    assert len(items) == wanted
    return items


async def retried(client: httpx.AsyncClient, key: str) -> dict[str, int]:
    answer = await client.post("/v1/receipts/rejected/retry", json={"kind": "refused", "gateway": key})
    found: dict[str, int] = answer.json()
    return found


@pytest.mark.parametrize(
    ("key", "signed", "headers", "fits"),
    [
        ("by-host", "https://sms.other.test", {"Host": "sms.other.test"}, "https://sms.other.test"),
        ("by-scheme", BASE.replace("https", "http"), {}, BASE.replace("https", "http")),
        (
            "by-forwarded",
            "https://fwd.test",
            {"X-Forwarded-Host": "fwd.test", "X-Forwarded-Proto": "https"},
            "https://fwd.test",
        ),
        ("by-port", f"{BASE}:8443", {"X-Forwarded-Port": "8443"}, None),
        ("by-none", "https://sms.other.test", {}, None),
    ],
)
async def test_it_says_for_which_url_it_was_verified_and_which_would_fit(
    client: httpx.AsyncClient, key: str, signed: str, headers: dict[str, str], fits: str | None
) -> None:
    await create(client, key)
    assert await twilio(client, key, "SM1", signed=signed, **headers) == 401
    [item] = await shelf(client, key, 1)
    assert (item["kind"], item["gateway"]) == ("refused", key)
    assert item["request"]["url"].startswith(f"{BASE}/callbacks/{key}")
    assert "MessageSid=SM1" in item["raw"]
    if key == "by-port":  # the URL without its port fits, too
        fits = item["request"]["fits"]
        assert fits is not None
        assert fits.endswith(":8443")
    assert item["request"]["fits"] == fits
    assert ("set ACUSE_PUBLIC_URL" in item["reason"]) == (fits is not None)
    assert fits is None or fits in item["reason"]


@pytest.mark.parametrize(
    ("key", "kind", "secret", "headers", "reason"),
    [
        ("no-header", "twilio", SECRET, {}, "The header x-twilio-signature is missing."),
        ("no-own-header", "generic", SECRET, {}, "The header x-acuse-signature is missing."),
        ("no-algorithm", "generic", SECRET, {"X-Acuse-Signature": "ab12"}, "does not begin with `sha256=`"),
        ("wrong-own", "generic", SECRET, {"X-Acuse-Signature": "sha256=ab12"}, "not that of this body"),
        ("wrong", "twilio", SECRET, {"X-Twilio-Signature": "AAAA"}, "not made with one of this gateway's secrets"),
    ],
)
async def test_it_says_what_failed(
    client: httpx.AsyncClient, key: str, kind: str, secret: str, headers: dict[str, str], reason: str
) -> None:
    await create(client, key, kind, secret)
    assert (await client.post(f"/callbacks/{key}", content=b"{}", headers=headers)).status_code == 401
    [item] = await shelf(client, key, 1)
    assert reason in item["reason"]
    assert secret not in str(item)


async def test_it_says_when_the_secret_names_another_algorithm(client: httpx.AsyncClient) -> None:
    await create(client, "algorithm", "twilio", SECRET)
    assert await twilio(client, "algorithm", "SM1", secret=f"sha256:{SECRET}") == 401
    [item] = await shelf(client, "algorithm", 1)
    assert "`sha256:KEY`" in item["reason"]


async def test_a_wrong_hash_of_the_body_is_named(client: httpx.AsyncClient) -> None:
    await create(client, "hashed")
    url = f"/callbacks/hashed?bodySHA256={'0' * 64}"
    proof = {"X-Twilio-Signature": signature(SECRET, BASE + url).decode(), "Content-Type": "application/json"}
    assert (await client.post(url, content=b"{}", headers=proof)).status_code == 401
    [item] = await shelf(client, "hashed", 1)
    assert "bodySHA256" in item["reason"]


async def test_retry_verifies_again_and_takes_in_what_holds_now(client: httpx.AsyncClient, pool: Pool) -> None:
    await create(client, "mended", "twilio", "not-yet-the-secret")
    for id in ("SM1", "SM2"):
        assert await twilio(client, "mended", id) == 401
    assert await twilio(client, "mended", "SM3", secret="of-somebody-else") == 401
    await shelf(client, "mended", 3)
    assert await retried(client, "mended") == {"read": 0, "still_rejected": 3}
    change = {"auth": {"mode": "signature", "secrets": ["not-yet-the-secret", SECRET]}}
    assert (await client.patch("/v1/gateways/mended", json=change)).status_code == 200
    assert await retried(client, "mended") == {"read": 2, "still_rejected": 1}
    [left] = await shelf(client, "mended", 1)
    assert "SM3" in left["raw"]
    rows: list[Any] = []
    for _ in range(200):
        rows = await pool.fetch(
            "SELECT c.raw, r.verified FROM receipts r JOIN correlations c ON c.id = r.correlation_id "
            "JOIN gateways g ON g.id = r.gateway_id WHERE g.key = 'mended' ORDER BY 1"
        )
        if len(rows) == 2:
            break
        await asyncio.sleep(0.05)
    assert [(row["raw"], row["verified"]) for row in rows] == [("SM1", True), ("SM2", True)]


async def test_retry_goes_by_the_public_url_of_now(
    client: httpx.AsyncClient, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    await create(client, "moved")
    assert await twilio(client, "moved", "SM1", signed="https://moved.example.test") == 401
    await shelf(client, "moved", 1)
    monkeypatch.setitem(app.state._state, "public_base", "https://moved.example.test")
    assert await retried(client, "moved") == {"read": 1, "still_rejected": 0}


async def test_what_nobody_verifies_any_more_is_not_taken_in_by_retry(client: httpx.AsyncClient) -> None:
    await create(client, "opened")
    assert await twilio(client, "opened", "SM1", secret="of-somebody-else") == 401
    await shelf(client, "opened", 1)
    assert (await client.patch("/v1/gateways/opened", json={"auth": {"mode": "none"}})).status_code == 200
    assert await retried(client, "opened") == {"read": 0, "still_rejected": 1}


async def test_other_proofs_that_fail_are_not_kept(client: httpx.AsyncClient, app: FastAPI) -> None:
    await create(client, "tokened", "generic", SECRET, mode="token")
    assert (await client.post("/callbacks/tokened?token=wrong-wrong", json={})).status_code == 401
    assert not any(each.gateway.key == "tokened" for each in app.state.refused._all())


async def test_a_flood_leaves_the_first_and_the_last_of_the_day(
    client: httpx.AsyncClient, app: FastAPI, pool: Pool
) -> None:
    await create(client, "flooded", "generic")
    number = 0
    for _ in range(4):  # written in several turns
        for _ in range(90):
            answer = await client.post("/callbacks/flooded", content=f"{number}", headers={"X-Acuse-Signature": "x"})
            assert answer.status_code == 401
            number += 1
        await app.state.refused._write()
    items = await shelf(client, "flooded", 2 * KEPT)
    kept = sorted(int(item["raw"]) for item in items)
    assert kept == [*range(KEPT), *range(number - KEPT, number)]


async def test_what_waits_is_bounded_in_rows_and_bytes(app: FastAPI, client: httpx.AsyncClient) -> None:
    await create(client, "bounded", "generic")
    gateway: Gateway = app.state.directory.get("bounded")
    waiting = RefusedShelf(app.state.pool)  # nobody writes what this one holds

    def offer(size: int) -> None:
        callback = Callback(method="POST", url="https://x/", query="", headers={}, body=b"x" * size)
        waiting.offer(gateway, callback)

    for _ in range(1_000):
        offer(1)
    assert len(list(waiting._all())) == 2 * KEPT
    offer(MOST_BODY_BYTES + 1)
    assert len(list(waiting._all())) == 2 * KEPT
    for _ in range(1_000):
        offer(MOST_BODY_BYTES)
    assert sum(map(refused._size, waiting._all())) <= MOST_BYTES
    assert waiting._bytes == sum(map(refused._size, waiting._all()))


async def test_those_that_nobody_looked_into_are_forgotten_after_30_days(
    client: httpx.AsyncClient, app: FastAPI, pool: Pool
) -> None:
    await create(client, "old", "generic")
    digest = hmac.digest(b"other", b"{}", hashlib.sha256).hex()
    headers = {"X-Acuse-Signature": f"sha256={digest}"}
    assert (await client.post("/callbacks/old", content=b"{}", headers=headers)).status_code == 401
    [item] = await shelf(client, "old", 1)
    await pool.execute(
        "UPDATE rejected SET received_at = $2 WHERE id = $1", item["id"], datetime.now(UTC) - timedelta(days=31)
    )
    assert (await client.post("/callbacks/old", content=b"[]", headers=headers)).status_code == 401
    await app.state.refused._write()
    [item] = await shelf(client, "old", 1)
    assert item["raw"] == "[]"
