"""Why a message has its status: every fact in order, the rule applied to it, and its effect. Pure.

The order is the one in which facts took effect: a receipt that came before its submission stands behind it, with its
own time. Effects are computed by folding the facts up to each one: the same fold that made the status.
"""

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.messages.states import Facts, Handover, Report, State, Status, fold, sane_time

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """All facts about one message, as rows of their tables."""

    #: `created_at`, `cancelled_at`, `expired_at`
    message: Row
    submissions: Sequence[Row]
    #: Keys by which the message is known, each with `receipts_per` of its gateway.
    correlations: Sequence[Row]
    #: Each with its correlation's id, and its qualification's columns where it has one.
    receipts: Sequence[Row]
    #: Visits to its short URLs: they change no status.
    clicks: Sequence[Row] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One fact, with the time at which it took effect."""

    kind: str
    at: datetime
    row: Row


def timeline(known: Known) -> list[dict[str, Any]]:
    """Every fact, in the order in which they took effect; the last one's `after` is the message's status."""
    parts = part_numbers(known)
    first_of: dict[tuple[int, int], int] = {}
    entries: list[dict[str, Any]] = []
    so_far: list[Event] = []
    before: State | None = None
    for event in _in_order(known):
        entry = _shown(event, known, parts, first_of)
        if before is not None and (event.kind == "click" or entry.get("repeat_of")):
            after = before
        else:
            so_far.append(event)
            after = fold(_facts(known, so_far))
        entry["effect"] = _effect(before, after)
        entry["rule"] = _rule(event, entry, before, after)
        entries.append(entry)
        before = after
    return entries


def by_part(known: Known) -> list[dict[str, Any]]:
    """Each provider id of the message with a status of its own."""
    facts = _facts(known, list(_in_order(known)))
    handed = [Handover(id=each.id, at=each.at, with_id=each.with_id) for each in facts.handovers]
    rows = {row["id"]: row for row in known.correlations}
    found = []
    for id, number in part_numbers(known).items():
        own = [report for report in facts.reports if report.correlation == id]
        state = fold(Facts(created_at=facts.created_at, handovers=handed, reports=own, parts=frozenset({id})))
        found.append(
            {
                "part": number,
                "provider_message_id": _spelt(rows[id], known.submissions),
                "status": _name(state.status),
                "receipts": len(own),
                "receipt_id": None if state.receipt_id is None else str(state.receipt_id),
                "occurred_at": state.occurred_at,
            }
        )
    return found


def _spelt(correlation: Row, submissions: Sequence[Row]) -> str:
    """The id as the submission wrote it, where it did."""
    giver = _giver(correlation, submissions)
    ids: Sequence[str] = giver["provider_message_ids"] if giver else ()
    place = (correlation["part"] or 1) - 1
    return ids[place] if place < len(ids) else str(correlation["raw"])


def part_numbers(known: Known) -> dict[int, int]:
    """The keys that are parts, numbered from 1 as the submission or the receipts number them."""
    ids = _parts(known, with_id=any(row["provider_message_ids"] for row in known.submissions))
    ordered = sorted(
        (row for row in known.correlations if row["id"] in ids), key=lambda row: (row["part"] or 0, row["id"])
    )
    return {row["id"]: number for number, row in enumerate(ordered, start=1)}


def _parts(known: Known, *, with_id: bool) -> frozenset[int]:
    return frozenset(
        row["id"]
        for row in known.correlations
        if row["kind"] == "id" and row["receipts_per"] != "message" and (row["origin"] == "submission" or not with_id)
    )


def _giver(correlation: Row, submissions: Sequence[Row]) -> Row | None:
    """The first submission that gave this id. Its spelling may be another than the receipt's: then its place tells."""
    if correlation["kind"] != "id" or correlation["origin"] != "submission":
        return None
    own = [row for row in submissions if row["gateway_id"] == correlation["gateway_id"]]
    part = correlation["part"] or 1
    spelt = [row for row in own if correlation["raw"] in row["provider_message_ids"]]
    placed = [row for row in own if len(row["provider_message_ids"]) >= part]
    return min(spelt or placed, key=lambda row: (row["recorded_at"], row["id"]), default=None)


# --- order and prefixes ----------------------------------------------------------------------------------------------

_ORDER = ("created", "cancelled", "submission", "receipt", "no_receipt", "click")


def _in_order(known: Known) -> list[Event]:
    events = list(_events(known))
    # Only now the message exists: whatever is older waited for it.
    begin = known.message["created_at"]
    return sorted(events, key=lambda event: (max(event.at, begin), _ORDER.index(event.kind), event.row.get("id", 0)))


def _events(known: Known) -> Iterator[Event]:
    message = known.message
    yield Event(kind="created", at=message["created_at"], row={})
    if message["cancelled_at"]:
        yield Event(kind="cancelled", at=message["cancelled_at"], row={"reason": message.get("cancelled_for")})
    for row in known.submissions:
        yield Event(kind="submission", at=row["recorded_at"], row=row)
    met = _met(known)
    for row in known.receipts:
        yield Event(
            kind="receipt", at=max(row["received_at"], met.get(row["correlation_id"], row["received_at"])), row=row
        )
    if message["expired_at"]:
        yield Event(kind="no_receipt", at=message["expired_at"], row={})
    for row in known.clicks:
        yield Event(kind="click", at=row["clicked_at"], row=row)


def _met(known: Known) -> dict[int, datetime]:
    """From when on each key given by a submission led to the message."""
    givers = {row["id"]: _giver(row, known.submissions) for row in known.correlations}
    return {id: giver["recorded_at"] for id, giver in givers.items() if giver is not None}


def _facts(known: Known, events: Sequence[Event]) -> Facts:
    """What was known once `events` had taken effect."""
    kinds = {event.kind for event in events}
    submissions = [event.row for event in events if event.kind == "submission"]
    receipts = [event.row for event in events if event.kind == "receipt"]
    parts = _parts(known, with_id=any(row["provider_message_ids"] for row in submissions))
    return Facts(
        created_at=known.message["created_at"],
        handovers=[_handover(row) for row in submissions],
        reports=[_report(row) for row in receipts],
        parts=parts - _not_yet_heard_of(known, submissions, receipts),
        cancelled_at=known.message["cancelled_at"] if "cancelled" in kinds else None,
        expired_at=known.message["expired_at"] if "no_receipt" in kinds else None,
    )


def _not_yet_heard_of(known: Known, submissions: Sequence[Row], receipts: Sequence[Row]) -> set[int]:
    """Keys that a later fact brought: a receipt not yet in, or a submission not yet recorded."""
    heard = {row["correlation_id"] for row in receipts}
    recorded = {row["id"] for row in submissions}
    later = {row["correlation_id"] for row in known.receipts} - heard
    for row in known.correlations:
        giver = _giver(row, known.submissions)
        if giver is not None:
            (later.discard if giver["id"] in recorded else later.add)(row["id"])
    return later


def _handover(row: Row) -> Handover:
    failed = row["error_code"] is not None or row["error_text"] is not None
    return Handover(
        id=row["id"],
        at=row["submitted_at"],
        with_id=bool(row["provider_message_ids"]),
        failed=failed,
        qualification=row["qualification_id"],
    )


def _report(row: Row) -> Report:
    return Report(
        id=row["id"],
        correlation=row["correlation_id"],
        fingerprint=row["fingerprint"],
        status=None if row["status"] is None else Status[row["status"].upper()],
        received_at=row["received_at"],
        occurred_at=row["occurred_at"],
        qualification=row["qualification_id"],
    )


# --- what is shown ---------------------------------------------------------------------------------------------------


def _shown(
    event: Event, known: Known, parts: Mapping[int, int], first_of: dict[tuple[int, int], int]
) -> dict[str, Any]:
    row = event.row
    entry: dict[str, Any] = {"kind": event.kind, "at": event.at}
    if event.kind == "submission":
        entry |= {name: row[name] for name in ("gateway", "submitted_at", "error_code", "error_text")}
        entry |= {"submission_id": str(row["id"]), "recorded_at": row["recorded_at"]}
        entry |= {"provider_message_ids": list(row["provider_message_ids"]), "qualification": _qualification(row)}
    elif event.kind == "receipt":
        entry |= _receipt(row, known, parts, first_of)
    elif event.kind == "click":
        names = ("link", "label", "clicked_at", "human", "device", "agent", "network")
        entry |= {name: row[name] for name in names} | {"click_id": str(row["id"]), "reasons": list(row["reasons"])}
    return entry


def _receipt(row: Row, known: Known, parts: Mapping[int, int], first_of: dict[tuple[int, int], int]) -> dict[str, Any]:
    key = (row["correlation_id"], row["fingerprint"])
    first = first_of.setdefault(key, row["id"])
    submitted_at = min((each["submitted_at"] for each in known.submissions), default=None)
    return said(row) | {
        "counted_at": sane_time(_report(row), submitted_at),
        "part": parts.get(row["correlation_id"]),
        "repeat_of": None if first == row["id"] else str(first),
    }


def said(row: Row) -> dict[str, Any]:
    """What a receipt says, as it is shown; `raw` may be its beginning only."""
    size = row.get("raw_bytes", len(row["raw"]))
    text, encoding = payload(row["raw"], size)
    names = ("gateway", "received_at", "occurred_at", "status", "status_text", "error_code", "error_text", "currency")
    return {name: row[name] for name in (*names, "network", "verified", "details")} | {
        "receipt_id": str(row["id"]),
        "provider_message_id": row["key_raw"] if row["key_kind"] == "id" else None,
        "reference": row["key_raw"] if row["key_kind"] == "reference" else None,
        "price": None if row["price"] is None else f"{row['price'].normalize():f}",
        "qualification": _qualification(row),
        "raw": text,
        "encoding": encoding,
        "raw_bytes": size,
    }


def _qualification(row: Row) -> dict[str, Any] | None:
    if row["qualification_id"] is None or row["failure_type"] is None:
        return None
    return {
        "id": str(row["qualification_id"]),
        "error": " ".join(filter(None, ("SR", row["implementation"], row["error_status"], row["failure_code"]))),
        "failure_type": row["failure_type"],
        "reason": row["reason"],
        "text": row["sentence"],
    }


def payload(raw: bytes, size: int = 0) -> tuple[str, str]:
    """A raw payload, or the beginning of one of `size` bytes, as text: UTF-8, else base64; and which of the two."""
    try:
        return raw.decode(), "utf-8"
    except UnicodeDecodeError as error:
        if len(raw) < size and error.reason == "unexpected end of data":  # the excerpt cuts a character
            return raw[: error.start].decode(), "utf-8"
        return base64.b64encode(raw).decode(), "base64"


def _effect(before: State | None, after: State) -> dict[str, Any]:
    was = None if before is None else _name(before.status)
    return {"before": was, "after": _name(after.status), "changed": was != _name(after.status)}


def _name(status: Status) -> str:
    return status.name.lower()


# --- the rule, as a sentence -----------------------------------------------------------------------------------------

_HANDED = {
    True: "The gateway took it and gave an id: at least accepted.",
    False: "Handed to the gateway, which gave no id: at least submitted.",
}


def _rule(event: Event, entry: Mapping[str, Any], before: State | None, after: State) -> str:
    if event.kind == "created":
        return "The message was recorded: pending."
    if event.kind == "cancelled":
        if event.row["reason"] is not None:
            return f"{kept_away(event.row['reason'])} Anything that a gateway says is stronger."
        return "Cancelled before it was handed over; anything that a gateway says is stronger."
    if event.kind == "click":
        return _click_rule(event.row, after)
    if event.kind == "no_receipt":
        return "The validity period was over without a final receipt; a late one still counts."
    if event.kind == "submission":
        failed = event.row["error_code"] is not None or event.row["error_text"] is not None
        return "The gateway refused it: failed." if failed else _HANDED[bool(event.row["provider_message_ids"])]
    return " ".join(_receipt_rules(event.row, entry, before, after))


def kept_away(reason: str) -> str:
    """Why the outbox did not give a message out, as a sentence."""
    how = "denylisted" if reason == "denylisted" else "quarantined"
    return f"The number was {how} since the preparation, so that the message was not given out: cancelled."


def _click_rule(row: Row, after: State) -> str:
    if not row["human"]:
        return f"A machine opened a link ({', '.join(row['reasons'])}): kept, and left out of the indicators."
    if after.status in (Status.FAILED, Status.NO_RECEIPT):
        return "A person opened a link of a message that is said not to have come: its receipt is doubtful."
    return "A person opened a link. A click changes no status."


REMOVED = "Its raw payload was removed for its age."


def _receipt_rules(row: Row, entry: Mapping[str, Any], before: State | None, after: State) -> Iterator[str]:
    if entry["repeat_of"]:
        yield f"A repeat of receipt {entry['repeat_of']}: it changes nothing."
        return
    if row["status"] is None:
        yield "A word that the adapter does not know: kept and counted, never final."
        return
    whose = f"part {entry['part']}" if entry["part"] and after.parts > 1 else "the message"
    yield f"“{row['status_text']}” means {row['status']} for {whose}."
    if not row["raw"]:
        yield REMOVED
    yield _weight(row["status"], before, after)
    if entry["at"] > row["received_at"]:
        yield "It came before the message was known by this key, and waited."
    if row["occurred_at"] is not None and entry["counted_at"] != row["occurred_at"]:
        yield "The gateway's time cannot be right, so ours counts."


def _weight(said: str, before: State | None, after: State) -> str:
    if before is None or before.status is not after.status:
        return f"Stronger than all before: the status becomes {_name(after.status)}."
    if after.contradictory and not before.contradictory:
        return "Received beats failed, whichever came first: the contradiction is kept."
    if after.status is Status[said.upper()] and after.receipt_id != before.receipt_id:
        return "It says the same as before, and later: it decides now."
    if after.parts_received > before.parts_received:
        return f"{after.parts_received} of {after.parts} parts are received."
    return f"Not stronger than what is known: the status stays {_name(after.status)}."
