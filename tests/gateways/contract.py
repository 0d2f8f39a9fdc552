"""What holds for every kind of gateway: inherit `GatewayContract`, say what a callback looks like, and it is proven."""

import json
from base64 import b64encode
from codecs import BOM_UTF8
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import orjson
import pytest

from app.gateways.auth import verified
from app.gateways.receipt import (
    Adapter,
    Auth,
    AuthMode,
    Callback,
    FailureType,
    Gateway,
    Item,
    Outcome,
    Qualification,
    Receipt,
    Unreadable,
)

SAMPLES = Path(__file__).parent / "samples"
PUBLIC_URL = "https://acuse.example.test/callbacks/k1"
AUTH_MODES: tuple[AuthMode, ...] = ("token", "basic", "bearer", "signature")
OLD, NEW = "old-secret", "new-secret-ñ"

REASONS = {
    *("not_defined", "user_unknown", "invalid_domain", "unreachable", "account_disabled", "mailbox_full"),
    *("not_connected", "address_not_specified", "denylisted", "quarantined", "double", "excluded_by_rule"),
    *("excluded_by_arbitration", "invalid_address", "size_limited", "refused", "error_ignored", "control_group"),
}
#: The words of the samples' `expect`.
OUTCOMES = {
    "delivered": {Outcome.RECEIVED},
    "failed": {Outcome.FAILED},
    "intermediate": {Outcome.ACCEPTED, Outcome.SENT},
    "unknown": {Outcome.UNKNOWN},
}
#: A temporary error is counted or says nothing about the address. What is not known must at least not do harm.
PERMANENCE: Mapping[str, set[FailureType | None]] = {
    "permanent": {"hard"},
    "temporary": {"soft", "ignored"},
    "unknown": {None, "ignored", "undefined"},
}
JUNK = [
    b"",
    b"\x00",
    b" \n ",
    b"null",
    b"true",
    b'"text"',
    b"[[]]",
    b"[null]",
    b"{}",
    b"{" * 100_000,
    b"[" * 100_000,
    b"[" * 500 + b"]" * 500,
    b"\xff\xfe\xfd",
    b"\xed\xa0\x80",
    bytes(range(256)),
    b"%zz&%&=&==&a=%00&%ff=%ff",
    b"id:\x00 stat:\x00",
    b"<xml/>",
    b"a" * 65_536,
]


def sample_files(kind: str) -> list[Any]:
    return [
        pytest.param(json.loads(path.read_text()), id=path.stem) for path in sorted((SAMPLES / kind).glob("*.json"))
    ]


def sample_callback(sample: Mapping[str, Any]) -> Callback:
    headers = {name.lower(): value for name, value in sample["headers"].items()}
    query = urlsplit(sample["url"]).query
    return Callback(
        method=sample["method"], url=sample["url"], query=query, headers=headers, body=sample["body"].encode()
    )


def meaning(adapter: Adapter, receipt: Receipt) -> Qualification | None:
    """The shipped qualification, found as domain.md §5 says."""
    code = receipt.failure_key or receipt.error_code or ""
    shipped = adapter.qualifications
    return shipped.get((receipt.status.upper(), code)) or shipped.get(("*", code))


def check_sample(adapter: Adapter, receipt: Item, expect: Mapping[str, Any]) -> None:
    """`receipt` is what the sample's `expect` says."""
    assert isinstance(receipt, Receipt)
    assert receipt.provider_message_id == expect["provider_message_id"]
    assert receipt.status == (expect["status_raw"] or "")
    assert receipt.error_code == expect["error_code_raw"]
    assert receipt.outcome in OUTCOMES[expect["outcome"]]
    assert receipt.parts == expect["parts"]
    when = receipt.occurred_at
    assert (when and when.isoformat().replace("+00:00", "Z")) == expect["occurred_at"]
    assert receipt.details.get("warnings", []) == expect.get("warnings", [])
    if "client_ref" in expect:
        assert (receipt.reference, receipt.address) == (expect["client_ref"], expect["to"])
    if "permanence" in expect:
        shipped = meaning(adapter, receipt)
        assert (shipped and shipped.failure_type) in PERMANENCE[expect["permanence"]]


class GatewayContract:
    adapter: ClassVar[Adapter]
    #: Status words that this kind does not know.
    unknown_words: ClassVar[tuple[str, ...]] = ("mystery", "DELIVERED?", "☃", "0")

    def callback(self, *, status: str | None = None, message_id: str | None = "77") -> Callback:
        """A good callback; `status` None: one that says the message was received."""
        raise NotImplementedError

    def junk(self, octets: bytes) -> Callback:
        return replace(self.callback(), body=octets)

    def signed(self, callback: Callback, secret: str) -> Callback:
        """`callback` with the kind's own signature."""
        raise NotImplementedError

    def batch(self, callbacks: list[Callback]) -> Callback | None:
        """One callback with the content of several; None when the provider sends one report at a time."""
        return None

    def gateway(self, **options: Any) -> Gateway:
        auth = Auth(mode="none")
        kind = self.adapter.kind
        return Gateway(
            id=1, key="k1", kind=kind, implementation="Acme", options=self.adapter.options(**options), auth=auth
        )

    def parse(self, callback: Callback, **options: Any) -> list[Item]:
        return list(self.adapter.parse(callback, self.gateway(**options)))

    def receipt(self, callback: Callback, **options: Any) -> Receipt:
        [item] = self.parse(callback, **options)
        assert isinstance(item, Receipt), item
        return item

    def refusal(self, callback: Callback, **options: Any) -> str:
        [item] = self.parse(callback, **options)
        assert isinstance(item, Unreadable), item
        return item.reason

    def shows(self, callback: Callback, mode: AuthMode, *secrets: str, username: str | None = None) -> bool:
        return verified(callback, self.adapter, Auth(mode=mode, secrets=secrets, username=username))

    # --- what it is ---

    def test_it_says_what_it_is_and_where_that_was_read(self) -> None:
        assert self.adapter.kind.isidentifier()
        assert self.adapter.label
        assert self.adapter.source
        assert self.adapter.methods <= {"GET", "POST"}
        assert self.adapter.options().model_json_schema()["properties"]
        assert ("signature" in self.adapter.auth_modes) == (self.adapter.verify_signature is not None)

    def test_its_qualifications_use_the_words_of_the_domain(self) -> None:
        for (status, code), meaning in self.adapter.qualifications.items():
            assert status == status.upper()
            assert status != "*" or code
            assert meaning.failure_type in {"hard", "soft", "ignored", "undefined"}
            assert meaning.reason in REASONS
            assert meaning.sentence.endswith(".")

    # --- who may call ---

    @pytest.mark.parametrize("secret", [OLD, NEW])
    def test_any_secret_is_good_as_token_in_the_query(self, secret: str) -> None:
        assert self.shows(_with_token(self.callback(), secret), "token", OLD, NEW)

    @pytest.mark.parametrize("secret", [OLD, NEW])
    def test_any_secret_is_good_as_token_in_the_header(self, secret: str) -> None:
        assert self.shows(_with_header(self.callback(), "x-acuse-token", _wire(secret)), "token", OLD, NEW)

    @pytest.mark.parametrize("secret", [OLD, NEW])
    def test_any_secret_is_good_as_password(self, secret: str) -> None:
        assert self.shows(_with_basic(self.callback(), "user", secret), "basic", OLD, NEW, username="user")

    @pytest.mark.parametrize("secret", [OLD, NEW])
    def test_any_secret_is_good_as_bearer(self, secret: str) -> None:
        given = _with_header(self.callback(), "authorization", f"bEARER {_wire(secret)}")
        assert self.shows(given, "bearer", OLD, NEW)

    @pytest.mark.parametrize("secret", [OLD, NEW])
    def test_any_secret_is_good_for_the_signature(self, secret: str) -> None:
        if "signature" in self.adapter.auth_modes:
            assert self.shows(self.signed(self.callback(), secret), "signature", OLD, NEW)

    @pytest.mark.parametrize("mode", AUTH_MODES)
    def test_nothing_shown_is_refused(self, mode: AuthMode) -> None:
        assert not self.shows(self.callback(), mode, OLD, NEW, username="user")
        assert not self.shows(self.callback(), mode)
        assert not self.shows(self.callback(), mode, "")

    @pytest.mark.parametrize(
        "wrong", ["", "old-secre", "old-secret ", "OLD-SECRET", "ñ☃", "\udc80", "\x00", "a" * 9999]
    )
    def test_a_wrong_secret_is_refused_whatever_it_holds(self, wrong: str) -> None:
        good = self.callback()
        assert not self.shows(_with_token(good, wrong.replace(" ", "+")), "token", OLD, "")
        assert not self.shows(_with_header(good, "x-acuse-token", wrong), "token", OLD, "")
        assert not self.shows(_with_basic(good, "user", wrong), "basic", OLD, "", username="user")
        assert not self.shows(_with_basic(good, wrong, OLD), "basic", OLD, username="user")
        assert not self.shows(_with_header(good, "authorization", f"Basic {wrong}"), "basic", OLD, username="user")
        if wrong.strip() != OLD:  # blanks around a bearer's credentials mean nothing
            assert not self.shows(_with_header(good, "authorization", f"Bearer {wrong}"), "bearer", OLD, "")

    def test_a_signature_with_another_secret_or_another_content_is_refused(self) -> None:
        if "signature" in self.adapter.auth_modes:
            signed = self.signed(self.callback(), OLD)
            assert not self.shows(signed, "signature", NEW)
            assert not self.shows(replace(signed, body=signed.body + b"&x=1"), "signature", OLD)
            assert not self.shows(self.signed(self.callback(), ""), "signature", "")

    def test_mode_none_lets_everybody_in(self) -> None:
        assert self.shows(self.callback(), "none")

    # --- what it reads ---

    def test_a_good_callback_is_a_receipt(self) -> None:
        receipt = self.receipt(self.callback())
        assert receipt.outcome is Outcome.RECEIVED
        assert receipt.provider_message_id == "77"
        assert receipt.raw in (self.callback().body, self.callback().query.encode())

    def test_the_same_callback_is_read_the_same_each_time(self) -> None:
        assert self.parse(self.callback()) == self.parse(self.callback())

    def test_a_byte_order_mark_before_the_body_changes_nothing_but_what_is_kept(self) -> None:
        good = self.callback()
        for plain in (good, self.batch([good, self.callback(message_id="78")])):
            if plain is not None and plain.body:
                marked = self.parse(replace(plain, body=BOM_UTF8 + plain.body))
                assert [replace(item, raw=b"") for item in marked] == [
                    replace(item, raw=b"") for item in self.parse(plain)
                ]

    def test_an_unknown_status_word_is_unknown_and_kept(self) -> None:
        for word in self.unknown_words:
            receipt = self.receipt(self.callback(status=word))
            assert receipt.outcome is Outcome.UNKNOWN
            assert receipt.status == word

    def test_without_an_id_it_is_unreadable(self) -> None:
        assert self.refusal(self.callback(message_id=None))
        assert self.refusal(self.callback(message_id=""))

    def test_an_id_too_long_is_unreadable_and_the_reason_does_not_repeat_it(self) -> None:
        assert "a" * 20 not in self.refusal(self.callback(message_id="a" * 256))

    def test_an_id_with_nul_is_unreadable(self) -> None:
        assert self.refusal(self.callback(message_id="7\x007"))

    @pytest.mark.parametrize("octets", JUNK, ids=lambda octets: repr(octets[:16]))
    def test_junk_is_unreadable_and_never_raises(self, octets: bytes) -> None:
        items = self.parse(self.junk(octets))
        assert items
        assert all(isinstance(item, Unreadable) and item.reason for item in items)

    @pytest.mark.parametrize("octets", JUNK, ids=lambda octets: repr(octets[:16]))
    def test_junk_never_makes_the_check_of_its_sender_raise(self, octets: bytes) -> None:
        for mode in AUTH_MODES:
            assert not self.shows(self.junk(octets), mode, OLD)

    def test_a_bad_item_does_not_cost_its_neighbours(self) -> None:
        batch = self.batch([self.callback(), self.callback(message_id=None), self.callback(message_id="78")])
        if batch is not None:
            first, bad, last = self.parse(batch)
            assert isinstance(first, Receipt)
            assert first.provider_message_id == "77"
            assert isinstance(bad, Unreadable)
            assert bad.raw in batch.body
            assert isinstance(last, Receipt)
            assert last.provider_message_id == "78"
            assert last.raw in batch.body

    def test_what_it_reads_can_be_stored(self) -> None:
        for word in (None, *self.unknown_words, "a\x00b", "a" * 9999):
            for item in self.parse(self.callback(status=word)):
                assert storable(item)


def storable(item: Item) -> bool:
    """Whether PostgreSQL takes it: details are JSON, and no text holds a NUL."""
    if isinstance(item, Receipt):
        texts = [item.status, item.provider_message_id, item.reference, item.address, item.error_code, item.error_text]
        texts += [item.failure_key, item.network, item.currency]
        details = orjson.dumps(item.details).decode().replace("\\\\", "")  # somebody may write the escape itself
        return "\\u0000" not in details and not any("\x00" in text for text in texts if text)
    return isinstance(item, Unreadable) or "\x00" not in item.text + item.sender


def _with_token(callback: Callback, token: str) -> Callback:
    escaped = "".join(f"%{octet:02x}" for octet in token.encode("utf-8", "replace"))
    query = f"{callback.query}&token={escaped}"
    return replace(callback, query=query, url=f"{PUBLIC_URL}?{query}")


def _with_header(callback: Callback, name: str, value: str) -> Callback:
    return replace(callback, headers={**callback.headers, name: value})


def _with_basic(callback: Callback, username: str, password: str) -> Callback:
    credentials = b64encode(f"{username}:{password}".encode("utf-8", "surrogatepass")).decode()
    return _with_header(callback, "authorization", f"Basic {credentials}")


def _wire(text: str) -> str:
    """A header's value as an ASGI server hands over the UTF-8 that a client sent."""
    return text.encode().decode("latin-1")
