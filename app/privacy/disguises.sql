-- name: find_standing
-- Which of the values `$1` are keys of any gateway.
SELECT DISTINCT k.value FROM unnest($1::text[]) AS k (value) CROSS JOIN gateways g
CROSS JOIN unnest(enum_range(NULL::correlation_kind)) AS kinds (kind)
JOIN correlations c ON c.gateway_id = g.id AND c.kind = kinds.kind AND c.value = k.value

-- name: rename_key
-- The key `$1` is `$2`, if no other of its gateway and kind is.
UPDATE correlations c SET value = $2, raw = $2
WHERE c.id = $1 AND NOT EXISTS (
    SELECT FROM correlations o WHERE o.gateway_id = c.gateway_id AND o.kind = c.kind AND o.value = $2 AND o.id <> c.id)
RETURNING true

-- name: merge_key
-- The key `$1` goes, and all that hangs on it goes over to the one of its gateway and kind that is `$2`; that one is held.
WITH pair AS MATERIALIZED (
    SELECT f.id AS from_id, t.id AS to_id, f.message_id, f.origin, f.bearing, f.via, f.seen_at
    FROM correlations f JOIN correlations t ON t.gateway_id = f.gateway_id AND t.kind = f.kind AND t.value = $2
    WHERE f.id = $1
),
moved AS (UPDATE receipts r SET correlation_id = p.to_id FROM pair p WHERE r.correlation_id = p.from_id),
pointed AS (UPDATE correlations c SET via = p.to_id FROM pair p WHERE c.via = p.from_id AND c.id <> p.to_id),
kept AS (
    UPDATE correlations c SET message_id = coalesce(c.message_id, p.message_id), bearing = c.bearing OR p.bearing,
        origin = CASE WHEN c.message_id IS NULL AND p.message_id IS NOT NULL THEN p.origin ELSE c.origin END,
        via = coalesce(c.via, nullif(p.via, c.id)), seen_at = greatest(c.seen_at, p.seen_at)
    FROM pair p WHERE c.id = p.to_id
)
DELETE FROM correlations c USING pair p WHERE c.id = p.from_id
RETURNING coalesce((SELECT o.message_id FROM correlations o WHERE o.id = p.to_id), p.message_id)
