"""SMPP receipts as JSON: every line of the samples, and who wins where text and TLVs disagree."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.gateways import smpp, smpp_deliver
from app.gateways.receipt import Callback, Inbound, Item, Outcome, Receipt, Unreadable
from app.gateways.smpp_deliver import DeliverSm, SmppOptions
from app.gateways.smpp_network import network_error

from .contract import PUBLIC_URL, SAMPLES, GatewayContract, check_sample, meaning, storable

LINES = [json.loads(line) for line in (SAMPLES / "smpp" / "receipts.jsonl").read_text().splitlines()]
GOOD = [pytest.param(line, id=line["name"]) for line in LINES if "reject" not in line["expect"]]
BAD = [pytest.param(line, id=line["name"]) for line in LINES if "reject" in line["expect"]]


def post(value: object) -> Callback:
    return Callback(method="POST", url=PUBLIC_URL, query="", headers={}, body=orjson.dumps(value))


class TestSmpp(GatewayContract):
    adapter = smpp.ADAPTER
    unknown_words = ("mystery", "DND_REJECTED", "☃", "0")

    def callback(self, *, status: str | None = None, message_id: str | None = "77") -> Callback:
        return post({"text": f"{'' if message_id is None else f'id:{message_id}'} stat:{status or 'DELIVRD'} err:000"})

    def batch(self, callbacks: list[Callback]) -> Callback:
        return replace(callbacks[0], body=b"[" + b",".join(callback.body for callback in callbacks) + b"]")

    def read(self, text: str = "", options: dict[str, Any] | None = None, **tlvs: object) -> Item:
        [item] = self.parse(post({"text": text, "tlvs": tlvs}), **(options or {}))
        return item

    def good(self, text: str = "", options: dict[str, Any] | None = None, **tlvs: object) -> Receipt:
        item = self.read(text, options, **tlvs)
        assert isinstance(item, Receipt), item
        return item

    @pytest.mark.parametrize("line", GOOD)
    def test_samples_that_are_receipts(self, line: dict[str, Any]) -> None:
        receipt = self.receipt(post(line))
        expect, details = line["expect"], receipt.details
        check_sample(self.adapter, receipt, expect)
        for name in ("sub", "dlvrd", "submit_date_raw", "done_date_raw", "done_date_local"):
            assert details.get(name) == expect[name]
        for name in ("message_state", "network_error", "text_undecodable"):
            assert details.get(name) == expect.get(name)
        assert details.get("text") == expect["text_raw"]

    @pytest.mark.parametrize("line", BAD)
    def test_samples_that_must_be_refused(self, line: dict[str, Any]) -> None:
        assert self.refusal(post(line)).startswith(line["expect"]["reason"])

    # --- text against TLVs ---

    def test_a_status_that_contradicts_message_state_is_refused(self) -> None:
        item = self.read("id:1 stat:DELIVRD", message_state=5)
        assert isinstance(item, Unreadable)
        assert "contradicts" in item.reason

    @pytest.mark.parametrize(("believe", "outcome"), [("tlv", Outcome.FAILED), ("text", Outcome.RECEIVED)])
    def test_an_option_says_which_of_the_two_to_believe(self, believe: str, outcome: Outcome) -> None:
        receipt = self.good("id:1 stat:DELIVRD err:007", {"on_status_conflict": believe}, message_state=5)
        assert receipt.outcome is outcome
        assert receipt.details["warnings"] == [f"stat in text contradicts message_state; {believe} is believed"]
        assert receipt.failure_key == ("UNDELIV 007" if outcome is Outcome.FAILED else None)

    @pytest.mark.parametrize(
        ("stat", "state", "outcome"),
        [
            ("ACCEPTD", 1, Outcome.SENT),
            ("EXPIRED", 5, Outcome.FAILED),
            ("UNKNOWN", 2, Outcome.RECEIVED),
            ("DELIVRD", 7, Outcome.UNKNOWN),
            ("DND_REJECTED", 8, Outcome.FAILED),
            ("undeliverable", 5, Outcome.FAILED),
        ],
    )
    def test_a_difference_that_is_no_contradiction_follows_the_tlv(
        self, stat: str, state: int, outcome: Outcome
    ) -> None:
        assert self.good(f"id:1 stat:{stat}", message_state=state).outcome is outcome

    @pytest.mark.parametrize("state", range(11))
    def test_every_message_state_has_its_outcome(self, state: int) -> None:
        outcomes = "accepted sent received failed failed failed accepted unknown failed failed unknown"
        receipt = self.good(receipted_message_id="1", message_state=state)
        assert receipt.outcome == outcomes.split()[state]
        assert receipt.status == ""

    def test_two_ids_in_the_text_do_not_matter_when_a_tlv_names_one(self) -> None:
        receipt = self.good("id:1 id:2 stat:DELIVRD", receipted_message_id="3")
        assert receipt.provider_message_id == "3"
        assert "id given twice with different values" in receipt.details["warnings"]

    def test_two_different_states_in_the_text_are_refused(self) -> None:
        assert (
            self.refusal(post({"text": "id:1 stat:DELIVRD stat:UNDELIV"})) == "state given twice with different values"
        )

    def test_a_status_behind_text_counts_only_by_option(self) -> None:
        text = "id:91 err:000 text: stat:DELIVRD"
        receipt = self.good(text, {"status_after_text": True})
        assert (receipt.outcome, receipt.status) == (Outcome.RECEIVED, "DELIVRD")
        assert receipt.details["warnings"] == ["state was found behind text:"]

    @pytest.mark.parametrize("key", ["0x001E_receipted_message_id", "receipted_message_id", "0x001E", "001e"])
    def test_a_tlv_goes_by_its_name_its_tag_or_both(self, key: str) -> None:
        receipt = self.receipt(post({"tlvs": {key: "77", "0x0427_message_state_hex": "02"}}))
        assert (receipt.provider_message_id, receipt.outcome) == ("77", Outcome.RECEIVED)

    def test_an_id_may_come_as_octets_with_the_nul_of_a_c_string(self) -> None:
        assert self.good(receipted_message_id_hex="373700", message_state=2).provider_message_id == "77"

    # --- errors ---

    @pytest.mark.parametrize(
        ("text", "tlvs", "code", "key"),
        [
            ("id:1 stat:UNDELIV err:069", {}, "069", None),
            ("id:1 stat:UNDELIV err:069", {"network_error_code": "03001b"}, "069", None),
            ("id:1 stat:UNDELIV err:000", {"network_error_code": "03001b"}, "000", "GSM 27"),
            ("id:1 stat:UNDELIV", {"network_error_code": "03001b"}, None, "GSM 27"),
            ("id:1 stat:UNDELIV", {"network_error_code_hex": "303237"}, None, "27"),
            ("id:1 stat:UNDELIV", {"network_error_code_hex": "ff001b"}, None, "network 255 27"),
            ("id:1 stat:EXPIRED err:0", {}, "0", "000"),
            ("id:1 stat:EXPIRED err:000", {}, "000", None),
            ("id:1 stat:EXPIRED", {}, None, None),
            ("id:1 err:5", {"message_state": 5}, "5", "UNDELIV 5"),
            ("", {"receipted_message_id": "1", "message_state": 3}, None, "EXPIRED"),
        ],
    )
    def test_err_comes_first_then_the_networks_code_then_the_state(
        self, text: str, tlvs: dict[str, Any], code: str | None, key: str | None
    ) -> None:
        receipt = self.good(text, **tlvs)
        assert (receipt.error_code, receipt.failure_key) == (code, key)

    @pytest.mark.parametrize("text", ["id:1 stat:EXPIRED", "id:1 stat:EXPIRED err:000", "id:1 stat:expird err:00"])
    def test_expired_is_a_soft_error_however_it_is_spelled(self, text: str) -> None:
        shipped = meaning(self.adapter, self.good(text))
        assert shipped is not None
        assert (shipped.failure_type, shipped.reason) == ("soft", "unreachable")

    @pytest.mark.parametrize("text", ["id:1 stat:UNDELIV err:000", "id:1 stat:REJECTD", "id:1 stat:UNDELIV err:069"])
    def test_a_failure_without_a_known_reason_is_left_to_an_operator(self, text: str) -> None:
        assert meaning(self.adapter, self.good(text)) is None

    def test_a_network_error_of_wrong_length_is_a_warning_when_there_is_a_state(self) -> None:
        receipt = self.good("id:1 stat:UNDELIV", network_error_code="0300")
        assert receipt.details["warnings"] == ["network_error_code must be 3 octets"]

    # --- what else it says ---

    def test_a_failed_attempt_is_not_final(self) -> None:
        receipt = self.receipt(post({"text": "id:1 stat:UNDELIV err:027", "esm_class": 0x20}))
        assert (receipt.outcome, receipt.failure_key) == (Outcome.SENT, None)
        assert "intermediate notification" in receipt.details["warnings"][0]

    def test_a_text_from_a_phone_that_looks_like_a_receipt_is_inbound(self) -> None:
        [item] = self.parse(post({"text": "id:1 stat:DELIVRD", "esm_class": 0, "source_addr": "34600000000"}))
        assert isinstance(item, Inbound)
        assert item.text == "id:1 stat:DELIVRD"

    @pytest.mark.parametrize(
        ("ton", "numbering"),
        [(None, None), (0, None), (1, "international"), (2, "national"), ("2", "national"), (5, "other"), (6, "other"),
         (77, None), ("two", None), (True, None), ([2], None)],
    )  # fmt: skip
    def test_the_type_of_number_says_how_the_sender_is_written(self, ton: object, numbering: str | None) -> None:
        [item] = self.parse(post({"text": "STOP", "esm_class": 0, "source_addr": "2025550101", "source_addr_ton": ton}))
        assert isinstance(item, Inbound)
        assert item.numbering == numbering

    HEADED = "050003cc0201"

    @pytest.mark.parametrize(
        ("given", "text", "piece"),
        [
            ({"short_message_hex": HEADED + b"STOP sending".hex(), "esm_class": 0x40}, "STOP sending", ("204", 1, 2)),
            ({"short_message_hex": HEADED + "ARRÊT".encode("utf-16-be").hex(), "esm_class": 0x40, "data_coding": 8},
             "ARRÊT", ("204", 1, 2)),
            ({"short_message_hex": "060804abcd0302" + b"me".hex(), "esm_class": 0x40}, "me", ("43981", 2, 3)),
            ({"text": "\x05\x00\x03\x0c\x02\x01STOP", "esm_class": 0x40}, "STOP", ("12", 1, 2)),
            ({"tlvs": {"message_payload_hex": HEADED + b"STOP".hex()}, "esm_class": 0x40}, "STOP", ("204", 1, 2)),
            ({"text": "STOP", "esm_class": 0,
              "tlvs": {"sar_msg_ref_num": 7, "sar_total_segments": 2, "sar_segment_seqnum": 1}}, "STOP", ("7", 1, 2)),
            ({"text": "STOP", "esm_class": 0, "tlvs": {"0x020c_hex": "0007", "0x020e_hex": "02", "0x020f_hex": "02"}},
             "STOP", ("7", 2, 2)),
            ({"text": "STOP", "esm_class": 0, "tlvs": {"sar_msg_ref_num": "x", "sar_total_segments": []}}, "STOP", None),
            ({"text": "STOP", "esm_class": 0,
              "tlvs": {"sar_msg_ref_num": 7, "sar_total_segments": 2, "sar_segment_seqnum": 3}}, "STOP", None),
            ({"text": "STOP", "esm_class": 0,
              "tlvs": {"sar_msg_ref_num": 7, "sar_total_segments": 40_000, "sar_segment_seqnum": 2}}, "STOP", None),
            ({"short_message_hex": b"STOP".hex(), "esm_class": 0x40}, "STOP", None),
        ],
    )  # fmt: skip
    def test_a_header_before_a_text_is_taken_off_and_says_which_part_of_it_this_is(
        self, given: dict[str, Any], text: str, piece: tuple[str, int, int] | None
    ) -> None:
        [item] = self.parse(post({"source_addr": "447700900123", "destination_addr": "5555", **given}))
        assert isinstance(item, Inbound)
        assert item.text == text
        assert (item.part_reference, item.part, item.parts) == (piece or (None, None, None))

    @pytest.mark.parametrize("esm_class", [0x44, 0x04, 0x60])
    def test_a_receipt_behind_a_header_is_read(self, esm_class: int) -> None:
        text = b"id:m1 sub:001 dlvrd:001 stat:DELIVRD err:000".hex()
        receipt = self.receipt(post({"short_message_hex": self.HEADED + text, "esm_class": esm_class}))
        assert (receipt.outcome, receipt.provider_message_id) == (Outcome.RECEIVED, "m1")

    def test_a_tlv_makes_a_receipt_even_without_the_flag(self) -> None:
        receipt = self.receipt(
            post(
                {
                    "esm_class": 0,
                    "tlvs": {"receipted_message_id": "1", "message_state": 2},
                    "source_addr": "34600000000",
                }
            )
        )
        assert receipt.details["warnings"] == ["esm_class does not say that this is a receipt"]
        assert receipt.address == "34600000000"

    def test_with_a_time_zone_the_done_date_is_a_time(self) -> None:
        receipt = self.good("id:1 stat:DELIVRD done date:2607041015", {"timezone": "Europe/Madrid"})
        assert receipt.occurred_at is not None
        assert receipt.occurred_at.isoformat() == "2026-07-04T08:15:00+00:00"

    @pytest.mark.parametrize("zone", ["Madrid", "../etc/passwd", "", "Europe/\x00", "/etc/localtime"])
    def test_a_time_zone_must_be_one(self, zone: str) -> None:
        with pytest.raises(ValidationError):
            SmppOptions(timezone=zone)

    def test_a_date_with_month_13_is_dropped_with_a_warning(self) -> None:
        receipt = self.good("id:1 stat:DELIVRD done date:2613041015", {"timezone": "Europe/Madrid"})
        assert receipt.occurred_at is None
        assert receipt.details["warnings"] == ["done date is not a date"]

    @pytest.mark.parametrize(
        ("date", "at"),
        [
            ("201906190720", "2019-06-19T05:20:00+00:00"),
            ("20110314181741", "2011-03-14T17:17:41+00:00"),
            ("2013-02-17 00:04:32", "2013-02-16T23:04:32+00:00"),
            ("260304101647004+", "2026-03-04T09:16:47+00:00"),
            ("260304101647020-", "2026-03-04T15:16:47+00:00"),
            ("2026-03-04T10:16:47Z", "2026-03-04T10:16:47+00:00"),
        ],
    )
    def test_a_done_date_of_any_form_is_read_and_a_zone_of_its_own_comes_before_the_option(
        self, date: str, at: str
    ) -> None:
        text = f"id:1 submit date:{date} done date:{date} stat:DELIVRD err:000 text:10:15"
        receipt = self.good(text, {"timezone": "Europe/Madrid"})
        assert receipt.occurred_at is not None
        assert receipt.occurred_at.isoformat() == at
        assert (receipt.status, receipt.details["done_date_raw"], receipt.details["text"]) == ("DELIVRD", date, "10:15")
        alone = self.good(text)
        has_zone = date.endswith(("+", "-", "Z"))
        assert alone.occurred_at == (receipt.occurred_at if has_zone else None)
        assert ("done_date_local" in alone.details) is not has_zone
        assert "warnings" not in alone.details

    @pytest.mark.parametrize("date", ["20260304", "000002000000000R", "yesterday", "26-03-04", "1772619342"])
    def test_a_done_date_that_cannot_be_read_is_dropped_with_a_warning(self, date: str) -> None:
        receipt = self.good(f"id:1 done date:{date} stat:DELIVRD err:000", {"timezone": "Europe/Madrid"})
        assert (receipt.occurred_at, receipt.status) == (None, "DELIVRD")
        assert receipt.details["warnings"] == ["done date is not a date"]

    @pytest.mark.parametrize(
        "value",
        [
            {"short_message_hex": "abc"},
            {"short_message_hex": 5},
            {"text": 5},
            {"text": None, "short_message": 5},
            {"tlvs": [1]},
            {"tlvs": {"receipted_message_id": 1.5}},
            {"tlvs": {"receipted_message_id_hex": "xyz"}},
            {"tlvs": {"message_payload_hex": "xyz"}},
            {"esm_class": -1},
            {"esm_class": "receipt"},
        ],
    )
    def test_a_wrong_type_of_what_it_cannot_be_without_is_refused_with_a_sentence(self, value: dict[str, Any]) -> None:
        assert self.refusal(post({"text": "id:1 stat:DELIVRD", **value}))

    @pytest.mark.parametrize(
        ("value", "warning"),
        [
            ({"tlvs": {"message_state": True}}, "message_state was not read: it must be a number from 0 to 255"),
            ({"tlvs": {"message_state": 256}}, "message_state was not read: it must be a number from 0 to 255"),
            ({"tlvs": {"message_state_hex": "0202"}}, "message_state was not read: it must be a number from 0 to 255"),
            ({"tlvs": {"network_error_code": 27}}, "network_error_code must be 3 octets"),
            ({"tlvs": {"network_error_code_hex": "xyz"}}, "network_error_code must be 3 octets"),
            ({"data_coding": "UCS2"}, "data_coding was not read: it must be a number from 0 to 255"),
            ({"source_addr": ["34600000000"]}, "source_addr was not read: it must be a string"),
            ({"destination_addr": 1.5}, "destination_addr was not read: it must be a string"),
        ],
    )
    def test_what_it_is_true_without_is_left_out_with_a_warning(self, value: dict[str, Any], warning: str) -> None:
        receipt = self.receipt(post({"text": "id:1 stat:DELIVRD", **value}))
        assert receipt.outcome is Outcome.RECEIVED
        assert receipt.details["warnings"] == [warning]

    @pytest.mark.parametrize(
        "value",
        [
            {"data_coding": None, "esm_class": None},
            {"data_coding": "0", "esm_class": "4"},
            {"esm_class": "0x44"},
            {"tlvs": []},
            {"tlvs": None},
            {"tlvs": {"0x1400_vendor_hex": "no hexadecimal", "user_message_reference": [7], "0x020a": {}}},
            {"tlvs": {"message_state": "2"}},
            {"tlvs": {"message_state": "DELIVERED"}},
            {"source_addr": 447700900001},
        ],
    )
    def test_other_ways_of_writing_and_tlvs_that_nobody_reads_cost_nothing(self, value: dict[str, Any]) -> None:
        receipt = self.receipt(post({"text": "id:1 stat:DELIVRD", **value}))
        assert receipt.outcome is Outcome.RECEIVED
        assert "warnings" not in receipt.details

    def test_a_pdu_of_node_smpp_is_read(self) -> None:
        buffer = {"type": "Buffer", "data": [3, 0, 27]}
        pdu = {
            "command": "deliver_sm", "command_length": 90, "esm_class": 4, "source_addr": "447700900001", "data_coding": 0,
            "short_message": {"message": "id:1 stat:UNDELIV err:000"}, "receipted_message_id": "77", "message_state": 5,
            "network_error_code": buffer,
        }  # fmt: skip
        receipt = self.receipt(post(pdu))
        assert (receipt.provider_message_id, receipt.failure_key) == ("77", "GSM 27")
        octets = {"type": "Buffer", "data": list(b"id:1 stat:DELIVRD")}
        assert self.receipt(post({"short_message": {"message": octets}})).outcome is Outcome.RECEIVED
        assert self.receipt(post({"short_message": "id:1 stat:DELIVRD"})).provider_message_id == "1"

    def test_where_nothing_can_be_read_the_refusal_names_the_keys_that_are_expected_and_those_that_came(self) -> None:
        refusal = self.refusal(post({"esm_class": 4, "content": "id:1 stat:DELIVRD", "447700900001": 1}))
        assert refusal == (
            "nothing to read: none of short_message_hex, text, short_message and tlvs is there; keys that are not known: content"
        )

    def test_64_kb_of_text_are_cropped_for_show(self) -> None:
        receipt = self.good("id:1 stat:DELIVRD text:" + "id:2 " * 13_000)
        assert len(receipt.details["text"]) == 500

    def test_ids_of_65_characters_are_kept_and_of_66_refused(self) -> None:
        assert self.good("id:" + "b" * 65 + " stat:DELIVRD").provider_message_id == "b" * 65
        assert isinstance(self.read("id:" + "b" * 66 + " stat:DELIVRD"), Unreadable)


ANY_TEXT = st.lists(
    st.sampled_from(["id:", "stat:", "DELIVRD", "err:069", " ", "text:", "done date:", "2603041016", "\n", "\x00"])
    | st.text(max_size=10)
).map("".join)


@given(
    st.builds(
        DeliverSm,
        short_message=ANY_TEXT | st.binary(),
        message_payload=ANY_TEXT | st.binary(),
        data_coding=st.sampled_from([0, 1, 3, 8, 255]),
        esm_class=st.integers(0, 255),
        receipted_message_id=st.none() | st.text(),
        message_state=st.none() | st.integers(0, 255),
        network_error_code=st.none() | st.binary(max_size=4),
        source_addr=st.none() | st.text(),
    ),
    st.builds(
        SmppOptions,
        on_status_conflict=st.sampled_from(["reject", "tlv", "text"]),
        status_after_text=st.booleans(),
        timezone=st.sampled_from([None, "Europe/Madrid"]),
    ),
)
def test_any_pdu_is_read_or_refused_and_never_raises(pdu: DeliverSm, options: SmppOptions) -> None:
    item = smpp_deliver.read(pdu, options)
    assert storable(item) or isinstance(item, Unreadable)
    assert smpp_deliver.read(pdu, options) == item


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 300) | st.text(max_size=8) | st.sampled_from(["03001b", "2", "77"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["text", "short_message_hex", "tlvs", "esm_class", "0x0427", "message_payload", "0x0423_hex", "001e"]
            ),
            inner,
        )
    ),
)


@given(JSON)
def test_any_json_is_read_or_refused_and_never_raises(value: object) -> None:
    for item in TestSmpp().parse(post(value)):
        assert isinstance(item, (Receipt, Inbound, Unreadable))


@pytest.mark.parametrize(
    ("octets", "details"),
    [
        (b"\x03\x00\x1b", {"type": 3, "type_name": "GSM", "code": 27}),
        (b"\x08\x01\x00", {"type": 8, "type_name": "message centre", "code": 256}),
        (b"\xff\x00\x01", {"type": 255, "type_name": None, "code": 1}),
        (b"027", {"type": None, "type_name": None, "code": 27}),
    ],
)
def test_a_network_error_is_a_type_and_a_code(octets: bytes, details: dict[str, object]) -> None:
    error = network_error(octets)
    assert error is not None
    assert error.as_details() == details


@pytest.mark.parametrize("make", [bytes, lambda n: b"0" * n])
def test_a_network_error_has_three_octets(make: Callable[[int], bytes]) -> None:
    assert [network_error(make(length)) is None for length in range(6)] == [True, True, True, False, True, True]
