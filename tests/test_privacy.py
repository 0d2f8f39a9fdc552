"""What a key without `pii:read` sees: masks of texts, and each field of a row by its class."""

import asyncio
import time

import httpx
import pytest
from sqlalchemy import literal, select
from sqlalchemy.ext.asyncio import AsyncEngine

from app.api.paging import CursorSigner
from app.privacy import FIELDS, Class, masked, searched
from app.privacy.masking import MASK, holds_number, mask, mask_long, mask_numbers, mask_within
from tests.conftest import Headers, KeyMaker

#: One number, as people, forms, JSON and machines write it.
SPELLINGS = (
    "+34677123456", "0034677123456", "34677123456", "677123456", "677 123 456", "677-123-456", "677.12.34.56", "(677) 123456",
    "677/123/456", "677\u00a0123\u00a0456", "677\u2011123\u2011456", "67\u200b7123456", "+34\t677123456", "%2B34677123456",
    "%2B34%20677%20123%20456", "677+123+456", "677%2D123%2D456", "%36%37%37123456", "\\u0036\\u0037\\u0037123456", 
    "６７７１２３４５６",    "6\x007\x007\x001\x002\x003\x004\x005\x006", "677_123_456", "a677123456b",
)  # fmt: skip
MAILS = ("ana@shop.example", "ana.lopez+x@mail.shop.example", "ana%40shop.example", "ana\\u0040shop.example")
#: Nothing of these is anybody's.
PLAIN = (
    "SR Acme UNDELIV 069", "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15", "acuse-42", "21401",
    "3f2504e0-4f89-41d3-9a0c-0305e82c3301", "Chrome/131.0.0.0 Safari/537.36", "order 1234", "@", "a@b", "100 %",
)  # fmt: skip


@pytest.mark.parametrize("text", [*SPELLINGS, *MAILS])
def test_a_number_or_mail_address_in_a_text_is_masked_however_it_is_spelt(text: str) -> None:
    shown = mask_numbers(f"call {text} now")
    assert MASK in shown
    assert not any(each in shown for each in ("677", "123", "ana", "shop"))
    assert shown.startswith("call ")
    assert shown.endswith(" now")


@pytest.mark.parametrize("text", PLAIN)
def test_what_is_no_number_stays(text: str) -> None:
    assert mask_numbers(text) == text
    assert not holds_number(text)


@pytest.mark.parametrize("text", [each for each in (*SPELLINGS, *MAILS) if "\0" not in each])
async def test_what_is_masked_cannot_be_found_by_searching(text: str, engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        kept = literal(f"call {text} now")
        shown = await connection.scalar(select(searched(kept, masked=True)))
        whole = await connection.scalar(select(searched(kept, masked=False)))
    assert whole == f"call {text} now"
    assert not any(each in str(shown) for each in ("677", "123", "ana", "shop"))
    assert str(shown).startswith("call ")


def test_a_mask_keeps_what_tells_numbers_apart() -> None:
    assert mask("+34600123000") == "+34600•••000"
    assert mask("600123") == MASK
    assert mask("erased:0f6c1d7e0b7f4bd7a2d0f3a1c9e8b765") == "erased:0f6c1d7e0b7f4bd7a2d0f3a1c9e8b765"


def test_masks_reach_however_deep() -> None:
    value = {"a": [{"phone 677123456": "677123456", "n": 677123456, "yes": True, "x": 7}]}
    assert mask_within(value) == {"a": [{f"phone {MASK}": MASK, "n": MASK, "yes": True, "x": 7}]}


#: Long texts that a regular expression could come to grief on.
LONG = {
    "letters": "x" * 1_000_000, "digits": "1" * 1_000_000, "signs": "@" * 1_000_000, "few digits": ("123" + " " * 1000) * 1000,
    "digits and gaps": ("1" + " " * 5) * 170_000, "mails": "b@a.com " * 120_000, "locals": ("a" * 64 + "@") * 15_000,
    "escapes": "%3" * 500_000, "domain": "@" + "a." * 500_000, "dashes": "1----" * 200_000, "numbers": "677123456," * 100_000,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("text", LONG.values(), ids=LONG)
async def test_a_long_text_is_masked_without_holding_up_the_others(text: str) -> None:
    """Twice the text may take at the most some four times as long; the loop turns meanwhile."""
    turns = 0

    async def turning() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    half, whole = text[: len(text) // 2], text
    began = time.process_time()
    await mask_long(half)
    first = time.process_time() - began
    task = asyncio.ensure_future(turning())
    began = time.process_time()
    await mask_long(whole)
    second = time.process_time() - began
    task.cancel()
    assert second < 6 * first + 0.2
    assert turns > 5


@pytest.mark.slow
async def test_a_number_between_two_pieces_of_a_long_text_is_masked() -> None:
    for shift in range(0, 9_000, 7):
        text = "y" * shift + " 677 123 456 " + "z" * 9_000
        assert "677" not in mask_numbers(text)


ROW = {
    "id": "7", "address": "+34677123456", "sender": "Acme", "recipient": "+34677123456", "recipient_id": "c-17",
    "reference": "order-7", "params": {"name": "Ana", "points": 3}, "status": "failed", "text": "Call 677123456", "agent": None,
    "metadata": {"order": 7, "who": "677123456"}, "source_url": "https://x.example/?p=677123456", "nobody_knows": "Ana",
}  # fmt: skip


def test_each_field_is_masked_by_its_class() -> None:
    assert masked(ROW) == {
        "id": "7", "address": "+34677•••456", "sender": "Acme", "recipient": "+34677•••456", "recipient_id": MASK,
        "reference": MASK, "params": {"name": MASK, "points": MASK}, "status": "failed", "text": f"Call {MASK}", "agent": None,
        "metadata": {"order": 7, "who": MASK}, "source_url": f"https://x.example/?p={MASK}", "nobody_knows": MASK,
    }  # fmt: skip


def test_our_own_reference_says_no_more_than_the_id_beside_it() -> None:
    assert masked({"message_id": "42", "reference": "acuse-42"})["reference"] == "acuse-42"
    assert masked({"id": "41", "reference": "acuse-42"})["reference"] == MASK


def test_what_cannot_be_looked_into_is_left_out() -> None:
    assert masked({"raw": "NjAwMTIz", "encoding": "base64"}) == {"raw": None, "encoding": "hidden"}


def test_a_journal_is_masked_by_the_names_in_it() -> None:
    data = {
        "message_id": "12345678", "messages": 12_345_678, "reason": "677123456 called",
        "values": {"metadata": {"id": "677123456"}},
        "changes": {"label": {"old": "677123456", "new": "Sale"}, "params": {"old": {"a": "Ana"}, "new": None}},
        "changed": {"reply_rules": {"from": None, "to": [{"reply": "677123456"}]}, "greeting": {"old": "677123456", "new": ""}},
        "left_out_message_ids": ["12345678"], "status": {"old": "editing", "new": "prepared"},
    }  # fmt: skip
    assert masked({"data": data})["data"] == {
        "message_id": "12345678", "messages": 12_345_678, "reason": f"{MASK} called", "values": {"metadata": {"id": MASK}},
        "changes": {"label": {"old": MASK, "new": "Sale"}, "params": {"old": {"a": MASK}, "new": None}},
        "changed": {"reply_rules": {"from": None, "to": [{"reply": MASK}]}, "greeting": {"old": MASK, "new": ""}},
        "left_out_message_ids": ["12345678"], "status": {"old": "editing", "new": "prepared"},
    }  # fmt: skip


def test_a_cursor_shows_nothing_of_its_position() -> None:
    import base64

    cursor = CursorSigner(bytes(32)).seal("quarantine", ["+34677123456", "Acme"])
    assert b"677" not in base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    assert CursorSigner(bytes(32)).open("quarantine", cursor) == ["+34677123456", "Acme"]


#: Every way to ask by number or by a text that may be one, and the scope that it needs besides.
QUESTIONS = [
    ("GET", "/v1/quarantine?address=%2B34677123456", "quarantine:read"),
    ("GET", "/v1/quarantine?sender=%2B34677123456", "quarantine:read"),
    ("GET", "/v1/quarantine?error_code=677123456", "quarantine:read"),
    ("GET", "/v1/quarantine/%2B34677123456", "quarantine:read"),
    ("GET", "/v1/quarantine/erased:00", "quarantine:read"),
    ("DELETE", "/v1/quarantine/%2B34677123456?reason=x", "quarantine:write"),
    ("GET", "/v1/inbound?address=%2B34677123456", "quarantine:read"),
    ("GET", "/v1/addresses/%2B34677123456", "quarantine:read,deliveries:read"),
    ("DELETE", "/v1/addresses/%2B34677123456?reason=x", "quarantine:write"),
    ("POST", "/v1/addresses/check", "quarantine:read"),
    ("GET", "/v1/deliveries/{id}/messages?address=%2B34677123456", "deliveries:read"),
    ("GET", "/v1/deliveries/{id}/exclusions?address=%2B34677123456", "deliveries:read"),
    ("GET", "/v1/deliveries/{id}/exclusions?address=nonsense", "deliveries:read"),
    ("GET", "/v1/qualifications?implementation=677123456", "deliveries:read"),
    ("POST", "/v1/quarantine/release", "quarantine:write"),
]


@pytest.mark.parametrize(("method", "url", "scopes"), QUESTIONS)
@pytest.mark.parametrize("accept", ["application/json", "text/csv", "application/x-ndjson"])
async def test_asking_by_number_needs_pii_read(
    method: str, url: str, scopes: str, accept: str, client: httpx.AsyncClient, key: KeyMaker, admin: Headers
) -> None:
    made = await client.post("/v1/deliveries", json={"label": "x", "sender": "Acme"}, headers=admin)
    url = url.replace("{id}", made.json()["id"])
    body = (
        {"filter": {"error_code": "677123456"}, "reason": "x", "dry_run": True}
        if url.endswith("release")
        else ["677123456"]
    )
    json = {"json": body} if method == "POST" else {}
    blind = await key(*scopes.split(","))
    refused = await client.request(method, url, headers=blind | {"Accept": accept}, **json)  # type: ignore[arg-type]
    assert refused.status_code == 403
    assert "677" not in refused.text
    seeing = await key(*scopes.split(","), "pii:read")
    answer = await client.request(method, url, headers=seeing | {"Accept": accept}, **json)  # type: ignore[arg-type]
    assert answer.status_code != 403


async def test_a_search_does_not_find_what_is_masked(client: httpx.AsyncClient, key: KeyMaker, admin: Headers) -> None:
    label = "Sale of 677123456"
    await client.post("/v1/deliveries", json={"label": label, "sender": "Acme"}, headers=admin)
    blind = await key("deliveries:read")
    for part, seen in (("Sale of", 1), ("677", 0), ("712", 0), ("56", 0), ("677123456", 0)):
        page = (await client.get("/v1/deliveries", params={"q": part}, headers=blind)).json()
        assert (page["total"], len(page["items"])) == (seen, seen)
        assert (await client.get("/v1/deliveries", params={"q": part}, headers=admin)).json()["total"] == 1


async def test_proofs_tell_nobody_who_may_not_ask_what_the_quarantine_says(
    client: httpx.AsyncClient, key: KeyMaker, admin: Headers
) -> None:
    gone, fine = "+34677123456", "+34677123457"
    await client.post("/v1/quarantine", json=[{"address": gone}], headers=admin)
    made = await client.post(
        "/v1/deliveries", json={"label": "x", "sender": "Acme", "content": "Hi {{name}}"}, headers=admin
    )
    url, blind = f"/v1/deliveries/{made.json()['id']}/proofs", await key("deliveries:write")

    async def refused(*addresses: str, **params: str) -> tuple[int, object]:
        body = {"addresses": [{"address": each, "params": params} for each in addresses]}
        answer = await client.post(url, json=body, headers=blind)
        return answer.status_code, answer.json().get("errors")

    assert await refused(gone) == await refused(fine)  # something else is wrong with both
    assert await refused(gone, fine, name="Ana") == await refused(fine, gone, name="Ana")
    body = {"addresses": [{"address": gone, "params": {"name": "Ana"}}]}
    assert "opted out" in (await client.post(url, json=body, headers=admin)).text


def test_every_class_is_used() -> None:
    assert set(FIELDS.values()) | {Class.HIDDEN} == set(Class)
