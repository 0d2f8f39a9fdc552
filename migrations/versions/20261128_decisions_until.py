"""Until when a decision holds: numbers that an operator gives out again are not kept away for ever."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "c7f1a5d20e94"
down_revision: str | None = "b5e07a94c1d3"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("decisions", sa.Column("until", sa.DateTime(timezone=True)))


def downgrade() -> None:
    op.drop_column("decisions", "until")
