"""Erasing a phone: the number in each of its spellings, under one pseudonym."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from app.addresses.erasure import Asked, Note, erase
from app.db import Connection, Pool
from app.identities import spellings


async def erase_phone(pool: Pool, asked: Asked, note: Note) -> dict[str, Any]:
    """As `erase`, spelling by spelling; the journal hears of it once, at the end. What breaks off in between is done when it is
    asked for again."""
    *others, last = reversed(spellings(asked.spellings.address, dead=True))
    found = [await erase(pool, _spelt(asked, each), _silent) for each in others]
    certificate = await erase(pool, _spelt(asked, last), note)
    if asked.dry_run:
        total = sum((Counter(each["replaced"]) for each in found), Counter(certificate["replaced"]))
        certificate["replaced"] = dict(sorted(total.items()))
    return certificate


def _spelt(asked: Asked, address: str) -> Asked:
    return replace(asked, spellings=replace(asked.spellings, address=address))


async def _silent(connection: Connection, certificate: Mapping[str, Any]) -> None:
    pass
