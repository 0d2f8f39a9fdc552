"""`/docs`: the API for people. Everything on it comes from here, so that nobody else can read the key typed there."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from fastapi import APIRouter
from starlette.responses import Response

router = APIRouter(include_in_schema=False)

_FOLDER = Path(__file__).parent
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
#: For browsers: no other host, no guessing of types, no frames, no address of this page for others.
_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


@router.get("/docs")
async def page() -> Response:
    return _file("page.html", "text/html; charset=utf-8")


@router.get("/docs/page.css")
async def style() -> Response:
    return _file("page.css", "text/css; charset=utf-8")


@router.get("/docs/page.js")
async def script() -> Response:
    return _file("page.js", "text/javascript; charset=utf-8")


def _file(name: str, media_type: str) -> Response:
    return Response(_read(name), headers=dict(_HEADERS), media_type=media_type)


@cache
def _read(name: str) -> bytes:
    return (_FOLDER / name).read_bytes()
