"""Every upload answers with the receipt of its reading, and `dry_run` gives it without storing anything."""

import base64
import json
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import pytest_asyncio

from app.settings import Settings
from tests.conftest import Headers, KeyMaker

CSV, NDJSON, JSON = "text/csv", "application/x-ndjson", "application/json"
NUMBER, OTHER = "+447700900001", "+447700900002"


@pytest.fixture(scope="module")
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"short_hosts": ("s.example",)})


class Place:
    """Where rows can be sent to: the same two for each of them."""

    def __init__(self, client: httpx.AsyncClient, headers: Headers, delivery: str, audience: str) -> None:
        self.client, self.headers = client, headers
        self.paths = {
            "targets": f"/v1/deliveries/{audience}/targets",
            "messages": f"/v1/deliveries/{delivery}/messages",
            "links": f"/v1/deliveries/{delivery}/links",
            "submissions": f"/v1/deliveries/{delivery}/submissions",
            "receipts": "/v1/receipts",
            "quarantine": "/v1/quarantine",
            "check": "/v1/addresses/check",
        }
        self.delivery, self.audience = delivery, audience

    async def post(self, path: str, body: str | bytes, kind: str = CSV, **query: Any) -> httpx.Response:
        headers = {**self.headers, "Content-Type": kind}
        return await self.client.post(self.paths[path], content=body, headers=headers, params=query)

    async def stored(self) -> Any:
        """All that an upload could have changed."""
        tables = (
            "targets",
            "messages",
            "submissions",
            "decisions",
            "quarantine",
            "links",
            "inbox",
            "receipts",
            "audit",
        )
        async with self.client._transport.app.state.pool.acquire() as connection:  # type: ignore[attr-defined]
            return [await connection.fetchval(f"SELECT count(*) FROM {table}") for table in tables]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def place(client: httpx.AsyncClient, admin: Headers) -> Place:
    gateway = {"key": "reading", "kind": "generic", "auth": {"mode": "none"}}
    assert (await client.post("/v1/gateways", json=gateway, headers=admin)).status_code == 201
    ids = []
    for label in ("Rows", "Targets"):
        new = {"label": label, "sender": "Acme", "gateway": "reading", "default_region": "GB"}
        ids.append((await client.post("/v1/deliveries", json=new, headers=admin)).json()["id"])
    place = Place(client, admin, *ids)
    first = f"address,provider_message_id,reference\n{NUMBER},p-1,r-1\n"
    assert (await place.post("messages", first)).status_code == 200
    return place


FILES = {
    "targets": f"Teléfono móvil;Nombre\r\n{NUMBER};José\r\n{OTHER};\r\n\r\n",
    "messages": f"Phone;Provider Message ID\r\n{NUMBER};é-2\r\n{OTHER};é-3\r\n\r\n",
    "links": f"Phone;reference;url\r\n{NUMBER};é-4;https://a.example/\r\n{OTHER};é-5;https://a.example/\r\n\r\n",
    "submissions": "Reference;Provider Message ID\r\nr-1;é-6\r\nr-1;é-7\r\n\r\n",
    "receipts": "Gateway;Provider Message ID;Status\r\nreading;é-8;sent\r\nreading;é-9;sent\r\n\r\n",
    "quarantine": f"Móvil;Note\r\n{NUMBER};José\r\n{OTHER};\r\n\r\n",
    "check": f"Móvil;Nombre\r\n{NUMBER};José\r\n{OTHER};\r\n\r\n",
}


def reading_of(path: str, answer: httpx.Response) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(answer.headers["acuse-reading"]) if path == "links" else answer.json()["reading"]
    return told


@pytest.mark.parametrize("path", FILES)
async def test_a_dry_run_tells_what_would_be_read_and_stores_nothing(place: Place, path: str) -> None:
    before = await place.stored()
    answer = await place.post(path, FILES[path].encode("cp1252"), dry_run=True)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["accepted"], told["rejected"], told["errors"]) == (2, 0, [])
    reading = told["reading"]
    assert (reading["format"], reading["encoding"], reading["separator"]) == ("csv", "windows-1252", ";")
    assert (reading["dry_run"], reading["rows"], reading["blank_lines"]) == (True, 2, 1)
    assert [row["line"] for row in reading["first_rows"]] == [2, 3]
    assert reading["first_rows"][0]["before"] == FILES[path].splitlines()[1]
    assert await place.stored() == before


@pytest.mark.parametrize("path", FILES)
async def test_an_upload_answers_with_the_receipt_of_its_reading(place: Place, path: str) -> None:
    answer = await place.post(path, FILES[path].encode("cp1252"))
    assert answer.status_code == (202 if path == "receipts" else 200), answer.text
    reading = reading_of(path, answer)
    assert (reading["encoding"], reading["separator"]) == ("windows-1252", ";")
    first = FILES[path].splitlines()[0].split(";")
    assert list(reading["columns"]) == first
    if path not in ("submissions", "receipts"):
        assert reading["columns"][first[0]] == "address"


async def test_the_first_rows_are_shown_before_and_after(place: Place) -> None:
    body = "phone;name;recipient_id\n07700 900001;Ana;c-1\n12;Bob;c-2\n;;c-3\n07700 900002;x;y;z\n"
    answer = await place.post("targets", body, dry_run=True)
    reading = answer.json()["reading"]
    assert reading["columns"] == {"phone": "address", "name": "params.name", "recipient_id": "recipient_id"}
    assert reading["first_rows"] == [
        {"line": 2, "before": "07700 900001;Ana;c-1", "detail": None,
         "after": {"address": NUMBER, "recipient_id": "c-1", "params": {"name": "Ana"}}},
        {"line": 3, "before": "12;Bob;c-2", "detail": None,
         "after": {"address": None, "recipient_id": "c-2", "params": {"name": "Bob"}}},
        {"line": 4, "before": ";;c-3", "detail": None, "after": {"recipient_id": "c-3"}},
        {"line": 5, "before": None, "detail": "The row has 4 fields, the header 3.", "after": None},
    ]  # fmt: skip
    assert [(each["code"], each["line"], each["count"]) for each in reading["findings"]] == [
        ("invalid_address", 3, 1), ("address_not_specified", 4, 1),
    ]  # fmt: skip


@pytest.mark.parametrize("more", ["", ";n", ";" + "ñ" * 30_000, "".join(f";column {n}" for n in range(200))])
async def test_a_receipt_that_is_a_header_is_short_whatever_the_columns_are_called(place: Place, more: str) -> None:
    file = f"Móvil{more}\n{NUMBER}\n"
    headers = {**place.headers, "Content-Type": CSV, "Accept": NDJSON}
    answer = await place.client.post(place.paths["check"], content=file, headers=headers)
    assert (answer.status_code, len(answer.text.splitlines())) == (200, 1)
    assert len(answer.headers["acuse-reading"]) <= 2_000
    told = reading_of("links", answer)
    assert (told["encoding"], told["separator"]) == ("utf-8", ";" if more else ",")
    assert (told["columns"] is None) == (len(more) > 1_000)


async def test_without_the_scope_for_numbers_the_receipt_names_nobody(place: Place, key: KeyMaker) -> None:
    writer = await key("deliveries:write", "deliveries:read")
    body = f"phone,name\n{NUMBER},Ana Lopez\n"
    other = Place(place.client, writer, place.delivery, place.audience)
    answer = await other.post("targets", body, dry_run=True)
    assert answer.status_code == 200, answer.text
    assert NUMBER not in answer.text
    assert "Lopez" not in answer.text
    (row,) = answer.json()["reading"]["first_rows"]
    assert row == {
        "line": 2,
        "before": None,
        "detail": None,
        "after": {"address": "+44770•••001", "params": {"name": "•••"}},
    }


@pytest.mark.parametrize("kind", [CSV, JSON, NDJSON])
async def test_nor_does_it_in_the_names_of_fields(place: Place, key: KeyMaker, kind: str) -> None:
    writer = Place(place.client, await key("receipts:write"), place.delivery, place.audience)
    row = {"gateway": "reading", "provider_message_id": "n-1", "status": "sent", NUMBER: "Ana Lopez"}
    body = "\n".join(map(",".join, (row, row.values()))) if kind == CSV else json.dumps([row] if kind == JSON else row)
    answer = await writer.post("receipts", body, kind)
    assert (answer.status_code, answer.json()["accepted"]) == (202, 1), answer.text
    assert NUMBER not in answer.text
    assert "Lopez" not in answer.text
    assert answer.json()["reading"]["first_rows"][0]["after"]["gateway"] == "reading"


@pytest.mark.parametrize("kind", [JSON, NDJSON])
async def test_rows_of_json_are_receipted_too(place: Place, kind: str) -> None:
    rows = [orjson.dumps({"address": NUMBER, "control": True}), b'{"address": 5}']
    body = b"[" + b",".join(rows) + b"]" if kind == JSON else b"\n".join(rows)
    answer = (await place.post("targets", body, kind, dry_run=True)).json()
    assert (answer["accepted"], answer["rejected"]) == (1, 1)
    reading = answer["reading"]
    form = "json" if kind == JSON else "ndjson"
    assert (reading["format"], reading["separator"], reading["columns"]) == (form, None, None)
    good, bad = reading["first_rows"]
    assert good["after"] == {"address": NUMBER, "control": True}
    assert (bad["after"], bad["detail"]) == (None, "address: this must be a text.")


ROWS: dict[str, dict[str, str]] = {
    "messages": {"address": NUMBER, "provider_message_id": "g-1"},
    "links": {"address": NUMBER, "reference": "g-2", "url": "https://a.example/"},
    "receipts": {"provider_message_id": "g-3", "status": "sent"},
}


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize("kind", [CSV, NDJSON, JSON])
@pytest.mark.parametrize("path", ROWS)
async def test_a_row_of_a_gateway_that_nobody_knows_costs_itself_in_every_form(
    place: Place, path: str, kind: str, dry_run: bool
) -> None:
    rows = [ROWS[path] | {"gateway": name} for name in ("nobody", "reading", "no-one")]
    table = "\n".join(",".join(row) for row in (list(rows[0]), *(row.values() for row in rows)))
    body = {CSV: table, NDJSON: "\n".join(map(json.dumps, rows)), JSON: json.dumps(rows)}[kind]
    answer = await place.post(path, body, kind, dry_run=dry_run)
    assert answer.status_code in (200, 202), answer.text
    if path == "links" and not dry_run:
        errors = [each for each in map(json.loads, answer.text.splitlines()) if "detail" in each]
    else:
        assert (answer.json()["accepted"], answer.json()["rejected"]) == (1, 2)
        errors = answer.json()["errors"]
    first = 2 if kind == CSV else 1
    assert [each["line"] for each in errors] == [first, first + 2]
    assert all("here is no such gateway." in each["detail"] for each in errors)


@pytest.mark.parametrize(
    ("path", "kind", "query"),
    [
        ("targets", NDJSON, {"address_column": "phone"}),
        ("targets", CSV, {"dry_run": "perhaps"}),
        ("targets", CSV, {"address_column": ""}),
        ("links", JSON, {"dry_run": "true"}),
    ],
)
async def test_what_cannot_be_asked_is_refused_by_name(
    place: Place, path: str, kind: str, query: dict[str, str]
) -> None:
    body = '{"url": "https://a.example/", "address": "1"}'
    answer = await place.post(path, body, kind, **query)
    assert answer.status_code == 422, answer.text
    assert f"?{next(iter(query))}" in answer.text


@pytest.mark.parametrize("said", ["text/csv; charset=klingon", "text/plain"])
async def test_a_charset_that_nobody_knows_is_told_before_anything_is_read(place: Place, said: str) -> None:
    assert (await place.post("targets", "address\n1\n", said)).status_code == 415


# --- byte order marks ------------------------------------------------------------------------------------------------

CASE = json.loads((Path(__file__).parents[1] / "cases" / "uploads" / "callbacks" / "byte_order_mark.json").read_text())
MARK = b"\xef\xbb\xbf"
REPLY = b'{"type": "inbound", "from": "+447700900124", "text": "STOP"}'
CALLBACKS = {
    "the report's own": (base64.b64decode(CASE["callback_base64"]), JSON),
    "an object": (MARK + REPLY, JSON),
    "an array": (MARK + b"[" + REPLY + b"]", JSON),
    "lines": (MARK + REPLY + b"\n" + REPLY, NDJSON),
    "after a mark blanks": (MARK + b" \r\n" + REPLY, JSON),
}


@pytest.mark.parametrize("what", CALLBACKS)
async def test_a_byte_order_mark_is_passed_over_in_callbacks(place: Place, what: str) -> None:
    body, kind = CALLBACKS[what]
    answer = await place.client.post("/callbacks/reading", content=body, headers={"Content-Type": kind})
    assert answer.status_code == 200, answer.text
    trial = {"body": body.decode(), "headers": {"content-type": kind}}
    tried = await place.client.post("/v1/gateways/reading/test", json=trial, headers=place.headers)
    assert {item["action"] for item in tried.json()["items"]} == {"denylist"}


async def test_a_byte_order_mark_is_passed_over_in_ordinary_bodies(place: Place) -> None:
    body = MARK + b'{"label": "Marked", "sender": "Acme"}'
    answer = await place.client.post("/v1/deliveries", content=body, headers={**place.headers, "Content-Type": JSON})
    assert answer.status_code == 201, answer.text
