"""What the tests of the ingest road add: connections with the worker's settings, and a client that is an administrator."""

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI
from pydantic import AnyHttpUrl, SecretStr

from app.db import Pool, create_pool
from app.ingest.runtime import WORKER_SETTINGS
from app.settings import Settings

BASE = "https://dlr.example.test"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def pool(database_url: str) -> AsyncIterator[Pool]:
    pool = await create_pool(database_url, name="tests", size=6, settings=WORKER_SETTINGS)
    yield pool
    await pool.close()


@pytest.fixture(scope="module")
def settings(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(
        database_url=database_url,
        data_dir=tmp_path_factory.mktemp("data"),
        admin_key=SecretStr("admin-key-of-the-tests"),
        public_url=AnyHttpUrl(BASE),
    )


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def client(app: FastAPI, admin: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the admin key, calling by the public host."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=BASE, headers=admin) as client:
        yield client
