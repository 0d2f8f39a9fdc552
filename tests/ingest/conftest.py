"""A PostgreSQL of its own for each xdist worker, with the real schema from the real migrations."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from app.db import Pool, create_pool
from app.embedded import temporary
from app.ingest.runtime import WORKER_SETTINGS
from app.migrate import upgrade


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    with temporary({"fsync": "off"}) as server:
        yield server.url


@pytest_asyncio.fixture(scope="session")
async def pool(server_url: str) -> AsyncIterator[Pool]:
    await upgrade(server_url)
    pool = await create_pool(server_url, name="tests", size=6, settings=WORKER_SETTINGS)
    yield pool
    await pool.close()
