"""A start at a time, and pauses."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "6e1f0a94c7d2"
down_revision: str | None = "c7f1a5d20e94"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("deliveries", sa.Column("scheduled_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("deliveries", sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("deliveries", sa.Column("paused_seconds", sa.Integer(), server_default=sa.text("0"), nullable=False))
    # Deliveries are thousands: it is there at once.
    op.create_index(
        "ix_deliveries_scheduled_at",
        "deliveries",
        ["scheduled_at"],
        postgresql_where=sa.text("scheduled_at IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_deliveries_scheduled_at", table_name="deliveries")
    for name in ("paused_seconds", "paused_at", "scheduled_at"):
        op.drop_column("deliveries", name)
