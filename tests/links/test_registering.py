"""Which links a delivery has, how they are changed, and short URLs for messages sent elsewhere."""

import asyncio
import itertools
from typing import Any

import httpx
import orjson
import pytest
from fastapi import FastAPI

from app.db import Pool
from app.links.registering import label_of
from tests.conftest import Headers, KeyMaker
from tests.deliveries.audience import mobile
from tests.deliveries.sending import make_gateway
from tests.links.conftest import applied
from tests.links.test_texts import Sent, make, settings

__all__ = ["settings"]  # a service with hosts of short URLs

_numbers = itertools.count(100_000)


async def links(sent: Sent) -> list[tuple[int, str, bool]]:
    """Number, URL, whether it is in the content."""
    items = (await sent.get("links"))["items"]
    return [(item["number"], item["source_url"], item["in_content"]) for item in items]


async def change(sent: Sent, what: str = "", **fields: Any) -> httpx.Response:
    return await sent.client.patch(f"{sent.url}{what}", json=fields, headers=sent.headers)


# --- those of the content --------------------------------------------------------------------------------------------


async def test_links_are_numbered_in_order_and_the_same_text_is_one(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers
) -> None:
    sent = await make(
        app, client, admin, "https://b.example/2, www.a.example (https://b.example/2) https://c.example/{{x}}."
    )
    assert await links(sent) == [
        (0, "https://b.example/2", True),
        (1, "www.a.example", True),
        (2, "https://c.example/{{x}}", True),
    ]
    items = (await sent.get("links"))["items"]
    assert [item["type"] for item in items] == ["fixed", "fixed", "template"]
    assert [item["label"] for item in items] == ["b.example/2", "www.a.example", "c.example/{{x}}"]


async def test_a_change_of_the_content_keeps_what_stays_and_never_reuses_a_number(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers
) -> None:
    sent = await make(app, client, admin, "https://a.example https://b.example")
    await change(sent, "/links/1", label="B", params={"a": "1"})
    await change(sent, content="https://c.example https://b.example")
    assert await links(sent) == [
        (0, "https://a.example", False),
        (1, "https://b.example", True),
        (2, "https://c.example", True),
    ]
    kept = (await sent.get("links"))["items"][1]
    assert (kept["label"], kept["params"]) == ("B", {"a": "1"})
    await change(sent, content="https://a.example")
    assert [shown for _, _, shown in await links(sent)] == [True, False, False]


async def test_links_that_nobody_registered_are_there_after_the_preparation(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers, pool: Pool
) -> None:
    """A delivery of a time when links were not known."""
    sent = await make(app, client, admin, "https://a.example STOP to 25252")
    await pool.execute("DELETE FROM links WHERE delivery_id = $1", sent.id)
    (row,) = await sent.started()
    assert "https://go.example/" in row["text"]
    assert await links(sent) == [(0, "https://a.example", True)]


async def test_preparing_again_changes_nothing_of_the_links(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers, pool: Pool
) -> None:
    sent = await make(app, client, admin, "https://a.example STOP to 25252")
    await change(sent, "/links/0", label="A", params={"x": "y"})
    assert (await sent.upload([mobile(next(_numbers))])).status_code == 200
    before = (await sent.get("links"))["items"]
    await sent.prepare()
    await sent.prepare()
    assert (await sent.get("links"))["items"] == before
    assert await pool.fetchval("SELECT count(*) FROM link_blocks WHERE delivery_id = $1", sent.id) == 2


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("https://user@shop.example/", "link_refused"),
        ("https://{{host}}.example/", "link_refused"),
        (" ".join(f"https://a.example/{number}" for number in range(65)), "too_many_links"),
    ],
)
async def test_a_link_that_leads_nowhere_stops_the_start(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers, content: str, code: str
) -> None:
    sent = await make(app, client, admin, f"{content} STOP to 25252")
    await sent.upload([{"address": mobile(next(_numbers)), "params": {"host": "a"}}])
    await sent.prepare()
    finding = (await sent.findings())[code]
    assert finding["level"] == "error"
    assert finding["text"].endswith(".")
    assert (await sent.post("start")).status_code == 409
    assert len(await links(sent)) == (64 if code == "too_many_links" else 0)


async def test_turning_tracking_turns_all_links(app: FastAPI, client: httpx.AsyncClient, admin: Headers) -> None:
    sent = await make(app, client, admin, "https://a.example https://b.example", tracking=False)
    assert {item["tracked"] for item in (await sent.get("links"))["items"]} == {False}
    assert (await change(sent, "/links/0", tracked=True)).status_code == 409
    await change(sent, tracking=True)
    assert {item["tracked"] for item in (await sent.get("links"))["items"]} == {True}


async def test_a_link_registered_by_itself_stays_in_a_content_that_is_not_tracked(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers
) -> None:
    sent = await make(app, client, admin, "STOP to 25252", tracking=False)
    assert (await sent.post("links", orjson.dumps({"url": "https://a.example"}))).status_code == 201
    await change(sent, content="https://a.example STOP to 25252")
    (row,) = await sent.started()
    assert row["text"] == "https://a.example STOP to 25252"


def test_a_label_is_host_and_path_and_cropped() -> None:
    assert label_of("https://a.example/b/?c#d") == "a.example/b"
    assert label_of("www.a.example") == "www.a.example"
    assert label_of("https://a.example/" + "x" * 99) == "a.example/" + "x" * 49 + "…"


# --- changed ---------------------------------------------------------------------------------------------------------


async def test_a_change_of_what_a_link_does_must_be_prepared_again_and_stands_in_the_journal(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers
) -> None:
    sent = await make(app, client, admin, "https://a.example STOP to 25252")
    await sent.upload([mobile(next(_numbers))])
    await sent.prepare()
    assert (await change(sent, "/links/0", label="Only a name")).json()["label"] == "Only a name"
    assert (await sent.get())["status"] == "prepared"
    assert (await change(sent, "/links/0", params={"utm_source": "sms"})).status_code == 200
    assert (await sent.get())["status"] == "editing"
    entries = await sent.journal("DLV-LINK-CHANGED")
    assert [entry["data"]["changes"] for entry in entries] == [
        {"label": {"old": "a.example", "new": "Only a name"}},
        {"params": {"old": {}, "new": {"utm_source": "sms"}}},
    ]
    await change(sent, "/links/0", label="Only a name")
    assert len(await sent.journal("DLV-LINK-CHANGED")) == 2


async def test_from_the_start_on_only_the_label_can_be_changed(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers
) -> None:
    sent = await make(app, client, admin, "https://a.example STOP to 25252")
    await sent.started()
    assert (await change(sent, "/links/0", tracked=False)).status_code == 409
    assert (await change(sent, "/links/0", params={"a": "b"})).status_code == 409
    assert (await change(sent, "/links/0", label="A")).status_code == 200
    assert (await sent.get())["status"] == "in_progress"


@pytest.mark.parametrize(
    "body",
    [{"params": {str(number): "x" for number in range(21)}}, {"params": {"": "x"}}, {"params": {"a": "x" * 201}},
     {"params": {"a": "\r\n"}}, {"params": {"a": 1}}, {"params": None}, {"label": ""}, {"tracked": "yes"}, {"url": "x"}],
)  # fmt: skip
async def test_a_change_that_cannot_be_is_refused(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers, body: dict[str, Any]
) -> None:
    sent = await make(app, client, admin, "https://a.example")
    assert (await change(sent, "/links/0", **body)).status_code == 422


async def test_params_with_which_a_link_leads_nowhere_are_refused(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers
) -> None:
    sent = await make(app, client, admin, f"https://a.example/{'x' * 1_900}")
    assert (await change(sent, "/links/0", params={"a": "x" * 150})).status_code == 422
    assert (await change(sent, "/links/1", label="none")).status_code == 404


async def test_preparation_and_a_change_exclude_each_other(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers
) -> None:
    """Whichever comes first, a started delivery's links are what its texts were made with."""
    for _ in range(5):
        sent = await make(app, client, admin, "https://a.example STOP to 25252")
        await sent.upload([mobile(next(_numbers)) for _ in range(200)])
        prepared, changed = await asyncio.gather(sent.post("prepare?wait=60"), change(sent, "/links/0", tracked=False))
        assert (prepared.status_code, changed.status_code) in {(202, 200), (202, 409)}
        if (await sent.get())["status"] == "editing":
            await sent.prepare()
        tracked = (await sent.get("links"))["items"][0]["tracked"]
        assert tracked == (changed.status_code == 409)
        assert (await sent.post("start")).status_code == 200
        rows = await sent.outbox()
        assert {"https://go.example/" in row["text"] for row in rows} == {tracked}
        assert sum(row["parts"] for row in rows) == (await sent.get())["preparation"]["parts"]


async def test_changing_a_link_needs_a_key_that_may(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers, key: KeyMaker
) -> None:
    sent = await make(app, client, admin, "https://a.example")
    reader = await key("deliveries:read")
    assert (await client.patch(f"{sent.url}/links/0", json={"label": "x"}, headers=reader)).status_code == 403
    assert (
        await client.post(f"{sent.url}/links", json={"url": "https://a.example"}, headers=reader)
    ).status_code == 403


# --- messages sent elsewhere -----------------------------------------------------------------------------------------


class Elsewhere(Sent):
    async def ask(self, *rows: dict[str, Any]) -> list[dict[str, Any]]:
        answer = await self.asked(*rows)
        assert answer.status_code == 200, answer.text
        return [orjson.loads(line) for line in answer.content.splitlines()]

    async def asked(self, *rows: dict[str, Any]) -> httpx.Response:
        return await self.post("links", b"\n".join(orjson.dumps(row) for row in rows), "application/x-ndjson")

    async def statuses(self) -> list[str]:
        return [item["status"] for item in (await self.get("messages"))["items"]]


@pytest.fixture
async def elsewhere(app: FastAPI, client: httpx.AsyncClient, admin: Headers) -> Elsewhere:
    gateway = await make_gateway(client, admin)
    made = await Sent.make(app, client, admin, content=None, gateway=gateway)
    return Elsewhere(app, client, admin, made.id)


def row(reference: str, url: str = "https://shop.example/a", **more: Any) -> dict[str, Any]:
    return {"reference": reference, "address": mobile(int(reference)), "url": url} | more


async def test_a_registered_link_gets_a_number_once(elsewhere: Elsewhere) -> None:
    body = orjson.dumps({"url": "https://shop.example/a", "label": "A"})
    first, again = await elsewhere.post("links", body), await elsewhere.post("links", b" \n" + body)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert (first.json()["number"], first.json()["label"], first.json()["in_content"]) == (0, "A", False)
    assert len(await elsewhere.journal("DLV-LINK-REGISTERED")) == 1
    assert (await elsewhere.get())["status"] == "editing"
    for wrong in (b'{"url": "javascript:alert(1)"}', b'{"url": 1}', b"{", b'{"url": "https://a.example", "x": 1}'):
        assert (await elsewhere.post("links", wrong)).status_code == 422


async def test_a_short_url_is_there_before_the_message_is_sent_and_leads_on(elsewhere: Elsewhere, pool: Pool) -> None:
    one, two = await elsewhere.ask(row("600001"), row("600002", "https://shop.example/b", recipient_id="c-2"))
    assert (one["line"], one["reference"], one["link"], two["link"]) == (1, "600001", 0, 1)
    assert (await elsewhere.visit(two["short_url"])).headers["location"] == "https://shop.example/b"
    assert await elsewhere.statuses() == ["pending", "pending"]
    assert (await elsewhere.get())["status"] == "in_progress"
    await applied(pool)
    assert [item["clicks"] for item in (await elsewhere.get("links"))["items"]] == [0, 1]
    assert (await elsewhere.post("recompute")).json()["drift"] == 0


async def test_the_same_row_again_gives_the_same_message_and_link(elsewhere: Elsewhere, pool: Pool) -> None:
    rows = [row("600011"), row("600012"), row("600011"), row("600011", "https://shop.example/b")]
    first = await elsewhere.ask(*rows)
    assert first == await elsewhere.ask(*rows)
    assert first[0]["short_url"] == first[2]["short_url"] != first[3]["short_url"]
    assert first[0]["message_id"] == first[3]["message_id"]
    assert len(await elsewhere.statuses()) == 2
    assert (await elsewhere.ask(rows[1]))[0]["short_url"] == first[1]["short_url"]
    assert await pool.fetchval("SELECT count(*) FROM link_blocks WHERE delivery_id = $1", elsewhere.id) == 1


async def test_the_message_recorded_later_is_the_one_that_was_asked_for(elsewhere: Elsewhere) -> None:
    made = await elsewhere.ask(row("600021"), row("600022"), row("600023"))
    sent = [
        {"address": mobile(600_021), "reference": "600021", "provider_message_id": "p-21"},
        {"address": mobile(600_022), "reference": "600022"},
        {"address": mobile(600_024), "reference": "600024", "provider_message_id": "p-24"},
        {"address": mobile(600_021), "reference": "600021", "provider_message_id": "p-21"},
    ]
    for _ in range(2):
        answer = (await elsewhere.post("messages", orjson.dumps(sent))).json()
        assert (answer["accepted"], answer["rejected"]) == (4, 0), answer
    items = {item["id"]: item["status"] for item in (await elsewhere.get("messages"))["items"]}
    assert [items[each["message_id"]] for each in made] == ["accepted", "submitted", "pending"]
    assert len(items) == 4
    body = orjson.dumps([{"reference": "600023", "provider_message_id": "p-23"}])
    assert (await elsewhere.post("submissions", body)).json()["accepted"] == 1
    assert sorted(await elsewhere.statuses()) == ["accepted", "accepted", "accepted", "submitted"]
    assert (await elsewhere.ask(row("600021")))[0]["short_url"] == made[0]["short_url"]
    assert (await elsewhere.post("recompute")).json()["drift"] == 0


async def test_another_address_is_another_message(elsewhere: Elsewhere) -> None:
    await elsewhere.ask(row("600031"))
    sent = [{"address": mobile(600_032), "reference": "600031", "provider_message_id": "p-31"}]
    assert (await elsewhere.post("messages", orjson.dumps(sent))).status_code == 422
    answer = await elsewhere.asked(row("600031", address=mobile(600_032)))
    assert (answer.status_code, answer.json()["rejected"]) == (422, 1)


async def test_uploads_at_once_make_each_message_once(elsewhere: Elsewhere) -> None:
    rows = [row(str(600_100 + number)) for number in range(50)]
    answers = await asyncio.gather(*(elsewhere.ask(*rows) for _ in range(4)))
    assert all(answer == answers[0] for answer in answers)
    assert len(await elsewhere.statuses()) == 50


async def test_a_bad_row_never_costs_its_neighbours(elsewhere: Elsewhere) -> None:
    standing = (await elsewhere.ask(row("600201")))[0]["message_id"]
    lines = await elsewhere.ask(
        row("600202"),
        {"reference": "600203", "url": "https://shop.example/a"},
        row("600204", "javascript:alert(1)"),
        row("600205", "https://shop.example/{{code}}"),
        row("600206", address="none"),
        {"message_id": standing, "link": 0},
        {"message_id": standing, "link": 7},
        {"message_id": "999999999", "link": 0},
        row("600207", gateway="nobody"),
        row("600208") | {"reference": "acuse-12"},
    )
    assert [each["line"] for each in lines if "short_url" in each] == [1, 6]
    assert all(each["detail"].endswith(".") for each in lines if "detail" in each)
    assert len(lines) == 10
    (entry,) = (await elsewhere.journal("DLV-LINKS"))[1:]
    assert entry["data"] == {"accepted": 2, "rejected": 8}


async def test_rows_come_as_csv_and_as_an_array_too(elsewhere: Elsewhere) -> None:
    body = f"reference,address,url\n600301,{mobile(600_301)},https://shop.example/a\n".encode()
    csv = await elsewhere.post("links", body, "text/csv")
    array = await elsewhere.post(
        "links", orjson.dumps([{"reference": "600301", "address": mobile(600_301), "link": 0}])
    )
    assert orjson.loads(csv.content)["short_url"] == orjson.loads(array.content)["short_url"]
    assert csv.headers["content-type"] == array.headers["content-type"] == "application/x-ndjson"


async def test_there_are_64_links_and_no_more(elsewhere: Elsewhere) -> None:
    lines = await elsewhere.ask(*(row(str(600_400 + n), f"https://shop.example/{n}") for n in range(66)))
    assert [each["link"] for each in lines[:64]] == list(range(64))
    assert ["detail" in each for each in lines[64:]] == [True, True]
    body = orjson.dumps({"url": "https://shop.example/more"})
    assert (await elsewhere.post("links", body)).status_code == 409


async def test_a_delivery_with_an_audience_takes_no_messages_this_way(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers
) -> None:
    sent = await make(app, client, admin, "https://a.example STOP to 25252")
    (given,) = await sent.started()
    asking = Elsewhere(app, client, admin, sent.id)
    assert (await asking.asked(row("600501"))).status_code == 422
    (line,) = await asking.ask({"message_id": given["message_id"], "url": "https://a.example"})
    assert line["short_url"] in given["text"]


async def test_nothing_is_added_once_it_is_cancelled(elsewhere: Elsewhere) -> None:
    (made,) = await elsewhere.ask(row("600601"))
    assert (await elsewhere.post("cancel")).status_code == 200
    assert await elsewhere.statuses() == ["cancelled"]
    assert (await elsewhere.asked(row("600602"))).status_code == 409
    assert (await elsewhere.visit(made["short_url"])).status_code == 410
