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

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from starlette.responses import Response

#: What Python's versions call differently.
_TITLES = {413: "Content Too Large", 414: "URI Too Long", 422: "Unprocessable Content"}
_MOST_TOLD = 3
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,39}", re.ASCII)
_DIGITS = re.compile(r"[0-9]{5}", re.ASCII)
_INDEX = re.compile(r"[0-9]{1,4}", re.ASCII)


def sayable(name: str) -> bool:
    """Whether a name that came in is repeated: others can be anything, a number of somebody, too."""
    return _NAME.fullmatch(name) is not None and not _DIGITS.search(name)


def title_of(status: int) -> str:
    """One title a status, whatever Python it is."""
    return _TITLES.get(status) or HTTPStatus(status).phrase


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
        return cls.fields([{"pointer": pointer, "detail": detail}])

    @classmethod
    def fields(cls, errors: Sequence[Mapping[str, str]]) -> "Invalid":
        """Several; the sentence says the first ones, each with the name of its field."""
        return cls(not_valid(errors), errors=errors)


class TooMany(Problem):
    status = 429

    def __init__(self, detail: str, *, retry_after: int) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)})


class Busy(Problem):
    status = 503

    def __init__(self, detail: str, *, retry_after: int = 5) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)})


def not_valid(errors: Sequence[Mapping[str, str]]) -> str:
    """The sentence for wrong fields."""
    told = " ".join(_with_name(each) for each in errors[:_MOST_TOLD])
    more = len(errors) - _MOST_TOLD
    return f"The request is not valid: {told}{f' And {more} more.' if more > 0 else ''}"


def _with_name(error: Mapping[str, str]) -> str:
    detail, steps = error["detail"], error["pointer"].lstrip("?/").split("/")
    name = ".".join(step if sayable(step) or _INDEX.fullmatch(step) else "…" for step in steps)
    return (
        detail
        if "`" in detail.partition(" ")[0] or not steps[-1] or f"`{steps[-1]}`" in detail
        else f"`{name}`: {detail}"
    )


def problem_response(
    status: int, detail: str, *, errors: Sequence[Mapping[str, str]] = (), headers: Mapping[str, str] | None = None
) -> Response:
    """The one shape of every error."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": title_of(status),
        "status": status,
        "detail": detail,
    }
    if errors:
        body["errors"] = list(errors)
    return Response(orjson.dumps(body), status, dict(headers or {}), "application/problem+json")
