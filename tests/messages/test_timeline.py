"""Every fact of a message in order, the rule applied, and its effect."""

import itertools
from datetime import datetime, timedelta
from typing import Any

from app.messages.timeline import Known, by_part, payload, timeline

from .rows import BEGIN

_IDS = itertools.count(1)
QUALIFIED = {
    "failure_type": "hard", "reason": "user_unknown", "sentence": "No such number.", "implementation": "Acme",
    "error_status": "UNDELIV", "failure_code": "069",
}  # fmt: skip
UNQUALIFIED = dict.fromkeys(QUALIFIED)


def at(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def submission(seconds: float, *ids: str, error: str | None = None) -> dict[str, Any]:
    return UNQUALIFIED | {
        "id": next(_IDS), "gateway_id": 1, "gateway": "acme", "submitted_at": at(seconds), "recorded_at": at(seconds),
        "provider_message_ids": list(ids), "error_code": error, "error_text": None, "qualification_id": None,
    }  # fmt: skip


def key(
    id: int, raw: str, *, part: int | None = 1, kind: str = "id", origin: str = "submission", per: str = "part"
) -> dict[str, Any]:
    return {"id": id, "gateway_id": 1, "kind": kind, "raw": raw, "origin": origin, "part": part, "receipts_per": per}


def receipt(seconds: float, correlation: int, status: str | None, **more: Any) -> dict[str, Any]:
    word = more.pop("word", (status or "odd").upper())
    qualified = QUALIFIED | {"qualification_id": 7} if status == "failed" else UNQUALIFIED | {"qualification_id": None}
    return qualified | {
        "id": next(_IDS), "correlation_id": correlation, "fingerprint": hash((status, word)), "status": status,
        "status_text": word, "received_at": at(seconds), "occurred_at": None, "gateway": "acme", "error_code": None,
        "error_text": None, "currency": None, "network": None, "verified": True, "details": None, "price": None,
        "raw": b"stat:X", "key_raw": "A1", "key_kind": "id",
    } | more  # fmt: skip


def known(**facts: Any) -> Known:
    message = {"created_at": at(0), "cancelled_at": None, "expired_at": None} | facts.pop("message", {})
    return Known(message=message, **({"submissions": (), "correlations": (), "receipts": ()} | facts))


def effects(facts: Known) -> list[tuple[str, str | None, str]]:
    return [(entry["kind"], entry["effect"]["before"], entry["effect"]["after"]) for entry in timeline(facts)]


def test_each_fact_shows_the_status_before_and_after_it() -> None:
    facts = known(
        submissions=[submission(0, "A1")],
        correlations=[key(1, "A1")],
        receipts=[receipt(2, 1, "sent"), receipt(4, 1, "received")],
    )
    assert effects(facts) == [
        ("created", None, "pending"),
        ("submission", "pending", "accepted"),
        ("receipt", "accepted", "sent"),
        ("receipt", "sent", "received"),
    ]


def test_a_receipt_that_came_first_takes_effect_after_its_submission() -> None:
    facts = known(submissions=[submission(9, "A1")], correlations=[key(1, "A1")], receipts=[receipt(2, 1, "received")])
    assert effects(facts)[1:] == [("submission", "pending", "accepted"), ("receipt", "accepted", "received")]
    entry = timeline(facts)[-1]
    assert entry["received_at"] == at(2)
    assert entry["at"] == at(9)
    assert "waited" in entry["rule"]


def test_an_early_receipt_that_spells_the_id_otherwise_waits_for_the_same_submission() -> None:
    facts = known(submissions=[submission(9, "FF")], correlations=[key(1, "255")], receipts=[receipt(2, 1, "received")])
    assert [entry["kind"] for entry in timeline(facts)] == ["created", "submission", "receipt"]
    assert by_part(facts)[0]["provider_message_id"] == "FF"


def test_a_repeat_names_the_first_and_changes_nothing() -> None:
    first, second = receipt(2, 1, "received"), receipt(3, 1, "received")
    facts = known(submissions=[submission(0, "A1")], correlations=[key(1, "A1")], receipts=[first, second])
    entry = timeline(facts)[-1]
    assert entry["repeat_of"] == str(first["id"])
    assert entry["effect"] == {"before": "received", "after": "received", "changed": False}
    assert "repeat" in entry["rule"]


def test_an_unknown_word_is_kept_and_has_no_effect() -> None:
    facts = known(submissions=[submission(0, "A1")], correlations=[key(1, "A1")], receipts=[receipt(2, 1, None)])
    entry = timeline(facts)[-1]
    assert entry["effect"]["changed"] is False
    assert "does not know" in entry["rule"]


def test_received_beats_failed_whichever_came_first() -> None:
    for order in (("failed", "received"), ("received", "failed")):
        facts = known(
            submissions=[submission(0, "A1")],
            correlations=[key(1, "A1")],
            receipts=[receipt(2 + place, 1, status) for place, status in enumerate(order)],
        )
        assert timeline(facts)[-1]["effect"]["after"] == "received"


def test_a_failed_receipt_names_its_qualification() -> None:
    facts = known(submissions=[submission(0, "A1")], correlations=[key(1, "A1")], receipts=[receipt(2, 1, "failed")])
    found = timeline(facts)[-1]["qualification"]
    assert found["error"] == "SR Acme UNDELIV 069"
    assert (found["failure_type"], found["reason"]) == ("hard", "user_unknown")


def test_a_late_receipt_counts_after_the_clock() -> None:
    facts = known(
        message={"expired_at": at(100)},
        submissions=[submission(0, "A1")],
        correlations=[key(1, "A1")],
        receipts=[receipt(200, 1, "received")],
    )
    assert effects(facts)[2:] == [("no_receipt", "accepted", "no_receipt"), ("receipt", "no_receipt", "received")]


def test_a_cancelled_message_says_so() -> None:
    assert effects(known(message={"cancelled_at": at(1)}))[-1] == ("cancelled", "pending", "cancelled")


def test_a_time_that_cannot_be_right_is_not_counted() -> None:
    wrong = receipt(2, 1, "received", occurred_at=at(86_400))
    facts = known(submissions=[submission(0, "A1")], correlations=[key(1, "A1")], receipts=[wrong])
    entry = timeline(facts)[-1]
    assert (entry["occurred_at"], entry["counted_at"]) == (at(86_400), at(2))
    assert "ours counts" in entry["rule"]


def test_each_part_has_a_status_of_its_own() -> None:
    facts = known(
        submissions=[submission(0, "A1", "A2")],
        correlations=[key(1, "A1"), key(2, "A2", part=2)],
        receipts=[receipt(2, 1, "received"), receipt(3, 2, "sent")],
    )
    assert [(part["part"], part["status"]) for part in by_part(facts)] == [(1, "received"), (2, "sent")]
    assert timeline(facts)[-1]["effect"]["after"] == "sent"
    assert [entry.get("part") for entry in timeline(facts)[2:]] == [1, 2]


def test_a_part_that_a_later_receipt_brings_does_not_change_what_was_before() -> None:
    facts = known(
        correlations=[key(1, "A1", part=None, origin="receipt"), key(2, "A2", part=None, origin="receipt")],
        receipts=[receipt(2, 1, "received"), receipt(3, 2, "sent")],
    )
    assert effects(facts)[1:] == [("receipt", "pending", "received"), ("receipt", "received", "sent")]


def test_a_payload_is_text_where_it_can_be_and_base64_where_not() -> None:
    assert payload("ñ".encode()) == ("ñ", "utf-8")
    assert payload(b"\xff\x00") == ("/wA=", "base64")
