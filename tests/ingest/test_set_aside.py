"""What was set aside, of whatever kind: listed with reason and content, counted, named by `doctor`, and tried again."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, get_args
from urllib.parse import urlencode

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI

from app import doctor
from app.db import Pool
from app.gateways.twilio import signature
from app.ingest.kinds import new_id, pack, set_aside
from app.ingest.rows import InboundRow, InboxRow, RejectedRow, Shelved
from app.ingest.store import append
from app.ingest.survey import survey
from app.links.clicks import ClickRow
from app.links.clicks import new_id as new_click_id

from .conftest import BASE

SECRET = "a-secret-of-the-gateway"
PHONE = "+34600123456"
NOW = datetime(2026, 11, 28, 8, 0, tzinfo=UTC)
BODY = f'{{"provider_message_id": "m1", "status": "delivered", "to": "{PHONE}"}}'.encode()
RECEIPT = InboxRow(**dict.fromkeys(InboxRow._fields))._replace(  # type: ignore[arg-type]
    received_at=NOW, provider_message_id="m1", status="received", status_text="delivered", fingerprint=1, verified=True, raw=BODY
)  # fmt: skip
CLICK = ClickRow(
    new_click_id(), 1, 1, 0, NOW, True, [], "phone", f"agent of {PHONE}", {"method": "GET"}, None, 1
)  # fmt: skip


def _refused(gateway_id: int) -> RejectedRow:
    """Its signature holds now: the secret was mended."""
    fields = {"MessageSid": "SM1", "MessageStatus": "delivered", "To": PHONE}
    url = f"{BASE}/callbacks/twilio"
    text = url + "".join(name + value for name, value in sorted(fields.items()))
    proof = signature(SECRET, text).decode()
    request = {"method": "POST", "content_type": "application/x-www-form-urlencoded", "url": url, "signature": proof}
    return RejectedRow(
        new_id(), gateway_id, NOW, "The signature is another's.", request, urlencode(fields).encode(), "refused"
    )


def _unreadable(gateway_id: int) -> RejectedRow:
    """It can be read now: the adapter was mended."""
    request = {"method": "POST", "content_type": "application/json"}
    return RejectedRow(new_id(), gateway_id, NOW, "no status", request, BODY, "unreadable")


def _reply(gateway_id: int) -> InboundRow:
    return InboundRow(gateway_id, NOW, PHONE, None, "hello", None, True, f"from={PHONE}".encode())


#: Of each kind: one, of a gateway.
MADE: dict[str, Callable[[int], RejectedRow]] = {
    "unreadable": _unreadable,
    "refused": _refused,
    "receipt": lambda id: set_aside(RECEIPT._replace(gateway_id=id), "This receipt could not be applied: X."),
    "reply": lambda id: set_aside(_reply(id), "This reply could not be applied: X."),
    "click": lambda id: set_aside(CLICK, "This click could not be applied: X."),
    "spooled": lambda id: RejectedRow(
        new_id(), None, NOW, "This row of a spool cannot be read: ValueError.", {}, pack(_reply(id)), "spooled"
    ),
}
of_each_kind = pytest.mark.parametrize("kind", MADE)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def gateways(client: httpx.AsyncClient, pool: Pool) -> dict[str, int]:
    for kind, mode in (("twilio", "signature"), ("generic", "token")):
        body = {"key": kind, "kind": kind, "auth": {"mode": mode, "secrets": [SECRET]}}
        assert (await client.post("/v1/gateways", json=body)).status_code == 201
    return {row["key"]: row["id"] for row in await pool.fetch("SELECT key, id FROM gateways")}


@pytest_asyncio.fixture(loop_scope="session")
async def letter(pool: Pool, gateways: dict[str, int], request: pytest.FixtureRequest) -> RejectedRow:
    kind = request.node.callspec.params["kind"]
    made = MADE[kind](gateways["twilio" if kind == "refused" else "generic"])
    await pool.execute("DELETE FROM rejected")
    async with pool.acquire() as connection:
        await append(connection, [made])
    return made


def test_every_kind_stands_in_this_table() -> None:
    assert MADE.keys() == set(get_args(Shelved))


@of_each_kind
async def test_it_is_listed_by_its_kind_with_reason_and_content(
    client: httpx.AsyncClient, letter: RejectedRow, kind: str
) -> None:
    page = (await client.get("/v1/receipts/rejected", params={"kind": kind})).json()
    (item,) = page["items"]
    assert page["total"] == 1
    assert (item["id"], item["kind"], item["reason"]) == (letter.id, kind, letter.reason)
    assert (item["raw"], item["raw_bytes"]) == (letter.raw.decode(), len(letter.raw))
    for other in MADE.keys() - {kind}:
        assert not (await client.get("/v1/receipts/rejected", params={"kind": other})).json()["items"], other
    one = (await client.get(f"/v1/receipts/rejected/{letter.id}")).json()
    assert (one["kind"], one["raw"]) == (kind, letter.raw.decode())


@of_each_kind
async def test_a_reader_without_the_right_to_numbers_sees_none(
    client: httpx.AsyncClient, letter: RejectedRow, key: Any, kind: str
) -> None:
    headers = await key("deliveries:read")
    for path in (f"/v1/receipts/rejected?kind={kind}", f"/v1/receipts/rejected/{letter.id}"):
        answer = await client.get(path, headers=headers)
        assert answer.status_code == 200
        assert letter.id in answer.text
        assert PHONE[3:] not in answer.text


@of_each_kind
async def test_it_is_counted_by_its_kind_and_doctor_names_it(
    client: httpx.AsyncClient, letter: RejectedRow, pool: Pool, kind: str
) -> None:
    async with pool.acquire() as connection:
        (check,) = await doctor._set_aside(connection)
    assert (check.state, f"By kind: {kind} 1." in check.finding) == ("warning", True)
    wanted = {f'acuse_set_aside_rows{{kind="{each}"}} {float(each == kind)}' for each in MADE}
    for _ in range(100):  # the service's own clock may have counted a moment before
        async with pool.acquire() as connection, connection.transaction():
            await survey(connection, datetime.now(UTC))
        lines = set((await client.get("/metrics")).text.splitlines())
        if wanted <= lines:
            break
        await asyncio.sleep(0.05)
    assert wanted <= lines


@of_each_kind
async def test_the_same_post_tries_it_again_and_it_is_applied(
    app: FastAPI, client: httpx.AsyncClient, letter: RejectedRow, pool: Pool, kind: str
) -> None:
    applied = {
        "click": "SELECT count(*) FROM clicks",
        "reply": "SELECT count(*) FROM inbound WHERE applied_at IS NOT NULL",
    }
    applied["spooled"] = applied["reply"]
    count = applied.get(kind, "SELECT count(*) FROM receipts")
    before = await pool.fetchval(count)
    answer = await client.post("/v1/receipts/rejected/retry", json={"kind": kind})
    assert answer.json() == {"read": 1, "still_rejected": 0}
    assert await pool.fetchval("SELECT count(*) FROM rejected") == 0
    for _ in range(200):
        if await pool.fetchval(count) > before:
            break
        await asyncio.sleep(0.05)
    assert await pool.fetchval(count) == before + 1


@of_each_kind
async def test_what_still_cannot_be_taken_stays_with_the_time_of_the_attempt(
    client: httpx.AsyncClient, letter: RejectedRow, pool: Pool, kind: str
) -> None:
    """Of what was read before, because the table that takes it refuses it; of callbacks, because they still say nothing."""
    broken = {"unreadable": b"{", "refused": b"{", "spooled": b"["}.get(kind)
    if broken is not None:
        await pool.execute("UPDATE rejected SET raw = $1", broken)
    else:
        await pool.execute("UPDATE rejected SET request = jsonb_build_object('row', '{}'::jsonb)")
    answer = await client.post("/v1/receipts/rejected/retry", json={"kind": kind})
    assert answer.json() == {"read": 0, "still_rejected": 1}
    (item,) = (await client.get("/v1/receipts/rejected", params={"kind": kind})).json()["items"]
    assert (item["id"], item["retried_at"] is not None) == (letter.id, True)
