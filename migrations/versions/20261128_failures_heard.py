"""A failure stands at the earlier of its own time and our hearing of it: addresses for which that makes a difference are
examined anew.

They are found by their row alone: one that says it is so since a time that had not come when it was written, or since a few
minutes after somebody had released the number.
"""

from collections.abc import Sequence

from alembic import op

revision: str = "c6f18e02b94d"
down_revision: str | None = "6e1f0a94c7d2"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.execute(
        """
        INSERT INTO to_examine (address)
        SELECT address FROM quarantine WHERE since > updated_at OR last_error_at > updated_at
        UNION
        SELECT q.address FROM decisions d JOIN quarantine q ON q.address = d.address
        WHERE d.kind IN ('release', 'allow') AND q.since BETWEEN d.at AND d.at + interval '10 minutes'
        ORDER BY 1
        ON CONFLICT DO NOTHING
        """
    )


def downgrade() -> None:
    """What is queued is examined by the rules of then."""
