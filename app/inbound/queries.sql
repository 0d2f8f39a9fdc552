-- name: lock_rules
SELECT reply_rules FROM gateways WHERE id = $1 AND deleted_at IS NULL FOR UPDATE

-- name: set_rules
UPDATE gateways SET reply_rules = $2, updated_at = $3 WHERE id = $1
