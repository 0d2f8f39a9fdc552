-- name: lock_recording
-- Who records submissions of delivery `$1` waits here for others who do, until their commit.
SELECT pg_advisory_xact_lock({RECORDING}, hashint8($1))

-- name: find_qualification
SELECT id FROM qualifications WHERE implementation = $1 AND status = $2 AND error_code = $3

-- name: find_taken_keys
-- Which of the keys `$1` (gateway), `$2` (kind), `$3` (value) a submission has already given to a message; `awaited`: that was
-- made for its short URLs, and nobody has said yet that it was handed over.
SELECT k.gateway_id, k.kind, k.value, c.message_id, m.delivery_id, m.address,
    NOT m.proof AND m.position IS NULL AND NOT EXISTS (SELECT FROM submissions s WHERE s.message_id = m.id) AS awaited
FROM unnest($1::int[], $2::correlation_kind[], $3::text[]) AS k (gateway_id, kind, value)
JOIN correlations c ON c.gateway_id = k.gateway_id AND c.kind = k.kind AND c.value = k.value AND c.origin = 'submission'
JOIN messages m ON m.id = c.message_id

-- name: list_bare
-- Messages of delivery `$1` to the addresses `$2` that were recorded with neither id nor reference. A time that nobody gave is
-- that of recording.
SELECT m.address, m.recipient_id, s.gateway_id, CASE WHEN s.submitted_at <> s.recorded_at THEN s.submitted_at END AS said_at,
    m.params AS metadata
FROM unnest($2::text[]) AS asked (address)
CROSS JOIN LATERAL (SELECT * FROM messages l WHERE l.address = asked.address AND l.delivery_id = $1 OFFSET 0) m
JOIN submissions s ON s.message_id = m.id
WHERE m.reference IS NULL AND NOT m.proof AND m.position IS NULL AND cardinality(s.provider_message_ids) = 0

-- name: reserve_message_ids
-- The first of `$1` new message ids, which follow one another.
SELECT reserve_message_ids($1)

-- name: claim_keys
-- Gives keys to messages: arrays of gateway, kind, value, raw, part, message. A key learned from a receipt is overruled,
-- one that a submission gave is not: then fewer rows come back than went in. Sorted, so that nobody waits in a circle.
INSERT INTO correlations AS c (gateway_id, kind, value, raw, part, message_id, origin, bearing, created_at, seen_at)
SELECT k.gateway_id, k.kind, k.value, k.raw, k.part, k.message_id, 'submission', false, $7, $7
FROM unnest($1::int[], $2::correlation_kind[], $3::text[], $4::text[], $5::smallint[], $6::bigint[])
    AS k (gateway_id, kind, value, raw, part, message_id)
ORDER BY k.gateway_id, k.kind, k.value
ON CONFLICT (gateway_id, kind, value) DO UPDATE SET message_id = excluded.message_id, origin = 'submission', part = excluded.part
    WHERE c.origin = 'receipt' OR c.message_id = excluded.message_id
RETURNING c.id, c.message_id

-- name: claim_references
-- Gives our own references (prefix `$3` and the message's id) to messages: arrays of gateway and message. Those that
-- stand already are left alone. Returns the new ones, and whether receipts had named them before. A key whose row was
-- there already (`xmax` of the writer, not 0) came from a receipt.
INSERT INTO correlations AS c (gateway_id, kind, value, raw, message_id, origin, bearing, created_at, seen_at)
SELECT k.gateway_id, 'reference', $3 || k.message_id, $3 || k.message_id, k.message_id, 'submission', false, $4, $4
FROM unnest($1::int[], $2::bigint[]) AS k (gateway_id, message_id)
WHERE NOT EXISTS (
    SELECT FROM correlations o
    WHERE o.gateway_id = k.gateway_id AND o.kind = 'reference' AND o.value = $3 || k.message_id AND o.origin = 'submission'
    OFFSET 0)
ORDER BY k.gateway_id, $3 || k.message_id
ON CONFLICT (gateway_id, kind, value) DO UPDATE SET message_id = excluded.message_id, origin = 'submission'
    WHERE c.origin = 'receipt'
RETURNING c.id, c.message_id, c.xmax <> 0 AS waited

-- name: find_former_owners
-- Messages that hold one of the keys `$1` (gateway), `$2` (kind), `$3` (value) only because a receipt said so.
SELECT DISTINCT c.message_id
FROM unnest($1::int[], $2::correlation_kind[], $3::text[]) AS k (gateway_id, kind, value)
JOIN correlations c ON c.gateway_id = k.gateway_id AND c.kind = k.kind AND c.value = k.value
WHERE c.origin = 'receipt' AND c.message_id IS NOT NULL

-- name: follow_references
-- Ids that came in receipts together with the references `$1` (correlation ids) now belong to the references' messages.
UPDATE correlations c SET message_id = r.message_id FROM correlations r
WHERE r.id = ANY($1::bigint[]) AND r.kind = 'reference' AND c.via = r.id AND c.origin = 'receipt'
    AND c.message_id IS DISTINCT FROM r.message_id

-- name: find_messages
-- Messages of delivery `$1` by id (`$2`) and by reference (`$3`), with what a submission needs to know; `ours`: it is
-- sent from here, and so known by our own reference.
SELECT m.id, m.reference, coalesce(m.gateway_id, d.gateway_id) AS gateway_id, m.proof, m.proof OR m.position IS NOT NULL AS ours
FROM unnest($2::bigint[]) AS asked (id)
CROSS JOIN LATERAL (SELECT * FROM messages l WHERE l.id = asked.id OFFSET 0) m
JOIN deliveries d ON d.id = m.delivery_id
WHERE m.delivery_id = $1
UNION
SELECT m.id, m.reference, coalesce(m.gateway_id, d.gateway_id), m.proof, m.proof OR m.position IS NOT NULL
FROM unnest($3::text[]) AS asked (value)
CROSS JOIN gateways g
CROSS JOIN LATERAL (
    SELECT l.message_id FROM correlations l WHERE l.gateway_id = g.id AND l.kind = 'reference' AND l.value = asked.value OFFSET 0
) c
CROSS JOIN LATERAL (SELECT * FROM messages l WHERE l.id = c.message_id OFFSET 0) m
JOIN deliveries d ON d.id = m.delivery_id
WHERE m.delivery_id = $1

-- name: find_submissions
-- Submissions of the messages `$1`, to recognise those that are sent again.
SELECT message_id, gateway_id, provider_message_ids, error_code, error_text FROM submissions WHERE message_id = ANY($1::bigint[])

-- name: list_ids
-- Ids of gateway `$1` after correlation `$2`, `$3` of them; `$4`: those that receipts brought, or those of submissions.
SELECT id, raw, value, message_id FROM correlations
WHERE gateway_id = $1 AND kind = 'id' AND id > $2 AND (origin = 'receipt') = $4 AND value NOT LIKE 'erased:%'
ORDER BY id LIMIT $3

-- name: rename_keys
-- Gives the keys `$1` the values `$2`; a value that another key of the gateway has already stays with that one.
UPDATE correlations c SET value = n.value FROM unnest($1::bigint[], $2::text[]) AS n (id, value)
WHERE c.id = n.id AND NOT EXISTS (
    SELECT FROM correlations o WHERE o.gateway_id = c.gateway_id AND o.kind = c.kind AND o.value = n.value)
RETURNING c.id

-- name: merge_keys
-- Receipts filed under the keys `$2` of gateway `$1` that mean the same id as an older key with value `$3` move there.
WITH pairs AS (
    SELECT n.id AS from_id, o.id AS to_id, o.message_id FROM unnest($2::bigint[], $3::text[]) AS n (id, value)
    JOIN correlations o ON o.gateway_id = $1 AND o.kind = 'id' AND o.value = n.value AND o.id <> n.id
),
moved AS (UPDATE receipts r SET correlation_id = p.to_id FROM pairs p WHERE r.correlation_id = p.from_id),
bearing AS (UPDATE correlations c SET bearing = true FROM pairs p WHERE c.id = p.to_id AND c.message_id IS NULL),
gone AS (DELETE FROM correlations c USING pairs p WHERE c.id = p.from_id RETURNING c.message_id)
SELECT message_id FROM pairs WHERE message_id IS NOT NULL UNION SELECT message_id FROM gone WHERE message_id IS NOT NULL

-- name: list_newest_unmatched
SELECT raw FROM correlations WHERE gateway_id = $1 AND kind = 'id' AND message_id IS NULL AND bearing ORDER BY id DESC LIMIT $2

-- name: find_submitted
-- Which of the values `$2` are ids that submissions to gateway `$1` gave. Each is looked up by itself: without statistics
-- PostgreSQL before 17 reads the whole gateway instead.
SELECT c.raw, c.value, c.message_id FROM (SELECT DISTINCT unnest($2::text[]) AS value) asked
CROSS JOIN LATERAL (
    SELECT * FROM correlations l WHERE l.gateway_id = $1 AND l.kind = 'id' AND l.value = asked.value OFFSET 0
) c
WHERE c.origin = 'submission'
