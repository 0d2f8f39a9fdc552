"""A reply says what the gateway took it for, which piece of a long one it is, and which message it most likely answers.

Columns without a value: nothing that stands is rewritten. The indexes, of rows that have one, are a migration of their own.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision: str = "6f2b8d41e9a7"
down_revision: str | None = "6f1d08b3e7a4"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

COLUMNS: dict[str, sa.types.TypeEngine[Any]] = {
    "opt_out": sa.Text(),
    "part_reference": sa.Text(),
    "part": sa.SmallInteger(),
    "parts": sa.SmallInteger(),
    "part_of": sa.BigInteger(),
    "message_id": sa.BigInteger(),
    "delivery_id": sa.BigInteger(),
}


def upgrade() -> None:
    for name, kind in COLUMNS.items():
        op.add_column("inbound", sa.Column(name, kind, nullable=True))


def downgrade() -> None:
    for name in COLUMNS:
        op.drop_column("inbound", name)
