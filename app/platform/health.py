"""For machines: alive, able to serve, Prometheus; and the plain front page."""

from typing import Any

import orjson
from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, Field
from starlette.responses import PlainTextResponse, Response

from app import metrics
from app.accounts.directory import directory_of
from app.ingest.runtime import runtime_of

router = APIRouter(tags=["machines"])


class Alive(BaseModel):
    alive: bool = True


class Readiness(BaseModel):
    ready: bool = Field(
        description="Callbacks can be made durable: the gateways are known, and database or spool work."
    )
    database: bool
    spool: bool
    spooled: int = Field(description="Receipts that wait on this machine's disk for the database.")
    queued: int = Field(description="Receipts that wait for the next group commit, not yet acknowledged.")


class Front(BaseModel):
    name: str
    version: str
    docs: str
    openapi: str


@router.get("/", summary="Name, version, and where the documentation is")
async def front(request: Request) -> Front:
    return Front(name="Acuse", version=request.app.version, docs="/docs", openapi="/openapi.json")


@router.get("/healthz", summary="Alive")
async def alive() -> Alive:
    """200 as long as the process answers, whatever became of the database."""
    return Alive()


@router.get(
    "/readyz",
    summary="Able to serve",
    response_model=Readiness,
    responses={503: {"description": "Callbacks cannot be made durable now, or the gateways are not known yet."}},
)
async def ready(request: Request) -> Response:
    """Also without the database: then receipts go to the spool."""
    found = _readiness(request)
    if found.ready:
        return Response(found.model_dump_json(), media_type="application/json")
    detail = "Callbacks cannot be made durable now." if directory_of(request).loaded else "Gateways are not known yet."
    problem = {"type": "about:blank", "title": "Service Unavailable", "status": 503, "detail": detail}
    body = orjson.dumps(problem | found.model_dump())
    return Response(body, 503, {"Retry-After": "2"}, "application/problem+json")


def _readiness(request: Request) -> Readiness:
    found: dict[str, Any] = dict(runtime_of(request).ready())
    found["database"] = bool(found["database"] and directory_of(request).reachable)
    durable = found["database"] or found["spool"]
    return Readiness(ready=bool(directory_of(request).loaded and durable), **found)


@router.get(
    "/metrics",
    summary="Prometheus metrics",
    response_class=PlainTextResponse,
    responses={
        200: {
            "description": "Of the process that answers; with several workers, each has its own figures.",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        }
    },
)
async def prometheus(request: Request) -> Response:
    found = runtime_of(request).ready()
    metrics.inbox_queue.set(found["queued"])
    metrics.spool_rows.set(found["spooled"])
    return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)
