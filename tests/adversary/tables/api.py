"""The API: H5c–f, L4, M1, M2, L2, L6, and the neighbours of C1 and C2 in ordinary JSON bodies."""

import asyncio
import contextlib
from collections.abc import Iterator

from tests.adversary.bodies import digits, many, nested, objects, text
from tests.adversary.cases import CLOSED, JSON, NDJSON, Case, get, post, request
from tests.adversary.target import Target, number
from tests.adversary.wire import Answer

# --- ordinary JSON bodies --------------------------------------------------------------------------------------------

#: Values that no field takes. Whatever field they come to: 422, at once.
_VALUES = (
    ("C1", "exponent 999 999 999", "1E+999999999"),
    ("C1", "100 000 digits", digits(100_000)),
    ("C1", "1e999", "1e999"),
    ("C2", "500 deep", nested(500)),
    ("C2", "100 000 deep", nested(100_000)),
    ("C2", "objects 100 000 deep", objects(100_000)),
    ("H5", "NUL", r'"\u0000"'),
    ("H5", "a lone surrogate", r'"\ud800"'),
    ("H6", "a text of 900 kB", text(900_000)),
)
_FIELDS = (
    ("POST", "/v1/deliveries", '{"label": "attack", "sender": "Acuse", "validity_seconds": %s}'),
    ("POST", "/v1/deliveries", '{"label": "attack", "sender": "Acuse", "metadata": {"a": %s}}'),
    ("PATCH", "/v1/deliveries/{audience}", '{"label": %s}'),
    ("POST", "/v1/gateways", '{"key": %s, "kind": "generic", "auth": {"mode": "none"}}'),
    ("PATCH", "/v1/gateways/{generic}", '{"options": {"receipts_per": %s}}'),
    ("PUT", "/v1/gateways/{generic}/reply-rules", '{"rules": [{"keyword": %s, "action": "none"}]}'),
    ("POST", "/v1/keys", '{"name": "attack-x", "scopes": [%s]}'),
    ("POST", "/v1/quarantine/release", '{"filter": {"since_before": %s}, "reason": "x", "dry_run": true}'),
    ("POST", "/v1/receipts/rejected/retry", '{"ids": [%s]}'),
)
#: Some fields are free, and a text of any such size is a text.
_FREE = ('"metadata"', '"label"')


def _fields() -> Iterator[Case]:
    for method, path, template in _FIELDS:
        for finding, what, value in _VALUES:
            body = template.replace("%s", value)
            place = template.partition("%s")[0].rpartition('"')[0].rpartition('"')[2]
            yield Case(
                finding, f"{method} {path} {place}: {what}", request(method, path, JSON, body), (400, 404, 413, 422)
            )


_LOOSE = (
    ("POST", "/v1/deliveries", '{"label": "a", "sender": "b", "rules": {"control_share": false}}'),
    ("POST", "/v1/deliveries/{delivery}/links", '{"url": "https://a.example/", "label": 1}'),
    ("POST", "/v1/quarantine/release", '{"filter": {"since_before": 0}, "reason": "x", "dry_run": true}'),
    ("POST", "/v1/deliveries", '{"label": "a", "sender": "b", "validity_seconds": "300"}'),
    ("POST", "/v1/deliveries", '{"label": "a", "sender": "b", "tracking": "yes"}'),
    ("POST", "/v1/deliveries", '{"label": "a", "sender": "b", "validity_seconds": true}'),
)

# --- times, ids and texts in URLs ------------------------------------------------------------------------------------

_TIMES = (
    "0001-01-01T00:00:00%2B14:00", "9999-12-31T23:59:59-14:00", "0.5", "1e9", "-1", "253402300800", "NaN", "2026-13-01", "%00",
)  # fmt: skip
_TIMED = (
    "/v1/deliveries?created_after=", "/v1/deliveries?created_before=", "/v1/quarantine?since_after=", "/v1/quarantine?since_before=",
    "/v1/deliveries/{delivery}/history?from=", "/v1/deliveries/{delivery}/history?to=",
)  # fmt: skip
#: Digits that `isdigit` knows and `int` does not, and the like.
_IDS = (
    "%C2%B2",
    "%D9%A3",
    "9" * 19,
    "9" * 5_000,
    "-1",
    "1.0",
    "0x1",
    "%00",
    "1%00",
    "%ED%A0%80",
    "%FF",
    "1e3",
    "%20",
    "+1",
)
_NAMED = (
    ("GET", "/v1/deliveries/@"), ("GET", "/v1/deliveries/@/summary"), ("GET", "/v1/deliveries/@/messages"), ("GET", "/v1/messages/@"),
    ("GET", "/v1/deliveries/@/outbox"), ("GET", "/v1/deliveries/@/audit"), ("GET", "/v1/qualifications/@"), ("GET", "/v1/gateways/@"),
    ("POST", "/v1/breakers/@/discard"), ("POST", "/v1/deliveries/@/cancel"), ("DELETE", "/v1/keys/@"), ("GET", "/v1/addresses/@"),
    ("GET", "/v1/quarantine/@"), ("PATCH", "/v1/deliveries/{delivery}/links/@"),
)  # fmt: skip
_BULK = ("messages", "submissions", "links", "targets")
_TEXTS = (
    ("DELETE", f"/v1/quarantine/{number(9)}?reason=x&sender=@"), ("GET", "/v1/deliveries?q=@"), ("GET", "/v1/qualifications?gateway=@"),
    ("GET", "/v1/quarantine?gateway=@"), ("GET", "/v1/quarantine?error_code=@"), ("GET", "/v1/inbound?gateway=@"), ("GET", "/v1/keys?cursor=@"),
    ("GET", "/v1/receipts/rejected?gateway=@"), ("GET", "/v1/deliveries/{delivery}/messages?address=@"), ("GET", "/v1/audit?level=@"),
    ("GET", "/v1/deliveries?status=@"), ("GET", "/v1/deliveries?limit=@"), ("GET", "/v1/deliveries?@=1"),
)  # fmt: skip
_ODD = ("%00", "a%00b", "%ED%A0%80", "%FF%FE", "%C2%B2", "9" * 400, "1e999", "x" * 9_000)


def _in_urls() -> Iterator[Case]:
    for path in _TIMED:
        for time in _TIMES:
            yield Case("H5", f"GET {path}{time}", get(path + time), (422,))
            if "quarantine" in path or "deliveries?" in path:
                yield Case("H5", f"GET {path}{time} as CSV", get(path + time, headers="Accept: text/csv\r\n"), (422,))
    for method, path in _NAMED:
        for id in _IDS:
            yield Case("H5", f"{method} {path} {id[:20]}", request(method, path.replace("@", id)), (400, 404, 405, 422))
    for name in _BULK:
        for id in _IDS:
            send = post(f"/v1/deliveries/{id}/{name}", NDJSON, "{}")
            yield Case("H5", f"POST …/{name} {id[:20]}", send, (400, 404, 422))
    for method, path in _TEXTS:
        for odd in _ODD:
            yield Case(
                "H5", f"{method} {path} {odd[:20]}", request(method, path.replace("@", odd)), (200, 404, 409, 414, 422)
            )


# --- cut uploads, and what the journal knows of them -----------------------------------------------------------------


def _cut(path: str, row: bytes) -> "Case":
    """Some thousands of rows, the connection closed in the middle of one."""

    async def then(target: Target, answer: Answer) -> str | None:
        before = await _entries(target, path)
        await _send_and_cut(target, path, row)
        for _ in range(100):
            if await _entries(target, path) > before:
                return None
            await asyncio.sleep(0.1)
        return "4 000 rows, cut: the journal has no entry"

    send = get("/healthz", key="")
    return Case(
        "M1", f"POST {path.partition('?')[0]}, cut after 4 000 rows: the journal has it", send, (200,), then=then
    )


async def _send_and_cut(target: Target, path: str, row: bytes) -> None:
    _, writer = await target.door.open()
    body = b"\n".join(row.replace(b"@", b"cut%d" % place) for place in range(6_000))
    head = (
        f"POST {target.filled(path)} HTTP/1.1\r\nHost: {target.names['host']}\r\nAuthorization: Bearer {target.key}\r\n"
        f"Content-Type: {NDJSON}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with contextlib.suppress(OSError):
        writer.write(head.encode() + target.filled(body[: len(body) * 7 // 10].decode()).encode())
        await writer.drain()
        await asyncio.sleep(1.0)
    writer.transport.abort()


async def _entries(target: Target, path: str) -> int:
    """How many entries the journal concerned has."""
    journal = "/v1/deliveries/{delivery}/audit" if "{delivery}" in path else "/v1/audit"
    items = (await target.get(f"{journal}?limit=1000"))["items"]
    return len(items)


# --- without pii:read ------------------------------------------------------------------------------------------------

_ASKING = (
    ("/v1/deliveries/{delivery}/messages?address=%2B447700900001&limit=1", "deliveries:read"),
    ("/v1/deliveries/{delivery}/exclusions?address=%2B447700900001", "deliveries:read"),
    ("/v1/inbound?address=%2B447700900001", "deliveries:read"),
    ("/v1/addresses/%2B447700900001", "deliveries:read"),
    ("/v1/quarantine?address=%2B447700900001", "quarantine:read"),
    ("/v1/quarantine/%2B447700900001", "quarantine:read"),
)

# --- headers that every answer has -----------------------------------------------------------------------------------

_SAFE = ("/v1/deliveries", "/v1/keys", "/v1/gateways", "/v1/nowhere", "/openapi.json", "/healthz")


async def _has_safe_headers(target: Target, answer: Answer) -> str | None:
    wrong = [] if answer.headers.get("x-content-type-options") == "nosniff" else ["no nosniff"]
    return ", ".join(wrong) or None


async def _is_not_stored(target: Target, answer: Answer) -> str | None:
    return None if "no-store" in answer.headers.get("cache-control", "") else "no Cache-Control: no-store"


# --- wrong keys ------------------------------------------------------------------------------------------------------

_KEYS = ("x", "x" * 30_000, "\xff\xfe", "Bearer Bearer", "0" * 64, "null", "{generic}", "{token}")


def _wrong_keys() -> Iterator[Case]:
    for key in _KEYS:
        send = get("/v1/deliveries", key="", headers=f"Authorization: Bearer {key}\r\n")
        yield Case("L6", f"a wrong key: {key[:20]!r}", send, (401, 429, 431))


CASES: list[Case] = [
    *_fields(),
    *(Case("L4", f"{method} {path} {body}", request(method, path, JSON, body), (422,)) for method, path, body in _LOOSE),
    Case("L4", "trying out without a body", request("POST", "/v1/gateways/{generic}/test"), (400, 415, 422)),
    *_in_urls(),
    _cut("/v1/quarantine?status=quarantined", b'{"address": "+447700900010", "note": "@"}'),
    _cut("/v1/deliveries/{delivery}/messages", b'{"address": "+447700900010", "provider_message_id": "@"}'),
    _cut("/v1/deliveries/{delivery}/submissions", b'{"reference": "s2", "provider_message_id": "@"}'),
    *(Case("M2", f"GET {path} with {key} only", get(path, key=key), (403,)) for path, key in _ASKING),
    Case("M2", "checking numbers with quarantine:read only", post("/v1/addresses/check", NDJSON, '{"address": "1"}', key="quarantine:read"), (403,)),
    *(Case("L2", f"{path} says nosniff", get(path), (200, 404), then=_has_safe_headers) for path in _SAFE),
    *(Case("L2", f"{path} is not stored", get(path), (200,), then=_is_not_stored) for path in _SAFE[:3]),
    *_wrong_keys(),
    Case("L6", "the right key meanwhile", get("/v1/deliveries?limit=1"), (200,)),
    Case("H5", "an Idempotency-Key of 30 kB", post("/v1/deliveries", JSON, "{}", headers=f"Idempotency-Key: {'x' * 30_000}\r\n"), (422, 431)),
    Case("H5", "an Accept of 30 kB", get("/v1/deliveries", headers=f"Accept: {many('a/b', 7_000)}\r\n"), (200, 406, 431)),
    Case("H5", "a JSON body that is compressed", post("/v1/deliveries", JSON, b"\x1f\x8b\x08\0\0", headers="Content-Encoding: gzip\r\n"), (400, 415, 422)),
    Case("H5", "a JSON body in UTF-16", post("/v1/deliveries", "application/json; charset=utf-16", '{"label":"a"}'.encode("utf-16")), (400, 415, 422)),
    Case("H5", "a body over the limit", post("/v1/deliveries", JSON, text(2_000_000)), (413, CLOSED)),
]  # fmt: skip
