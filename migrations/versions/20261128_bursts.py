"""A click's row may stand for many: those of a token in one minute, beyond some."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "e07b35d1c9fa"
down_revision: str | None = "8c41f7aa20d6"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    for table in ("clicks", "click_inbox"):
        op.add_column(table, sa.Column("times", sa.Integer(), server_default="1", nullable=False))


def downgrade() -> None:
    for table in ("clicks", "click_inbox"):
        op.execute(f"DELETE FROM {table} WHERE times <> 1")
        op.drop_column(table, "times")
