-- name: find_delivery
-- What uploads to delivery `$1` ask about it.
SELECT id, status::text AS status, gateway_id, default_region, targets, sender FROM deliveries WHERE id = $1

-- name: find_status
SELECT status::text FROM deliveries WHERE id = $1

-- name: lock_delivery
SELECT status::text AS status, targets FROM deliveries WHERE id = $1 FOR UPDATE

-- name: begin_delivery
-- Sending began elsewhere, or goes on after the end.
UPDATE deliveries SET status = 'in_progress', started_at = coalesce(started_at, $2), finished_at = NULL, updated_at = $2
WHERE id = $1

-- name: reopen_delivery
-- Delivery `$1`, if it is finished though messages are on their way.
UPDATE deliveries SET status = 'in_progress', finished_at = NULL, updated_at = $2
WHERE id = $1 AND status = 'finished' AND 0 < (
    SELECT sum(value) FROM counters
    WHERE delivery_id = $1 AND metric = 'status' AND label IN {in_transit})
RETURNING true

-- name: has_proofs
SELECT EXISTS (SELECT FROM messages WHERE delivery_id = $1 AND proof)
