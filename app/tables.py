"""The whole schema on one page.

Facts (appended, never changed): `targets`, `messages`, `exclusions`, `submissions`, `correlations` (which key belongs
to which message), `receipts`, `inbound`, `decisions`, `breakers`, `meanings`, `clicks`. Projections (could be dropped and rebuilt
from the facts): `message_state`, `message_clicks`, `counters`, `quarantine`, `held`.
`inbox`, `click_inbox` and `rejected` are where receipts and clicks stand before they are facts, or when they cannot become one.
All times are `timestamptz`. The SQL that moves data between these tables stands in the `queries.sql` of each folder.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Enum,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

#: Weakest evidence to strongest: PostgreSQL compares members in this order, and the fold is a maximum over it.
MESSAGE_STATUSES = (
    "pending",  # prepared, not handed over yet
    "cancelled",  # by an operator before it was handed over; anything a gateway says is stronger
    "submitted",  # handed to the provider, no answer yet
    "accepted",  # taken into account by the provider: not success
    "sent",  # pushed to the mobile network
    "no_receipt",  # the clock: validity over without a final receipt; a late one still counts
    "failed",  # final error
    "received",  # on the phone: success, the only one; beats `failed` whichever came first
)
#: editing → preparing → prepared → in_progress → finished; the last two end it from anywhere before `finished`.
DELIVERY_STATUSES = ("editing", "preparing", "prepared", "in_progress", "finished", "cancelled", "failed")

message_status = Enum(*MESSAGE_STATUSES, name="message_status", metadata=metadata)
delivery_status = Enum(*DELIVERY_STATUSES, name="delivery_status", metadata=metadata)
failure_type = Enum("hard", "soft", "ignored", "undefined", name="failure_type", metadata=metadata)
#: `keep` confirmed · `ignore` never touches the address · `to_qualify` new, an operator is asked
qualification_state = Enum("keep", "ignore", "to_qualify", name="qualification_state", metadata=metadata)
#: `id` the provider's message id · `reference` ours, echoed by the provider
correlation_kind = Enum("id", "reference", name="correlation_kind", metadata=metadata)
#: Who told us which message a key belongs to: `submission` outranks `receipt` (learned from a receipt's reference).
correlation_origin = Enum("submission", "receipt", name="correlation_origin", metadata=metadata)
#: What receipts, replies and operators teach about an address; no row means valid.
quarantine_status = Enum(
    "with_errors",  # soft errors counted, still sent to
    "quarantined",  # not sent to: a hard error, or five soft ones
    "denylisted",  # not sent to: the person said STOP, the provider or an operator said so
    name="quarantine_status",
    metadata=metadata,
)
#: What was decided about an address: facts beside the receipts.
decision_kind = Enum(
    "denylist",  # an opt-out: reply, import, operator
    "allow",  # an opt-in, or an operator who lifts an opt-out
    "quarantine",  # an import of numbers that are no more, or an operator
    "release",  # lifts a quarantine and forgets all errors before it
    name="decision_kind",
    metadata=metadata,
)


def _when(name: str, *, required: bool = False) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=not required)


# --- configuration -------------------------------------------------------------------------------------------------

gateways = Table(
    "gateways",
    metadata,
    Column("id", Integer, Identity(), primary_key=True),
    Column("key", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("implementation", Text, nullable=False),
    Column("options", JSONB, nullable=False),
    Column("auth", JSONB, nullable=False),  # `{"sealed": …}` where there are secrets
    Column("reply_rules", JSONB),  # tried top to bottom; none: those that are shipped
    _when("created_at", required=True),
    _when("updated_at", required=True),
    _when("deleted_at"),  # it cannot be named any more, and takes receipts until its retention ends
    Column("receipts_before", BigInteger),  # how many it had when it was deleted
)
Index("uq_gateways_key_alive", gateways.c.key, unique=True, postgresql_where=gateways.c.deleted_at.is_(None))

api_keys = Table(
    "api_keys",
    metadata,
    Column("name", Text, primary_key=True),
    Column("hash", LargeBinary, nullable=False, unique=True),  # SHA-256 of the secret; secrets are random, 256 bit
    Column("scopes", ARRAY(Text), nullable=False),
    _when("created_at", required=True),
)

platform = Table(
    "platform",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    comment="Secrets and marks of this installation, made on first start",
)

processes = Table(
    "processes",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),  # host and process id
    _when("started_at", required=True),
    _when("seen_at", required=True),  # the database's clock, like all of them here
    Column("thresholds", Text),  # as its settings say
    _when("routes_read_at"),  # it knows every block of links that was there then
    comment="The service's processes: they say every second that they live, and what they know",
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("owner", Text, nullable=False),  # name of the API key
    Column("key", Text, nullable=False),
    Column("request_hash", LargeBinary, nullable=False),
    Column("status", SmallInteger, nullable=False),
    Column("answer", LargeBinary, nullable=False),
    _when("created_at", required=True),
    PrimaryKeyConstraint("owner", "key"),
)

# --- facts ---------------------------------------------------------------------------------------------------------

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("label", Text, nullable=False),
    Column("sender", Text, nullable=False),
    Column("content", Text),
    Column("gateway_id", Integer, ForeignKey("gateways.id")),
    Column("default_region", Text),
    Column("validity_seconds", Integer, nullable=False),
    Column("tracking", Boolean, nullable=False),
    Column("metadata", JSONB, nullable=False),
    Column(
        "rules", JSONB, nullable=False, server_default=text("'{}'")
    ),  # what preparation excludes, besides what it must
    Column("targets", Integer, nullable=False, server_default=text("0")),  # rows of the audience
    Column("status", delivery_status, nullable=False),
    _when("created_at", required=True),
    _when("updated_at", required=True),
    _when("started_at"),
    _when("first_receipt_at"),
    _when("finished_at"),
    _when("scheduled_at"),  # when it starts by itself; none once it has started, or must be prepared again
    _when("paused_at"),  # since when its outbox gives nothing
    Column("paused_seconds", Integer, nullable=False, server_default=text("0")),  # of all pauses that are over
    Index("ix_deliveries_status_id", "status", "id"),
    Index("ix_deliveries_updated_at", "updated_at"),
)
Index("ix_deliveries_scheduled_at", deliveries.c.scheduled_at, postgresql_where=deliveries.c.scheduled_at.is_not(None))

targets = Table(
    "targets",
    metadata,
    Column("delivery_id", BigInteger, nullable=False),
    Column("position", Integer, nullable=False),  # from 1, without gaps
    Column("given", Text, nullable=False),  # the address as it was uploaded; preparation reads it
    Column("recipient_id", Text),
    Column("params", JSONB),
    Column("control", Boolean, nullable=False),  # listed as control group
    PrimaryKeyConstraint("delivery_id", "position"),
    comment="A delivery's audience, as uploaded",
)

preparations = Table(
    "preparations",
    metadata,
    Column("delivery_id", BigInteger, primary_key=True, autoincrement=False),
    Column("actor", Text, nullable=False),
    _when("started_at", required=True),
    _when("finished_at"),
    Column("step", Text, nullable=False),  # of a preparation under way: which step it takes up again after a crash
    Column("total", Integer, nullable=False),
    Column("done", Integer, nullable=False),  # targets up to this position have their outcome
    Column("first_message_id", BigInteger),  # of the block reserved: the message of target n has this id + n - 1
    Column("findings", JSONB, nullable=False),  # of the content; an error stops the start
    Column("figures", JSONB, nullable=False),  # counts and durations of the steps
    comment="A delivery's latest preparation: how far it is, what it found",
)

messages = Table(
    "messages",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),  # in blocks: see `reserve_message_ids`
    Column("delivery_id", BigInteger, ForeignKey("deliveries.id"), nullable=False),
    Column("address", Text, nullable=False),  # E.164
    Column("recipient_id", Text),
    Column("reference", Text),
    Column("gateway_id", Integer, ForeignKey("gateways.id")),
    Column("proof", Boolean, nullable=False, server_default=text("false")),
    Column("position", Integer),  # the target it was made from
    # Of a proof, which has no target: its text, sender and params as they were. Of one sent elsewhere: the caller's metadata.
    Column("params", JSONB),
    _when("created_at", required=True),
    _when("cancelled_at"),
    Column("cancelled_for", Text),  # denylisted, quarantined: the outbox kept it away; none: somebody cancelled it
    _when("expired_at"),  # what the clock said: the validity period was over without a final receipt
    Index("ix_messages_delivery_id_id", "delivery_id", "id"),
    Index("ix_messages_address_delivery_id", "address", "delivery_id"),
)
#: Some bytes for 32 blocks at a time, written behind by autovacuum: it costs whoever adds messages nothing.
Index(
    "ix_messages_recipient_id",
    messages.c.recipient_id,
    postgresql_using="brin",
    postgresql_ops={"recipient_id": "text_bloom_ops (n_distinct_per_range='2500')"},
    postgresql_with={"pages_per_range": 32, "autosummarize": "true"},
)
Index("ix_messages_proofs", messages.c.delivery_id, messages.c.id, postgresql_where=messages.c.proof)

exclusions = Table(
    "exclusions",
    metadata,
    Column("delivery_id", BigInteger, nullable=False),
    Column("position", Integer, nullable=False),  # the target's
    Column("address", Text, nullable=False),  # E.164; as given where it is no possible number
    Column("recipient_id", Text),
    Column("reason", Text, nullable=False),
    Column("detail", JSONB),  # what the sentence needs: the double's first, the country, the count…
    _when("excluded_at", required=True),
    PrimaryKeyConstraint("delivery_id", "position"),
    Index("ix_exclusions_reason", "delivery_id", "reason", "position"),
    Index("ix_exclusions_address", "address", "delivery_id"),
    comment="Targets that are not sent to, and why",
)

submissions = Table(
    "submissions",
    metadata,
    Column("id", BigInteger, Identity(cache=100), primary_key=True),
    Column("message_id", BigInteger, nullable=False),
    Column("gateway_id", Integer, nullable=False),
    _when("submitted_at", required=True),
    _when("recorded_at", required=True),
    Column("provider_message_ids", ARRAY(Text), nullable=False),  # as given, one per part
    Column("error_code", Text),
    Column("error_text", Text),
    Column("qualification_id", Integer),  # set when the submission itself failed
    Index("ix_submissions_message_id", "message_id"),
)

correlations = Table(
    "correlations",
    metadata,
    Column("id", BigInteger, Identity(cache=100), primary_key=True),
    Column("gateway_id", Integer, nullable=False),
    Column("kind", correlation_kind, nullable=False),
    Column("value", Text, nullable=False),  # canonical
    Column("raw", Text, nullable=False),  # as the provider wrote it
    Column("message_id", BigInteger),  # none: nobody has told yet; its receipts wait, without a deadline
    Column("origin", correlation_origin, nullable=False),
    Column("part", SmallInteger),
    Column("via", BigInteger),  # correlation of the reference that came with this id
    Column("bearing", Boolean, nullable=False),  # receipts name it themselves (not only as a `via`)
    _when("created_at", required=True),
    _when("seen_at", required=True),
    UniqueConstraint("gateway_id", "kind", "value"),
    comment="The rendezvous: receipts and submissions meet on its unique key, whichever comes first",
)
Index("ix_correlations_message_id", correlations.c.message_id, postgresql_where=correlations.c.message_id.is_not(None))
Index("ix_correlations_via", correlations.c.via, postgresql_where=correlations.c.via.is_not(None))
Index(
    "ix_correlations_unmatched",
    correlations.c.id,
    postgresql_where=correlations.c.message_id.is_(None) & correlations.c.bearing,
)


def _receipt_columns() -> list[Column[object]]:
    """What the inbox and the receipts keep alike. `status` none: a word the adapter does not know."""
    return [
        Column("gateway_id", Integer, nullable=False),
        _when("received_at", required=True),
        Column("status", message_status),
        Column("status_text", Text, nullable=False),
        Column("error_code", Text),
        Column("error_text", Text),
        _when("occurred_at"),
        Column("part", SmallInteger),
        Column("parts", SmallInteger),
        Column("price", Numeric(18, 6)),
        Column("currency", Text),
        Column("network", Text),
        Column("fingerprint", BigInteger, nullable=False),  # equal for repeats of the same report
        Column("verified", Boolean, nullable=False),
        Column("raw", LargeBinary, nullable=False),
        Column("details", JSONB),
    ]


receipts = Table(
    "receipts",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),  # given by the inbox: order of arrival
    Column("correlation_id", BigInteger, nullable=False),
    Column("qualification_id", Integer),
    *_receipt_columns(),
    Index("ix_receipts_correlation_id", "correlation_id"),
)

inbound = Table(
    "inbound",
    metadata,
    Column("id", BigInteger, Identity(cache=1), primary_key=True),
    Column("gateway_id", Integer, nullable=False),
    _when("received_at", required=True),
    Column("address", Text, nullable=False),  # who wrote: E.164; as the gateway wrote it where it is no possible number
    Column("recipient", Text),  # our number or short code
    Column("text", Text, nullable=False),
    Column("provider_message_id", Text),
    Column("verified", Boolean, nullable=False),
    Column("raw", LargeBinary, nullable=False),
    Column("opt_out", Text),  # denylist, allow, none: what the gateway itself took it for
    Column("part_reference", Text),  # of a long message in pieces: common to them
    Column("part", SmallInteger),
    Column("parts", SmallInteger),
    _when("applied_at"),  # none: the reply rules have not been asked yet
    Column("keyword", Text),  # of the rule that matched
    Column("action", Text),  # denylist, allow, none; review: a person should look at it; no value: no rule matched
    Column("repeat_of", BigInteger),
    Column("part_of", BigInteger),  # the piece that stands for the message: this one changed nothing more
    Column("message_id", BigInteger),  # which it most likely answers
    Column("delivery_id", BigInteger),
    Index("ix_inbound_received_at_id", "received_at", "id"),
    Index("ix_inbound_gateway", "gateway_id", "received_at", "id"),
    Index("ix_inbound_review", "received_at", "id", postgresql_where=text("action = 'review'")),
    Index("ix_inbound_address", "address", "id"),
    Index("ix_inbound_provider_message_id", "gateway_id", "provider_message_id", "address"),
    comment="Messages from phones to us",
)
Index(
    "ix_inbound_delivery",
    inbound.c.delivery_id,
    inbound.c.received_at,
    inbound.c.id,
    postgresql_where=inbound.c.delivery_id.is_not(None),
)
Index(
    "ix_inbound_pieces",
    inbound.c.address,
    inbound.c.part_reference,
    postgresql_where=inbound.c.part_reference.is_not(None),
)
Index("ix_inbound_waiting", inbound.c.id, postgresql_where=inbound.c.applied_at.is_(None))

decisions = Table(
    "decisions",
    metadata,
    Column("id", BigInteger, Identity(cache=100), primary_key=True),
    Column("address", Text, nullable=False),
    Column("sender", Text, nullable=False, server_default=text("''")),  # '': whoever sends
    Column("kind", decision_kind, nullable=False),
    _when("at", required=True),  # from when on it holds
    _when("recorded_at", required=True),
    Column("reason", Text, nullable=False),  # a code of qualifications.reasons
    Column("origin", Text, nullable=False),  # reply, operator, erasure, import or a list's name
    Column("actor", Text, nullable=False),
    Column("note", Text),  # the reason as the operator or the import gave it
    Column("inbound_id", BigInteger),
    _when("until"),  # it ends there; null: it does not
    Index("ix_decisions_address", "address", "at"),
    comment="What people, imports and operators decided about addresses",
)

breakers = Table(
    "breakers",
    metadata,
    Column("id", Integer, Identity(), primary_key=True),
    Column("gateway_id", Integer, nullable=False),
    Column("qualification_id", Integer, nullable=False),
    _when("opened_at", required=True),  # failures received from here on are held
    _when("closed_at"),  # and those received from here on are not
    Column("decision", Text),  # apply, discard
    Column("decided_by", Text),
    Column("note", Text),
    Column("failures", Integer, nullable=False),  # what tripped it: in the window, with this error
    Column("finals", Integer, nullable=False),  # in the window, of this gateway
    Column("usual_share", Numeric(6, 4)),
    comment="Errors of one gateway whose counting was paused, and what an operator decided",
)
Index(
    "uq_breakers_open",
    breakers.c.gateway_id,
    breakers.c.qualification_id,
    unique=True,
    postgresql_where=breakers.c.closed_at.is_(None),
)

meanings = Table(
    "meanings",
    metadata,
    Column("id", Integer, Identity(), primary_key=True),
    Column("qualification_id", Integer, nullable=False),
    _when("changed_at", required=True),
    _when("since"),  # failures from here on are counted by it; none: all before any change
    Column("failure_type", failure_type, nullable=False),
    Column("reason", Text, nullable=False),
    Column("state", qualification_state, nullable=False),
    Index("ix_meanings_qualification_id", "qualification_id", "id"),
    comment="How each error was qualified over time, for the health of addresses",
)

erased = Table(
    "erased",
    metadata,
    Column("pseudonym", Text, primary_key=True),  # the keyed hash that stands for the number everywhere
    _when("erased_at", required=True),
    Column("certificate", JSONB, nullable=False),
    Column("returned_as", Text),  # the number, while there are facts about it again that came after
    Index("ix_erased_erased_at", "erased_at"),
    comment="Numbers that were erased; what is known of them still protects them",
)

links = Table(
    "links",
    metadata,
    Column("delivery_id", BigInteger, nullable=False),
    Column("number", SmallInteger, nullable=False),  # 0–63: a token names it
    Column("label", Text, nullable=False),
    Column("source_url", Text, nullable=False),  # as it stands in the content, or as it was registered
    Column("template", Boolean, nullable=False),  # has `{{param}}`: the URL is made for each message
    Column("tracked", Boolean, nullable=False),
    Column("params", JSONB, nullable=False),  # added to the query on redirect
    Column("in_content", Boolean, nullable=False),  # false: not in the content (any more), or registered by itself
    PrimaryKeyConstraint("delivery_id", "number"),
    comment="URLs registered with a delivery: the only ones that a short URL leads to",
)

link_blocks = Table(
    "link_blocks",
    metadata,
    Column("first_id", BigInteger, primary_key=True, autoincrement=False),  # of the messages
    Column("last_id", BigInteger, nullable=False),
    Column("delivery_id", BigInteger, nullable=False),
    Column("added_at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    Index("ix_link_blocks_delivery_id", "delivery_id"),
    Index("ix_link_blocks_added_at", "added_at"),
    comment="Whose messages ids belong to, so that a redirect needs to ask nobody",
)


def _click_columns() -> list[Column[object]]:
    return [
        Column("message_id", BigInteger, nullable=False),
        Column("delivery_id", BigInteger, nullable=False),
        Column("link", SmallInteger, nullable=False),
        _when("clicked_at", required=True),
        Column("human", Boolean, nullable=False),
        Column("reasons", ARRAY(Text), nullable=False),  # why it is no human
        Column("device", Text, nullable=False),  # phone, tablet, desktop, other
        Column("agent", Text, nullable=False),  # cropped
        Column("visit", JSONB, nullable=False),  # what else was judged: method and headers, to judge again
        Column("network", Text),  # the address truncated to its network; taken away after a time
        Column("rules_version", SmallInteger, nullable=False),
        Column("times", Integer, nullable=False, server_default=text("1")),  # clicks that it stands for
    ]


clicks = Table(
    "clicks",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),  # time and chance: known before it is stored
    *_click_columns(),
    Column("visitor", Uuid),  # agent and visit stand there; none: here, of a burst or from before there were visitors
    Index("ix_clicks_delivery_id_id", "delivery_id", "id"),
    Index("ix_clicks_delivery_id_human_id", "delivery_id", "human", "id"),
    Index("ix_clicks_message_id", "message_id"),
    Index("ix_clicks_visitor", "visitor", postgresql_where=text("visitor IS NOT NULL")),
    comment="Visits to short URLs, by people and by machines",
)

visitors = Table(
    "visitors",
    metadata,
    Column("id", Uuid, primary_key=True),  # `visitor_id(agent, visit)`
    Column("agent", Text, nullable=False),
    Column("visit", JSONB, nullable=False),
    comment="What visitors' browsers said, once for all clicks that say the same; gone with the last of them",
)

# --- before they are facts -----------------------------------------------------------------------------------------

inbox = Table(
    "inbox",
    metadata,
    Column("id", BigInteger, Identity(cache=1), primary_key=True),
    Column("provider_message_id", Text),  # canonical
    Column("raw_message_id", Text),  # as the provider wrote it, where that differs
    Column("reference", Text),
    Column("failure_key", Text),  # last part of the qualification's key; none unless failed
    *_receipt_columns(),
    postgresql_with={"autovacuum_vacuum_scale_factor": "0.0", "autovacuum_vacuum_threshold": "10000"},
)

click_inbox = Table(
    "click_inbox",
    metadata,
    Column("seq", BigInteger, Identity(cache=1), primary_key=True),
    Column("id", BigInteger, nullable=False),
    *_click_columns(),
    postgresql_with={"autovacuum_vacuum_scale_factor": "0.0", "autovacuum_vacuum_threshold": "10000"},
)

rejected = Table(
    "rejected",
    metadata,
    Column("id", Text, primary_key=True),
    Column("gateway_id", Integer),  # none for clicks
    _when("received_at", required=True),
    Column("reason", Text, nullable=False),
    Column("request", JSONB, nullable=False),  # method, query, content type, path reference; or `row`: as it was read
    Column("raw", LargeBinary, nullable=False),
    _when("retried_at"),
    Column("kind", Text, nullable=False, server_default="unreadable"),  # app/ingest/rows.py: Shelved
    Index("ix_rejected_received_at_id", "received_at", "id"),
    Index("ix_rejected_kind", "kind", "received_at", "id"),
    comment="What was set aside, whole, to be read or applied again: callbacks, receipts, replies, clicks, rows of spools",
)

spool_progress = Table(
    "spool_progress",
    metadata,
    Column("spool_id", Text, primary_key=True),
    Column("last_id", BigInteger, nullable=False),
    Column("touched_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    comment="How far each local spool has been drained: written in the transaction that brings the rows",
)

# --- projections ---------------------------------------------------------------------------------------------------

qualifications = Table(
    "qualifications",
    metadata,
    Column("id", Integer, Identity(), primary_key=True),
    Column("implementation", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("error_code", Text, nullable=False),
    Column("failure_type", failure_type, nullable=False),
    Column("reason", Text, nullable=False),
    Column("sentence", Text, nullable=False),
    Column("state", qualification_state, nullable=False),
    Column("first_text", Text),
    _when("first_seen_at"),
    _when("last_seen_at"),
    _when("updated_at", required=True),
    UniqueConstraint("implementation", "status", "error_code"),
)

message_state = Table(
    "message_state",
    metadata,
    Column("message_id", BigInteger, primary_key=True, autoincrement=False),
    Column("delivery_id", BigInteger, nullable=False),
    Column("gateway_id", Integer),
    Column("proof", Boolean, nullable=False),
    Column("status", message_status, nullable=False),
    Column("qualification_id", Integer),  # when failed: why
    Column("receipt_id", BigInteger),  # the receipt that decided; none when a submission or the clock did
    _when("occurred_at", required=True),
    _when("updated_at", required=True),
    _when("submitted_at"),
    _when("deadline"),
    Column("parts", SmallInteger, nullable=False),
    Column("parts_received", SmallInteger, nullable=False),
    _when("accepted_at"),  # first time each status was reached
    _when("sent_at"),
    _when("failed_at"),
    _when("received_at"),
    Column("contradictory", Boolean, nullable=False),  # received, though a receipt also said failed
    Column("unknown_receipts", Integer, nullable=False),
    Column("price", Numeric(18, 6)),
    Column("currency", Text),
    Index("ix_message_state_delivery_id_status_message_id", "delivery_id", "status", "message_id"),
    Index("ix_message_state_gateway", "delivery_id", "gateway_id", "status", "message_id"),
)
Index(
    "ix_message_state_contradictory",
    message_state.c.delivery_id,
    message_state.c.message_id,
    postgresql_where=message_state.c.contradictory,
)
Index(
    "ix_message_state_qualification",
    message_state.c.delivery_id,
    message_state.c.qualification_id,
    message_state.c.message_id,
    postgresql_where=message_state.c.qualification_id.is_not(None),
)
Index(
    "ix_message_state_deadline",
    message_state.c.deadline,
    postgresql_where=message_state.c.status.in_(("submitted", "accepted", "sent")),
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("address", Text, nullable=False),  # E.164, or the pseudonym of an erased number
    Column("sender", Text, nullable=False),  # '': whoever sends
    Column("status", quarantine_status, nullable=False),
    Column("reason", Text, nullable=False),
    Column("origin", Text, nullable=False),  # receipts, reply, operator, import or a list's name
    Column("errors", SmallInteger, nullable=False),  # soft errors counted
    _when("since", required=True),
    _when("last_error_at"),
    _when("clears_at"),  # when it is cleared by time
    Column("delivery_id", BigInteger),  # whose receipts put it there
    Column("message_id", BigInteger),
    Column("gateway_id", Integer),
    Column("qualification_id", Integer),
    Column("decision_id", BigInteger),
    _when("updated_at", required=True),
    PrimaryKeyConstraint("address", "sender"),
    Index("ix_quarantine_status", "status", "address", "sender"),
    comment="The health of addresses; no row means valid",
)
Index(
    "ix_quarantine_delivery",
    quarantine.c.delivery_id,
    quarantine.c.address,
    quarantine.c.sender,
    postgresql_where=quarantine.c.delivery_id.is_not(None),
)
Index("ix_quarantine_clears_at", quarantine.c.clears_at, postgresql_where=quarantine.c.clears_at.is_not(None))

message_clicks = Table(
    "message_clicks",
    metadata,
    Column("message_id", BigInteger, primary_key=True, autoincrement=False),
    Column("delivery_id", BigInteger, nullable=False),
    Column("human", Integer, nullable=False),
    Column("machine", Integer, nullable=False),
    _when("first_human_at"),
    Column("doubtful", Boolean, nullable=False),  # a person clicked, though the message is failed or has no receipt
)
Index(
    "ix_message_clicks_doubtful",
    message_clicks.c.delivery_id,
    message_clicks.c.message_id,
    postgresql_where=message_clicks.c.doubtful,
)

to_examine = Table(
    "to_examine",
    metadata,
    Column("address", Text, primary_key=True),
    comment="Addresses whose health must be computed anew, because something about many of them was decided",
)

held = Table(
    "held",
    metadata,
    Column("breaker_id", Integer, nullable=False),
    Column("message_id", BigInteger, nullable=False),
    Column("address", Text, nullable=False),
    PrimaryKeyConstraint("breaker_id", "message_id"),
    Index("ix_held_address", "address"),
    comment="Failures that a breaker holds: they touch no address until an operator decides",
)

counters = Table(
    "counters",
    metadata,
    Column("delivery_id", BigInteger, nullable=False),  # 0: the platform's own
    Column("metric", Text, nullable=False),
    Column("gateway_id", Integer, nullable=False),  # 0: not by gateway
    Column("label", Text, nullable=False),
    Column("bucket", BigInteger, nullable=False),
    Column("value", BigInteger, nullable=False),
    PrimaryKeyConstraint("delivery_id", "metric", "gateway_id", "label", "bucket"),
    postgresql_with={
        "fillfactor": "50",
        "autovacuum_vacuum_scale_factor": "0.0",
        "autovacuum_vacuum_threshold": "2000",
    },
)

# --- the journal ---------------------------------------------------------------------------------------------------

audit = Table(
    "audit",
    metadata,
    Column("chain", BigInteger, nullable=False),  # a delivery's id; 0: the platform's own journal
    Column("seq", BigInteger, nullable=False),
    _when("at", required=True),
    Column("level", Text, nullable=False),
    Column("code", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("data", JSONB, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    PrimaryKeyConstraint("chain", "seq"),
)

audit_heads = Table(
    "audit_heads",
    metadata,
    Column("chain", BigInteger, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("signed_seq", BigInteger, nullable=False, server_default=text("0")),  # up to here it was signed
    _when("signed_at"),
)
Index("ix_audit_heads_unsigned", audit_heads.c.chain, postgresql_where=audit_heads.c.signed_seq < audit_heads.c.seq)

audit_private = Table(
    "audit_private",
    metadata,
    Column("chain", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("name", Text, nullable=False),  # under which it stands in the entry's data
    Column("salt", LargeBinary, nullable=False),
    Column("value", Text, nullable=False),  # canonical JSON; the entry carries the hash of salt and value
    PrimaryKeyConstraint("chain", "seq", "name"),
    comment="What entries of the journal say that may be personal: erasing takes it away, and the chain still holds",
)

audit_signatures = Table(
    "audit_signatures",
    metadata,
    Column("chain", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    _when("at", required=True),
    Column("key_id", Text, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    PrimaryKeyConstraint("chain", "seq"),
    comment="Heads of the journals as they were signed: a chain that was rewritten no longer meets them",
)

uploads = Table(
    "uploads",
    metadata,
    Column("id", Text, primary_key=True),
    Column("chain", BigInteger, nullable=False),
    Column("code", Text, nullable=False),  # of the entry that it becomes
    Column("actor", Text, nullable=False),
    Column("figures", JSONB, nullable=False),  # rows accepted, rejected…, as far as it came
    _when("started_at", required=True),
    _when("touched_at", required=True),
    comment="Bulk uploads under way: each chunk adds to its row, which becomes one entry of the journal at the end",
)
