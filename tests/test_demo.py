"""The demo, small: what its gateways did is what the service says, and the books balance."""

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from app.demo import service
from app.demo.plan import FAILURES, Books, Message, Report, plan
from app.demo.run import Result, demonstrate, main
from app.demo.show import Screen
from app.numbers import normalise
from app.settings import Settings

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _no_settings_of_the_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No service that happens to run on this machine is used."""
    for name in ("DATABASE_URL", "ADMIN_KEY", "PUBLIC_URL"):
        monkeypatch.delenv(f"ACUSE_{name}", raising=False)
    monkeypatch.setenv("ACUSE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("ACUSE_HOST", "127.0.0.1")


# --- the whole of it -------------------------------------------------------------------------------------------------


@pytest.fixture
def console() -> Console:
    return Console(record=True, width=150, force_terminal=False)


async def test_summary_is_what_the_simulated_gateways_did_and_drift_is_zero(tmp_path: Path, console: Console) -> None:
    screen = Screen(console)
    result = await demonstrate(screen, messages=300, seconds=3, seed=7, key=None, data_dir=tmp_path / "demo")
    assert result.drift == 0
    assert result.differences == []
    _the_books_balance(result)
    _every_road_was_taken(result)
    screen.results(result)
    assert "drift 0" in console.export_text()


def _the_books_balance(result: Result) -> None:
    summary = result.summary
    assert summary["targeted"] == summary["to_send"] == sum(summary["by_status"].values()) == 300
    assert summary["processed"] == summary["success"] + summary["errors"]
    assert sum(summary["by_failure_type"].values()) == sum(summary["by_reason"].values()) == summary["errors"]
    keys: dict[str, str] = {line.side: line.key for line in result.lines}
    assert {keys[side]: dict(sums) for side, sums in result.did.by_side.items()} == {
        key: {status: count for status, count in sums.items() if count} for key, sums in summary["by_gateway"].items()
    }


def _every_road_was_taken(result: Result) -> None:
    assert {"received", "failed", "sent"} <= {status for status, count in result.did.by_status.items() if count}
    early = sum(len(message.ids) for message in plan(300, seconds=3, seed=7) if message.early)
    assert result.waited == early > 0
    assert result.to_qualify
    assert result.summary["latency"]["median_seconds"] is not None


def test_without_a_service_that_can_start_it_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("app.demo.service.sys.executable", "/bin/false")
    with pytest.raises(SystemExit) as ended:
        main(messages=10, seconds=1, data_dir=tmp_path / "demo")
    assert ended.value.code == 1
    assert "NoService" in capsys.readouterr().out


@pytest.mark.parametrize("host", ["203.0.113.5", "sms.example.com"])
async def test_nothing_but_the_loopback_is_called(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACUSE_PUBLIC_URL", f"https://{host}")
    assert service.address_of(Settings()) is None
    assert await service.running(Settings(), "a-key-for-another-place") is None


def test_a_service_that_listens_everywhere_is_reached_by_the_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACUSE_HOST", "0.0.0.0")
    monkeypatch.setenv("ACUSE_PORT", "8123")
    assert service.address_of(Settings()) == "http://127.0.0.1:8123"


def test_a_demo_of_its_own_may_have_links_to_itself(tmp_path: Path) -> None:
    made = service._environment(service.Service(url="http://127.0.0.1:8123", key="k", data_dir=tmp_path))
    assert made["ACUSE_PRIVATE_LINKS"] == "true"


# --- the plan --------------------------------------------------------------------------------------------------------


def test_same_seed_same_plan() -> None:
    assert plan(200, seconds=5, seed=3) == plan(200, seconds=5, seed=3) != plan(200, seconds=5, seed=4)


def test_numbers_are_reserved_for_fiction_possible_and_distinct() -> None:
    addresses = [message.address for message in plan(20_000, seconds=5, seed=1)]
    assert len(set(addresses)) == len(addresses)
    for address in addresses:
        assert normalise(address) == address
        assert address.startswith("+447700900") or (address[5:10] == "55501" and address.startswith("+1"))


def test_plan_holds_everything_that_gateways_do_to_people() -> None:
    messages = plan(20_000, seconds=25, seed=1)
    did = _all_heard(messages).totals()
    assert set(did.by_status) == {"accepted", "sent", "failed", "received"}
    assert set(did.by_failure_type) == {"hard", "soft", "ignored", "undefined"}
    assert did.contradictory
    assert did.unknown_receipts
    assert did.parts["total"] > len(messages)
    assert any(message.early for message in messages)
    reports = [report for message in messages for report in message.reports]
    assert {report.failure for report in reports if report.failure} == {
        each for side in FAILURES.values() for each in side
    }
    assert any(count > 1 for count in Counter((r.message, r.part, r.word, r.happened) for r in reports).values())
    assert any(_in_wrong_order(message) for message in messages)


def test_receipts_come_in_the_time_given() -> None:
    reports = [report for message in plan(2_000, seconds=10, seed=1) for report in message.reports]
    assert all(0 <= report.happened <= report.at <= 11 for report in reports)


def _in_wrong_order(message: Message) -> bool:
    arrived = sorted(message.reports, key=lambda report: report.at)
    return any(one.happened > other.happened for one, other in pairwise(arrived))


# --- its books -------------------------------------------------------------------------------------------------------


def _all_heard(messages: list[Message]) -> Books:
    books = Books(messages)
    for message in messages:
        for report in message.reports:
            books.heard(report)
    return books


def _message(*said: tuple[int, str], parts: int = 1) -> Books:
    failure = FAILURES["json"][0]
    reports = tuple(
        Report(
            side="json", message=1, part=part, said=word, word=word,  # type: ignore[arg-type]
            failure=failure if word == "failed" else None, happened=float(at), at=float(at),
        )
        for at, (part, word) in enumerate(said)
    )  # fmt: skip
    ids = tuple(range(parts))
    return _all_heard([Message(number=1, side="json", address="+447700900000", ids=ids, early=False, reports=reports)])


@pytest.mark.parametrize(
    ("books", "status"),
    [
        (_message(), "accepted"),
        (_message((1, "received"), (1, "accepted")), "received"),
        (_message((1, "received"), (1, "failed")), "received"),
        (_message((1, "unknown")), "accepted"),
        (_message((1, "received"), (2, "failed"), parts=2), "failed"),
        (_message((1, "received"), (2, "sent"), parts=2), "sent"),
        (_message((1, "received"), parts=2), "accepted"),
    ],
)
def test_books_know_the_rules_of_the_domain(books: Books, status: str) -> None:
    assert books.totals().by_status == {status: 1}


def test_a_repeat_is_acknowledged_twice_and_counts_once() -> None:
    (message,) = plan(1, seconds=1, seed=1)
    books = Books([message])
    for _ in range(2):
        books.heard(message.reports[0])
    assert books.acknowledged == 2
    assert sum(books.totals().by_status.values()) == 1


def test_differences_name_the_figure() -> None:
    did = _message((1, "received")).totals()
    summary: dict[str, Any] = {
        "by_status": {"received": 0, "failed": 1}, "by_failure_type": {}, "by_reason": {},
        "parts": {"total": 1, "received": 1}, "contradictory": 0, "unknown_receipts": 0,
    }  # fmt: skip
    (difference,) = did.differences(summary)
    assert difference.startswith("by_status: the gateways did {'received': 1}")
