"""The errors of the API, in one shape: RFC 9457 `application/problem+json`.

Problem                    an answer to the caller, with status and sentence
├── NotFound        404
├── Conflict        409    the state forbids it
├── TooLarge        413
├── WrongType       415
├── Invalid         422    with `errors: [{pointer, detail}]`
├── TooMany         429    try again after `retry_after` seconds
├── Busy            503    try again after `retry_after` seconds
├── Unauthenticated 401
└── Forbidden       403
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from starlette.responses import Response


class Problem(Exception):
    """Something the caller is told. `detail` is a sentence for people and holds no address."""

    status = 400

    def __init__(
        self, detail: str, *, errors: Sequence[Mapping[str, str]] = (), headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = errors
        self.headers = headers or {}


class Unauthenticated(Problem):
    status = 401

    def __init__(self, detail: str = "Send `Authorization: Bearer <key>` with a valid API key.") -> None:
        super().__init__(detail, headers={"WWW-Authenticate": "Bearer"})


class Forbidden(Problem):
    status = 403


class NotFound(Problem):
    status = 404


class Conflict(Problem):
    status = 409


class TooLarge(Problem):
    status = 413


class WrongType(Problem):
    status = 415


class Invalid(Problem):
    status = 422

    @classmethod
    def field(cls, pointer: str, detail: str) -> "Invalid":
        """One wrong field; `pointer` is a JSON pointer, or `?name` for a query parameter."""
        return cls("The request is not valid.", errors=[{"pointer": pointer, "detail": detail}])


class TooMany(Problem):
    status = 429

    def __init__(self, detail: str, *, retry_after: int) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)})


class Busy(Problem):
    status = 503

    def __init__(self, detail: str, *, retry_after: int = 5) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)})


def problem_response(
    status: int, detail: str, *, errors: Sequence[Mapping[str, str]] = (), headers: Mapping[str, str] | None = None
) -> Response:
    """The one shape of every error."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if errors:
        body["errors"] = list(errors)
    return Response(orjson.dumps(body), status, dict(headers or {}), "application/problem+json")
