"""What a visitor gets: the registered URL, or a page that tells a stranger nothing."""

import random
import re
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI
from pydantic import AnyHttpUrl
from starlette.types import Message

from app.db import Pool
from app.links import signing as token_keys
from app.links.limiter import BUDGET, MOST, Limiter, network_of
from app.links.pages import preferred
from app.links.redirect import ShortHosts
from app.links.tokens import ALPHABET, decode, encode, without_tail
from app.main import create_app
from app.settings import Settings
from tests.conftest import ADMIN_SECRET, Headers

from .cases import cases
from .conftest import PERSON, PREVIEW, Made, Maker, applied

OFFER = "https://shop.example/offer?x=1"
#: Where the tests' visitors come from.
NETWORK = "127.0.0.0/24"


async def visit(client: httpx.AsyncClient, path: str, method: str = "GET", **headers: str) -> httpx.Response:
    return await client.request(method, path, headers=PERSON | headers)


async def visited(
    app: FastAPI, path: str, headers: list[tuple[bytes, bytes]], method: str = "GET"
) -> tuple[int, Mapping[bytes, bytes]]:
    """A request as the server hands it over, with headers that no client would send."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(message: Message) -> None:
        sent.append(dict(message))

    scope = {"type": "http", "method": method, "path": path, "headers": headers, "client": ("203.0.113.9", 5)}
    await app(scope, receive, send)
    return sent[0]["status"], dict(sent[0]["headers"])


# --- it leads where it was registered to ------------------------------------------------------------------------------


async def test_a_short_url_leads_to_the_registered_one_and_is_neither_cached_nor_indexed(
    client: httpx.AsyncClient, make: Maker
) -> None:
    made = await make(OFFER)
    answer = await visit(client, made.path(0))
    assert (answer.status_code, answer.content, answer.headers["location"]) == (302, b"", OFFER)
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-robots-tag"] == "noindex"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    ("registered", "params", "location"),
    [
        ("https://shop.example", {}, "https://shop.example/"),
        ("www.shop.example/a", {}, "http://www.shop.example/a"),
        (
            "https://shop.example/a?b=1#c",
            {"utm_source": "sms", "b": "2"},
            "https://shop.example/a?b=1&utm_source=sms#c",
        ),
        ("https://shop.example:8443/a", {"q": "a b&c=d"}, "https://shop.example:8443/a?q=a%20b%26c%3Dd"),
        ("https://müller.example/ä", {}, "https://xn--mller-kva.example/%C3%A4"),
    ],
)
async def test_ports_queries_fragments_and_foreign_letters_arrive(
    client: httpx.AsyncClient, make: Maker, registered: str, params: dict[str, str], location: str
) -> None:
    made = await make({"source_url": registered, "params": params})
    assert (await visit(client, made.path(0))).headers["location"] == location


async def test_each_link_of_a_message_leads_to_its_own_url(client: httpx.AsyncClient, make: Maker) -> None:
    made = await make(OFFER, "https://shop.example/other", messages=2)
    for message in (0, 1):
        assert (await visit(client, made.path(message, 0))).headers["location"] == OFFER
        assert (await visit(client, made.path(message, 1))).headers["location"] == "https://shop.example/other"


async def test_head_is_answered_alike_and_other_methods_are_refused(client: httpx.AsyncClient, make: Maker) -> None:
    made = await make(OFFER)
    head = await visit(client, made.path(0), "HEAD")
    assert (head.status_code, head.headers["location"]) == (302, OFFER)
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
        answer = await visit(client, made.path(0), method)
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
        assert answer.headers["content-type"] == "application/problem+json"


# --- templates -------------------------------------------------------------------------------------------------------


async def test_a_template_is_filled_with_what_belongs_to_the_message(client: httpx.AsyncClient, make: Maker) -> None:
    params: list[dict[str, Any]] = [{"code": "A 1/2"}, {"code": "ñ&x=1"}, {"code": 7}, {}]
    template = {"source_url": "https://shop.example/c/{{code}}?c={{ code }}", "params": {"utm_source": "sms"}}
    made = await make(template, messages=4, params=params)
    found = [(await visit(client, made.path(place))).headers["location"] for place in range(4)]
    assert found == [
        "https://shop.example/c/A%201%2F2?c=A%201%2F2&utm_source=sms",
        "https://shop.example/c/%C3%B1%26x%3D1?c=%C3%B1%26x%3D1&utm_source=sms",
        "https://shop.example/c/7?c=7&utm_source=sms",
        "https://shop.example/c/?c=&utm_source=sms",
    ]


@pytest.mark.parametrize(
    "value",
    ["//evil.example", "/\\evil.example", "\r\nLocation: https://evil.example", "@evil.example", "..//", "evil。example",
     "?x=https://evil.example", "#https://evil.example", "%0d%0aSet-Cookie: a=b", "{{code}}", "\u2028", "\x01"],
)  # fmt: skip
async def test_no_value_of_a_recipient_leads_elsewhere(client: httpx.AsyncClient, make: Maker, value: str) -> None:
    made = await make("https://shop.example/c/{{code}}", params=[{"code": value}])
    answer = await visit(client, made.path(0))
    assert answer.status_code in (302, 410)
    if answer.status_code == 302:
        location = answer.headers["location"]
        assert re.fullmatch(r"https://shop\.example/c/[A-Za-z0-9%._~{}-]*", location)
    assert "set-cookie" not in answer.headers


# --- and nowhere else ------------------------------------------------------------------------------------------------

BAD_TARGETS = [
    "javascript:alert(1)", "data:text/html,x", "ftp://shop.example/a", "https:shop.example", "//evil.example/a",
    "https://shop.example\\@evil.example/", "https:\\\\evil.example", "https://shop.example@evil.example/",
    "https://shop.example\r\nLocation: https://evil.example/", "https://shop.example/\r\nSet-Cookie: a=b", "https://evil。example/",
    "https://ｅｖｉｌ.example/", "https://shop.example:99999/", "https://", "https:///evil.example", "https://0x7f000001/",
    "\x01https://shop.example/", "java\nscript:alert(1)", "/relative", "",
]  # fmt: skip


@pytest.mark.parametrize("target", BAD_TARGETS)
async def test_a_target_that_should_never_have_been_stored_leads_nowhere(
    client: httpx.AsyncClient, make: Maker, target: str
) -> None:
    """Registration refuses these; should one stand in the database all the same, nobody is led there."""
    made = await make(target)
    answer = await visit(client, made.path(0))
    assert (answer.status_code, "location" in answer.headers) == (410, False)


async def test_a_tampered_token_leads_nowhere(client: httpx.AsyncClient, make: Maker, app: FastAPI) -> None:
    made = await make(OFFER, messages=3)
    token, keys, draw = made.token(1), app.state.routes.keys, random.Random(4)
    for _ in range(300):
        place = draw.randrange(len(token))
        changed = token[:place] + draw.choice(ALPHABET) + token[place + 1 :]
        app.state.limiter._counts.clear()
        answer = await visit(client, f"/r/{changed}")
        if changed == token:
            assert answer.status_code == 302
        elif decode(keys, changed) is None:
            assert (answer.status_code, "location" in answer.headers) == (404, False)
        else:  # one guess in 2^18 names a message; then it leads to that message's own link, or nowhere
            assert answer.status_code in (302, 404)
    for changed in (token[:-1], token + "0", token[::-1], token.swapcase(), f"{token}/x", f"{token}.x", ""):
        app.state.limiter._counts.clear()
        assert (await visit(client, f"/r/{changed}")).status_code == 404


@pytest.mark.parametrize(("tail", "status"), cases("tails", "tail", "status"))
async def test_what_a_phone_takes_along_behind_a_token_is_passed_over(
    client: httpx.AsyncClient, make: Maker, pool: Pool, tail: str, status: int
) -> None:
    made = await make(OFFER)
    answer = await visit(client, f"{made.path(0)}{tail}")
    assert (answer.status_code, answer.headers.get("location")) == (status, OFFER if status == 302 else None)
    await applied(pool)
    count = await pool.fetchval("SELECT count(*) FROM clicks WHERE message_id = $1", made.messages[0])
    assert count == (status == 302)


async def test_a_guess_with_something_behind_it_is_a_guess(
    client: httpx.AsyncClient, make: Maker, app: FastAPI
) -> None:
    made = await make(OFFER)
    wrong = made.token(0)[::-1]
    for number in range(int(BUDGET) + 5):
        assert (await visit(client, f"/r/{wrong}{'.,/&?'[number % 5]}")).status_code in (404, 429)
    assert (await visit(client, f"/r/{wrong}.")).status_code == 429
    assert (await visit(client, f"{made.path(0)}.")).status_code == 302


def test_only_a_token_with_something_behind_it_has_a_tail() -> None:
    assert without_tail("3fQ7xKz0.") == "3fQ7xKz0"
    for text in (
        "3fQ7xKz0",
        "favicon.ico",
        "robots.txt",
        "abc.",
        "a" * 17 + ".",
        "v1/deliveries",
        "browserconfig.xml",
        "",
        ".",
    ):
        assert without_tail(text) is None, text


@pytest.mark.parametrize(
    "path",
    ["/r/https://evil.example", "/r/%2F%2Fevil.example", "/r/..%2f..%2fevil", "/r/%0d%0aLocation:%20https://evil.example",
     "/r/?url=https://evil.example", "/r/\\evil.example", "/r/@evil.example", "/r/x?next=//evil.example", "/r/%00",
     "/r/ｅｖｉｌ", "/r/" + "a" * 5_000],
)  # fmt: skip
async def test_nothing_in_the_request_decides_where_it_leads(client: httpx.AsyncClient, make: Maker, path: str) -> None:
    await make(OFFER)
    answer = await visit(client, path)
    assert (answer.status_code, "location" in answer.headers) == (404, False)
    assert b"evil" not in answer.content


async def test_no_header_of_the_request_changes_the_answer(app: FastAPI, make: Maker) -> None:
    made = await make(OFFER)
    hostile: list[tuple[bytes, bytes]] = [
        (b"host", b"evil.example\r\nlocation: https://evil.example"),
        (b"x-forwarded-host", b"evil.example"), (b"x-forwarded-proto", b"javascript"), (b"forwarded", b"host=evil.example"),
        (b"x-original-url", b"//evil.example"), (b"x-rewrite-url", b"//evil.example"), (b"referer", b"https://evil.example"),
        (b"user-agent", b"\x00\xff\r\nset-cookie: a=b" * 500), (b"accept-language", b"\xff\x00\r\nx: y"),
        (b"location", b"https://evil.example"), (b"accept", b"\x00" * 9_000), (b"sec-ch-ua", b"\xed\xa0\x80"),
    ]  # fmt: skip
    status, headers = await visited(app, made.path(0), hostile)
    assert (status, headers[b"location"]) == (302, OFFER.encode())
    assert set(headers) == {b"location", b"cache-control", b"x-robots-tag", b"referrer-policy", b"content-length"}


async def test_a_query_behind_the_token_is_not_carried_over(client: httpx.AsyncClient, make: Maker) -> None:
    made = await make(OFFER)
    answer = await visit(client, f"{made.path(0)}?x=//evil.example&fbclid=1")
    assert answer.headers["location"] == OFFER


async def test_a_link_number_that_the_delivery_does_not_have_leads_nowhere(
    client: httpx.AsyncClient, make: Maker
) -> None:
    made = await make(OFFER)
    assert (await visit(client, made.path(0, 1))).status_code == 404


async def test_a_message_that_does_not_exist_leads_nowhere(client: httpx.AsyncClient, app: FastAPI) -> None:
    token = encode(app.state.routes.keys, 2**40 + 7, 0)
    assert (await visit(client, f"/r/{token}")).status_code == 404


# --- the pages -------------------------------------------------------------------------------------------------------


async def test_wrong_expired_and_cancelled_look_the_same(client: httpx.AsyncClient, make: Maker) -> None:
    ended = await make(OFFER, started_at=datetime.now(UTC) - timedelta(days=366), status="finished")
    cancelled = await make(OFFER, status="cancelled")
    wrong = await visit(client, "/r/abcdefgh")
    pages = [await visit(client, ended.path(0)), await visit(client, cancelled.path(0))]
    assert (wrong.status_code, [each.status_code for each in pages]) == (404, [410, 410])
    for each in pages:
        assert each.content == wrong.content
        assert each.headers == wrong.headers
    assert len(wrong.content) < 1_000


async def test_a_link_lives_from_the_start_of_its_delivery(client: httpx.AsyncClient, make: Maker) -> None:
    made = await make(OFFER, started_at=datetime.now(UTC) - timedelta(days=364), status="finished")
    assert (await visit(client, made.path(0))).status_code == 302


@pytest.mark.parametrize(
    ("asked", "language"),
    [("es", "es"), ("es-MX,es;q=0.9,en;q=0.8", "es"), ("en-GB,en;q=0.9,es;q=0.8", "en"), ("fr,es;q=0.4", "es"),
     ("fr,de", "en"), ("", "en"), ("*", "en"), ("en;q=0.1,es;q=0.9", "es"), ("es;q=x,en", "en"), ("ES", "es")],
)  # fmt: skip
async def test_the_page_speaks_the_visitors_language(client: httpx.AsyncClient, asked: str, language: str) -> None:
    assert preferred(asked.encode()) == language
    answer = await client.get("/r/wrong", headers={"Accept-Language": asked})
    sentence = {"es": "Este enlace no lleva a ninguna parte", "en": "This link leads nowhere"}[language]
    assert sentence in answer.text
    assert answer.headers["content-language"] == language
    assert answer.headers["vary"] == "Accept-Language"


async def test_the_page_loads_and_leaks_nothing(client: httpx.AsyncClient) -> None:
    answer = await visit(client, "/r/wrong")
    assert not re.search(r"(?:src|href|@import|url\()", answer.text)
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert (answer.headers["cache-control"], answer.headers["x-robots-tag"]) == ("no-store", "noindex")
    assert "set-cookie" not in answer.headers
    head = await visit(client, "/r/wrong", "HEAD")
    assert (head.status_code, head.content, head.headers["content-length"]) == (
        404, b"", answer.headers["content-length"],
    )  # fmt: skip


# --- short hosts -----------------------------------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def short(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A service with two hosts of short URLs."""
    app = create_app(settings.model_copy(update={"short_hosts": ("go.example", "SMS.acme.example:8443")}))
    async with app.router.lifespan_context(app):
        app.state.limiter.missed = lambda network: 0
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://acuse.test") as client:
            client.app = app  # type: ignore[attr-defined]
            yield client


@pytest.mark.parametrize(
    "host", ["go.example", "GO.Example", "go.example:8080", "go.example.", "sms.acme.example", "sms.acme.example:443"]
)
async def test_on_a_short_host_the_path_is_the_token(short: httpx.AsyncClient, make: Maker, host: str) -> None:
    made = await make(OFFER)
    await short.app.state.routes.refresh()  # type: ignore[attr-defined]
    for path in (f"/{made.token(0)}", made.path(0)):
        answer = await visit(short, path, Host=host)
        assert (answer.status_code, answer.headers.get("location")) == (302, OFFER)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(("path", "status"), cases("short_hosts", "path", "status"))
async def test_on_a_short_host_nothing_but_tokens_answers(
    short: httpx.AsyncClient, path: str, status: int, method: str
) -> None:
    answer = await visit(short, path, method, Host="go.example")
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/plain" if path == "/robots.txt" else "text/html")
    said = (answer.text + str(answer.headers)).lower()
    assert "acuse" not in said.replace("acuse.test", "")
    assert (answer.content == b"") == (method == "HEAD")


async def test_the_root_of_a_short_host_is_a_neutral_page_and_robots_are_sent_away(short: httpx.AsyncClient) -> None:
    front = await visit(short, "/", Host="go.example")
    assert "abra el de su mensaje" in front.text
    assert (front.headers["x-robots-tag"], front.headers["cache-control"]) == ("noindex", "no-store")
    robots = await visit(short, "/robots.txt", Host="go.example")
    assert robots.text == "User-agent: *\nDisallow: /\n"
    for path in ("/", "/robots.txt", "/v1/deliveries", "/docs"):
        answer = await visit(short, path, "POST", Host="go.example")
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


async def test_with_a_tail_it_is_the_token_on_a_short_host_too(short: httpx.AsyncClient, make: Maker) -> None:
    made = await make(OFFER)
    await short.app.state.routes.refresh()  # type: ignore[attr-defined]
    for tail in (".", "/", ")", "&utm_source=sms", "&next=/a/b", "%E2%80%9D"):
        assert (await visit(short, f"/{made.token(0)}{tail}", Host="go.example")).status_code == 302, tail


async def test_on_other_hosts_it_is_not(short: httpx.AsyncClient, make: Maker) -> None:
    made = await make(OFFER)
    await short.app.state.routes.refresh()  # type: ignore[attr-defined]
    for host in ("acuse.test", "evil.go.example", "go.example.evil"):
        answer = await visit(short, f"/{made.token(0)}", Host=host)
        assert (answer.status_code, "location" in answer.headers) == (404, False), host
        assert (await visit(short, "/openapi.json", Host=host)).status_code == 200
    assert (await visit(short, f"/a/{made.token(0)}", Host="go.example")).status_code == 404


async def test_a_gateway_that_calls_a_short_host_loses_no_receipt(short: httpx.AsyncClient) -> None:
    app = short.app  # type: ignore[attr-defined]
    body = {"key": "by-short-host", "kind": "generic", "auth": {"mode": "token", "secrets": ["token-of-a-test"]}}
    made = await short.post("/v1/gateways", json=body, headers={"Authorization": f"Bearer {ADMIN_SECRET}"})
    assert made.status_code == 201, made.text
    await app.state.directory.refresh()
    receipt = {"provider_message_id": "short-1", "status": "delivered"}
    for host in ("go.example", "acuse.test"):
        url = "/callbacks/by-short-host?token=token-of-a-test"
        assert (await short.post(url, json=receipt, headers={"Host": host})).status_code == 200


async def test_where_the_service_shares_the_host_it_answers_as_well(settings: Settings, make: Maker) -> None:
    """Who names one host for both has the service there: it stays within reach."""
    both = {"short_hosts": ("one.example", "127.0.0.1"), "public_url": AnyHttpUrl("https://ONE.example:8443")}
    app = create_app(settings.model_copy(update=both))
    async with app.router.lifespan_context(app):
        made = await make(OFFER)
        await app.state.routes.refresh()
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://one.example") as client:
            for host in ("one.example", "One.Example.:1"):
                for path, status in (("/docs", 200), ("/healthz", 200), ("/v1/deliveries", 401), ("/", 200)):
                    assert (await client.get(path, headers={"Host": host})).status_code == status
                for tail in ("", ".", "/", "&a=/b"):
                    assert (await client.get(f"/{made.token(0)}{tail}", headers={"Host": host})).status_code == 302
                assert (await client.get("/robots.txt", headers={"Host": host})).status_code == 200
            assert (await client.get("/healthz", headers={"Host": "127.0.0.1:8000"})).status_code == 404


@pytest.mark.parametrize(("host", "status"), [("127.0.0.1:8000", 200), ("localhost:8000", 404)])
async def test_without_a_public_url_the_service_is_reached_where_it_listens(
    settings: Settings, host: str, status: int
) -> None:
    app = create_app(settings.model_copy(update={"short_hosts": ("localhost", "127.0.0.1")}))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=f"http://{host}") as client,
    ):
        assert (await client.get("/healthz")).status_code == status


def test_a_request_without_a_host_is_on_none() -> None:
    hosts = ShortHosts.of(["go.example", "[::1]:80", "b.example"], "https://b.example/x")
    assert hosts.token({"path": "/abc", "headers": []}, frozenset()) is None
    assert not hosts.are_all({"path": "/abc", "headers": []})
    assert hosts.token({"path": "/", "headers": [(b"host", b"go.example")]}, frozenset()) == ""
    assert hosts.token({"path": "/abc", "headers": [(b"host", b"[::1]:8080")]}, frozenset()) == "abc"
    assert hosts.token({"path": "/a/b", "headers": [(b"host", b"b.example")]}, frozenset()) is None
    assert hosts.token({"path": "/abc", "headers": [(b"host", b"b.example")]}, frozenset(["/abc"])) is None


# --- who tries links -------------------------------------------------------------------------------------------------


async def test_a_network_that_misses_again_and_again_is_slowed(
    client: httpx.AsyncClient, make: Maker, app: FastAPI
) -> None:
    made = await make(OFFER)
    seen = [(await visit(client, f"/r/wrong{number:04}")).status_code for number in range(int(BUDGET) + 20)]
    assert seen[: int(BUDGET)] == [404] * int(BUDGET)
    assert seen[-10:] == [429] * 10
    slowed = await visit(client, "/r/wrong")
    assert (slowed.status_code, int(slowed.headers["retry-after"]) > 0) == (429, True)
    # Behind one address of a phone company are thousands: they are not shut out by one of them.
    assert (await visit(client, made.path(0))).status_code == 302
    # Other networks are not affected at all.
    status, _ = await visited(app, "/r/wrong", [])
    assert status == 404


async def test_whoever_walks_through_tokens_shuts_nobody_out_of_true_links(
    client: httpx.AsyncClient, make: Maker, app: FastAPI
) -> None:
    made = await make(OFFER, {"source_url": "https://shop.example/{{code}}"}, params=[{"code": "1"}])
    for _ in range(int(MOST) * 5):
        app.state.limiter.missed(NETWORK)
    assert (await visit(client, "/r/wrong")).status_code == 429
    assert [(await visit(client, made.path(0, number))).status_code for number in (0, 1)] == [302, 302]


async def test_favicons_and_links_that_are_over_are_no_guesses(
    client: httpx.AsyncClient, make: Maker, app: FastAPI
) -> None:
    made = await make(OFFER, status="cancelled")
    for _ in range(int(BUDGET) + 5):
        assert (await visit(client, made.path(0))).status_code == 410
        assert (await visit(client, "/r/favicon.ico")).status_code == 404


def test_what_the_limiter_remembers_is_bounded_and_forgiven(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000.0
    monkeypatch.setattr("app.links.limiter.time.monotonic", lambda: now)
    limiter = Limiter()
    for number in range(30_000):
        limiter.missed(f"network {number}")
    assert len(limiter._counts) == 20_000
    for _ in range(5_000):
        limiter.missed("a")
    assert limiter._counts["a"][0] == MOST
    now += 5
    assert limiter.missed("a") > 0
    now += MOST
    assert limiter.missed("a") == 0


@pytest.mark.parametrize(
    ("address", "network"),
    [("203.0.113.77", "203.0.113.0/24"), ("2001:db8:1:2::3", "2001:db8:1::/48"), ("::ffff:203.0.113.77", "203.0.113.0/24"),
     ("fe80::1%eth0", "fe80::/48"), ("testclient", None), (None, None), ("", None)],
)  # fmt: skip
def test_of_an_address_only_the_network_is_kept(address: str | None, network: str | None) -> None:
    assert network_of(address) == network


# --- routes in memory ------------------------------------------------------------------------------------------------


async def test_a_fixed_url_needs_no_database(client: httpx.AsyncClient, make: Maker, app: FastAPI) -> None:
    made = await make(OFFER)
    pool, app.state.routes._pool = app.state.routes._pool, None
    try:
        assert (await visit(client, made.path(0))).status_code == 302
    finally:
        app.state.routes._pool = pool


async def test_a_message_in_no_block_is_looked_up_once(client: httpx.AsyncClient, make: Maker, app: FastAPI) -> None:
    made = await make(OFFER, block=False)
    assert (await visit(client, made.path(0))).status_code == 302
    pool, app.state.routes._pool = app.state.routes._pool, None
    try:
        assert (await visit(client, made.path(0))).status_code == 302
    finally:
        app.state.routes._pool = pool


async def test_what_changes_is_noticed_within_seconds(
    client: httpx.AsyncClient, make: Maker, app: FastAPI, pool: Pool
) -> None:
    made = await make(OFFER)
    await pool.execute("UPDATE deliveries SET status = 'cancelled', updated_at = now() WHERE id = $1", made.delivery)
    await app.state.routes.refresh()
    assert (await visit(client, made.path(0))).status_code == 410


async def test_keys_rotate_and_old_tokens_keep_working(
    client: httpx.AsyncClient, make: Maker, app: FastAPI, pool: Pool
) -> None:
    made = await make(OFFER)
    old = made.path(0)
    for _ in range(7):
        async with pool.acquire() as connection, connection.transaction():
            await token_keys.rotate(connection, datetime.now(UTC), actor="tests")
        await app.state.routes.refresh()
        assert made.path(0) != old
        assert (await visit(client, made.path(0))).status_code == 302
        assert (await visit(client, old)).status_code == 302
    async with pool.acquire() as connection:
        with pytest.raises(Exception, match="oldest one lead nowhere"):
            await token_keys.rotate(connection, datetime.now(UTC), actor="tests")
        async with connection.transaction():
            await token_keys.rotate(connection, datetime.now(UTC), actor="tests", forgetting=True)
    await app.state.routes.refresh()
    assert (await visit(client, old)).status_code == 404
    assert await pool.fetchval("SELECT count(*) FROM audit WHERE chain = 0 AND code = 'LNK-ROTATED'") == 8


async def test_every_visit_is_taken_down_as_it_was(
    client: httpx.AsyncClient, make: Maker, pool: Pool, admin: Headers
) -> None:
    made: Made = await make(OFFER)
    await visit(client, made.path(0))
    await visit(client, made.path(0), "HEAD")
    await client.get(made.path(0), headers=PREVIEW)
    await visit(client, made.path(0), **{"Sec-Purpose": "prefetch;prerender"})
    await applied(pool)
    rows = await pool.fetch(
        "SELECT c.human, c.reasons, c.network, v.visit FROM clicks c JOIN visitors v ON v.id = c.visitor "
        "WHERE c.delivery_id = $1 ORDER BY c.id",
        made.delivery,
    )
    found: list[Any] = [(row["human"], row["reasons"], row["visit"]["method"], row["network"]) for row in rows]
    assert sorted(found, key=str) == sorted(
        [
            (True, [], "GET", NETWORK),
            (False, ["head"], "HEAD", NETWORK),
            (False, ["preview_agent"], "GET", NETWORK),
            (False, ["prefetch"], "GET", NETWORK),
        ],
        key=str,
    )
