"""What the installation keeps of itself: texts by name, in table `platform`. Callers commit."""

from app.db import Connection, load_queries

QUERIES = load_queries(__file__, "installation.sql")


async def read(connection: Connection, key: str) -> str | None:
    value: str | None = await connection.fetchval(QUERIES["find_value"], key)
    return value


async def lock(connection: Connection, key: str) -> str | None:
    """The value, held until the commit."""
    value: str | None = await connection.fetchval(QUERIES["lock_value"], key)
    return value


async def values(connection: Connection, prefix: str = "") -> dict[str, str]:
    """By key, those that begin with `prefix`."""
    return {row["key"]: row["value"] for row in await connection.fetch(QUERIES["list_values"], prefix)}


async def put(connection: Connection, key: str, value: str) -> None:
    await connection.execute(QUERIES["put_value"], key, value)


async def add(connection: Connection, key: str, value: str) -> bool:
    """False when there is one already, which stays. Waits for others that add the same."""
    return await connection.fetchval(QUERIES["add_value"], key, value) is True


async def delete(connection: Connection, key: str) -> None:
    await connection.execute(QUERIES["delete_value"], key)
