"""Who must not be sent to now: the quarantine is asked by all names of a phone."""

from collections.abc import Collection

from app.db import Connection, load_queries
from app.identities import spellings
from app.privacy import pseudonyms

QUERIES = load_queries(__file__, "sending.sql")


async def kept_away(connection: Connection, addresses: Collection[str], sender: str) -> dict[str, str]:
    """Of `addresses` those that are denylisted or quarantined, whoever sends or for `sender`, with the stricter word; in whatever
    spelling of the phone that stands, and also when its number was erased."""
    known = await pseudonyms.load(connection) if await pseudonyms.any_erased(connection) else None
    names = {address: spellings(address) if known is None else known.names(address) for address in addresses}
    asked = sorted({name for each in names.values() for name in each})
    rows = await connection.fetch(QUERIES["find_kept_away"], asked, sender)
    statuses = {row["address"]: row["status"] for row in rows}
    found: dict[str, str] = {}
    for address, each in names.items() if statuses else ():
        said = {statuses[name] for name in each if name in statuses}
        if said:
            found[address] = "denylisted" if "denylisted" in said else said.pop()
    return found
