"""Audiences, exclusions, preparations; quarantine with the facts it rests on; inbound messages. See app/tables.py."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "fb141da0a899"
down_revision: str | None = "7e056868d7f1"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

#: Message ids are handed out in blocks without gaps. The sequence alone cannot do that: between its `nextval` and `setval`
#: somebody else could come, so all callers wait for one another here, for microseconds.
RESERVE = """
CREATE FUNCTION reserve_message_ids(wanted bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    numbers regclass := pg_get_serial_sequence('messages', 'id');
    first_id bigint;
BEGIN
    PERFORM pg_advisory_lock(4150738338);
    first_id := nextval(numbers);
    PERFORM setval(numbers, first_id + wanted - 1);
    PERFORM pg_advisory_unlock(4150738338);
    RETURN first_id;
END $$
"""


def upgrade() -> None:
    op.execute("ALTER TABLE messages ALTER COLUMN id SET CACHE 1")
    op.execute(RESERVE)
    op.create_table(
        "breakers",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("gateway_id", sa.Integer(), nullable=False),
        sa.Column("qualification_id", sa.Integer(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decision", sa.Text(), nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("finals", sa.Integer(), nullable=False),
        sa.Column("usual_share", sa.Numeric(precision=6, scale=4), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_breakers")),
        comment="Errors of one gateway whose counting was paused, and what an operator decided",
    )
    op.create_index(
        "uq_breakers_open",
        "breakers",
        ["gateway_id", "qualification_id"],
        unique=True,
        postgresql_where=sa.text("closed_at IS NULL"),
    )
    op.create_table(
        "decisions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False, cache=100), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("sender", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("kind", sa.Enum("denylist", "allow", "quarantine", "release", name="decision_kind"), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("inbound_id", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_decisions")),
        comment="What people, imports and operators decided about addresses",
    )
    op.create_index("ix_decisions_address", "decisions", ["address", "at"], unique=False)
    op.create_table(
        "erased",
        sa.Column("pseudonym", sa.Text(), nullable=False),
        sa.Column("erased_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("certificate", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("pseudonym", name=op.f("pk_erased")),
        comment="Numbers that were erased; what is known of them still protects them",
    )
    op.create_table(
        "exclusions",
        sa.Column("delivery_id", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("recipient_id", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("detail", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("excluded_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("delivery_id", "position", name=op.f("pk_exclusions")),
        comment="Targets that are not sent to, and why",
    )
    op.create_index("ix_exclusions_address", "exclusions", ["address", "delivery_id"], unique=False)
    op.create_index("ix_exclusions_reason", "exclusions", ["delivery_id", "reason", "position"], unique=False)
    op.create_table(
        "held",
        sa.Column("breaker_id", sa.Integer(), nullable=False),
        sa.Column("message_id", sa.BigInteger(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("breaker_id", "message_id", name=op.f("pk_held")),
        comment="Failures that a breaker holds: they touch no address until an operator decides",
    )
    op.create_index("ix_held_address", "held", ["address"], unique=False)
    op.create_table(
        "inbound",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False, cache=1), nullable=False),
        sa.Column("gateway_id", sa.Integer(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=True),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("provider_message_id", sa.Text(), nullable=True),
        sa.Column("verified", sa.Boolean(), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.Column("applied_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("keyword", sa.Text(), nullable=True),
        sa.Column("action", sa.Text(), nullable=True),
        sa.Column("repeat_of", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inbound")),
        comment="Messages from phones to us",
    )
    op.create_index("ix_inbound_address", "inbound", ["address", "id"], unique=False)
    op.create_index(
        "ix_inbound_provider_message_id", "inbound", ["gateway_id", "provider_message_id", "address"], unique=False
    )
    op.create_index("ix_inbound_received_at_id", "inbound", ["received_at", "id"], unique=False)
    op.create_index("ix_inbound_gateway", "inbound", ["gateway_id", "received_at", "id"], unique=False)
    op.create_index(
        "ix_inbound_review",
        "inbound",
        ["received_at", "id"],
        unique=False,
        postgresql_where=sa.text("action = 'review'"),
    )
    op.create_index(
        "ix_inbound_waiting", "inbound", ["id"], unique=False, postgresql_where=sa.text("applied_at IS NULL")
    )
    op.create_table(
        "meanings",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("qualification_id", sa.Integer(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failure_type", postgresql.ENUM(name="failure_type", create_type=False), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("state", postgresql.ENUM(name="qualification_state", create_type=False), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_meanings")),
        comment="How each error was qualified over time, for the health of addresses",
    )
    op.create_index("ix_meanings_qualification_id", "meanings", ["qualification_id", "id"], unique=False)
    op.create_table(
        "preparations",
        sa.Column("delivery_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("first_message_id", sa.BigInteger(), nullable=True),
        sa.Column("findings", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("figures", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("delivery_id", name=op.f("pk_preparations")),
        comment="A delivery's latest preparation: how far it is, what it found",
    )
    op.create_table(
        "quarantine",
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column(
            "status", sa.Enum("with_errors", "quarantined", "denylisted", name="quarantine_status"), nullable=False
        ),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("errors", sa.SmallInteger(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_error_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("clears_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("delivery_id", sa.BigInteger(), nullable=True),
        sa.Column("message_id", sa.BigInteger(), nullable=True),
        sa.Column("gateway_id", sa.Integer(), nullable=True),
        sa.Column("qualification_id", sa.Integer(), nullable=True),
        sa.Column("decision_id", sa.BigInteger(), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("address", "sender", name=op.f("pk_quarantine")),
        comment="The health of addresses; no row means valid",
    )
    op.create_index(
        "ix_quarantine_clears_at",
        "quarantine",
        ["clears_at"],
        unique=False,
        postgresql_where=sa.text("clears_at IS NOT NULL"),
    )
    op.create_index(
        "ix_quarantine_delivery",
        "quarantine",
        ["delivery_id", "address", "sender"],
        unique=False,
        postgresql_where=sa.text("delivery_id IS NOT NULL"),
    )
    op.create_index("ix_quarantine_status", "quarantine", ["status", "address", "sender"], unique=False)
    op.create_table(
        "targets",
        sa.Column("delivery_id", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("given", sa.Text(), nullable=False),
        sa.Column("recipient_id", sa.Text(), nullable=True),
        sa.Column("params", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("control", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("delivery_id", "position", name=op.f("pk_targets")),
        comment="A delivery's audience, as uploaded",
    )
    op.create_table(
        "to_examine",
        sa.Column("address", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("address", name=op.f("pk_to_examine")),
        comment="Addresses whose health must be computed anew, because something about many of them was decided",
    )
    op.add_column(
        "deliveries",
        sa.Column("rules", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
    )
    op.add_column("deliveries", sa.Column("targets", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.add_column("gateways", sa.Column("reply_rules", postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.add_column("messages", sa.Column("position", sa.Integer(), nullable=True))
    op.add_column("messages", sa.Column("params", postgresql.JSONB(astext_type=sa.Text()), nullable=True))


def downgrade() -> None:
    op.execute("DROP FUNCTION reserve_message_ids")
    op.execute("ALTER TABLE messages ALTER COLUMN id SET CACHE 100")
    op.drop_column("messages", "params")
    op.drop_column("messages", "position")
    op.drop_column("gateways", "reply_rules")
    op.drop_column("deliveries", "targets")
    op.drop_column("deliveries", "rules")
    op.drop_table("targets")
    op.drop_table("to_examine")
    op.drop_index("ix_quarantine_status", table_name="quarantine")
    op.drop_index(
        "ix_quarantine_delivery", table_name="quarantine", postgresql_where=sa.text("delivery_id IS NOT NULL")
    )
    op.drop_index("ix_quarantine_clears_at", table_name="quarantine", postgresql_where=sa.text("clears_at IS NOT NULL"))
    op.drop_table("quarantine")
    op.drop_table("preparations")
    op.drop_index("ix_meanings_qualification_id", table_name="meanings")
    op.drop_table("meanings")
    op.drop_index("ix_inbound_waiting", table_name="inbound", postgresql_where=sa.text("applied_at IS NULL"))
    op.drop_index("ix_inbound_review", table_name="inbound", postgresql_where=sa.text("action = 'review'"))
    op.drop_index("ix_inbound_gateway", table_name="inbound")
    op.drop_index("ix_inbound_received_at_id", table_name="inbound")
    op.drop_index("ix_inbound_provider_message_id", table_name="inbound")
    op.drop_index("ix_inbound_address", table_name="inbound")
    op.drop_table("inbound")
    op.drop_index("ix_held_address", table_name="held")
    op.drop_table("held")
    op.drop_index("ix_exclusions_reason", table_name="exclusions")
    op.drop_index("ix_exclusions_address", table_name="exclusions")
    op.drop_table("exclusions")
    op.drop_table("erased")
    op.drop_index("ix_decisions_address", table_name="decisions")
    op.drop_table("decisions")
    op.drop_index("uq_breakers_open", table_name="breakers", postgresql_where=sa.text("closed_at IS NULL"))
    op.drop_table("breakers")
    for name in ("quarantine_status", "decision_kind"):
        op.execute(f"DROP TYPE {name}")
