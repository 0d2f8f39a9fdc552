"""A large audience: uploaded in one streamed request, and prepared. Numbers come as people write them, and a share of them
is to be left out for each reason; at the end every target must have exactly one outcome, and the right number each reason."""

import asyncio
import contextlib
import random
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson
import psutil

from .bench import Bench
from .report import Figure
from .service import Service

_CONTENT = "Hello {{name}}, your code is {{code}}. STOP to 25252"
_LIMIT_SECONDS = 600
#: Of a thousand targets: no number, given twice, in quarantine, opted out, listed as control group.
_SHARES = {"invalid_address": 20, "double": 30, "quarantined": 10, "denylisted": 5, "control_group": 20}
_KEPT_AWAY = {"quarantined": "user_unknown", "denylisted": "denylisted"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Audience:
    rows: list[bytes]
    expected: Counter[str]
    #: Addresses by the status that they have in the quarantine.
    quarantine: list[tuple[str, str]]


async def measure(bench: Bench) -> list[Figure]:
    service, count = bench.service, bench.sizes.audience
    audience = _audience(count)
    await _put_away(service, audience.quarantine)
    body = {"label": "Audience", "sender": "Bench", "default_region": "ES", "content": _CONTENT}
    delivery = (await service.http.post("/v1/deliveries", json=body)).json()["id"]
    path = f"/v1/deliveries/{delivery}"
    before = _rss_mb(service)
    async with asyncio.TaskGroup() as group:
        highest = group.create_task(_highest(service, over := asyncio.Event()))
        try:
            uploading = await service.post_rows(f"{path}/targets", audience.rows)
            preparing = await prepare(service, path)
        finally:
            over.set()
    wrong = await _wrong(service, path, delivery, audience)
    return [
        Figure(name="audience: uploaded", value=count / uploading, unit="rows/s", at_least=40_000),
        Figure(name=f"audience: {count} targets prepared", value=preparing, unit="s", at_most=count * 60 / 1_000_000),
        Figure(name="audience: memory of the service grew by", value=highest.result() - before, unit="MB", at_most=150),
        Figure(name="audience: targets without their one right outcome", value=wrong, unit="", at_most=0),
    ]


def _audience(count: int) -> Audience:
    chance = random.Random(20)
    reasons = list(_SHARES)
    kinds = chance.choices([*reasons, ""], [*_SHARES.values(), 1_000 - sum(_SHARES.values())], k=count)
    kinds[0] = ""  # a double needs one before it
    rows: list[bytes] = []
    quarantine: list[tuple[str, str]] = []
    usable: list[str] = []
    for number, kind in enumerate(kinds):
        national = f"6{number * 7919 % 10**8:08d}"
        if kind == "double":
            national = chance.choice(usable)
        elif kind in _KEPT_AWAY:
            quarantine.append((f"+34{national}", kind))
        elif kind == "":
            usable.append(national)
        address = national[:6] if kind == "invalid_address" else f"{chance.choice(('+34', '0034', ''))}{national}"
        row = {"address": address, "recipient_id": f"c-{number}", "params": {"name": "Ana", "code": f"{number:07d}"}}
        rows.append(orjson.dumps(row | ({"control": True} if kind == "control_group" else {})))
    return Audience(rows=rows, expected=Counter(filter(None, kinds)), quarantine=quarantine)


async def _put_away(service: Service, quarantine: list[tuple[str, str]]) -> None:
    """Straight into the table: what receipts and replies make of addresses is measured elsewhere."""
    now = datetime.now(UTC)
    async with service.pool.acquire() as connection:
        await connection.copy_records_to_table(
            "quarantine",
            records=[(a, "", status, _KEPT_AWAY[status], "import", 0, now, now) for a, status in quarantine],
            columns=("address", "sender", "status", "reason", "origin", "errors", "since", "updated_at"),
        )


async def prepare(service: Service, path: str) -> float:
    """Prepares the delivery at `path`; how many seconds it took."""
    began = time.perf_counter()
    await service.http.post(f"{path}/prepare", params={"wait": 60})
    while (found := (await service.http.get(path)).json())["status"] == "preparing":
        if time.perf_counter() - began > _LIMIT_SECONDS:
            raise RuntimeError(f"Not prepared after {_LIMIT_SECONDS} s: {found['progress']}")
        await asyncio.sleep(0.1)
    if found["status"] != "prepared":
        raise RuntimeError(f"The delivery is {found['status']}.")
    return time.perf_counter() - began


async def _highest(service: Service, over: asyncio.Event) -> float:
    """The highest reading until `over`, in MB."""
    highest = 0.0
    while not over.is_set():
        highest = max(highest, _rss_mb(service))
        await asyncio.sleep(0.1)
    return highest


async def _wrong(service: Service, path: str, delivery: str, audience: Audience) -> int:
    """Targets that are off: in the figures, in the rows, or in the proof that both agree."""
    summary = (await service.http.get(f"{path}/summary")).json()
    excluded = Counter(summary["excluded_by_reason"])
    off = sum(abs(excluded[reason] - audience.expected[reason]) for reason in {*excluded, *audience.expected})
    off += abs(summary["targeted"] - len(audience.rows)) + abs(
        summary["targeted"] - summary["to_send"] - excluded.total()
    )
    rows = await service.pool.fetchval(
        "SELECT count(*) FROM (SELECT t.position FROM targets t LEFT JOIN ("
        "SELECT position FROM messages WHERE delivery_id = $1 UNION ALL "
        "SELECT position FROM exclusions WHERE delivery_id = $1) o USING (position) "
        "WHERE t.delivery_id = $1 GROUP BY t.position HAVING count(o.position) <> 1) wrong",
        int(delivery),
    )
    return int(off) + int(rows)


def _rss_mb(service: Service) -> float:
    total = 0
    for process in service.processes():
        with contextlib.suppress(psutil.Error):
            total += process.memory_info().rss
    return total / 1e6
