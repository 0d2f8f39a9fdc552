"""A callback tried out: what each receipt in it would be read as, and what it would change. Stores nothing."""

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import orjson

from app.accounts import store
from app.api.reader import MOST_VALUES
from app.db import Connection
from app.errors import Invalid
from app.gateways import GATEWAYS
from app.gateways.auth import verified
from app.gateways.bounds import values_fault
from app.gateways.receipt import Callback, Gateway, Inbound, Item, Outcome, Receipt, Unreadable
from app.inbound.rules import Verdict
from app.ingest.replies import verdict_of
from app.ingest.rows import InboxRow, inbox_row
from app.messages.states import WHOLE, Facts, Report, State, Status, fold
from app.qualifications.rules import meaning
from app.security import Principal

_WRAPPER = frozenset({"method", "query", "headers", "body", "reference"})
#: Each is looked up in the database.
_MOST_ITEMS = 100
_FORM = "application/x-www-form-urlencoded"


# --- the callback ----------------------------------------------------------------------------------------------------


def callback_of(gateway: Gateway, *, url: str, content_type: str, query: str, body: bytes) -> Callback:
    """The callback that was given to try: whole, as JSON `{method?, query?, headers?, body?}`, or just its body (or
    query string, for a kind that calls with GET; or the text of a receipt). Raises `Invalid`."""
    given = _wrapper(content_type, body)
    if given is None:
        return _from_raw(gateway, url, content_type, query, body)
    headers = _headers(given.get("headers"))
    sent = _body(given.get("body"), headers)
    text = _query(given.get("query"))
    method = given.get("method") or _method(gateway, has_body=bool(sent))
    if not isinstance(method, str) or method.upper() not in GATEWAYS[gateway.kind].methods:
        raise Invalid.field("/method", f"This kind calls with {', '.join(sorted(GATEWAYS[gateway.kind].methods))}.")
    reference = given.get("reference")
    if reference is not None and not isinstance(reference, str):
        raise Invalid.field("/reference", "Give a string.")
    return _callback(method.upper(), url, text, headers, sent, reference)


def _wrapper(content_type: str, body: bytes) -> dict[str, Any] | None:
    if content_type != "application/json":
        return None
    try:
        value = orjson.loads(body)
    except ValueError:
        return None  # a callback whose JSON is broken is worth a try, too
    about = isinstance(value, dict) and value.keys() <= _WRAPPER and value.keys() & {"body", "query"}
    return value if about else None


def _from_raw(gateway: Gateway, url: str, content_type: str, query: str, body: bytes) -> Callback:
    text = body.decode("utf-8", "replace").strip()
    if content_type == "text/plain" and gateway.kind == "smpp" and not text.startswith(("{", "[")):
        body, content_type = orjson.dumps({"text": text}), "application/json"
    method = _method(gateway, has_body="POST" in GATEWAYS[gateway.kind].methods)
    if method == "GET":
        query, body = text.rpartition("?")[2] or query, b""
    return _callback(method, url, query, {"content-type": content_type}, body, None)


def _callback(
    method: str, url: str, query: str, headers: Mapping[str, str], body: bytes, reference: str | None
) -> Callback:
    whole = f"{url}?{query}" if query else url
    return Callback(method=method, url=whole, query=query, headers=headers, body=body, reference=reference)


def _method(gateway: Gateway, *, has_body: bool) -> str:
    methods = GATEWAYS[gateway.kind].methods
    preferred = "POST" if has_body else "GET"
    return preferred if preferred in methods else sorted(methods)[0]


def _headers(value: object) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise Invalid.field("/headers", "Give an object of strings.")
    return {name.lower(): each for name, each in value.items()}


def _body(value: object, headers: dict[str, str]) -> bytes:
    """Text as it is; anything else as the JSON that it is. Says so in `headers`, where they say nothing."""
    if value is None or value == "":
        return b""
    if isinstance(value, str):
        headers.setdefault(
            "content-type", "application/json" if value.lstrip("\ufeff \t\r\n").startswith(("{", "[")) else _FORM
        )
        return value.encode("utf-8", "replace")
    headers.setdefault("content-type", "application/json")
    return orjson.dumps(value)


def _query(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value.removeprefix("?")
    if isinstance(value, dict):
        return urlencode({name: str(each) for name, each in value.items()})
    raise Invalid.field("/query", "Give the query string, or an object of its parameters.")


# --- what it says ----------------------------------------------------------------------------------------------------


async def tried(connection: Connection, gateway: Gateway, callback: Callback, principal: Principal) -> dict[str, Any]:
    """What would be read, item by item, as `principal` may see it."""
    adapter = GATEWAYS[gateway.kind]
    if values_fault(callback.body, MOST_VALUES) or callback.body.count(b"\n") > MOST_VALUES:
        raise Invalid.field("/body", "Try fewer receipts at a time.")
    items: Sequence[Item] = adapter.parse(callback, gateway)
    if len(items) > _MOST_ITEMS:
        raise Invalid.field("/body", f"Try at most {_MOST_ITEMS} receipts at a time.")
    return {
        "method": callback.method,
        "verified": verified(callback, adapter, gateway.auth),
        "items": [await _shown(connection, gateway, item, principal) for item in items],
    }


async def _shown(connection: Connection, gateway: Gateway, item: Item, principal: Principal) -> dict[str, Any]:
    if isinstance(item, Unreadable):
        told = "It would be kept raw as rejected, and the gateway would be told that it cannot be read."
        reason = principal.text(item.reason)
        return {"type": "unreadable", "reason": reason, "raw": await _text(item.raw, principal), "effect": told}
    if isinstance(item, Inbound):
        return await _reply(gateway, item, verdict_of(gateway, item), principal)
    row = inbox_row(gateway, item, datetime.now(UTC))
    message = await _message(connection, gateway, row)
    return {
        "type": "receipt",
        "fields": await _fields(item, principal, "receipt"),
        "canonical_id": row.provider_message_id and principal.text(row.provider_message_id),
        "status": row.status or Outcome.UNKNOWN.value,
        "message": message,
        "qualification": await _qualification(connection, gateway, row, principal),
        "effect": effect(row.status, message, gateway),
    }


_COMES_OF_IT = {
    "denylist": "The address would be denylisted: nothing more would be sent to it",
    "allow": "The opt-out of the address would be lifted",
    "none": "It would be kept, and change nothing",
    "review": "It would be kept for a person to look at, and change nothing by itself",
    None: "No rule matches: it would be kept, and change nothing",
}


async def _reply(gateway: Gateway, item: Inbound, verdict: Verdict, principal: Principal) -> dict[str, Any]:
    """What an inbound message would do: the rule, what comes of it, and what would be answered to the phone."""
    rule, can_reply = verdict.rule, GATEWAYS[gateway.kind].reply is not None
    narrow = rule is not None and rule.scope == "sender" and verdict.action in ("denylist", "allow")
    lost = verdict.reply is not None and not can_reply
    return {
        "type": "inbound",
        "fields": await _fields(item, principal, "inbound"),
        "rule": None if rule is None else principal.shown(dataclasses.asdict(rule)),
        "action": verdict.action,
        "reply": principal.text(verdict.reply) if can_reply and verdict.reply is not None else None,
        "effect": _COMES_OF_IT[verdict.action]
        + (" from the number that it wrote to." if narrow else ".")
        + (" This kind of gateway has no way to answer with the rule's reply." if lost else ""),
    }


async def _fields(item: Receipt | Inbound, principal: Principal, of: str) -> dict[str, Any]:
    """Every field under its name."""
    names = [field.name for field in dataclasses.fields(item) if field.name != "raw"]
    return principal.shown({name: getattr(item, name) for name in names}, of) | {
        "raw": await _text(item.raw, principal)
    }


async def _text(raw: bytes, principal: Principal) -> str:
    return await principal.long_text(raw.decode("utf-8", "backslashreplace"))


async def _message(connection: Connection, gateway: Gateway, row: InboxRow) -> dict[str, Any] | None:
    """Found as a receipt finds it: by id, else by the reference that came with it."""
    for kind, value in (("id", row.provider_message_id), ("reference", row.reference)):
        found = await store.message_of(connection, gateway, kind, value) if value else None
        if found is not None:
            return {
                "id": str(found["message_id"]),
                "delivery_id": str(found["delivery_id"]),
                "status": found["status"],
                "parts": found["parts"],
                "parts_received": found["parts_received"],
                "matched_by": kind,
            }
    return None


async def _qualification(
    connection: Connection, gateway: Gateway, row: InboxRow, principal: Principal
) -> dict[str, Any] | None:
    """For a failed one: the row that stands, or what a first error of this sort would be qualified as."""
    if row.failure_key is None:
        return None
    status = row.status_text.upper()
    key = {"implementation": gateway.implementation, "status": status, "error_code": row.failure_key}
    found = await store.qualification(connection, gateway.implementation, status, row.failure_key)
    if found is not None:
        return principal.shown({**key, **found, "id": str(found["id"])}, "qualification")
    meant = meaning(GATEWAYS[gateway.kind].qualifications, status, row.failure_key)
    says = {name: getattr(meant, name) for name in ("failure_type", "reason", "sentence", "state")}
    return principal.shown({**key, "id": None, **says}, "qualification")


def effect(status: str | None, message: Mapping[str, Any] | None, gateway: Gateway) -> str:
    """One sentence: what would come of it, as the fold has it."""
    if message is None:
        return "No submission has told this id or reference yet: it would wait as unmatched, without a deadline."
    if status is None:
        return "A word nobody knows: it would be kept and counted, and change no status."
    now, after = message["status"], _folded(status, message, gateway)
    if after.status > Status[now.upper()]:
        return f"The message would change from {now} to {after.status.name.lower()}."
    if Status[status.upper()] < after.status:
        against = " The contradiction would be kept and counted." if after.contradictory else ""
        return f"The message would stay {now}, which is stronger than {status}.{against}"
    if status == now:
        return f"The message is {now} already: a newer report may change its time and reason, a repeat changes nothing."
    return f"One of {message['parts']} parts would be {status}; the message is {status} when all are."


def _folded(status: str, message: Mapping[str, Any], gateway: Gateway) -> State:
    """What is known of the message, with this receipt; of a message in parts it is about the last one."""
    parts = range(1, message["parts"] + 1) if gateway.options.receipts_per == "part" and message["parts"] > 1 else ()
    said = [(WHOLE, message["status"]), *((part, "received") for part in parts[: message["parts_received"]])]
    said.append((parts[-1] if parts else WHOLE, status))
    now = datetime.now(UTC)
    reports = [
        Report(id=id, correlation=part, fingerprint=id, status=Status[word.upper()], received_at=now)
        for id, (part, word) in enumerate(said, start=1)
    ]
    return fold(Facts(created_at=now, reports=reports, parts=frozenset(parts)))
