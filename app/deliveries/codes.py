"""The codes of a delivery's journal that its operators cause. Stable: dashboards and scripts rely on them."""

CREATED = "DLV-CREATED"
EDITED = "DLV-EDITED"
CANCELLED = "DLV-CANCELLED"
RECOMPUTED = "DLV-RECOMPUTED"
