"""Every captured callback, posted as its gateway posts it, gives what its sample expects: stored, matched and told."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

from app.gateways.twilio import signature

SAMPLES = Path(__file__).parents[1] / "gateways" / "samples"
#: Samples speak of outcomes in their own words.
OUTCOMES: Mapping[str, set[str | None]] = {
    "delivered": {"received"},
    "failed": {"failed"},
    "intermediate": {"accepted", "sent"},
    "unknown": {None},
}


def _files(kind: str) -> list[Any]:
    return [
        pytest.param(json.loads(path.read_text("utf-8")), id=path.stem)
        for path in sorted((SAMPLES / kind).glob("*.json"))
    ]


def _receipts() -> list[Any]:
    lines = (SAMPLES / "smpp" / "receipts.jsonl").read_text("utf-8").splitlines()
    return [pytest.param(line, json.loads(line)["expect"], id=json.loads(line)["name"]) for line in lines]


async def gateway(client: httpx.AsyncClient, key: str, kind: str, auth: Mapping[str, Any]) -> None:
    answer = await client.post("/v1/gateways", json={"key": key, "kind": kind, "auth": auth})
    assert answer.status_code in (201, 409), answer.text


async def stored(pool: Any, mark: int) -> list[Any]:
    """Receipts that came since `mark`, from the inbox or applied already."""
    columns = "status::text AS status, status_text, error_code, occurred_at, details"
    rows: list[Any] = await pool.fetch(
        f"SELECT id, {columns}, provider_message_id FROM inbox WHERE id > $1 UNION ALL "
        f"SELECT r.id, {columns}, CASE WHEN c.kind = 'id' THEN c.raw END "
        "FROM receipts r JOIN correlations c ON c.id = r.correlation_id WHERE r.id > $1 ORDER BY id",
        mark,
    )
    return rows


async def newest(pool: Any) -> int:
    return int(await pool.fetchval("SELECT greatest((SELECT max(id) FROM inbox), (SELECT max(id) FROM receipts), 0)"))


def assert_as_expected(row: Any, expect: Mapping[str, Any]) -> None:
    assert row["status"] in OUTCOMES[expect["outcome"]]
    assert row["status_text"] == (expect["status_raw"] or "")
    assert row["error_code"] == expect["error_code_raw"]
    assert row["provider_message_id"] == expect["provider_message_id"]
    occurred_at = row["occurred_at"] and row["occurred_at"].isoformat().replace("+00:00", "Z")
    assert occurred_at == expect["occurred_at"]
    if expect.get("final") is not None:
        assert (row["status"] in ("failed", "received")) is expect["final"]


@pytest.mark.parametrize("sample", [*_files("twilio"), *_files("kannel")])
async def test_a_captured_callback_is_kept_as_it_must_be_read(
    client: httpx.AsyncClient, pool: Any, sample: Mapping[str, Any]
) -> None:
    kind = sample["gateway"]
    auth = sample.get("auth")
    mode = {"mode": "signature", "secrets": [auth["key"]]} if auth else {"mode": "none"}
    path = urlsplit(sample["url"]).path
    # The signature covers the path that was captured: the gateway stands under the sample's own last segments.
    key = f"{kind}-sample"
    await gateway(client, key, kind, mode)
    url = (
        f"/callbacks/{key}"
        if auth is None
        else sample["url"].replace(f"https://dlr.example.test{path}", f"/callbacks/{key}")
    )
    query = urlsplit(sample["url"]).query
    headers = dict(sample["headers"])
    if auth is not None:
        headers["X-Twilio-Signature"] = _signed_again(sample, f"https://dlr.example.test/callbacks/{key}", query)
    elif query:
        url = f"{url}?{query}"
    mark = await newest(pool)
    answer = await client.request(sample["method"], url, headers=headers, content=sample["body"].encode())
    if "expect_reject" in sample:
        assert answer.status_code == 401
        assert not await stored(pool, mark)
        return
    assert answer.status_code == 200, answer.text
    (row,) = await stored(pool, mark)
    assert_as_expected(row, sample["expect"])


def _signed_again(sample: Mapping[str, Any], base: str, query: str) -> str:
    """The sample's signature for our own path; a wrong one stays as it is. The captured signatures are proven true to
    the letter in tests/gateways."""
    if not sample["auth"]["valid"]:
        return str(sample["headers"]["X-Twilio-Signature"])
    port = ":443" if ":443" in sample["auth"]["signed_url"] else ""
    url = base.replace("example.test", f"example.test{port}") + (f"?{query}" if query else "")
    pairs = sorted(parse_qsl(sample["body"], keep_blank_values=True))
    return signature(sample["auth"]["key"], url + "".join(name + value for name, value in pairs)).decode()


@pytest.mark.parametrize(("line", "expect"), _receipts())
async def test_an_smpp_receipt_over_http_is_read_or_kept_raw_with_the_reason(
    client: httpx.AsyncClient, pool: Any, line: str, expect: Mapping[str, Any]
) -> None:
    await gateway(client, "smpp-sample", "smpp", {"mode": "none"})
    mark = await newest(pool)
    answer = await client.post(
        "/callbacks/smpp-sample", content=line.encode(), headers={"Content-Type": "application/json"}
    )
    if expect.get("reject"):
        assert answer.status_code == 400
        assert not await stored(pool, mark)
        kept = (await client.get("/v1/receipts/rejected", params={"gateway": "smpp-sample"})).json()["items"][0]
        assert kept["id"] in answer.json()["detail"]
        assert kept["reason"]
        assert json.loads(kept["raw"])["name"] == json.loads(line)["name"]
        return
    assert answer.status_code == 200, answer.text
    (row,) = await stored(pool, mark)
    assert_as_expected(row, expect)
    details = row["details"] or {}
    shown = {
        "sub": "sub",
        "dlvrd": "dlvrd",
        "submit_date_raw": "submit_date_raw",
        "done_date_raw": "done_date_raw",
        "done_date_local": "done_date_local",
    }
    for name, ours in shown.items():
        assert details.get(ours) == expect[name]
    for name in ("message_state", "network_error", "warnings"):
        if name in expect:
            assert details.get(name) == expect[name]
