"""The door for gateways: C4, H3, M4, L7, and the neighbours of C2 and H5 there."""

import base64
import hmac
import time
from collections.abc import Iterator

from tests.adversary.bodies import array, digits, lines, many, nested, objects, text
from tests.adversary.cases import NDJSON, Case, Send, callback, get, post, request
from tests.adversary.target import TWILIO_SECRETS, Target
from tests.adversary.wire import Answer

FORM = "application/x-www-form-urlencoded"
_GOOD = '{"provider_message_id": "%s", "status": "sent"}'


async def _is_kept(target: Target, answer: Answer) -> str | None:
    """What the answer names stands among the rejected ones."""
    kept = answer.text.partition("kept as ")[2].partition(".")[0]
    if not kept:
        return f"names nothing that is kept: {answer.text[:200]}"
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        found = await target.get("/v1/receipts/rejected?gateway={generic}&limit=1000")
        if any(kept == each["id"] for each in found["items"]):
            return None
    return f"{kept} is not among the rejected ones"


def _batch(size: int) -> str:
    return array(*(_GOOD.replace("%s", f"batch-{size}-{number}") for number in range(size)))


async def _retried(target: Target, answer: Answer) -> str | None:
    """A batch over the bound is kept whole, and `retry` reads it in pieces: nothing of it is lost."""
    if wrong := await _is_kept(target, answer):
        return wrong
    kept = answer.text.partition("kept as ")[2].partition(".")[0]
    told = await target.post("/v1/receipts/rejected/retry", {"ids": [kept]})
    return None if told.get("still_rejected") == 0 else f"retry says {told}"


_TOO_MANY: tuple[Case, ...] = (
    Case("C4", "generic: 480 001 numbers", callback("generic", array(many("1", 480_001))), (400,), then=_is_kept),
    Case("C4", "generic: 240 000 empty objects", callback("generic", array(many("{}", 240_000))), (400,), then=_is_kept),
    Case("C4", "generic: 300 000 empty arrays", callback("generic", array(many("[]", 300_000))), (400,), then=_is_kept),
    Case("C4", "generic: 100 000 lines of NDJSON", callback("generic", many("1", 100_000, "\n"), NDJSON), (400,), then=_is_kept),
    Case("C4", "generic: 1 000 000 empty lines", callback("generic", b"\n" * 999_000, NDJSON), (400,)),
    Case("C4", "smpp: 100 000 numbers", callback("smpp", array(many("1", 100_000))), (400,)),
    Case("C4", "smpp: 50 000 objects", callback("smpp", array(many('{"a":1}', 50_000))), (400,)),
    Case("C4", "kannel: 200 000 parameters in the query", callback("kannel", "", query="?" + many("a=1", 10_000, "&")), (400, 405, 414, 431)),
    Case("C4", "twilio: 200 000 fields in a form", callback("twilio", many("a=1", 200_000, "&"), FORM), (400, 401)),
    Case("C4", "generic: a batch of 1 000, the most", callback("generic", _batch(1_000)), (200,)),
    Case("C4", "generic: a batch of 1 001", callback("generic", _batch(1_001)), (400,), then=_retried),
    Case("C4", "generic: a batch of 5 000", callback("generic", _batch(5_000)), (400,), then=_retried),
    Case("C4", "no token: the body is not even read", request("POST", "/callbacks/{generic}", "application/json", array(many("1", 100_000)), key=""), (401, 404)),
)  # fmt: skip

#: One item among good ones: what is good of the batch is taken (2xx), or the whole is kept and said to be (400).
_ITEMS = (
    ("C1", "exponent 999 999 999", "1E+999999999"),
    ("C2", "400 deep", nested(400)),
    ("C2", "objects 200 deep", objects(200)),
    ("C2", "100 000 deep", nested(100_000)),
    ("H5", "5 000 digits", digits(5_000)),
    ("H5", "1e999", "1e999"),
    ("H5", "a lone surrogate", r'"\ud800"'),
    ("H5", "NUL", r'"\u0000"'),
    ("H6", "a text of 900 kB", text(900_000)),
)


def _items() -> Iterator[Case]:
    for finding, what, value in _ITEMS:
        for kind in ("generic", "smpp"):
            bad = f'{{"provider_message_id": "x", "status": "sent", "foo": {value}}}'
            body = array(_GOOD.replace("%s", "among-1"), bad, _GOOD.replace("%s", "among-2"))
            yield Case(finding, f"{kind}: {what} in a batch", callback(kind, body), (200, 202, 400))
        body = lines(_GOOD.replace("%s", "among-1"), value, _GOOD.replace("%s", "among-2"))
        yield Case(finding, f"generic: {what} as a line", callback("generic", body, NDJSON), (200, 202, 400))


# --- large bodies, stored by strangers and paid for by readers -------------------------------------------------------

_LARGE = 999_000


def _large() -> Iterator[Case]:
    for number in range(100):
        yield Case("H3", f"a body of 999 kB ({number + 1})", callback("generic", b"x" * _LARGE, "text/plain"), (400,))
    for number in range(30):
        body = '{"provider_message_id": "large", "status": "sent", "number": %d, "foo": "%s"}' % (number, "6" * 900_000)  # noqa: UP031
        yield Case("H3", f"a receipt of 900 kB for one message ({number + 1})", callback("generic", body), (200,))
    reading = ("admin", "deliveries:read")
    for key in reading:
        for what, path in (
            ("the rejected ones", "/v1/receipts/rejected?gateway={generic}&limit=1000"),
            ("the unmatched ones", "/v1/receipts/unmatched?gateway={generic}&limit=1000"),
            ("one message with its timeline", "/v1/messages/{large}"),
            ("all messages of the delivery", "/v1/deliveries/{delivery}/messages?limit=1000"),
        ):
            yield Case("H3", f"{what}, read with {key}", get(path, key=key), (200, 403), within=20)
        for form in ("text/csv", "application/x-ndjson"):
            path = "/v1/receipts/rejected?gateway={generic}"
            yield Case(
                "H3",
                f"all rejected ones as {form}, with {key}",
                get(path, key=key, headers=f"Accept: {form}\r\n"),
                (200, 403),
                within=60,
            )


# --- Twilio's other signature ----------------------------------------------------------------------------------------


def _signed(algorithm: str, secret: str) -> Send:
    """A form with Twilio's signature over the URL as it is called and the sorted fields."""
    fields = {"MessageSid": "SMattack", "MessageStatus": "delivered"}

    def send(target: Target) -> list[bytes]:
        path = f"/callbacks/{target.names['twilio']}"
        text = target.names["public"] + path + "".join(f"{name}{value}" for name, value in sorted(fields.items()))
        made = hmac.digest(secret.rpartition(":")[2].encode(), text.encode(), algorithm)
        body = "&".join(f"{name}={value}" for name, value in fields.items())
        headers = f"X-Twilio-Signature: {base64.b64encode(made).decode()}\r\n"
        return list(request("POST", path, FORM, body, key="", headers=headers)(target))

    return send


_FIRST, _SECOND = TWILIO_SECRETS
_TWILIO = (
    Case("M4", "twilio: HMAC-SHA1 with the account's token", _signed("sha1", _FIRST), (200, 204)),
    Case("M4", "twilio: HMAC-SHA256 with a secret that says so", _signed("sha256", _SECOND), (200, 204)),
    Case("M4", "twilio: HMAC-SHA1 with a secret that says SHA-256", _signed("sha1", _SECOND), (401,)),
    Case("M4", "twilio: HMAC-SHA256 with the account's token", _signed("sha256", _FIRST), (401,)),
    Case("M4", "twilio: MD5", _signed("md5", _FIRST), (401,)),
    Case("M4", "twilio: another secret", _signed("sha1", "another-secret-0123"), (401,)),
)


# --- a stranger at the door ------------------------------------------------------------------------------------------


async def _tells_no_more(target: Target, answer: Answer) -> str | None:
    """That a gateway is there is no secret (api.md: 404 for one that is not). What it is, and whose, is."""
    told = answer.text.lower()
    names = (target.names["mark"], "kannel", "smpp", "twilio", "generic", "signature", "sha")
    return next((f"tells {name}" for name in names if name in told), None)


def _stranger(kind: str, what: str, headers: str = "", status: tuple[int, ...] = (401,)) -> Case:
    method = "GET" if kind == "kannel" else "POST"
    send = request(method, f"/callbacks/{{{kind}}}", "application/json", "{}", key="", headers=headers)
    return Case("L7", f"{kind}: {what}: refused, and told nothing", send, status, then=_tells_no_more)


CASES: list[Case] = [
    *_TOO_MANY,
    *_items(),
    *_large(),
    *_TWILIO,
    *(_stranger(kind, "no secret") for kind in ("generic", "kannel", "smpp", "twilio")),
    _stranger("generic", "an API key for a secret", "Authorization: Bearer {key}\r\n"),
    _stranger("smpp", "a secret that is too long", f"X-Acuse-Token: {'x' * 30_000}\r\n"),
    _stranger("twilio", "the token of another gateway", "X-Acuse-Token: {token}\r\n"),
    Case("L7", "no gateway at all", request("POST", "/callbacks/nobody", "application/json", "{}", key=""), (404,), then=_tells_no_more),
    Case("H5", "a path reference of NUL", request("POST", "/callbacks/{generic}/%00", "application/json", "{}", key="", headers="X-Acuse-Token: {token}\r\n"), (400, 404)),
    Case("H5", "trying out a body 900 deep", post("/v1/gateways/{generic}/test", "application/json", '{"body": ' + nested(900) + "}"), (200, 400, 422)),
    Case("H5", "trying out 5 000 digits", post("/v1/gateways/{smpp}/test", "application/json", '{"body": ' + digits(5_000) + "}"), (200, 400, 422)),
    Case("H5", "trying out a lone surrogate", post("/v1/gateways/{kannel}/test", "application/json", r'{"query": "\ud800"}'), (200, 400, 422)),
    Case("C4", "trying out 200 000 items", post("/v1/gateways/{generic}/test", "application/json", '{"body": ' + array(many("1", 200_000)) + "}"), (200, 400, 422)),
]  # fmt: skip
