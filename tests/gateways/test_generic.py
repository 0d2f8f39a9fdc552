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
            ({"part": 0, "parts": 2, "part_reference": "7"}, "it must be a whole number from 1"),
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

    @pytest.mark.parametrize("blank", ["", None])
    def test_what_is_left_empty_in_a_message_is_absent(self, blank: str | None) -> None:
        names = ("to", "provider_message_id", "opt_out_type", "part", "parts", "part_reference")
        row = {"type": "inbound", "from": "447700900123", "text": "STOP", **dict.fromkeys(names, blank)}
        raw = orjson.dumps(row)
        assert self.parse(post(raw)) == [Inbound(sender="447700900123", recipient=None, text="STOP", raw=raw)]

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
    ],
)
def test_what_a_receipt_cannot_be_without_is_one_clear_sentence_without_its_value(
    fields: dict[str, object], complaint: str
) -> None:
    assert wrong(**fields).startswith(complaint)


WITH_ZONE = "occurred_at was not read: it must be a time with its zone"
NO_ZONE = "occurred_at was not read: it names no zone"
DECIMAL = "price was not read: it must be a decimal"
PART = "part was not read: it must be a whole number from 1 to 255"


@pytest.mark.parametrize(
    ("fields", "warning"),
    [
        ({"occurred_at": "2026-03-04T10:15:42"}, NO_ZONE),
        ({"occurred_at": "2026-03-04 10:15"}, NO_ZONE),
        ({"occurred_at": "20260304101542"}, NO_ZONE),
        ({"occurred_at": "2603041015"}, NO_ZONE),
        ({"occurred_at": "2026-03-04"}, WITH_ZONE),
        ({"occurred_at": "04/03/2026 10:15:42"}, WITH_ZONE),
        ({"occurred_at": "yesterday"}, WITH_ZONE),
        ({"occurred_at": 1772619342}, WITH_ZONE),
        ({"occurred_at": "1772619342"}, WITH_ZONE),
        ({"occurred_at": {"date": "2026-03-04T10:15:42Z"}}, WITH_ZONE),
        ({"occurred_at": "2026-02-30T10:15:42Z"}, WITH_ZONE),
        ({"occurred_at": "0001-01-01T00:00:00Z"}, WITH_ZONE),
        ({"occurred_at": "0001-01-01T00:00:00+14:00"}, WITH_ZONE),
        ({"error_code": True}, "error_code was not read: it must be a string"),
        ({"error_code": 1.5}, "error_code was not read: it must be a string"),
        ({"error_text": ["x"]}, "error_text was not read: it must be a string"),
        ({"network": {"mcc": 214}}, "network was not read: it must be a string"),
        ({"address": False}, "address was not read: it must be a string"),
        ({"part": 0}, PART),
        ({"part": 256}, PART),
        ({"part": True}, PART),
        ({"part": "1 of 2"}, PART),
        ({"parts": 1.5}, PART.replace("part", "parts", 1)),
        ({"part": 3, "parts": 2}, "part is greater than parts: neither was read"),
        ({"price": 10**9}, DECIMAL),
        ({"price": "1000000000"}, DECIMAL),
        ({"price": "1_0"}, DECIMAL),
        ({"price": "1,234"}, DECIMAL),
        ({"price": "free"}, DECIMAL),
        ({"price": "NaN"}, DECIMAL),
        ({"price": float("inf")}, DECIMAL),
        ({"price": Decimal("1e999999")}, DECIMAL),
        ({"price": Decimal("sNaN")}, DECIMAL),
        ({"price": 10**5000}, DECIMAL),
        ({"price": True}, DECIMAL),
        ({"price": {"amount": 1}}, DECIMAL),
        ({"currency": "EURO"}, "currency was not read: it must be three letters"),
        ({"currency": "€€€"}, "currency was not read: it must be three letters"),
        ({"currency": 978}, "currency was not read: it must be three letters"),
    ],
)
def test_what_a_receipt_is_true_without_is_left_out_with_a_warning(fields: dict[str, object], warning: str) -> None:
    receipt = good(**fields)
    (told,) = receipt.details["warnings"]
    assert told.startswith(warning)
    bare = good()
    names = [name for name in fields if name != "occurred_at"]
    assert [getattr(receipt, name) for name in names] == [getattr(bare, name) for name in names]
    assert receipt.occurred_at is None


def test_a_time_without_a_zone_is_shown_as_it_was_given() -> None:
    assert good(occurred_at="2026-03-04T10:15:42").details["occurred_at_local"] == "2026-03-04T10:15:42"


def test_every_warning_is_told_beside_the_others() -> None:
    warnings = good(occurred_at="?", price="?", eror_code="069", status="failed").details["warnings"]
    assert [each.split()[0] for each in warnings] == ["occurred_at", "price", "fields"]


@pytest.mark.parametrize(
    ("written", "at"),
    [
        ("2026-03-04T11:15:42+0100", "2026-03-04T10:15:42"),
        ("2026-03-04 10:15:42 UTC", "2026-03-04T10:15:42"),
        ("2026/03/04 10:15:42Z", "2026-03-04T10:15:42"),
        ("2026-03-04T10:15Z", "2026-03-04T10:15:00"),
        ("20260304T101542Z", "2026-03-04T10:15:42"),
        ("Wed, 04 Mar 2026 11:15:42 +0100", "2026-03-04T10:15:42"),
        ("260304111542004+", "2026-03-04T10:15:42"),
    ],
)
def test_a_time_that_names_its_zone_in_another_way_is_read(written: str, at: str) -> None:
    receipt = good(occurred_at=written)
    assert receipt.occurred_at is not None
    assert receipt.occurred_at.isoformat() == f"{at}+00:00"
    assert not receipt.details


@pytest.mark.parametrize(
    ("price", "read"),
    [
        ("0.0071", "0.0071"),
        (0.0071, "0.0071"),
        (1e-6, "0.000001"),
        (-3, "-3"),
        ("1.50000000", "1.5"),
        (0, "0"),
        ("0,05", "0.05"),
        ("-0,0075", "-0.0075"),
        ("1.234,56", "1234.56"),
        ("1,234.56", "1234.56"),
        (" 0.05 ", "0.05"),
        (".05", "0.05"),
        ("7,1E-3", "0.0071"),
        ("12,5", "12.5"),
    ],
)
def test_a_price_is_text_or_a_number_and_stays_exact(price: object, read: str) -> None:
    receipt = good(price=price)
    assert receipt.price == Decimal(read)
    assert not receipt.details


@pytest.mark.parametrize(("price", "read"), [("0.0048125", "0.004812"), (1e-7, "0"), ("0,12345678", "0.123457")])
def test_a_price_of_more_than_six_digits_is_rounded_and_says_so(price: object, read: str) -> None:
    receipt = good(price=price)
    assert receipt.price == Decimal(read)
    assert receipt.details["warnings"] == ["price was rounded to 6 digits behind the point"]


def test_whole_numbers_are_read_where_a_text_is_expected_and_the_other_way_round() -> None:
    receipt = good(error_code=30003, network=21407, address=447700900001, part="1", parts=2.0)
    assert (receipt.error_code, receipt.network, receipt.address) == ("30003", "21407", "447700900001")
    assert (receipt.part, receipt.parts, receipt.details) == (1, 2, {})
    assert good(error_code=30003.0).error_code == "30003"


def test_a_long_text_is_cropped_and_a_long_word_says_so() -> None:
    assert good(error_text="a" * 9999).error_text == "a" * 500
    receipt = good(error_code="a" * 9999)
    assert receipt.error_code == "a" * 100
    assert receipt.details["warnings"] == ["error_code was cropped to 100 characters"]
    assert good(error_text="a\x00b").error_text == good(error_code="a\x00b").error_code == "a\ufffdb"


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
    bad = read_csv({**row, "part": "x"})
    assert not isinstance(bad, str)
    assert (bad[1].part, bad[1].details["warnings"]) == (None, [PART])
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
