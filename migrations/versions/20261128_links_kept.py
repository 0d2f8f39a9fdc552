"""What was erased since a moment is found by an index: every process asks each second, to forget what its disk holds of it."""

from collections.abc import Sequence

from alembic import op

revision: str = "8c41f7aa20d6"
down_revision: str | None = "1c9e47f0ab62"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_index("ix_erased_erased_at", "erased", ["erased_at"])


def downgrade() -> None:
    op.drop_index("ix_erased_erased_at", "erased")
