-- name: count_rejected_by_gateway
-- Of the next `$3` rejected bodies behind (`$1`, `$2`) the same.
WITH chunk AS MATERIALIZED (
    SELECT gateway_id, received_at, id FROM rejected WHERE (received_at, id) > ($1, $2) ORDER BY received_at, id LIMIT $3
),
last AS MATERIALIZED (SELECT received_at, id FROM chunk ORDER BY received_at DESC, id DESC LIMIT 1)
SELECT coalesce(s.gateway_id, 0) AS gateway_id, count(*) AS rows, l.received_at AS last_at, l.id AS last_id
FROM chunk s CROSS JOIN last l
GROUP BY 1, l.received_at, l.id

-- name: list_unmatched
-- Keys that receipts name and no submission has told yet: those of gateway `$1` (or all), after id `$2`, `$3` of them, each with
-- the first `$4` bytes of its newest receipt; or only the one with id `$5`.
SELECT c.id, c.gateway_id, g.key AS gateway, c.kind::text AS kind, c.raw, c.value, c.created_at, c.seen_at, v.value AS reference,
    r.receipts, r.status_text, r.raw AS sample, r.raw_bytes AS sample_bytes
FROM correlations c
JOIN gateways g ON g.id = c.gateway_id
LEFT JOIN correlations v ON v.id = c.via
CROSS JOIN LATERAL (
    SELECT n.receipts, l.status_text, octet_length(l.raw) AS raw_bytes, substring(l.raw FROM 1 FOR $4) AS raw
    FROM receipts l, (SELECT count(*) AS receipts, max(e.id) AS id FROM receipts e WHERE e.correlation_id = c.id) n
    WHERE l.id = n.id
) r
WHERE c.message_id IS NULL AND c.bearing AND ($1::int IS NULL OR c.gateway_id = $1) AND c.id > $2
    AND ($5::bigint IS NULL OR c.id = $5)
ORDER BY c.id LIMIT $3

-- name: count_unmatched
-- How many unmatched keys gateway `$1` (or all) has among the first `$2`, and how many those are.
SELECT count(*) FILTER (WHERE $1::int IS NULL OR gateway_id = $1) AS found, count(*) AS seen
FROM (SELECT gateway_id FROM correlations WHERE message_id IS NULL AND bearing ORDER BY id LIMIT $2) first_ones

-- name: list_rejected
-- What was set aside of gateway `$1` (or all) and kind `$5` (or any), newest first, before (`$2`, `$3`), `$4` of them, each with
-- the first `$6` bytes of its body and of what is written about its request.
SELECT r.id, r.kind, g.key AS gateway, r.gateway_id, r.received_at, left(r.reason, $6) AS reason,
    octet_length(r.raw) AS raw_bytes, substring(r.raw FROM 1 FOR $6) AS raw, r.retried_at, (
        SELECT jsonb_object_agg(e.key, CASE
            WHEN jsonb_typeof(e.value) = 'string' THEN to_jsonb(left(e.value #>> '{}', $6))
            WHEN octet_length(e.value::text) > 4 * $6 THEN '"…"'
            ELSE e.value END)
        FROM jsonb_each(CASE WHEN r.request ? 'row' THEN jsonb_build_object('provider_message_id',
            r.request #> '{row,provider_message_id}', 'reference', r.request #> '{row,reference}',
            'status_text', r.request #> '{row,status_text}') ELSE r.request END) e
    ) AS request
FROM rejected r LEFT JOIN gateways g ON g.id = r.gateway_id
WHERE ($1::int IS NULL OR r.gateway_id = $1) AND ($5::text IS NULL OR r.kind = $5)
    AND ($2::timestamptz IS NULL OR (r.received_at, r.id) < ($2, $3))
ORDER BY r.received_at DESC, r.id DESC LIMIT $4

-- name: find_rejected
SELECT r.id, r.kind, g.key AS gateway, r.received_at, r.reason, r.request, octet_length(r.raw) AS raw_bytes, r.raw, r.retried_at
FROM rejected r LEFT JOIN gateways g ON g.id = r.gateway_id WHERE r.id = $1

-- name: count_rejected
-- The same of what was set aside, of kind `$3` or any.
SELECT count(*) FILTER (WHERE $1::int IS NULL OR gateway_id = $1) AS found, count(*) AS seen
FROM (SELECT gateway_id FROM rejected WHERE $3::text IS NULL OR kind = $3 ORDER BY received_at, id LIMIT $2) first_ones

-- name: list_rejected_to_retry
-- Ids of the oldest 1 000 of those with ids `$1`, of gateway `$2` and of kind `$3` (each: or any).
SELECT id FROM rejected
WHERE ($1::text[] IS NULL OR id = ANY($1)) AND ($2::int IS NULL OR gateway_id = $2) AND ($3::text IS NULL OR kind = $3)
ORDER BY received_at, id LIMIT 1000

-- name: lock_rejected
-- The one with id `$1`, unless somebody else reads it again now.
SELECT * FROM rejected WHERE id = $1 FOR UPDATE SKIP LOCKED

-- name: trim_refused
-- Of the refused signatures of gateway `$1` on the day that begins at `$2`, the first and the last `$3` stay.
DELETE FROM rejected WHERE id IN (
    SELECT id FROM (
        SELECT id, row_number() OVER (ORDER BY received_at, id) AS place, count(*) OVER () AS places
        FROM rejected
        WHERE kind = 'refused' AND received_at >= $2 AND received_at < $2 + interval '1 day' AND gateway_id = $1
    ) day WHERE place > $3 AND place <= places - $3)

-- name: forget_refused
-- Some of those that nobody looked into for 30 days before `$1`.
DELETE FROM rejected WHERE id IN (
    SELECT id FROM rejected WHERE kind = 'refused' AND received_at < $1::timestamptz - interval '30 days'
    ORDER BY received_at, id LIMIT 1000)

-- name: list_unmatched_gateways
SELECT DISTINCT gateway_id FROM correlations WHERE message_id IS NULL AND bearing

-- name: note_retried
UPDATE rejected SET retried_at = $2 WHERE id = $1

-- name: delete_rejected
DELETE FROM rejected WHERE id = $1

-- name: set_rest
-- The one with id `$1` keeps what could not be read of it, `$2`; no signature is of that.
UPDATE rejected SET raw = $2, reason = $3, kind = 'unreadable' WHERE id = $1
