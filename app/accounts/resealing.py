"""Sealing what stands in the database: what older versions left in clear, and everything anew when the key changes."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from app import installation
from app.accounts import store
from app.db import Connection, load_queries
from app.sealing import (
    KEY_ROW,
    PREFIX,
    SealError,
    SealKey,
    key_id_of,
    key_in_use,
    opened_secret,
    sealed_secret,
)

QUERIES = load_queries(__file__)

#: Rows of table `platform` that versions before sealing wrote in clear.
_ONCE_CLEAR = r"^(cursor_key|address_key|token_key_[0-9]+)$"

Fate = Literal["sealed", "done", "lost"]


async def seal_clear(connection: Connection) -> int:
    """Seals what is still in clear and says how much it was; nothing, nearly always. The caller commits."""
    rows = await connection.fetch(QUERIES["lock_clear"], _ONCE_CLEAR, f"{PREFIX}%")
    for row in rows:
        sealed = await sealed_secret(connection, row["key"], bytes.fromhex(row["value"]))
        await installation.put(connection, row["key"], sealed)
    gateways = await connection.fetch(QUERIES["lock_clear_auth"])
    for row in gateways:
        await _set_auth(connection, row["id"], await store.sealed_auth(connection, row["key"], row["auth"]))
    return len(rows) + len(gateways)


# --- anew ------------------------------------------------------------------------------------------------------------


async def reseal(connection: Connection) -> AsyncGenerator[tuple[str, Fate], None]:
    """Seals everything with the key in use, each in a transaction of its own, and names each with what became of it.
    Stopped half-way, it goes on where it was. At the end a key that stands in the database and is not needed is deleted."""
    async with connection.transaction():
        await seal_clear(connection)
        use = await key_in_use(connection)
    lost = False
    for name in await installation.values(connection, PREFIX):
        fate = await _reseal_secret(connection, name, use)
        lost |= fate == "lost"
        yield name, fate
    for id in [row["id"] for row in await connection.fetch(QUERIES["list_gateway_ids"])]:
        name, fate = await _reseal_gateway(connection, id, use)
        lost |= fate == "lost"
        yield name, fate
    if not lost:
        await _drop_database_key(connection, use)


async def _reseal_secret(connection: Connection, name: str, use: SealKey) -> Fate:
    async with connection.transaction():
        value = await installation.lock(connection, name)
        if value is None or key_id_of(value) == use.id:
            return "done"
        try:
            secret = await opened_secret(connection, name, value)
        except SealError:
            return "lost"
        sealed = await sealed_secret(connection, name, secret)
        await installation.put(connection, name, sealed)
        return "sealed"


async def _reseal_gateway(connection: Connection, id: int, use: SealKey) -> tuple[str, Fate]:
    async with connection.transaction():
        row = await connection.fetchrow(QUERIES["lock_auth"], id)
        assert row is not None, "gateways are never removed"
        name, sealed = f"gateway {row['key']}", row["auth"].get("sealed")
        if sealed is None or key_id_of(sealed) == use.id:
            return name, "done"
        auth = await store.opened_auth(connection, row["key"], row["auth"])
        if auth["mode"] == store.UNREADABLE:
            return name, "lost"
        await _set_auth(connection, id, await store.sealed_auth(connection, row["key"], auth))
        return name, "sealed"


async def _set_auth(connection: Connection, id: int, auth: object) -> None:
    await connection.execute(QUERIES["set_auth"], id, auth)


async def _drop_database_key(connection: Connection, use: SealKey) -> None:
    """One that stands beside what it seals, when another is in use."""
    async with connection.transaction():
        stands = await installation.lock(connection, KEY_ROW)
        if stands is not None and SealKey.of(stands).id != use.id:
            await installation.delete(connection, KEY_ROW)


# --- what stands -----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Survey:
    """What is sealed by which key, for `acuse doctor`."""

    #: Names of what each key sealed, by its id.
    by_key: dict[str, list[str]] = field(default_factory=dict)
    clear: list[str] = field(default_factory=list)

    def needing(self, key_ids: Sequence[str]) -> list[str]:
        """What none of these keys opens."""
        return [name for key_id, names in self.by_key.items() if key_id not in key_ids for name in names]


async def survey(connection: Connection) -> Survey:
    found = Survey()
    for name, value in (await installation.values(connection, PREFIX)).items():
        found.by_key.setdefault(key_id_of(value), []).append(f"`{name}`")
    found.clear = [
        f"`{row['key']}`" for row in await connection.fetch(QUERIES["list_clear"], _ONCE_CLEAR, f"{PREFIX}%")
    ]
    for row in await connection.fetch(QUERIES["list_auth"]):
        if "sealed" in row["auth"]:
            found.by_key.setdefault(key_id_of(row["auth"]["sealed"]), []).append(f"gateway {row['key']}")
        elif row["auth"].get("secrets"):
            found.clear.append(f"gateway {row['key']}")
    return found
