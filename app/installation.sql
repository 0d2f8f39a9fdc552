-- name: find_value
SELECT value FROM platform WHERE key = $1

-- name: lock_value
{find_value} FOR UPDATE

-- name: list_values
SELECT key, value FROM platform WHERE starts_with(value, $1) ORDER BY key

-- name: put_value
-- One that stands already and is the same is not written again.
INSERT INTO platform AS p (key, value) VALUES ($1, $2)
ON CONFLICT (key) DO UPDATE SET value = excluded.value WHERE p.value <> excluded.value

-- name: add_value
-- Waits for others that add the same; the first one's stands, and the others get no row.
INSERT INTO platform (key, value) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING RETURNING true

-- name: delete_value
DELETE FROM platform WHERE key = $1
