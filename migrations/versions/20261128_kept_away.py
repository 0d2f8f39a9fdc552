"""A message that the outbox keeps away says why it was cancelled."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "b5e07a94c1d3"
down_revision: str | None = "91d3c7e05b2f"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("messages", sa.Column("cancelled_for", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("messages", "cancelled_for")
