-- name: lock
-- Nobody examines the health of the addresses `$1` until the commit: the same lock as the quarantine's.
SELECT pg_advisory_xact_lock(4, class) FROM (
    SELECT DISTINCT (hashtext(address) & 255) AS class FROM unnest($1::text[]) AS a (address) ORDER BY 1
) classes

-- name: erase
-- The number of pseudonym `$1` counts as erased, from its first erasure (`$2`) on; held until the commit.
INSERT INTO erased (pseudonym, erased_at, certificate) VALUES ($1, $2, $3)
ON CONFLICT (pseudonym) DO UPDATE SET returned_as = NULL
RETURNING certificate

-- name: certify
UPDATE erased SET certificate = $2 WHERE pseudonym = $1

-- name: is_erased
SELECT certificate FROM erased WHERE pseudonym = $1

-- name: message_ids
SELECT id FROM messages WHERE address = ANY($1::text[]) ORDER BY id

-- name: hold_deliveries
-- Deliveries `$1` that are being prepared: until the commit nobody turns their targets into messages.
SELECT id FROM deliveries WHERE id = ANY($1::bigint[]) AND status = 'preparing' ORDER BY id FOR UPDATE

-- name: rename_quarantine
UPDATE quarantine SET address = $2 WHERE address = $1

-- name: rename_held
UPDATE held SET address = $2 WHERE address = $1

-- name: rename_to_examine
WITH gone AS (DELETE FROM to_examine WHERE address = $1 RETURNING 1)
INSERT INTO to_examine (address) SELECT $2 FROM gone ON CONFLICT DO NOTHING

-- --- where the number may stand: rows by their keys ---------------------------------------------------------------
-- What follows `waiting_` looks at every row of a table, for `$1`, a pattern; the rest goes by an index.

-- name: waiting_inbox
SELECT id FROM inbox
WHERE encode(raw, 'escape') ~ $1 OR concat_ws(' ', provider_message_id, raw_message_id, reference, status_text, error_code,
    error_text, network, failure_key, details::text) ~ $1

-- name: waiting_rejected
SELECT id FROM rejected WHERE encode(raw, 'escape') ~ $1 OR concat_ws(' ', reason, request::text) ~ $1

-- name: waiting_receipts
-- Receipts that nobody's message is known of, and so not whose they are.
SELECT r.id FROM correlations c JOIN receipts r ON r.correlation_id = c.id
WHERE c.message_id IS NULL AND c.bearing AND (encode(r.raw, 'escape') ~ $1
    OR concat_ws(' ', r.status_text, r.error_code, r.error_text, r.network, r.details::text) ~ $1)

-- name: waiting_correlations
SELECT id FROM correlations WHERE message_id IS NULL AND bearing AND (raw ~ $1 OR value ~ $1)

-- name: waiting_inbound
-- What others wrote about the number, or what came from it in a form that is no possible number.
SELECT id FROM inbound WHERE encode(raw, 'escape') ~ $1 OR concat_ws(' ', address, recipient, text, provider_message_id) ~ $1

-- name: waiting_deliveries
SELECT id FROM deliveries WHERE concat_ws(' ', label, content, metadata::text) ~ $1

-- name: waiting_exclusions
-- Addresses that could not be read are kept as they were given.
SELECT e.delivery_id, e.position FROM deliveries d
CROSS JOIN LATERAL (SELECT l.* FROM exclusions l WHERE l.delivery_id = d.id AND l.reason = 'invalid_address') e
WHERE e.address ~ $1

-- name: waiting_qualifications
SELECT id FROM qualifications WHERE concat_ws(' ', status, code, first_text) ~ $1

-- name: waiting_breakers
SELECT id FROM breakers WHERE note ~ $1

-- name: waiting_decisions
SELECT id FROM decisions WHERE note ~ $1

-- name: waiting_preparations
SELECT delivery_id FROM preparations WHERE concat_ws(' ', findings::text, figures::text) ~ $1

-- name: waiting_targets
-- Targets that may have no message and no exclusion yet, by the last digits (`$1`) of the address as given.
SELECT t.delivery_id, t.position FROM deliveries d JOIN targets t ON t.delivery_id = d.id
WHERE d.targets > 0
    AND (d.status IN ('editing', 'preparing') OR NOT EXISTS (
        SELECT FROM preparations p WHERE p.delivery_id = d.id AND p.finished_at IS NOT NULL))
    AND translate(t.given, E' -.()/_\t\u00a0', '') LIKE '%' || $1 || '%'

-- name: waiting_journals
SELECT text, data FROM audit WHERE text ~ $1 OR data::text ~ $1

-- name: waiting_private
SELECT chain, seq, name, value FROM audit_private WHERE value ~ $1 ORDER BY chain, seq, name

-- name: forget_private
DELETE FROM audit_private p USING unnest($1::bigint[], $2::bigint[], $3::text[]) AS k (chain, seq, name)
WHERE p.chain = k.chain AND p.seq = k.seq AND p.name = k.name

-- name: own_messages
SELECT id FROM messages WHERE address = ANY($1::text[])

-- name: own_exclusions
SELECT delivery_id, position FROM exclusions WHERE address = ANY($1::text[])

-- name: own_targets
SELECT delivery_id, position FROM messages WHERE address = ANY($1::text[]) AND position IS NOT NULL
UNION
SELECT delivery_id, position FROM exclusions WHERE address = ANY($1::text[])

-- name: own_submissions
SELECT id FROM submissions WHERE message_id = ANY($1::bigint[])

-- name: own_correlations
SELECT id FROM correlations WHERE message_id = ANY($1::bigint[])

-- name: own_receipts
SELECT r.id FROM correlations c JOIN receipts r ON r.correlation_id = c.id WHERE c.message_id = ANY($1::bigint[])

-- name: own_inbound
SELECT id FROM inbound WHERE address = ANY($1::text[])

-- name: own_decisions
SELECT id FROM decisions WHERE address = ANY($1::text[])

-- name: own_clicks
SELECT id FROM clicks WHERE message_id = ANY($1::bigint[])

-- name: waiting_clicks
SELECT seq FROM click_inbox WHERE concat_ws(' ', agent, visit::text, network) ~ $1

-- name: waiting_links
SELECT delivery_id, number FROM links WHERE concat_ws(' ', label, source_url, params::text) ~ $1

-- --- one number's page ----------------------------------------------------------------------------------------------

-- name: messages_of
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

-- name: exclusions_of
SELECT e.delivery_id, d.label, e.recipient_id, e.reason, e.detail, e.excluded_at
FROM (
    SELECT * FROM exclusions WHERE address = ANY($1::text[]) ORDER BY delivery_id DESC, position DESC LIMIT $2
) e
JOIN deliveries d ON d.id = e.delivery_id
ORDER BY e.delivery_id DESC, e.position DESC

-- name: inbound_of
SELECT i.id, g.key AS gateway, i.received_at, i.recipient, i.text, i.keyword, i.action, i.repeat_of
FROM (SELECT * FROM inbound WHERE address = ANY($1::text[]) ORDER BY id DESC LIMIT $2) i
JOIN gateways g ON g.id = i.gateway_id
ORDER BY i.id DESC

-- name: decisions_of
SELECT id, kind::text AS kind, nullif(sender, '') AS sender, at, recorded_at, reason, origin, actor, note, inbound_id
FROM decisions WHERE address = ANY($1::text[]) ORDER BY at DESC, id DESC LIMIT $2

-- name: clicks_of
-- Visits to the short URLs of its messages, the newest `$2`.
SELECT c.id, c.message_id, c.delivery_id, c.link, l.label, c.clicked_at, c.human, c.reasons, c.device
FROM messages m JOIN clicks c ON c.message_id = m.id
LEFT JOIN links l ON l.delivery_id = c.delivery_id AND l.number = c.link
WHERE m.address = ANY($1::text[]) ORDER BY c.id DESC LIMIT $2

-- name: totals_of
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

-- name: erasure
SELECT erased_at, returned_as FROM erased WHERE pseudonym = $1

-- --- checking -------------------------------------------------------------------------------------------------------

-- name: kept_away
-- Which of the addresses `$1` must not be sent to, by whoever sends or by `$2`.
SELECT address, status::text AS status, reason, origin, since, sender FROM quarantine
WHERE address = ANY($1::text[]) AND sender IN ('', $2) AND status IN ('denylisted', 'quarantined')
