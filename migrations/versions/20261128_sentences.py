"""Errors that were qualified, and still say that nobody qualified them, say what was decided.

As `app/qualifications/sentences.py` puts it for every later change.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "f27a6b90d3e5"
down_revision: str | None = "c6f18e02b94d"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_NEW = (
    "The provider reported an error that nobody has qualified yet: the message failed, the address is left "
    "alone. Look the code up with the provider and qualify it."
)
_CAUSES = {
    "not_defined": "The provider reported an error, and no reason is given for it.",
    "user_unknown": "The number is not in use, or the network does not know it.",
    "invalid_domain": "The number's network could not be found.",
    "unreachable": "The phone could not be reached: off or out of coverage.",
    "account_disabled": "The subscriber is barred from the network.",
    "mailbox_full": "The phone could not store the message: its memory is full.",
    "not_connected": "The phone was not connected to the network.",
    "denylisted": "The person does not want messages.",
    "invalid_address": "The provider calls the number invalid.",
    "size_limited": "The message was too long.",
    "refused": "The message was refused.",
    "error_ignored": "The message was not delivered, for a cause that has nothing to do with the phone.",
}
_EFFECTS = {
    "hard": "The address is quarantined at once.",
    "soft": "It counts as a temporary error; an address where this goes on for days is quarantined.",
    "ignored": "It says nothing about the address, which is left alone.",
    "undefined": "What it says about the address is not decided: the address is left alone.",
}
_OPTED_OUT = "The address is denylisted for this sender."
_MUTE = "The address is left alone."


def upgrade() -> None:
    connection = op.get_bind()
    found = sa.text(
        "SELECT id, failure_type::text AS failure_type, reason, state::text AS state FROM qualifications "
        "WHERE sentence = :new AND (failure_type, reason, state) <> ('undefined', 'refused', 'to_qualify')"
    )
    for row in connection.execute(found, {"new": _NEW}).all():
        said = f"{_CAUSES.get(row.reason, _CAUSES['not_defined'])} {_effect(row)}"
        change = sa.text("UPDATE qualifications SET sentence = :said WHERE id = :id")
        connection.execute(change, {"said": said, "id": row.id})


def _effect(row: sa.Row[tuple[int, str, str, str]]) -> str:
    if row.state == "ignore":
        return _MUTE
    if row.reason == "denylisted" and row.failure_type in ("hard", "soft"):
        return _OPTED_OUT
    return _EFFECTS[row.failure_type]


def downgrade() -> None:
    """The sentences stay: they are true in every version."""
