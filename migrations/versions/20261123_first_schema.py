"""The first schema: see app/tables.py, which says what each table and column is for."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "7e056868d7f1"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("hash", name=op.f("uq_api_keys_hash")),
    )
    op.create_table(
        "audit",
        sa.Column("chain", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("level", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("data", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("chain", "seq", name=op.f("pk_audit")),
    )
    op.create_table(
        "audit_heads",
        sa.Column("chain", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("chain", name=op.f("pk_audit_heads")),
    )
    op.create_table(
        "correlations",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False, cache=100), nullable=False),
        sa.Column("gateway_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Enum("id", "reference", name="correlation_kind"), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("raw", sa.Text(), nullable=False),
        sa.Column("message_id", sa.BigInteger(), nullable=True),
        sa.Column("origin", sa.Enum("submission", "receipt", name="correlation_origin"), nullable=False),
        sa.Column("part", sa.SmallInteger(), nullable=True),
        sa.Column("via", sa.BigInteger(), nullable=True),
        sa.Column("bearing", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_correlations")),
        sa.UniqueConstraint("gateway_id", "kind", "value", name=op.f("uq_correlations_gateway_id_kind_value")),
        comment="The rendezvous: receipts and submissions meet on its unique key, whichever comes first",
    )
    op.create_index(
        "ix_correlations_message_id",
        "correlations",
        ["message_id"],
        unique=False,
        postgresql_where=sa.text("message_id IS NOT NULL"),
    )
    op.create_index(
        "ix_correlations_unmatched",
        "correlations",
        ["id"],
        unique=False,
        postgresql_where=sa.text("message_id IS NULL AND bearing"),
    )
    op.create_index(
        "ix_correlations_via", "correlations", ["via"], unique=False, postgresql_where=sa.text("via IS NOT NULL")
    )
    op.create_table(
        "counters",
        sa.Column("delivery_id", sa.BigInteger(), nullable=False),
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("gateway_id", sa.Integer(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("bucket", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("delivery_id", "metric", "gateway_id", "label", "bucket", name=op.f("pk_counters")),
        postgresql_with={
            "fillfactor": "50",
            "autovacuum_vacuum_scale_factor": "0.0",
            "autovacuum_vacuum_threshold": "2000",
        },
    )
    op.create_table(
        "gateways",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("implementation", sa.Text(), nullable=False),
        sa.Column("options", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("auth", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gateways")),
    )
    op.create_index(
        "uq_gateways_key_alive", "gateways", ["key"], unique=True, postgresql_where=sa.text("deleted_at IS NULL")
    )
    op.create_table(
        "idempotency",
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request_hash", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("owner", "key", name=op.f("pk_idempotency")),
    )
    op.create_table(
        "inbox",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False, cache=1), nullable=False),
        sa.Column("provider_message_id", sa.Text(), nullable=True),
        sa.Column("raw_message_id", sa.Text(), nullable=True),
        sa.Column("reference", sa.Text(), nullable=True),
        sa.Column("failure_key", sa.Text(), nullable=True),
        sa.Column("gateway_id", sa.Integer(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "pending",
                "cancelled",
                "submitted",
                "accepted",
                "sent",
                "no_receipt",
                "failed",
                "received",
                name="message_status",
            ),
            nullable=True,
        ),
        sa.Column("status_text", sa.Text(), nullable=False),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_text", sa.Text(), nullable=True),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("part", sa.SmallInteger(), nullable=True),
        sa.Column("parts", sa.SmallInteger(), nullable=True),
        sa.Column("price", sa.Numeric(precision=18, scale=6), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("network", sa.Text(), nullable=True),
        sa.Column("fingerprint", sa.BigInteger(), nullable=False),
        sa.Column("verified", sa.Boolean(), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.Column("details", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inbox")),
        postgresql_with={"autovacuum_vacuum_scale_factor": "0.0", "autovacuum_vacuum_threshold": "10000"},
    )
    op.create_table(
        "message_state",
        sa.Column("message_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("delivery_id", sa.BigInteger(), nullable=False),
        sa.Column("gateway_id", sa.Integer(), nullable=True),
        sa.Column("proof", sa.Boolean(), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "pending",
                "cancelled",
                "submitted",
                "accepted",
                "sent",
                "no_receipt",
                "failed",
                "received",
                name="message_status",
            ),
            nullable=False,
        ),
        sa.Column("qualification_id", sa.Integer(), nullable=True),
        sa.Column("receipt_id", sa.BigInteger(), nullable=True),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("submitted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deadline", sa.DateTime(timezone=True), nullable=True),
        sa.Column("parts", sa.SmallInteger(), nullable=False),
        sa.Column("parts_received", sa.SmallInteger(), nullable=False),
        sa.Column("accepted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("contradictory", sa.Boolean(), nullable=False),
        sa.Column("unknown_receipts", sa.Integer(), nullable=False),
        sa.Column("price", sa.Numeric(precision=18, scale=6), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_message_state")),
    )
    op.create_index(
        "ix_message_state_contradictory",
        "message_state",
        ["delivery_id", "message_id"],
        unique=False,
        postgresql_where="contradictory",
    )
    op.create_index(
        "ix_message_state_deadline",
        "message_state",
        ["deadline"],
        unique=False,
        postgresql_where=sa.text("status IN ('submitted', 'accepted', 'sent')"),
    )
    op.create_index(
        "ix_message_state_delivery_id_status_message_id",
        "message_state",
        ["delivery_id", "status", "message_id"],
        unique=False,
    )
    op.create_index(
        "ix_message_state_gateway", "message_state", ["delivery_id", "gateway_id", "status", "message_id"], unique=False
    )
    op.create_index(
        "ix_message_state_qualification",
        "message_state",
        ["delivery_id", "qualification_id", "message_id"],
        unique=False,
        postgresql_where=sa.text("qualification_id IS NOT NULL"),
    )
    op.create_table(
        "platform",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_platform")),
        comment="Secrets and marks of this installation, made on first start",
    )
    op.create_table(
        "qualifications",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("implementation", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("failure_type", sa.Enum("hard", "soft", "ignored", "undefined", name="failure_type"), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("state", sa.Enum("keep", "ignore", "to_qualify", name="qualification_state"), nullable=False),
        sa.Column("first_text", sa.Text(), nullable=True),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_qualifications")),
        sa.UniqueConstraint(
            "implementation", "status", "code", name=op.f("uq_qualifications_implementation_status_code")
        ),
    )
    op.create_table(
        "receipts",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("correlation_id", sa.BigInteger(), nullable=False),
        sa.Column("qualification_id", sa.Integer(), nullable=True),
        sa.Column("gateway_id", sa.Integer(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "pending",
                "cancelled",
                "submitted",
                "accepted",
                "sent",
                "no_receipt",
                "failed",
                "received",
                name="message_status",
            ),
            nullable=True,
        ),
        sa.Column("status_text", sa.Text(), nullable=False),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_text", sa.Text(), nullable=True),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("part", sa.SmallInteger(), nullable=True),
        sa.Column("parts", sa.SmallInteger(), nullable=True),
        sa.Column("price", sa.Numeric(precision=18, scale=6), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("network", sa.Text(), nullable=True),
        sa.Column("fingerprint", sa.BigInteger(), nullable=False),
        sa.Column("verified", sa.Boolean(), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.Column("details", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_receipts")),
    )
    op.create_index("ix_receipts_correlation_id", "receipts", ["correlation_id"], unique=False)
    op.create_table(
        "rejected",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("gateway_id", sa.Integer(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("request", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.Column("retried_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rejected")),
    )
    op.create_index("ix_rejected_received_at_id", "rejected", ["received_at", "id"], unique=False)
    op.create_table(
        "spool_progress",
        sa.Column("spool_id", sa.Text(), nullable=False),
        sa.Column("last_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("spool_id", name=op.f("pk_spool_progress")),
        comment="How far each local spool has been drained: written in the transaction that brings the rows",
    )
    op.create_table(
        "submissions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False, cache=100), nullable=False),
        sa.Column("message_id", sa.BigInteger(), nullable=False),
        sa.Column("gateway_id", sa.Integer(), nullable=False),
        sa.Column("submitted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("provider_message_ids", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_text", sa.Text(), nullable=True),
        sa.Column("qualification_id", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_submissions")),
    )
    op.create_index("ix_submissions_message_id", "submissions", ["message_id"], unique=False)
    op.create_table(
        "deliveries",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=True),
        sa.Column("gateway_id", sa.Integer(), nullable=True),
        sa.Column("default_region", sa.Text(), nullable=True),
        sa.Column("validity_seconds", sa.Integer(), nullable=False),
        sa.Column("tracking", sa.Boolean(), nullable=False),
        sa.Column("metadata", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "editing",
                "preparing",
                "prepared",
                "in_progress",
                "finished",
                "cancelled",
                "failed",
                name="delivery_status",
            ),
            nullable=False,
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("first_receipt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["gateway_id"], ["gateways.id"], name=op.f("fk_deliveries_gateway_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
    )
    op.create_index("ix_deliveries_status_id", "deliveries", ["status", "id"], unique=False)
    op.create_table(
        "messages",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False, cache=100), nullable=False),
        sa.Column("delivery_id", sa.BigInteger(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("recipient_id", sa.Text(), nullable=True),
        sa.Column("reference", sa.Text(), nullable=True),
        sa.Column("gateway_id", sa.Integer(), nullable=True),
        sa.Column("proof", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("cancelled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expired_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["delivery_id"], ["deliveries.id"], name=op.f("fk_messages_delivery_id")),
        sa.ForeignKeyConstraint(["gateway_id"], ["gateways.id"], name=op.f("fk_messages_gateway_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_messages")),
    )
    op.create_index("ix_messages_address_delivery_id", "messages", ["address", "delivery_id"], unique=False)
    op.create_index("ix_messages_delivery_id_id", "messages", ["delivery_id", "id"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_messages_delivery_id_id", table_name="messages")
    op.drop_index("ix_messages_address_delivery_id", table_name="messages")
    op.drop_table("messages")
    op.drop_index("ix_deliveries_status_id", table_name="deliveries")
    op.drop_table("deliveries")
    op.drop_index("ix_submissions_message_id", table_name="submissions")
    op.drop_table("submissions")
    op.drop_table("spool_progress")
    op.drop_index("ix_rejected_received_at_id", table_name="rejected")
    op.drop_table("rejected")
    op.drop_index("ix_receipts_correlation_id", table_name="receipts")
    op.drop_table("receipts")
    op.drop_table("qualifications")
    op.drop_table("platform")
    op.drop_index(
        "ix_message_state_qualification",
        table_name="message_state",
        postgresql_where=sa.text("qualification_id IS NOT NULL"),
    )
    op.drop_index("ix_message_state_gateway", table_name="message_state")
    op.drop_index("ix_message_state_delivery_id_status_message_id", table_name="message_state")
    op.drop_index(
        "ix_message_state_deadline",
        table_name="message_state",
        postgresql_where=sa.text("status IN ('submitted', 'accepted', 'sent')"),
    )
    op.drop_index("ix_message_state_contradictory", table_name="message_state", postgresql_where="contradictory")
    op.drop_table("message_state")
    op.drop_table("inbox")
    op.drop_table("idempotency")
    op.drop_index("uq_gateways_key_alive", table_name="gateways", postgresql_where=sa.text("deleted_at IS NULL"))
    op.drop_table("gateways")
    op.drop_table("counters")
    op.drop_index("ix_correlations_via", table_name="correlations", postgresql_where=sa.text("via IS NOT NULL"))
    op.drop_index(
        "ix_correlations_unmatched",
        table_name="correlations",
        postgresql_where=sa.text("message_id IS NULL AND bearing"),
    )
    op.drop_index(
        "ix_correlations_message_id", table_name="correlations", postgresql_where=sa.text("message_id IS NOT NULL")
    )
    op.drop_table("correlations")
    op.drop_table("audit_heads")
    op.drop_table("audit")
    op.drop_table("api_keys")
    for name in (
        "message_status",
        "delivery_status",
        "failure_type",
        "qualification_state",
        "correlation_kind",
        "correlation_origin",
    ):
        op.execute(f"DROP TYPE {name}")
