-- name: list_messages
SELECT m.id, m.delivery_id, d.label, d.sender, d.content, m.address, m.recipient_id, m.reference, m.proof, m.position, m.params,
    m.created_at, m.cancelled_at, m.expired_at, s.status::text AS status, s.submitted_at, s.accepted_at, s.sent_at, s.failed_at,
    s.received_at, s.parts, s.parts_received, s.price, s.currency, g.key AS gateway
FROM messages m
JOIN deliveries d ON d.id = m.delivery_id
LEFT JOIN message_state s ON s.message_id = m.id
LEFT JOIN gateways g ON g.id = s.gateway_id
WHERE m.address = ANY($1::text[]) AND m.id > $2 ORDER BY m.id LIMIT $3

-- name: list_targets
-- What was uploaded for the messages `$1`; an audience may have been replaced since.
SELECT m.id AS message_id, t.delivery_id, t.position, t.given, t.recipient_id, t.params, t.control
FROM messages m JOIN targets t ON t.delivery_id = m.delivery_id AND t.position = m.position
WHERE m.id = ANY($1::bigint[]) ORDER BY m.id

-- name: list_submissions
SELECT s.*, g.key AS gateway FROM submissions s LEFT JOIN gateways g ON g.id = s.gateway_id
WHERE s.message_id = ANY($1::bigint[]) ORDER BY s.message_id, s.id

-- name: list_keys
SELECT c.message_id, c.gateway_id, c.kind::text AS what, c.value, c.raw AS given, c.origin::text AS origin, c.part, c.created_at
FROM correlations c WHERE c.message_id = ANY($1::bigint[]) ORDER BY c.message_id, c.id

-- name: list_receipts
SELECT c.message_id, r.id, g.key AS gateway, r.received_at, r.status::text AS status, r.status_text, r.error_code, r.error_text,
    r.occurred_at, r.part, r.parts, r.price, r.currency, r.network, r.verified, r.raw, r.details
FROM correlations c JOIN receipts r ON r.correlation_id = c.id LEFT JOIN gateways g ON g.id = r.gateway_id
WHERE c.message_id = ANY($1::bigint[]) ORDER BY c.message_id, r.id

-- name: list_clicks
SELECT c.id, c.message_id, c.delivery_id, c.link, l.label, c.clicked_at, c.human, c.reasons, c.device,
    coalesce(v.agent, c.agent) AS agent, coalesce(v.visit, c.visit) AS visit, c.network, c.rules_version, c.times
FROM clicks c LEFT JOIN links l ON l.delivery_id = c.delivery_id AND l.number = c.link
LEFT JOIN visitors v ON v.id = c.visitor
WHERE c.message_id = ANY($1::bigint[]) ORDER BY c.message_id, c.id

-- name: list_exclusions
SELECT e.*, d.label, t.given, t.params FROM exclusions e
JOIN deliveries d ON d.id = e.delivery_id
LEFT JOIN targets t ON t.delivery_id = e.delivery_id AND t.position = e.position
WHERE e.address = ANY($1::text[])

-- name: list_inbound
SELECT i.*, g.key AS gateway FROM inbound i LEFT JOIN gateways g ON g.id = i.gateway_id WHERE i.address = ANY($1::text[])

-- name: list_decisions
SELECT id, address, sender, kind::text AS decision, at, recorded_at, reason, origin, actor, note, inbound_id, until
FROM decisions WHERE address = ANY($1::text[])

-- name: list_quarantine
SELECT address, sender, status::text AS status, reason, origin, errors, since, last_error_at, clears_at, delivery_id, message_id,
    updated_at
FROM quarantine WHERE address = ANY($1::text[])

-- name: list_held
SELECT h.* FROM held h WHERE h.address = ANY($1::text[])

-- name: find_first
-- The first `$2` of `{facts}` in the order of `{key}`.
SELECT * FROM ({facts}) f ORDER BY {key} LIMIT $2

-- name: find_following
-- Those behind the one whose key is `{last}`.
SELECT * FROM ({facts}) f WHERE ({key}) > ({last}) ORDER BY {key} LIMIT $2
