"""What the shelf holds is named by `doctor`, and what is put back is what was set aside."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from app import doctor
from app.db import Pool
from app.ingest.kinds import Row, pack, put_back, set_aside, unpack
from app.ingest.rows import InboundRow, InboxRow, RejectedRow
from app.ingest.spool import SpoolFile
from app.links.clicks import ClickRow

NOW = datetime(2026, 11, 28, 8, 0, 0, 123456, tzinfo=UTC)
RECEIPT = InboxRow(
    7, NOW, "A07", "0xA07", "order-1", "failed", "UNDELIV", "069", "text", "069", NOW, 1, 2, Decimal("0.007500"), "EUR", "21407",
    -5, True, b"\xff\x00raw", {"warnings": ["x"], "n": 2**40},
)  # fmt: skip
REPLY = InboundRow(7, NOW, "+34600000009", "5555", "STOP", "mo-1", True, b"\x00raw")
CLICK = ClickRow(
    9, 3, 1, 0, NOW, True, ["a"], "phone", "agent", {"method": "GET", "headers": {"a": "b"}}, "192.0.2.0/24", 3
)


@pytest.mark.parametrize("row", [RECEIPT, RECEIPT._replace(price=None, details=None), REPLY, CLICK])
def test_what_is_put_back_is_what_was_set_aside(row: Row) -> None:
    shelved = set_aside(row, "why")
    assert put_back(shelved.kind, orjson.loads(orjson.dumps(shelved.request)), shelved.raw) == row


@pytest.mark.parametrize(
    ("row", "changes", "back"),
    [
        (RECEIPT, {"status_text": "a\0b"}, {"status_text": "a\ufffdb"}),
        (RECEIPT, {"error_text": "half \ud83d"}, {"error_text": "half ?"}),
        (RECEIPT, {"details": {"a\0": ["\udc00", 2**70]}}, {"details": {"a\ufffd": ["?", 2**70]}}),
        (REPLY, {"text": "\0"}, {"text": "\ufffd"}),
        (CLICK, {"agent": "\ud800"}, {"agent": "?"}),
    ],
)
async def test_what_no_database_takes_stands_on_the_shelf_all_the_same(
    pool: Pool, row: Any, changes: dict[str, Any], back: dict[str, Any]
) -> None:
    shelved = set_aside(row._replace(**changes), "why")
    await pool.copy_records_to_table("rejected", records=[shelved], columns=RejectedRow._fields)
    kept = await pool.fetchrow("DELETE FROM rejected WHERE id = $1 RETURNING kind, request, raw", shelved.id)
    assert kept is not None
    assert put_back(kept["kind"], kept["request"], kept["raw"]) == row._replace(**back)
    assert unpack(pack(row._replace(**changes))) == row._replace(**changes), "and the spool keeps it as it is"


def test_what_the_shelf_itself_does_not_take_is_packed() -> None:
    row = RejectedRow("rj_1", 7, NOW, "a\0b", {"query": "\0"}, b"raw", "unreadable")
    shelved = set_aside(row, "why")
    assert (shelved.id, shelved.kind, shelved.raw) == ("rj_1", "spooled", b""), "the sender was told its id"
    assert put_back(shelved.kind, shelved.request, shelved.raw) == row


async def test_doctor_names_what_is_on_the_shelf_and_what_older_versions_left_there_bare(pool: Pool) -> None:
    async with pool.acquire() as connection:
        assert [each.state for each in await doctor._set_aside(connection)] == ["ok"]
        await connection.copy_records_to_table(
            "rejected",
            records=[
                RejectedRow("rj_1", 7, NOW, "The database refused this receipt: X.", {}, b"", "receipt"),
                RejectedRow("rj_2", 7, NOW, "no JSON", {"method": "POST"}, b"{"),
                set_aside(CLICK, "why"),
            ],
            columns=RejectedRow._fields,
        )
        shelf, bare = await doctor._set_aside(connection)
        await connection.execute("DELETE FROM rejected")
    assert (shelf.state, bare.state) == ("warning", "warning")
    assert "click 1, receipt 1, unreadable 1" in shelf.finding
    assert "1 receipts or replies without the request" in bare.finding


def test_doctor_counts_what_waits_beside_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    file = SpoolFile.open(tmp_path / "a.inbox.sqlite3")
    assert file is not None
    file.append([b"x", b"y"], 1_000_000)
    (tmp_path / "b.sqlite3").write_bytes(b"no database " * 1_000)
    check = doctor._spool(tmp_path)
    file.close(remove=True)
    assert check.state == "warning"
    assert "2 rows wait" in check.finding
    assert "b.sqlite3" in check.finding
