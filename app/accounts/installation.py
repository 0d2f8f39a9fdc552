"""What an installation needs before it serves: its own secrets, and the keys that its settings name."""

from collections.abc import Sequence
from datetime import UTC, datetime

from app import audit
from app.accounts import store
from app.audit_heads import PURPOSE
from app.db import Connection
from app.sealing import Sealing, own_secret
from app.security import hash_secret

ENV_ADMIN = "env-admin"
FIRST_ADMIN = "admin"
CURSOR_KEY = "cursor_key"


async def set_env_admin(connection: Connection, secret: str) -> bool:
    """Makes sure that a key with `secret` (ACUSE_ADMIN_KEY) and scope `admin` exists; True when that was a change.

    Several processes may do so at once; the caller commits. Without the setting the key stays: another host may
    have it.
    """
    await store.hold_keys(connection)
    now = datetime.now(UTC)
    changed = await store.set_key(connection, ENV_ADMIN, hash_secret(secret), ["admin"], now)
    if changed:
        text = f"The key {ENV_ADMIN} was set from ACUSE_ADMIN_KEY."
        await audit.append(
            connection, audit.PLATFORM, "KEY-CREATED", text, at=now, actor="system", data={"scopes": ["admin"]}
        )
    return changed


async def cursor_key(connection: Connection) -> bytes:
    """The key that list cursors are signed with."""
    return await own_secret(connection, CURSOR_KEY)


def head_keys(sealing: Sealing) -> Sequence[tuple[str, bytes]]:
    """The keys that heads of the journals are signed with, the one in use first."""
    derived = dict(sealing.derive_all(PURPOSE))
    return [(sealing.key_id, derived.pop(sealing.key_id)), *derived.items()]
