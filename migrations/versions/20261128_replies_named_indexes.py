"""Which replies a delivery has, and which pieces belong together."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "91d3c7e05b2f"
down_revision: str | None = "6f2b8d41e9a7"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

INDEXES = {
    "ix_inbound_delivery": (["delivery_id", "received_at", "id"], "delivery_id IS NOT NULL"),
    "ix_inbound_pieces": (["address", "part_reference"], "part_reference IS NOT NULL"),
}


def upgrade() -> None:
    with op.get_context().autocommit_block():
        for name, (columns, where) in INDEXES.items():
            # One that was broken off before is there, and is no use.
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.create_index(name, "inbound", columns, postgresql_where=sa.text(where), postgresql_concurrently=True)


def downgrade() -> None:
    for name in INDEXES:
        op.drop_index(name, table_name="inbound")
