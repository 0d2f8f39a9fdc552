"""The OpenAPI document is held against what the service answers: each answer that the tests' clients get."""

import re
from collections.abc import Awaitable, Callable

import httpx
from fastapi import FastAPI

from app.openapi.document import operations


def documented_by(app: FastAPI) -> Callable[[httpx.Response], Awaitable[None]]:
    """A hook for `httpx.AsyncClient` that fails when an answer's status is none of its operation's."""
    statuses = {
        (method.upper(), path): set(operation["responses"]) for path, method, operation in operations(app.openapi())
    }
    paths = sorted({path for _, path in statuses}, key=lambda path: path.count("{"))
    patterns = [(re.compile(re.sub(r"{[^}]+}", "[^/]+", path)), path) for path in paths]

    async def documented(response: httpx.Response) -> None:
        asked = response.request.url.raw_path.partition(b"?")[0].decode("ascii")
        path = next((path for pattern, path in patterns if pattern.fullmatch(asked)), "")
        listed = statuses.get((response.request.method, path))
        if listed is not None and response.status_code != 500:  # what nobody foresaw is in no document
            assert str(response.status_code) in listed, f"{response.request.method} {path}: {response.status_code}"

    return documented
