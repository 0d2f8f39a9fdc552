"""Tracked links, whose messages ids belong to, and clicks. See app/tables.py."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "8166b32b1abf"
down_revision: str | None = "3c0d5b7e91a4"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "click_inbox",
        sa.Column("seq", sa.BigInteger(), sa.Identity(always=False, cache=1), nullable=False),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("message_id", sa.BigInteger(), nullable=False),
        sa.Column("delivery_id", sa.BigInteger(), nullable=False),
        sa.Column("link", sa.SmallInteger(), nullable=False),
        sa.Column("clicked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("human", sa.Boolean(), nullable=False),
        sa.Column("reasons", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("visit", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("network", sa.Text(), nullable=True),
        sa.Column("rules_version", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_click_inbox")),
        postgresql_with={"autovacuum_vacuum_scale_factor": "0.0", "autovacuum_vacuum_threshold": "10000"},
    )
    op.create_table(
        "clicks",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("message_id", sa.BigInteger(), nullable=False),
        sa.Column("delivery_id", sa.BigInteger(), nullable=False),
        sa.Column("link", sa.SmallInteger(), nullable=False),
        sa.Column("clicked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("human", sa.Boolean(), nullable=False),
        sa.Column("reasons", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("visit", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("network", sa.Text(), nullable=True),
        sa.Column("rules_version", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_clicks")),
        comment="Visits to short URLs, by people and by machines",
    )
    op.create_index("ix_clicks_delivery_id_id", "clicks", ["delivery_id", "id"], unique=False)
    op.create_index("ix_clicks_delivery_id_human_id", "clicks", ["delivery_id", "human", "id"], unique=False)
    op.create_index("ix_clicks_message_id", "clicks", ["message_id"], unique=False)
    op.create_table(
        "link_blocks",
        sa.Column("first_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("last_id", sa.BigInteger(), nullable=False),
        sa.Column("delivery_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("first_id", name=op.f("pk_link_blocks")),
        comment="Whose messages ids belong to, so that a redirect needs to ask nobody",
    )
    op.create_index("ix_link_blocks_delivery_id", "link_blocks", ["delivery_id"], unique=False)
    op.create_table(
        "links",
        sa.Column("delivery_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.SmallInteger(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("source_url", sa.Text(), nullable=False),
        sa.Column("template", sa.Boolean(), nullable=False),
        sa.Column("tracked", sa.Boolean(), nullable=False),
        sa.Column("params", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("in_content", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("delivery_id", "number", name=op.f("pk_links")),
        comment="URLs registered with a delivery: the only ones that a short URL leads to",
    )
    op.create_table(
        "message_clicks",
        sa.Column("message_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("delivery_id", sa.BigInteger(), nullable=False),
        sa.Column("human", sa.Integer(), nullable=False),
        sa.Column("machine", sa.Integer(), nullable=False),
        sa.Column("first_human_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("doubtful", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_message_clicks")),
    )
    op.create_index(
        "ix_message_clicks_doubtful",
        "message_clicks",
        ["delivery_id", "message_id"],
        unique=False,
        postgresql_where="doubtful",
    )


def downgrade() -> None:
    op.drop_index("ix_message_clicks_doubtful", table_name="message_clicks", postgresql_where="doubtful")
    op.drop_table("message_clicks")
    op.drop_table("links")
    op.drop_index("ix_link_blocks_delivery_id", table_name="link_blocks")
    op.drop_table("link_blocks")
    op.drop_index("ix_clicks_message_id", table_name="clicks")
    op.drop_index("ix_clicks_delivery_id_human_id", table_name="clicks")
    op.drop_index("ix_clicks_delivery_id_id", table_name="clicks")
    op.drop_table("clicks")
    op.drop_table("click_inbox")
