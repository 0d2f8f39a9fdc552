"""docs/one-receipt.md is the way that a receipt takes now."""

import asyncio
import sys
from pathlib import Path

import pytest

from . import one_receipt

FIRST, SECOND = "app.ingest.store:claim", "app.ingest.pipeline:meet"


async def test_the_page_is_the_way_that_a_receipt_takes(database_url: str, tmp_path: Path) -> None:
    made = tmp_path / "one-receipt.md"
    command = (sys.executable, "-m", "tests.one_receipt", "--url", database_url, "--to", str(made))
    walk = await asyncio.create_subprocess_exec(*command, cwd=one_receipt.ROOT, stderr=asyncio.subprocess.PIPE)
    _, said = await walk.communicate()
    assert walk.returncode == 0, said.decode()
    assert made.read_text("utf-8") == one_receipt.PAGE.read_text("utf-8"), "run `python -m tests.one_receipt`"


@pytest.mark.parametrize("step", ["app.ingest.pipeline:gone", "app.ingest.gone:apply", "app.ingest.inbox:Inbox.gone"])
def test_a_step_that_is_gone_is_told(step: str) -> None:
    with pytest.raises(one_receipt.Moved, match="There is no"):
        one_receipt.function(step)


def test_a_step_needs_a_sentence() -> None:
    with pytest.raises(one_receipt.Moved, match="no docstring"):
        one_receipt.sentence("app.ingest.inbox:Inbox.queued.fget")


@pytest.mark.parametrize("called", [[FIRST], [SECOND], [SECOND, FIRST], []])
def test_a_step_that_is_not_taken_in_its_place_is_told(called: list[str]) -> None:
    with pytest.raises(one_receipt.Moved, match="was not called before"):
        one_receipt.in_order([FIRST, SECOND], called)


def test_a_worker_that_looked_in_vain_before_is_no_disorder() -> None:
    one_receipt.in_order([FIRST, SECOND], [FIRST, SECOND, FIRST, FIRST, SECOND, FIRST])
