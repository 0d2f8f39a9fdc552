"""Proofs are few among many messages: they get an index of their own."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "3c0d5b7e91a4"
down_revision: str | None = "fb141da0a899"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_index(
        "ix_messages_proofs", "messages", ["delivery_id", "id"], unique=False, postgresql_where=sa.text("proof")
    )


def downgrade() -> None:
    op.drop_index("ix_messages_proofs", table_name="messages", postgresql_where=sa.text("proof"))
