"""Journals that tell what interrupted uploads did, hold personal values beside the chain, and have signed heads."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "7d0c5b9e4a11"
down_revision: str | None = "5d1f0c7be2a8"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("audit_heads", sa.Column("signed_seq", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    op.add_column("audit_heads", sa.Column("signed_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index("ix_audit_heads_unsigned", "audit_heads", ["chain"], postgresql_where=sa.text("signed_seq < seq"))
    op.create_table(
        "audit_private",
        sa.Column("chain", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("chain", "seq", "name", name=op.f("pk_audit_private")),
        comment="What entries of the journal say that may be personal: erasing takes it away, and the chain still holds",
    )
    op.create_table(
        "audit_signatures",
        sa.Column("chain", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("chain", "seq", name=op.f("pk_audit_signatures")),
        comment="Heads of the journals as they were signed: a chain that was rewritten no longer meets them",
    )
    op.create_table(
        "uploads",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("chain", sa.BigInteger(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("figures", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("touched_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_uploads")),
        comment="Bulk uploads under way: each chunk adds to its row, which becomes one entry of the journal at the end",
    )


def downgrade() -> None:
    op.drop_table("uploads")
    op.drop_table("audit_signatures")
    op.drop_table("audit_private")
    op.drop_index("ix_audit_heads_unsigned", table_name="audit_heads")
    op.drop_column("audit_heads", "signed_at")
    op.drop_column("audit_heads", "signed_seq")
