"""What a receipt becomes at the door."""

from datetime import UTC, datetime

import pytest

from app.gateways.receipt import Auth, Gateway, Options, Outcome, Receipt
from app.ingest.rows import inbox_row

NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)
GATEWAY = Gateway(id=7, key="acme", kind="generic", implementation="A", options=Options(), auth=Auth(mode="none"))
DELIVERED = Receipt(
    outcome=Outcome.RECEIVED,
    status="delivered",
    provider_message_id="m-1",
    occurred_at=datetime(2026, 3, 4, 10, 15, 42, tzinfo=UTC),
)
FAILED = Receipt(
    outcome=Outcome.FAILED,
    status="UNDELIV",
    error_code="069",
    error_text="é",
    failure_key="GSM 27",
    part=2,
    details={"done_date_raw": "2603041015"},
)


@pytest.mark.parametrize(
    ("receipt", "fingerprint"),
    [
        (DELIVERED, 4249965789125446223),
        (FAILED, -1670030478721421675),
        (Receipt(outcome=Outcome.UNKNOWN, status="?"), 8476809218326398515),
    ],
)
def test_a_fingerprint_is_the_same_for_ever(receipt: Receipt, fingerprint: int) -> None:
    # Repeats of receipts that are in databases already are recognised by it.
    assert inbox_row(GATEWAY, receipt, NOW).fingerprint == fingerprint


def test_a_word_that_no_adapter_knows_has_no_status() -> None:
    assert inbox_row(GATEWAY, Receipt(outcome=Outcome.UNKNOWN, status="?"), NOW).status is None
