"""A provider's error has one name everywhere: qualifications call it `error_code`, as receipts do."""

from collections.abc import Sequence

from alembic import op

OLD = "uq_qualifications_implementation_status_code"
NEW = "uq_qualifications_implementation_status_error_code"

revision: str = "d4e81b6f2c90"
down_revision: str | None = "3a90c7e1d5b8"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.alter_column("qualifications", "code", new_column_name="error_code")
    op.execute(f"ALTER TABLE qualifications RENAME CONSTRAINT {OLD} TO {NEW}")


def downgrade() -> None:
    op.execute(f"ALTER TABLE qualifications RENAME CONSTRAINT {NEW} TO {OLD}")
    op.alter_column("qualifications", "error_code", new_column_name="code")
