"""docs/receipts-and-statuses.md says what the code does: statuses in their order, failure types, reasons with their codes."""

import re
from pathlib import Path
from typing import get_args

from app.gateways.receipt import FailureType
from app.messages.states import TOLERATED_LEAD, Status
from app.qualifications.reasons import CODES
from app.tables import MESSAGE_STATUSES

PAGE = (Path(__file__).parents[2] / "docs" / "receipts-and-statuses.md").read_text("utf-8")


def column(title: str, number: int = 0) -> list[str]:
    """A column of the first table under a heading."""
    table = PAGE.split(f"\n## {title}")[1].split("\n| --- ")[1].split("\n\n")[0]
    return [row.split(" | ")[number].strip("| `") for row in table.splitlines()[1:]]


def test_the_statuses_stand_weakest_to_strongest() -> None:
    assert column("The statuses") == list(MESSAGE_STATUSES) == [status.name.lower() for status in sorted(Status)]


def test_failure_types_are_those_of_the_code() -> None:
    assert column("Failure types") == list(get_args(FailureType))


def test_each_reason_stands_with_its_code() -> None:
    named = dict(zip(column("Reasons", 1), map(int, column("Reasons")), strict=True))
    assert named == {reason.value: code for reason, code in CODES.items()}


def test_how_far_a_gateways_clock_may_lead() -> None:
    (minutes,) = re.findall(r"not more than (\d+) minutes ahead", PAGE)
    assert int(minutes) * 60 == TOLERATED_LEAD.total_seconds()
