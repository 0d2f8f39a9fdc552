"""Short URLs in texts: what stands there, what it takes, and that it leads where it should."""

import itertools
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from app.db import Pool
from app.links.shortening import Bases
from app.links.tokens import decode
from app.settings import Settings
from app.texts.encoding import measure
from tests.conftest import ADMIN_SECRET, Headers
from tests.deliveries.audience import Delivery, mobile
from tests.links.conftest import PERSON, applied

BASE = "https://go.example"
SHORT = len(BASE) + 1 + 8
OFFER = "https://shop.example/offer?utm_medium=x"
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def settings(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(
        database_url=database_url,
        data_dir=tmp_path_factory.mktemp("data"),
        admin_key=SecretStr(ADMIN_SECRET),
        short_hosts=("go.example", "Brand=b.example"),
    )


class Sent(Delivery):
    async def started(self, *params: dict[str, Any]) -> list[dict[str, Any]]:
        """Prepared for a target with each of `params`, and started; the outbox."""
        rows = [{"address": mobile(next(_numbers)), "params": each} for each in params or ({},)]
        assert (await self.upload(rows)).status_code == 200
        await self.prepare()
        answer = await self.post("start")
        assert answer.status_code == 200, answer.text
        return await self.outbox()

    async def outbox(self) -> list[dict[str, Any]]:
        answer = await self.client.get(f"{self.url}/outbox", headers=self.headers)
        assert answer.status_code == 200, answer.text
        return [httpx.Response(200, content=line).json() for line in answer.content.splitlines()]

    async def findings(self) -> dict[str, dict[str, Any]]:
        """By code."""
        return {each["code"]: each for each in (await self.get())["preparation"]["findings"]}

    async def visit(self, url: str) -> httpx.Response:
        await self.app.state.routes.refresh()
        return await self.client.get(url, headers=PERSON)


async def make(app: FastAPI, client: httpx.AsyncClient, admin: Headers, content: str, **fields: Any) -> Sent:
    made = await Sent.make(app, client, admin, content=content, **fields)
    assert isinstance(made, Delivery)
    return Sent(app, client, admin, made.id)


def shorts(text: str, base: str = BASE) -> list[str]:
    """The short URLs in a text."""
    return [word.strip("().,") for word in text.split() if base in word]


def named(app: FastAPI, url: str) -> tuple[int, int] | None:
    return decode(app.state.routes.keys, url.rpartition("/")[2])


# --- what stands there -----------------------------------------------------------------------------------------------


async def test_each_link_becomes_a_short_url_and_all_around_it_stays(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers
) -> None:
    sent = await make(app, client, admin, f"Hi {{{{name}}}}: ({OFFER}), www.shop.example/a. And {OFFER}! STOP to 25252")
    (row,) = await sent.started({"name": "Ana"})
    first, second, again = shorts(row["text"].replace("!", ""))
    assert first == again != second
    assert named(app, first) == (int(row["message_id"]), 0)
    assert named(app, second) == (int(row["message_id"]), 1)
    assert row["text"] == f"Hi Ana: ({first}), {second}. And {first}! STOP to 25252"
    assert [(await sent.visit(url)).headers["location"] for url in (first, second)] == [
        OFFER,
        "http://www.shop.example/a",
    ]


async def test_no_two_messages_have_the_same_short_url(app: FastAPI, client: httpx.AsyncClient, admin: Headers) -> None:
    sent = await make(app, client, admin, f"Look: {OFFER} STOP to 25252")
    rows = await sent.started(*[{}] * 30)
    urls = [shorts(row["text"])[0] for row in rows]
    assert len(set(urls)) == 30
    assert [named(app, url) for url in urls] == [(int(row["message_id"]), 0) for row in rows]


async def test_a_host_of_many_letters_leads_to_its_plain_spelling(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers
) -> None:
    sent = await make(app, client, admin, "Ver https://españa.example/café STOP al 25252")
    (row,) = await sent.started()
    (url,) = shorts(row["text"])
    assert row["parts"] == 1
    assert measure(row["text"]).encoding == "gsm7"
    assert (await sent.visit(url)).headers["location"] == "https://xn--espaa-rta.example/caf%C3%A9"


async def test_a_placeholder_in_a_url_is_filled_on_redirect_and_not_in_the_text(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers
) -> None:
    sent = await make(app, client, admin, "Hi {{name}} https://shop.example/c/{{code}}?n={{name}} STOP to 25252")
    one, two = await sent.started({"name": "Ana", "code": "a/b"}, {"name": "Eva", "code": "é"})
    assert "a/b" not in one["text"]
    assert one["parts"] == two["parts"] == 1
    links = [(await sent.visit(shorts(row["text"])[0])).headers["location"] for row in (one, two)]
    assert links == ["https://shop.example/c/a%2Fb?n=Ana", "https://shop.example/c/%C3%A9?n=Eva"]


async def test_a_placeholder_in_a_url_without_a_value_stops_the_start(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers
) -> None:
    sent = await make(app, client, admin, "https://shop.example/c/{{code}} STOP to 25252")
    assert (await sent.upload([{"address": mobile(next(_numbers))}])).status_code == 200
    await sent.prepare()
    assert (await sent.findings())["placeholder_missing"]["data"]["placeholder"] == "code"
    assert (await sent.post("start")).status_code == 409


@pytest.mark.parametrize("off", ["delivery", "link"])
async def test_what_is_not_tracked_stays_as_it_is(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers, off: str
) -> None:
    content = f"{OFFER} https://shop.example/b STOP to 25252"
    sent = await make(app, client, admin, content, tracking=off == "link")
    if off == "link":
        answer = await client.patch(f"{sent.url}/links/0", json={"tracked": False}, headers=admin)
        assert answer.status_code == 200, answer.text
    (row,) = await sent.started()
    assert OFFER in row["text"]
    assert len(shorts(row["text"])) == (1 if off == "link" else 0)
    assert ("https://shop.example/b" in row["text"]) == (off == "delivery")


async def test_each_sender_has_its_own_host_or_the_first_of_all(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers
) -> None:
    sent = await make(app, client, admin, f"{OFFER} STOP to 25252", sender="Brand")
    (row,) = await sent.started()
    (url,) = shorts(row["text"], "https://b.example")
    assert (await sent.visit(url)).status_code == 302


def test_the_public_url_stands_in_where_no_host_is_named() -> None:
    assert Bases.of((), "https://acuse.example:8443").for_sender("Acme") == "https://acuse.example:8443/r"
    assert Bases.of((), None).for_sender("Acme") is None
    assert Bases.of((), None, "http://127.0.0.1:8000").for_sender("Acme") == "http://127.0.0.1:8000/r"
    assert Bases.of((), "https://acuse.example", "http://127.0.0.1:8000").for_sender("A") == "https://acuse.example/r"
    only = Bases.of(("Brand=B.example",), None)
    assert (only.for_sender("BRAND"), only.for_sender("Acme"), only.hosts) == (
        "https://b.example",
        None,
        ("B.example",),
    )


@pytest.mark.parametrize(
    ("host", "port", "url"),
    [("127.0.0.1", 8000, "http://127.0.0.1:8000"), ("0.0.0.0", 1, "http://127.0.0.1:1"), ("::", 1, "http://[::1]:1"),
     ("fd00::1", 8000, "http://[fd00::1]:8000"), ("sms.example", 80, "http://sms.example:80"), ("127.0.0.1", 0, None)],
)  # fmt: skip
def test_the_address_listened_on_is_a_url(host: str, port: int, url: str | None) -> None:
    assert Settings(host=host, port=port).listened_url == url


@pytest.mark.parametrize(
    "entry", ["go example", "https://go.example", "go.example/x", "=go.example", "Brand=", "gö.example"]
)
def test_a_short_host_that_is_none_is_refused_at_the_start(entry: str) -> None:
    with pytest.raises(ValueError, match="host of short URLs"):
        Settings(short_hosts=(entry,))


async def test_without_a_host_links_stay_and_preparation_warns(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers, monkeypatch: pytest.MonkeyPatch
) -> None:
    for holder in (app.state.links, app.state.preparer._links):
        monkeypatch.setattr(type(holder.bases), "for_sender", lambda self, sender: None)
    sent = await make(app, client, admin, f"{OFFER} STOP to 25252")
    (row,) = await sent.started()
    assert OFFER in row["text"]
    assert (await sent.findings())["links_not_short"]["level"] == "warning"


# --- what it takes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("filling", "parts"), [(0, 1), (1, 2)])
async def test_a_text_of_160_characters_with_one_link_is_one_part_by_its_real_length(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers, filling: int, parts: int
) -> None:
    """The content is longer than its text: what counts is the text."""
    rest = 160 - SHORT - len(" STOP to 25252 ") + filling
    content = "x" * rest + " " + OFFER + "&" + "y" * 100 + " STOP to 25252"
    sent = await make(app, client, admin, content, rules={"max_parts": 2})
    (row,) = await sent.started()
    assert (len(row["text"]), row["parts"]) == (160 + filling, parts)
    assert measure(row["text"]).parts == parts
    found = await sent.get()
    assert found["preparation"]["parts"] == parts
    assert (await sent.findings())["parts"]["data"]["units"] == 160 + filling
    assert (await sent.findings())["link"]["data"]["short_length"] == SHORT


async def test_a_block_in_which_tokens_become_longer_is_counted_message_by_message(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers, pool: Pool
) -> None:
    """Ids from 2^20 on have tokens of nine characters."""
    sent = await make(app, client, admin, "x" * (160 - SHORT - 1) + f" {OFFER}", rules={"max_parts": 2})
    before = await pool.fetchval("SELECT reserve_message_ids(1)")
    await pool.fetchval("SELECT setval(pg_get_serial_sequence('messages', 'id'), $1)", 2**20 - 3)
    try:
        rows = await sent.started(*[{}] * 4)
    finally:
        await pool.fetchval("SELECT setval(pg_get_serial_sequence('messages', 'id'), $1)", before)
    assert [len(row["text"]) for row in rows] == [160 if int(row["message_id"]) < 2**20 else 161 for row in rows]
    assert {row["parts"] for row in rows} == {1, 2}
    assert (await sent.get())["preparation"]["parts"] == sum(row["parts"] for row in rows)


async def test_the_parts_that_were_prepared_are_those_of_the_outbox(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers
) -> None:
    content = "{{name}} https://shop.example/{{code}}/{{name}} x www.shop.example/b STOP to 25252"
    sent = await make(app, client, admin, content)
    names = ["A", "Ana María", "ñ" * 100, "x" * 90, "y" * 110, "é" * 33, "€" * 60, "ł" * 10]
    rows = await sent.started(*({"name": name, "code": f"c-{place}"} for place, name in enumerate(names)))
    assert all(row["parts"] == measure(row["text"]).parts for row in rows)
    found = await sent.get()
    assert found["preparation"]["parts"] == sum(row["parts"] for row in rows)
    assert (await sent.findings())["parts"]["data"]["parts"] == max(row["parts"] for row in rows)


# --- proofs ----------------------------------------------------------------------------------------------------------


async def test_a_proof_has_short_urls_of_its_own_that_never_count(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers, pool: Pool
) -> None:
    sent = await make(app, client, admin, "Hi {{name}} https://shop.example/{{code}} STOP to 25252")
    body = {"addresses": [{"address": mobile(next(_numbers)), "params": {"name": "Ana", "code": "é"}}]}
    answer = await client.post(f"{sent.url}/proofs", json=body, headers=admin)
    assert answer.status_code == 201, answer.text
    (row,) = answer.json()["items"]
    (url,) = shorts(row["text"])
    assert row["parts"] == 1
    assert named(app, url) == (int(row["message_id"]), 0)
    assert (
        await pool.fetchval("SELECT delivery_id FROM link_blocks WHERE first_id = $1", int(row["message_id"]))
        == sent.id
    )
    assert (await sent.visit(url)).headers["location"] == "https://shop.example/%C3%A9"
    await applied(pool)
    assert (await sent.get("links"))["items"][0]["clicks"] == 0
    shown = (await sent.get("proofs"))["items"][0]
    assert shown["text"] == row["text"]


# --- all the way -----------------------------------------------------------------------------------------------------


async def test_from_the_content_to_the_click(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers, pool: Pool
) -> None:
    sent = await make(app, client, admin, f"Hi {{{{name}}}} {OFFER}#top STOP to 25252")
    change = {"label": "Offer", "params": {"utm_source": "sms", "utm_medium": "lost"}}
    assert (await client.patch(f"{sent.url}/links/0", json=change, headers=admin)).status_code == 200
    one, _ = await sent.started({"name": "Ana"}, {"name": "Eva"})
    answer = await sent.visit(shorts(one["text"])[0])
    assert answer.status_code == 302
    assert answer.headers["location"] == f"{OFFER}&utm_source=sms#top"
    await applied(pool)
    (link,) = (await sent.get("links"))["items"]
    assert (link["label"], link["clicks"], link["unique_clicks"]) == ("Offer", 1, 1)
    blocks = await pool.fetch("SELECT first_id, last_id FROM link_blocks WHERE delivery_id = $1", sent.id)
    assert [tuple(block) for block in blocks] == [(int(one["message_id"]), int(one["message_id"]) + 1)]
    assert (await sent.post("recompute")).json()["drift"] == 0
