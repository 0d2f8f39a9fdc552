"""The text of an SMPP receipt: any order, any case, every field optional."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gateways.smpp_text import MAX_TEXT, OUTCOMES, SPELLINGS, STATES, ReceiptText, decoded, parse, word

FIELDS = {
    "id": "77",
    "sub": "001",
    "dlvrd": "001",
    "submit date": "2603041015",
    "done date": "2603041016",
    "stat": "DELIVRD",
    "err": "000",
}


def read(text: str) -> dict[str, object]:
    receipt = parse(text)
    return {name: found for name in ReceiptText.__slots__ if (found := getattr(receipt, name))}


@given(st.permutations(sorted(FIELDS)), st.sampled_from([" ", "\n", "\r\n", "  ", "\t"]), st.booleans())
def test_fields_come_in_any_order_and_case(order: list[str], gap: str, capitals: bool) -> None:
    keys = {key: key.upper() if capitals else key for key in order}
    assert parse(gap.join(f"{keys[key]}:{FIELDS[key]}" for key in order)) == parse(
        " ".join(f"{key}:{value}" for key, value in FIELDS.items())
    )


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("", {}),
        ("hello", {}),
        ("stat:DELIVRD", {"stat": "DELIVRD"}),
        ("id:1 status:DELIVRD", {"id": "1", "stat": "DELIVRD"}),
        ("id: 1 stat: DELIVRD", {"id": "1", "stat": "DELIVRD"}),
        ("id :1 stat :DELIVRD", {"id": "1", "stat": "DELIVRD"}),
        ("sub: dlvrd:001 id:1", {"dlvrd": "001", "id": "1"}),
        ("sub:   dlvrd: id:", {}),
        ("id:1 sat:DELIVRD", {"id": "1"}),
        ("id:1 xid:2 void:3 stat:X", {"id": "1", "stat": "X"}),
        ("id:a:b stat:X", {"id": "a:b", "stat": "X"}),
        ("id:1 submit_date:2 donedate:3 done\ndate:3", {"id": "1", "submit_date": "2", "done_date": "3"}),
        ("id:1 text:id:2 stat:X", {"id": "1", "text": "id:2 stat:X"}),
        ("text:id:1 stat:X", {"text": "id:1 stat:X"}),
        ("TEXT: hello", {"text": " hello"}),
        ("id:1\x00 stat:\x00DELIVRD\x00", {"id": "1", "stat": "DELIVRD"}),
        ("id:1\x002 stat:X", {"id": "1\x002", "stat": "X"}),
        ("id:1 id:2 id:1", {"id": "1", "twice": frozenset({"id"})}),
        ("id:1 id:1", {"id": "1"}),
        ("id:1 sub:... stat:0 err:...", {"id": "1", "sub": "...", "stat": "0", "err": "..."}),
    ],
)
def test_it_reads_what_is_there_and_nothing_else(text: str, fields: dict[str, object]) -> None:
    assert read(text) == fields


@given(st.text(st.sampled_from("idstaerx: \n\x00\t_") | st.characters()))
def test_any_text_is_read_and_never_raises(text: str) -> None:
    receipt = parse(text)
    assert receipt.is_receipt in (True, False)
    assert receipt.undecodable in (True, False)
    assert receipt.status_after_text is None or receipt.text


@given(st.text(), st.text())
def test_nothing_behind_text_is_ever_a_field(before: str, after: str) -> None:
    assert parse("id:1 stat:X text:" + before + after).id == "1"
    assert parse("id:1 stat:X text:" + before + " id:2 stat:Y").stat == "X"


@pytest.mark.parametrize("piece", ["id:", "id: ", " ", "submit ", "id:" + " " * 50, "text", "stat:x ", "submit date "])
def test_64_kb_of_anything_take_no_time(piece: str) -> None:
    began = time.perf_counter()
    parse(piece * (65_536 // len(piece)))
    assert time.perf_counter() - began < 0.1
    assert len(parse("text:" + "a" * 65_536).text or "") < MAX_TEXT


@pytest.mark.parametrize(
    ("octets", "data_coding", "text"),
    [
        (b"id:1 text:Gr\xfc\xdfe", 3, "id:1 text:Grüße"),
        ("id:1 text:Привет".encode("utf-16-be"), 8, "id:1 text:Привет"),
        ("\ufeffid:1".encode("utf-16-be"), 8, "id:1"),
        (b"id:1 stat:DELIVRD", 8, "id:1 stat:DELIVRD"),
        ("Привет".encode("utf-16-be"), 8, "Привет"),
        (b"id:1", 255, "id:1"),
        (b"", 8, ""),
    ],
)
def test_octets_are_text_by_their_data_coding(octets: bytes, data_coding: int, text: str) -> None:
    assert decoded(octets, data_coding) == text


@given(st.binary(), st.integers(0, 255))
def test_any_octets_are_text(octets: bytes, data_coding: int) -> None:
    assert isinstance(decoded(octets, data_coding), str)


def test_every_spelling_and_every_number_is_a_state_of_the_specification() -> None:
    assert set(SPELLINGS.values()) == set(STATES.values()) == set(OUTCOMES)
    assert word("delivrd") == "DELIVRD"
    assert word("Undeliverable") == "UNDELIV"
    assert word("DND_REJECTED") is word("") is word(None) is None
