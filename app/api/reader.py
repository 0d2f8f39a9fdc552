"""The one reader of what comes from outside as JSON or rows: judged by its bytes before anything is built from it.

Depth, digits, exponents and the number of values are bounded (`gateways/bounds.py`, which callbacks share), rows and
bodies in bytes by the settings. Nothing here holds the event loop for long: bodies are read in pieces, and between
them others have their turn.
"""

import asyncio
from codecs import BOM_UTF8
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from time import monotonic
from typing import Any, NamedTuple, TypeVar

import orjson
from pydantic import TypeAdapter, ValidationError
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from app.api import wording
from app.gateways import bounds
from app.logs import log
from app.numbers import normalise, unread, why_not

#: What is worked on at a time: even where each byte is a row of its own, that takes some milliseconds.
PIECE_BYTES = 16_384
#: Values of one ordinary body, and of one row that is checked as a model: the largest lists have a thousand.
MOST_VALUES = 5_000
#: Others wait no longer than this for a turn.
TURN_SECONDS = 0.003
_LARGE_BYTES = 65_536
TOO_LONG = "The row is too long."
ResultT = TypeVar("ResultT")


# --- bodies ----------------------------------------------------------------------------------------------------------


class Pace:
    """Gives the event loop to others when it was held for long enough."""

    __slots__ = ("_since",)

    def __init__(self) -> None:
        self._since = monotonic()

    async def turn(self) -> None:
        if monotonic() - self._since > TURN_SECONDS:
            await asyncio.sleep(0)
            self._since = monotonic()


async def pieces(body: AsyncIterable[bytes], size: int = PIECE_BYTES) -> AsyncIterator[bytes]:
    """`body` in pieces of at most `size` bytes, however it came; between them others have their turn."""
    pace = Pace()
    async for data in body:
        for start in range(0, len(data), size):
            yield data[start : start + size]
            await pace.turn()


async def by_size(size: int, read: Callable[..., ResultT], *arguments: Any) -> ResultT:
    """What `read` makes of a body of `size` bytes: a thread reads a large one, beside the event loop."""
    if size <= _LARGE_BYTES:
        return read(*arguments)
    return await asyncio.to_thread(read, *arguments)


async def body_fault(body: bytes) -> str | None:
    """What keeps an ordinary JSON body from being read, as a sentence; None when nothing does."""
    found = await by_size(len(body), _body_fault, body)
    return found and f"The body {found}."


class BodyRefused(HTTPException):
    """400 or 413 with a sentence. As `HTTPException`, for that is what FastAPI lets through while it reads a body."""


def bounded(receive: Receive, most: int, *, json: bool) -> Receive:
    """`receive` for a body of at most `most` bytes, read whole; JSON is judged before anybody parses it. Raises
    `BodyRefused`."""
    done = False

    async def whole() -> Message:
        nonlocal done
        if done:
            return await receive()
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return message
            body += message.get("body", b"")
            if len(body) > most:
                raise BodyRefused(413, "The body is too large.")
            if not message.get("more_body", False):
                break
        done = True
        read = bytes(body.removeprefix(BOM_UTF8) if json else body)
        if json and (fault := await body_fault(read)):
            raise BodyRefused(400, fault)
        return {"type": "http.request", "body": read, "more_body": False}

    return whole


def _body_fault(body: bytes) -> str | None:
    return bounds.values_fault(body, MOST_VALUES) or bounds.fault(body)


# --- rows ------------------------------------------------------------------------------------------------------------


class Line(NamedTuple):
    """One row of a bulk body: bytes of JSON (NDJSON, JSON arrays), or an object of CSV, all of its values text."""

    number: int
    value: bytes | Mapping[str, Any]
    csv: bool = False

    def read(self) -> Any:
        """What the row says. Raises `RowRefused` with a sentence that repeats nothing of it."""
        return read_json(self.value) if isinstance(self.value, bytes) else self.value

    def model(self, adapter: TypeAdapter[Any]) -> Any:
        """The row, checked by `adapter`. Raises `RowRefused` with a sentence that repeats nothing of its values."""
        value = self.value
        try:
            if not isinstance(value, bytes):
                return adapter.validate_python(value)
            if found := _body_fault(value):
                raise RowRefused(f"The row {found}.")
            return adapter.validate_json(value)
        except ValidationError as error:
            raise RowRefused(sentence(error)) from None


class BadRow(NamedTuple):
    number: int
    detail: str


class RowRefused(ValueError):
    """What is wrong with a row, as a sentence that repeats nothing of its values: its sender is told."""


def read_json(row: bytes) -> Any:
    """Raises `RowRefused` with a sentence."""
    if found := bounds.depth_fault(row):
        raise RowRefused(f"The row {found}.")
    try:
        return orjson.loads(row)
    except orjson.JSONDecodeError:
        raise RowRefused(f"The row {bounds.fault(row) or 'is not JSON'}.") from None


def read_address(given: str, region: str | None) -> str:
    """The address of a row. Raises `RowRefused`, which says what to add."""
    address = normalise(given, region)
    if address is None:
        raise RowRefused(f"address: {unread(why_not(given, region), region)}")
    return address


def sentence(error: ValidationError) -> str:
    """The first thing that is wrong, with the field's name and without a value."""
    first = error.errors(include_url=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return "The row is not JSON."
    if not first["loc"] and first["type"] in ("model_type", "model_attributes_type", "dict_type"):
        return "The row is not a JSON object."
    return wording.named(first["loc"], wording.fault(first))


def detail_of(error: Exception) -> str:
    """What the sender of a row is told. What a row raises besides `RowRefused` is our mistake, and costs no other row:
    the log has it."""
    if isinstance(error, RowRefused):
        return str(error)
    log.error("bulk.row_failed", exc_info=error)
    return "The row cannot be taken."
