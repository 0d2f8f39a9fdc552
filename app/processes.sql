-- name: note_process
INSERT INTO processes (id, name, started_at, seen_at, thresholds, routes_read_at)
VALUES ($1, $2, clock_timestamp(), clock_timestamp(), $3, $4)
ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at, routes_read_at = excluded.routes_read_at

-- name: list_behind
-- Processes seen within `$2` that have not read the routes since `$1`.
SELECT name FROM processes
WHERE seen_at > clock_timestamp() - $2::interval AND (routes_read_at IS NULL OR routes_read_at < $1) ORDER BY name

-- name: list_holding_to
-- Processes but `$2` seen within `$3` that go by the thresholds `$1`.
SELECT name FROM processes WHERE thresholds = $1 AND id <> $2 AND seen_at > clock_timestamp() - $3::interval ORDER BY name

-- name: forget_processes
DELETE FROM processes WHERE seen_at < clock_timestamp() - $1::interval

-- name: delete_process
DELETE FROM processes WHERE id = $1
