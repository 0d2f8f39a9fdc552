"""Changes of gateways and API keys, with their checks and their lines in the journal. For the API and the command line.

The caller commits, and refreshes the directory. Secrets are checked and stored, and appear nowhere else: not in errors,
not in the journal.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

from pydantic import ValidationError

from app import audit
from app.accounts import parting, store
from app.accounts.directory import RETENTION, built
from app.accounts.store import GatewayRow
from app.api.fields import SLUG, is_slug
from app.db import Connection
from app.errors import Conflict, Invalid, NotFound
from app.gateways import GATEWAYS
from app.gateways.receipt import SHORTEST_SECRET, Adapter, AuthMode, Gateway, Options
from app.problems import field_errors
from app.security import SCOPES, hash_secret, new_secret

_FORMATS = ("submission_id_format", "receipt_id_format")

#: Brings the ids of a gateway into the form that its new options ask for: (connection, gateway as it is now) → figures.
Rekey = Callable[[Connection, Gateway], Awaitable[Mapping[str, int]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """How callbacks are to prove themselves, not yet checked against a kind."""

    mode: str
    secrets: Sequence[str] = ()
    username: str | None = None


@dataclass(frozen=True, slots=True)
class Changed:
    """A gateway after a change; what `rekey` did, when a change of the id formats called for it; and what another name for
    its errors moves."""

    row: GatewayRow
    rekeyed: Mapping[str, int] | None = None
    moved: parting.Moved | None = None


# --- gateways --------------------------------------------------------------------------------------------------------


async def create_gateway(
    connection: Connection,
    *,
    key: str,
    kind: str,
    label: str | None,
    implementation: str | None,
    options: Mapping[str, Any],
    auth: Credentials,
    actor: str,
    rekey: Rekey | None = None,
    retention: timedelta = RETENTION,
) -> GatewayRow:
    """Without an `implementation` its errors are qualified under its key. A deleted gateway of this key and kind is revived:
    the same one, so that its receipts find their messages, with what is given now. Raises `Invalid` with the fields that
    are wrong, or `Conflict` when the key is taken, also by a deleted gateway of another kind that still takes receipts."""
    if not is_slug(key):
        raise Invalid.field("/key", f"A key matches {SLUG}.")
    adapter = adapter_of(kind)
    now = datetime.now(UTC)
    fields: dict[str, Any] = {"label": label or adapter.label}
    fields |= {"options": checked_options(adapter, options), "auth": checked_auth(adapter, auth)}
    dead = await store.deleted_gateway(connection, key) if await store.gateway(connection, key) is None else None
    if dead is not None and dead.kind == kind:
        fields["implementation"] = implementation or dead.implementation
        return await _revived(connection, dead, replace(dead, deleted_at=None, **fields), now, actor, rekey)
    if dead is not None and (ends := (dead.deleted_at or now) + retention) > now:
        raise Conflict(
            f"The key {key} is that of a deleted gateway of kind {dead.kind}, which goes on taking receipts until "
            f"{ends:%Y-%m-%d}: choose another key, or the same kind to revive it."
        )
    fields["implementation"] = implementation or await parting.own_name(connection, key)
    row = await store.insert_gateway(connection, key=key, kind=kind, now=now, **fields)
    if row is None:
        raise Conflict("There is a gateway with this key.")
    await _ship_qualifications(connection, adapter, row.implementation, now)
    data = {"key": key, "kind": kind, "auth": auth.mode}
    said = {"implementation": row.implementation, "options": row.options}
    await _note(connection, "GTW-CREATED", f"Gateway {key} was created.", now, actor, data, said)
    return row


async def _revived(
    connection: Connection, dead: GatewayRow, wanted: GatewayRow, now: datetime, actor: str, rekey: Rekey | None
) -> GatewayRow:
    row = await store.update_gateway(connection, wanted, now)
    await _ship_qualifications(connection, adapter_of(row.kind), row.implementation, now)
    figures = await _rekeyed(connection, dead, row, rekey)
    data = {"key": row.key, "kind": row.kind, "id": row.id, "auth": row.auth["mode"]}
    data |= {"rekeyed": dict(figures)} if figures else {}
    said = {"implementation": row.implementation, "options": row.options}
    text = f"Gateway {row.key} was created again, as the one it was."
    await _note(connection, "GTW-REVIVED", text, now, actor, data, said)
    return row


async def _rekeyed(
    connection: Connection, before: GatewayRow, after: GatewayRow, rekey: Rekey | None
) -> Mapping[str, int] | None:
    """What `rekey` did, when a change of the id formats called for it, or nobody can tell which ones there were."""
    new = built(after)
    try:
        old = built(before)
    except ValidationError:  # options of another version
        return None if rekey is None else await rekey(connection, new)
    formats_changed = any(getattr(old.options, name) != getattr(new.options, name) for name in _FORMATS)
    return await rekey(connection, new) if rekey is not None and formats_changed else None


async def change_gateway(
    connection: Connection,
    key: str,
    *,
    label: str | None,
    implementation: str | None,
    options: Mapping[str, Any] | None,
    auth: Credentials | None,
    actor: str,
    rekey: Rekey | None,
) -> Changed:
    """Changes what is not None; an option that is None goes back to its default. Raises `Conflict` for another
    implementation while a breaker of the gateway is open."""
    before = await _held(connection, key)
    adapter = adapter_of(before.kind)
    after = replace(
        before,
        label=label or before.label,
        implementation=implementation or before.implementation,
        options=before.options if options is None else checked_options(adapter, _merged(before.options, options)),
        auth=before.auth if auth is None else checked_auth(adapter, auth),
    )
    changed = _differences(before, after)
    if not changed:
        return Changed(before)
    now = datetime.now(UTC)
    moved = None
    if "implementation" in changed:
        moved = await parting.parted(connection, before, adapter, after.implementation, now)
    after = await store.update_gateway(connection, after, now)
    if moved:
        await _ship_qualifications(connection, adapter, after.implementation, now)
    figures = await _rekeyed(connection, before, after, rekey)
    data: dict[str, Any] = {"key": key} | ({"rekeyed": dict(figures)} if figures else {})
    data |= {"moved": moved.figures()} if moved else {}
    text = f"Gateway {key} was changed: {', '.join(changed)}."
    await _note(connection, "GTW-CHANGED", text, now, actor, data, {"changed": changed})
    return Changed(after, figures, moved)


async def delete_gateway(connection: Connection, key: str, *, actor: str, force: bool = False) -> int:
    """It cannot be named any more; what it said stays, and what comes for it is taken until its retention ends. Returns how
    many messages are in transit. Raises `Conflict` while there are any, unless `force`."""
    before = await _held(connection, key)
    waiting = await store.in_transit(connection, before.id)
    if waiting and not force:
        raise Conflict(
            f"{waiting} messages of this gateway are in transit. With force it is deleted all the same: it goes on taking "
            "their receipts, and cannot be named any more."
        )
    now = datetime.now(UTC)
    await store.update_gateway(connection, replace(before, deleted_at=now), now)
    data = {"key": key, "id": before.id, "in_transit": waiting}
    await _note(connection, "GTW-DELETED", f"Gateway {key} was deleted.", now, actor, data)
    return waiting


def adapter_of(kind: str) -> Adapter:
    if kind not in GATEWAYS:
        raise Invalid.field("/kind", f"There is no such kind; the kinds are {', '.join(sorted(GATEWAYS))}.")
    return GATEWAYS[kind]


def checked_options(adapter: Adapter, options: Mapping[str, Any]) -> dict[str, Any]:
    """As they are stored: what was given and no more, so that a default that improves reaches old gateways."""
    return _read_options(adapter, options).model_dump(mode="json", exclude_unset=True)


def _read_options(adapter: Adapter, options: Mapping[str, Any]) -> Options:
    try:
        return adapter.options.model_validate(options)
    except ValidationError as error:
        raise Invalid.fields(field_errors(error.errors(), prefix="/options")) from None


def checked_auth(adapter: Adapter, auth: Credentials) -> dict[str, Any]:
    """As it is stored. Raises `Invalid` with every field that is wrong; no value is repeated."""
    errors = [{"pointer": pointer, "detail": detail} for pointer, detail in _auth_faults(adapter, auth)]
    if errors:
        raise Invalid.fields(errors)
    stored: dict[str, Any] = {"mode": auth.mode}
    if auth.secrets:
        stored["secrets"] = list(auth.secrets)
    if auth.username is not None:
        stored["username"] = auth.username
    return stored


def _auth_faults(adapter: Adapter, auth: Credentials) -> list[tuple[str, str]]:
    if auth.mode not in adapter.auth_modes:
        return [("/auth/mode", f"This kind offers {', '.join(adapter.auth_modes)}.")]
    faults = []
    if auth.mode == "none" and auth.secrets:
        faults.append(("/auth/secrets", "Mode none has no secrets."))
    if auth.mode != "none" and not auth.secrets:
        faults.append(("/auth/secrets", f"Mode {auth.mode} needs at least one secret."))
    for index, secret in enumerate(auth.secrets):
        if len(secret) < SHORTEST_SECRET or not secret.isprintable() or secret != secret.strip():
            detail = f"A secret has at least {SHORTEST_SECRET} printable characters and no space around it."
            faults.append((f"/auth/secrets/{index}", detail))
        elif auth.mode == "signature" and adapter.secret_fault and (fault := adapter.secret_fault(secret)):
            faults.append((f"/auth/secrets/{index}", fault))
    if auth.mode == "basic" and (not auth.username or ":" in auth.username or not auth.username.isprintable()):
        faults.append(("/auth/username", "Mode basic needs a username, printable and without a colon."))
    if auth.mode != "basic" and auth.username is not None:
        faults.append(("/auth/username", f"Mode {auth.mode} has no username."))
    return faults


def _merged(stored: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**stored, **given}.items() if value is not None}


def _differences(before: GatewayRow, after: GatewayRow) -> dict[str, Any]:
    """What changed, from and to, fit for the journal: of secrets only that they did."""
    changed = {
        name: {"from": getattr(before, name), "to": getattr(after, name)}
        for name in ("label", "implementation", "options")
        if getattr(before, name) != getattr(after, name)
    }
    if before.auth != after.auth:
        changed["auth"] = {
            "from": before.auth["mode"],
            "to": after.auth["mode"],
            "secrets_replaced": before.auth.get("secrets") != after.auth.get("secrets"),
        }
    return changed


async def _held(connection: Connection, key: str) -> GatewayRow:
    row = await store.gateway(connection, key, locked=True) if is_slug(key) else None
    if row is None:
        raise NotFound("There is no such gateway.")
    return row


async def _ship_qualifications(connection: Connection, adapter: Adapter, implementation: str, now: datetime) -> None:
    """What the provider documents, so that it can be read before the first error comes. Entries for any status ("*")
    have no row of their own: they are looked up when a status brings them."""
    rows = [
        (implementation, status.upper(), code, meaning.failure_type, meaning.reason, meaning.sentence)
        for (status, code), meaning in adapter.qualifications.items()
        if status != "*"
    ]
    await store.add_qualifications(connection, rows, now)


# --- API keys --------------------------------------------------------------------------------------------------------


async def create_key(
    connection: Connection, name: str, scopes: Sequence[str], *, actor: str, reserved: Sequence[str] = ()
) -> str:
    """The new key's secret, which is stored nowhere. Raises `Invalid`, or `Conflict` when the name is taken."""
    if not is_slug(name) or name in (*reserved, "system"):
        raise Invalid.field("/name", f"A name matches {SLUG}, and is not one that the service uses itself.")
    wrong = sorted(set(scopes) - set(SCOPES))
    if wrong or not scopes:
        raise Invalid.field("/scopes", f"Name at least one of {', '.join(SCOPES)}.")
    secret, now = new_secret(), datetime.now(UTC)
    await store.hold_keys(connection)
    if not await store.insert_key(connection, name, hash_secret(secret), sorted(set(scopes)), now):
        raise Conflict("There is a key with this name.")
    data = {"name": name, "scopes": sorted(set(scopes))}
    await _note(connection, "KEY-CREATED", f"API key {name} was created.", now, actor, data)
    return secret


async def delete_key(connection: Connection, name: str, *, actor: str) -> tuple[Sequence[str], datetime]:
    """Returns its scopes, and when it was made. Raises `NotFound`, or `Conflict` for the last key with scope `admin`: nobody
    could make another."""
    await store.hold_keys(connection)
    row = await store.hold_key(connection, name) if is_slug(name) else None
    if row is None:
        raise NotFound("There is no such key.")
    if "admin" in row["scopes"] and not await store.other_admins(connection, name):
        raise Conflict("This is the last key with scope admin; create another one first.")
    await store.delete_key(connection, name)
    await _note(connection, "KEY-DELETED", f"API key {name} was deleted.", datetime.now(UTC), actor, {"name": name})
    return row["scopes"], row["created_at"]


async def _note(
    connection: Connection,
    code: str,
    text: str,
    at: datetime,
    actor: str,
    data: Mapping[str, Any],
    personal: Mapping[str, Any] | None = None,
) -> None:
    """`personal`: what people typed; it stands beside the chain."""
    await audit.append(connection, audit.PLATFORM, code, text, at=at, actor=actor, data=data, personal=personal)


AUTH_MODES: tuple[AuthMode, ...] = get_args(AuthMode)
