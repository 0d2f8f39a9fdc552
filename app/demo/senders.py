"""The two simulated gateways: they call back over real HTTP when it is time, and again when they get no 2xx."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import httpx

from app.demo.plan import Message, Report, Side

#: Providers that call with JSON usually gather what happens meanwhile; Kannel calls once a receipt.
_BATCH: Mapping[Side, int] = {"json": 50, "kannel": 1}
_GATHER_SECONDS: Mapping[Side, float] = {"json": 0.1, "kannel": 0.0}
_CONNECTIONS: Mapping[Side, int] = {"json": 2, "kannel": 8}
_TIMEOUT_SECONDS = 60.0
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
        line: Line,
        messages: Sequence[Message],
        *,
        acknowledged: Callable[[Report], None],
    ) -> None:
        self._line = line
        self._messages = {message.number: message for message in messages if message.side == line.side}
        reports = [report for message in self._messages.values() for report in message.reports]
        self._due = deque(sorted(reports, key=lambda report: report.at))
        self._acknowledged = acknowledged

    async def run(self) -> None:
        """Until all is acknowledged. Raises `GaveUp`."""
        self._began, self._began_at = time.monotonic(), datetime.now(UTC).timestamp()
        async with asyncio.TaskGroup() as group:
            for _ in range(_CONNECTIONS[self._line.side]):
                group.create_task(self._connection())

    async def _connection(self) -> None:
        """A client for each connection: looking for a free one among many costs more than the call."""
        side, clear = self._line.side, not self._line.url.startswith("https:")
        async with httpx.AsyncClient(timeout=_TIMEOUT_SECONDS, trust_env=False, verify=not clear) as client:
            while self._due:
                batch = [self._due.popleft()]
                await asyncio.sleep(self._began + batch[0].at + _GATHER_SECONDS[side] - time.monotonic())
                now = time.monotonic() - self._began
                while self._due and self._due[0].at <= now and len(batch) < _BATCH[side]:
                    batch.append(self._due.popleft())
                await self._until_acknowledged(client, batch)
                for report in batch:
                    self._acknowledged(report)

    async def _until_acknowledged(self, client: httpx.AsyncClient, batch: Sequence[Report]) -> None:
        for _ in range(_TRIES):
            try:
                response = await client.send(self._request(client, batch))
            except httpx.TransportError:
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            if response.is_success:
                return
            if response.status_code != 503:
                raise GaveUp(f"{self._line.key} got {response.status_code}: {response.text[:300]}")
            await asyncio.sleep(float(response.headers.get("retry-after", _PAUSE_SECONDS)))
        raise GaveUp(f"{self._line.key} got no 2xx in {_TRIES} tries")

    def _request(self, client: httpx.AsyncClient, batch: Sequence[Report]) -> httpx.Request:
        if self._line.side == "json":
            headers = {"X-Acuse-Token": self._line.token}
            return client.build_request(
                "POST", self._line.url, json=[self._row(report) for report in batch], headers=headers
            )
        (report,) = batch
        return client.build_request("GET", f"{self._line.url}?{urlencode(self._parameters(report))}")

    def _row(self, report: Report) -> dict[str, Any]:
        at = datetime.fromtimestamp(self._began_at + report.happened, UTC)
        row = {"provider_message_id": self._id(report), "status": report.word, "occurred_at": at.isoformat()}
        if report.failure:
            row |= {"error_code": report.failure.code or "", "error_text": report.failure.text or ""}
        return row

    def _parameters(self, report: Report) -> dict[str, str]:
        """Those of the dlr-url that `app/gateways/kannel.py` says to paste."""
        id, meta = self._id(report), report.failure.meta if report.failure else None
        return {
            "token": self._line.token, "type": report.word, "fid": id, "smsc": "demo", "from": "Acuse",
            "to": self._messages[report.message].address, "ts": str(int(self._began_at + report.happened)),
            "reply": _reply(report, id), "meta": f"?smpp?dlr_err={meta}" if meta else "",
        }  # fmt: skip

    def _id(self, report: Report) -> str:
        return received_id(report.side, self._messages[report.message].ids[report.part - 1])


def _reply(report: Report, id: str) -> str:
    """What the SMSC said (%A): the text of a receipt, or the reason why it took no message."""
    if report.failure is None or (report.failure.text or "").startswith("NACK/"):
        return (report.failure.text or "") if report.failure else ""
    stat, err = (report.failure.text or "").split()
    return f"id:{id} sub:001 dlvrd:000 submit date:2611230800 done date:2611230801 stat:{stat} err:{err} text:"
