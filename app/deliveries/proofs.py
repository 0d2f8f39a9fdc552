"""Proofs: a delivery's text sent to chosen addresses, to see it on a phone. They count nowhere.

The text is made and kept when the proof is asked for, because the content may change later."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.db import Connection, load_queries
from app.deliveries import outbox
from app.deliveries.kept_away import kept_away
from app.deliveries.texts import Text
from app.errors import Invalid
from app.matching.sql import QUERIES as MATCHING
from app.numbers import normalise, unread, why_not
from app.texts.placeholders import MissingParam

QUERIES = load_queries(__file__, "sending.sql")
_KEPT_AWAY = {
    "denylisted": "This address has opted out; nothing may be sent to it.",
    "quarantined": "This address is in quarantine; `force` sends to it all the same.",
}
_NOT_TOLD = "Nothing may be sent to one of these addresses; which, a key with the scope `pii:read` is told."


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One proof that is asked for. `address` as it was given."""

    address: str
    params: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """One proof as it is made: its number in E.164, and the text that it gets."""

    id: int
    address: str
    params: Mapping[str, Any]
    text: str


async def check(
    connection: Connection,
    delivery: Mapping[str, Any],
    text: Text,
    wanted: Sequence[Wanted],
    *,
    force: bool,
    tells: bool,
) -> list[Wanted]:
    """All of them with their numbers in E.164, or `Invalid` with everything that is wrong. `force` lets quarantined
    addresses through. Without `tells` nobody hears which of them the quarantine keeps away, and nothing of it at all
    while anything else is wrong: that would be asking by number."""
    addresses = [normalise(each.address, delivery["default_region"]) for each in wanted]
    away = await kept_away(connection, {each for each in addresses if each}, delivery["sender"])
    errors: list[dict[str, str]] = []
    refused: list[dict[str, str]] = []
    found: list[Wanted] = []
    for number, (each, address) in enumerate(zip(wanted, addresses, strict=True)):
        status = away.get(address or "")
        if address is None:
            why = why_not(each.address, delivery["default_region"])
            errors.append(_error(number, "address", unread(why, delivery["default_region"])))
        elif status == "denylisted" or (status is not None and not force):
            refused.append(_error(number, "address", _KEPT_AWAY[status]))
        try:
            text.render(each.params, text.short_urls(0))
        except MissingParam as missing:
            errors.append(_error(number, "params", f"The placeholder `{missing.name}` has no value."))
            continue
        found.append(Wanted(address=address or "", params=each.params))
    if not tells:
        refused = [] if errors else [{"pointer": "/addresses", "detail": _NOT_TOLD}] if refused else []
    if errors or refused:
        raise Invalid.fields([*errors, *refused])
    return found


def _error(number: int, field: str, detail: str) -> dict[str, str]:
    return {"pointer": f"/addresses/{number}/{field}", "detail": detail}


async def make(
    connection: Connection,
    delivery: Mapping[str, Any],
    text: Text,
    wanted: Sequence[Wanted],
    gateway_id: int | None,
    now: datetime,
) -> list[Proof]:
    """Records what was checked as messages. The caller claims their references and folds them."""
    first_id = await connection.fetchval(MATCHING["reserve_message_ids"], len(wanted))
    made = [
        Proof(id=id, address=each.address, params=each.params, text=text.render(each.params, text.short_urls(id)))
        for id, each in enumerate(wanted, first_id)
    ]
    await connection.copy_records_to_table(
        "messages",
        records=[
            (each.id, delivery["id"], each.address, gateway_id, True, _kept(each, delivery["sender"]), now)
            for each in made
        ],
        columns=("id", "delivery_id", "address", "gateway_id", "proof", "params", "created_at"),
    )
    return made


def _kept(proof: Proof, sender: str) -> dict[str, Any]:
    return {"text": proof.text, "sender": sender, "params": dict(proof.params)}


def rows(proofs: Sequence[Proof], sender: str) -> list[dict[str, Any]]:
    """The proofs as the outbox gives messages."""
    return [outbox.row(each.id, each.address, each.text, sender) for each in proofs]
