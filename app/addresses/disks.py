"""Files beside the database in which a number could wait: the spools of all processes that share the data directory."""

import sqlite3
from pathlib import Path


def spool_holds_rows(folder: Path) -> bool:
    """Whether any process's spool holds a row. Blocking. A file that nobody can read now counts as one that does: it is
    being written, or brought to the database."""
    return any(_holds_rows(path) for path in folder.glob("*.sqlite3"))


def _holds_rows(path: Path) -> bool:
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=0.2)
        try:
            return bool(connection.execute("SELECT EXISTS (SELECT 1 FROM spool)").fetchone()[0])
        finally:
            connection.close()
    except sqlite3.Error:
        return path.exists()
