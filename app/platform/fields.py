"""What the platform's routers share: the transaction, and how a deletion with a dry run answers."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from fastapi import Request, status
from pydantic import BaseModel
from starlette.responses import Response

from app import db
from app.accounts.directory import directory_of
from app.db import Connection, unless_away


@contextlib.asynccontextmanager
async def writing(request: Request, *, dry_run: bool = False) -> AsyncIterator[Connection]:
    """A transaction, committed at the end unless it is a `dry_run`; afterwards the directory knows what changed."""
    async with db.writing(request, dry_run=dry_run) as connection:
        yield connection
    if dry_run:
        return
    with unless_away():  # what is committed stands; the refresher tries again by itself
        await directory_of(request).refresh()


def deleting(model: type[BaseModel]) -> dict[str, Any]:
    """How the route of a deletion is declared whose dry run is answered with `model`."""
    told = {200: {"model": model, "description": "Of a dry run: what would be deleted."}}
    return {"status_code": status.HTTP_204_NO_CONTENT, "responses": told, "response_class": Response}


def deleted(found: BaseModel, *, dry_run: bool) -> Response:
    if not dry_run:
        return Response(status_code=status.HTTP_204_NO_CONTENT)
    return Response(found.model_dump_json(), media_type="application/json")
