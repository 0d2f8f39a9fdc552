"""Whole lists as streams: CSV or NDJSON, whatever their size, in bounded memory.

CSV is opened in spreadsheets, which run cells that begin with `= + - @` as formulas, in some languages with their full-width
forms, after characters that nobody sees, and after what parts cells elsewhere (`;` in Spanish, a tab, a line end), with a quote
or without: such a cell gets a leading apostrophe, and one before each formula in it; in JSON the sign is escaped. Cells that are
only a sign and digits, an E.164 number above all, whole or masked (`+34600•••000`), cannot run and stay as they are, so that
what is exported can be imported.
"""

import asyncio
import csv
import io
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import orjson
from fastapi import Request
from starlette.responses import StreamingResponse

from app.security import Principal

Format = Literal["json", "csv", "ndjson"]
Chunks = AsyncIterator[Sequence[Mapping[str, Any]]]
_MEDIA: Mapping[str, Format] = {
    "application/json": "json",
    "text/csv": "csv",
    "application/x-ndjson": "ndjson",
    "application/ndjson": "ndjson",
}
_NDJSON = orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z
#: What begins a formula, as Unicode has them for all widths.
_SIGNS = "=+\\-@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b\u2212"
#: What nobody sees: blanks of all kinds, controls, joiners, direction marks, fillers, byte order marks, tags.
_UNSEEN = (
    "\\s\\x00-\\x1f\\x7f-\\x9f\\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_RISKY = re.compile(f"[{_SIGNS}\t\r\n]")
#: Where the cell or a part of it begins: all that may stand before a formula's sign, and the sign if one comes; a sign and digits
#: alone are a number. No character is looked at twice.
_BEGINNING = re.compile(f'(?:^|[;,|\t\r\n])[{_UNSEEN}";,|]*+(?:(?![+-][\\d•.]+(?:[;,|\t\r\n]|$))([{_SIGNS}]))?')
_LINE_END = re.compile("[\t\r\n]")
#: Of JSON: a text; and within one what would begin a formula where `;`, `,` or `|` part cells.
_TEXT = re.compile(r'"(?:[^"\\]++|\\.)*+"')
_SIGN = re.compile(f"(?<=[;,|])([{_UNSEEN}]*+)([{_SIGNS}])")
_BEHIND = r"\g<0>'"
_BEGINS_WITH = ("\t", "\r", "\n")
_NUMBER = re.compile(r"[+-][\d•.]+", re.ASCII)
#: Written in one go.
_ROWS = 200
#: For the OpenAPI document: what a stream is, and a list that can be streamed.
TEXTS: Mapping[str, Any] = {
    "text/csv": {"schema": {"type": "string"}},
    "application/x-ndjson": {"schema": {"type": "string"}},
}
STREAMS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A page; or, by `Accept`, everything as a stream; no row of it appears twice.",
        "content": dict(TEXTS),
    }
}


def wanted(request: Request) -> Format:
    """The format that the request's `Accept` prefers; JSON where it names none of ours."""
    best: tuple[float, Format] = (0.0, "json")
    for part in request.headers.get("accept", "").split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        weight = next((_weight(piece) for piece in parameters if piece.startswith("q=")), 1.0)
        if name in _MEDIA and weight > best[0]:
            best = (weight, _MEDIA[name])
    return best[1]


def stream(
    form: Literal["csv", "ndjson"], columns: Sequence[str], chunks: Chunks, principal: Principal | None = None
) -> StreamingResponse:
    """All rows of `chunks`. An error on the way breaks the connection off: nobody takes a part for the whole. What it gives out
    whole to `principal` is in the journal, also when it broke off."""
    if principal is not None:
        chunks = noted(chunks, principal)
    headers = {"Content-Disposition": f'attachment; filename="acuse.{form}"', "X-Content-Type-Options": "nosniff"}
    if form == "csv":
        return StreamingResponse(_csv(columns, chunks), media_type="text/csv; charset=utf-8", headers=headers)
    return StreamingResponse(_ndjson(chunks), media_type="application/x-ndjson", headers=headers)


def document(
    chunks: Chunks, head: Mapping[str, Any], tail: Callable[[], Mapping[str, Any]] = dict
) -> StreamingResponse:
    """One JSON object, as a stream: `head`, all rows of `chunks` as `items`, and `tail`, which is asked when they are over."""
    return StreamingResponse(_document(chunks, head, tail), media_type="application/json")


async def noted(chunks: AsyncIterator[Any], principal: Principal) -> AsyncIterator[Any]:
    """`chunks`, whose whole numbers `principal` counts, with one entry in the journal when they end or break off."""
    given = principal.given
    if given is None:
        async for rows in chunks:
            yield rows
        return
    given.begin_stream()
    ended = False
    try:
        async for rows in chunks:
            yield rows
        ended = True
    finally:
        given.end_stream(ended=ended)


async def _csv(columns: Sequence[str], chunks: Chunks) -> AsyncIterator[bytes]:
    yield _lines([columns])
    async for rows in _some(chunks):
        yield _lines([_cell(row.get(name)) for name in columns] for row in rows)


async def _ndjson(chunks: Chunks) -> AsyncIterator[bytes]:
    async for rows in _some(chunks):
        yield b"".join(orjson.dumps(row, default=str, option=_NDJSON) for row in rows)


async def _document(
    chunks: Chunks, head: Mapping[str, Any], tail: Callable[[], Mapping[str, Any]]
) -> AsyncIterator[bytes]:
    before = _members(head) + b'"items":['
    yield b"{"
    async for rows in _some(chunks):
        yield before + orjson.dumps(rows, default=str, option=orjson.OPT_UTC_Z)[1:-1]
        before = b","
    yield (b"" if before == b"," else before) + b"]"
    if last := _members(tail()):
        yield b"," + last[:-1]
    yield b"}"


def _members(part: Mapping[str, Any]) -> bytes:
    """Of an object, each with a comma behind it."""
    return orjson.dumps(part, default=str, option=orjson.OPT_UTC_Z)[1:-1] + b"," if part else b""


async def _some(chunks: Chunks) -> Chunks:
    """A few rows at a time: writing a thousand would hold up the event loop."""
    async for rows in chunks:
        for first in range(0, len(rows), _ROWS):
            yield rows[first : first + _ROWS]
            await asyncio.sleep(0)


def _lines(rows: Iterable[Sequence[str]]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer).writerows(rows)
    return buffer.getvalue().encode()


def _cell(value: object) -> str:
    """One value as CSV writes it: times RFC 3339, booleans `true`/`false`, nothing for None, JSON of objects, no formulas."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, dict | list):
        return _json(orjson.dumps(value, default=str, option=orjson.OPT_UTC_Z).decode())
    text = str(value)
    if not _RISKY.search(text) or _NUMBER.fullmatch(text):
        return text
    safe = _BEGINNING.sub(_defused, text)
    return safe if safe.startswith("'") or (safe == text and not text.startswith(_BEGINS_WITH)) else f"'{safe}"


def _defused(found: re.Match[str]) -> str:
    """With an apostrophe wherever a cell or a part of one may begin before the sign."""
    sign = found[1]
    if sign is None:
        return found[0]
    before = found[0][:-1]
    part = max(map(before.rfind, ";,|")) + 1
    begins = "'" if part or not found.start() else ""
    unseen = before[part:]
    return f"{before[:part]}{begins}{unseen and _LINE_END.sub(_BEHIND, unseen)}{sign}"


def _json(text: str) -> str:
    """An object or a list: it begins with no sign, and a sign behind what parts cells elsewhere is written as JSON's escape.
    So it is the same JSON."""
    if not _RISKY.search(text):
        return text
    return _TEXT.sub(lambda found: _SIGN.sub(_escaped, found[0]), text)


def _escaped(found: re.Match[str]) -> str:
    return f"{found[1]}\\u{ord(found[2]):04x}"


def _weight(parameter: str) -> float:
    try:
        return float(parameter[2:])
    except ValueError:
        return 0.0
