"""Everything about one number, by its names: the number, and its pseudonym once it was erased. Each part goes by an index."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from app.addresses import models
from app.addresses.erasure import QUERIES
from app.db import Connection
from app.deliveries.exclusions import sentence
from app.identities import spellings
from app.privacy.pseudonyms import Pseudonyms

#: Rows of each kind, the newest.
SHOWN = 100
Row = Any  # a record of asyncpg


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What one phone is known by: all its spellings, their pseudonyms, and the number as which an erased one came back."""

    shown: str
    all: Sequence[str]
    erased_at: datetime | None


async def names_of(connection: Connection, number: str, maker: Pseudonyms) -> Names:
    """`number`: in E.164, or a pseudonym."""
    rows = await connection.fetch(QUERIES["find_erasures"], maker.all_of(number))
    returned = {name for row in rows if row["returned_as"] for name in spellings(row["returned_as"])}
    return Names(
        shown=rows[0]["pseudonym"] if rows else number,
        all=sorted({*maker.names(number), *returned}),
        erased_at=rows[0]["erased_at"] if rows else None,
    )


async def page(connection: Connection, names: Sequence[str]) -> dict[str, Any]:
    """What `models.Address` shows of the facts, whole; the caller's transaction sees one moment."""
    messages = await connection.fetch(QUERIES["list_messages"], names, SHOWN)
    exclusions = await connection.fetch(QUERIES["list_exclusions"], names, SHOWN)
    inbound = await connection.fetch(QUERIES["list_inbound"], names, SHOWN)
    decisions = await connection.fetch(QUERIES["list_decisions"], names, SHOWN)
    clicks = await connection.fetch(QUERIES["list_clicks"], names, SHOWN)
    totals = await connection.fetchrow(QUERIES["count_totals"], names)
    assert totals is not None
    return {
        "held": totals["held"],
        "totals": models.Totals(**{name: totals[name] for name in models.Totals.model_fields}),
        "messages": [models.Message(**_with_text_ids(row)) for row in messages],
        "exclusions": [
            models.Exclusion(**_with_text_ids(row, "detail"), text=sentence(row["reason"], _json(row["detail"])))
            for row in exclusions
        ],
        "inbound": [models.Inbound(**_with_text_ids(row, "text"), text=row["text"]) for row in inbound],
        "decisions": [models.Decision(**_with_text_ids(row, "note"), note=row["note"]) for row in decisions],
        "clicks": [models.Click(**_with_text_ids(row)) for row in clicks],
    }


def _json(value: Any) -> Any:
    """Connections of SQLAlchemy leave it as text."""
    return orjson.loads(value) if isinstance(value, str) else value


_IDS = ("id", "message_id", "delivery_id", "inbound_id", "repeat_of")


def _with_text_ids(row: Row, *without: str) -> dict[str, Any]:
    return {
        name: str(value) if name in _IDS and value is not None else value
        for name, value in row.items()
        if name not in without
    }
