"""`make fuzz`: mutated callbacks and mutated rows against the service, with a fixed seed. No 5xx, and no neighbour lost.

It looks into the database afterwards, so it makes a service of its own. What an answer says is kept must be kept.
"""

import argparse
import asyncio
import itertools
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from tests.adversary.cases import taken
from tests.adversary.fuzz_callbacks import Call, calls, surely_good
from tests.adversary.fuzz_rows import Upload, uploads
from tests.adversary.target import Target, number, target
from tests.adversary.wire import Answer, Line
from tests.chaos import harness

SEED = 9
CALLBACKS, ROWS = 100_000, 20_000
_CONNECTIONS = 8
_SETTLING_SECONDS = 300.0
_KEPT = re.compile(rb"kept as (rj_[0-9a-z]+)")
_SHOWN = 20


@dataclass
class Found:
    """What is wrong, the first of it in words; and counts of all that was answered."""

    faults: list[str] = field(default_factory=list)
    faulty: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    #: Marks of rows and receipts that must be there once, and ids of bodies that must have been kept.
    once: set[str] = field(default_factory=set)
    kept: set[str] = field(default_factory=set)

    def fault(self, sentence: str) -> None:
        self.faulty += 1
        if len(self.faults) < _SHOWN:
            self.faults.append(sentence)

    def __str__(self) -> str:
        told = ", ".join(f"{status}: {times}" for status, times in sorted(self.answers.items()))
        more = [f"and {self.faulty - len(self.faults)} more"] if self.faulty > len(self.faults) else []
        return "\n".join(
            [
                *self.faults,
                *more,
                f"{self.answers.total()} requests ({told}), {len(self.once)} good ones, {self.faulty} faults",
            ]
        )


# --- callbacks -------------------------------------------------------------------------------------------------------


async def fuzz_callbacks(attacked: Target, dsn: str, many: int, *, seed: int = SEED) -> Found:
    found, source = Found(), itertools.islice(calls(attacked.names, seed=seed), many)
    await asyncio.gather(*(_call(attacked, source, found) for _ in range(_CONNECTIONS)))
    await _settled(dsn, found)
    query = (
        "SELECT c.raw AS mark, count(*) AS n FROM receipts r JOIN correlations c ON c.id = r.correlation_id GROUP BY 1"
    )
    await _all_once(dsn, query, found.once, found)
    rows = await harness.fetch(dsn, "SELECT id FROM rejected WHERE id = ANY($1)", sorted(found.kept))
    if lost := found.kept - {row["id"] for row in rows}:
        found.fault(f"{len(lost)} of {len(found.kept)} that were said to be kept are not, such as {min(lost)}")
    return found


async def _call(attacked: Target, source: Iterator[Call], found: Found) -> None:
    line = Line(attacked.door)
    for call in source:
        answer = await line.exchange(call.request)
        found.answers[str(answer.status)] += 1
        if not 200 <= answer.status < 500:
            found.fault(f"{answer.status} {answer.text[:200]} for {call.request[-1_000:]!r}")
        kept = _KEPT.search(answer.body)
        if kept:
            found.kept.add(kept[1].decode())
        if answer.status < 300:
            found.once |= surely_good(call)
        elif call.good and not kept:
            found.fault(
                f"good receipts neither taken nor kept: {answer.status} {answer.text[:200]} for {call.body[:1_000]!r}"
            )
    await line.close()


# --- rows ------------------------------------------------------------------------------------------------------------


async def fuzz_rows(attacked: Target, dsn: str, many: int, *, seed: int = SEED) -> Found:
    found, sent = Found(), 0
    once: dict[str, set[str]] = {}
    line = Line(attacked.door)
    for upload in uploads(seed=seed):
        if sent >= many:
            break
        if upload.door.name == "submissions":
            await _make_messages(attacked, upload)
        sent += upload.mutated
        answer = await line.exchange(_request(attacked, upload))
        found.answers[f"{upload.form.rpartition('/')[2]} {answer.status}"] += 1
        if _judged(upload, answer, found) and upload.door.found:
            once.setdefault(upload.door.found, set()).update(upload.good)
    await line.close()
    await _settled(dsn, found)
    for query, marks in once.items():
        await _all_once(dsn, query, marks, found)
        found.once |= marks
    return found


async def _make_messages(attacked: Target, upload: Upload) -> None:
    """Those that the submissions are about."""
    rows = [orjson.dumps({"address": number(0), "reference": mark.replace("rs-", "sub-")}) for mark in upload.good]
    await attacked.post_rows("/v1/deliveries/{delivery}/messages", rows)


def _request(attacked: Target, upload: Upload) -> bytes:
    head = (
        f"POST {attacked.filled(upload.door.path)} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {attacked.key}\r\n"
        f"Content-Type: {upload.form}\r\nContent-Length: "
    )
    body = upload.body.replace(b"{generic}", attacked.names["generic"].encode())
    return f"{head}{len(body)}\r\n\r\n".encode() + body


def _judged(upload: Upload, answer: Answer, found: Found) -> bool:
    """Whether the good rows must be there now. Only an array is one document, which can be unreadable as a whole."""
    if answer.status == 400 and upload.form == "application/json" and not upload.whole:
        return False
    if answer.status not in (200, 202):
        found.fault(f"{upload.door.name}: {answer.status} {answer.text[:200]} for {upload.body[:1_500]!r}")
        return False
    few = taken(answer) < len(upload.good)
    if few and (upload.whole or upload.form != "application/json"):
        told = f"{taken(answer)} taken of {len(upload.good)} good rows: {answer.text[:300]}"
        found.fault(f"{upload.door.name}: {told} for {upload.body[:1_500]!r}")
    return not few


# --- the truth afterwards --------------------------------------------------------------------------------------------


async def _settled(dsn: str, found: Found) -> None:
    """The inbox is empty: whatever could be applied is."""
    deadline = time.monotonic() + _SETTLING_SECONDS
    while (await harness.fetch(dsn, "SELECT count(*) AS n FROM inbox"))[0]["n"]:
        if time.monotonic() > deadline:
            found.fault(f"the inbox is not empty after {_SETTLING_SECONDS:.0f} s")
            return
        await asyncio.sleep(0.2)


async def _all_once(dsn: str, query: str, marks: set[str], found: Found) -> None:
    rows: list[Any] = await harness.fetch(dsn, query)
    times = {row["mark"]: row["n"] for row in rows}
    for mark in sorted(marks):
        if times.get(mark, 0) != 1:
            found.fault(f"{mark} is there {times.get(mark, 0)} times")


async def _run(callbacks: int, rows: int, seed: int) -> bool:
    with harness.postgres() as postgres:
        async with (
            harness.service(postgres.url, ACUSE_PUBLIC_URL="http://short.test") as service,
            target(f"http://127.0.0.1:{service.port}", harness.ADMIN_KEY, twilio="token") as attacked,
        ):
            good = True
            for name, fuzz, many in (("callbacks", fuzz_callbacks, callbacks), ("rows", fuzz_rows, rows)):
                began = time.monotonic()
                found = await fuzz(attacked, postgres.dsn, many, seed=seed)
                sys.stdout.write(f"{many} mutated {name}, seed {seed}, {time.monotonic() - began:.0f} s\n{found}\n")
                good = good and not found.faulty
    return good


def main() -> None:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--callbacks", type=int, default=CALLBACKS)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--seed", type=int, default=SEED)
    arguments = parser.parse_args()
    sys.exit(0 if asyncio.run(_run(arguments.callbacks, arguments.rows, arguments.seed)) else 1)


if __name__ == "__main__":
    main()
