"""How long after posting at full speed every receipt is seen in the summary: by single callbacks, and in bulk.

Each receipt moves its message from `accepted` to `received`, so the summary's `success` counts them.
"""

import asyncio
import time

import orjson

from . import facts
from .bench import Bench
from .load import Target, post_all
from .report import Figure

_LIMIT_SECONDS = 300
_EVERY_SECONDS = 0.05


async def measure(bench: Bench) -> list[Figure]:
    service, count = bench.service, bench.sizes.visible
    gateway, token = await service.create_gateway("bench-visible", "generic")
    deliveries = []
    for prefix in ("single-", "bulk-"):
        delivery = await service.create_delivery(f"Visible {prefix}", "bench-visible")
        await facts.record(service.pool, delivery, [gateway], prefix=prefix, messages=count)
        deliveries.append(delivery)
    await service.drained()

    target = Target(
        url=f"{service.url}/callbacks/bench-visible", format="generic", token=token, prefix="single-", messages=count
    )
    began = time.perf_counter()
    found = await post_all(target)
    # The client's own start is not posting: both times count from its first request.
    began += time.perf_counter() - began - found["seconds"]
    single = await _seen(bench, deliveries[0], began)
    note = f"{count / found['seconds']:,.0f} /s, p50 {found['p50_ms']:.1f} ms, p99 {found['p99_ms']:.1f} ms"
    figures = _judged("single callbacks", found["seconds"], single, note)

    rows = [
        orjson.dumps({"gateway": "bench-visible", "provider_message_id": f"bulk-{number:07d}", "status": "delivered"})
        for number in range(count)
    ]
    began = time.perf_counter()
    posted = await service.post_rows("/v1/receipts", rows)
    bulk = await _seen(bench, deliveries[1], began)
    return figures + _judged(
        "bulk", posted, bulk, f"{count / posted:,.0f} /s; applied {count / bulk:,.0f} /s", judged=False
    )


def _judged(name: str, posted: float, seen: float, note: str, *, judged: bool = True) -> list[Figure]:
    return [
        Figure(
            name=f"visible, {name}: of the posting time", value=seen / posted, unit="×", at_most=1.5 if judged else None,
            note=f"posted in {posted:.1f} s ({note}), all visible after {seen:.1f} s",
        )
    ]  # fmt: skip


async def _seen(bench: Bench, delivery: int, began: float) -> float:
    """Seconds from `began` until the summary has all receipts."""
    while True:
        success = (await bench.service.summary(delivery))["success"]
        seconds = time.perf_counter() - began
        if success == bench.sizes.visible:
            return seconds
        if seconds > _LIMIT_SECONDS:
            raise RuntimeError(f"Only {success} of {bench.sizes.visible} receipts are visible after {seconds:.0f} s.")
        await asyncio.sleep(_EVERY_SECONDS)
