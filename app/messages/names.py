"""Messages by what others call them: the phone, the recipient, a reference, a provider's id. Few of millions, by indexes.

The caller's transaction is a `snapshot`; nothing here depends on how many messages there are.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db import load_queries, plain
from app.identities import spellings
from app.privacy import disguises, pseudonyms
from app.references import message_of

QUERIES = load_queries(__file__, "names.sql")
BY_ADDRESS = text(QUERIES["list_ids_of_address"])
BY_RECIPIENT = text(QUERIES["list_ids_of_recipient"])
BY_KEYS = text(QUERIES["list_ids_of_keys"])
OURS = text(QUERIES["find_ours"])
GATEWAYS = text(QUERIES["list_gateways"])
#: More of one name are not looked through: those with the highest ids are.
MOST = 10_000

#: Gateway and canonical text of a provider's id.
Keys = Sequence[tuple[int, str]]


class Named(Protocol):
    """All that is given must hold."""

    @property
    def address(self) -> str | None: ...
    @property
    def recipient_id(self) -> str | None: ...
    @property
    def reference(self) -> str | None: ...
    @property
    def provider_message_id(self) -> str | None: ...


async def candidates(connection: AsyncConnection, asked: Named, keys: Keys, delivery: int | None) -> list[int]:
    """Messages, proofs among them, in the order of their ids. `keys`: under which the provider's id can stand."""
    place = {"delivery": delivery}
    found: list[set[int]] = []
    if asked.address is not None:
        addresses = await _names(connection, asked.address)
        values: dict[str, Any] = {"addresses": addresses, "limit": MOST, **place}
        found.append(await _ids(connection, BY_ADDRESS, values))
    if asked.recipient_id is not None:
        # PostgreSQL does not know how few blocks this index leaves, and would read all of them.
        await connection.execute(text("SET LOCAL enable_seqscan = off"))
        values = {"recipient_id": asked.recipient_id, "limit": MOST, **place}
        found.append(await _ids(connection, BY_RECIPIENT, values))
        await connection.execute(text("SET LOCAL enable_seqscan = on"))
    if asked.reference is not None:
        found.append(await _by_reference(connection, asked.reference, place))
    if asked.provider_message_id is not None:
        found.append(await _by_keys(connection, "id", keys, place))
    return sorted(set.intersection(*found)) if found else []


async def _names(connection: AsyncConnection, address: str) -> list[str]:
    """All that the phone's messages may stand under: its spellings, and once numbers were erased their pseudonyms."""
    driver = await plain(connection)
    if not await pseudonyms.any_erased(driver):
        return list(spellings(address))
    return list((await pseudonyms.load(driver)).names(address))


async def _by_reference(connection: AsyncConnection, reference: str, place: Mapping[str, Any]) -> set[int]:
    ours = message_of(reference)
    if ours is not None and (found := await _ids(connection, OURS, {"id": ours, **place})):
        return found
    gateways = (await connection.execute(GATEWAYS)).scalars().all()
    return await _by_keys(connection, "reference", [(id, reference) for id in gateways], place)


async def _by_keys(connection: AsyncConnection, kind: str, keys: Keys, place: Mapping[str, Any]) -> set[int]:
    known = await disguises.known(await plain(connection), {value for _, value in keys})
    values = {
        "kind": kind,
        "gateways": [gateway for gateway, _ in keys],
        "names": [known.get(value, value) for _, value in keys],
        **place,
    }
    return await _ids(connection, BY_KEYS, values)


async def _ids(connection: AsyncConnection, query: TextClause, values: Mapping[str, Any]) -> set[int]:
    return set((await connection.execute(query, values)).scalars())
