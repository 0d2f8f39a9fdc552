"""What was set aside says of which kind it is: a callback that could not be read, a receipt, a reply, a click…"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

COMMENT = "What was set aside, whole, to be read or applied again: callbacks, receipts, replies, clicks, rows of spools"

revision: str = "5d1f0c7be2a8"
down_revision: str | None = "c2a91e07d5b4"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("rejected", sa.Column("kind", sa.Text(), server_default="unreadable", nullable=False))
    op.alter_column("rejected", "gateway_id", nullable=True)
    op.create_table_comment("rejected", COMMENT, schema=None)
    # Receipts that were read before they were set aside: whole (`row`), or by older versions with nothing but their body.
    op.execute("UPDATE rejected SET kind = 'receipt' WHERE request ? 'row' OR request = '{}'")
    op.create_index("ix_rejected_kind", "rejected", ["kind", "received_at", "id"])


def downgrade() -> None:
    op.drop_table_comment("rejected", schema=None)
    op.drop_index("ix_rejected_kind", table_name="rejected")
    op.execute("DELETE FROM rejected WHERE gateway_id IS NULL")
    op.alter_column("rejected", "gateway_id", nullable=False)
    op.drop_column("rejected", "kind")
