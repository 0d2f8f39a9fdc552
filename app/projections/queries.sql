-- name: list_deliveries
SELECT id FROM deliveries ORDER BY id
