"""`POST /v1/receipts` with NDJSON, one streamed request, against asyncpg's plain COPY of the same rows into a like table."""

import statistics
import time
from datetime import UTC, datetime

import orjson

from app.gateways.generic import read_row
from app.gateways.receipt import Auth, Gateway, Options
from app.ingest.rows import InboxRow, inbox_row

from . import facts
from .bench import Bench, ratio, spread
from .report import Figure

#: What the rows of each round say in turn, so that most rounds change every message.
_WORDS = ("sent", "delivered")
_KEY = "bench-bulk"


async def measure(bench: Bench) -> list[Figure]:
    service, count = bench.service, bench.sizes.bulk
    gateway, _ = await service.create_gateway(_KEY, "generic")
    delivery = await service.create_delivery("Bulk", _KEY)
    await facts.record(service.pool, delivery, [gateway], prefix="rows-", messages=count)
    await service.pool.execute("CREATE TABLE bench_inbox (LIKE inbox INCLUDING ALL)")
    copied, posted, applied = [], [], []
    for number in range(bench.sizes.rounds):
        rows = rows_of(_WORDS[min(number, len(_WORDS) - 1)], count)
        await service.drained()
        copied.append(count / await _copy(bench, gateway, rows))
        began = time.perf_counter()
        posted.append(count / await service.post_rows("/v1/receipts", rows))
        await service.drained()
        applied.append(count / (time.perf_counter() - began))
    await service.pool.execute("DROP TABLE bench_inbox")
    of_copy, note = ratio(posted, copied), f"COPY {spread(copied)} /s"
    both = statistics.median(applied)
    return [
        Figure(name="bulk receipts: accepted", value=statistics.median(posted), unit="/s", note=spread(posted)),
        Figure(name="bulk receipts: of a plain COPY", value=of_copy, unit="×", at_least=0.35, note=note),
        Figure(name="bulk receipts: accepted and applied", value=both, unit="/s", note=spread(applied)),
    ]


def rows_of(word: str, count: int) -> list[bytes]:
    """Hundred thousands of different times, in no order: nobody's bulk has the same second in every row."""
    return [
        orjson.dumps(
            {
                "gateway": _KEY,
                "provider_message_id": f"rows-{number:07d}",
                "status": word,
                "occurred_at": f"2026-03-04T10:{number * 7 % 59:02d}:{number * 13 % 60:02d}.{number * 37 % 1000:03d}Z",
            }
        )
        for number in range(count)
    ]


async def _copy(bench: Bench, gateway: int, rows: list[bytes]) -> float:
    """Seconds for one COPY of what the service would make of `rows`, made before the clock starts."""
    as_served = Gateway(
        id=gateway, key=_KEY, kind="generic", implementation="", options=Options(), auth=Auth(mode="none")
    )
    now = datetime.now(UTC)
    records: list[InboxRow] = []
    for row in rows:
        read = read_row(row)
        assert not isinstance(read, str), read
        records.append(inbox_row(as_served, read[1], now))
    async with bench.service.pool.acquire() as connection:
        await connection.execute("TRUNCATE bench_inbox")
        began = time.perf_counter()
        await connection.copy_records_to_table("bench_inbox", records=records, columns=InboxRow._fields)
        return time.perf_counter() - began
