"""The fast lane of bulk receipts says the same as the ordinary road, or nothing."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
from hypothesis import example, given
from hypothesis import strategies as st

from app.db import Pool
from app.gateways import generic
from app.gateways.receipt import Auth, Gateway, Options
from app.ingest import fast_rows
from app.ingest.fast_rows import Heads, plain_row, whole
from app.ingest.kinds import Row, pack, put_back, set_aside, unpack
from app.ingest.rows import InboxRow, RejectedRow, inbox_row
from app.ingest.store import append

NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)
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
    "basic": Gateway(
        id=2**31 - 1, key="basic", kind="generic", implementation="A", options=Options(), auth=Auth(mode="basic")
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
        "gateway": st.one_of(st.sampled_from(("acme", "hex", "basic", "nobody")), odd),
        "provider_message_id": st.one_of(text, odd),
        "status": st.one_of(words, odd),
        "occurred_at": st.one_of(times, odd),
        "reference": text,
        "error_code": text,
    },
)
HEADS = Heads(GATEWAYS.get, NOW)
PLAIN = {"gateway": "acme", "provider_message_id": "m-1", "status": "delivered", "occurred_at": "2026-03-04T10:15:42Z"}


def ordinary(line: bytes) -> InboxRow:
    read = generic.read_row(line)
    assert not isinstance(read, str)
    key, receipt = read
    return inbox_row(GATEWAYS[key or ""], receipt, NOW, vouched=True)


async def stored(pool: Pool, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """What stands in the inbox after a COPY of `rows`, without ids; taken back at the end."""
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        try:
            await connection.execute("DELETE FROM inbox")
            await append(connection, rows)
            found = [dict(row) for row in await connection.fetch("SELECT * FROM inbox ORDER BY id")]
        finally:
            await transaction.rollback()
    return [{name: value for name, value in row.items() if name != "id"} for row in found]


@given(rows)
@example(PLAIN)
@example(PLAIN | {"status": "ENROUTE", "occurred_at": "1999-12-31T23:59:59.999999Z"})
@example(PLAIN | {"gateway": "hex"})
def test_a_plain_row_is_what_the_ordinary_road_makes_of_it(row: dict[str, Any]) -> None:
    line = orjson.dumps(row)
    plain = plain_row(line, HEADS)
    if plain is not None:
        assert whole(plain) == ordinary(line)


@given(st.lists(rows, max_size=5).map(lambda odd: [PLAIN, PLAIN | {"gateway": "basic", "status": "DELIVRD"}, *odd]))
async def test_a_plain_row_stands_in_the_inbox_as_the_ordinary_road_brings_it(pool: Pool, given: list[Any]) -> None:
    lines = [line for row in given if plain_row(line := orjson.dumps(row), HEADS) is not None]
    plain = [row for line in lines if (row := plain_row(line, HEADS)) is not None]
    assert await stored(pool, plain) == await stored(pool, [ordinary(line) for line in lines])


async def test_all_kinds_of_rows_go_into_the_inbox_together(pool: Pool) -> None:
    line = orjson.dumps(PLAIN)
    plain = plain_row(line, HEADS)
    assert plain is not None
    rejected = RejectedRow("rj_plain", 7, NOW, "not JSON", {}, b"{")
    assert len(await stored(pool, [plain, rejected, ordinary(line), plain])) == 3


def test_a_plain_row_comes_out_of_the_spool_as_the_ordinary_road_made_it() -> None:
    line = orjson.dumps(PLAIN)
    plain = plain_row(line, HEADS)
    assert plain is not None
    assert unpack(pack(whole(plain))) == ordinary(line)


def test_a_plain_row_that_the_database_refuses_goes_to_the_shelf_whole() -> None:
    line = orjson.dumps(PLAIN)
    plain = plain_row(line, HEADS)
    assert plain is not None
    shelved = set_aside(plain, "refused")
    assert (shelved.kind, shelved.gateway_id, shelved.received_at, shelved.raw) == ("receipt", 7, NOW, line)
    assert put_back(shelved.kind, orjson.loads(orjson.dumps(shelved.request)), shelved.raw) == ordinary(line)


def test_usual_rows_are_plain() -> None:
    for status in ("queued", "sent", "delivered", "DELIVRD", "read"):
        assert plain_row(orjson.dumps(PLAIN | {"status": status}), HEADS) is not None


@given(st.binary(max_size=40))
def test_anything_else_takes_the_ordinary_road(line: bytes) -> None:
    assert plain_row(line, HEADS) is None


def test_times_that_are_longer_than_a_time_can_be_are_not_remembered() -> None:
    fast_rows._said.cache_clear()
    for number in range(50):
        assert plain_row(orjson.dumps(PLAIN | {"occurred_at": f"{number}{'x' * 1_000}Z"}), HEADS) is None
    assert fast_rows._said.cache_info().currsize == 0
