"""Secrets at rest, sealed: what a stolen backup shows of them is ciphertext with the id of the key that opens it.

The keys come from ACUSE_SEAL_KEYS, newest first, so that what an old one sealed still opens. Without the setting a key
stands beside the data: with the embedded database in `<data_dir>/seal.key`, with one of your own in its table `platform`,
so that all processes have the same. `acuse doctor` says what that is worth. The database knows the id of the key that is
in use (`seal_current`): a process without it does not start, because it could not read what the others write.

Text: `sealed:{key id}:{base64 of nonce and AES-256-GCM}`. Every purpose has a key of its own (HKDF-SHA256) and is
authenticated, so that nothing sealed for one purpose opens for another.
"""

import contextlib
import hmac
import os
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from app import installation
from app.db import Connection
from app.settings import SHORTEST_SEAL_KEY, Settings

PREFIX = "sealed:"
#: Beside an embedded database: its key. Beside any other: the key of files that must open while that is away.
KEY_FILE, LOCAL_KEY_FILE = "seal.key", "local.key"
#: Rows of table `platform`: the key itself, where it stands there, and the id of the one in use.
KEY_ROW, CURRENT_ROW = "seal_key", "seal_current"
_NONCE_BYTES = 12


class SealError(Exception):
    """Something sealed cannot be opened, or nothing can be sealed. The text is a sentence for the operator."""


class KeyMissing(SealError):
    """The key that sealed it is not among ours."""

    def __init__(self, what: str, key_id: str, has: Iterable[str]) -> None:
        super().__init__(
            f"{what} sealed with the key {key_id}, and this process has {', '.join(has) or 'none'}. Set ACUSE_SEAL_KEYS "
            f"to the keys that were in use, newest first, or put the {KEY_FILE} that was in use into the data directory."
        )
        self.key_id = key_id


@dataclass(frozen=True, slots=True)
class SealKey:
    """One key. Its id is made from the secret and tells nothing of it."""

    root: bytes = field(repr=False)
    id: str

    @classmethod
    def of(cls, secret: str) -> Self:
        root = hmac.digest(b"acuse sealing", secret.encode(), "sha256")  # HKDF-Extract
        return cls(root, hmac.digest(root, b"key id\1", "sha256").hex()[:12])

    def derive(self, purpose: str) -> bytes:
        """32 bytes that only serve `purpose`: HKDF-Expand."""
        return hmac.digest(self.root, b"purpose " + purpose.encode() + b"\1", "sha256")

    def seal(self, purpose: str, plaintext: bytes) -> str:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        box = nonce + AESGCM(self.derive(purpose)).encrypt(nonce, plaintext, self.id.encode())
        return f"{PREFIX}{self.id}:{urlsafe_b64encode(box).decode()}"

    def open(self, purpose: str, box: bytes) -> bytes:
        return AESGCM(self.derive(purpose)).decrypt(box[:_NONCE_BYTES], box[_NONCE_BYTES:], self.id.encode())


#: All keys that this process has come by, under their ids: what opens a text does not depend on who asks.
_RING: dict[str, SealKey] = {}


def is_sealed(text: str) -> bool:
    return text.startswith(PREFIX)


def key_id_of(sealed: str) -> str:
    """The id of the key that sealed it."""
    return sealed[len(PREFIX) :].partition(":")[0]


class Sealing:
    """The keys of one process, newest first. `install` reads the database's word and must come before anything is sealed."""

    def __init__(self, keys: Iterable[SealKey] = (), *, given: bool = True, data_dir: Path | None = None) -> None:
        self._keys = {key.id: key for key in keys}
        #: They come from the settings: then the newest is used, and not the one that the database names.
        self._given = given and bool(self._keys)
        self._data_dir = data_dir
        self._current = next(iter(self._keys.values())) if self._given else None
        self._beside: Sealing | None = None
        _RING.update(self._keys)

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Of the settings, and the key file where there is one. Raises `SealError` for a file that holds no key."""
        given = [SealKey.of(each.get_secret_value()) for each in settings.seal_keys]
        file = read_key_file(settings.data_dir / KEY_FILE)
        return cls([*given, *([file] if file else [])], given=bool(given), data_dir=settings.data_dir)

    # --- with the database -------------------------------------------------------------------------------------------

    async def install(self, connection: Connection) -> None:
        """Settles with the database which key is in use; makes one when there is none anywhere. The caller commits.

        Raises `KeyMissing` when the database's secrets are sealed with a key that is not ours."""
        current = await installation.read(connection, CURRENT_ROW)
        if current is None and not self._keys:
            await installation.add(connection, KEY_ROW, secrets.token_urlsafe(32))
        await self._take_database_key(connection)
        if current is None:
            await installation.add(connection, CURRENT_ROW, next(iter(self._keys)))
            current = await installation.read(connection, CURRENT_ROW)
        assert current is not None
        self._check(current, await installation.values(connection, PREFIX))
        if not self._given:
            self._current = self._keys[current]
        elif current != self.key_id:
            await installation.put(connection, CURRENT_ROW, self.key_id)

    def _check(self, current: str, rows: Mapping[str, str]) -> None:
        if current not in self._keys:
            raise KeyMissing("The secrets in this database are", current, self._keys)
        for name, value in rows.items():
            if key_id_of(value) not in self._keys:
                raise KeyMissing(f"`{name}` in this database is", key_id_of(value), self._keys)

    async def accept_loss(self, connection: Connection) -> Sequence[str]:
        """Makes anew what is sealed in table `platform` with keys that are lost, names it, and puts our key in use. What
        it was stays under another name, should its key be found again. The caller commits."""
        await self._take_database_key(connection)
        if not self._keys:
            await installation.add(connection, KEY_ROW, secrets.token_urlsafe(32))
            await self._take_database_key(connection)
        ours = next(iter(self._keys.values()))
        await installation.put(connection, CURRENT_ROW, ours.id)
        lost = {
            name: each
            for name, each in (await installation.values(connection, PREFIX)).items()
            if key_id_of(each) not in self._keys
        }
        for name, value in lost.items():
            await installation.put(connection, f"lost:{name}", value.removeprefix(PREFIX))
            await installation.put(connection, name, ours.seal(_purpose(name), secrets.token_bytes(32)))
        return list(lost)

    async def _take_database_key(self, connection: Connection) -> None:
        stands = await installation.read(connection, KEY_ROW)
        if stands is not None:
            key = SealKey.of(stands)
            self._keys[key.id] = _RING[key.id] = key

    # --- sealing -----------------------------------------------------------------------------------------------------

    @property
    def installed(self) -> bool:
        """It is known which key is in use."""
        return self._current is not None

    @property
    def given(self) -> bool:
        """The keys come from ACUSE_SEAL_KEYS."""
        return self._given

    @property
    def key_ids(self) -> Sequence[str]:
        return list(self._keys)

    @property
    def key_id(self) -> str:
        """Of the key in use. Raises `SealError` before that is known."""
        return self._now().id

    def seal(self, purpose: str, plaintext: bytes) -> str:
        return self._now().seal(purpose, plaintext)

    def open(self, purpose: str, sealed: str) -> bytes:
        """Raises `KeyMissing`, or `SealError` for what was altered, or sealed for another purpose."""
        return _open(self._keys, purpose, sealed)

    def derive(self, purpose: str) -> bytes:
        """32 bytes for `purpose`, by the key in use: to sign with, say."""
        return self._now().derive(purpose)

    def derive_all(self, purpose: str) -> Sequence[tuple[str, bytes]]:
        """The same by every key there is, with its id, newest first: to check what an older one signed."""
        return [(key.id, key.derive(purpose)) for key in self._keys.values()]

    def _now(self) -> SealKey:
        if self._current is None:
            raise SealError("It is not known yet which key is in use: the database has not been reached.")
        return self._current

    @property
    def beside(self) -> "Sealing":
        """For files beside the spool, which must open while the database is away: with the settings' keys or the key
        file, else with a key of this data directory's own. Raises `SealError` or `OSError` when none can be made."""
        if self._beside is None:
            keys = list(self._keys.values()) if self._given else []
            if self._data_dir is not None:
                files = (read_key_file(self._data_dir / name) for name in (KEY_FILE, LOCAL_KEY_FILE))
                keys += [key for key in files if key is not None]
            if not keys and self._data_dir is not None:
                keys = [make_key_file(self._data_dir / LOCAL_KEY_FILE)]
            self._beside = Sealing(keys)
        return self._beside


def _open(keys: dict[str, SealKey], purpose: str, sealed: str) -> bytes:
    key_id = key_id_of(sealed)
    if key_id not in keys:
        raise KeyMissing(f"{purpose} is", key_id, keys)
    try:
        return keys[key_id].open(purpose, urlsafe_b64decode(sealed.rpartition(":")[2]))
    except (InvalidTag, ValueError):
        raise SealError(f"{purpose} was altered after it was sealed, or sealed for something else.") from None


# --- by the database's word ------------------------------------------------------------------------------------------


async def key_in_use(connection: Connection) -> SealKey:
    """The key that the database names, for whoever writes a secret. Raises `KeyMissing`; the caller commits."""
    current = await installation.read(connection, CURRENT_ROW)
    if current not in _RING:
        ours = Sealing(_RING.values(), given=False)
        await ours.install(connection)
        return ours._now()
    return _RING[current]


async def opened(connection: Connection, purpose: str, sealed: str) -> bytes:
    """What `sealed` holds, by any key that this process has, or the one that stands in the database. Raises `KeyMissing`,
    or `SealError` for what was altered."""
    if key_id_of(sealed) not in _RING:
        await Sealing()._take_database_key(connection)
    return _open(_RING, purpose, sealed)


async def own_secret(connection: Connection, name: str) -> bytes:
    """256 random bits of this installation in table `platform`, made when they are first asked for. Older versions left
    them there in clear: `seal_clear`. The caller commits."""
    value = await installation.read(connection, name)
    if value is None:
        await installation.add(connection, name, await sealed_secret(connection, name, secrets.token_bytes(32)))
        value = await installation.read(connection, name)
    assert value is not None
    return await opened_secret(connection, name, value)


async def sealed_secret(connection: Connection, name: str, secret: bytes) -> str:
    """As table `platform` holds it."""
    return (await key_in_use(connection)).seal(_purpose(name), secret)


async def opened_secret(connection: Connection, name: str, value: str) -> bytes:
    """The secret in the row `name` of table `platform`, which was read. Raises as `opened` does."""
    return await opened(connection, _purpose(name), value) if is_sealed(value) else bytes.fromhex(value)


def _purpose(name: str) -> str:
    return f"platform.{name}"


# --- key files -------------------------------------------------------------------------------------------------------


def read_key_file(path: Path) -> SealKey | None:
    """None when there is none. Raises `SealError` for one that cannot be read or holds no key."""
    try:
        secret = path.read_text("utf-8").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise SealError(f"The key file {path} cannot be read: {error}.") from None
    if len(secret) < SHORTEST_SEAL_KEY:
        raise SealError(
            f"The key file {path} holds no key: put the right one back, from a backup of the data directory."
        )
    return SealKey.of(secret)


def make_key_file(path: Path) -> SealKey:
    """The key in `path`, made if there is none. Any number of processes may do so at once: the first one's stands, whole."""
    if (there := read_key_file(path)) is not None:
        return there
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    made = read_key_file(path)
    assert made is not None
    return made
