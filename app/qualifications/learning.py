"""Errors that nobody has met yet get a row of their own."""

from datetime import datetime

from app.db import Connection
from app.qualifications.rules import Qualified

_MET = """
INSERT INTO qualifications (
    implementation, status, error_code, failure_type, reason, sentence, state, first_text, first_seen_at, last_seen_at,
    updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9, $9)
ON CONFLICT (implementation, status, error_code) DO NOTHING
"""


async def met(
    connection: Connection,
    implementation: str,
    status: str,
    error_code: str,
    what: Qualified,
    text: str | None,
    now: datetime,
) -> None:
    """An error of a gateway: what it means as far as its provider documents it, for an operator to confirm or correct. One
    that has a row already keeps it. The caller commits."""
    await connection.execute(
        _MET, implementation, status, error_code, what.failure_type, what.reason, what.sentence, what.state, text, now
    )
