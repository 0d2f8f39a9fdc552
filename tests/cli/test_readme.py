"""README's first five minutes, and the page on sending from here that goes on from them, as a newcomer pastes them: read out
of the pages, into a shell, at a service that was just started as `make run` starts it. Only key and port are put in."""

import re
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from .test_cli import ROOT, Running, start

pytestmark = pytest.mark.slow

README = (ROOT / "README.md").read_text("utf-8")
FIVE_MINUTES = README.partition("## The first five minutes\n")[2].partition("\n## ")[0]
SENDING = (ROOT / "docs" / "sending.md").read_text("utf-8")
KEY = "the admin key that make run printed"
URL = "http://127.0.0.1:8000"
#: "Within a moment", on a busy machine.
SECONDS = 60.0
Answers = list[list[Any]]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """With nothing in it, and a port of its own."""
    service = start(tmp_path_factory.mktemp("readme"))
    yield service
    service.stop()


class Terminal:
    """What was exported stays, as in the newcomer's."""

    def __init__(self, service: Running) -> None:
        assert service.key is not None
        self._put = {KEY: service.key, URL: service.url}
        self._exports: list[str] = []

    def paste(self, block: str) -> list[Any]:
        """The answers to the lines of `block`: of each the JSON, or JSON lines; None for an empty one."""
        for shown, true in self._put.items():
            block = block.replace(shown, true)
        answers: list[Any] = []
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("export "):
                self._exports.append(line)
            elif line:
                answers.append(self._answer(line))
        return answers

    def _answer(self, line: str) -> Any:
        """Of one line: `curl -s` ends none, so that several would run into each other."""
        done = subprocess.run(
            ["sh"],
            input="\n".join([*self._exports, line]),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), line
        rows = [orjson.loads(row) for row in done.stdout.splitlines()]
        refused = [row for row in rows if isinstance(row, dict) and "title" in row and "detail" in row]
        assert refused == [], line
        return rows if len(rows) > 1 else rows[0] if rows else None

    def until(self, block: str, true: Any) -> list[Any]:
        """Pasted again until that holds of its answers."""
        end = time.monotonic() + SECONDS
        while not true(answers := self.paste(block)):
            assert time.monotonic() < end, answers
            time.sleep(0.2)
        return answers


@pytest.fixture(scope="module")
def terminal(fresh: Running) -> Terminal:
    return Terminal(fresh)


def blocks(text: str) -> list[str]:
    return re.findall(r"```sh\n(.*?)```", text, re.DOTALL)


@pytest.fixture(scope="module")
def pasted(terminal: Terminal) -> Answers:
    """README's five minutes, to the end: the answers of each block."""
    *first, last = blocks(FIVE_MINUTES)
    answers = [terminal.paste(block) for block in first]
    return [*answers, terminal.until(last, lambda seen: seen[0]["processed"] == 2)]


def test_make_run_is_what_is_started_here() -> None:
    assert re.search(r"^run:.*\n\t\$\(BIN\)/acuse run$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert "make run" in README.partition("## The first five minutes")[0]


def test_key_and_port_are_all_that_a_newcomer_puts_in() -> None:
    pasted = "".join([*blocks(FIVE_MINUTES), *blocks(SENDING)])
    assert (pasted.count(KEY), pasted.count(URL)) == (1, 1)
    assert set(re.findall(r"https?://[^/\s'\"]+", pasted)) == {URL}
    assert set(re.findall(r"\$(\w+)", pasted)) == set(re.findall(r"^export (\w+)=", pasted, re.MULTILINE))


def test_the_first_five_minutes_of_the_readme_are_true_when_pasted(pasted: Answers, fresh: Running) -> None:
    (known,), (gateway,), (delivery,), (recorded,), (receipts,), (summary, listed) = pasted
    assert "generic" in {each["kind"] for each in known["items"]}
    assert "**1. Create a gateway.** The answer has its `callback_url`" in FIVE_MINUTES
    assert gateway["callback_url"] == f"{fresh.url}/callbacks/acme"
    assert "and note its `id`" in FIVE_MINUTES
    assert [delivery["id"]] == re.findall(r"^export ID=(\d+)$", FIVE_MINUTES, re.MULTILINE)
    assert (recorded["accepted"], recorded["rejected"]) == (2, 0)
    assert "The answer is empty" in FIVE_MINUTES
    assert receipts is None
    assert "Within a moment one is `received` and one `failed`." in FIVE_MINUTES
    assert (summary["processed"], summary["success"], summary["errors"]) == (2, 1, 1)
    statuses = {each["address"]: each["status"] for each in listed["items"]}
    assert statuses == {"+447700900001": "received", "+447700900002": "failed"}


def test_sending_from_here_goes_on_from_there(pasted: Answers, terminal: Terminal) -> None:
    assert len(pasted) == 6
    (block,) = blocks(SENDING)
    created, uploaded, prepared, excluded, started, outbox = terminal.paste(block)
    assert [created["id"]] == re.findall(r"^export ID=(\d+)$", block, re.MULTILINE)
    assert uploaded["accepted"] == 3
    assert "The third target is left out as the first one's double." in SENDING
    assert [(each["address"], each["reason"]) for each in excluded["items"]] == [("+34600123001", "double")]
    assert (prepared["status"], started["status"]) == ("prepared", "in_progress")
    assert "Each line of the outbox has a `reference`, such as `acuse-42`" in SENDING
    assert [re.fullmatch(r"acuse-\d+", each["reference"]) is not None for each in outbox] == [True, True]
    assert [each["text"].partition("!")[0] for each in outbox] == ["Hello Ana", "Hello Luis"]
