"""What the service counts about itself, for `GET /metrics`. No label holds an address or anything a sender chose."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

registry = CollectorRegistry()

receipts_total = Counter(
    "acuse_receipts_total", "Receipts taken, by gateway and outcome.", ["gateway", "outcome"], registry=registry
)
inbound_total = Counter(
    "acuse_inbound_total", "Messages from phones taken, by gateway.", ["gateway"], registry=registry
)
refused_total = Counter(
    "acuse_refused_total", "Callbacks refused, by gateway and reason.", ["gateway", "reason"], registry=registry
)
refused_not_kept_total = Counter(
    "acuse_refused_not_kept_total", "Refused signatures beyond what is kept of them to look into.", registry=registry
)
inbox_commit_seconds = Histogram("acuse_inbox_commit_seconds", "Group commits to the inbox.", registry=registry)
inbox_queue = Gauge("acuse_inbox_queue", "Receipts waiting for a group commit.", registry=registry)
inbox_rows = Gauge("acuse_inbox_rows", "Receipts waiting to be applied.", registry=registry)
oldest_inbox_seconds = Gauge(
    "acuse_oldest_inbox_seconds", "Age of the oldest receipt not yet applied.", registry=registry
)
oldest_unmatched_seconds = Gauge(
    "acuse_oldest_unmatched_seconds", "Age of the oldest receipt without a message.", registry=registry
)
apply_batch_seconds = Histogram("acuse_apply_batch_seconds", "Batches applied.", registry=registry)
applied_total = Counter("acuse_applied_total", "Receipts applied.", registry=registry)
set_aside_total = Counter(
    "acuse_set_aside_total",
    "Receipts, replies, clicks and rows of spools set aside because they could not be stored or applied, by kind.",
    ["kind"],
    registry=registry,
)
set_aside_rows = Gauge(
    "acuse_set_aside_rows",
    "What was set aside and is there still, by kind; counted up to 1 000.",
    ["kind"],
    registry=registry,
)
spool_rows = Gauge("acuse_spool_rows", "Rows in the local spool, waiting for the database.", registry=registry)
clicks_total = Counter(
    "acuse_clicks_total", "Clicks taken, by `human` or `machine` as judged at the door.", ["verdict"], registry=registry
)
clicks_lost_total = Counter(
    "acuse_clicks_lost_total", "Clicks that were redirected and could not be stored.", registry=registry
)
clicks_applied_total = Counter("acuse_clicks_applied_total", "Clicks applied.", registry=registry)
short_misses_total = Counter(
    "acuse_short_misses_total", "Short URLs asked for that lead nowhere, by reason.", ["reason"], registry=registry
)
auth_failed_total = Counter(
    "acuse_auth_failed_total", "API requests without a valid key, by reason.", ["reason"], registry=registry
)
rate_limited_total = Counter(
    "acuse_rate_limited_total", "API requests answered 429, by `key` or `source`.", ["reason"], registry=registry
)
http_refused_total = Counter(
    "acuse_http_refused_total",
    "Connections and requests refused before the service saw them, by reason.",
    ["reason"],
    registry=registry,
)
