"""Pages of other origins: as ACUSE_CORS_ORIGINS says, and not at all without it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import ValidationError

from app.main import create_app
from app.settings import Settings
from tests.conftest import ADMIN_SECRET

PAGE = "https://app.example"
KEY = {"Authorization": f"Bearer {ADMIN_SECRET}"}
ASKING = {"Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "authorization,content-type"}


@asynccontextmanager
async def service(settings: Settings, origins: str) -> AsyncIterator[httpx.AsyncClient]:
    given: Any = {"cors_origins": origins}
    more = Settings(**given)
    app: FastAPI = create_app(settings.model_copy(update={"cors_origins": more.cors_origins}))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://acuse.test") as client,
    ):
        yield client


async def test_without_the_setting_no_answer_speaks_of_origins(settings: Settings) -> None:
    async with service(settings, "") as client:
        answer = await client.get("/v1/keys", headers=KEY | {"Origin": PAGE})
        assert answer.status_code == 200
        assert not [name for name in answer.headers if name.startswith("access-control-")]
        assert (await client.options("/v1/keys", headers={"Origin": PAGE} | ASKING)).status_code == 405


async def test_a_page_of_a_named_origin_may_call_and_read_errors(settings: Settings) -> None:
    async with service(settings, f"{PAGE}, http://localhost:3000") as client:
        asked = await client.options("/v1/keys", headers={"Origin": PAGE} | ASKING)
        assert (asked.status_code, asked.headers["access-control-allow-origin"]) == (204, PAGE)
        assert "PATCH" in asked.headers["access-control-allow-methods"]
        assert "Authorization" in asked.headers["access-control-allow-headers"]
        for path, headers, status in (
            ("/v1/keys", KEY, 200), ("/v1/keys", {}, 401), ("/v1/keys?no=1", KEY, 422), ("/v1/none", KEY, 404),
        ):  # fmt: skip
            answer = await client.get(path, headers=headers | {"Origin": PAGE})
            assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (status, PAGE)
            assert "Retry-After" in answer.headers["access-control-expose-headers"]
            assert "Origin" in answer.headers["vary"]
            assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("origin", ["https://evil.example", "https://app.example.evil", "http://app.example", "null"])
async def test_a_page_of_another_origin_may_not(settings: Settings, origin: str) -> None:
    async with service(settings, PAGE) as client:
        asked = await client.options("/v1/keys", headers={"Origin": origin} | ASKING)
        assert (asked.status_code, asked.headers["content-type"]) == (403, "application/problem+json")
        answer = await client.get("/v1/keys", headers=KEY | {"Origin": origin})
        assert "access-control-allow-origin" not in answer.headers
        assert "Origin" in answer.headers["vary"]


async def test_a_star_lets_all_pages_call(settings: Settings) -> None:
    async with service(settings, "*") as client:
        answer = await client.get("/v1/keys", headers=KEY | {"Origin": "https://any.example"})
        assert answer.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize(
    "origins",
    [
        "app.example", "https://app.example/", "https://app.example/page", "https://App.example", "https://", "null",
        "https://app.example:443", "http://app.example:80", "https://[2001:db8::1]:443", "http://localhost:03000",
        "https://app.example:", "https://ok.example, https://app.example:443",
    ],
)  # fmt: skip
def test_what_no_browser_calls_an_origin_is_refused_at_the_start(origins: str) -> None:
    given: Any = {"cors_origins": origins}
    with pytest.raises(ValidationError, match="An origin is scheme and host"):
        Settings(**given)


@pytest.mark.parametrize(
    "origin", ["http://app.example:443", "https://app.example:80", "http://localhost:8000", "http://[::1]:3000"]
)
def test_a_port_that_browsers_say_is_part_of_an_origin(origin: str) -> None:
    given: Any = {"cors_origins": origin}
    assert Settings(**given).cors_origins == (origin,)
