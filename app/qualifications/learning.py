"""Errors that nobody has met yet get a row of their own."""

from datetime import datetime

from app.db import Connection, load_queries
from app.qualifications.rules import Qualified

QUERIES = load_queries(__file__)


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
        QUERIES["add_qualification"],
        implementation, status, error_code, what.failure_type, what.reason, what.sentence, what.state, text, now,
    )  # fmt: skip
