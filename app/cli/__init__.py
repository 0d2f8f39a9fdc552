"""The command line: `acuse run` and what an operator does beside it.

Every command that needs the database takes the one of ACUSE_DATABASE_URL, else the embedded one that `acuse run` has
running, else it starts that and stops it afterwards.
"""

import os

import asyncpg
import typer

from app import embedded, logs, migrate
from app.accounts import store
from app.cli import gateways, keys, links, service, upkeep
from app.cli.base import fail
from app.db import in_short, is_away, is_refused
from app.demo import main as demo
from app.errors import Problem
from app.sealing import SealError

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Acuse tells the truth about SMS deliveries.")
app.add_typer(keys.commands, name="keys")
app.add_typer(gateways.commands, name="gateways")
app.add_typer(links.commands, name="links")
app.command()(service.run)
app.command(name="migrate")(service.upgrade)
app.command()(service.worker)
app.command(name="demo")(demo)
app.command()(upkeep.replay)
app.command()(upkeep.reseal)
app.command()(upkeep.doctor)


def main() -> None:
    """Runs a command; what it cannot do becomes a sentence, not a traceback."""
    try:
        app()
    except (embedded.EmbeddedPostgresError, SealError, migrate.NewerSchemaError) as error:
        fail(str(error))
    except Problem as error:
        fail(error.detail, *(f"  {each['pointer']}: {each['detail']}" for each in error.errors))
    except Exception as error:
        if store.is_empty(error) and not is_refused(error):
            fail("The database has no schema yet: run `acuse migrate` first.")
        if isinstance(error, OSError) and error.filename is not None:
            fail(f"{os.fsdecode(error.filename)} cannot be used: {error.strerror}.")
        if not is_away(error) and not isinstance(error, asyncpg.PostgresError):
            raise
        fail(f"The database cannot be used: {logs.mask_phones(in_short(error))}.")
