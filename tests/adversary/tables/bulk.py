"""Bulk bodies: C1, C2, C3, H5a, H5b, H5d, H6. A bad row costs itself; a body that is no JSON changes nothing."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from tests.adversary.bodies import MEGABYTE, array, digits, in_pieces, lines, many, nested, objects, repeated, text
from tests.adversary.cases import CSV, JSON, NDJSON, Body, Case, post
from tests.adversary.target import number


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`good`: the members of a row that is taken; `%s` makes it another one. `field`: an ordinary text of it."""

    name: str
    path: str
    good: str
    field: str
    scope: str = "admin"

    def row(self, mark: str, more: str = "") -> str:
        return "{" + self.good.replace("%s", mark) + (f", {more}" if more else "") + "}"

    def cells(self, mark: str) -> tuple[str, str]:
        """A good row as CSV: header and record."""
        pairs = [each.partition(": ") for each in self.good.replace("%s", mark).split(", ")]
        return ",".join(name.strip('"') for name, _, _ in pairs), ",".join(value.strip('"') for _, _, value in pairs)


RECEIPTS = Endpoint(
    "receipts", "/v1/receipts", '"gateway": "{generic}", "provider_message_id": "%s", "status": "sent"', "network"
)
MESSAGES = Endpoint(
    "messages",
    "/v1/deliveries/{delivery}/messages",
    f'"address": "{number(1)}", "provider_message_id": "%s"',
    "recipient_id",
)
SUBMISSIONS = Endpoint(
    "submissions",
    "/v1/deliveries/{delivery}/submissions",
    '"reference": "s1", "provider_message_id": "%s"',
    "error_code",
)
TARGETS = Endpoint(
    "targets", "/v1/deliveries/{audience}/targets", f'"address": "{number(2)}", "recipient_id": "%s"', "recipient_id"
)
QUARANTINE = Endpoint(
    "quarantine", "/v1/quarantine?status=quarantined", f'"address": "{number(3)}", "note": "%s"', "reason"
)
CHECK = Endpoint("check", "/v1/addresses/check", f'"address": "{number(4)}"', "address", "admin")
LINKS = Endpoint(
    "links", "/v1/deliveries/{delivery}/links",
    f'"reference": "%s", "address": "{number(5)}", "url": "https://shop.example/"', "recipient_id",
)  # fmt: skip
ENDPOINTS = (RECEIPTS, MESSAGES, SUBMISSIONS, TARGETS, QUARANTINE, CHECK, LINKS)
TAKEN = (200, 202)


# --- one poisonous value in a row among good ones, at every endpoint, as JSON array and as NDJSON --------------------


@dataclass(frozen=True, slots=True)
class Poison:
    """`whole`: the body as a whole may be refused for it (400), for nothing of it can be read."""

    finding: str
    what: str
    value: str
    whole: bool = False


POISONS = (
    Poison("C1", "exponent 999 999 999", "1E+999999999"),
    Poison("C1", "exponent 4 000 000", "1E+4000000"),
    Poison("C1", "exponent of 30 digits", "1e9999999999999999999999999999"),
    Poison("C1", "exponent minus 999 999 999", "1e-999999999"),
    Poison("C1", "50 000 digits before an exponent", f"{digits(50_000)}e50000"),
    Poison("C1", "50 000 digits after the point", f"0.{digits(50_000)}"),
    Poison("H5", "5 000 digits", digits(5_000)),
    Poison("H5", "30 digits", digits(30)),
    Poison("H5", "just over 64 bits", str(2**64)),
    Poison("H5", "1e999", "1e999"),
    Poison("H5", "NaN", "NaN", whole=True),
    Poison("H5", "a lone surrogate", r'"\ud800"'),
    Poison("H5", "surrogates in the wrong order", r'"\udc00\ud800"'),
    Poison("H5", "NUL", r'"a\u0000b"'),
    Poison("C2", "arrays 40 deep", nested(40), whole=True),
    Poison("C2", "arrays 300 deep", nested(300), whole=True),
    Poison("C2", "objects 2 000 deep", objects(2_000), whole=True),
    Poison("C2", "arrays 15 000 deep", nested(15_000), whole=True),
    Poison("H6", "a text of 200 kB", text(200_000)),
    Poison("H6", "100 000 numbers", array(many("1", 100_000))),
)  # fmt: skip
#: Times at the ends of the calendar, for rows that have one.
TIMES = ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "0000-00-00T00:00:00Z", "1900-01-01T00:00:00Z")
TIMED = ((RECEIPTS, "occurred_at"), (MESSAGES, "submitted_at"), (SUBMISSIONS, "submitted_at"), (QUARANTINE, "at"))


#: Rows must be new ones, each time.
_NUMBERS = itertools.count()


def _among_good_ones(finding: str, what: str, endpoint: Endpoint, member: str, whole: bool = False) -> Iterator[Case]:
    """The first and the third row are good, whatever the second is."""
    title = f"{endpoint.name}: {what}"
    for form in ("array", "NDJSON"):
        mark = f"{{mark}}-{next(_NUMBERS)}"
        rows = [endpoint.row(f"{mark}a"), endpoint.row(f"{mark}b", member), endpoint.row(f"{mark}c")]
        send = post(endpoint.path, JSON, array(*rows)) if form == "array" else post(endpoint.path, NDJSON, lines(*rows))
        yield Case(finding, f"{title} ({form})", send, TAKEN + (400,) * (whole and form == "array"), accepted=2)


def _poisoned() -> Iterator[Case]:
    for poison in POISONS:
        for endpoint in ENDPOINTS:
            field = "link" if endpoint is LINKS and poison.finding == "C1" else endpoint.field
            yield from _among_good_ones(
                poison.finding, poison.what, endpoint, f'"{field}": {poison.value}', poison.whole
            )
    for poison in POISONS[:6]:
        yield from _among_good_ones(
            poison.finding, f"{poison.what}, in a field that nobody knows", RECEIPTS, f'"foo": {poison.value}'
        )
    for endpoint, field in TIMED:
        for time in TIMES:
            yield from _among_good_ones("H5", f"{field} {time}", endpoint, f'"{field}": "{time}"')


# --- bodies as a whole -----------------------------------------------------------------------------------------------


def _csv(endpoint: Endpoint, broken: str) -> str:
    """A good row, then what is broken."""
    header, record = endpoint.cells(f"csv-{endpoint.name}")
    return f"{header}\n{record}\n{broken}"


def _stream(endpoint: Endpoint, kind: str, body: Body, what: str, answer: tuple[int, ...], finding: str) -> Case:
    return Case(finding, f"{endpoint.name}: {what}", post(endpoint.path, kind, body), answer, within=60.0)


def _x(before: bytes, megabytes: int, after: bytes, piece: bytes = b"x" * MEGABYTE) -> Body:
    return partial(repeated, piece, megabytes, before, after)


def _everywhere() -> Iterator[Case]:
    """Each of these at every endpoint."""
    for each in ENDPOINTS:
        refused = (400, 422) if each is not CHECK else (200, 400, 422)
        yield _stream(each, JSON, '[{"address":' + nested(100_000) + "}]", "arrays 100 000 deep", refused, "C2")
        yield _stream(each, JSON, nested(100_000), "nothing but brackets", refused, "C2")
        yield _stream(each, JSON, "[" * 1_000_000, "a million brackets that never close", (400, 422), "C2")
        yield _stream(
            each,
            CSV,
            _csv(each, '"' + "\n" * 20_000),
            "a quote that stays open, 20 000 empty lines",
            (*TAKEN, 422),
            "C3",
        )
        yield _stream(
            each,
            CSV,
            _csv(each, '"' + "\n" * 300_000),
            "a quote that stays open, 300 000 empty lines",
            (*TAKEN, 422),
            "C3",
        )
        yield _stream(
            each, CSV, _csv(each, '"\n' * 100_000), "quotes that open and close over 100 000 lines", (*TAKEN, 422), "C3"
        )
        yield _stream(each, CSV, _csv(each, "\n" * 1_000_000), "a million empty lines", TAKEN, "C3")
        yield _stream(each, JSON, array(many("1", 300_000)), "300 000 numbers for rows", refused, "H6")
        yield _stream(each, JSON, array(many("{}", 200_000)), "200 000 empty rows", (200, 400, 422), "H6")


def _sizes() -> Iterable[Case]:
    """Sizes: by turns at one endpoint and another, for they share the reader."""
    return (
        _stream(RECEIPTS, JSON, _x(b'["', 50, b'"]'), "one text of 50 MB for a row", (400, 413, 422), "H6"),
        _stream(MESSAGES, JSON, _x(b'[{"address": "', 50, b'"}]'), "one text of 50 MB in a row", (400, 413, 422), "H6"),
        _stream(QUARANTINE, JSON, _x(b'[{"', 30, b'": 1}]'), "a name of 30 MB", (400, 413, 422), "H6"),
        _stream(TARGETS, JSON, _x(b'[{"address": ', 30, b"}]", b"1" * MEGABYTE), "a number of 30 MB", (400, 413, 422), "H6"),
        _stream(CHECK, JSON, _x(b"[", 30, b"]", b" " * MEGABYTE), "30 MB of spaces", (400, 413, 422), "H6"),
        _stream(LINKS, JSON, _x(b"", 30, b"[]", b" " * MEGABYTE), "30 MB of spaces before the array", (400, 413, 422), "H6"),
        _stream(LINKS, JSON, _x(b"", 30, b"{}", b"\n" * MEGABYTE), "30 MB of line ends before an object", (400, 413, 422), "H6"),
        _stream(LINKS, JSON, _x(b"", 30, b"", b" " * MEGABYTE), "30 MB of spaces and nothing else", (400, 413, 422), "H6"),
        _stream(CHECK, JSON, array(many('""', 300_000)), "300 000 empty texts for rows", (200, 400, 422), "H6"),
        _stream(RECEIPTS, JSON, array(many(" 1 ", 300_000)), "300 000 numbers between spaces", (400, 422), "H6"),
        _stream(MESSAGES, JSON, array(many("[]", 300_000)), "300 000 empty arrays for rows", (400, 422), "H6"),
        _stream(RECEIPTS, NDJSON, _x(b'{"status": "', 50, b'"}'), "one line of 50 MB", (400, 422), "H6"),
        _stream(MESSAGES, CSV, _x(b"address\n", 50, b""), "one record of 50 MB", (400, 422), "H6"),
        _stream(QUARANTINE, CSV, _x(b'address\n"', 50, b'"'), "one cell in quotes of 50 MB", (400, 422), "H6"),
        _stream(TARGETS, CSV, _x(b"address,", 20, b"\n1"), "a header of 20 MB", (400, 422), "H6"),
        _stream(TARGETS, CSV, _x(b"\xff\xfe", 20, b"", b"\0\xd8" * (MEGABYTE // 2)), "20 MB of UTF-16 that is none", (400, 422), "H6"),
        _stream(QUARANTINE, CSV, _x(b"", 20, b"", b"sep=;\n" * (MEGABYTE // 6)), "lines that name a separator", (400, 422), "C3"),
        _stream(MESSAGES, CSV, _x(b"address\n", 20, b"", b"\r" * MEGABYTE), "20 million CRs", (400,), "C3"),
        _stream(CHECK, CSV, _x(b"address,a\n", 5, b"", b'"a\n' * (MEGABYTE // 3)), "a million quotes that open", (200, 422), "C3"),
        _stream(CHECK, CSV, lines(many("a", 20_000), "1"), "a header of 20 000 columns alike", (400, 422), "C3"),
        _stream(TARGETS, CSV, lines("address", many("a", 40_000)), "a record of 40 000 cells", (400, 422), "C3"),
        _stream(RECEIPTS, NDJSON, _x(b"", 20, b"", b"\n" * MEGABYTE), "20 million empty lines", (400,), "C3"),
        _stream(
            RECEIPTS, NDJSON, partial(in_pieces, b'{"status": "' + b"x" * 90_000 + b'"}', 30), "90 kB in pieces of 30 bytes",
            (400, 422), "C3",
        ),
        _stream(CHECK, CSV, partial(in_pieces, b'address\n"' + b"\n" * 60_000, 20), "open lines in pieces of 20 bytes", (*TAKEN, 422), "C3"),
        _stream(RECEIPTS, JSON, partial(in_pieces, array(RECEIPTS.row("p")).encode(), 1), "an array byte by byte", (*TAKEN, 422), "C3"),
    )  # fmt: skip


#: One JSON object in place of rows: `…/links` registers one URL.
_LINKS = LINKS.path
CASES: list[Case] = [
    *_poisoned(),
    *_everywhere(),
    *_sizes(),
    Case("C1", "one link: a label 1E+999999999", post(_LINKS, JSON, '{"url": "https://a.example/", "label": 1E+999999999}'), (400, 422)),
    Case("H5", "one link: 5 000 digits", post(_LINKS, JSON, '{"url": ' + digits(5_000) + "}"), (400, 422)),
    Case("C2", "one link: 100 000 deep", post(_LINKS, JSON, '{"url": ' + nested(100_000) + "}"), (400, 422)),
    Case("C2", "check, as who may only read", post(CHECK.path, JSON, nested(15_000), key="quarantine:read"), (200, 400, 403, 422)),
    Case("H5", "an array that is cut", post(RECEIPTS.path, JSON, '[{"gateway": '), (400,), says="JSON"),
    Case("H5", "UTF-8 that is none", post(RECEIPTS.path, JSON, b'[{"gateway": "\xff\xfe"}]'), (400, 422)),
    Case("H5", "an empty array", post(RECEIPTS.path, JSON, "[]"), (400,), says="no row"),
    Case("H5", "gzip that nobody asked for", post(RECEIPTS.path, JSON, b"\x1f\x8b\x08" + b"\0" * 1_000, headers="Content-Encoding: gzip\r\n"), (400, 415, 422)),
    Case("H5", "a form with a file", post(RECEIPTS.path, "multipart/form-data; boundary=x", b"--x\r\n\r\n1\r\n--x--"), (415,)),
]  # fmt: skip
