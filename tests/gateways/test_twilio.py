"""Twilio: what each callback means, and whose signature is good."""

from dataclasses import replace
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gateways import twilio
from app.gateways.receipt import Auth, Callback, Inbound, Outcome, Receipt, Unreadable

from .contract import PUBLIC_URL, GatewayContract, check_sample, meaning, sample_callback, sample_files, storable

FORM = "application/x-www-form-urlencoded"
# Computed with twilio-python 9.13.0, RequestValidator("a-shared-key-of-twilio").compute_signature(…).
URL = "https://sms.example.com/callbacks/twilio-1?ref=m-1"
FIELDS = {"MessageSid": "SM1", "MessageStatus": "delivered", "To": "+34600000000", "Empty": ""}
SHA1, SHA256 = "5LER21EHXRixIDtXe/eYgtyFTT8=", "OjmvMIem1RKgvaPtLijHDpHuopt1E1E+JhyG73//bsw="


def post(fields: dict[str, str], url: str = PUBLIC_URL) -> Callback:
    body = urlencode(fields).encode()
    query = url.partition("?")[2]
    return Callback(method="POST", url=url, query=query, headers={"content-type": FORM}, body=body)


def sign(callback: Callback, secret: str, signed: str) -> Callback:
    given = twilio.signature(secret, signed).decode()
    return replace(callback, headers={**callback.headers, "x-twilio-signature": given})


def is_signed(callback: Callback, *secrets: str) -> bool:
    return twilio.verify_signature(callback, Auth(mode="signature", secrets=secrets))


class TestTwilio(GatewayContract):
    adapter = twilio.ADAPTER
    unknown_words = ("mystery", "partially_delivered", "☃", "0")

    def callback(self, *, status: str | None = None, message_id: str | None = "77", **more: str) -> Callback:
        fields = {"MessageStatus": status or "delivered", "To": "+34600000000"} | more
        return post(fields if message_id is None else {"MessageSid": message_id, **fields})

    def signed(self, callback: Callback, secret: str) -> Callback:
        parameters = "".join(sorted(name + value for name, value in callback.form_pairs))
        return sign(callback, secret, callback.url + parameters)

    @pytest.mark.parametrize("sample", sample_files("twilio"))
    def test_samples(self, sample: dict[str, Any]) -> None:
        callback = sample_callback(sample)
        receipt = self.receipt(callback)
        check_sample(self.adapter, receipt, sample["expect"])
        assert receipt.details.get("occurred_at_local") == sample["expect"].get("occurred_at_local")
        assert is_signed(callback, sample["auth"]["key"]) is sample["auth"]["valid"]
        assert is_signed(callback, "another", sample["auth"]["key"]) is sample["auth"]["valid"]
        assert not is_signed(callback, "another")

    def test_twilios_published_example_is_signed(self) -> None:
        # twilio-python tests/unit/test_request_validator.py
        url = "https://mycompany.com/myapp.php?foo=1&bar=2"
        caller = {"From": "+14158675309", "To": "+18005551212", "CallSid": "CA1234567890ABCDE", "Digits": "1234"}
        callback = post({**caller, "Caller": "+14158675309"}, url)
        headers = {**callback.headers, "x-twilio-signature": "RSOYDt4T1cUTdK1PDd93/VVr8B8="}
        assert is_signed(replace(callback, headers=headers), "12345")

    def test_a_repeated_name_is_signed_with_its_values_sorted_and_once(self) -> None:
        callback = replace(post({}), body=b"b=2&a=9&a=1&a=9&b=")
        assert is_signed(sign(callback, "s", PUBLIC_URL + "a1a9bb2"), "s")

    @pytest.mark.parametrize(
        ("called", "signed"),
        [
            ("https://h.test/p?q=1", "https://h.test:443/p?q=1"),
            ("https://h.test:443/p", "https://h.test/p"),
            ("https://h.test:8443/p", "https://h.test/p"),
            ("http://h.test?q=a/b:1", "http://h.test:80?q=a/b:1"),
            ("https://[::1]/p", "https://[::1]:443/p"),
            ("https://[::1]:443/p", "https://[::1]/p"),
            ("https://h.test", "https://h.test:443"),
        ],
    )
    def test_the_url_is_signed_with_or_without_its_port(self, called: str, signed: str) -> None:
        assert is_signed(sign(post({}, called), "s", called), "s")
        assert is_signed(sign(post({}, called), "s", signed), "s")
        assert not is_signed(sign(post({}, called), "s", "https://other.test/p"), "s")

    @pytest.mark.parametrize("settings", [None, "", "key=k,algorithm=HMAC_SHA256", "key=k,algorithm=HMAC_SHA1"])
    @pytest.mark.parametrize(
        ("secret", "given", "good"),
        [
            ("a-shared-key-of-twilio", SHA1, True),
            ("sha1:a-shared-key-of-twilio", SHA1, True),
            ("a-shared-key-of-twilio", SHA256, False),
            ("sha256:a-shared-key-of-twilio", SHA256, True),
            ("SHA256:a-shared-key-of-twilio", SHA256, True),
            ("HMAC_SHA256:a-shared-key-of-twilio", SHA256, True),
            ("sha256:a-shared-key-of-twilio", SHA1, False),
            ("sha256:another-key-of-twilio", SHA256, False),
        ],
    )
    def test_the_secret_names_its_algorithm_whatever_the_request_says(
        self, secret: str, given: str, good: bool, settings: str | None
    ) -> None:
        callback = post(FIELDS, URL)
        headers = {**callback.headers, "x-twilio-signature": given}
        if settings is not None:
            headers["x-twilio-webhooks-signature-settings"] = settings
        assert is_signed(replace(callback, headers=headers), secret) is good
        assert is_signed(replace(callback, headers=headers), "other-token", secret) is good, "tokens rotate"

    @pytest.mark.parametrize(
        ("secret", "fault"),
        [
            ("0123456789abcdef0123456789abcdef", None),
            ("with:colon-in-it", None),
            ("sha256:long-enough", None),
            ("sha256:short", "at least 8"),
            ("sha512:long-enough-too", "sha1 or sha256"),
            ("HMAC-MD5:long-enough", "sha1 or sha256"),
        ],
    )
    def test_a_secret_that_could_never_fit_is_refused(self, secret: str, fault: str | None) -> None:
        found = twilio.secret_fault(secret)
        assert found is None if fault is None else fault in (found or "")

    @pytest.mark.parametrize("get", ["fB6+EjGFK6uV21DyDccfjcy/aoo=", "GFoRgGLqCpNqohCL4KRVl3qJjEMIv+EdW34sp3+XTEE="])
    def test_a_callback_by_get_has_its_fields_in_the_query_and_the_url_is_all_that_is_signed(self, get: str) -> None:
        url = f"{URL}&MessageSid=SM1&MessageStatus=delivered"
        headers = {"x-twilio-signature": get}
        query = url.partition("?")[2]
        callback = Callback(method="GET", url=url, query=query, headers=headers, body=b"")
        secrets = ("a-shared-key-of-twilio", "sha256:a-shared-key-of-twilio")
        assert is_signed(callback, *secrets)
        assert not is_signed(replace(callback, url=f"{url}&To=1"), *secrets)
        receipt = self.receipt(callback)
        assert (receipt.provider_message_id, receipt.reference, receipt.outcome) == ("SM1", "m-1", Outcome.RECEIVED)
        assert receipt.raw == query.encode()
        unsigned = replace(callback, body=b"MessageSid=SM2&MessageStatus=failed")
        assert self.receipt(unsigned).provider_message_id == "SM1", "nobody signed what a GET has in its body"

    @pytest.mark.parametrize(
        ("called", "signed", "good"),
        [
            ("ref=sip%3A123%40host", "ref=sip:123@host", True),
            ("ref=sip%3A123%40host", "ref=sip%3A123%40host", True),
            ("ref=O%27Neil", "ref=O'Neil", True),
            ("ref=a%20b%2Fc%3D", "ref=a b/c=", True),
            ("ref=%C3%B1&x=%2B34", "ref=ñ&x=%2B34", True),
            ("ref=%FF%3a", "ref=%FF%3a", True),
            ("ref=a%26x%3D1", "ref=a&x=1", False),
            ("ref=1%2B1", "ref=1+1", False),
            ("ref=a%23b", "ref=a#b", False),
            ("ref=%2541", "ref=%41", False),
            ("ref=sip%3A123%40host", "ref=sip:124@host", False),
        ],
    )
    @pytest.mark.parametrize("port", ["", ":443"])
    def test_the_query_is_signed_as_called_or_unescaped(self, called: str, signed: str, good: bool, port: str) -> None:
        callback = post(FIELDS, f"https://h.test/p?{called}")
        parameters = "".join(sorted(name + value for name, value in callback.form_pairs))
        assert is_signed(sign(callback, "s", f"https://h.test{port}/p?{signed}{parameters}"), "s") is good

    def test_a_json_body_is_signed_by_its_hash_in_the_url(self) -> None:
        body = b'{"MessageSid": "SM1"}'
        url = f"{PUBLIC_URL}?bodySHA256={sha256(body).hexdigest()}"
        callback = replace(post({}, url), headers={"content-type": "application/json"}, body=body)
        signed = sign(callback, "s", url)
        assert is_signed(signed, "s")
        assert not is_signed(replace(signed, body=body + b" "), "s")

    def test_a_hash_in_the_url_does_not_free_a_form_from_its_signature(self) -> None:
        body = b"MessageSid=SM1&MessageStatus=delivered"
        url = f"{PUBLIC_URL}?bodySHA256={sha256(body).hexdigest()}"
        assert not is_signed(sign(replace(post({}, url), body=body), "s", url), "s")

    @pytest.mark.parametrize(
        ("word", "outcome"),
        [
            ("accepted", Outcome.ACCEPTED),
            ("scheduled", Outcome.ACCEPTED),
            ("queued", Outcome.ACCEPTED),
            ("sending", Outcome.ACCEPTED),
            ("sent", Outcome.SENT),
            ("delivered", Outcome.RECEIVED),
            ("Delivered", Outcome.RECEIVED),
            ("read", Outcome.RECEIVED),
            ("undelivered", Outcome.FAILED),
            ("failed", Outcome.FAILED),
            ("canceled", Outcome.FAILED),
        ],
    )
    def test_each_status_word_has_its_meaning(self, word: str, outcome: Outcome) -> None:
        assert self.receipt(self.callback(status=word)).outcome is outcome

    def test_a_reply_from_a_phone_is_an_inbound_message(self) -> None:
        fields = {"MessageSid": "SM1", "SmsStatus": "received", "From": "+34600000000", "To": "+34911", "Body": "STOP"}
        [item] = self.parse(post(fields))
        assert isinstance(item, Inbound)
        assert (item.sender, item.recipient, item.text) == ("+34600000000", "+34911", "STOP")
        assert item.provider_message_id == "SM1"
        assert item.opt_out is None
        del fields["From"]
        assert "From missing" in self.refusal(post(fields))

    @pytest.mark.parametrize(
        ("word", "opt_out"),
        [("STOP", "denylist"), ("stop", "denylist"), ("START", "allow"), ("HELP", "none"), ("", None), ("WHAT", None)],
    )
    def test_what_twilio_takes_a_reply_for_is_read(self, word: str, opt_out: str | None) -> None:
        fields = {"MessageSid": "SM1", "SmsStatus": "received", "From": "+447700900123", "Body": "Nein danke"}
        [item] = self.parse(post({**fields, "OptOutType": word}))
        assert isinstance(item, Inbound)
        assert item.opt_out == opt_out

    @pytest.mark.parametrize(
        ("text", "response"),
        [
            (None, "<Response/>"),
            ("", "<Response/>"),
            ("\x00\ufffe", "<Response/>"),
            ("Adiós ☃", "<Response><Message>Adiós ☃</Message></Response>"),
            ("<a> & b\n]]>", "<Response><Message>&lt;a&gt; &amp; b\n]]&gt;</Message></Response>"),
        ],
    )
    def test_a_reply_is_answered_in_twiml_escaped(self, text: str | None, response: str) -> None:
        assert self.adapter.reply is not None
        answer = self.adapter.reply(text)
        assert (answer.status, answer.content_type) == (200, "text/xml; charset=utf-8")
        assert answer.body.decode() == f'<?xml version="1.0" encoding="UTF-8"?>{response}'

    def test_the_reference_comes_from_the_query_or_the_path(self) -> None:
        callback = replace(self.callback(), reference="m-1")
        assert self.receipt(callback).reference == "m-1"
        assert self.receipt(replace(callback, query="ref=m-2")).reference == "m-2"

    def test_without_a_status_it_is_unreadable(self) -> None:
        assert self.refusal(post({"MessageSid": "SM1"})) == "MessageStatus missing"

    def test_an_opt_out_at_twilio_is_a_hard_error_that_denylists(self) -> None:
        receipt = self.receipt(self.callback(status="failed", ErrorCode="21610"))
        shipped = meaning(self.adapter, receipt)
        assert shipped is not None
        assert (shipped.failure_type, shipped.reason) == ("hard", "denylisted")

    def test_a_spam_filter_says_nothing_about_the_address(self) -> None:
        shipped = meaning(self.adapter, self.receipt(self.callback(status="undelivered", ErrorCode="30007")))
        assert shipped is not None
        assert shipped.failure_type == "ignored"


NAMES = ["MessageSid", "MessageStatus", "SmsStatus", "From", "To", "Body", "OptOutType", "ErrorCode", "RawDlrDoneDate"]


@given(st.dictionaries(st.sampled_from(NAMES), st.text(max_size=40) | st.sampled_from(["sent", "received", "9" * 12])))
def test_any_form_is_read_or_refused_and_never_raises(fields: dict[str, str]) -> None:
    [item] = TestTwilio().parse(replace(post({}), body=urlencode(fields, errors="replace").encode()))
    assert isinstance(item, (Receipt, Inbound, Unreadable))
    assert storable(item)


@given(st.text(), st.binary(), st.text())
def test_any_signature_is_checked_and_never_raises(url: str, body: bytes, given_signature: str) -> None:
    callback = Callback(
        method="POST",
        url=url,
        query=url.partition("?")[2],
        headers={"x-twilio-signature": given_signature},
        body=body,
    )
    assert not is_signed(callback, "s3cret")
