"""Where in the database a number, or something of its person, may stand: tables and columns, and what finds their rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from app.db import filled, load_queries

QUERIES = load_queries(__file__, "erasing.sql")

Look = Literal["closely", "both", "tail"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Columns of one table."""

    table: str
    columns: Sequence[str]
    #: Column and type.
    key: Mapping[str, str]

    def select(self) -> str:
        return filled(
            QUERIES["lock_place"], table=self.table, key=", ".join(self.key),
            names=", ".join(f"t.{name}" for name in dict.fromkeys((*self.key, *self.columns))),
            arrays=", ".join(f"${number}::{kind}[]" for number, kind in enumerate(self.key.values(), 1)),
        )  # fmt: skip

    def update(self) -> str:
        values = [f"${number}" for number in range(1, 1 + len(self.key) + len(self.columns))]
        return filled(
            QUERIES["set_place"], table=self.table, key=", ".join(self.key), columns=", ".join(self.columns),
            its=", ".join(values[: len(self.key)]), values=", ".join(values[len(self.key) :]),
        )  # fmt: skip


_ID = {"id": "bigint"}
_SMALL_ID = {"id": "int"}
_TARGET = {"delivery_id": "bigint", "position": "int"}
_RECEIPT = ("status_text", "error_code", "error_text", "network", "details", "raw")

INBOX = Place(
    table="inbox",
    key=_ID,
    columns=("provider_message_id", "raw_message_id", "reference", "failure_key", *_RECEIPT),
)
REJECTED = Place(table="rejected", key={"id": "text"}, columns=("reason", "request", "raw"))
RECEIPTS = Place(table="receipts", key=_ID, columns=_RECEIPT)
INBOUND = Place(
    table="inbound",
    key=_ID,
    columns=("address", "recipient", "text", "provider_message_id", "part_reference", "raw"),
)
DELIVERIES = Place(table="deliveries", key=_ID, columns=("label", "content", "metadata"))
EXCLUSIONS = Place(table="exclusions", key=_TARGET, columns=("address", "recipient_id", "detail"))
QUALIFICATIONS = Place(table="qualifications", key=_SMALL_ID, columns=("status", "error_code", "first_text"))
BREAKERS = Place(table="breakers", key=_SMALL_ID, columns=("note",))
DECISIONS = Place(table="decisions", key=_ID, columns=("address", "note"))
PREPARATIONS = Place(table="preparations", key={"delivery_id": "bigint"}, columns=("findings", "figures"))
MESSAGES = Place(table="messages", key=_ID, columns=("address", "recipient_id", "reference", "params"))
SUBMISSIONS = Place(table="submissions", key=_ID, columns=("provider_message_ids", "error_code", "error_text"))
CLICKS = Place(table="clicks", key=_ID, columns=("agent", "visit", "visitor", "network"))
#: Of texts alone, for clicks of others.
CLICKS_SAY = Place(table="clicks", key=_ID, columns=("agent", "visit", "network"))
VISITORS = Place(table="visitors", key={"id": "uuid"}, columns=("agent", "visit"))
CLICK_INBOX = Place(table="click_inbox", key={"seq": "bigint"}, columns=("agent", "visit", "network"))
LINKS = Place(
    table="links",
    key={"delivery_id": "bigint", "number": "smallint"},
    columns=("label", "source_url", "params"),
)
TARGETS = Place(table="targets", key=_TARGET, columns=("given", "recipient_id", "params"))
#: The same without the address: looking through texts must not change whose they are.
MESSAGES_SAY = Place(table="messages", key=_ID, columns=("recipient_id", "reference", "params"))
DECISIONS_SAY = Place(table="decisions", key=_ID, columns=("note",))
GATEWAYS = Place(table="gateways", key=_SMALL_ID, columns=("label", "reply_rules"))
#: Its answers are sealed with the API key of whoever asked: nobody here can look into them.
IDEMPOTENCY = Place(table="idempotency", key={"owner": "text", "key": "text"}, columns=("key",))

#: Looked through row by row, in this order: a receipt that leaves the inbox meanwhile is found in the tables after it.
LOOKED_THROUGH: Sequence[tuple[Place, str, Look]] = (
    (INBOX, "scan_inbox", "closely"),
    (REJECTED, "scan_rejected", "closely"),
    (RECEIPTS, "scan_receipts", "both"),
    (INBOUND, "scan_inbound", "closely"),
    (DELIVERIES, "scan_deliveries", "closely"),
    (QUALIFICATIONS, "scan_qualifications", "closely"),
    (BREAKERS, "scan_breakers", "closely"),
    (DECISIONS_SAY, "scan_decisions", "closely"),
    (PREPARATIONS, "scan_preparations", "closely"),
    (MESSAGES_SAY, "scan_messages", "tail"),
    (SUBMISSIONS, "scan_submissions", "tail"),
    (CLICK_INBOX, "scan_clicks", "closely"),
    (CLICKS_SAY, "scan_other_clicks", "tail"),
    (VISITORS, "scan_visitors", "closely"),
    (LINKS, "scan_links", "closely"),
    (GATEWAYS, "scan_gateways", "closely"),
    (IDEMPOTENCY, "scan_idempotency", "closely"),
)
#: Texts that concern many: only the number is looked for in them. A name of somebody is a word like others there.
OF_MANY = (DELIVERIES, QUALIFICATIONS, LINKS, GATEWAYS)
#: Found by the number's names, and by the ids of its messages.
BY_NAME = (
    (EXCLUSIONS, "list_own_exclusions"),
    (INBOUND, "list_own_inbound"),
    (DECISIONS, "list_own_decisions"),
    (PREPARATIONS, "list_own_preparations"),
)
BY_MESSAGE = (
    (RECEIPTS, "list_own_receipts"),
    (SUBMISSIONS, "list_own_submissions"),
    (CLICKS, "list_own_clicks"),
    (CLICK_INBOX, "list_own_waiting_clicks"),
)
