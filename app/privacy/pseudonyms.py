"""What stands for a phone number once it was erased: a keyed hash, the same everywhere, that nobody can turn back.

The key is this installation's own; without it the few billion numbers that exist cannot be tried one by one. Where a
number is named in a journal it is named by its mask and its pseudonym from the start, so that erasing it alters no
entry. Health, opt-outs and exclusions of an erased number are kept under the pseudonym and still hold for the number.
"""

import hashlib
from dataclasses import dataclass, field

from starlette.requests import HTTPConnection

from app.db import Connection, load_queries
from app.identities import identity, spellings
from app.sealing import own_secret

QUERIES = load_queries(__file__, "pseudonyms.sql")

PREFIX = "erased:"
#: Its key in table `platform`.
KEY = "address_key"


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    key: bytes = field(repr=False)

    def of(self, address: str) -> str:
        """The pseudonym of a number in E.164, the same for all its spellings; a pseudonym is its own."""
        if address.startswith(PREFIX):
            return address
        return self._hashed(identity(address))

    def all_of(self, address: str) -> tuple[str, ...]:
        """Under which pseudonyms the phone may have been erased, in the same order for all its spellings: its own, and that
        of each spelling, which older versions gave."""
        if address.startswith(PREFIX):
            return (address,)
        one = identity(address)
        others = sorted({*spellings(one), *spellings(address)} - {one})
        return (self._hashed(one), *map(self._hashed, others))

    def names(self, address: str) -> tuple[str, ...]:
        """All that facts about the phone may stand under: its spellings, `address` first, and their pseudonyms."""
        return (*dict.fromkeys((*spellings(address), *self.all_of(address))),)

    def _hashed(self, address: str) -> str:
        return PREFIX + hashlib.blake2b(address.encode(), key=self.key, digest_size=16).hexdigest()

    def of_key(self, value: str) -> str:
        """What stands for an id or a reference that named an erased person: a receipt that brings it is still matched. A
        pseudonym is its own."""
        if value.startswith(PREFIX):
            return value
        return PREFIX + hashlib.blake2b(b"key\0" + value.encode(), key=self.key, digest_size=16).hexdigest()


async def load(connection: Connection) -> Pseudonyms:
    """With this installation's key, which is made when it is first asked for."""
    return Pseudonyms(await own_secret(connection, KEY))


async def any_erased(connection: Connection) -> bool:
    """While no number was ever erased nobody needs to look for pseudonyms."""
    return await connection.fetchval(QUERIES["has_erased"]) is True


def pseudonyms_of(connection: HTTPConnection) -> Pseudonyms:
    found: Pseudonyms = connection.app.state.pseudonyms
    return found
