"""Where nothing says how the world reaches this service: short URLs lead here, and nobody's audience gets them."""

from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.links.shortening import Bases, Links
from tests.conftest import Headers
from tests.deliveries.audience import mobile

from .conftest import PERSON
from .test_texts import OFFER, Sent, make, shorts

HERE = "http://127.0.0.1:8000/r"


async def prepared(app: FastAPI, client: httpx.AsyncClient, admin: Headers, content: str, **fields: Any) -> Sent:
    sent = await make(app, client, admin, content, **fields)
    assert (await sent.upload([mobile(1)])).status_code == 200
    await sent.prepare()
    return sent


def allowing(app: FastAPI, monkeypatch: pytest.MonkeyPatch, base: str | None = None) -> None:
    """As with ACUSE_PRIVATE_LINKS, or another base."""
    bases = Bases.of((), base, HERE.removesuffix("/r"))
    monkeypatch.setattr(app.state.preparer, "_links", Links(bases=bases, private_links=base is None))
    monkeypatch.setitem(app.state._state, "links", app.state.preparer._links)


async def test_with_nothing_set_short_urls_lead_to_the_address_listened_on(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers
) -> None:
    sent = await prepared(app, client, admin, f"Look: {OFFER} STOP to 25252")
    answer = await client.post(f"{sent.url}/proofs", json={"addresses": [{"address": mobile(2)}]}, headers=admin)
    assert answer.status_code == 201, answer.text
    (url,) = shorts(answer.text.replace('"', " "), HERE)
    await app.state.routes.refresh()
    there = await client.get(url.removeprefix("http://127.0.0.1:8000"), headers=PERSON)
    assert (there.status_code, there.headers["location"]) == (302, OFFER)


async def test_a_delivery_whose_short_urls_lead_to_this_machine_does_not_start(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers
) -> None:
    sent = await prepared(app, client, admin, f"Look: {OFFER} STOP to 25252")
    finding = (await sent.findings())["short_urls_private"]
    assert (finding["level"], finding["data"]) == ("error", {"base": HERE})
    assert "ACUSE_PUBLIC_URL or ACUSE_SHORT_HOSTS" in finding["text"]
    assert (await sent.post("start")).status_code == 409
    assert (await client.patch(sent.url, json={"tracking": False}, headers=admin)).status_code == 200
    await sent.prepare()
    assert "short_urls_private" not in await sent.findings()
    assert (await sent.post("start")).status_code == 200
    assert OFFER in (await sent.outbox())[0]["text"]


@pytest.mark.parametrize("base", ["http://192.168.1.5:8000", "https://acuse.internal", "http://[::1]", "http://acuse"])
async def test_a_public_url_that_is_private_is_no_better(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers, monkeypatch: pytest.MonkeyPatch, base: str
) -> None:
    allowing(app, monkeypatch, base)
    sent = await prepared(app, client, admin, f"Look: {OFFER} STOP to 25252")
    assert (await sent.findings())["short_urls_private"]["level"] == "error"


@pytest.mark.parametrize("tracking", [True, False])
async def test_a_link_of_the_text_to_a_private_host_is_an_error_too(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers, monkeypatch: pytest.MonkeyPatch, tracking: bool
) -> None:
    allowing(app, monkeypatch, "https://acuse.example")
    content = "http://192.168.1.10/offer STOP to 25252"
    sent = await prepared(app, client, admin, content, tracking=tracking)
    findings = await sent.findings()
    assert findings["link_private"]["level"] == "error"
    assert "short_urls_private" not in findings
    assert (await sent.post("start")).status_code == 409


async def test_a_demo_may_have_links_to_itself(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowing(app, monkeypatch)
    sent = await prepared(app, client, admin, f"{OFFER} http://localhost:3000/x STOP to 25252")
    findings = await sent.findings()
    assert (findings["short_urls_private"]["level"], findings["link_private"]["level"]) == ("warning", "warning")
    assert (await sent.post("start")).status_code == 200
    assert len(shorts((await sent.outbox())[0]["text"], HERE)) == 2


async def test_a_text_without_links_needs_no_base(app: FastAPI, client: httpx.AsyncClient, admin: Headers) -> None:
    sent = await prepared(app, client, admin, "Hello. STOP to 25252")
    assert "short_urls_private" not in await sent.findings()
    assert (await sent.post("start")).status_code == 200


async def test_text_behind_a_link_stays_in_the_message(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowing(app, monkeypatch, "https://acuse.example")
    sent = await prepared(app, client, admin, "点击https://shop.example/x查看，回T退订 STOP")
    assert (await sent.post("start")).status_code == 200
    (row,) = await sent.outbox()
    before, _, behind = row["text"].partition("https://acuse.example/r/")
    assert (before, behind[8:]) == ("点击", "查看，回T退订 STOP")
    await app.state.routes.refresh()
    taken_along = await client.get(f"/r/{behind.partition('，')[0]}", headers=PERSON)
    assert taken_along.headers["location"] == "https://shop.example/x"


async def test_signatures_and_callback_urls_go_by_the_public_url_alone(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers
) -> None:
    body = {"key": "no-public-url", "kind": "generic", "auth": {"mode": "token", "secrets": ["token-of-a-test"]}}
    made = await client.post("/v1/gateways", json=body, headers=admin)
    assert made.json()["callback_url"] == "http://acuse.test/callbacks/no-public-url"
    assert app.state.public_base is app.state.road.public_base is None
