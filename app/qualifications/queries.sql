-- name: add_qualification
-- One that stands already stays as it is.
INSERT INTO qualifications (
    implementation, status, error_code, failure_type, reason, sentence, state, first_text, first_seen_at, last_seen_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9, $9)
ON CONFLICT (implementation, status, error_code) DO NOTHING

-- name: list_touched
-- Messages of each delivery that failed with qualification `$1`: one step into the primary key a delivery and gateway.
SELECT d.id, d.label, d.created_at, sum(c.value)::bigint AS messages
FROM deliveries d
CROSS JOIN (SELECT 0 AS id UNION ALL SELECT id FROM gateways) g
JOIN counters c ON c.delivery_id = d.id AND c.metric = 'status' AND c.gateway_id = g.id AND c.label = 'failed'
    AND c.bucket = $1
WHERE c.value > 0
GROUP BY d.id ORDER BY d.id DESC

-- name: lock_qualification
SELECT * FROM qualifications WHERE id = $1 FOR UPDATE

-- name: list_kinds
-- The kinds of the gateways that have their errors qualified under the name `$1`.
SELECT DISTINCT kind FROM gateways WHERE implementation = $1 ORDER BY kind
