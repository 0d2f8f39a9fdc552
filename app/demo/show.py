"""What people see: a bar while it runs, tables at the end, and where to look next."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from app.demo.senders import NAMES

if TYPE_CHECKING:
    from app.demo.run import Result

_SHOWN_LIVE = ("received", "failed")


class Screen:
    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()
        self._progress: Progress | None = None

    def say(self, text: str) -> None:
        console = self._progress.console if self._progress else self._console
        console.print(escape(text))

    def failed(self, text: str) -> None:
        self._console.print(f"[red]{escape(text)}[/red]")

    @contextmanager
    def bar(self, text: str, total: int) -> Iterator[Callable[[int], None]]:
        """A bar for the block; call what it gives with how many more are done."""
        columns = (
            TextColumn("{task.description}"), BarColumn(bar_width=16), MofNCompleteColumn(), TimeElapsedColumn(),
            TextColumn("{task.fields[live]}"),
        )  # fmt: skip
        with Progress(*columns, console=self._console) as progress:
            self._progress = progress
            task = progress.add_task(text, total=total, live="")
            try:
                yield lambda count: progress.advance(task, count)
            finally:
                self._progress = None

    def live(self, by_status: Mapping[str, int]) -> None:
        """What the service's summary says now, beside the bar."""
        if self._progress is not None:
            text = " ".join(f"{status} {by_status[status]}" for status in _SHOWN_LIVE)
            for task in self._progress.task_ids:
                self._progress.update(task, live=text)

    def results(self, result: Result) -> None:
        self._console.print(_statuses(result), _failures(result))
        self._console.print(*_sentences(result), sep="\n", soft_wrap=True)
        # Lines to copy: no markup, no colour, and never broken by us.
        self._console.print("\n".join(_next(result)), markup=False, highlight=False, soft_wrap=True)


def _statuses(result: Result) -> Table:
    table = Table(title=f"Delivery DM{result.delivery_id}: what became of the messages", title_justify="left")
    table.add_column("status")
    for name in ("messages", "share", *(NAMES[line.side] for line in result.lines)):
        table.add_column(name, justify="right")
    by_gateway = result.summary["by_gateway"]
    for status, count in result.summary["by_status"].items():
        if count:
            each = [str(by_gateway.get(line.key, {}).get(status, 0)) for line in result.lines]
            table.add_row(status, str(count), f"{count / result.summary['to_send']:.1%}", *each)
    return table


def _failures(result: Result) -> Table:
    table = Table(title="Why messages failed", title_justify="left")
    table.add_column("failure type / reason")
    table.add_column("messages", justify="right")
    for name in ("by_failure_type", "by_reason"):
        for what, count in sorted(result.summary[name].items(), key=lambda item: -item[1]):
            if count:
                table.add_row(escape(what), str(count))
        table.add_section()
    return table


def _sentences(result: Result) -> Iterator[str]:
    summary, latency = result.summary, result.summary["latency"]
    yield f"Submission to receipt on the phone: median {latency['median_seconds']} s, 95 % within {latency['p95_seconds']} s."
    yield f"{result.receipts} receipts were acknowledged, with repeats, late ones and ones in the wrong order."
    yield f"{result.waited} provider message ids had receipts before their submission was told; all were matched."
    yield f"{summary['contradictory']} messages were received although a receipt said failed."
    if result.to_qualify:
        yield escape(f"Errors that nobody has qualified yet: {', '.join(result.to_qualify)}.")
    for difference in result.differences:
        yield f"[red]{escape(difference)}[/red]"
    if not result.differences:
        yield "[green]The summary says what the simulated gateways did, figure by figure.[/green]"
    yield f"[{'green' if result.drift == 0 else 'red'}]Recomputed from the facts: drift {result.drift}.[/]"


def _next(result: Result) -> Iterator[str]:
    service, id = result.service, result.delivery_id
    url = service.url
    yield "\nWhere to look next:"
    if service.data_dir is not None:
        url = "http://127.0.0.1:8000"
        yield "  # the demo's own service has ended; this one has the same data (Ctrl-C stops it)"
        yield f"  ACUSE_DATA_DIR='{service.data_dir}' ACUSE_ADMIN_KEY={service.key} ACUSE_PORT=8000 .venv/bin/acuse run"
        yield "  # then, in another terminal"
        yield f"  KEY={service.key}"
    else:
        yield "  KEY=…  # your API key"
    for path in ("summary", "messages?status=failed&limit=3", "history", "audit"):
        yield f"  curl -H \"Authorization: Bearer $KEY\" '{url}/v1/deliveries/{id}/{path}'"
    yield f"  curl -H \"Authorization: Bearer $KEY\" '{url}/v1/qualifications?state=to_qualify'"
    yield f"  {url}/docs"
