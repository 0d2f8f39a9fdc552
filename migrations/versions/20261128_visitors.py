"""What visitors' browsers say stands once for all clicks that say the same; clicks from before keep their own texts.

Nothing that stands is rewritten. The index is a migration of its own: it is made while clicks go on being written.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "b84d2f6a07c5"
down_revision: str | None = "e07b35d1c9fa"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# The text of a jsonb is the same for equal ones. STABLE, as `convert_to` is: so that it is written into its callers' plans.
VISITOR_ID = r"""
CREATE FUNCTION visitor_id(agent text, visit jsonb) RETURNS uuid LANGUAGE sql STABLE STRICT PARALLEL SAFE AS $$
    SELECT encode(substring(sha256(convert_to(agent || E'\n' || visit::text, 'UTF8')) FOR 16), 'hex')::uuid
$$
"""


def upgrade() -> None:
    op.execute(VISITOR_ID)
    op.create_table(
        "visitors",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("visit", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_visitors")),
        comment="What visitors' browsers said, once for all clicks that say the same; gone with the last of them",
    )
    op.add_column("clicks", sa.Column("visitor", sa.Uuid(), nullable=True))


def downgrade() -> None:
    op.execute("UPDATE clicks c SET agent = v.agent, visit = v.visit FROM visitors v WHERE v.id = c.visitor")
    op.drop_column("clicks", "visitor")
    op.drop_table("visitors")
    op.execute("DROP FUNCTION visitor_id(text, jsonb)")
