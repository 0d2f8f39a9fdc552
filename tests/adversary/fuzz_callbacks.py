"""Mutated callbacks of every kind: alone, in their headers and queries, and as one item among good ones."""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit

from tests.adversary.mutations import mutated

_SAMPLES = Path(__file__).parents[1] / "gateways" / "samples"
JSON, NDJSON, FORM = "application/json", "application/x-ndjson", "application/x-www-form-urlencoded"
#: Octets that would end the header or the request line, not change it.
_FRAMING = bytes.maketrans(b"\r\n\0 ", b"____")


@dataclass(frozen=True, slots=True)
class Call:
    """One request. `good`: ids of the receipts in it that nothing is wrong with."""

    kind: str
    request: bytes
    body: bytes
    good: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    kind: str
    method: str
    query: str
    content_type: str
    body: bytes


@cache
def samples() -> Sequence[Sample]:
    """The captured callbacks, and one of each form of our own."""
    lines = (_SAMPLES / "smpp" / "receipts.jsonl").read_bytes().splitlines()
    found = [Sample("smpp", "POST", "", JSON, line) for line in lines]
    for path in sorted(_SAMPLES.glob("*/*.json")):
        told: Mapping[str, Any] = json.loads(path.read_text("utf-8"))
        query = urlsplit(told["url"]).query
        found.append(Sample(told["gateway"], told["method"], query, FORM, told["body"].encode()))
    receipt = (
        b'{"provider_message_id": "77", "status": "delivered", "occurred_at": "2026-03-04T10:15:42Z", '
        b'"part": 1, "parts": 2, "price": "0.05"}'
    )
    inbound = (
        b'{"type": "inbound", "from": "+447700900001", "to": "5555", "text": "hello", "provider_message_id": "mo-1"}'
    )
    found += [Sample("generic", "POST", "", JSON, body) for body in (receipt, inbound, b"[%b,%b]" % (receipt, inbound))]
    return found


def calls(names: Mapping[str, str], *, seed: int) -> Iterator[Call]:
    """For ever: alone two in three times, else in a batch. `names` are the gateways by kind, and their `token`."""
    random, numbers = Random(seed), itertools.count()
    while True:
        yield _alone(random, names) if random.random() < 2 / 3 else _batch(random, names, numbers)


def _alone(random: Random, names: Mapping[str, str]) -> Call:
    sample = random.choice(samples())
    query, body, header = sample.query.encode(), sample.body, b"x"
    target = random.random()
    if body and target < 0.7:
        body = mutated(random, body)
    elif query and target < 0.9:
        query = mutated(random, query).translate(_FRAMING)[:5_000]
    else:
        header = mutated(random, sample.content_type.encode()).translate(_FRAMING)[:5_000]
    return Call(
        sample.kind, _request(names, sample.kind, sample.method, query, header, sample.content_type, body), body
    )


def _batch(random: Random, names: Mapping[str, str], numbers: Iterator[int]) -> Call:
    """One mutated item among good ones: a JSON array or lines."""
    kind, content_type = random.choice((("generic", JSON), ("generic", NDJSON), ("smpp", JSON)))
    good = tuple(f"good-{next(numbers)}" for _ in range(random.randrange(1, 6)))
    items = [_item(kind, id) for id in good]
    bad = mutated(random, _item(kind, "bad"))
    items.insert(random.randrange(len(items) + 1), bad)
    body = b"[" + b",".join(items) + b"]" if content_type == JSON else b"\n".join(items)
    return Call(kind, _request(names, kind, "POST", b"", b"x", content_type, body), body, good)


def _item(kind: str, id: str) -> bytes:
    if kind == "generic":
        return b'{"provider_message_id": "%b", "status": "delivered"}' % id.encode()
    text = f"id:{id} sub:001 dlvrd:001 submit date:2603041015 done date:2603041016 stat:DELIVRD err:000 text:hi"
    return b'{"text": "%b", "data_coding": 0, "esm_class": 4}' % text.encode()


def _request(
    names: Mapping[str, str], kind: str, method: str, query: bytes, header: bytes, content_type: str, body: bytes
) -> bytes:
    path = f"/callbacks/{names[kind]}".encode() + (b"?" + query.replace(b"#", b"_") if query else b"")
    head = (
        b"%b %b HTTP/1.1\r\nHost: a\r\nX-Acuse-Token: %b\r\nX-Odd: %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n"
    )
    return head % (method.encode(), path, names["token"].encode(), header, content_type.encode(), len(body)) + body


def surely_good(call: Call) -> set[str]:
    """Which of the good ones any reader must see: an item that was cut open can swallow its neighbours in an array."""
    if call.body[:1] != b"[":
        return set(call.good)
    try:
        read = json.loads(call.body)
    except (ValueError, RecursionError):
        return set(call.good)
    texts = [json.dumps(item) for item in read] if isinstance(read, list) else []
    return {id for id in call.good if any(f'"{id}"' in text or f"id:{id} " in text for text in texts)}
