-- name: lock_mark
-- How far it is; none while another clock is at it.
SELECT value FROM platform WHERE key = $1 FOR UPDATE SKIP LOCKED

-- name: has_due_receipts
-- Whether the first receipt behind `$1` is from before `$2`.
SELECT received_at < $2 FROM receipts WHERE id > $1 ORDER BY id LIMIT 1

-- name: forget_receipts
-- The next `$4` receipts behind `$2`, up to the first that is not from before `$3`, lose their payload; mark `$1` moves on.
WITH stretch AS MATERIALIZED (SELECT id, received_at FROM receipts WHERE id > $2 ORDER BY id LIMIT $4),
due AS MATERIALIZED (
    SELECT id FROM stretch
    WHERE id < coalesce((SELECT min(id) FROM stretch WHERE received_at >= $3), 9223372036854775807)
),
cleared AS (UPDATE receipts r SET raw = '' FROM due WHERE r.id = due.id AND r.raw <> ''),
moved AS (UPDATE platform SET value = (SELECT max(id) FROM due)::text WHERE key = $1 AND EXISTS (SELECT FROM due))
SELECT count(*) FROM due

-- name: forget_inbound
-- Up to `$3` replies from `$1` on and before `$2`.
WITH due AS MATERIALIZED (
    SELECT id FROM inbound WHERE received_at >= $1 AND received_at < $2 AND raw <> '' AND applied_at IS NOT NULL
    ORDER BY received_at, id LIMIT $3
)
UPDATE inbound i SET raw = '' FROM due WHERE i.id = due.id RETURNING i.received_at

-- name: forget_rejected
WITH due AS MATERIALIZED (
    SELECT id FROM rejected WHERE received_at >= $1 AND received_at < $2 AND (raw <> '' OR request ? 'query')
    ORDER BY received_at, id LIMIT $3
)
UPDATE rejected r SET raw = '', request = request - 'query' FROM due WHERE r.id = due.id RETURNING r.received_at
