"""The secrets that tokens are made with: made on the first start, rotated by an operator, never given out."""

import secrets
from datetime import datetime

from app import audit, installation
from app.db import Connection
from app.errors import Conflict
from app.links.store import QUERIES
from app.links.tokens import KEY_NUMBERS, SECRET_BYTES, Keys, rotated
from app.sealing import opened_secret, sealed_secret

#: Of their names in table `platform`, before the number.
PREFIX = "token_key_"
_CURRENT = f"{PREFIX}current"


async def load(connection: Connection) -> Keys | None:
    """The keys as they stand; None before there are any."""
    rows = {row["key"]: row["value"] for row in await connection.fetch(QUERIES["list_token_keys"])}
    current = rows.pop(_CURRENT, None)
    if current is None:
        return None
    return Keys(
        int(current),
        {int(key.removeprefix(PREFIX)): await opened_secret(connection, key, value) for key, value in rows.items()},
    )


async def install(connection: Connection) -> Keys:
    """Makes the first key unless there is one. Any number of processes may do so at once; the caller commits."""
    first = f"{PREFIX}0"
    sealed = await sealed_secret(connection, first, secrets.token_bytes(SECRET_BYTES))
    for key, value in ((first, sealed), (_CURRENT, "0")):
        await installation.add(connection, key, value)
    keys = await load(connection)
    assert keys is not None
    return keys


async def rotate(connection: Connection, now: datetime, *, actor: str, forgetting: bool = False) -> Keys:
    """Makes a new current key. Tokens of the others keep working, of which there can be seven: `forgetting` the oldest is
    asked for in so many words. Raises `Conflict` without it. The caller commits."""
    await install(connection)
    await installation.lock(connection, _CURRENT)
    keys = await load(connection)
    assert keys is not None
    if (keys.current + 1) % KEY_NUMBERS in keys.secrets and not forgetting:
        raise Conflict("All numbers of keys are taken: a new key makes the links of the oldest one lead nowhere.")
    keys = rotated(keys, secrets.token_bytes(SECRET_BYTES))
    name = f"{PREFIX}{keys.current}"
    sealed = await sealed_secret(connection, name, keys.secrets[keys.current])
    await installation.put(connection, name, sealed)
    await installation.put(connection, _CURRENT, str(keys.current))
    await audit.append(
        connection, audit.PLATFORM, "LNK-ROTATED", f"New short URLs are made with key {keys.current} from now on.",
        at=now, actor=actor, data={"key": keys.current, "forgotten": forgetting},
    )  # fmt: skip
    return keys
