"""One id in other clothes: what happens to keys when a gateway's id options change, and the hint that they should.

A key's `value` is computed from its `raw` form and the gateway's options; here it is computed again.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import product
from typing import Any, get_args

from app.db import Connection
from app.gateways.ids import canonical
from app.gateways.receipt import Gateway, IdFormat
from app.matching.sql import QUERIES
from app.projections.fold import fold

_CHUNK = 5_000
_SAMPLE = 200
#: While keys are renamed, their old values stand aside under this prefix, which no provider can send.
_ASIDE = "\x01"


async def rekey(connection: Connection, gateway: Gateway) -> dict[str, int]:
    """Computes all ids of `gateway` anew under its options, and matches what meets by it.

    Returns how many keys were `renamed`, how many messages `matched`, and how many submissions' ids are now the same as
    another's (`conflicts`; those keep their value). Takes about 20 s a million ids; the caller commits."""
    figures: Counter[str] = Counter()
    touched: set[int] = set()
    aside = [row async for row in _ids(connection, gateway, of_receipts=True)]
    await _rename(connection, [(row["id"], f"{_ASIDE}{row['id']}") for row in aside])
    await _rekey_submissions(connection, gateway, figures)
    for start in range(0, len(aside), _CHUNK):
        rows = aside[start : start + _CHUNK]
        wanted = [(row["id"], canonical(row["raw"], gateway.options.receipt_id_format)) for row in rows]
        renamed = await _rename(connection, wanted)
        figures["renamed"] += sum(
            row["id"] in renamed and row["value"] != value for row, (_, value) in zip(rows, wanted, strict=True)
        )
        rest = [(id, value) for id, value in wanted if id not in renamed]
        for row in await connection.fetch(
            QUERIES["merge_keys"], gateway.id, [id for id, _ in rest], [value for _, value in rest]
        ):
            touched.add(row["message_id"])
    for start in range(0, len(touched), _CHUNK):
        await fold(connection, sorted(touched)[start : start + _CHUNK], datetime.now(UTC))
    return {"renamed": figures["renamed"], "matched": len(touched), "conflicts": figures["conflicts"]}


async def _rekey_submissions(connection: Connection, gateway: Gateway, figures: Counter[str]) -> None:
    changed: list[tuple[int, str]] = []
    old: dict[int, str] = {}
    async for row in _ids(connection, gateway, of_receipts=False):
        value = canonical(row["raw"], gateway.options.submission_id_format)
        if value != row["value"]:
            changed.append((row["id"], value))
            old[row["id"]] = row["value"]
    await _rename(connection, [(id, f"{_ASIDE}{id}") for id, _ in changed])
    renamed = await _rename(connection, changed)
    await _rename(connection, [(id, old[id]) for id, _ in changed if id not in renamed])
    figures["renamed"] += len(renamed)
    figures["conflicts"] += len(changed) - len(renamed)


async def _ids(connection: Connection, gateway: Gateway, *, of_receipts: bool) -> Any:
    last = 0
    while rows := await connection.fetch(QUERIES["list_ids"], gateway.id, last, _CHUNK, of_receipts):
        for row in rows:
            yield row
        last = rows[-1]["id"]


async def _rename(connection: Connection, wanted: Sequence[tuple[int, str]]) -> set[int]:
    """Of several that want one value the first gets it. Returns who got theirs."""
    taken: set[str] = set()
    first = [(id, value) for id, value in wanted if not (value in taken or taken.add(value))]  # type: ignore[func-returns-value]
    renamed: set[int] = set()
    for start in range(0, len(first), _CHUNK):
        part = first[start : start + _CHUNK]
        rows = await connection.fetch(QUERIES["rename_keys"], [id for id, _ in part], [value for _, value in part])
        renamed |= {row["id"] for row in rows}
    return renamed


# --- the hint --------------------------------------------------------------------------------------------------------


async def id_hint(connection: Connection, gateway: Gateway) -> dict[str, Any] | None:
    """Options under which this gateway's newest unmatched receipts would match, with the proof; None when none would."""
    raw_ids = [row["raw"] for row in await connection.fetch(QUERIES["list_newest_unmatched"], gateway.id, _SAMPLE)]
    forms = {form for raw in raw_ids for form in spellings(raw)}
    submitted = await connection.fetch(QUERIES["find_submitted"], gateway.id, sorted(forms))
    best = max(
        (_matches(raw_ids, submitted, *formats) for formats in _formats(gateway)),
        key=lambda found: found[0],
        default=None,
    )
    if best is None or not best[0]:
        return None
    count, (submission_format, receipt_format), (receipt_id, submission_id, message_id) = best
    return {
        "options": {"submission_id_format": submission_format, "receipt_id_format": receipt_format},
        "would_match": count,
        "of_unmatched_looked_at": len(raw_ids),
        "proof": {"receipt_id": receipt_id, "submission_id": submission_id, "message_id": str(message_id)},
    }


def spellings(raw: str) -> Iterator[str]:
    """Ways in which a submission may have written the id that a receipt writes as `raw`."""
    yield from {
        raw,
        raw.lower(),
        raw.upper(),
        raw.lstrip("0"),
        raw.replace("-", "").lower(),
        raw.replace("-", "").upper(),
    }
    for base in (10, 16):
        try:
            number = int(raw, base)
        except ValueError:
            continue
        if number.bit_length() <= 128 and number >= 0:
            yield from {str(number), f"{number:010d}", f"{number:x}", f"{number:X}"}
            yield from (f"{number:0{width}{letter}}" for width in (8, 16) for letter in "xX")


def _formats(gateway: Gateway) -> Iterator[tuple[IdFormat, IdFormat]]:
    current = (gateway.options.submission_id_format, gateway.options.receipt_id_format)
    return (pair for pair in product(get_args(IdFormat), repeat=2) if pair != current)


def _matches(
    raw_ids: Sequence[str], submitted: Sequence[Any], submission_format: IdFormat, receipt_format: IdFormat
) -> Any:
    known = {canonical(row["raw"], submission_format): row for row in submitted}
    hits = [(raw, known[value]) for raw in raw_ids if (value := canonical(raw, receipt_format)) in known]
    proof = (hits[0][0], hits[0][1]["raw"], hits[0][1]["message_id"]) if hits else None
    return len(hits), (submission_format, receipt_format), proof
