"""What comes from outside is judged by its bytes: nothing hangs, nothing grows, and a bad row costs itself."""

import itertools
import tracemalloc
from typing import Any

import httpx
import pytest
import pytest_asyncio

from app.api.reader import MOST_VALUES
from app.gateways import bounds
from app.settings import Settings
from tests.api.lag import lag

#: Generous: what is bounded takes some milliseconds of the loop at a time, and what was not took five seconds and more.
STALL_SECONDS = 0.5
JSON, NDJSON, CSV = "application/json", "application/x-ndjson", "text/csv"
_NUMBERS = itertools.count()


class Acme:
    """One delivery and one gateway, and where rows can be sent to."""

    def __init__(self, client: httpx.AsyncClient, admin: dict[str, str], delivery: str, second: str) -> None:
        self.client, self.admin, self.delivery, self.second = client, admin, delivery, second

    def row(self, path: str) -> str:
        """A good row, a new one each time."""
        n = next(_NUMBERS)
        return {
            "receipts": f'{{"gateway":"reader","provider_message_id":"r-{n}","status":"sent"}}',
            "addresses/check": '{"address":"+34600123000"}',
            "quarantine": f'{{"address":"+3460077{n:04}"}}',
            "messages": f'{{"address":"+34600123000","provider_message_id":"m-{n}"}}',
            "submissions": f'{{"reference":"none-{n}"}}',
            "links": f'{{"reference":"l-{n}","address":"+34600123000","url":"https://a.example/"}}',
            "targets": '{"address":"+34600123000","params":{"n":1}}',
        }[path]

    def url(self, path: str) -> str:
        delivery = self.second if path == "targets" else self.delivery
        short = path in ("receipts", "addresses/check", "quarantine")
        return f"/v1/{path}" if short else f"/v1/deliveries/{delivery}/{path}"

    async def post(self, path: str, body: bytes, kind: str) -> httpx.Response:
        return await self.client.post(
            self.url(path), content=body, headers={**self.admin, "Content-Type": kind}, timeout=60
        )


@pytest.fixture(scope="module")
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"short_hosts": ("s.example",)})


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def acme(client: httpx.AsyncClient, admin: dict[str, str]) -> Acme:
    gateway = {"key": "reader", "kind": "generic", "auth": {"mode": "none"}}
    assert (await client.post("/v1/gateways", json=gateway, headers=admin)).status_code == 201
    ids = []
    for label in ("Rows", "Targets"):
        new = {"label": label, "sender": "Acme", "gateway": "reader", "default_region": "ES"}
        ids.append((await client.post("/v1/deliveries", json=new, headers=admin)).json()["id"])
    acme = Acme(client, admin, *ids)
    assert (await acme.post("messages", acme.row("messages").encode(), NDJSON)).status_code == 200
    return acme


def outcome(path: str, answer: httpx.Response) -> tuple[int, list[Any]]:
    """How many rows were good, and what the others were told."""
    if path == "addresses/check":
        items = answer.json()["items"]
        bad = [item["text"] for item in items if item["reason"] == "unreadable"]
        return len(items) - len(bad), bad
    if path == "links":
        lines = [httpx.Response(200, content=line).json() for line in answer.content.splitlines()]
        return sum("short_url" in line for line in lines), [line["detail"] for line in lines if "detail" in line]
    found = answer.json()
    return found["accepted"], [error["detail"] for error in found["errors"]]


DEEP = '{"address":' + "[" * 100_000 + "]" * 100_000 + "}"
DEEPER_THAN_ALLOWED = '{"address":' + "[" * bounds.MAX_DEPTH + "]" * bounds.MAX_DEPTH + "}"
BAD_ROWS = {
    "exponent": '{"link":1E+999999999,"address":1E+999999999}',
    "exponent without an end": '{"address":1e9999999999999999999}',
    "small exponent": '{"address":1e-999999999}',
    "digits": '{"address":' + "7" * 5_000 + "}",
    "many digits": '{"link":' + "7" * 90_000 + "}",
    "fraction": '{"address":0.' + "7" * 5_000 + "}",
    "depth": '{"address":' + "[" * 40_000 + "]" * 40_000 + "}",
    "depth of objects": '{"address":' + '{"a":' * 900 + "1" + "}" * 900 + "}",
    "one level too many": DEEPER_THAN_ALLOWED,
    "length": '{"address":"' + "x" * 150_000 + '"}',
    "length of escapes": '{"address":"' + "\\u0041" * 30_000 + '"}',
    "surrogate": '{"address":"\\ud800"}',
    "values": "{" + ",".join(f'"a{n}":1' for n in range(9_000)) + "}",
    "array": "[1]",
    "number": "1",
    "null": "null",
}
PATHS = ("receipts", "addresses/check", "quarantine", "messages", "links", "targets")


@pytest.mark.parametrize("kind", [JSON, NDJSON])
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("bad", BAD_ROWS)
async def test_a_bad_row_costs_itself_and_not_its_neighbours(acme: Acme, bad: str, path: str, kind: str) -> None:
    rows = [acme.row(path), BAD_ROWS[bad], acme.row(path)]
    body = f"[{','.join(rows)}]" if kind == JSON else "\n".join(rows)
    async with lag() as seen:
        answer = await acme.post(path, body.encode(), kind)
    assert answer.status_code in (200, 202), answer.text
    good, told = outcome(path, answer)
    if path == "addresses/check" and (bad == "values" or (bad == "null" and kind == NDJSON)):  # said as: no address
        assert good == 3
        return
    assert good == 2
    assert len(told) == 1
    assert all("777" not in text and "Value error" not in text for text in told)
    assert seen.worst < STALL_SECONDS


BAD_BODIES = {
    "depth": (JSON, "[" + DEEP + "]", 422),
    "unclosed depth": (JSON, "[" * 1_000_000, 400),
    "depth of objects": (JSON, "[" + '{"a":' * 300_000, 400),
    "one text": (JSON, '["' + "x" * 20_000_000 + '"]', 422),
    "one text without an end": (JSON, '["' + "x" * 20_000_000, 400),
    "one number": (JSON, "[" + "7" * 5_000_000 + "]", 422),
    "blanks": (JSON, "[" + " " * 5_000_000, 400),
    "many items": (JSON, "[" + "1," * 200_000 + "1]", 422),
    "open quote": (CSV, 'address\n"' + "\n" * 200_000, 422),
    "open quote and fields": (CSV, 'address\n"' + "a,b\n" * 200_000, 422),
    "open quotes": (CSV, "address\n" + '"\n\n' * 100_000, 422),
    "one line": (CSV, "address\n" + "x" * 5_000_000, 422),
    "commas": (CSV, "address\n" + ("," * 90_000 + "\n") * 20, 400),
    "columns": (CSV, ",".join(f"a{n}" for n in range(20_000)) + "\n1", 400),
    "long header": (CSV, "a" * 5_000_000 + "\n1", 400),
    "header without an end": (CSV, '"a' + "\n" * 200_000, 400),
    "header that is no text": (CSV, "address\udcff", 400),
    "long line": (NDJSON, "x" * 5_000_000, 422),
    "deep lines": (NDJSON, ("[" * 40_000 + "\n") * 20, 422),
    "many lines": (NDJSON, "1\n" * 100_000, 422),
}


@pytest.mark.slow
@pytest.mark.parametrize("path", ["receipts", "addresses/check"])
@pytest.mark.parametrize("bad", BAD_BODIES)
async def test_no_body_holds_the_loop_or_grows_in_memory(acme: Acme, bad: str, path: str) -> None:
    kind, body, status = BAD_BODIES[bad]
    data = body.encode("utf-8", "surrogateescape")
    tracemalloc.start() if bad in ("depth", "one text") else None
    async with lag() as seen:
        answer = await acme.post(path, data, kind)
    grown = tracemalloc.get_traced_memory()[1] if tracemalloc.is_tracing() else 0
    tracemalloc.stop()
    assert answer.status_code == (200 if path == "addresses/check" and status == 422 else status)
    assert grown < 150_000_000
    assert seen.worst < STALL_SECONDS * (4 if grown else 1)


@pytest.mark.parametrize("path", PATHS)
async def test_rows_behind_a_stray_quote_are_read_again(acme: Acme, path: str) -> None:
    if path == "receipts":
        header, good = "gateway,status,reference", "reader,sent,x"
    else:
        header, good = "address", "+34600123000"
    lines = [header, good, '"' + "x," * 10, *["y" * 1_000] * 120, good]
    async with lag() as seen:
        answer = await acme.post(path, "\n".join(lines).encode(), CSV)
    assert answer.status_code in (200, 202, 422), answer.text
    assert "A quote is not closed." in answer.text
    if path != "links":
        assert outcome(path, answer)[1].count("A quote is not closed.") == 1
    assert seen.worst < STALL_SECONDS


ORDINARY = {
    "trial body": ("POST", "/v1/gateways/reader/test", '{"body":' + "[" * 900 + "]" * 900 + "}"),
    "trial query": ("POST", "/v1/gateways/reader/test", '{"query":{"a":' + "[" * 900 + "]" * 900 + "}}"),
    "metadata": ("POST", "/v1/deliveries", '{"label":"a","sender":"b","metadata":{"a":' + "[" * 200 + "]" * 200 + "}}"),
    "deep label": ("POST", "/v1/deliveries", '{"label":' + '{"a":' * 100_000 + "1" + "}" * 100_000 + "}"),
    "digits": ("POST", "/v1/deliveries", '{"label":"a","validity_seconds":' + "9" * 5_000 + "}"),
    "exponent": ("POST", "/v1/deliveries", '{"label":"a","validity_seconds":1e99999}'),
    "link": ("POST", "/v1/deliveries/1/links", '{"url":' + "[" * 5_000 + "]" * 5_000 + "}"),
    "link's number": ("POST", "/v1/deliveries/1/links", '{"url":' + "1" * 5_000 + "}"),
    "many scopes": ("POST", "/v1/keys", '{"name":"a","scopes":[' + "1," * 400_000 + "1]}"),
    "many fields": ("POST", "/v1/keys", "{" + ",".join(f'"a{n}":1' for n in range(MOST_VALUES + 1)) + "}"),
    "brackets": ("POST", "/v1/keys", '{"name":[' + "[]," * 200_000 + "[]]}"),
    "change": ("PATCH", "/v1/gateways/reader", '{"options":' + '{"a":' * 500 + "1" + "}" * 500 + "}"),
    "release": ("POST", "/v1/quarantine/release", '{"filter":' + "[" * 500 + "]" * 500 + "}"),
}


@pytest.mark.parametrize("what", ORDINARY)
async def test_ordinary_bodies_are_judged_before_they_are_parsed(acme: Acme, what: str) -> None:
    method, path, body = ORDINARY[what]
    async with lag() as seen:
        answer = await acme.client.request(
            method, path, content=body, headers={**acme.admin, "Content-Type": "application/json"}
        )
    assert answer.status_code == 400, answer.text
    assert answer.json()["detail"].startswith("The body ")
    assert seen.worst < STALL_SECONDS


async def test_a_whole_json_array_changes_nothing_when_its_end_is_broken(acme: Acme) -> None:
    rows = ",".join(acme.row("messages") for _ in range(3_000))
    before = (await acme.client.get(f"/v1/deliveries/{acme.delivery}/messages", headers=acme.admin)).json()["total"]
    assert (await acme.post("messages", f"[{rows},{{]".encode(), JSON)).status_code == 400
    after = (await acme.client.get(f"/v1/deliveries/{acme.delivery}/messages", headers=acme.admin)).json()["total"]
    assert after == before


async def test_rows_of_an_array_take_the_fast_lane_and_are_kept_as_they_came(acme: Acme) -> None:
    row = '{ "gateway":"reader", "provider_message_id":"kept-1","status":"sent","occurred_at":"2026-11-23T08:00:00Z" }'
    assert (await acme.post("receipts", f"[{row}]".encode(), JSON)).status_code == 202
    async with acme.client._transport.app.state.pool.acquire() as connection:  # type: ignore[attr-defined]
        waiting = await connection.fetchval("SELECT raw FROM inbox WHERE provider_message_id = 'kept-1'")
    shown = (await acme.client.get("/v1/receipts/unmatched?gateway=reader&limit=1000", headers=acme.admin)).json()
    found = [item["sample"] for item in shown["items"] if item["provider_message_id"] == "kept-1"]
    # Looked at in this order: what the inbox does not hold any more has been applied, and so is listed.
    assert waiting == row.encode() or found == [row]


@pytest.mark.parametrize(
    "value",
    [b"1E+0000001", b"1e309", b"[1e999]", b'{"a":-2.5e-0400}', b"1" * 41, b"0." + b"1" * 41],
)
def test_numbers_beyond_the_bounds_are_told(value: bytes) -> None:
    assert bounds.fault(value) is not None


@pytest.mark.parametrize(
    "value",
    [
        b"1" * 40,
        b"1e308",
        b"-1.5E-300",
        b'"' + b"1" * 100 + b'"',
        b'"1e999999"',
        b'{"1e99999":"\\"1e99999"}',
        b"[" * 32 + b"]" * 32,
        b'"' + b"[" * 100 + b'"',
        b'"\\"' + b"[" * 100 + b'"',
        b"[]" * 100,
        b'{"a":"\\\\"}',
    ],
)
def test_what_only_looks_like_it_is_within_the_bounds(value: bytes) -> None:
    assert bounds.fault(value) is None
