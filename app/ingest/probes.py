"""What is tried when something that waits cannot be applied: its like, which moves what it would and says nothing that somebody
else has said; and another, which has nothing to do with it and goes the same way. All of it is taken back.
"""

from app.db import Connection, load_queries
from app.ingest.kinds import KINDS, PROBE, WholeRow
from app.ingest.rows import InboundRow, InboxRow
from app.links.clicks import ClickRow, new_id

QUERIES = load_queries(__file__, "probes.sql")


def like(row: WholeRow) -> WholeRow:
    """Of a receipt: of the same ids, status and parts. Of a reply: from the same phone to the same number, so that it decides
    about the same address. Of a click: on the same message and link."""
    if isinstance(row, InboxRow):
        return row._replace(
            raw_message_id=None, status_text=PROBE, error_code=None, error_text=None, occurred_at=None, price=None,
            currency=None, network=None, failure_key=row.failure_key and PROBE, fingerprint=row.fingerprint ^ 1,
            raw=b"probe", details=None,
        )  # fmt: skip
    if isinstance(row, InboundRow):
        return row._replace(text="STOP", provider_message_id=None, raw=b"probe")
    assert isinstance(row, ClickRow)
    return _visited(row._replace(id=new_id(), reasons=[], device="other", agent=PROBE, network=None, times=1))


async def some_receipt(connection: Connection) -> InboxRow | None:
    """Of the newest message that has an id, or of none."""
    found = await connection.fetchrow(QUERIES["find_some_key"], PROBE)
    row: InboxRow = KINDS[InboxRow].like(None)
    if found is None:
        return None
    return row._replace(gateway_id=found["gateway_id"], provider_message_id=found["value"])


async def some_reply(connection: Connection) -> InboundRow | None:
    """By any gateway."""
    gateway_id = await connection.fetchval(QUERIES["find_some_gateway"])
    row: InboundRow = KINDS[InboundRow].like(None)
    return gateway_id and row._replace(gateway_id=gateway_id)


async def some_click(connection: Connection) -> ClickRow:
    """On the newest message, or on none."""
    found = await connection.fetchrow(QUERIES["find_newest_message"])
    row: ClickRow = _visited(KINDS[ClickRow].like(None))
    return row._replace(message_id=found["id"], delivery_id=found["delivery_id"]) if found else row


def _visited(row: ClickRow) -> ClickRow:
    """With a visit it goes the whole way."""
    return row._replace(visit={"method": "GET"})
