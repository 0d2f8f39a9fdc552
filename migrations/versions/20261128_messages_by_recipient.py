"""Messages are found by their recipient among millions: an index of some megabytes, which autovacuum writes."""

from collections.abc import Sequence

from alembic import op

revision: str = "6f0b2c84d91e"
down_revision: str | None = "f27a6b90d3e5"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    with op.get_context().autocommit_block():
        # One that was broken off before is there, and is no use.
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_messages_recipient_id")
        op.create_index(
            "ix_messages_recipient_id",
            "messages",
            ["recipient_id"],
            postgresql_using="brin",
            postgresql_ops={"recipient_id": "text_bloom_ops (n_distinct_per_range='2500')"},
            postgresql_with={"pages_per_range": 32, "autosummarize": "true"},
            postgresql_concurrently=True,
        )


def downgrade() -> None:
    op.drop_index("ix_messages_recipient_id", table_name="messages")
