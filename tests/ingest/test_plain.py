"""The fast lane of bulk receipts says the same as the ordinary road, or nothing."""

from datetime import UTC, datetime
from typing import Any

import orjson
from hypothesis import example, given
from hypothesis import strategies as st

from app.gateways import generic
from app.gateways.receipt import Auth, Gateway, Options
from app.ingest.plain import plain_row
from app.ingest.rows import inbox_row

NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)
HEX = Options(receipt_id_format="hexadecimal")
GATEWAYS = {
    "acme": Gateway(id=7, key="acme", kind="generic", implementation="A", options=Options(), auth=Auth(mode="none")),
    "hex": Gateway(
        id=8,
        key="hex",
        kind="generic",
        implementation="A",
        options=Options(receipt_id_format="hexadecimal"),
        auth=Auth(mode="bearer"),
    ),
}
text = st.one_of(st.text(max_size=5), st.sampled_from(("m-1", " m", "A07", "x" * 65, "é", "a\0b", "\x7f", "")))
words = st.one_of(st.sampled_from(sorted(generic.OUTCOMES)), text)
times = st.one_of(
    st.datetimes(timezones=st.just(UTC)).map(lambda at: at.isoformat().replace("+00:00", "Z")),
    st.sampled_from(
        ("2026-03-04T10:15:42Z", "2026-03-04T10:15:42+01:00", "2026-03-04T10:15:42", "", "1801-01-01T00:00:00Z")
    ),
)
numbers = st.integers(-(2**63), 2**63)
odd: Any = st.one_of(st.none(), numbers, st.lists(numbers), text)
rows = st.fixed_dictionaries(
    {},
    optional={
        "gateway": st.one_of(st.sampled_from(("acme", "hex", "nobody")), odd),
        "provider_message_id": st.one_of(text, odd),
        "status": st.one_of(words, odd),
        "occurred_at": st.one_of(times, odd),
        "reference": text,
        "error_code": text,
    },
)
PLAIN = {"gateway": "acme", "provider_message_id": "m-1", "status": "delivered", "occurred_at": "2026-03-04T10:15:42Z"}


@given(rows)
@example(PLAIN)
@example(PLAIN | {"status": "ENROUTE"})
@example(PLAIN | {"gateway": "hex"})
def test_a_plain_row_is_what_the_ordinary_road_makes_of_it(row: dict[str, Any]) -> None:
    line = orjson.dumps(row)
    plain = plain_row(line, GATEWAYS.get, NOW)
    if plain is None:
        return
    read = generic.read_row(line)
    assert not isinstance(read, str)
    key, receipt = read
    assert plain == inbox_row(GATEWAYS[key or ""], receipt, NOW)


def test_usual_rows_are_plain() -> None:
    for status in ("queued", "sent", "delivered", "DELIVRD", "read"):
        assert plain_row(orjson.dumps(PLAIN | {"status": status}), GATEWAYS.get, NOW) is not None


@given(st.binary(max_size=40))
def test_anything_else_takes_the_ordinary_road(line: bytes) -> None:
    assert plain_row(line, GATEWAYS.get, NOW) is None
