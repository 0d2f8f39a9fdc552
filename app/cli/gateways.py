"""Gateways, from the command line."""

import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from app.accounts import administering as changes
from app.accounts import store
from app.cli.base import ACTOR, in_database, out, settings_or_exit, show
from app.gateways import GATEWAYS
from app.matching.rekeying import rekey

commands = typer.Typer(no_args_is_help=True, help="Accounts at SMS providers.")


@commands.command(name="kinds")
def list_kinds() -> None:
    """The kinds of gateways there are."""
    table = Table("kind", "label", "auth modes", "options")
    for kind, adapter in sorted(GATEWAYS.items()):
        table.add_row(kind, adapter.label, " ".join(adapter.auth_modes), " ".join(adapter.options.model_fields))
    show(table)


@commands.command(name="list")
def list_gateways() -> None:
    """All gateways, without their secrets."""
    rows, _ = in_database(lambda connection: store.gateways_after(connection, "", None))
    table = Table("key", "kind", "label", "auth", "callback path")
    for row in rows:
        table.add_row(row.key, row.kind, row.label, row.auth["mode"], f"/callbacks/{row.key}")
    show(table)


@commands.command(name="create")
def create_gateway(
    key: str,
    kind: Annotated[str, typer.Option(help="See `acuse gateways kinds`.")],
    auth: Annotated[str, typer.Option(help="token, basic, bearer, signature or none.")],
    secret_file: Annotated[
        list[Path] | None, typer.Option(help="A file with one secret a line; without it, you are asked.")
    ] = None,
    username: Annotated[str | None, typer.Option(help="Only for basic.")] = None,
    label: Annotated[str | None, typer.Option()] = None,
    implementation: Annotated[str | None, typer.Option(help="Name under which errors are qualified.")] = None,
    option: Annotated[list[str] | None, typer.Option(help="name=value; may be given several times.")] = None,
) -> None:
    """Create a gateway and print the path for its callbacks; a deleted one of this key and kind is revived. Secrets are
    not taken from the command line, where other users of the machine could read them."""
    credentials = changes.Credentials(mode=auth, secrets=_secrets(auth, secret_file), username=username)
    options = dict(_pair(each) for each in option or ())
    settings = settings_or_exit()
    row = in_database(
        lambda connection: changes.create_gateway(
            connection, key=key, kind=kind, label=label, implementation=implementation, options=options,
            auth=credentials, actor=ACTOR, rekey=rekey,
            retention=timedelta(days=settings.deleted_gateway_days),
        )
    )  # fmt: skip
    out.print(f"Gateway {row.key} is created. Its callbacks go to /callbacks/{row.key}")


def _secrets(mode: str, files: list[Path] | None) -> list[str]:
    if files:
        return [line for file in files for line in file.read_text("utf-8").splitlines() if line]
    return [] if mode == "none" else [typer.prompt("Secret", hide_input=sys.stdin.isatty(), err=True)]


def _pair(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"{text!r} is not name=value.")
    return name, {"true": True, "false": False}.get(value, value)


@commands.command(name="delete")
def delete_gateway(
    key: str, force: Annotated[bool, typer.Option(help="Also while messages are in transit.")] = False
) -> None:
    """Delete a gateway: it cannot be named any more, what it said stays, and its receipts are taken for some time."""
    in_database(lambda connection: changes.delete_gateway(connection, key, actor=ACTOR, force=force))
    out.print(f"Gateway {key} is deleted. Receipts for it are taken until its retention ends.")
