"""The demo from the delivery's creation to the proof that its books balance."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import httpx
import orjson
import typer

from app.demo import service as services
from app.demo.plan import MOST_MESSAGES, Books, Message, Report, Side, Totals, plan
from app.demo.senders import KINDS, NAMES, OPTIONS, GaveUp, Line, Sender, submitted_id
from app.demo.service import NoService, Service
from app.demo.show import Screen
from app.settings import Settings

MESSAGES = 20_000
SECONDS = 25.0
SEED = 1
#: How long the service may take to apply what it acknowledged, after the last receipt.
CATCH_UP_SECONDS = 60.0
_ROWS = 2_000
_TIMEOUT_SECONDS = 60.0


class Unexpected(Exception):
    """The service answered what the demo did not expect."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    service: Service
    delivery_id: str
    lines: Sequence[Line]
    #: What the gateways did, and what the service says of it.
    did: Totals
    summary: dict[str, Any]
    drift: int | float
    receipts: int
    #: Ids that waited for their submission before it was told.
    waited: int
    to_qualify: Sequence[str]

    @property
    def differences(self) -> list[str]:
        return self.did.differences(self.summary)

    @property
    def good(self) -> bool:
        return not self.differences and self.drift == 0


def main(
    messages: Annotated[int, typer.Option(min=1, max=MOST_MESSAGES, help="How many messages.")] = MESSAGES,
    seconds: Annotated[float, typer.Option(min=1, max=3_600, help="In how many seconds the receipts come.")] = SECONDS,
    seed: Annotated[int, typer.Option(help="Another seed, another story; the same, the same.")] = SEED,
    key: Annotated[str | None, typer.Option(help="API key (scope admin) of a service that runs already.")] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="For the demo's own service. Default: demo in the data directory.")
    ] = None,
) -> None:
    """A delivery on two simulated gateways, on the service that runs here or on one of the demo's own.

    Ends with exit code 1 unless the service's figures are those of the gateways and recomputing finds no drift."""
    screen = Screen()
    try:
        result = asyncio.run(
            demonstrate(screen, messages=messages, seconds=seconds, seed=seed, key=key, data_dir=data_dir)
        )
    except* (NoService, GaveUp, Unexpected, httpx.HTTPError) as group:
        for error in _each(group):
            screen.failed(f"{type(error).__name__}: {error}")
        raise SystemExit(1) from None
    screen.results(result)
    if not result.good:
        raise SystemExit(1)


def _each(group: BaseExceptionGroup[Exception]) -> Iterator[Exception]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _each(error)
        else:
            yield error


async def demonstrate(
    screen: Screen, *, messages: int, seconds: float, seed: int, key: str | None, data_dir: Path | None
) -> Result:
    planned = plan(messages, seconds=seconds, seed=seed)
    settings = Settings()
    async with _service(screen, settings, key, data_dir or settings.data_dir / "demo") as service, _api(service) as api:
        return await _Demo(screen, service, api, planned).run()


@asynccontextmanager
async def _service(screen: Screen, settings: Settings, key: str | None, data_dir: Path) -> AsyncIterator[Service]:
    if found := await services.running(settings, key):
        screen.say(f"Using the service at {found.url}.")
        yield found
        return
    screen.say(f"Starting a service of the demo's own; its data is in {data_dir}.")
    async with services.own(data_dir) as service:
        yield service


@asynccontextmanager
async def _api(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {service.key}"}
    async with httpx.AsyncClient(
        base_url=service.url,
        headers=headers,
        timeout=_TIMEOUT_SECONDS,
        trust_env=False,
        verify=service.url.startswith("https:"),
    ) as client:
        yield client


class _Demo:
    """One run. `api` carries the key; the gateways have connections of their own, without it."""

    def __init__(self, screen: Screen, service: Service, api: httpx.AsyncClient, messages: Sequence[Message]) -> None:
        self._screen = screen
        self._service = service
        self._api = api
        self._messages = messages
        self._books = Books(messages)
        self._run = f"{time.time_ns() // 1_000_000:x}"
        self._early_open = sum(len(message.reports) for message in messages if message.early)
        self._early_done = asyncio.Event()
        self._by_number = {message.number: message for message in messages}
        self._waited = 0

    async def run(self) -> Result:
        lines = {side: await self._create_gateway(side) for side in KINDS}
        delivery = await self._post(
            "/v1/deliveries", {"label": "Demo", "sender": "Acuse", "gateway": lines["json"].key}
        )
        id = str(delivery["id"])
        self._submitted_at = datetime.now(UTC)
        await self._record(id, lines)
        await self._receive(id, lines)
        summary = await self._settled(id)
        recomputed = await self._post(f"/v1/deliveries/{id}/recompute", None)
        return Result(
            service=self._service, delivery_id=id, lines=tuple(lines.values()), did=self._books.totals(), summary=summary,
            drift=recomputed["drift"], receipts=self._books.acknowledged, waited=self._waited,
            to_qualify=await self._to_qualify(),
        )  # fmt: skip

    # --- before ----------------------------------------------------------------------------------------------------

    async def _create_gateway(self, side: Side) -> Line:
        """Each run has gateways of its own: they share no ids with those of runs before."""
        token = secrets.token_urlsafe(16)
        body = {
            "key": f"demo-{side}-{self._run}", "kind": KINDS[side], "label": NAMES[side], "implementation": NAMES[side],
            "options": OPTIONS[side], "auth": {"mode": "token", "secrets": [token]},
        }  # fmt: skip
        made = await self._post("/v1/gateways", body)
        # By the address where we found the service: its public URL may lead through the world.
        return Line(side=side, key=made["key"], url=f"{self._service.url}/callbacks/{made['key']}", token=token)

    async def _record(self, id: str, lines: dict[Side, Line]) -> None:
        """The messages, sent elsewhere, in bulk. Of those that are early only the reference is known by now."""
        with self._screen.bar("Messages recorded", len(self._messages)) as advance:
            for start in range(0, len(self._messages), _ROWS):
                rows = [self._message_row(each, lines) for each in self._messages[start : start + _ROWS]]
                await self._post_rows(f"/v1/deliveries/{id}/messages", rows)
                advance(len(rows))

    def _message_row(self, message: Message, lines: dict[Side, Line]) -> dict[str, Any]:
        row = {
            "address": message.address, "gateway": lines[message.side].key, "reference": self._reference(message),
            "submitted_at": self._submitted_at.isoformat(),
        }  # fmt: skip
        return row if message.early else row | {"provider_message_ids": _submitted_ids(message)}

    def _reference(self, message: Message) -> str:
        return f"{self._run}-{message.number}"

    # --- meanwhile -------------------------------------------------------------------------------------------------

    async def _receive(self, id: str, lines: dict[Side, Line]) -> None:
        total = sum(len(message.reports) for message in self._messages)
        with self._screen.bar("Receipts acknowledged", total) as advance:

            def acknowledged(report: Report) -> None:
                self._acknowledged(report)
                advance(1)

            watch = asyncio.create_task(self._watch(id))
            try:
                async with asyncio.TaskGroup() as group:
                    for line in lines.values():
                        group.create_task(Sender(line, self._messages, acknowledged=acknowledged).run())
                    group.create_task(self._submit_late(id, lines))
            finally:
                watch.cancel()

    def _acknowledged(self, report: Report) -> None:
        self._books.heard(report)
        if self._by_number[report.message].early:
            self._early_open -= 1
            if not self._early_open:
                self._early_done.set()

    async def _submit_late(self, id: str, lines: dict[Side, Line]) -> None:
        """Tells the ids of the early messages once all receipts about them are in: those find them now."""
        early = [message for message in self._messages if message.early]
        if not early:
            return
        await self._early_done.wait()
        self._waited = await self._count_waiting(early, lines)
        for start in range(0, len(early), _ROWS):
            rows = [self._submission_row(message, lines) for message in early[start : start + _ROWS]]
            await self._post_rows(f"/v1/deliveries/{id}/submissions", rows)
        self._screen.say(
            f"{self._waited} ids had receipts and no message; {len(early)} submissions told whose they are."
        )

    async def _count_waiting(self, early: Sequence[Message], lines: dict[Side, Line]) -> int:
        """Asked again for a moment, until the worker has come to the last of them."""
        expected, found = sum(len(message.ids) for message in early), 0
        for _ in range(50):
            found = sum([await self._unmatched(line) for line in lines.values()])
            if found >= expected:
                break
            await asyncio.sleep(0.1)
        return found

    async def _unmatched(self, line: Line) -> int:
        page = await self._get("/v1/receipts/unmatched", {"gateway": line.key, "limit": "1"})
        return int(page["total"] if page["total"] is not None else page["at_least"])

    def _submission_row(self, message: Message, lines: dict[Side, Line]) -> dict[str, Any]:
        return {
            "reference": self._reference(message), "gateway": lines[message.side].key,
            "provider_message_ids": _submitted_ids(message), "submitted_at": self._submitted_at.isoformat(),
        }  # fmt: skip

    async def _watch(self, id: str) -> None:
        """Shows what the service says while receipts come in."""
        while True:
            self._screen.live((await self._get(f"/v1/deliveries/{id}/summary"))["by_status"])
            await asyncio.sleep(1)

    # --- afterwards ------------------------------------------------------------------------------------------------

    async def _settled(self, id: str) -> dict[str, Any]:
        """The summary, once it says what the gateways did; or the last one, when it never does."""
        did, deadline = self._books.totals(), time.monotonic() + CATCH_UP_SECONDS
        while True:
            summary = await self._get(f"/v1/deliveries/{id}/summary")
            if not did.differences(summary) or time.monotonic() > deadline:
                return summary
            await asyncio.sleep(0.2)

    async def _to_qualify(self) -> list[str]:
        """Errors that nobody has qualified yet, as people read them."""
        page = await self._get("/v1/qualifications", {"state": "to_qualify", "limit": "1000"})
        names = tuple(NAMES.values())
        return [
            f"{row['status']} {row['error_code']}".strip() for row in page["items"] if row["implementation"] in names
        ]

    # --- the API ---------------------------------------------------------------------------------------------------

    async def _get(self, path: str, params: dict[str, str] | None = None) -> dict[str, Any]:
        return _answer(await self._api.get(path, params=params))

    async def _post(self, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        return _answer(await (self._api.post(path) if body is None else self._api.post(path, json=body)))

    async def _post_rows(self, path: str, rows: Sequence[dict[str, Any]]) -> None:
        body = b"\n".join(map(orjson.dumps, rows))
        answer = _answer(await self._api.post(path, content=body, headers={"Content-Type": "application/x-ndjson"}))
        if answer["rejected"]:
            raise Unexpected(f"{path} refused {answer['rejected']} rows: {answer['errors'][0]['detail']}")


def _submitted_ids(message: Message) -> list[str]:
    return [submitted_id(message.side, number) for number in message.ids]


def _answer(response: httpx.Response) -> dict[str, Any]:
    if not response.is_success:
        raise Unexpected(f"{response.request.url.path} answered {response.status_code}: {response.text[:300]}")
    body: dict[str, Any] = response.json()
    return body
