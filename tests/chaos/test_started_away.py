"""Killed while PostgreSQL is away and started again while it still is: callbacks of every kind and proof get their 2xx."""

import asyncio
import base64
import hashlib
import hmac
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from app.gateways.twilio import signature

from .harness import ADMIN_KEY, Service, fetch, postgres, say, service, until

BASE = "https://sms.example.com"
SECRET = "a-long-secret-of-theirs"
CALLBACKS = 100
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@dataclass(frozen=True)
class Sort:
    """A gateway's kind with one way to prove itself, and the request that brings the receipt `id`."""

    key: str
    kind: str
    auth: dict[str, Any]
    request: Callable[[str], httpx.Request]


def generic(key: str, headers: dict[str, str], query: str = "") -> Callable[[str], httpx.Request]:
    def request(id: str) -> httpx.Request:
        body = {"provider_message_id": id, "status": "delivered"}
        return httpx.Request("POST", f"{BASE}/callbacks/{key}{query}", json=body, headers=headers)

    return request


def signed(id: str) -> httpx.Request:
    body = f'{{"provider_message_id":"{id}","status":"delivered"}}'.encode()
    digest = hmac.digest(SECRET.encode(), body, hashlib.sha256).hex()
    headers = JSON | {"X-Acuse-Signature": f"sha256={digest}"}
    return httpx.Request("POST", f"{BASE}/callbacks/g-signature", content=body, headers=headers)


def kannel(id: str) -> httpx.Request:
    query = urlencode({"token": SECRET, "type": "1", "fid": id})
    return httpx.Request("GET", f"{BASE}/callbacks/k-token?{query}")


def smpp(id: str) -> httpx.Request:
    text = f"id:{id} sub:001 dlvrd:001 submit date:2611230800 done date:2611230801 stat:DELIVRD err:000 text:"
    body = {"text": text}
    return httpx.Request("POST", f"{BASE}/callbacks/s-bearer", json=body, headers={"Authorization": f"Bearer {SECRET}"})


def twilio(method: str, key: str, secret: str) -> Callable[[str], httpx.Request]:
    def request(id: str) -> httpx.Request:
        fields = {"MessageSid": id, "MessageStatus": "delivered"}
        url = f"{BASE}/callbacks/{key}?ref=r-{id}"
        if method == "GET":
            url = f"{url}&{urlencode(fields)}"
            return httpx.Request("GET", url, headers={"X-Twilio-Signature": signature(secret, url).decode()})
        text = url + "".join(name + value for name, value in sorted(fields.items()))
        headers = FORM | {"X-Twilio-Signature": signature(secret, text).decode()}
        return httpx.Request("POST", url, content=urlencode(fields).encode(), headers=headers)

    return request


def bulk(id: str) -> httpx.Request:
    body = [{"gateway": "g-none", "provider_message_id": id, "status": "delivered"}]
    headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
    return httpx.Request("POST", f"{BASE}/v1/receipts", json=body, headers=headers)


def auth(mode: str, *secrets: str, **more: str) -> dict[str, Any]:
    return {"mode": mode, "secrets": list(secrets), **more} if secrets else {"mode": mode}


BASIC = "Basic " + base64.b64encode(f"joe:{SECRET}".encode()).decode()
SHA256 = f"sha256:{SECRET}"
SORTS = [
    Sort("g-header", "generic", auth("token", SECRET), generic("g-header", {"X-Acuse-Token": SECRET})),
    Sort("g-query", "generic", auth("token", "old-secret", SECRET), generic("g-query", {}, f"?token={SECRET}")),
    Sort("g-basic", "generic", auth("basic", SECRET, username="joe"), generic("g-basic", {"Authorization": BASIC})),
    Sort("g-bearer", "generic", auth("bearer", SECRET), generic("g-bearer", {"Authorization": f"Bearer {SECRET}"})),
    Sort("g-none", "generic", auth("none"), generic("g-none", {})),
    Sort("g-signature", "generic", auth("signature", SECRET), signed),
    Sort("k-token", "kannel", auth("token", SECRET), kannel),
    Sort("s-bearer", "smpp", auth("bearer", SECRET), smpp),
    Sort("t-sha1", "twilio", auth("signature", SECRET), twilio("POST", "t-sha1", SECRET)),
    Sort("t-sha256", "twilio", auth("signature", SHA256), twilio("POST", "t-sha256", SHA256)),
    Sort("t-get", "twilio", auth("signature", SHA256), twilio("GET", "t-get", SHA256)),
    Sort("deleted", "generic", auth("token", SECRET), generic("deleted", {"X-Acuse-Token": SECRET})),
    Sort("g-bulk", "generic", auth("none"), bulk),
]
SEALED = {"none": {}, "given": {"ACUSE_SEAL_KEYS": "a-sealing-key-of-this-test-0123456789"}}


@pytest.mark.parametrize("keys", SEALED)
async def test_every_kind_of_callback_is_taken_by_a_service_that_never_saw_its_database(keys: str) -> None:
    with postgres() as database:
        async with service(database.url, ACUSE_PUBLIC_URL=BASE, **SEALED[keys]) as acuse:
            for sort in SORTS:
                await acuse.post("/v1/gateways", {"key": sort.key, "kind": sort.kind, "auth": sort.auth}, status=201)
            assert (await acuse.api.delete("/v1/gateways/deleted")).status_code == 204
            await asyncio.to_thread(database.kill)
            await asyncio.to_thread(acuse.kill)
            acuse.start()
            await acuse.ready()
            said = await acuse.get("/readyz")
            assert (said["database"], said["spool"]) == (False, True)

            answers: dict[str, Counter[int]] = {}
            for sort in SORTS:
                answers[sort.key] = await _called(acuse, sort)
            good = {sort.key: {202: CALLBACKS} if sort.key == "g-bulk" else {200: CALLBACKS} for sort in SORTS}
            assert answers == good
            unknown = await acuse.api.post("/callbacks/unknown", json={})
            assert (unknown.status_code, "retry-after" in unknown.headers) == (503, True), (
                "nobody can say it is not there"
            )
            wrong = await acuse.api.post("/callbacks/g-header", json={}, headers={"X-Acuse-Token": "wrong"})
            assert wrong.status_code == 401
            assert (await acuse.api.get("/v1/keys", headers={"Authorization": "Bearer unknown"})).status_code == 503

            await asyncio.to_thread(acuse.kill)  # and once more, with all of it in the spool
            acuse.start()
            await acuse.ready()
            await asyncio.to_thread(database.back)
            wanted = {
                (sort.key.replace("g-bulk", "g-none"), f"{sort.key}-{n}") for sort in SORTS for n in range(CALLBACKS)
            }

            async def applied() -> bool:
                return wanted <= set(await _receipts(database.dsn))

            await until(applied, "all receipts become facts")
            found = await _receipts(database.dsn)
            assert {key for key, count in found.items() if count != 1} == set()
            assert found.keys() == wanted
            assert await fetch(database.dsn, "SELECT * FROM rejected") == []
            say(f"{sum(found.values())} callbacks of {len(SORTS)} sorts, all applied once")


async def _called(acuse: Service, sort: Sort) -> Counter[int]:
    """So many callbacks, sent to where the service listens, with the host and path that their URL has."""
    answers: Counter[int] = Counter()

    async def call(number: int) -> None:
        request = sort.request(f"{sort.key}-{number}")
        url = f"http://127.0.0.1:{acuse.port}{request.url.raw_path.decode()}"
        headers = {name: value for name, value in request.headers.items() if name.lower() != "host"}
        answer = await client.request(request.method, url, content=request.content, headers=headers)
        answers[answer.status_code] += 1

    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        for start in range(0, CALLBACKS, 20):
            await asyncio.gather(*(call(number) for number in range(start, start + 20)))
    return answers


async def _receipts(dsn: str) -> Counter[tuple[str, str]]:
    rows = await fetch(
        dsn,
        "SELECT g.key, c.raw AS id, count(*) AS n FROM receipts r JOIN correlations c ON c.id = r.correlation_id "
        "JOIN gateways g ON g.id = r.gateway_id GROUP BY 1, 2",
    )
    return Counter({(row["key"], row["id"]): row["n"] for row in rows})
