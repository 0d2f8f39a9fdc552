"""What is written about a spool's progress says when, so that what is about files that are gone can go, too."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "a3f6c1d90b27"
down_revision: str | None = "5b7e2d90c1f3"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column(
        "spool_progress",
        sa.Column("touched_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
    )


def downgrade() -> None:
    op.drop_column("spool_progress", "touched_at")
