"""API keys: create (the secret is shown once), list, delete."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from fastapi import APIRouter, Request, status
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from app.accounts import administering as changes
from app.accounts import store
from app.accounts.installation import ENV_ADMIN
from app.api.fields import DryRun, PathName, Slug
from app.api.idempotency import once
from app.api.listing import Found, Listing, PageAsked, listed, paged
from app.api.paging import Page
from app.db import plain_snapshot
from app.platform.fields import deleted, deleting, writing
from app.privacy.masking import in_pieces
from app.security import Admin

router = APIRouter(prefix="/v1/keys", tags=["keys"])

Scope = Literal[
    "deliveries:read", "deliveries:write", "receipts:write", "quarantine:read", "quarantine:write", "gateways:write",
    "pii:read", "admin",
]  # fmt: skip


class NewKey(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Slug = Field(description="Names the key in the journal and in the list.")
    scopes: list[Scope] = Field(min_length=1, max_length=20, description="`admin` may do everything.")


class Key(BaseModel):
    name: str
    scopes: list[str]
    created_at: datetime


class KeyWithSecret(Key):
    secret: str = Field(description="Shown now and never again.")


class KeyPage(Page[Key]):
    pass


@router.post("", status_code=status.HTTP_201_CREATED, response_model=KeyWithSecret, summary="Create an API key")
async def create(request: Request, principal: Admin, key: NewKey) -> Response:
    """The secret is in this answer and nowhere else: only its hash is stored. With an `Idempotency-Key`, the same
    request gets the same secret again for 24 h."""
    async with writing(request) as connection:

        async def make() -> Response:
            secret = await changes.create_key(
                connection, key.name, key.scopes, actor=principal.name, reserved=(ENV_ADMIN,)
            )
            made = KeyWithSecret(
                name=key.name, scopes=sorted(set(key.scopes)), created_at=datetime.now(UTC), secret=secret
            )
            return Response(made.model_dump_json(), status.HTTP_201_CREATED, media_type="application/json")

        return await once(request, principal, connection, make)


@router.get("", summary="List API keys", **paged(KeyPage))
async def list_all(request: Request, principal: Admin, page: PageAsked) -> Any:
    """By name. Secrets are never shown again."""

    async def find(after: Sequence[Any] | None, limit: int, _: bool) -> Found:
        async with plain_snapshot(request) as connection:
            return Found(*await store.keys_after(connection, after[0] if after else "", limit))

    keys = Listing(
        scope="keys", find=find, position=lambda row: [row["name"]], show=lambda rows: in_pieces(map(dict, rows)), model=Key
    )  # fmt: skip
    return await listed(page, principal, keys)


@router.delete("/{name}", summary="Delete an API key", **deleting(Key))
async def delete(request: Request, principal: Admin, name: PathName, dry_run: DryRun = False) -> Response:
    """It stops working at once, and its secret can never be had again. The last key with scope `admin` cannot be deleted
    (409)."""
    async with writing(request, dry_run=dry_run) as connection:
        scopes, created_at = await changes.delete_key(connection, name, actor=principal.name)
    return deleted(Key(name=name, scopes=list(scopes), created_at=created_at), dry_run=dry_run)
