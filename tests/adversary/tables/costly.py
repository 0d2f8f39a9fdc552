"""Requests that are right and cost as much as right ones can: rows of the slowest kinds, the longest texts, and what was planted before."""

from collections.abc import Callable, Iterator

from tests.adversary.bodies import array, digits, lines, many, text
from tests.adversary.cases import CSV, JSON, NDJSON, Case, callback, get, post, request

_ROWS = 10_000
_TAKEN = (200, 202, 400, 413, 422)


def _rows(times: int, row: Callable[[int], str]) -> str:
    return lines(*(row(place) for place in range(times)))


def _number(place: int) -> str:
    """As people write numbers: no two alike, and none on the cheap road."""
    return f"(+44) 07700 - 900.{place % 1000:03d} ext. {place}"


_IDS = ", ".join(f'"many-%d-{number}"' for number in range(255))
_PARAMS = ", ".join(f'"p{number}": {text(900)}' for number in range(40))
_URL = "https://shop.example/" + "a/../" * 380
#: Path, what is dear about its rows, how many of them, and a row.
_DEAR = (
    ("/v1/addresses/check", "numbers as people write them", _ROWS, lambda n: f'{{"address": "{_number(n)}"}}'),
    ("/v1/addresses/check", "numbers that are none", _ROWS, lambda n: f'{{"address": "+{digits(40)}{n}"}}'),
    ("/v1/quarantine?status=quarantined&default_region=GB", "numbers that are none", _ROWS, lambda n: f'{{"address": "{_number(n)}x"}}'),
    ("/v1/deliveries/{delivery}/messages", "numbers as people write them", 2_000, lambda n: f'{{"address": "{_number(n)}", "reference": "dear-{n}"}}'),
    ("/v1/deliveries/{delivery}/messages", "255 ids a row", 300, lambda n: f'{{"address": "+447700900001", "provider_message_ids": [{_IDS.replace("%d", str(n))}]}}'),
    ("/v1/deliveries/{delivery}/submissions", "255 ids a row", 300, lambda n: f'{{"reference": "dear-{n}", "provider_message_ids": [{_IDS.replace("many-%d", f"handed-{n}")}]}}'),
    ("/v1/deliveries/{delivery}/submissions", "error texts of 500 characters", _ROWS, lambda n: f'{{"reference": "none-{n}", "error_code": "{n}", "error_text": "{"12:34 a1b2 " * 45}"}}'),
    ("/v1/deliveries/{audience}/targets", "40 params of 900 characters", 500, lambda n: f'{{"address": "1", "params": {{{_PARAMS}}}}}'),
    ("/v1/deliveries/{delivery}/links", "URLs of 2 000 characters", 1_000, lambda n: f'{{"reference": "dear-{n}", "address": "+447700900001", "url": "{_URL}{n}"}}'),
    ("/v1/receipts", "texts of 20 000 characters", 1_000, lambda n: f'{{"gateway": "{{generic}}", "provider_message_id": "dear-{n}", "status": "failed", "error_text": {text(20_000)}}}'),
    ("/v1/receipts", "words that nobody knows", _ROWS, lambda n: f'{{"gateway": "{{generic}}", "provider_message_id": "word-{n}", "status": "word {n} 12:34"}}'),
    ("/v1/receipts", "80 kB of fields that nobody knows", 300, lambda n: f'{{"gateway": "{{generic}}", "provider_message_id": "wide-{n}", "status": "sent", {", ".join(f"{chr(34)}f{k}{chr(34)}: {k}" for k in range(6_000))}}}'),
)  # fmt: skip


def _dear() -> Iterator[Case]:
    for path, what, times, row in _DEAR:
        yield Case("H6", f"{path}: {times} rows, {what}", post(path, NDJSON, _rows(times, row)), _TAKEN, within=60)
        yield Case(
            "H6",
            f"{path}: the same as an array",
            post(path, JSON, array(*_rows(times, row).split("\n"))),
            _TAKEN,
            within=60,
        )


_WORDS = many("STOP ", 2_000)
_BODIES = (
    ("smpp", JSON, f'{{"text": {text(900_000)}, "data_coding": 0, "esm_class": 4}}', "a text of 900 kB"),
    ("smpp", JSON, '{"text": "' + "id:1 sub:001 " * 60_000 + '", "esm_class": 4}', "60 000 ids in one text"),
    ("smpp", JSON, '{"short_message_hex": "' + "69" * 400_000 + '", "esm_class": 4}', "800 kB of hexadecimal"),
    ("smpp", JSON, array(*['{"text": "' + "stat: " * 150 + '", "esm_class": 4}'] * 990), "990 texts of 900 bytes"),
    ("smpp", JSON, array(*['{"text": "hi", "esm_class": 4, "tlvs": {' + ", ".join(f'"0x{k:04x}": "1"' for k in range(60)) + "}}"] * 800), "800 items of 60 TLVs"),
    ("generic", JSON, array(*['{"type": "inbound", "from": "+447700900001", "text": "' + "ñ STOP " * 120 + '"}'] * 990), "990 replies of 900 bytes"),
    ("generic", JSON, array(*['{"provider_message_id": "x", "status": "failed", "error_text": "' + "1 a-2 " * 140 + '"}'] * 990), "990 error texts"),
    ("generic", JSON, '{"type": "inbound", "from": "+447700900001", "text": "' + "STOP " * 190_000 + '"}', "one reply of 950 kB"),
    ("generic", NDJSON, many('{"provider_message_id": "x", "status": "sent"}', 999, "\n"), "999 lines"),
    ("generic", JSON, '{"provider_message_id": "x", "status": "sent", "foo": "' + r"\u0041" * 150_000 + '"}', "150 000 escapes"),
    ("generic", JSON, "{" + ", ".join(f'"a{k}": 1' for k in range(60_000)) + "}", "60 000 members"),
    ("generic", JSON, "{" + ", ".join(['"status": "sent"'] * 50_000) + "}", "one member 50 000 times"),
)  # fmt: skip


def _ordinary() -> Iterator[Case]:
    contents = (
        ("placeholders", "{{a}} " * 150_000), ("opening braces", "{{" * 400_000), ("links", "https://a.example/x " * 45_000),
        ("dots", "a." * 400_000), ("emojis", "😀" * 200_000), ("letters", "x" * 900_000), ("links without end", "http://" * 120_000),
    )  # fmt: skip
    for what, content in contents:
        body = f'{{"label": "attack", "sender": "Acuse", "content": "{content}"}}'
        yield Case("H6", f"a content of {what}", post("/v1/deliveries", JSON, body), (400, 413, 422))
    for size in (1_500, 9_000):
        body = f'{{"label": "attack", "sender": "Acuse", "content": "{("{{a}} https://a.example/x " * size)[:size]}"}}'
        yield Case("H6", f"a content of {size} characters", post("/v1/deliveries", JSON, body), (201, 422))


_LONG = (
    ("X-Forwarded-For", "1," * 30_000), ("X-Forwarded-For", "a" * 60_000), ("Cookie", "a=b; " * 12_000), ("User-Agent", "bot " * 15_000),
    ("User-Agent", "Mozilla/5.0 (" * 4_500), ("Accept-Language", "en;q=0.1," * 6_500), ("Accept", "text/csv;q=0.1," * 4_000), ("Referer", "http://a/" * 6_500),
)  # fmt: skip

CASES: list[Case] = [
    *_dear(),
    *(Case("C4", f"{kind}: {what}", callback(kind, body, form), (200, 202, 400, 413)) for kind, form, body, what in _BODIES),
    *_ordinary(),
    *(Case("H4", f"{name} of 60 kB at a short URL", get("/r/AAAAAAAAAA", key="", headers=f"{name}: {value}\r\n"), (404, 429, 431)) for name, value in _LONG),
    *(Case("H4", f"{name} of 60 kB at a list", get("/v1/deliveries?limit=1", headers=f"{name}: {value}\r\n"), (200, 406, 431)) for name, value in _LONG),
    Case("H4", "20 000 parameters at a list", get(f"/v1/deliveries?{many('limit=1', 7_000, '&')}"), (200, 414, 422)),
    Case("H4", "10 000 parameters that nobody knows", get(f"/v1/deliveries?{many('a=1', 12_000, '&')}"), (200, 414, 422)),
    Case("H6", "a reply rule of 2 000 words", request("PUT", "/v1/gateways/{generic}/reply-rules", JSON, f'{{"rules": [{{"keyword": "{_WORDS}", "action": "none"}}]}}'), (422,)),
    Case("H6", "5 000 reply rules", request("PUT", "/v1/gateways/{generic}/reply-rules", JSON, '{"rules": ' + array(*(f'{{"keyword": "W{k}", "action": "none"}}' for k in range(5_000))) + "}"), (400, 413, 422)),
    Case("C3", "a CSV of 200 columns and 20 000 empty records", post("/v1/deliveries/{audience}/targets", CSV, lines("address," + ",".join(f"c{k}" for k in range(199)), many("," * 199, 20_000, "\n"))), _TAKEN, within=60),
    Case("C4", "all that was kept is tried again", post("/v1/receipts/rejected/retry", JSON, '{"gateway": "{generic}"}'), (200,), within=120),
    Case("C4", "and what was kept of smpp", post("/v1/receipts/rejected/retry", JSON, '{"gateway": "{smpp}"}'), (200,), within=120),
    Case("H3", "the page of a number with thousands of messages", get("/v1/addresses/%2B447700900001"), (200,), within=20),
    Case("H3", "all about that number", get("/v1/addresses/%2B447700900001/export"), (200,), within=60),
    Case("H3", "all messages as CSV", get("/v1/deliveries/{delivery}/messages", headers="Accept: text/csv\r\n"), (200,), within=60),
    Case("H3", "all targets", get("/v1/deliveries/{audience}/targets?limit=1000"), (200,), within=20),
    Case("H3", "the qualifications of words that nobody knew", get("/v1/qualifications?gateway={generic}&limit=1000"), (200, 404, 422), within=20),
]  # fmt: skip
