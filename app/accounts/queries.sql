-- name: lock_clear
-- Rows of `platform` with names like `$1` whose values do not begin like `$2`: they stand in clear.
SELECT key, value FROM platform WHERE key ~ $1 AND value NOT LIKE $2 ORDER BY key FOR UPDATE

-- name: lock_clear_auth
-- Gateways whose secrets stand in clear.
SELECT id, key, auth FROM gateways WHERE jsonb_exists(auth, 'secrets') ORDER BY id FOR UPDATE

-- name: set_auth
UPDATE gateways SET auth = $2 WHERE id = $1

-- name: list_auth
SELECT key, auth FROM gateways ORDER BY id

-- name: lock_auth
SELECT key, auth FROM gateways WHERE id = $1 FOR UPDATE

-- name: list_gateway_ids
SELECT id FROM gateways ORDER BY id

-- name: list_clear
-- The same, without holding them.
SELECT key FROM platform WHERE key ~ $1 AND value NOT LIKE $2 ORDER BY key

-- name: list_entries
-- Entries of chain `$1`, newest first, of level `$2` (or any), before number `$3`, with what stands beside them.
SELECT seq, at, level, code, text, actor, data, encode(hash, 'hex') AS hash, (
    SELECT jsonb_object_agg(p.name, p.value) FROM audit_private p WHERE p.chain = audit.chain AND p.seq = audit.seq) AS beside
FROM audit WHERE chain = $1 AND ($2::text IS NULL OR level = $2) AND ($3::bigint IS NULL OR seq < $3) ORDER BY seq DESC LIMIT $4

-- name: find_gateway
-- The living gateway `$1`.
SELECT * FROM gateways WHERE key = $1 AND deleted_at IS NULL

-- name: lock_gateway
{find_gateway} FOR UPDATE

-- name: lock_deleted_gateway
-- The newest deleted gateway `$1`.
SELECT * FROM gateways WHERE key = $1 AND deleted_at IS NOT NULL ORDER BY deleted_at DESC, id DESC LIMIT 1 FOR UPDATE

-- name: count_in_transit
-- Messages of gateway `$1` that wait for a final receipt.
SELECT coalesce(sum(c.value), 0)::bigint FROM deliveries d
JOIN counters c ON c.delivery_id = d.id AND c.metric = 'status' AND c.gateway_id = $1 AND c.label IN {in_transit}

-- name: list_receipts_since_deletion
SELECT g.key, g.deleted_at, (coalesce(sum(c.value), 0) - coalesce(g.receipts_before, 0))::bigint AS receipts
FROM gateways g LEFT JOIN counters c ON c.delivery_id = 0 AND c.metric = 'receipts' AND c.gateway_id = g.id
WHERE g.deleted_at IS NOT NULL GROUP BY g.id ORDER BY g.key, g.id

-- name: list_gateways
-- The next `$2` living gateways behind key `$1`.
SELECT * FROM gateways WHERE deleted_at IS NULL AND key > $1 ORDER BY key LIMIT $2

-- name: count_gateways
SELECT count(*) FROM gateways WHERE deleted_at IS NULL

-- name: add_gateway
-- No row when a living gateway has this key.
INSERT INTO gateways (key, kind, label, implementation, options, auth, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $7) ON CONFLICT (key) WHERE deleted_at IS NULL DO NOTHING RETURNING *

-- name: update_gateway
-- With the time of its deletion (`$6`), how many receipts it had.
UPDATE gateways SET label = $2, implementation = $3, options = $4, auth = $5, deleted_at = $6, updated_at = $7,
    receipts_before = CASE WHEN $6::timestamptz IS NOT NULL THEN (
        SELECT coalesce(sum(value), 0) FROM counters WHERE delivery_id = 0 AND metric = 'receipts' AND gateway_id = $1) END
WHERE id = $1 RETURNING *

-- name: list_figures
-- The platform's figures of gateway `$1`.
SELECT metric, label, sum(value)::bigint AS value FROM counters
WHERE delivery_id = 0 AND gateway_id = $1 AND metric IN ('receipts', 'unmatched', 'rejected', 'unknown')
GROUP BY metric, label ORDER BY metric, label

-- name: add_qualification
INSERT INTO qualifications (implementation, status, error_code, failure_type, reason, sentence, state, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, 'keep', $7) ON CONFLICT (implementation, status, error_code) DO NOTHING

-- name: find_message_of
-- The message that the key `$3` of kind `$2` belongs to, and its state.
SELECT c.message_id, s.delivery_id, s.status::text AS status, s.parts, s.parts_received
FROM correlations c JOIN message_state s ON s.message_id = c.message_id
WHERE c.gateway_id = $1 AND c.kind = $2 AND c.value = $3

-- name: find_qualification
SELECT id, failure_type::text AS failure_type, reason, sentence, state::text AS state FROM qualifications
WHERE implementation = $1 AND status = $2 AND error_code = $3

-- name: list_principals
SELECT name, hash, scopes FROM api_keys

-- name: list_keys
-- The next `$2` API keys behind name `$1`.
SELECT name, scopes, created_at FROM api_keys WHERE name > $1 ORDER BY name LIMIT $2

-- name: add_key
INSERT INTO api_keys (name, hash, scopes, created_at) VALUES ($1, $2, $3, $4) ON CONFLICT (name) DO NOTHING RETURNING true

-- name: lock_key
SELECT scopes, created_at FROM api_keys WHERE name = $1 FOR UPDATE

-- name: lock_keys
-- Nobody else adds or deletes keys until the commit; reading goes on.
LOCK TABLE api_keys IN SHARE ROW EXCLUSIVE MODE

-- name: count_other_admins
SELECT count(*) FROM api_keys WHERE name <> $1 AND 'admin' = ANY (scopes)

-- name: delete_key
DELETE FROM api_keys WHERE name = $1

-- name: find_scopes
SELECT scopes FROM api_keys WHERE hash = $1

-- name: set_key
INSERT INTO api_keys (name, hash, scopes, created_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (name) DO UPDATE SET hash = excluded.hash, scopes = excluded.scopes

-- name: find_change_mark
-- Another text whenever a gateway or a key was added, changed or removed. By transaction ids, not by clocks.
SELECT (SELECT coalesce(md5(string_agg(id || ':' || xmin, ',' ORDER BY id)), '') FROM gateways)
    || '/' || (SELECT coalesce(md5(string_agg(name || ':' || xmin, ',' ORDER BY name)), '') FROM api_keys)

-- name: count_entries
SELECT count(*) FROM audit WHERE chain = $1 AND level = $2

-- name: count_keys
SELECT count(*) FROM api_keys

-- name: has_keys
SELECT EXISTS (SELECT FROM api_keys)

-- name: has_delivery
SELECT EXISTS (SELECT FROM deliveries WHERE id = $1)

-- name: list_all_gateways
-- Deleted ones, too.
SELECT * FROM gateways ORDER BY id

-- name: find_length
SELECT seq FROM audit_heads WHERE chain = $1

-- name: find_implementations
-- Which of the names `$1` a gateway has its errors qualified under, a deleted one too.
SELECT DISTINCT implementation FROM gateways WHERE implementation = ANY($1::text[])

-- name: list_named
-- Living gateways under the name `$1`, but gateway `$2`.
SELECT key FROM gateways WHERE implementation = $1 AND id <> $2 AND deleted_at IS NULL ORDER BY key

-- name: list_sharing
-- Living gateways that share the name of their errors with others.
SELECT implementation, key, kind FROM (
    SELECT implementation, key, kind, count(*) OVER (PARTITION BY implementation) AS sharing FROM gateways WHERE deleted_at IS NULL
) g WHERE sharing > 1 ORDER BY implementation, key

-- name: has_open_breaker
SELECT EXISTS (SELECT FROM breakers WHERE gateway_id = $1 AND closed_at IS NULL)

-- name: list_had
-- Errors that gateway `$1` has had under the name `$2`, by the counters, with what they mean there and under the name `$3`.
SELECT q.id, q.status, q.error_code, q.failure_type::text AS failure_type, q.reason, q.state::text AS state,
    n.id AS new_id, n.failure_type::text AS new_failure_type, n.reason AS new_reason, n.state::text AS new_state,
    sum(c.value)::bigint AS messages
FROM deliveries d
JOIN counters c ON c.delivery_id = d.id AND c.metric = 'status' AND c.gateway_id = $1 AND c.label = 'failed' AND c.value > 0
JOIN qualifications q ON q.id = c.bucket AND q.implementation = $2
LEFT JOIN qualifications n ON n.implementation = $3 AND n.status = q.status AND n.error_code = q.error_code
GROUP BY q.id, n.id ORDER BY messages DESC, q.id

-- name: copy_qualifications
-- The qualifications `$3` of the name `$1`, and those of the statuses and codes `$4` and `$5`, under the name `$2`, too; what
-- stands there already stays.
INSERT INTO qualifications (implementation, status, error_code, failure_type, reason, sentence, state, updated_at)
SELECT $2, q.status, q.error_code, q.failure_type, q.reason, q.sentence, q.state, $6 FROM qualifications q
WHERE q.implementation = $1 AND (q.id = ANY($3::int[])
    OR (q.status, q.error_code) IN (SELECT * FROM unnest($4::text[], $5::text[])))
ON CONFLICT (implementation, status, error_code) DO NOTHING
RETURNING id
