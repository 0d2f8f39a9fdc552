"""Erasing a phone: the number in each of its spellings, under one pseudonym."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from app.addresses.erasure import Asked, Note, erase
from app.db import Connection, Pool
from app.identities import spellings


async def erase_phone(pool: Pool, asked: Asked, note: Note) -> dict[str, Any]:
    """As `erase`, spelling by spelling; the journal hears of it once, at the end. What breaks off in between is done when it is
    asked for again."""
    *others, last = reversed(spellings(asked.spellings.address, dead=True))
    found: list[dict[str, Any]] = []
    for each in others:
        found.append(await erase(pool, _spelt(asked, each, found), _silent))
    certificate = await erase(pool, _spelt(asked, last, found), note)
    if asked.dry_run:
        total = sum((Counter(each["replaced"]) for each in found), Counter(certificate["replaced"]))
        certificate["replaced"] = dict(sorted(total.items()))
    return certificate


def _spelt(asked: Asked, address: str, before: Sequence[Mapping[str, Any]]) -> Asked:
    """`asked` of one spelling. Each certificate takes over what those `before` it found in the chains: it stays there."""
    journals = before[-1]["journals"] if before else ()
    return replace(asked, spellings=replace(asked.spellings, address=address), journals=journals)


async def _silent(connection: Connection, certificate: Mapping[str, Any]) -> None:
    pass
