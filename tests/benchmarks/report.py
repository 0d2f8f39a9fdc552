"""Figures, their targets, and how they are shown."""

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import orjson
import psutil
from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.db import Connection

#: A load average above this share of the cores makes the figures doubtful.
BUSY = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the report. Without a target it only informs. `value` None: it could not be measured, `note` says why."""

    name: str
    value: float | None
    unit: str
    at_least: float | None = None
    at_most: float | None = None
    note: str = ""

    @property
    def verdict(self) -> Literal["met", "NOT met", "skipped", ""]:
        if self.value is None:
            return "skipped"
        if self.at_least is None and self.at_most is None:
            return ""
        low, high = self.at_least, self.at_most
        return "met" if (low is None or self.value >= low) and (high is None or self.value <= high) else "NOT met"

    @property
    def target(self) -> str:
        return "".join(
            f"{sign} {_number(limit)}"
            for sign, limit in (("≥", self.at_least), ("≤", self.at_most))
            if limit is not None
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where it was measured."""

    at: str
    cores: int
    load_average: float
    memory_gb: float
    python: str
    postgresql: str
    settings: dict[str, str]
    data_on: str

    @property
    def warnings(self) -> list[str]:
        found = []
        if self.load_average > BUSY * self.cores:
            found.append(
                f"The load average was {self.load_average:.1f} on {self.cores} cores at the start: others were at work."
            )
        if self.data_on in ("tmpfs", "ramfs"):
            found.append("The data lies in memory, so a commit costs nothing here: set TMPDIR to a folder on a disk.")
        if any(value != "on" for value in self.settings.values()):
            found.append(f"Not as it must be: {self.settings}.")
        return found


async def machine(connection: Connection, data_dir: Path, load_average: float) -> Machine:
    """`load_average` is that of before anything was started."""
    names = ("fsync", "synchronous_commit", "full_page_writes")
    return Machine(
        at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        cores=os.cpu_count() or 1,
        load_average=round(load_average, 2),
        memory_gb=round(psutil.virtual_memory().total / 1e9, 1),
        python=sys.version.split()[0],
        postgresql=str(await connection.fetchval("SHOW server_version")),
        settings={name: str(await connection.fetchval(f"SHOW {name}")) for name in names},
        data_on=_filesystem(data_dir),
    )


def as_json(where: Machine, figures: Sequence[Figure], *, quick: bool) -> bytes:
    lines: list[dict[str, Any]] = [asdict(each) | {"verdict": each.verdict} for each in figures]
    return orjson.dumps(
        {"machine": asdict(where) | {"warnings": where.warnings}, "quick": quick, "figures": lines},
        option=orjson.OPT_INDENT_2,
    )


def show(where: Machine, figures: Sequence[Figure], *, quick: bool) -> None:
    console = Console(highlight=False)
    table = Table("Acuse, measured", box=None, pad_edge=False)
    for title in ("", "target", ""):
        table.add_column(title, no_wrap=True, justify="right" if not table.columns[1:] else "left")
    colours = {"met": "green", "NOT met": "bold red", "skipped": "yellow", "": ""}
    for each in figures:
        name = Text.assemble(each.name, (f"\n   {each.note}" if each.note else "", "dim"))
        value = "—" if each.value is None else f"{_number(each.value)} {each.unit}"
        table.add_row(name, value, each.target, Text(each.verdict, colours[each.verdict]))
    console.print(table)
    console.print(
        f"{where.cores} cores, {where.memory_gb} GB, load {where.load_average} at the start, Python {where.python}, "
        f"PostgreSQL {where.postgresql}, fsync {where.settings['fsync']}, data on {where.data_on}"
    )
    for warning in where.warnings:
        console.print(f"[bold yellow]Beware:[/] {warning}")
    if quick:
        console.print("[bold yellow]Beware:[/] --quick: too short to judge by.")
    missed = [each.name for each in figures if each.verdict == "NOT met"]
    judged = sum(each.verdict in ("met", "NOT met") for each in figures)
    verdict = (
        f"[bold red]NOT met ({len(missed)} of {judged}):[/] {'; '.join(missed)}"
        if missed
        else f"[green]All {judged} targets met.[/]"
    )
    console.print(verdict)


def _number(value: float) -> str:
    if value == int(value) and value < 1000:
        return str(int(value))
    if value >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _filesystem(path: Path) -> str:
    parts = [each for each in psutil.disk_partitions(all=True) if path.resolve().is_relative_to(each.mountpoint)]
    return max(parts, key=lambda each: len(each.mountpoint)).fstype if parts else "unknown"
