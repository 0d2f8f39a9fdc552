-- name: copy_targets
-- Gives delivery `$2` the audience of delivery `$1`, each target at its place.
INSERT INTO targets (delivery_id, position, given, recipient_id, params, control)
SELECT $2, position, given, recipient_id, params, control FROM targets WHERE delivery_id = $1

-- name: copy_links
-- The links of delivery `$2` get what those of delivery `$1` with the same URL were given: label, switch, parameters.
UPDATE links n SET label = o.label, tracked = o.tracked, params = o.params
FROM links o WHERE n.delivery_id = $2 AND o.delivery_id = $1 AND o.source_url = n.source_url

-- name: count_outcomes
-- How many messages (proofs left out) and exclusions the last preparation of delivery `$1` left.
SELECT coalesce(sum(value) FILTER (WHERE metric = 'status'), 0)::bigint AS messages,
    coalesce(sum(value) FILTER (WHERE metric = 'excluded'), 0)::bigint AS excluded
FROM counters WHERE delivery_id = $1 AND metric IN ('status', 'excluded')

-- name: delete_counters
DELETE FROM counters WHERE delivery_id = $1

-- name: delete_links
DELETE FROM links WHERE delivery_id = $1

-- name: delete_link_blocks
DELETE FROM link_blocks WHERE delivery_id = $1

-- name: delete_preparation
DELETE FROM preparations WHERE delivery_id = $1

-- name: delete_delivery
DELETE FROM deliveries WHERE id = $1
