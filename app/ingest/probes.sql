-- name: find_some_key
-- The newest id that has a message; without any, `$1` at any gateway.
SELECT * FROM (
    (SELECT gateway_id, value FROM correlations WHERE kind = 'id' AND message_id IS NOT NULL ORDER BY id DESC LIMIT 1)
    UNION ALL (SELECT id, $1 FROM gateways ORDER BY id LIMIT 1)
) known LIMIT 1

-- name: find_some_gateway
SELECT min(id) FROM gateways

-- name: find_newest_message
SELECT id, delivery_id FROM messages ORDER BY id DESC LIMIT 1
