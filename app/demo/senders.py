"""The two simulated gateways: they call back over real HTTP when it is time, and again when they get no 2xx."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx

from app.demo.plan import Message, Report, Side

#: Providers that call with JSON usually gather what happened in the meantime.
_BATCH = {"json": 25, "kannel": 1}
_CONNECTIONS = {"json": 4, "kannel": 16}
_TRIES = 8
_PAUSE_SECONDS = 1.0
#: Kannel writes the ids of submissions in hexadecimal, and those of receipts in decimal; the service is told so.
OPTIONS: Mapping[Side, dict[str, Any]] = {
    "json": {},
    "kannel": {"submission_id_format": "hexadecimal", "receipt_id_format": "decimal"},
}
KINDS: Mapping[Side, str] = {"json": "generic", "kannel": "kannel"}
NAMES: Mapping[Side, str] = {"json": "Demo JSON", "kannel": "Demo Kannel"}


class GaveUp(Exception):
    """A callback got no 2xx."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Where one gateway calls, and with what."""

    side: Side
    key: str
    url: str
    token: str


def submitted_id(side: Side, number: int) -> str:
    """A provider message id as the answer to a submission writes it."""
    return f"{number:08X}" if side == "kannel" else f"demo-{number}"


def received_id(side: Side, number: int) -> str:
    """The same id as receipts write it."""
    return str(number) if side == "kannel" else f"demo-{number}"


class Sender:
    """One gateway: sends the reports about `messages`, each when it is due, in `began` + their seconds."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        line: Line,
        messages: Sequence[Message],
        *,
        acknowledged: Callable[[Report], None],
    ) -> None:
        self._client = client
        self._line = line
        self._messages = {message.number: message for message in messages if message.side == line.side}
        reports = [report for message in self._messages.values() for report in message.reports]
        self._due = deque(sorted(reports, key=lambda report: report.at))
        self._acknowledged = acknowledged
        self._send: Callable[[Sequence[Report]], Awaitable[httpx.Response]] = (
            self._send_json if line.side == "json" else self._send_kannel
        )
        self.total = len(reports)

    async def run(self) -> None:
        """Until all is acknowledged. Raises `GaveUp`."""
        self._began, self._began_at = time.monotonic(), datetime.now(UTC).timestamp()
        async with asyncio.TaskGroup() as group:
            for _ in range(_CONNECTIONS[self._line.side]):
                group.create_task(self._connection())

    async def _connection(self) -> None:
        while self._due:
            batch = [self._due.popleft()]
            await asyncio.sleep(self._began + batch[0].at - time.monotonic())
            now = time.monotonic() - self._began
            while self._due and self._due[0].at <= now and len(batch) < _BATCH[self._line.side]:
                batch.append(self._due.popleft())
            await self._until_acknowledged(batch)
            for report in batch:
                self._acknowledged(report)

    async def _until_acknowledged(self, batch: Sequence[Report]) -> None:
        for _ in range(_TRIES):
            try:
                response = await self._send(batch)
            except httpx.TransportError:
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            if response.is_success:
                return
            if response.status_code != 503:
                raise GaveUp(f"{self._line.key} got {response.status_code}: {response.text[:300]}")
            await asyncio.sleep(float(response.headers.get("retry-after", _PAUSE_SECONDS)))
        raise GaveUp(f"{self._line.key} got no 2xx in {_TRIES} tries")

    async def _send_json(self, batch: Sequence[Report]) -> httpx.Response:
        rows = [self._row(report) for report in batch]
        return await self._client.post(self._line.url, json=rows, headers={"X-Acuse-Token": self._line.token})

    def _row(self, report: Report) -> dict[str, Any]:
        at = datetime.fromtimestamp(self._began_at + report.happened, UTC)
        row = {"provider_message_id": self._id(report), "status": report.word, "occurred_at": at.isoformat()}
        if report.failure:
            row |= {"error_code": report.failure.code or "", "error_text": report.failure.text or ""}
        return row

    async def _send_kannel(self, batch: Sequence[Report]) -> httpx.Response:
        (report,) = batch
        message, at = self._messages[report.message], int(self._began_at + report.happened)
        params = {
            "token": self._line.token, "type": report.word, "fid": self._id(report), "smsc": "demo", "from": "Acuse",
            "to": message.address, "ts": str(at), "reply": _reply(report, self._id(report)), "meta": "",
        }  # fmt: skip
        if report.failure and report.failure.meta:
            params["meta"] = f"?smpp?dlr_err={report.failure.meta}"
        return await self._client.get(self._line.url, params=params)

    def _id(self, report: Report) -> str:
        return received_id(report.side, self._messages[report.message].ids[report.part - 1])


def _reply(report: Report, id: str) -> str:
    """What the SMSC said (%A): the text of a receipt, or the reason why it took no message."""
    if report.failure is None or (report.failure.text or "").startswith("NACK/"):
        return (report.failure.text or "") if report.failure else ""
    stat, err = (report.failure.text or "").split()
    return f"id:{id} sub:001 dlvrd:000 submit date:2611230800 done date:2611230801 stat:{stat} err:{err} text:"
