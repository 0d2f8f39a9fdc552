"""The yardsticks: Starlette routes, one that reads the body and answers 200, one that answers 302. Nothing that keeps a
receipt or a click can be faster."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route


async def callback(request: Request) -> Response:
    await request.body()
    return Response()


async def redirect(request: Request) -> Response:
    return RedirectResponse("https://shop.example/offer?campaign=autumn", 302, {"Cache-Control": "no-store"})


app = Starlette(
    routes=[Route("/callbacks/{gateway}", callback, methods=["GET", "POST"]), Route("/r/{token}", redirect)]
)
