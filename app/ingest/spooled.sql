-- name: lock_progress
-- How far the spool file `$1` was brought, held until the commit.
INSERT INTO spool_progress AS p (spool_id, last_id) VALUES ($1, 0)
ON CONFLICT (spool_id) DO UPDATE SET last_id = p.last_id RETURNING last_id

-- name: move_progress
UPDATE spool_progress SET last_id = $2, touched_at = now() WHERE spool_id = $1

-- name: forget_progress
-- Of the file `$1`, and of files that are long gone: those of older versions, and of one that was killed between the two.
DELETE FROM spool_progress WHERE spool_id = $1 OR touched_at < now() - interval '90 days'
