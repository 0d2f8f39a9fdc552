"""Deleted gateways go on taking receipts; how many they had before says how many came since."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "1c9e47f0ab62"
down_revision: str | None = "a3f6c1d90b27"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("gateways", sa.Column("receipts_before", sa.BigInteger(), nullable=True))
    # Until now a deleted gateway took none.
    op.execute(
        "UPDATE gateways SET receipts_before = (SELECT coalesce(sum(value), 0) FROM counters "
        "WHERE delivery_id = 0 AND metric = 'receipts' AND gateway_id = gateways.id) WHERE deleted_at IS NOT NULL"
    )


def downgrade() -> None:
    op.drop_column("gateways", "receipts_before")
