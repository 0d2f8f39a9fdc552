"""All SQL of gateways, API keys and the installation's own secrets. Plain asyncpg: changes are journalled in the same
transaction, and the journal is written so. Nobody here commits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
import orjson

from app.api import excerpts
from app.db import Connection, load_queries
from app.gateways.receipt import Gateway
from app.sealing import SealError, key_in_use, opened
from app.security import Principal

QUERIES = load_queries(__file__)

#: In place of an auth mode: the secrets are sealed with a key that is not here.
UNREADABLE = "unreadable"


def is_empty(error: BaseException) -> bool:
    """True when `error` says that the database has no schema (yet)."""
    return isinstance(error, asyncpg.UndefinedTableError | asyncpg.InvalidCatalogNameError)


# --- gateways --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayRow:
    """A row of `gateways`. `options` as given, defaults left out; `auth` holds the secrets, opened; when they cannot be
    opened, mode `unreadable` and why (`fault`)."""

    id: int
    key: str
    kind: str
    label: str
    implementation: str
    options: Mapping[str, Any]
    auth: Mapping[str, Any]
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None
    #: None: those that are shipped.
    reply_rules: Sequence[Mapping[str, Any]] | None = None
    #: How many receipts it had when it was deleted.
    receipts_before: int | None = None


async def all_gateways(connection: Connection) -> Sequence[GatewayRow]:
    """Deleted ones, too."""
    return [await _read(connection, row) for row in await connection.fetch(QUERIES["list_all_gateways"])]


async def gateway(connection: Connection, key: str, *, locked: bool = False) -> GatewayRow | None:
    """The living gateway `key`; `locked`: held against other changes until the caller's transaction ends."""
    row = await connection.fetchrow(QUERIES["lock_gateway" if locked else "find_gateway"], key)
    return None if row is None else await _read(connection, row)


async def deleted_gateway(connection: Connection, key: str) -> GatewayRow | None:
    """The newest deleted gateway `key`, held until the caller's transaction ends."""
    row = await connection.fetchrow(QUERIES["lock_deleted_gateway"], key)
    return None if row is None else await _read(connection, row)


async def in_transit(connection: Connection, gateway_id: int) -> int:
    """Messages of this gateway that wait for a final receipt, by the counters."""
    count: int = await connection.fetchval(QUERIES["count_in_transit"], gateway_id)
    return count


async def receipts_since_deletion(connection: Connection) -> Sequence[asyncpg.Record]:
    """Deleted gateways: `key`, `deleted_at`, and how many `receipts` they have had since."""
    return await connection.fetch(QUERIES["list_receipts_since_deletion"])


async def gateways_after(connection: Connection, key: str, limit: int | None) -> tuple[Sequence[GatewayRow], int]:
    """Living gateways whose key comes after `key`, and how many there are in all."""
    rows = await connection.fetch(QUERIES["list_gateways"], key, limit)
    total = await connection.fetchval(QUERIES["count_gateways"])
    return [await _read(connection, row) for row in rows], total


async def insert_gateway(
    connection: Connection,
    *,
    key: str,
    kind: str,
    label: str,
    implementation: str,
    options: Mapping[str, Any],
    auth: Mapping[str, Any],
    now: datetime,
) -> GatewayRow | None:
    """None when a living gateway has this key."""
    row = await connection.fetchrow(
        QUERIES["add_gateway"], key, kind, label, implementation, options, await sealed_auth(connection, key, auth), now
    )
    return None if row is None else await _read(connection, row)


async def update_gateway(connection: Connection, row: GatewayRow, now: datetime) -> GatewayRow:
    """Writes label, implementation, options, auth and `deleted_at` of `row`; with that, how many receipts it had."""
    written = await connection.fetchrow(
        QUERIES["update_gateway"],
        row.id, row.label, row.implementation, row.options, await sealed_auth(connection, row.key, row.auth),
        row.deleted_at, now,
    )  # fmt: skip
    assert written is not None
    return await _read(connection, written)


async def _read(connection: Connection, row: asyncpg.Record) -> GatewayRow:
    fields = dict(row)
    fields["auth"] = await opened_auth(connection, fields["key"], fields["auth"])
    return GatewayRow(**fields)


async def sealed_auth(connection: Connection, key: str, auth: Mapping[str, Any]) -> Mapping[str, Any]:
    """`auth` of the gateway `key` as the table holds it: sealed whole where there are secrets in it."""
    if not auth.get("secrets"):
        return auth.get("as_it_stands", auth)  # type: ignore[no-any-return]
    return {"sealed": (await key_in_use(connection)).seal(_auth_purpose(key), orjson.dumps(auth))}


async def opened_auth(connection: Connection, key: str, auth: Mapping[str, Any]) -> Mapping[str, Any]:
    """What `sealed_auth` made, or an older version left in clear. What cannot be opened has mode `unreadable`."""
    if "sealed" not in auth:
        return auth
    try:
        found: Mapping[str, Any] = orjson.loads(await opened(connection, _auth_purpose(key), auth["sealed"]))
    except SealError as error:
        return {"mode": UNREADABLE, "fault": str(error), "as_it_stands": auth}
    return found


def _auth_purpose(key: str) -> str:
    return f"gateways.{key}.auth"


async def gateway_figures(connection: Connection, gateway_id: int) -> dict[str, Any]:
    """`receipts`, `unmatched`, `rejected`, and `unknown_statuses` by word, from the platform's counters."""
    figures: dict[str, Any] = {"receipts": 0, "unmatched": 0, "rejected": 0, "unknown_statuses": {}}
    rows = await connection.fetch(QUERIES["list_figures"], gateway_id)
    for row in rows:
        if row["metric"] == "unknown":
            figures["unknown_statuses"][row["label"]] = row["value"]
        else:
            figures[row["metric"]] += row["value"]
    return figures


async def add_qualifications(connection: Connection, rows: Sequence[tuple[str, ...]], now: datetime) -> None:
    """`rows`: implementation, status, error code, failure type, reason, sentence. Those that stand already stay."""
    await connection.executemany(QUERIES["add_qualification"], [(*row, now) for row in rows])


# --- what a receipt would meet ---------------------------------------------------------------------------------------


async def message_of(connection: Connection, gateway: Gateway, kind: str, value: str) -> asyncpg.Record | None:
    """The message that `value` (a canonical id, or a reference) belongs to, and its state; None: nobody knows."""
    return await connection.fetchrow(QUERIES["find_message_of"], gateway.id, kind, value)


async def qualification(connection: Connection, implementation: str, status: str, error_code: str) -> Any:
    return await connection.fetchrow(QUERIES["find_qualification"], implementation, status, error_code)


# --- API keys --------------------------------------------------------------------------------------------------------


async def principals(connection: Connection) -> dict[bytes, Principal]:
    rows = await connection.fetch(QUERIES["list_principals"])
    return {row["hash"]: Principal(name=row["name"], scopes=frozenset(row["scopes"])) for row in rows}


async def keys_after(connection: Connection, name: str, limit: int | None) -> tuple[Sequence[asyncpg.Record], int]:
    """API keys whose name comes after `name`, and how many there are in all."""
    rows = await connection.fetch(QUERIES["list_keys"], name, limit)
    return rows, await connection.fetchval(QUERIES["count_keys"])


async def insert_key(connection: Connection, name: str, hash: bytes, scopes: Sequence[str], now: datetime) -> bool:
    """False when the name is taken."""
    inserted = await connection.fetchval(QUERIES["add_key"], name, hash, scopes, now)
    return inserted is True


async def hold_key(connection: Connection, name: str) -> asyncpg.Record | None:
    """Its `scopes` and `created_at`; it is held. None: there is none of that name."""
    return await connection.fetchrow(QUERIES["lock_key"], name)


async def hold_keys(connection: Connection) -> None:
    """From now until the commit nobody else adds or deletes keys; reading goes on."""
    await connection.execute(QUERIES["lock_keys"])


async def other_admins(connection: Connection, name: str) -> int:
    count: int = await connection.fetchval(QUERIES["count_other_admins"], name)
    return count


async def delete_key(connection: Connection, name: str) -> None:
    await connection.execute(QUERIES["delete_key"], name)


async def any_key(connection: Connection) -> bool:
    return await connection.fetchval(QUERIES["has_keys"]) is True


async def set_key(connection: Connection, name: str, hash: bytes, scopes: Sequence[str], now: datetime) -> bool:
    """Makes `name` the key with this hash and these scopes; False when it was that already, or another key has the
    hash and all the scopes. Raises `UniqueViolationError` when another has the hash and fewer of them."""
    has = await connection.fetchval(QUERIES["find_scopes"], hash)
    if has is not None and set(scopes) <= set(has):
        return False
    await connection.execute(QUERIES["set_key"], name, hash, scopes, now)
    return True


# --- the installation ------------------------------------------------------------------------------------------------


async def change_mark(connection: Connection) -> str:
    """Another text whenever a gateway or a key was added, changed or removed. By transaction ids, not by clocks."""
    mark: str = await connection.fetchval(QUERIES["find_change_mark"])
    return mark


# --- the journal -----------------------------------------------------------------------------------------------------


async def delivery_exists(connection: Connection, delivery_id: int) -> bool:
    return await connection.fetchval(QUERIES["has_delivery"], delivery_id) is True


async def journal_before(
    connection: Connection, chain: int, level: str | None, seq: int | None, limit: int
) -> Sequence[asyncpg.Record]:
    """Entries of `chain`, newest first, before number `seq`, weighed."""
    return await connection.fetch(_JOURNAL, chain, level, seq, limit)


_JOURNAL = excerpts.weighed_text(
    QUERIES["list_entries"],
    weight="octet_length(data::text) + octet_length(text) + coalesce(octet_length(beside::text), 0)",
    order="seq DESC",
)


async def journal_length(connection: Connection, chain: int, level: str | None) -> int:
    """Without a level this is the chain's head, not a count."""
    if level is None:
        return await connection.fetchval(QUERIES["find_length"], chain) or 0
    count: int = await connection.fetchval(QUERIES["count_entries"], chain, level)
    return count
