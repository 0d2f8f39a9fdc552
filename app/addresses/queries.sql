-- --- one number's page ----------------------------------------------------------------------------------------------

-- name: list_messages
-- The newest `$2` messages to the addresses `$1`.
SELECT m.id, m.delivery_id, d.label, d.sender, s.status::text AS status, g.key AS gateway, m.proof, m.created_at,
    s.submitted_at, s.occurred_at, s.updated_at, (
        SELECT count(*) FROM correlations c JOIN receipts r ON r.correlation_id = c.id WHERE c.message_id = m.id) AS receipts
FROM (
    SELECT * FROM messages WHERE address = ANY($1::text[]) ORDER BY delivery_id DESC, id DESC LIMIT $2
) m
JOIN message_state s ON s.message_id = m.id
JOIN deliveries d ON d.id = m.delivery_id
LEFT JOIN gateways g ON g.id = s.gateway_id
ORDER BY m.delivery_id DESC, m.id DESC

-- name: list_exclusions
SELECT e.delivery_id, d.label, e.recipient_id, e.reason, e.detail, e.excluded_at
FROM (
    SELECT * FROM exclusions WHERE address = ANY($1::text[]) ORDER BY delivery_id DESC, position DESC LIMIT $2
) e
JOIN deliveries d ON d.id = e.delivery_id
ORDER BY e.delivery_id DESC, e.position DESC

-- name: list_inbound
SELECT i.id, g.key AS gateway, i.received_at, i.recipient, i.text, i.keyword, i.action, i.repeat_of, i.message_id,
    i.delivery_id
FROM (SELECT * FROM inbound WHERE address = ANY($1::text[]) ORDER BY id DESC LIMIT $2) i
JOIN gateways g ON g.id = i.gateway_id
ORDER BY i.id DESC

-- name: list_decisions
SELECT id, kind::text AS kind, nullif(sender, '') AS sender, at, recorded_at, reason, origin, actor, note, inbound_id, until
FROM decisions WHERE address = ANY($1::text[]) ORDER BY at DESC, id DESC LIMIT $2

-- name: list_clicks
-- Visits to the short URLs of its messages, the newest `$2`.
SELECT c.id, c.message_id, c.delivery_id, c.link, l.label, c.clicked_at, c.human, c.reasons, c.device
FROM messages m JOIN clicks c ON c.message_id = m.id
LEFT JOIN links l ON l.delivery_id = c.delivery_id AND l.number = c.link
WHERE m.address = ANY($1::text[]) ORDER BY c.id DESC LIMIT $2

-- name: count_totals
SELECT
    (SELECT count(*) FROM messages WHERE address = ANY($1::text[])) AS messages,
    (SELECT count(*) FROM messages m JOIN correlations c ON c.message_id = m.id JOIN receipts r ON r.correlation_id = c.id
        WHERE m.address = ANY($1::text[])) AS receipts,
    (SELECT count(*) FROM exclusions WHERE address = ANY($1::text[])) AS exclusions,
    (SELECT count(*) FROM inbound WHERE address = ANY($1::text[])) AS inbound,
    (SELECT count(*) FROM messages m JOIN clicks c ON c.message_id = m.id WHERE m.address = ANY($1::text[])) AS clicks,
    (SELECT count(*) FROM decisions WHERE address = ANY($1::text[])) AS decisions,
    (SELECT count(*) FROM held h JOIN breakers b ON b.id = h.breaker_id
        WHERE h.address = ANY($1::text[]) AND b.decision IS NULL) AS held

-- name: find_erasures
-- Of the pseudonyms `$1` of one phone.
SELECT pseudonym, erased_at, returned_as FROM erased WHERE pseudonym = ANY($1::text[]) ORDER BY erased_at

-- --- checking -------------------------------------------------------------------------------------------------------

-- name: find_kept_away
-- Which of the addresses `$1` must not be sent to, by whoever sends or by `$2`.
SELECT address, status::text AS status, reason, origin, since, sender FROM quarantine
WHERE address = ANY($1::text[]) AND sender IN ('', $2) AND status IN ('denylisted', 'quarantined')
