"""API keys, from the command line."""

from typing import Annotated

import typer
from rich.table import Table

from app.accounts import administering as changes
from app.accounts import installation, store
from app.cli.base import ACTOR, in_database, out, show

commands = typer.Typer(no_args_is_help=True, help="API keys.")


@commands.command(name="list")
def list_keys() -> None:
    """All API keys, without their secrets."""
    rows, _ = in_database(lambda connection: store.keys_after(connection, "", None))
    table = Table("name", "scopes", "created")
    for row in rows:
        table.add_row(row["name"], " ".join(row["scopes"]), f"{row['created_at']:%Y-%m-%d %H:%M} UTC")
    show(table)


@commands.command(name="create")
def create_key(
    name: str,
    scope: Annotated[list[str], typer.Option(help="May be given several times.")],
) -> None:
    """Create an API key and print its secret, once."""
    reserved = (installation.ENV_ADMIN,)
    out.print(in_database(lambda held: changes.create_key(held, name, scope, actor=ACTOR, reserved=reserved)))


@commands.command(name="delete")
def delete_key(name: str) -> None:
    """Delete an API key; the last one with scope admin stays."""
    in_database(lambda connection: changes.delete_key(connection, name, actor=ACTOR))
    out.print(f"API key {name} is deleted.")
