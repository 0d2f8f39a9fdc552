-- name: lock_handling
-- Whether delivery `$1` is ours alone until the commit: uploads, preparations and starts of one exclude each other.
SELECT pg_try_advisory_xact_lock({HANDLING}, hashint8($1))

-- name: find_errors
-- What the preparation of delivery `$1` found that forbids its start.
SELECT f.value ->> 'text' FROM preparations p CROSS JOIN LATERAL jsonb_array_elements(p.findings) f
WHERE p.delivery_id = $1 AND f.value ->> 'level' = 'error'

-- name: count_messages
-- How many messages delivery `$1` has.
SELECT coalesce(sum(value), 0)::bigint FROM counters WHERE delivery_id = $1 AND metric = 'status'

-- name: start_delivery
-- From now (`$2`) on delivery `$1` is in progress; `$3`: and over at once. The caller holds it.
UPDATE deliveries SET started_at = $2, updated_at = $2, scheduled_at = NULL, finished_at = CASE WHEN $3::boolean THEN $2::timestamptz END,
    status = CASE WHEN $3::boolean THEN 'finished' ELSE 'in_progress' END::delivery_status
WHERE id = $1

-- name: find_status
-- The status of delivery `$1`; `paused` while it is in progress and gives nothing.
SELECT CASE WHEN status = 'in_progress' AND paused_at IS NOT NULL THEN 'paused' ELSE status::text END
FROM deliveries WHERE id = $1

-- name: list_outbox
-- The next `$3` messages of delivery `$1` behind message `$2` that nobody has handed over, with what their texts need.
WITH waiting AS MATERIALIZED (
    SELECT s.status, s.message_id FROM message_state s
    WHERE s.delivery_id = $1 AND (s.status, s.message_id) > ('pending', $2) AND s.status <= 'pending' AND NOT s.proof
    ORDER BY s.status, s.message_id LIMIT $3
)
SELECT w.message_id, m.address, t.params
FROM waiting w
CROSS JOIN LATERAL (SELECT l.address, l.position FROM messages l WHERE l.id = w.message_id OFFSET 0) m
LEFT JOIN LATERAL (SELECT l.params FROM targets l WHERE l.delivery_id = $1 AND l.position = m.position OFFSET 0) t ON true
ORDER BY w.message_id

-- name: find_told
-- Of the messages `$1`, those that receipts have told about meanwhile.
SELECT message_id FROM message_state WHERE message_id = ANY($1::bigint[]) AND status <> 'pending'

-- name: find_kept_away
-- Those of the addresses `$1` that must not be sent to, whoever sends or by sender `$2`: the stricter word of each.
SELECT address, max(status)::text AS status FROM quarantine
WHERE address = ANY($1::text[]) AND sender IN ('', $2)
    AND status::text IN ('quarantined', 'denylisted')  -- as text: no index by status may seem to serve this
GROUP BY address

-- name: cancel_kept_away
-- Marks those of the messages `$1` that are still `pending` as cancelled now (`$3`), each for its reason (`$2`); which.
WITH waiting AS MATERIALIZED (
    SELECT message_id FROM message_state WHERE message_id = ANY($1::bigint[]) AND status = 'pending'
    ORDER BY message_id FOR UPDATE
)
UPDATE messages m SET cancelled_at = $3, cancelled_for = k.reason
FROM unnest($1::bigint[], $2::text[]) AS k (id, reason) JOIN waiting w ON w.message_id = k.id
WHERE m.id = k.id AND m.cancelled_at IS NULL RETURNING m.id, m.cancelled_for AS reason

-- name: add_kept_away_figures
-- Of delivery `$1`: arrays of reason and how many.
{into_counters}
SELECT $1, 'kept_away', 0, k.reason, 0, k.messages FROM unnest($2::text[], $3::bigint[]) AS k (reason, messages) ORDER BY k.reason
{added_up}

-- name: list_proofs
-- Proofs of delivery `$1` before message `$2`, the newest first, `$3` of them.
SELECT m.id, m.address, m.params, m.created_at, s.status::text AS status, s.submitted_at, s.updated_at, g.key AS gateway
FROM messages m
JOIN message_state s ON s.message_id = m.id
LEFT JOIN gateways g ON g.id = s.gateway_id
WHERE m.delivery_id = $1 AND m.proof AND m.id < $2
ORDER BY m.id DESC LIMIT $3

-- name: count_proofs
-- There are a few; their index holds nothing else.
SELECT count(*) FROM messages WHERE delivery_id = $1 AND proof

-- name: has_delivery
SELECT 1 FROM deliveries WHERE id = $1
