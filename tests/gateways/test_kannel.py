"""Kannel: what each report means, and how its errors are told apart."""

from typing import Any
from urllib.parse import quote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.gateways import kannel
from app.gateways.kannel import KannelOptions
from app.gateways.receipt import Callback, Inbound, Outcome, Receipt, Unreadable

from .contract import PUBLIC_URL, GatewayContract, check_sample, meaning, sample_callback, sample_files, storable

UNDELIV = "id:2567 sub:001 dlvrd:000 submit date:2603041015 done date:2603041016 stat:UNDELIV err:069 text:"


def get(query: str, reference: str | None = None) -> Callback:
    return Callback(method="GET", url=f"{PUBLIC_URL}?{query}", query=query, headers={}, body=b"", reference=reference)


class TestKannel(GatewayContract):
    adapter = kannel.ADAPTER
    unknown_words = ("0", "64", "128", "3")

    def callback(self, *, status: str | None = None, message_id: str | None = "77", **more: str) -> Callback:
        fields = {"type": status or "1", "ts": "1772619342", "ref": ""} | more
        return get(urlencode(fields if message_id is None else {"fid": message_id, **fields}))

    def junk(self, octets: bytes) -> Callback:
        return get(octets.decode("latin-1"))

    @pytest.mark.parametrize("sample", sample_files("kannel"))
    def test_samples(self, sample: dict[str, Any]) -> None:
        receipt = self.receipt(sample_callback(sample))
        check_sample(self.adapter, receipt, sample["expect"])
        assert receipt.details.get("smpp_stat") == sample["expect"].get("smpp_stat")

    def test_head_is_not_a_report(self) -> None:
        assert self.adapter.methods == {"GET"}

    def test_the_answer_is_200_for_204_is_a_failure_to_kannel(self) -> None:
        assert self.adapter.answer.status == 200

    @pytest.mark.parametrize(
        ("bits", "outcome"),
        [
            (1, Outcome.RECEIVED),
            (2, Outcome.FAILED),
            (4, Outcome.ACCEPTED),
            (8, Outcome.ACCEPTED),
            (16, Outcome.FAILED),
            (32, Outcome.SENT),
            (33, Outcome.RECEIVED),
            (34, Outcome.FAILED),
            (66, Outcome.FAILED),
            (3, Outcome.UNKNOWN),
            (64, Outcome.UNKNOWN),
        ],
    )
    def test_the_type_is_tested_bit_by_bit(self, bits: int, outcome: Outcome) -> None:
        assert self.receipt(self.callback(status=str(bits))).outcome is outcome

    @pytest.mark.parametrize("kind", ["x", "-1", "%d", "1.0", "²", "1" * 10])
    def test_a_type_that_is_no_number_is_unreadable(self, kind: str) -> None:
        assert "is not a number" in self.refusal(self.callback(status=kind))

    def test_the_path_gives_the_reference_when_the_query_has_none(self) -> None:
        assert self.receipt(get("type=1", reference="m-1")).reference == "m-1"
        assert self.receipt(get("type=1&ref=m-2", reference="m-1")).reference == "m-2"

    def test_parameters_can_have_other_names(self) -> None:
        receipt = self.receipt(get("dlr=1&smsc_id=9&type=2"), parameters={"type": "dlr", "fid": "smsc_id"})
        assert (receipt.outcome, receipt.provider_message_id) == (Outcome.RECEIVED, "9")

    @pytest.mark.parametrize(
        ("query", "sender", "recipient", "text", "id"),
        [
            ("from=%2B447700900123&to=5555&text=STOP", "+447700900123", "5555", "STOP", None),
            (
                "from=+447700900123&to=+447700900999&text=Stop+it&iid=uuid-1",
                " 447700900123",
                "447700900999",
                "Stop it",
                "uuid-1",
            ),
            ("from=447700900123&text=ARR%C3%8AT&fid=77", "447700900123", None, "ARRÊT", "77"),
            ("from=447700900123&to=&text=", "447700900123", None, "", None),
            ("from=447700900123&text=A%00B", "447700900123", None, "A\ufffdB", None),
        ],
    )
    def test_a_text_without_a_type_is_a_message_from_a_phone(
        self, query: str, sender: str, recipient: str | None, text: str, id: str | None
    ) -> None:
        [item] = self.parse(get(query))
        assert isinstance(item, Inbound)
        assert (item.sender, item.recipient, item.text, item.provider_message_id) == (sender, recipient, text, id)
        assert item.raw == query.encode()

    def test_a_message_without_a_sender_and_a_report_without_a_type_are_unreadable(self) -> None:
        assert "from missing" in self.refusal(get("text=STOP"))
        assert "from missing" in self.refusal(get("from=+&text=STOP"))
        assert "type is not a number" in self.refusal(get("from=447700900123&fid=1"))
        assert isinstance(self.receipt(get("type=1&fid=9&text=STOP")), Receipt)

    def test_a_message_can_have_other_names_and_older_options_keep_theirs(self) -> None:
        [item] = self.parse(get("who=447700900123&sms=STOP"), parameters={"from": "who", "text": "sms"})
        assert isinstance(item, Inbound)
        assert item.text == "STOP"
        older = {"parameters": {"reply": "text"}}  # from when no parameter was called so
        assert self.receipt(get("type=2&fid=1&text=stat:UNDELIV"), **older).failure_key == "UNDELIV"
        [item] = self.parse(get("from=447700900123&inbound_text=STOP"), **older)
        assert isinstance(item, Inbound)

    @pytest.mark.parametrize(("text", "body"), [(None, ""), ("", ""), ("Adiós ☃", "Adiós ☃"), ("a\0b", "ab")])
    def test_a_message_is_answered_with_the_reply_alone(self, text: str | None, body: str) -> None:
        assert self.adapter.reply is not None
        answer = self.adapter.reply(text)
        assert (answer.status, answer.content_type, answer.body.decode()) == (200, "text/plain; charset=utf-8", body)

    @pytest.mark.parametrize("names", [{"fid": "iid"}, {"fid": ""}, {"nothing": "x"}])
    def test_each_parameter_needs_a_name_of_its_own(self, names: dict[str, str]) -> None:
        with pytest.raises(ValidationError):
            KannelOptions(parameters=names)

    def test_the_id_can_be_kannels_own(self) -> None:
        assert self.receipt(get("type=1&fid=9&iid=uuid-1"), id_from="iid").provider_message_id == "uuid-1"

    @pytest.mark.parametrize("ts", ["yesterday", "-1", "99999999999", "0", "1" * 400])
    def test_a_wrong_time_is_dropped_with_a_warning(self, ts: str) -> None:
        receipt = self.receipt(self.callback(ts=ts))
        assert receipt.occurred_at is None
        assert receipt.details["warnings"] == ["ts is not a time in seconds since 1970; is it %T in the dlr-url?"]

    def test_the_errors_of_its_smscs_can_be_told_apart(self) -> None:
        failed = self.callback(status="2", reply=UNDELIV, smsc="smsc-1")
        assert self.receipt(failed).failure_source is None
        apart = self.receipt(failed, errors_per="smsc")
        assert (apart.failure_key, apart.failure_source) == ("UNDELIV 069", "smsc-1")
        assert self.receipt(self.callback(smsc="smsc-1"), errors_per="smsc").failure_source is None
        nameless = self.receipt(self.callback(status="2", reply=UNDELIV), errors_per="smsc")
        assert nameless.failure_source is None
        assert nameless.details["warnings"] == [
            "smsc is missing: whose error this is cannot be told; is it %i in the dlr-url?"
        ]

    @pytest.mark.parametrize(
        ("reply", "meta", "key"),
        [
            (UNDELIV, "", "UNDELIV 069"),
            (UNDELIV.replace("069", "000"), "", "UNDELIV"),
            (UNDELIV.replace("069", "000"), "?smpp?dlr_err=%03%00%01", "GSM 1"),
            (UNDELIV.replace("UNDELIV", "EXPIRED").replace("069", "000"), "", "EXPIRED"),
            (UNDELIV.replace("UNDELIV", "UNKNOWN"), "?smpp?dlr_err=%03%00%01", "UNKNOWN"),
            ("NACK/0x0000000B/Invalid Destination Address", "", "NACK 0x0000000b"),
            ("NACK/Retries Exceeded", "", "NACK Retries Exceeded"),
            ("NACK/too busy", "", None),
            ("HTTP error", "", None),
            ("", "", None),
        ],
    )
    def test_the_reply_tells_failures_apart(self, reply: str, meta: str, key: str | None) -> None:
        receipt = self.receipt(self.callback(status="2", reply=reply, meta=meta))
        assert receipt.failure_key == key
        assert receipt.error_code is None
        assert bool(receipt.error_text) == bool(reply)

    def test_a_number_that_the_network_does_not_know_is_a_hard_error(self) -> None:
        receipt = self.receipt(self.callback(status="2", reply="stat:UNDELIV", meta="?smpp?dlr_err=%03%00%01"))
        shipped = meaning(self.adapter, receipt)
        assert shipped is not None
        assert (shipped.failure_type, shipped.reason) == ("hard", "user_unknown")

    def test_a_reply_behind_text_is_no_reason(self) -> None:
        reply = UNDELIV + "stat:EXPIRED err:001"
        assert self.receipt(self.callback(status="2", reply=reply)).failure_key == "UNDELIV 069"


@given(
    st.dictionaries(st.sampled_from(kannel.PARAMETERS), st.text(max_size=80)),
    st.sampled_from(["1", "2", "16", "34", "4", ""]),
)
def test_any_query_is_read_or_refused_and_never_raises(fields: dict[str, str], kind: str) -> None:
    query = "&".join(f"{name}={quote_plus(value, errors='replace')}" for name, value in fields.items())
    callback = get(f"type={kind}&{query}" if kind else query)
    [item] = TestKannel().parse(callback)
    assert isinstance(item, (Receipt, Inbound, Unreadable))
    assert storable(item)


@given(st.text(), st.text())
def test_any_reason_is_read_and_never_raises(reply: str, meta: str) -> None:
    query = urlencode({"type": "2", "fid": "1", "reply": reply, "meta": "?smpp?dlr_err=" + meta}, errors="replace")
    assert storable(TestKannel().receipt(get(query)))
