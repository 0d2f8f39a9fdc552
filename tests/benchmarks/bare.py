"""The yardstick: a Starlette route that reads the body and answers 200. Nothing that keeps a receipt can be faster."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


async def callback(request: Request) -> Response:
    await request.body()
    return Response()


app = Starlette(routes=[Route("/callbacks/{gateway}", callback, methods=["GET", "POST"])])
