"""Everything that the database holds, as text, to be searched for the number that is erased in these tests."""

import re
import subprocess

from app.db import Pool, asyncpg_dsn
from app.embedded import wheel_bin_dir

NUMBER = "+34600987654"
#: The same digits, other numbers.
OTHERS = ("+33600987654", "+34600987653", "+34600987655")
#: What all spellings have in common.
_LOOSE = re.compile(r".{0,40}" + r"\D{0,4}".join("600987654") + ".{0,20}", re.DOTALL)
_HEX = "".join(f"3{digit}" for digit in "600987654")


def spellings(text: str) -> list[str]:
    """Where the number stands in `text`, however it is written; `OTHERS` are not meant."""
    for other in OTHERS:
        for written in (other, other[1:], other[1:].encode().hex()):
            text = text.replace(written, "")
    return [*_LOOSE.findall(text), *re.findall(f".{{0,40}}{_HEX}", text)]


async def contents(pool: Pool) -> dict[str, str]:
    """All columns of all tables, by table and column; octets as they are."""
    found = {}
    columns = await pool.fetch(
        "SELECT table_name, column_name, udt_name FROM information_schema.columns WHERE table_schema = 'public'"
    )
    for table, column, kind in columns:
        shown = f"encode({column}, 'escape')" if kind == "bytea" else f"{column}::text"
        rows = await pool.fetch(f"SELECT {shown} AS value FROM {table} WHERE {column} IS NOT NULL")
        found[f"{table}.{column}"] = "\n".join(row["value"] for row in rows)
    return found


def plain_dump(url: str) -> str:
    """What pg_dump writes, and what its octets say."""
    command = [str(wheel_bin_dir() / "pg_dump"), asyncpg_dsn(url)]
    text = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    octets = (bytes.fromhex(each).decode("latin-1") for each in re.findall(r"\\\\x((?:[0-9a-f]{2})+)", text))
    return text + "\n".join(octets)
