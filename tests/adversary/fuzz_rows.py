"""Bulk bodies in which every second row is damaged: each form at each endpoint. The others must be taken, once."""

import csv
import io
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from random import Random

from tests.adversary.mutations import another_value, mutated

_FORMS = ("application/x-ndjson", "text/csv", "application/json")
ROWS = 10
#: Added to the numbers of rows that are damaged, so that their addresses stay others' than the good ones'.
_APART = 90_000_000
Row = dict[str, str]


@dataclass(frozen=True, slots=True)
class Door:
    """`row`: a row with this number, and a word that no accident makes out of the other. `found`: SQL that says how often each
    mark is there; none: the answer says it."""

    name: str
    path: str
    row: Callable[[int, str], Row]
    mark: str
    found: str | None


def _address(place: int) -> str:
    """Distinct ones, within a range that no phone has: British numbers for drama, with one digit too few to be dialled."""
    return f"+4474{place:08d}"


_CORRELATED = (
    "SELECT c.raw AS mark, count(m.id) AS n FROM correlations c JOIN messages m ON m.id = c.message_id GROUP BY 1"
)
DOORS = (
    Door(
        "receipts", "/v1/receipts",
        lambda n, w: {"gateway": "{generic}", "provider_message_id": f"rr-{n}-{w}", "status": "sent"}, "provider_message_id",
        "SELECT c.raw AS mark, count(*) AS n FROM receipts r JOIN correlations c ON c.id = r.correlation_id GROUP BY 1",
    ),
    Door(
        "messages", "/v1/deliveries/{delivery}/messages",
        lambda n, w: {"address": _address(n), "provider_message_id": f"rm-{n}-{w}"}, "provider_message_id", _CORRELATED,
    ),
    Door(
        "submissions", "/v1/deliveries/{delivery}/submissions",
        lambda n, w: {"reference": f"sub-{n}-{w}", "provider_message_id": f"rs-{n}-{w}"}, "provider_message_id", _CORRELATED,
    ),
    Door(
        "targets", "/v1/deliveries/{audience}/targets",
        lambda n, w: {"address": _address(n), "recipient_id": f"rt-{n}-{w}"}, "recipient_id",
        "SELECT recipient_id AS mark, count(*) AS n FROM targets GROUP BY 1",
    ),
    Door(
        "quarantine", "/v1/quarantine?status=quarantined",
        lambda n, w: {"address": _address(n), "reason": "user_unknown"}, "address",
        "SELECT address AS mark, count(*) AS n FROM decisions GROUP BY 1",
    ),
    Door("check", "/v1/addresses/check", lambda n, w: {"address": _address(n)}, "address", None),
    Door(
        "links", "/v1/deliveries/{delivery}/links",
        lambda n, w: {"reference": f"rl-{n}-{w}", "address": _address(n), "url": "https://shop.example/"},
        "reference", _CORRELATED,
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Upload:
    door: Door
    form: str
    body: bytes
    good: tuple[str, ...]
    mutated: int
    #: An array in which values are damaged, and not the document: none of it may be refused as a whole.
    whole: bool


def uploads(*, seed: int) -> Iterator[Upload]:
    """For ever, door by door and form by form."""
    random, numbers = Random(seed), itertools.count()
    for door, form in itertools.cycle(itertools.product(DOORS, _FORMS)):
        good = [door.row(next(numbers), "good") for _ in range(ROWS // 2)]
        rows = [_written(row, form) for row in good]
        whole = form == "application/json" and random.random() < 0.75
        for _ in range(ROWS - len(good)):
            bad = _damaged(random, door.row(next(numbers) + _APART, "bad"), form, whole)
            rows.insert(random.randrange(len(rows) + 1), bad)
        yield Upload(
            door, form, _whole(rows, good[0], form), tuple(row[door.mark] for row in good), ROWS - len(good), whole
        )


def _damaged(random: Random, row: Row, form: str, whole: bool) -> bytes:
    """`whole`: what comes of it is still JSON."""
    if whole:
        return another_value(random, row)
    bad = mutated(random, _written(row, form))
    return _harmless(bad) if form == "text/csv" else bad


def _written(row: Mapping[str, str], form: str) -> bytes:
    if form != "text/csv":
        return json.dumps(row).encode()
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(row.values())
    return line.getvalue().encode()


def _harmless(row: bytes) -> bytes:
    """A quote that opens takes the next lines along, by the rules of CSV: that is not the reader's fault, nor tested here."""
    return row.replace(b'"', b"'")


def _whole(rows: list[bytes], first: Mapping[str, str], form: str) -> bytes:
    if form == "application/json":
        return b"[" + b",".join(rows) + b"]"
    return b"\n".join([",".join(first).encode(), *rows] if form == "text/csv" else rows)
