"""All SQL of gateways, API keys and the installation's own secrets. Plain asyncpg: changes are journalled in the same
transaction, and the journal is written so. Nobody here commits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
import orjson

from app.api import excerpts
from app.db import Connection
from app.gateways.receipt import Gateway
from app.sealing import SealError, key_in_use, opened
from app.security import Principal

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
    return [await _read(connection, row) for row in await connection.fetch("SELECT * FROM gateways ORDER BY id")]


async def gateway(connection: Connection, key: str, *, locked: bool = False) -> GatewayRow | None:
    """The living gateway `key`; `locked`: held against other changes until the caller's transaction ends."""
    lock = " FOR UPDATE" if locked else ""
    row = await connection.fetchrow(f"SELECT * FROM gateways WHERE key = $1 AND deleted_at IS NULL{lock}", key)
    return None if row is None else await _read(connection, row)


async def deleted_gateway(connection: Connection, key: str) -> GatewayRow | None:
    """The newest deleted gateway `key`, held until the caller's transaction ends."""
    row = await connection.fetchrow(
        "SELECT * FROM gateways WHERE key = $1 AND deleted_at IS NOT NULL ORDER BY deleted_at DESC, id DESC LIMIT 1 "
        "FOR UPDATE",
        key,
    )
    return None if row is None else await _read(connection, row)


async def in_transit(connection: Connection, gateway_id: int) -> int:
    """Messages of this gateway that wait for a final receipt, by the counters."""
    count: int = await connection.fetchval(
        "SELECT coalesce(sum(c.value), 0)::bigint FROM deliveries d JOIN counters c ON c.delivery_id = d.id "
        "AND c.metric = 'status' AND c.gateway_id = $1 AND c.label IN ('submitted', 'accepted', 'sent')",
        gateway_id,
    )
    return count


async def receipts_since_deletion(connection: Connection) -> Sequence[asyncpg.Record]:
    """Deleted gateways: `key`, `deleted_at`, and how many `receipts` they have had since."""
    return await connection.fetch(
        "SELECT g.key, g.deleted_at, (coalesce(sum(c.value), 0) - coalesce(g.receipts_before, 0))::bigint AS receipts "
        "FROM gateways g LEFT JOIN counters c ON c.delivery_id = 0 AND c.metric = 'receipts' AND c.gateway_id = g.id "
        "WHERE g.deleted_at IS NOT NULL GROUP BY g.id ORDER BY g.key, g.id"
    )


async def gateways_after(connection: Connection, key: str, limit: int | None) -> tuple[Sequence[GatewayRow], int]:
    """Living gateways whose key comes after `key`, and how many there are in all."""
    rows = await connection.fetch(
        "SELECT * FROM gateways WHERE deleted_at IS NULL AND key > $1 ORDER BY key LIMIT $2", key, limit
    )
    total = await connection.fetchval("SELECT count(*) FROM gateways WHERE deleted_at IS NULL")
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
        "INSERT INTO gateways (key, kind, label, implementation, options, auth, created_at, updated_at) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7, $7) ON CONFLICT (key) WHERE deleted_at IS NULL DO NOTHING RETURNING *",
        key, kind, label, implementation, options, await sealed_auth(connection, key, auth), now,
    )  # fmt: skip
    return None if row is None else await _read(connection, row)


async def update_gateway(connection: Connection, row: GatewayRow, now: datetime) -> GatewayRow:
    """Writes label, implementation, options, auth and `deleted_at` of `row`; with that, how many receipts it had."""
    written = await connection.fetchrow(
        "UPDATE gateways SET label = $2, implementation = $3, options = $4, auth = $5, deleted_at = $6, updated_at = $7, "
        "receipts_before = CASE WHEN $6::timestamptz IS NOT NULL THEN (SELECT coalesce(sum(value), 0) FROM counters "
        "WHERE delivery_id = 0 AND metric = 'receipts' AND gateway_id = $1) END WHERE id = $1 RETURNING *",
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
    rows = await connection.fetch(
        "SELECT metric, label, sum(value)::bigint AS value FROM counters WHERE delivery_id = 0 AND gateway_id = $1 "
        "AND metric IN ('receipts', 'unmatched', 'rejected', 'unknown') GROUP BY metric, label ORDER BY metric, label",
        gateway_id,
    )
    for row in rows:
        if row["metric"] == "unknown":
            figures["unknown_statuses"][row["label"]] = row["value"]
        else:
            figures[row["metric"]] += row["value"]
    return figures


async def add_qualifications(connection: Connection, rows: Sequence[tuple[str, ...]], now: datetime) -> None:
    """`rows`: implementation, status, error code, failure type, reason, sentence. Those that stand already stay."""
    await connection.executemany(
        "INSERT INTO qualifications (implementation, status, error_code, failure_type, reason, sentence, state, updated_at) "
        "VALUES ($1, $2, $3, $4, $5, $6, 'keep', $7) ON CONFLICT (implementation, status, error_code) DO NOTHING",
        [(*row, now) for row in rows],
    )


# --- what a receipt would meet ---------------------------------------------------------------------------------------


async def message_of(connection: Connection, gateway: Gateway, kind: str, value: str) -> asyncpg.Record | None:
    """The message that `value` (a canonical id, or a reference) belongs to, and its state; None: nobody knows."""
    return await connection.fetchrow(
        "SELECT c.message_id, s.delivery_id, s.status::text AS status, s.parts, s.parts_received "
        "FROM correlations c JOIN message_state s ON s.message_id = c.message_id "
        "WHERE c.gateway_id = $1 AND c.kind = $2 AND c.value = $3",
        gateway.id, kind, value,
    )  # fmt: skip


async def qualification(connection: Connection, implementation: str, status: str, error_code: str) -> Any:
    return await connection.fetchrow(
        "SELECT id, failure_type::text AS failure_type, reason, sentence, state::text AS state FROM qualifications "
        "WHERE implementation = $1 AND status = $2 AND error_code = $3",
        implementation, status, error_code,
    )  # fmt: skip


# --- API keys --------------------------------------------------------------------------------------------------------


async def principals(connection: Connection) -> dict[bytes, Principal]:
    rows = await connection.fetch("SELECT name, hash, scopes FROM api_keys")
    return {row["hash"]: Principal(name=row["name"], scopes=frozenset(row["scopes"])) for row in rows}


async def keys_after(connection: Connection, name: str, limit: int | None) -> tuple[Sequence[asyncpg.Record], int]:
    """API keys whose name comes after `name`, and how many there are in all."""
    rows = await connection.fetch(
        "SELECT name, scopes, created_at FROM api_keys WHERE name > $1 ORDER BY name LIMIT $2", name, limit
    )
    return rows, await connection.fetchval("SELECT count(*) FROM api_keys")


async def insert_key(connection: Connection, name: str, hash: bytes, scopes: Sequence[str], now: datetime) -> bool:
    """False when the name is taken."""
    inserted = await connection.fetchval(
        "INSERT INTO api_keys (name, hash, scopes, created_at) VALUES ($1, $2, $3, $4) "
        "ON CONFLICT (name) DO NOTHING RETURNING true",
        name, hash, scopes, now,
    )  # fmt: skip
    return inserted is True


async def key_scopes(connection: Connection, name: str) -> Sequence[str] | None:
    """Holds the key. None: there is none of that name."""
    return await connection.fetchval("SELECT scopes FROM api_keys WHERE name = $1 FOR UPDATE", name)  # type: ignore[no-any-return]


async def hold_keys(connection: Connection) -> None:
    """From now until the commit nobody else adds or deletes keys; reading goes on."""
    await connection.execute("LOCK TABLE api_keys IN SHARE ROW EXCLUSIVE MODE")


async def other_admins(connection: Connection, name: str) -> int:
    count: int = await connection.fetchval(
        "SELECT count(*) FROM api_keys WHERE name <> $1 AND 'admin' = ANY (scopes)", name
    )
    return count


async def delete_key(connection: Connection, name: str) -> None:
    await connection.execute("DELETE FROM api_keys WHERE name = $1", name)


async def any_key(connection: Connection) -> bool:
    return await connection.fetchval("SELECT EXISTS (SELECT FROM api_keys)") is True


async def set_key(connection: Connection, name: str, hash: bytes, scopes: Sequence[str], now: datetime) -> bool:
    """Makes `name` the key with this hash and these scopes; False when it was that already, or another key has the
    hash and all the scopes. Raises `UniqueViolationError` when another has the hash and fewer of them."""
    has = await connection.fetchval("SELECT scopes FROM api_keys WHERE hash = $1", hash)
    if has is not None and set(scopes) <= set(has):
        return False
    await connection.execute(
        "INSERT INTO api_keys (name, hash, scopes, created_at) VALUES ($1, $2, $3, $4) "
        "ON CONFLICT (name) DO UPDATE SET hash = excluded.hash, scopes = excluded.scopes",
        name, hash, scopes, now,
    )  # fmt: skip
    return True


# --- the installation ------------------------------------------------------------------------------------------------


async def change_mark(connection: Connection) -> str:
    """Another text whenever a gateway or a key was added, changed or removed. By transaction ids, not by clocks."""
    mark: str = await connection.fetchval(
        "SELECT (SELECT coalesce(md5(string_agg(id || ':' || xmin, ',' ORDER BY id)), '') FROM gateways) || '/' || "
        "(SELECT coalesce(md5(string_agg(name || ':' || xmin, ',' ORDER BY name)), '') FROM api_keys)"
    )
    return mark


# --- the journal -----------------------------------------------------------------------------------------------------


async def delivery_exists(connection: Connection, delivery_id: int) -> bool:
    return await connection.fetchval("SELECT EXISTS (SELECT FROM deliveries WHERE id = $1)", delivery_id) is True


async def journal_before(
    connection: Connection, chain: int, level: str | None, seq: int | None, limit: int
) -> Sequence[asyncpg.Record]:
    """Entries of `chain`, newest first, before number `seq`, weighed."""
    return await connection.fetch(_JOURNAL, chain, level, seq, limit)


_JOURNAL = excerpts.weighed_text(
    "SELECT seq, at, level, code, text, actor, data, encode(hash, 'hex') AS hash, (SELECT jsonb_object_agg(p.name, p.value) "
    "FROM audit_private p WHERE p.chain = audit.chain AND p.seq = audit.seq) AS beside FROM audit "
    "WHERE chain = $1 AND ($2::text IS NULL OR level = $2) AND ($3::bigint IS NULL OR seq < $3) "
    "ORDER BY seq DESC LIMIT $4",
    weight="octet_length(data::text) + octet_length(text) + coalesce(octet_length(beside::text), 0)",
    order="seq DESC",
)


async def journal_length(connection: Connection, chain: int, level: str | None) -> int:
    """Without a level this is the chain's head, not a count."""
    if level is None:
        return await connection.fetchval("SELECT seq FROM audit_heads WHERE chain = $1", chain) or 0
    count: int = await connection.fetchval("SELECT count(*) FROM audit WHERE chain = $1 AND level = $2", chain, level)
    return count
