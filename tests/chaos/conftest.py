"""Services that are started again and again start quickly: with compiled modules, in a folder that goes afterwards."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import harness


@pytest.fixture(scope="session", autouse=True)
def _compiled() -> Iterator[None]:
    with tempfile.TemporaryDirectory(prefix="acuse-chaos-pyc-") as name:
        harness.compiled = Path(name)
        yield
        harness.compiled = None
