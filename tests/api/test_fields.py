"""Kinds of values at the door: what each takes, and that nothing at the door is of no kind."""

import math
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from app.api import fields

DEEP: dict[str, Any] = {}
for _ in range(fields.JSON_DEPTH + 1):
    DEEP = {"a": DEEP}

REFUSED = [
    (fields.Plain, "a\0b"),
    (fields.Plain, "a\ud800b"),
    (fields.Line, "a\nb"),
    (fields.Slug, "a\n"),
    (fields.Slug, "ä"),
    (fields.Note, ""),
    (fields.Id, "²"),
    (fields.Id, "1" * 19),
    (fields.Id, "٣"),
    (fields.Id, "1\n"),
    (fields.Region, "es"),
    (fields.Time, 0),
    (fields.Time, 0.5),
    (fields.Time, "0"),
    (fields.Time, True),
    (fields.Time, "2026-01-01"),
    (fields.Time, "2026-01-01T00:00:00"),
    (fields.Time, "0001-01-01T00:00:00+14:00"),
    (fields.Time, "9999-12-31T23:59:59-14:00"),
    (fields.Time, "1969-12-31T23:59:59Z"),
    (fields.Time, "2200-01-01T00:00:00Z"),
    (fields.Whole, True),
    (fields.Whole, "5"),
    (fields.Whole, 5.0),
    (fields.Whole, 2**63),
    (fields.AskedWhole, "1_000"),
    (fields.AskedWhole, "5.0"),
    (fields.AskedWhole, "²"),
    (fields.AskedWhole, " 5"),
    (fields.AskedWhole, "9" * 5_000),
    (fields.Flag, 1),
    (fields.Flag, "true"),
    (fields.AskedFlag, "yes"),
    (fields.AskedFlag, "1"),
    (fields.Number, False),
    (fields.Number, "1"),
    (fields.Number, math.nan),
    (fields.Number, math.inf),
    (fields.FreeJson, {"a": "\0"}),
    (fields.FreeJson, {"\0": 1}),
    (fields.FreeJson, {"a": [{"\ud800": 1}]}),
    (fields.FreeJson, {"a": 2**63}),
    (fields.FreeJson, {"a": [math.inf]}),
    (fields.FreeJson, {"a": "x" * fields.JSON_BYTES}),
    (fields.FreeJson, DEEP),
]


@pytest.mark.parametrize(("kind", "value"), REFUSED)
def test_what_is_not_of_its_kind_is_refused_with_a_sentence(kind: Any, value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(kind).validate_python(value)
    (first, *_) = caught.value.errors()
    assert not first["msg"].startswith("Value error")


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (fields.Plain, "👩‍👩‍👧"),
        (fields.Region, "ES"),
        (fields.Time, "2026-03-04T10:15:42+01:00"),
        (fields.Time, "1970-01-01T00:00:00Z"),
        (fields.Whole, -3),
        (fields.AskedWhole, "-3"),
        (fields.AskedFlag, "false"),
        (fields.Flag, False),
        (fields.Number, 1),
        (fields.Number, 0.5),
        (fields.FreeJson, {"a": [{"b": None, "c": 2**63 - 1}]}),
    ],
)
def test_what_is_of_its_kind_is_taken(kind: Any, value: object) -> None:
    TypeAdapter(kind).validate_python(value)


@pytest.mark.parametrize("value", ["²", "٣", "+1", " 1", "1_0", "", "1" * 19, "9" * 5_000, "1\n"])
def test_only_ascii_digits_that_a_bigint_holds_are_an_id(value: str) -> None:
    assert fields.known_id(value) is None
    assert fields.known_id("0" * 17 + "7") == 7
