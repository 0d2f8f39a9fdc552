"""Which clicks a visitor's texts are still needed for."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "3a90c7e1d5b8"
down_revision: str | None = "b84d2f6a07c5"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    with op.get_context().autocommit_block():
        # One that was broken off before is there, and is no use.
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_clicks_visitor")
        op.create_index(
            "ix_clicks_visitor",
            "clicks",
            ["visitor"],
            postgresql_where=sa.text("visitor IS NOT NULL"),
            postgresql_concurrently=True,
        )


def downgrade() -> None:
    op.drop_index("ix_clicks_visitor", table_name="clicks")
