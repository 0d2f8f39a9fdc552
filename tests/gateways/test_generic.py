"""Our own format: one object, an array, or lines; and what is wrong with a row, said so that it can be mended."""

import hashlib
import hmac
from dataclasses import replace
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gateways import generic
from app.gateways.bodies import lines
from app.gateways.generic import read_csv, read_object, read_row, read_value
from app.gateways.receipt import Callback, Inbound, Outcome, Receipt, Unreadable

from .contract import NEW, PUBLIC_URL, GatewayContract, storable

FULL = {
    "gateway": "acme",
    "provider_message_id": "77",
    "reference": "m-1",
    "status": "UNDELIV",
    "error_code": "069",
    "error_text": "absent",
    "occurred_at": "2026-03-04T11:15:42+01:00",
    "price": "0.007100",
    "currency": "eur",
    "network": "21407",
    "part": 1,
    "parts": 2,
    "address": "+34600000000",
}


def post(body: bytes, content_type: str = "application/json") -> Callback:
    return Callback(method="POST", url=PUBLIC_URL, query="", headers={"content-type": content_type}, body=body)


def good(**fields: object) -> Receipt:
    receipt = read_object({"provider_message_id": "77", "status": "delivered", **fields})
    assert isinstance(receipt, Receipt), receipt
    return receipt


def wrong(**fields: object) -> str:
    reason = read_object({"provider_message_id": "77", "status": "delivered", **fields})
    assert isinstance(reason, str)
    return reason


class TestGeneric(GatewayContract):
    adapter = generic.ADAPTER
    unknown_words = ("mystery", "DELIVERED?", "☃", "0", "no_receipt")

    def callback(self, *, status: str | None = None, message_id: str | None = "77") -> Callback:
        return post(orjson.dumps({"provider_message_id": message_id, "status": status or "delivered"}))

    def signed(self, callback: Callback, secret: str) -> Callback:
        digest = hmac.new(secret.encode(), callback.body, hashlib.sha256).hexdigest()
        return replace(callback, headers={**callback.headers, "x-acuse-signature": f"sha256={digest}"})

    def batch(self, callbacks: list[Callback]) -> Callback:
        return post(b"[" + b",".join(callback.body for callback in callbacks) + b"]")

    def test_a_bad_line_does_not_cost_its_neighbours(self) -> None:
        lines = [self.callback().body, b"{not json", b"", b" ", self.callback(message_id="78").body]
        first, bad, last = self.parse(post(b"\r\n".join(lines), "application/x-ndjson; charset=utf-8"))
        assert isinstance(first, Receipt)
        assert isinstance(bad, Unreadable)
        assert bad.raw.strip() == b"{not json"
        assert isinstance(last, Receipt)
        assert last.provider_message_id == "78"

    def test_no_lines_are_unreadable_and_an_empty_array_is_no_receipts(self) -> None:
        assert self.refusal(post(b"\n\n", "application/x-ndjson")) == "the body is empty"
        assert self.parse(post(b"[]")) == []

    def test_a_signature_may_be_in_capitals_but_not_of_another_kind(self) -> None:
        signed = self.signed(self.callback(), NEW)
        value = signed.headers["x-acuse-signature"]
        capitals = replace(signed, headers={"x-acuse-signature": "SHA256=" + value[7:].upper()})
        assert self.shows(capitals, "signature", NEW)
        for other in (value[7:], "sha1=" + value[7:], "sha256=", value + "0", "sha256=ñ☃"):
            assert not self.shows(replace(signed, headers={"x-acuse-signature": other}), "signature", NEW)

    def test_the_path_gives_the_reference_when_the_object_has_none(self) -> None:
        bare = replace(post(b'{"status": "delivered", "reference": null}'), reference="m-1")
        assert self.receipt(bare).reference == "m-1"
        assert (
            self.receipt(replace(post(b'{"status": "sent", "reference": "m-2"}'), reference="m-1")).reference == "m-2"
        )

    def test_a_message_from_a_phone_has_a_type_and_may_stand_among_receipts(self) -> None:
        message = {
            "type": "inbound",
            "from": "+34600000000",
            "to": "5555",
            "text": "STOP",
            "provider_message_id": "mo-1",
        }
        bare = {"type": "inbound", "from": "34600000000", "to": None, "text": ""}
        body = orjson.dumps([message, {"provider_message_id": "77", "status": "sent"}, bare])
        lines = body[1:-1].replace(b"},{", b"}\n{")
        for callback in (post(body), post(lines, "application/x-ndjson")):
            whole, receipt, empty = self.parse(callback)
            assert whole == Inbound(
                sender="+34600000000",
                recipient="5555",
                text="STOP",
                provider_message_id="mo-1",
                raw=orjson.dumps(message),
            )
            assert isinstance(receipt, Receipt)
            assert empty == Inbound(sender="34600000000", recipient=None, text="", raw=orjson.dumps(bare))

    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            ({"from": None}, "from is missing"),
            ({"from": ""}, "from is missing"),
            ({"from": 34600000000}, "from must be a string"),
            ({"to": ["5555"]}, "to must be a string"),
            ({"text": 7}, "text must be a string"),
            ({"provider_message_id": "a" * 256}, "provider_message_id"),
            ({"from": "a" * 101}, "from is longer"),
            ({"to": "a\0"}, "to contains a NUL"),
            ({"part": 1}, "belong together"),
            ({"part": 2, "parts": 1, "part_reference": "7"}, "part is at most parts"),
            ({"part": 0, "parts": 2, "part_reference": "7"}, "part must be a whole number"),
            ({"part": 1, "parts": 2, "part_reference": 7}, "part_reference must be a string"),
            ({"opt_out_type": True}, "opt_out_type must be a string"),
        ],
    )
    def test_a_message_that_cannot_be_read_says_why(self, fields: dict[str, Any], reason: str) -> None:
        told = self.refusal(post(orjson.dumps({"type": "inbound", "from": "+34600000000", "text": "x", **fields})))
        assert reason in told
        assert "600000000" not in told

    def test_a_message_says_what_the_provider_took_it_for_and_which_part_it_is(self) -> None:
        more = {"opt_out_type": "stop", "part": 2, "parts": 3, "part_reference": "7"}
        [item] = self.parse(post(orjson.dumps({"type": "inbound", "from": "447700900123", "text": "x", **more})))
        assert isinstance(item, Inbound)
        assert (item.opt_out, item.part, item.parts, item.part_reference) == ("denylist", 2, 3, "7")
        alone = {"opt_out_type": "something else", "part": 1, "parts": 1, "part_reference": "7"}
        [item] = self.parse(post(orjson.dumps({"type": "inbound", "from": "447700900123", **alone})))
        assert isinstance(item, Inbound)
        assert (item.opt_out, item.part) == (None, None)

    def test_a_long_message_is_cropped_and_odd_characters_are_replaced(self) -> None:
        [item] = self.parse(post(orjson.dumps({"type": "inbound", "from": "1", "text": "\0" + "x" * 9_999})))
        assert isinstance(item, Inbound)
        assert item.text == "\ufffd" + "x" * 4_999


def test_every_field_is_read() -> None:
    line = orjson.dumps(FULL)
    row = read_row(line)
    assert not isinstance(row, str)
    gateway, receipt = row
    assert gateway == "acme"
    assert receipt.occurred_at is not None
    assert receipt.occurred_at.isoformat() == "2026-03-04T10:15:42+00:00"
    assert receipt == Receipt(
        outcome=Outcome.FAILED,
        status="UNDELIV",
        provider_message_id="77",
        reference="m-1",
        address="+34600000000",
        error_code="069",
        error_text="absent",
        occurred_at=receipt.occurred_at,
        part=1,
        parts=2,
        price=Decimal("0.0071"),
        currency="EUR",
        network="21407",
        raw=line,
    )


@pytest.mark.parametrize(
    ("words", "outcome"),
    [
        ("accepted ACCEPTED queued buffered ACCEPTD submitted scheduled BUFFRED pending", Outcome.ACCEPTED),
        ("sent ENROUTE enroute sending", Outcome.SENT),
        ("delivered DELIVRD Delivered received read", Outcome.RECEIVED),
        ("failed undelivered UNDELIV expired EXPIRED rejected REJECTD deleted canceled cancelled", Outcome.FAILED),
        ("unknown UNKNOWN no_receipt mystery", Outcome.UNKNOWN),
    ],
)
def test_status_words_in_any_case(words: str, outcome: Outcome) -> None:
    for word in words.split():
        assert good(status=word).outcome is outcome
        assert good(status=word).status == word


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"provider_message_id": None}, "provider_message_id or reference is needed"),
        ({"provider_message_id": ""}, "provider_message_id or reference is needed"),
        ({"provider_message_id": " "}, "provider_message_id is blank"),
        ({"provider_message_id": 77}, "provider_message_id must be a string"),
        ({"provider_message_id": "a" * 256}, "provider_message_id is longer than 255 characters"),
        ({"reference": "a\x00b"}, "reference contains a NUL character"),
        ({"status": None}, "status is missing"),
        ({"status": ""}, "status is missing"),
        ({"status": 1}, "status must be a string"),
        ({"status": "a" * 101}, "status is longer than 100 characters"),
        ({"error_code": True}, "error_code must be a string"),
        ({"error_code": 1.5}, "error_code must be a string"),
        ({"error_text": ["x"]}, "error_text must be a string"),
        ({"error_text": "a\x00b"}, "error_text contains a NUL character"),
        ({"occurred_at": "2026-03-04T10:15:42"}, "occurred_at must be a time with its zone"),
        ({"occurred_at": "2026-03-04"}, "occurred_at must be a time with its zone"),
        ({"occurred_at": 1772619342}, "occurred_at must be a time with its zone"),
        ({"occurred_at": "1772619342"}, "occurred_at must be a time with its zone"),
        ({"occurred_at": "2026-02-30T10:15:42Z"}, "occurred_at must be a time with its zone"),
        ({"occurred_at": "0001-01-01T00:00:00+14:00"}, "occurred_at must be a time with its zone"),
        ({"part": 0}, "part must be a whole number from 1 to 255"),
        ({"part": 256}, "part must be a whole number from 1 to 255"),
        ({"part": True}, "part must be a whole number from 1 to 255"),
        ({"parts": "2"}, "parts must be a whole number from 1 to 255"),
        ({"part": 3, "parts": 2}, "part is greater than parts"),
        ({"price": 10**9}, "price must be a decimal"),
        ({"price": "1000000000"}, "price must be a decimal"),
        ({"price": "0.0000001"}, "price must be a decimal"),
        ({"price": 1e-7}, "price must be a decimal"),
        ({"price": "1_0"}, "price must be a decimal"),
        ({"price": "NaN"}, "price must be a decimal"),
        ({"price": float("inf")}, "price must be a decimal"),
        ({"price": Decimal("1e999999")}, "price must be a decimal"),
        ({"price": 10**5000}, "price must be a decimal"),
        ({"price": True}, "price must be a decimal"),
        ({"currency": "EURO"}, "currency must be three letters"),
        ({"currency": "€€€"}, "currency must be three letters"),
        ({"address": "+34" + "6" * 100}, "address is longer than 100 characters"),
    ],
)
def test_a_wrong_field_is_one_clear_sentence_without_its_value(fields: dict[str, object], complaint: str) -> None:
    assert wrong(**fields).startswith(complaint)


@pytest.mark.parametrize(
    ("price", "read"),
    [("0.0071", "0.0071"), (0.0071, "0.0071"), (1e-6, "0.000001"), (-3, "-3"), ("1.50000000", "1.5"), (0, "0")],
)
def test_a_price_is_text_or_a_number_and_stays_exact(price: object, read: str) -> None:
    assert good(price=price).price == Decimal(read)


def test_a_whole_number_is_an_error_code_too() -> None:
    assert good(error_code=30003).error_code == "30003"


def test_a_long_error_text_is_cropped() -> None:
    assert good(error_text="a" * 9999).error_text == "a" * 500


def test_a_field_that_is_not_known_is_told_and_does_not_cost_the_receipt() -> None:
    warnings = good(eror_code="069", **{"+34600000000": 1}).details["warnings"]
    assert warnings == ["fields that are not known were not read: eror_code"]


@pytest.mark.parametrize("line", [b"", b"x", b"\xff", b"[]", b"1", b'{"a":', b'{"status":"\\ud800"}'])
def test_a_line_that_is_no_object_says_so(line: bytes) -> None:
    assert read_row(line) in ("not JSON", "a receipt must be a JSON object")


def test_the_gateway_of_a_row_is_its_key_or_none() -> None:
    row = {"reference": "m-1", "status": "sent"}
    assert read_value({**row, "gateway": "acme"}) == ("acme", read_object(row))
    assert read_value(row) == read_value({**row, "gateway": ""}) == (None, read_object(row))
    assert read_value({**row, "gateway": 5}) == "gateway must be a string"


def test_a_row_of_csv_is_the_same_receipt_as_its_json() -> None:
    row = {name: str(value) for name, value in FULL.items()}
    assert read_csv(row) == read_value(FULL)
    assert read_csv({**row, "part": "x"}) == "part must be a whole number from 1 to 255"
    assert read_csv({"status": "sent", "reference": "m-1", "part": "", "price": ""}) == (
        None,
        good(status="sent", reference="m-1", provider_message_id=None),
    )


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text()) | st.decimals()


@given(st.dictionaries(st.sampled_from([*FULL, "extra"]), VALUES))
def test_any_object_is_read_or_refused_and_never_raises(value: dict[str, Any]) -> None:
    receipt = read_object(value)
    assert isinstance(receipt, str) or storable(receipt)


@given(st.dictionaries(st.sampled_from([*FULL, "extra"]), st.text()))
def test_any_csv_is_read_or_refused_and_never_raises(row: dict[str, str]) -> None:
    found = read_csv(row)
    assert isinstance(found, str) or storable(found[1])


@given(st.binary(), st.sampled_from(["application/json", "application/x-ndjson", ""]))
def test_any_body_is_read_or_refused_and_never_raises(body: bytes, content_type: str) -> None:
    for item in TestGeneric().parse(post(body, content_type)):
        assert isinstance(item, (Receipt, Unreadable))


def test_blank_lines_are_passed_over_without_being_counted() -> None:
    assert list(lines(b"\n \r\n1\n\n\t\n2\r\n" + b"\n" * 1_000_000 + b"3")) == [b"1", b"2\r", b"3"]
    assert list(lines(b"\n" * 1_000_000)) == list(lines(b"")) == list(lines(b" \n ")) == []
