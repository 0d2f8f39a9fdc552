"""What an operation would pass over in silence is refused: a query parameter that it does not know, one given twice that
counts once, a body where none is taken.

A filter with a slip in its name would else be no filter, and `dry_run` in the body of a DELETE no dry run. Asked by
`authenticate`, through which everything under /v1 passes: callbacks and short URLs take whatever comes, and never come here.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, get_args, get_origin
from urllib.parse import parse_qsl

from fastapi import Request
from fastapi.dependencies.models import Dependant

from app.errors import Invalid, sayable

_ASKED = "acuse.parameters_known"
_MOST_TOLD = 20
_EMPTY = (b"", b"{}", b"null")
_EMPTY_BYTES = 20


async def any_query() -> None:
    """A dependency of an operation that takes whatever query comes: what is in it is no parameter of ours."""


#: By endpoint: its parameters, and whether each may come several times. None: any.
_known: dict[Callable[..., Any], Mapping[str, bool] | None] = {}


async def refuse_unknown(request: Request) -> None:
    """Raises `Invalid`, which names each. Costs nothing without a query and a body, nor when it is asked again: an operation may
    ask for the key in several dependencies, and its body can be read once."""
    if request.scope.get(_ASKED):
        return
    request.scope[_ASKED] = True
    _refuse_parameters(request)
    headers = request.headers
    if ("content-length" in headers or "transfer-encoding" in headers) and not _takes_body(request.scope["route"]):
        await _refuse_body(request)


async def _refuse_body(request: Request) -> None:
    """But for what some clients always send."""
    read = b""
    async for piece in request.stream():
        read += piece
        if len(read) > _EMPTY_BYTES:
            break
    if read.strip() not in _EMPTY:
        raise Invalid.field("", "This operation takes no body: what it knows stands in its path and query.")


def _takes_body(route: Any) -> bool:
    return route.body_field is not None or "requestBody" in (route.openapi_extra or {})


def _refuse_parameters(request: Request) -> None:
    query = request.scope["query_string"]
    if not query:
        return
    known = _parameters(request.scope["route"])
    if known is None:
        return
    counts = Counter(name for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True))
    wrong = [name for name, times in counts.items() if name not in known or (times > 1 and not known[name])]
    if wrong:  # thousands fit into a query, and a sentence about each takes its time
        raise Invalid.fields(
            [{"pointer": f"?{_said(name)}", "detail": _fault(name, known)} for name in wrong[:_MOST_TOLD]]
        )


def _parameters(route: Any) -> Mapping[str, bool] | None:
    endpoint = route.endpoint
    if endpoint not in _known:
        found = list(_of(route.dependant))
        _known[endpoint] = None if any(each.call is any_query for each in found) else _named(found)
    return _known[endpoint]


def _of(dependant: Dependant) -> Iterator[Dependant]:
    yield dependant
    for each in dependant.dependencies:
        yield from _of(each)


def _named(dependants: list[Dependant]) -> dict[str, bool]:
    return {field.alias: _is_list(field.field_info.annotation) for each in dependants for field in each.query_params}


def _is_list(annotation: Any) -> bool:
    return get_origin(annotation) is list or any(get_origin(each) is list for each in get_args(annotation))


def _said(name: str) -> str:
    return name if sayable(name) else "…"


def _fault(name: str, known: Mapping[str, bool]) -> str:
    if name in known:
        return f"Give the parameter `{name}` once."
    near = get_close_matches(name.lower()[:40], known, n=1)
    if near:
        return f"There is no parameter `{_said(name)}` here; is it `{near[0]}`?"
    if not known:
        return f"There is no parameter `{_said(name)}` here: this operation takes none."
    return f"There is no parameter `{_said(name)}` here; there are {', '.join(sorted(known))}."
