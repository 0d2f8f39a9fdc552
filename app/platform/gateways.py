"""Gateways: create, list, read, change, delete, try a callback out; and the kinds there are."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Query, Request, status
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from app.accounts import administering as changes
from app.accounts import store
from app.accounts.directory import built
from app.accounts.parting import Moved
from app.accounts.store import GatewayRow
from app.api import export
from app.api.fields import AskedFlag, DryRun, FreeJson, Line, PathName, Plain, Secret, Slug, is_slug
from app.api.idempotency import once
from app.api.listing import Found, Listing, PageAsked, listed, paged, whole
from app.api.paging import Page
from app.db import plain_snapshot
from app.errors import Invalid, NotFound
from app.gateways import GATEWAYS
from app.gateways.receipt import SHORTEST_SECRET, Adapter, AuthMode
from app.ingest import trying_out as trial
from app.ingest.dead_letters import figures as shelved
from app.matching.rekeying import id_hint, rekey
from app.platform.fields import deleted, deleting, writing
from app.security import GatewayReader, GatewayWriter
from app.server.parameters import any_query
from app.settings import public_base_of, settings_of

router = APIRouter(prefix="/v1", tags=["gateways"])


class AuthIn(BaseModel):
    """How the gateway's callbacks prove themselves. Any of several secrets is good, so that they can rotate."""

    model_config = ConfigDict(extra="forbid")

    mode: AuthMode = Field(description="`none` must be said: then nobody checks where callbacks come from.")
    secrets: list[Secret] = Field(default_factory=list, max_length=10, description="At least 8 characters each.")
    username: Plain | None = Field(None, max_length=200, description="Only for `basic`.")

    def credentials(self) -> changes.Credentials:
        return changes.Credentials(mode=self.mode, secrets=self.secrets, username=self.username)


Force = Annotated[AskedFlag, Query(description="Also while messages are in transit.")]


class NewGateway(BaseModel):
    model_config = ConfigDict(extra="forbid")

    key: Slug = Field(description="Names the gateway everywhere; part of its callback URL.")
    kind: Plain = Field(max_length=63, description="One of `GET /v1/gateway-kinds`.")
    label: Line | None = None
    implementation: Line | None = Field(
        None,
        description="Name under which its errors are qualified. Default: its key, so that they are its own; name another "
        "gateway's to share on purpose.",
    )
    options: FreeJson = Field(default_factory=dict, description="The kind's own; see its JSON Schema.")
    auth: AuthIn


class GatewayChange(BaseModel):
    model_config = ConfigDict(extra="forbid")

    label: Line | None = None
    implementation: Line | None = Field(
        None, description="Name under which its errors are qualified from now on. See `moved`, and `?dry_run=true`."
    )
    options: FreeJson | None = Field(None, description="Merged into the present ones; null: back to the default.")
    auth: AuthIn | None = Field(None, description="Replaces the present one, secrets included.")


class AuthOut(BaseModel):
    mode: str
    secrets: int = Field(description="How many there are. They are never shown again.")
    username: str | None


class GatewayOut(BaseModel):
    key: str
    kind: str
    label: str
    implementation: str
    options: dict[str, Any]
    auth: AuthOut
    callback_url: str
    created_at: datetime
    updated_at: datetime


class Meaning(BaseModel):
    failure_type: str
    reason: str
    state: str


class MovedError(BaseModel):
    status: str
    error_code: str
    messages: int = Field(description="Of this gateway that failed with it: they keep the old name.")
    before: Meaning = Field(description="What it means under the old name.")
    after: Meaning | None = Field(description="Under the new name; null: what its provider documents, once it comes.")


class Parted(BaseModel):
    """What another name for the gateway's errors does. What failed before keeps the old name; what was decided about these
    errors goes along, unless other gateways have the new name."""

    old_implementation: str
    implementation: str
    shared_with: list[str] = Field(description="Other gateways under the old name.")
    shares_with: list[str] = Field(description="Other gateways under the new name.")
    known_errors: int = Field(description="Errors that this gateway has had.")
    messages: int = Field(description="Messages that failed with them.")
    copied: int = Field(description="Qualifications that are taken along as they stand.")
    differing: int = Field(description="Errors that mean something else from now on.")
    per_error: list[MovedError] = Field(description="Those of the most messages, 100.")


class GatewayChanged(GatewayOut):
    rekeyed: dict[str, int] | None = Field(description="When the id formats changed: what was renamed and matched.")
    moved: Parted | None = Field(description="When the implementation changed: what that does.")
    dry_run: bool


class GatewayDetails(GatewayOut):
    receipts: int
    unmatched: int
    rejected: int
    unknown_statuses: dict[str, int] = Field(
        description="Words that the adapter does not know, and how often they came."
    )
    hint: dict[str, Any] | None = Field(
        description="Id options under which unmatched receipts would match, with proof."
    )


class Deletion(BaseModel):
    """What a dry run of it says."""

    key: str
    in_transit: int = Field(description="Messages that wait for a final receipt from it; it goes on taking them.")


class GatewayPage(Page[GatewayOut]):
    pass


class Kind(BaseModel):
    kind: str
    label: str
    source: str = Field(description="The provider's page this was read from.")
    methods: list[str]
    auth: dict[str, Any] = Field(description="JSON Schema of `auth`.")
    options: dict[str, Any] = Field(description="JSON Schema of `options`.")


class Kinds(BaseModel):
    items: list[Kind]
    next_cursor: None = None
    total: int


# --- kinds -----------------------------------------------------------------------------------------------------------


@router.get(
    "/gateway-kinds",
    summary="The kinds of gateways, their options and auth modes",
    response_model=Kinds,
    responses=export.STREAMS,
)
async def kinds(request: Request, principal: GatewayReader) -> Any:
    """Both as JSON Schema, so that a form can be made of them."""
    found = [_kind(GATEWAYS[kind]) for kind in sorted(GATEWAYS)]
    return whole(request, principal, Kind, found, Kinds(items=found, total=len(found)))


def _kind(adapter: Adapter) -> Kind:
    return Kind(
        kind=adapter.kind,
        label=adapter.label,
        source=adapter.source,
        methods=sorted(adapter.methods),
        auth={"oneOf": [_auth_schema(adapter, mode) for mode in adapter.auth_modes]},
        options=adapter.options.model_json_schema(),
    )


def _auth_schema(adapter: Adapter, mode: AuthMode) -> dict[str, Any]:
    properties: dict[str, Any] = {"mode": {"const": mode}}
    if mode != "none":
        secret: dict[str, Any] = {"type": "string", "minLength": SHORTEST_SECRET}
        if mode == "signature" and adapter.secret_form:
            secret["description"] = adapter.secret_form
        properties["secrets"] = {"type": "array", "items": secret, "minItems": 1, "maxItems": 10}
    if mode == "basic":
        properties["username"] = {"type": "string", "minLength": 1}
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


# --- gateways --------------------------------------------------------------------------------------------------------


@router.post("/gateways", status_code=status.HTTP_201_CREATED, response_model=GatewayOut, summary="Create a gateway")
async def create(request: Request, principal: GatewayWriter, new: NewGateway) -> Response:
    """Point the provider's status callbacks at `callback_url`. What the provider documents about its errors is added
    to the qualifications. The key and kind of a deleted gateway revive it: the same one, with what is given now, and
    receipts of what was sent through it before are matched."""
    async with writing(request) as connection:

        async def make() -> Response:
            row = await changes.create_gateway(
                connection,
                key=new.key,
                kind=new.kind,
                label=new.label,
                implementation=new.implementation,
                options=new.options,
                auth=new.auth.credentials(),
                actor=principal.name,
                rekey=rekey,
                retention=timedelta(days=settings_of(request).deleted_gateway_days),
            )
            made = GatewayOut(**principal.shown(_shown(request, row)))
            return Response(made.model_dump_json(), status.HTTP_201_CREATED, media_type="application/json")

        return await once(request, principal, connection, make)


@router.get("/gateways", summary="List gateways", **paged(GatewayPage))
async def list_all(request: Request, principal: GatewayReader, page: PageAsked) -> Any:
    """By key."""

    async def find(after: Sequence[Any] | None, limit: int, _: bool) -> Found:
        async with plain_snapshot(request) as connection:
            return Found(*await store.gateways_after(connection, after[0] if after else "", limit))

    gateways = Listing(
        scope="gateways", find=find, position=lambda row: [row.key],
        show=lambda rows: principal.all_shown(_shown(request, row) for row in rows), model=GatewayOut,
    )  # fmt: skip
    return await listed(page, principal, gateways)


@router.get("/gateways/{key}", summary="One gateway, with its figures")
async def read(request: Request, principal: GatewayReader, key: PathName) -> GatewayDetails:
    """`unmatched` and `rejected` are those of the lists at this moment (with more than 10 000 in all: of some minutes ago).
    `hint` says so, with the proof, when unmatched receipts would match under other id options."""
    async with plain_snapshot(request) as connection:
        row = await _row(connection, key)
        figures = await store.gateway_figures(connection, row.id) | await shelved(connection, row.id)
        hint = await id_hint(connection, built(row))
    return GatewayDetails(**principal.shown({**_shown(request, row), **figures, "hint": hint}))


@router.patch("/gateways/{key}", summary="Change a gateway")
async def change(
    request: Request, principal: GatewayWriter, key: PathName, wish: GatewayChange, dry_run: DryRun = False
) -> GatewayChanged:
    """Kind and key stay. When the id formats change, all ids of the gateway are computed anew and matched again,
    in this request. Another `implementation` parts its errors from those of the gateways that it shared one with, or shares
    theirs; `?dry_run=true` says what that moves, and changes nothing."""
    async with writing(request, dry_run=dry_run) as connection:
        changed = await changes.change_gateway(
            connection,
            key,
            label=wish.label,
            implementation=wish.implementation,
            options=wish.options,
            auth=wish.auth.credentials() if wish.auth else None,
            actor=principal.name,
            rekey=rekey,
        )
    more = {"rekeyed": None if changed.rekeyed is None else dict(changed.rekeyed), "dry_run": dry_run}
    moved = None if changed.moved is None else principal.shown(_moved(changed.moved))
    return GatewayChanged(**principal.shown(_shown(request, changed.row)), **more, moved=moved)


def _moved(moved: Moved) -> dict[str, Any]:
    names = {"old_implementation": moved.old_implementation, "implementation": moved.implementation}
    return names | moved.figures() | {"per_error": list(moved.per_error)}


@router.delete("/gateways/{key}", summary="Delete a gateway", **deleting(Deletion))
async def delete(
    request: Request, principal: GatewayWriter, key: PathName, force: Force = False, dry_run: DryRun = False
) -> Response:
    """It cannot be named any more. What it said stays, and its callbacks are taken until its retention ends
    (`ACUSE_DELETED_GATEWAY_DAYS`). With messages in transit: 409 that says how many, unless forced. `POST` of its key and
    kind revives it."""
    async with writing(request, dry_run=dry_run) as connection:
        waiting = await changes.delete_gateway(connection, key, actor=principal.name, force=force)
    return deleted(Deletion(key=key, in_transit=waiting), dry_run=dry_run)


# --- trying out ------------------------------------------------------------------------------------------------------

_TRIAL_BODY = {
    "description": "None: a callback without a body; its query is this request's.",
    "content": {
        "application/json": {
            "schema": {
                "anyOf": [
                    {
                        "type": "object",
                        "properties": {
                            "method": {"type": "string"},
                            "query": {"anyOf": [{"type": "string"}, {"type": "object"}]},
                            "headers": {"type": "object", "additionalProperties": {"type": "string"}},
                            "body": {},
                            "reference": {"type": "string"},
                        },
                    },
                    {"description": "The callback's own body, whatever the provider sends."},
                ]
            },
        },
        "application/x-www-form-urlencoded": {"schema": {"type": "string"}},
        "text/plain": {"schema": {"type": "string"}},
    },
}


@router.post(
    "/gateways/{key}/test",
    summary="Try a callback out",
    dependencies=[Depends(any_query)],
    openapi_extra={"requestBody": _TRIAL_BODY},
    responses={200: {"content": {"application/json": {"schema": {"type": "object"}}}}},
    response_model=None,
)
async def test(request: Request, principal: GatewayWriter, key: PathName) -> Response:
    """A callback's body, form or receipt text → what it would be read as: every field, the matched message, the
    qualification, the effect. Stores nothing, and needs no proof: `verified` says whether it would do."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await request.body()
    if not body.strip() and not request.url.query:
        raise Invalid.field("", "Send what the gateway would send: its body, or the query of its URL.")
    async with plain_snapshot(request) as connection:
        row = await _row(connection, key)
        gateway = built(row)
        callback = trial.callback_of(
            gateway, url=_callback_url(request, key), content_type=content_type, query=request.url.query, body=body
        )
        answer = await trial.tried(connection, gateway, callback, principal)
    return Response(orjson.dumps(answer, default=str, option=orjson.OPT_UTC_Z), media_type="application/json")


# --- showing ---------------------------------------------------------------------------------------------------------


async def _row(connection: Any, key: str) -> GatewayRow:
    row = await store.gateway(connection, key) if is_slug(key) else None
    if row is None:
        raise NotFound("There is no such gateway.")
    return row


def _shown(request: Request, row: GatewayRow) -> dict[str, Any]:
    auth = row.auth
    return {
        "key": row.key,
        "kind": row.kind,
        "label": row.label,
        "implementation": row.implementation,
        "options": _all_options(row),
        "auth": {"mode": auth["mode"], "secrets": len(auth.get("secrets", ())), "username": auth.get("username")},
        "callback_url": _callback_url(request, row.key),
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }


def _all_options(row: GatewayRow) -> dict[str, Any]:
    """With the defaults of now; as stored, for a kind that is not known here."""
    return built(row).options.model_dump(mode="json") if row.kind in GATEWAYS else dict(row.options)


def _callback_url(request: Request, key: str) -> str:
    base = public_base_of(request) or str(request.base_url).rstrip("/")
    return f"{base}/callbacks/{key}"
