"""What all tests share: a throw-away PostgreSQL for each xdist worker, with the schema from the real migrations.

ACUSE_TEST_POSTGRES_BIN names another PostgreSQL's programs than the wheel's (`make test15`). In CI a skipped test is a
failed run: what a test needs is installed there, or the run must say so.

`database_url` is a fresh database for each test module, cloned from a migrated template in some 50 ms; `engine` and
`pool` are its two doors. `app` is the whole service on it, and `client` talks to that in this process. `admin` are the
headers of a key that may do everything; `key(scopes…)` makes headers of one that may not.
"""

import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import hypothesis
import pytest
import pytest_asyncio
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

from app import embedded, logs, migrate
from app.accounts import administering as changes
from app.db import Pool, asyncpg_dsn, create_engine, create_pool
from app.main import create_app
from app.settings import Settings
from tests.documented import documented_by

ADMIN_SECRET = "admin-key-of-the-tests"
#: Whose tests are all slow.
SLOW = ("tests/adversary/", "tests/chaos/")
TEMPLATE = "acuse_template"
Headers = dict[str, str]
KeyMaker = Callable[..., Awaitable[Headers]]


hypothesis.settings.register_profile("quick", max_examples=25)  # of 100


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.startswith(SLOW):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session", autouse=True)
def _quick_logs() -> None:
    """As the service has them: structlog's own defaults draw tracebacks with all locals, which takes seconds."""
    logs.configure(json=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[embedded.EmbeddedPostgres]:
    bin_dir = os.environ.get("ACUSE_TEST_POSTGRES_BIN")
    with embedded.temporary({"fsync": "off"}, bin_dir=Path(bin_dir) if bin_dir else None) as server:
        yield server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def template(postgres: embedded.EmbeddedPostgres) -> str:
    """The migrated database that all others are cloned from. Nobody may be connected to it."""
    await _execute(postgres, f"CREATE DATABASE {TEMPLATE}")
    await migrate.upgrade(_url(postgres, TEMPLATE))
    return TEMPLATE


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def database_url(
    postgres: embedded.EmbeddedPostgres, template: str, request: pytest.FixtureRequest
) -> AsyncIterator[str]:
    name = f"module_{next(_NUMBERS)}"
    await _execute(postgres, f"CREATE DATABASE {name} TEMPLATE {template}")
    yield _url(postgres, name)
    await _execute(postgres, f"DROP DATABASE {name} WITH (FORCE)")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(database_url, pool_size=4)
    yield engine
    await engine.dispose()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def pool(database_url: str) -> AsyncIterator[Pool]:
    pool = await create_pool(database_url, name="tests", size=4)
    yield pool
    await pool.close()


@pytest.fixture(scope="module")
def settings(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    data_dir: Path = tmp_path_factory.mktemp("data")
    return Settings(database_url=database_url, data_dir=data_dir, admin_key=SecretStr(ADMIN_SECRET))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def app(settings: Settings) -> AsyncIterator[FastAPI]:
    """The service, running: inbox, worker and clock included."""
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        yield app


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=app)
    hooks = {"response": [documented_by(app)]}
    async with httpx.AsyncClient(transport=transport, base_url="http://acuse.test", event_hooks=hooks) as client:
        yield client


@pytest.fixture(scope="session")
def admin() -> Headers:
    return {"Authorization": f"Bearer {ADMIN_SECRET}"}


@pytest.fixture(scope="module")
def key(app: FastAPI) -> KeyMaker:
    """`await key("deliveries:read", "pii:read")`: headers of a new key with these scopes."""

    async def make(*scopes: str) -> Headers:
        async with app.state.pool.acquire() as connection, connection.transaction():
            secret = await changes.create_key(connection, f"test-{next(_NUMBERS)}", scopes, actor="tests")
        await app.state.directory.refresh()
        return {"Authorization": f"Bearer {secret}"}

    return make


_NUMBERS = itertools.count(1)


def _url(postgres: embedded.EmbeddedPostgres, database: str) -> str:
    return postgres.url.replace(f"/{embedded.DATABASE}?", f"/{database}?")


async def _execute(postgres: embedded.EmbeddedPostgres, statement: str) -> None:
    connection = await asyncpg.connect(asyncpg_dsn(postgres.url))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter: Any = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
