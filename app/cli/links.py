"""Short URLs and their clicks, from the command line."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated

import typer

from app.cli.base import ACTOR, configured, connected, database, in_database, out
from app.links import signing as token_keys
from app.links import store as links_store

commands = typer.Typer(no_args_is_help=True, help="Short URLs and their clicks.")
#: Clicks judged anew in one transaction.
_REJUDGED = 2_000


@commands.command(name="rotate-key")
def rotate_key(
    forget_oldest: Annotated[
        bool, typer.Option(help="Even if the links of the oldest of eight keys lead nowhere afterwards.")
    ] = False,
) -> None:
    """Make new short URLs with a new key. Those that were made with the seven keys before keep working."""
    now = datetime.now(UTC)
    made = in_database(lambda connection: token_keys.rotate(connection, now, actor=ACTOR, forgetting=forget_oldest))
    out.print(f"New short URLs are made with key {made.current}. All processes know it within seconds.")


@commands.command()
def rejudge(delivery: Annotated[int | None, typer.Option(help="Only the clicks of this delivery.")] = None) -> None:
    """Judge clicks anew by the present rules: person or machine. Figures move by what changed."""
    settings = configured()
    with database(settings) as url:
        looked_at, changed = asyncio.run(_rejudged(url, delivery))
    out.print(f"Clicks judged: {looked_at}. Changed sides: {changed}.")


async def _rejudged(url: str, delivery: int | None) -> tuple[int, int]:
    last = looked_at = changed = 0
    async with connected(url) as connection:
        while True:
            async with connection.transaction():
                last, some, turned = await links_store.rejudge(connection, delivery, last, _REJUDGED)
            if not some:
                return looked_at, changed
            looked_at, changed = looked_at + some, changed + turned
