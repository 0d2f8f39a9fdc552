"""What is done every second reads what is new: when a block of ids was added, which deliveries changed, which processes live."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "5b7e2d90c1f3"
down_revision: str | None = "7d0c5b9e4a11"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    # `now()` first: it is the same for all rows, so none is written again.
    op.add_column(
        "link_blocks",
        sa.Column("added_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
    )
    op.alter_column("link_blocks", "added_at", server_default=sa.text("clock_timestamp()"))
    op.create_index("ix_link_blocks_added_at", "link_blocks", ["added_at"])
    op.create_index("ix_deliveries_updated_at", "deliveries", ["updated_at"])
    op.create_table(
        "processes",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("thresholds", sa.Text(), nullable=True),
        sa.Column("routes_read_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_processes")),
        comment="The service's processes: they say every second that they live, and what they know",
    )


def downgrade() -> None:
    op.drop_table("processes")
    op.drop_index("ix_deliveries_updated_at", "deliveries")
    op.drop_index("ix_link_blocks_added_at", "link_blocks")
    op.drop_column("link_blocks", "added_at")
