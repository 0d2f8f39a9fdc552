-- name: list_due
-- Deliveries whose time to start has come at `$1`, the longest due first.
SELECT id FROM deliveries WHERE scheduled_at <= $1 AND status = 'prepared' ORDER BY scheduled_at, id

-- name: lock_due
-- Whether delivery `$1` is due at `$2`, and ours until the commit; nobody waits for another one.
SELECT 1 FROM deliveries WHERE id = $1 AND status = 'prepared' AND scheduled_at <= $2 FOR UPDATE SKIP LOCKED

-- name: release_paused
-- Delivery `$1` goes on at `$2`: its validity period is longer by the pause.
UPDATE deliveries SET paused_seconds = paused_seconds + ceil(extract(epoch FROM $2 - paused_at))::int, paused_at = NULL,
    updated_at = $2
WHERE id = $1
