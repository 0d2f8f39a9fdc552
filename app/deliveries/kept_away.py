"""Who must not be sent to now: the quarantine is asked by all names of a phone."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from app.db import Connection, load_queries
from app.identities import spellings
from app.privacy import pseudonyms

QUERIES = load_queries(__file__, "sending.sql")
_STRICTER_FIRST = {"denylisted": 0, "quarantined": 1}


async def kept_away(connection: Connection, addresses: Collection[str], sender: str) -> dict[str, str]:
    """Of `addresses` those that are denylisted or quarantined, whoever sends or for `sender`, with the stricter word; in whatever
    spelling of the phone that stands, and also when its number was erased."""
    known = await pseudonyms.load(connection) if await pseudonyms.any_erased(connection) else None
    names = {address: spellings(address) if known is None else known.names(address) for address in addresses}
    said = await said_of(connection, names.values(), sender)
    if not said:
        return {}
    found = {address: said.get(strictest(each, said)) for address, each in names.items()}
    return {address: status for address, status in found.items() if status is not None}


async def said_of(connection: Connection, phones: Iterable[Sequence[str]], sender: str) -> Mapping[str, str]:
    """By name, what forbids to send to it, by `sender` or whoever sends. `phones`: the names of each."""
    names = sorted({name for each in phones for name in each})
    return {row["address"]: row["status"] for row in await connection.fetch(QUERIES["find_kept_away"], names, sender)}


def strictest(names: Sequence[str], said: Mapping[str, str]) -> str:
    """The name of which the stricter word is said; the first one when nothing is said of any."""
    return min(names, key=lambda name: _STRICTER_FIRST.get(said.get(name, ""), len(_STRICTER_FIRST)))
