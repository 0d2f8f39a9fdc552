"""The summary, and pages of the message list, of a delivery with a million messages and of one with ten.

The same question is put to both in turns. In the small delivery every filter finds the five rows that a page here has,
or one; so the answers are alike, and only the size of what lies behind them differs.
"""

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass

from . import facts
from .bench import Bench
from .facts import Said
from .report import Figure

_SMALL = 10
_PAGE = 5
_WALK = 1_000
_RARE = 100_000

#: Half delivered, half failed for one reason.
_SAID_SMALL = (
    Said(numbers=range(0, 5), of=10, status="received"),
    Said(numbers=range(5, 10), of=10, status="failed", code="B1", failure_type="hard", reason="user_unknown"),
)
#: 85 % delivered, 10 % failed, of these a handful for a rare reason, 3 % on their way; the rest has no receipt.
_SAID_LARGE = (
    Said(numbers=range(0, 85), of=100, status="received"),
    Said(numbers=range(85, 93), of=100, status="failed", code="B1", failure_type="hard", reason="user_unknown"),
    Said(numbers=range(93, 95), of=100, status="failed", code="B2", failure_type="soft", reason="unreachable"),
    Said(numbers=range(95, 98), of=100, status="sent"),
    Said(
        numbers=range(_RARE - 5, _RARE), of=_RARE, status="failed", code="B3", failure_type="ignored", reason="refused"
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A page, asked of the large delivery, and its like of the small one."""

    name: str
    large: str
    small: str


async def measure(bench: Bench) -> list[Figure]:
    began = time.perf_counter()
    small, large = await _deliveries(bench)
    built = time.perf_counter() - began
    figures = [
        Figure(
            name="messages recorded as facts, and folded", value=bench.sizes.delivery / built, unit="/s",
            note=f"{bench.sizes.delivery} in {built:.0f} s",
        )
    ]  # fmt: skip
    walk, cursors = await _walked(bench, large)
    figures.append(Figure(name="message list: walked in pages of 1000", value=bench.sizes.delivery / walk, unit="/s"))
    questions = [
        Question(name="summary", large=f"/v1/deliveries/{large}/summary", small=f"/v1/deliveries/{small}/summary")
    ]
    for name, asked, asked_small in _pages(bench, cursors):
        base = "/v1/deliveries/{}/messages?limit={}{}"
        questions.append(
            Question(
                name=f"message list, {name}",
                large=base.format(large, _PAGE, asked),
                small=base.format(small, _PAGE, asked_small),
            )
        )
    for question in questions:
        figures.append(await _compared(bench, question))
    return figures


def _pages(bench: Bench, cursors: Mapping[float, str]) -> list[tuple[str, str, str]]:
    """Name, query of the large delivery, query of the small one."""
    address = facts.address(bench.sizes.delivery * 2 // 3).replace("+", "%2B")
    address_small = facts.address(7).replace("+", "%2B")
    failed = "&status=failed"
    return [
        ("first page", "", ""),
        *((f"page at {place:.0%}", f"&cursor={cursor}", "") for place, cursor in cursors.items()),
        ("status=received", "&status=received", "&status=received"),
        ("status=failed", failed, failed),
        ("status=sent,failed", "&status=sent,failed", failed),
        ("reason", "&reason=user_unknown", "&reason=user_unknown"),
        ("a rare reason", "&reason=refused", "&reason=user_unknown"),
        ("failure_type", "&failure_type=soft", "&failure_type=hard"),
        ("gateway", "&gateway=bench-reading-1", "&gateway=bench-reading-0"),
        ("gateway and status", "&gateway=bench-reading-1&status=failed", f"&gateway=bench-reading-0{failed}"),
        ("address", f"&address={address}", f"&address={address_small}"),
    ]


async def _deliveries(bench: Bench) -> tuple[int, int]:
    service = bench.service
    gateways = [(await service.create_gateway(f"bench-reading-{number}", "generic"))[0] for number in range(2)]
    small = await service.create_delivery("Ten", "bench-reading-0")
    await facts.record(service.pool, small, gateways[:1], prefix="ten-", messages=_SMALL, said=_SAID_SMALL)
    large = await service.create_delivery("A million", "bench-reading-0")
    await facts.record(
        service.pool, large, gateways, prefix="million-", messages=bench.sizes.delivery, said=_SAID_LARGE
    )
    # A neighbour as large would be no news to an index; what was just written is, to the visibility map.
    await service.pool.execute("VACUUM messages, message_state, counters")
    return small, large


async def _walked(bench: Bench, delivery: int) -> tuple[float, dict[float, str]]:
    """Seconds for the whole list, and the cursors found half way and near its end."""
    pages = -(-bench.sizes.delivery // _WALK)
    wanted = {int(pages * place): place for place in (0.5, 0.99)}
    cursors: dict[float, str] = {}
    cursor, seen = None, 0
    began = time.perf_counter()
    for number in range(pages):
        query = {"limit": str(_WALK)} | ({"cursor": cursor} if cursor else {})
        answer = await bench.service.http.get(f"/v1/deliveries/{delivery}/messages", params=query)
        page = answer.raise_for_status().json()
        seen += len(page["items"])
        cursor = page["next_cursor"]
        if number + 1 in wanted and cursor:
            cursors[wanted[number + 1]] = cursor
    if seen != bench.sizes.delivery or cursor:
        raise RuntimeError(f"The list has {seen} of {bench.sizes.delivery} messages, or does not end.")
    return time.perf_counter() - began, cursors


async def _compared(bench: Bench, question: Question) -> Figure:
    times: dict[str, list[float]] = {question.large: [], question.small: []}
    rows: dict[str, int] = {}
    for number in range(bench.sizes.readings + 5):
        for path, found in times.items():
            began = time.perf_counter()
            answer = await bench.service.http.get(path)
            seconds = time.perf_counter() - began
            rows[path] = len(answer.raise_for_status().json().get("items", ()))
            if number >= 5:  # the first ones warm connections and caches
                found.append(seconds * 1e3)
    large, small = (statistics.median(found) for found in times.values())
    counts = (
        f"; {rows[question.large]} rows, {rows[question.small]} rows"
        if rows[question.large] != rows[question.small]
        else ""
    )
    return Figure(
        name=f"reading, {question.name}: of the same with 10 messages", value=large / small, unit="×", at_most=1.5,
        note=f"median {large:.1f} ms, {small:.1f} ms{counts}",
    )  # fmt: skip
