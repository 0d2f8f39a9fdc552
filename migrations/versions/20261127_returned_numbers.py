"""Of an erased number about which there are new facts: the number, so that old and new ones count together."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "c2a91e07d5b4"
down_revision: str | None = "8166b32b1abf"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("erased", sa.Column("returned_as", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("erased", "returned_as")
