"""How alembic runs the migrations of `versions/`: each in a transaction of its own.

The connection comes from the caller (`config.attributes["connection"]`: see app/migrate.py), else from
`ACUSE_DATABASE_URL`. An index on a large table is made inside `with op.get_context().autocommit_block():`, with
`postgresql_concurrently=True`.
"""

import asyncio
import os

from alembic import context
from sqlalchemy import Connection

from app.migrate import alone
from app.tables import metadata


def migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        compare_type=True,
        compare_server_default=True,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


async def connect_and_migrate() -> None:
    url = os.environ.get("ACUSE_DATABASE_URL")
    if not url:
        raise SystemExit("Set ACUSE_DATABASE_URL to the database to migrate.")
    async with alone(url) as connection:
        await connection.run_sync(migrate)


given: Connection | None = context.config.attributes.get("connection")
if context.is_offline_mode():
    raise SystemExit("Migrations need a database: run them without --sql.")
elif given is not None:
    migrate(given)
else:
    asyncio.run(connect_and_migrate())
