"""What verifying and spooling callbacks needs, kept sealed beside the spool: for a start while the database is away.

Gateways with their secrets, and API keys by hash. Each change is written; a file of a moment ago is better than none, and
what it says holds until the database is back: a secret that was revoked meanwhile, too.
"""

import contextlib
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from app.accounts.store import UNREADABLE, GatewayRow
from app.logs import log
from app.sealing import SealError, Sealing
from app.security import Principal

FILE_NAME = "known.sealed"
_PURPOSE = "directory.known"
_TIMES = ("created_at", "updated_at", "deleted_at")


@dataclass(frozen=True, slots=True)
class Known:
    """One reading of gateways and API keys, those by the hash of their secrets."""

    gateways: Sequence[GatewayRow]
    principals: Mapping[bytes, Principal]

    @property
    def readable(self) -> bool:
        """All secrets could be opened."""
        return all(row.auth["mode"] != UNREADABLE for row in self.gateways)


class KnownFile:
    """Blocking. `sealing` must open without the database: see `Sealing.beside`."""

    def __init__(self, path: Path, sealing: Sealing) -> None:
        self._path = path
        self._sealing = sealing

    def read(self) -> Known | None:
        """None, with a line in the log, when it cannot be read; without one when there is none."""
        try:
            sealed = self._path.read_text("ascii")
            return _unpacked(self._sealing.beside.open(_PURPOSE, sealed))
        except FileNotFoundError:
            return None
        except (OSError, SealError, ValueError, KeyError, TypeError) as error:
            log.error(
                "directory.file_unreadable", error=str(error) if isinstance(error, SealError) else type(error).__name__
            )
            return None

    def write(self, known: Known) -> None:
        """Whole or not at all, and for nobody else's eyes. Raises `OSError` or `SealError`."""
        sealed = self._sealing.beside.seal(_PURPOSE, _packed(known))
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self._path.with_name(f".{self._path.name}.{secrets.token_hex(8)}")
        try:
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(sealed)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path)
        finally:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)


def _packed(known: Known) -> bytes:
    keys = [[hash.hex(), each.name, sorted(each.scopes)] for hash, each in known.principals.items()]
    return orjson.dumps({"gateways": [asdict(row) for row in known.gateways], "keys": keys})


def _unpacked(data: bytes) -> Known:
    found = orjson.loads(data)
    principals = {
        bytes.fromhex(hash): Principal(name=name, scopes=frozenset(scopes)) for hash, name, scopes in found["keys"]
    }
    return Known([_row(fields) for fields in found["gateways"]], principals)


def _row(fields: Mapping[str, Any]) -> GatewayRow:
    """What a later version wrote besides is passed over."""
    known = {name: value for name, value in fields.items() if name in GatewayRow.__dataclass_fields__}
    times = {name: known[name] and datetime.fromisoformat(known[name]) for name in _TIMES}
    return GatewayRow(**known | times)
