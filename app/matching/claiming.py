"""Keys of messages, claimed: the provider ids and references by which receipts find them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import asyncpg

from app.db import Connection
from app.gateways.ids import canonical
from app.gateways.receipt import Gateway
from app.matching.sql import QUERIES
from app.privacy import disguises

Key = tuple[int, str, str]  # gateway id, kind, canonical value


class KeyTaken(Exception):
    """Another transaction gave one of the chunk's keys away meanwhile: the chunk is tried again."""


@dataclass(frozen=True, slots=True)
class Keyed:
    """A key and the message it is to belong to."""

    key: Key
    raw: str
    part: int | None
    message_id: int

    def under(self, name: str | None) -> "Keyed":
        """The same by the name that it has since it was erased, if any."""
        return self if name is None else replace(self, key=(*self.key[:2], name), raw=name)


def id_keys(message_id: int, gateway: Gateway, provider_ids: Sequence[str]) -> Iterator[Keyed]:
    for part, raw in enumerate(provider_ids, start=1):
        yield Keyed(id_key(gateway, raw), raw, part, message_id)


def id_key(gateway: Gateway, raw: str) -> Key:
    return (gateway.id, "id", canonical(raw, gateway.options.submission_id_format))


def _columns(keys: Iterable[Key]) -> tuple[list[int], list[str], list[str]]:
    gateways, kinds, values = [], [], []
    for gateway, kind, value in keys:
        gateways.append(gateway)
        kinds.append(kind)
        values.append(value)
    return gateways, kinds, values


async def give_keys(connection: Connection, keyed: Sequence[Keyed], now: datetime) -> list[int]:
    """Returns the messages that lose a key by it, or whose receipts are found by it: they are to be folded too."""
    if not keyed:
        return []
    if known := await disguises.known(connection, {each.key[2] for each in keyed}):
        keyed = [each.under(known.get(each.key[2])) for each in keyed]
    columns = _columns(each.key for each in keyed)
    losers = [row["message_id"] for row in await connection.fetch(QUERIES["find_former_owners"], *columns)]
    given = await connection.fetch(
        QUERIES["claim_keys"], *columns, [each.raw for each in keyed], [each.part for each in keyed],
        [each.message_id for each in keyed], now,
    )  # fmt: skip
    if len(given) != len(keyed):
        raise KeyTaken
    references = [row["id"] for row in given]
    if any(each.key[1] == "reference" for each in keyed):
        await connection.execute(QUERIES["follow_references"], references)
    return losers


async def find_owners(connection: Connection, keys: Iterable[Key]) -> Mapping[Key, asyncpg.Record]:
    keys = list(keys)
    known = await disguises.known(connection, {value for _, _, value in keys})
    named = {(gateway, kind, known.get(value, value)): (gateway, kind, value) for gateway, kind, value in keys}
    rows = await connection.fetch(QUERIES["find_taken_keys"], *_columns(named))
    return {named[row["gateway_id"], row["kind"], row["value"]]: row for row in rows}
