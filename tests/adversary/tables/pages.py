"""What people see: short URLs (L8, M9), `/docs` (M10), CSV (L1), and the OpenAPI document (L3)."""

import asyncio
import csv
import io
import re
from collections import Counter

import orjson

from tests.adversary.cases import CSV, NDJSON, Case, get, post, request
from tests.adversary.target import Target, number
from tests.adversary.wire import Answer, ask

# --- the documentation -----------------------------------------------------------------------------------------------


async def _is_from_here(target: Target, answer: Answer) -> str | None:
    """Nothing on the page comes from another host, and a policy says so to the browser."""
    foreign = [
        url
        for url in re.findall(r"https?://[^\s\"'<>)]+", answer.text)
        if target.door.host not in url and "w3.org" not in url
    ]
    loaded = [url for url in foreign if re.search(rf"(?:src|href)=.{re.escape(url)}", answer.text)]
    if loaded:
        return f"loads {loaded[:3]}"
    return None if "default-src" in answer.headers.get("content-security-policy", "") else "no Content-Security-Policy"


async def _has_each_url_once(target: Target, answer: Answer) -> str | None:
    document = await target.get("/openapi.json")
    shapes = Counter(re.sub(r"\{[^}]*\}", "{}", path) for path in document["paths"])
    twice = [shape for shape, times in shapes.items() if times > 1]
    return f"twice: {twice}" if twice else None


async def _lists_its_statuses(target: Target, answer: Answer) -> str | None:
    document = await target.get("/openapi.json")
    without = [
        f"{method} {path}"
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if path.startswith("/v1/") and method != "parameters" and "401" not in operation["responses"]
    ]
    return f"401 is not listed: {without[:3]}" if without else None


# --- formulas in CSV -------------------------------------------------------------------------------------------------

_FORMULAS = (
    "=1+1", "+1", "-1", "@a", "\t=1", "＝1+1", "＋1", "－1", "＠a", ";=1+1", "\u200b=1+1", "\ufeff=1+1", "\u00a0=1+1", "\u2028=1", "\u00ad=1",
)  # fmt: skip
_DANGEROUS = re.compile(r"[=+\-@＝＋－＠\t\r]")


#: What nobody sees before the sign of a formula.
_UNSEEN = "\u200b\ufeff\u00a0\u2028\u00ad "


def _formula(place: int, text: str) -> Case:
    """A message whose recipient is a formula, read again as CSV, where also `;` and tabs part cells, as they do in some languages."""
    mark = f"mark{place}."

    async def then(target: Target, answer: Answer) -> str | None:
        if answer.status == 422:
            return None  # not taken, so it comes out nowhere
        reading = get("/v1/deliveries/{delivery}/messages?address=%2B447700900998", headers="Accept: text/csv\r\n")
        read = await ask(target.door, reading(target), within=10)
        cells = [cell for row in csv.reader(io.StringIO(read.text)) for cell in row if mark in cell]
        if not cells or not read.headers["content-type"].startswith(CSV):
            return f"does not come out as CSV: {read.status} {read.text[:200]}"
        bad = [
            cell
            for cell in cells
            if any(_DANGEROUS.match(part.lstrip(_UNSEEN)) for part in re.split("[,;\t\r\n]", cell))
        ]
        return f"stands as a formula: {bad[:2]!r}" if bad else None

    row = orjson.dumps({"address": number(998), "reference": "{mark}-" + mark, "recipient_id": text + mark}).decode()
    return Case(
        "L1",
        f"a recipient {text!r} in CSV",
        post("/v1/deliveries/{delivery}/messages", NDJSON, row),
        (200, 422),
        then=then,
    )


# --- short URLs ------------------------------------------------------------------------------------------------------


_PHONE = (
    "User-Agent: Mozilla/5.0 (Linux; Android 15; Pixel 9) Chrome/140.0 Mobile Safari/537.36\r\nAccept: text/html\r\n"
)
_BOT = "User-Agent: WhatsApp/2.23\r\n"


def _clicked(what: str, times: int, method: str, headers: str) -> Case:
    """So many clicks on one short URL from one network: all led on, and all in the figures."""

    async def then(target: Target, answer: Answer) -> str | None:
        if "short" not in target.names:
            return None  # an installation without a host for short URLs
        before, gate = await _counted(target), asyncio.Semaphore(8)
        send = request(method, target.names["short"], key="", headers=headers)

        async def click() -> int:
            async with gate:
                return (await ask(target.door, send(target), within=10, head=method == "HEAD")).status

        answers = Counter(await asyncio.gather(*(click() for _ in range(times))))
        if answers != {302: times}:
            return f"not all led on: {dict(answers)}"
        for _ in range(200):
            if await _counted(target) >= before + times:
                return None
            await asyncio.sleep(0.1)
        return f"of {times} clicks the figures have {await _counted(target) - before}"

    return Case("M9", what, get("/healthz", key=""), (200,), then=then)


async def _counted(target: Target) -> int:
    summary = await target.get("/v1/deliveries/{delivery}/summary")
    return int(summary["clicks"] + summary["machine_clicks"])


_TOKENS = ("", "%00", "\u00b2", "x" * 60_000, "..%2f..%2fetc", "%ED%A0%80", "AAAAAAAAAA", "a" * 11, "%", "a;b", "r/r/r")

CASES: list[Case] = [
    Case("M10", "/docs loads nothing from elsewhere", get("/docs", key=""), (200,), then=_is_from_here),
    Case("M10", "/redoc is not there", get("/redoc", key=""), (404,)),
    Case("M10", "/docs/oauth2-redirect is not there", get("/docs/oauth2-redirect", key=""), (404,)),
    Case("L3", "the document has each URL once", get("/healthz", key=""), (200,), then=_has_each_url_once),
    Case("L3", "the document lists 401 where a key is needed", get("/healthz", key=""), (200,), then=_lists_its_statuses),
    Case("L3", "a method that is not there", request("PUT", "/v1/quarantine/release"), (405,)),
    *(_formula(place, text) for place, text in enumerate(_FORMULAS)),
    Case("L1", "formulas come in as CSV, too", post("/v1/deliveries/{delivery}/messages", CSV, "address,reference,recipient_id\n+447700900012,{mark}-csv,\"=HYPERLINK(1)\""), (200,)),
    _clicked("2 000 clicks of a phone", 2_000, "GET", _PHONE),
    _clicked("500 clicks of a machine", 500, "GET", _BOT),
    _clicked("500 HEADs", 500, "HEAD", _PHONE),
    *(Case("L8", f"a short URL {token[:20]!r}", get(f"/r/{token}", key=""), (400, 404, 414, 429)) for token in _TOKENS if token.isascii()),
]  # fmt: skip
