"""What an operator does to a service now and then: replay, reseal, doctor."""

import asyncio
import contextlib
from typing import Annotated

import typer
from rich.table import Table

from app import embedded
from app.accounts import resealing
from app.cli.base import configured, connected, database, fail, out, show, standing_database
from app.doctor import Check, examined
from app.projections.replay import replay as ingest_replay
from app.sealing import Sealing
from app.settings import Settings


def replay(
    delivery: Annotated[int | None, typer.Option(help="Only this delivery.")] = None,
) -> None:
    """Rebuild projections from facts and show the difference; exit code 1 when there was one. It is mended by this."""
    settings = configured()
    with database(settings) as url:
        empty = asyncio.run(_replayed(url, delivery))
    if not empty:
        raise SystemExit(1)
    out.print("No difference: the projections are what the facts say.")


async def _replayed(url: str, delivery: int | None) -> bool:
    """True when there was no difference. Prints each, delivery by delivery."""
    empty = True
    async with connected(url) as connection, contextlib.aclosing(ingest_replay(connection, delivery)) as found:
        async for difference in found:
            if difference.empty:
                continue
            empty = False
            out.print(f"Delivery {difference.delivery_id}, {difference.messages} messages:")
            for row in (*difference.states, *difference.counters):
                out.print("  " + " ".join(f"{name}={value}" for name, value in row.items()))
            if difference.clicks:
                out.print(f"  messages with a wrong count of clicks: {difference.clicks}")
            if difference.quarantine:
                out.print(f"  rows of the quarantine: {difference.quarantine}")
    return empty


def reseal(
    accept_loss: Annotated[
        bool,
        typer.Option(
            help="When a sealing key is lost for good: what it sealed is made anew. Short URLs given out lead nowhere, "
            "erased numbers are not recognised, and gateways need their secrets again."
        ),
    ] = False,
) -> None:
    """Seal all secrets with the newest key; then older ones can be dropped. Exit code 1 when something cannot be opened."""
    settings = configured()
    with database(settings) as url:
        lost = asyncio.run(_resealed(settings, url, accept_loss))
    if lost:
        fail(f"These cannot be opened with the keys that are here: {', '.join(lost)}.")


async def _resealed(settings: Settings, url: str, accept_loss: bool) -> list[str]:
    """What is lost."""
    fates: dict[str, list[str]] = {"sealed": [], "done": [], "lost": []}
    async with connected(url) as connection:
        async with connection.transaction():
            sealing = Sealing.of(settings)
            for name in await sealing.accept_loss(connection) if accept_loss else ():
                out.print(f"`{name}` is lost, and made anew.")
            await sealing.install(connection)
        async with contextlib.aclosing(resealing.reseal(connection)) as found:
            async for name, fate in found:
                fates[fate].append(name)
    out.print(
        f"Sealed with the key {sealing.key_id}: {len(fates['sealed'])} anew, {len(fates['done'])} before, "
        f"{len(fates['lost'])} cannot be opened."
    )
    return fates["lost"]


_MARKS = {"ok": "✓", "warning": "!", "failed": "✗"}


def doctor() -> None:
    """Examine settings, database, disk and queues; exit code 1 when something is wrong. It creates and changes nothing."""
    settings = configured()
    checks = [Check("settings", "ok", "They can be used."), *_examined(settings)]
    table = Table("", "check", "finding")
    for check in checks:
        table.add_row(_MARKS[check.state], check.name, check.finding)
    show(table)
    if any(check.state == "failed" for check in checks):
        raise SystemExit(1)


def _examined(settings: Settings) -> list[Check]:
    try:
        with standing_database(settings) as url:
            return asyncio.run(examined(settings, url))
    except embedded.EmbeddedPostgresError as error:
        return [Check("database", "failed", str(error))]
