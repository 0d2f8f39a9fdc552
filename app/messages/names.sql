-- Messages by what others call them (`names.py`), through SQLAlchemy: `:name` is a parameter. Those of delivery `delivery`, or of
-- all where it is null. Each statement is in a plan test.

-- name: list_ids_of_address
SELECT m.id FROM messages m
WHERE m.address = ANY(CAST(:addresses AS text[]))
    AND (CAST(:delivery AS bigint) IS NULL OR m.delivery_id = CAST(:delivery AS bigint))
ORDER BY m.id DESC LIMIT :limit

-- name: list_ids_of_recipient
-- The index tells some blocks in which the recipient could be (and those that it has not summed up yet).
SELECT m.id FROM messages m
WHERE m.recipient_id = :recipient_id
    AND (CAST(:delivery AS bigint) IS NULL OR m.delivery_id = CAST(:delivery AS bigint))
ORDER BY m.id DESC LIMIT :limit

-- name: list_ids_of_keys
-- By provider's ids or references: pairs of gateway and value.
SELECT DISTINCT c.message_id FROM unnest(CAST(:gateways AS int[]), CAST(:names AS text[])) AS asked (gateway_id, value)
CROSS JOIN LATERAL (
    SELECT l.message_id FROM correlations l
    WHERE l.gateway_id = asked.gateway_id AND l.kind = CAST(:kind AS correlation_kind) AND l.value = asked.value OFFSET 0
) c
JOIN messages m ON m.id = c.message_id
WHERE CAST(:delivery AS bigint) IS NULL OR m.delivery_id = CAST(:delivery AS bigint)

-- name: find_ours
-- A message that is sent from here: its reference is made of its id.
SELECT m.id FROM messages m
WHERE m.id = :id AND (m.proof OR m.position IS NOT NULL)
    AND (CAST(:delivery AS bigint) IS NULL OR m.delivery_id = CAST(:delivery AS bigint))

-- name: list_gateways
SELECT id FROM gateways ORDER BY id
