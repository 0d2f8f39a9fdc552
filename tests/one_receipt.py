"""`python -m tests.one_receipt` follows one receipt through the service and writes its way down as docs/one-receipt.md.

A service of its own, on a real PostgreSQL, is called back once over a socket. Meanwhile every call of a Python function is
seen: a step stands on the page because it was called, in this order, and not because somebody thinks so. What a step is
said to do is the first sentence of the function's own docstring. Times, which differ from run to run, are written as one moment.
"""

import argparse
import asyncio
import importlib
import inspect
import os
import re
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import httpx
import orjson
import uvicorn

from app import embedded, migrate
from app.gateways.receipt import Receipt
from app.server.config import config_of
from app.settings import Settings

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "one-receipt.md"
TOKEN, ADMIN_KEY = "a-token-of-the-gateway", "an-admin-key-of-this-walk"
#: What is written for the moment of the receipt, and for all others.
HAPPENED, NOW = "2026-03-04T10:15:42Z", "2026-03-04T10:15:43Z"
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00)")
_TRIES, _PAUSE_SECONDS = 1_200, 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    title: str
    says: str
    #: Functions, as `module:name`, in the order in which they are called; those behind one that has something to show.
    steps: Sequence[str]


CHAPTERS = (
    Chapter(
        title="The callback",
        says="The gateway calls, and what it says is proved and read. Nothing of the framework stands in the way.",
        steps=(
            "app.server.seats:Seats.take",
            "app.server.protocol:Protocol.data_received",
            "app.server.protocol:Protocol.on_headers_complete",
            "app.main:Acuse.__call__",
            "app.ingest.callbacks:callbacks",
            "app.ingest.callbacks:_taken",
            "app.accounts.directory:GatewayDirectory.get",
            "app.ingest.callbacks:_read",
            "app.ingest.callbacks:_callback",
            "app.gateways.auth:verified",
            "app.ingest.batches:fault",
            "app.gateways.generic:parse",
            "app.gateways.generic:_receipt",
        ),
    ),
    Chapter(
        title="Durable, then answered",
        says="The receipt becomes a row of the inbox, and the gateway hears of it once that is committed.",
        steps=(
            "app.ingest.callbacks:take",
            "app.ingest.rows:inbox_row",
            "app.ingest.rows:fingerprint",
            "app.ingest.inbox:Inbox.put",
            "app.ingest.group_commit:GroupCommit.add",
            "app.ingest.inbox:Inbox._make_durable",
            "app.ingest.store:append",
            "app.server.whole:Whole.send",
        ),
    ),
    Chapter(
        title="Applied",
        says="A worker, in this process or another, takes what waits. All of it is one transaction: either the receipt is a fact "
        "and everything that follows from it stands, or it waits in the inbox as before.",
        steps=(
            "app.ingest.worker:Worker.step",
            "app.ingest.applying:Applier.step",
            "app.ingest.pipeline:apply",
            "app.ingest.store:claim",
            "app.ingest.pipeline:meet",
            "app.ingest.pipeline:qualify",
            "app.ingest.pipeline:record",
            "app.projections.fold:fold",
            "app.messages.store:refold",
            "app.projections.fold:learn",
            "app.quarantine.breaker:learn",
            "app.quarantine.store:reexamine",
            "app.quarantine.rules:health",
            "app.ingest.pipeline:book",
            "app.ingest.pipeline:note_first_receipts",
            "app.ingest.store:finish",
        ),
    ),
    Chapter(
        title="Read",
        says="Somebody asks what became of the message.",
        steps=(
            "app.messages.api:read_message",
            "app.messages.reading:details",
            "app.messages.reading:known_facts",
            "app.messages.timeline:timeline",
            "app.messages.states:fold",
        ),
    ),
)


class Moved(Exception):
    """A step is not where the page says, or is no longer taken."""


# --- what is called --------------------------------------------------------------------------------------------------


def function(step: str) -> Callable[..., Any]:
    """What a step names. Raises `Moved` when there is no such function."""
    module, _, path = step.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for name in path.split("."):
            found = getattr(found, name)
    except (ImportError, AttributeError):
        raise Moved(f"There is no {step} any more.") from None
    unwrapped: Callable[..., Any] = inspect.unwrap(found)
    return unwrapped


def sentence(step: str) -> str:
    """The first sentence of its docstring. Raises `Moved` when it says none."""
    said = " ".join((inspect.getdoc(function(step)) or "").split())
    first = re.match(r".*?\.(?= |$)", said)
    if first is None:
        raise Moved(f"{step} has no docstring that begins with a sentence.")
    return first[0]


class Calls:
    """A profile function: which of `steps` were called, one after the other, and what each returned in the end."""

    def __init__(self, steps: Sequence[str]) -> None:
        self.names: list[str] = []
        self.returned: dict[str, Any] = {}
        self._steps: Mapping[CodeType, str] = {function(step).__code__: step for step in steps}
        #: A coroutine is called once and resumed often. They are kept, so that no other gets the id of one.
        self._frames: dict[int, FrameType] = {}

    def __call__(self, frame: FrameType, event: str, value: Any) -> None:
        step = self._steps.get(frame.f_code)
        if step is None:
            return
        if event == "call" and id(frame) not in self._frames:
            self._frames[id(frame)] = frame
            self.names.append(step)
        elif event == "return":
            self.returned[step] = value


def in_order(steps: Sequence[str], called: Sequence[str]) -> None:
    """Raises `Moved` unless the last calls of `steps` came in their order. (The last: a worker also looks when nothing waits.)"""
    end, after = len(called), "the end"
    for step in reversed(steps):
        places = [place for place in range(end) if called[place] == step]
        if not places:
            raise Moved(f"{step} was not called before {after}.")
        end, after = places[-1], step


# --- the walk --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    body: bytes
    answer: httpx.Response
    calls: Calls
    message: Mapping[str, Any]
    happened: str


async def walk(url: str, data_dir: Path) -> Walk:
    """One receipt's way through a service on the empty database at `url`."""
    settings = Settings(data_dir=data_dir, port=0, database_url=url)
    os.environ |= {"ACUSE_DATABASE_URL": url, "ACUSE_DATA_DIR": str(data_dir), "ACUSE_ADMIN_KEY": ADMIN_KEY}
    config = config_of(settings, "app.main:from_environment")
    server, socket = uvicorn.Server(config), config.bind_socket()
    calls = Calls([step for chapter in CHAPTERS for step in chapter.steps])
    threading.setprofile(calls)  # of threads that are still to begin: what folds for a reader is one of them
    serving = asyncio.create_task(server.serve(sockets=[socket]))
    try:
        await _until(lambda: asyncio.sleep(0, server.started))
        return await _walked(f"http://127.0.0.1:{socket.getsockname()[1]}", calls)
    finally:
        server.should_exit = True
        await serving


async def _walked(url: str, calls: Calls) -> Walk:
    admin = {"Authorization": f"Bearer {ADMIN_KEY}"}
    async with httpx.AsyncClient(base_url=url, headers=admin) as client:
        gateway = {"key": "acme", "kind": "generic", "auth": {"mode": "token", "secrets": [TOKEN]}}
        await _ok(client.post("/v1/gateways", json=gateway))
        await _ok(client.post("/v1/deliveries", json={"label": "First delivery", "sender": "Acme", "gateway": "acme"}))
        message = {"address": "+447700900001", "provider_message_id": "m-1"}
        await _ok(client.post("/v1/deliveries/1/messages", json=[message]))
        happened = (datetime.now(UTC) + timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        body = b'{"provider_message_id": "m-1", "status": "EXPIRED", "occurred_at": "%s"}' % happened.encode()
        sys.setprofile(calls)
        try:
            async with httpx.AsyncClient(base_url=url) as provider:  # a connection of its own
                told = {"X-Acuse-Token": TOKEN, "Content-Type": "application/json"}
                answer = await _ok(provider.post("/callbacks/acme", content=body, headers=told))
            await _until(lambda: _processed(client))
            (found,) = (await _ok(client.get("/v1/deliveries/1/messages"))).json()["items"]
            read = (await _ok(client.get(f"/v1/messages/{found['id']}"))).json()
        finally:
            sys.setprofile(None)
    return Walk(body=body, answer=answer, calls=calls, message=read, happened=happened)


async def _processed(client: httpx.AsyncClient) -> bool:
    return bool((await _ok(client.get("/v1/deliveries/1/summary"))).json()["processed"])


async def _until(reached: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(_TRIES):
        if await reached():
            return
        await asyncio.sleep(_PAUSE_SECONDS)
    raise TimeoutError("The service did not come to it.")


async def _ok(request: Any) -> httpx.Response:
    response: httpx.Response = await request
    response.raise_for_status()
    return response


# --- the page --------------------------------------------------------------------------------------------------------


def page(walked: Walk) -> str:
    """The page. Raises `Moved` when a step was not taken, or not in its place."""
    lines = [
        "# One receipt's way",
        "",
        "<!-- Made by `python -m tests.one_receipt`; a test makes it again and compares. -->",
        "",
        "A receipt was posted to a real service, and every function named here was seen to be called, in this order. What",
        "each does is the first sentence of its own docstring; the file behind the link says more. The rooms that the road",
        "leads through are drawn in [architecture](architecture.md). Fields that are null are left out, and times are",
        "written as one moment.",
        "",
    ]
    number = 0
    shown = _shown(walked)
    in_order([chapter.steps[-1] for chapter in CHAPTERS], walked.calls.names)
    for chapter in CHAPTERS:
        in_order(chapter.steps, walked.calls.names)
        lines += [f"## {chapter.title}", "", chapter.says, *shown.get(chapter.title, [""])]
        for step in chapter.steps:
            number += 1
            lines += [f"{number}. {_link(step)}: {sentence(step)}", *_indented(shown.get(step, []))]
        if lines[-1]:
            lines.append("")
    return _still("\n".join(lines).rstrip() + "\n", walked.happened)


def _link(step: str) -> str:
    module, _, name = step.partition(":")
    shown = name if "." in name else f"{module.rpartition('.')[2]}.{name}"
    return f"[`{shown}`](../{module.replace('.', '/')}.py)"


def _shown(walked: Walk) -> dict[str, list[str]]:
    """What is telling of the receipt itself, behind the heading or the step."""
    (receipt,) = walked.calls.returned["app.gateways.generic:parse"]
    row = walked.calls.returned["app.ingest.rows:inbox_row"]
    verified = walked.calls.returned["app.gateways.auth:verified"]
    assert verified is True
    called = f"POST /callbacks/acme\nX-Acuse-Token: {TOKEN}\nContent-Type: application/json\n\n{walked.body.decode()}"
    answered = f"HTTP/1.1 {walked.answer.status_code} {walked.answer.reason_phrase}"
    message = orjson.dumps(_without_nulls(walked.message), option=orjson.OPT_INDENT_2).decode()
    return {
        "The callback": _block("http", called),
        "app.gateways.generic:parse": _block("python", _receipt(receipt)),
        "app.ingest.rows:inbox_row": _block("python", _set(row._asdict(), type(row).__name__)),
        "app.server.whole:Whole.send": _block("http", answered),
        "app.messages.states:fold": _block("json", message),
    }


def _receipt(receipt: Receipt) -> str:
    return _set({each.name: getattr(receipt, each.name) for each in fields(receipt)}, "Receipt")


def _set(values: Mapping[str, Any], name: str) -> str:
    """Those that are set, as they would be written."""
    kept = {key: value for key, value in values.items() if value is not None and value != {}}
    kept |= {"fingerprint": ...} if "fingerprint" in kept else {}  # it differs with the time
    lines = [f"    {key}={_written(value)}," for key, value in kept.items()]
    return "\n".join([f"{name}(", *lines, ")"])


def _written(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    return "..." if value is ... else repr(str(value) if isinstance(value, str) else value)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value


def _block(language: str, text: str) -> list[str]:
    return ["", f"```{language}", *text.splitlines(), "```", ""]


def _indented(lines: Sequence[str]) -> list[str]:
    return [line and f"    {line}" for line in lines]


def _still(text: str, happened: str) -> str:
    """`text` with one moment for all times, whole hours apart, but for that of the receipt."""
    at = datetime.fromisoformat(happened)

    def fixed(found: re.Match[str]) -> str:
        apart = datetime.fromisoformat(found[0]) - at
        if not apart:
            return HAPPENED
        moment = datetime.fromisoformat(NOW) + timedelta(hours=round(apart / timedelta(hours=1)))
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

    return _TIME.sub(fixed, text)


def written(url: str, to: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="acuse-walk-") as folder:
        walked = asyncio.run(walk(url, Path(folder)))
    to.write_text(page(walked), "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="an empty, migrated database; without it a throw-away server is started")
    parser.add_argument("--to", type=Path, default=PAGE)
    asked = parser.parse_args()
    if asked.url:
        written(asked.url, asked.to)
        return
    with embedded.temporary({"fsync": "off"}) as server:
        asyncio.run(migrate.upgrade(server.url))
        written(server.url, asked.to)


if __name__ == "__main__":
    main()
