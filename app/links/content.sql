-- name: list_links
-- The links of delivery `$1`, by number.
SELECT number, label, source_url, template, tracked, params, in_content FROM links WHERE delivery_id = $1 ORDER BY number

-- name: add_links
-- Adds links to delivery `$1`: arrays of number, label, URL, whether it is a template, tracked, in the content.
INSERT INTO links (delivery_id, number, label, source_url, template, tracked, params, in_content)
SELECT $1, l.number, l.label, l.source_url, l.template, l.tracked, '{}', l.in_content
FROM unnest($2::smallint[], $3::text[], $4::text[], $5::boolean[], $6::boolean[], $7::boolean[])
    AS l (number, label, source_url, template, tracked, in_content)

-- name: touch_routes
-- Every process reads the routes of delivery `$1` anew.
UPDATE deliveries SET updated_at = greatest(updated_at, clock_timestamp()) WHERE id = $1

-- name: mark_content
-- Of the links of delivery `$1` just those of `$2` (numbers) stand in its content.
UPDATE links SET in_content = number = ANY($2::smallint[]) WHERE delivery_id = $1 AND in_content <> (number = ANY($2::smallint[]))

-- name: follow_tracking
-- The delivery's own switch was turned: it holds for all its links.
UPDATE links SET tracked = $2 WHERE delivery_id = $1 AND tracked <> $2

-- name: list_tracked_links
-- The links in the content of delivery `$1` that become short URLs.
SELECT l.number, l.source_url FROM links l JOIN deliveries d ON d.id = l.delivery_id
WHERE l.delivery_id = $1 AND l.in_content AND l.tracked AND d.tracking ORDER BY l.number

-- name: add_block
-- The messages `$1` to `$2` are those of delivery `$3`.
INSERT INTO link_blocks (first_id, last_id, delivery_id) VALUES ($1, $2, $3) ON CONFLICT (first_id) DO NOTHING

-- name: lock_delivery
SELECT id, status::text AS status, tracking, scheduled_at FROM deliveries WHERE id = $1 FOR UPDATE

-- name: update_link
UPDATE links SET label = $3, tracked = $4, params = $5 WHERE delivery_id = $1 AND number = $2

-- name: set_label
UPDATE links SET label = $3 WHERE delivery_id = $1 AND number = $2

-- name: touch_delivery
-- Its routes are read anew by every process; what was prepared must be prepared again when `$3`.
UPDATE deliveries SET updated_at = $2, status = CASE WHEN $3::boolean THEN 'editing'::delivery_status ELSE status END,
    scheduled_at = CASE WHEN NOT $3::boolean THEN scheduled_at END
WHERE id = $1

-- name: find_without_block
-- Those of the messages `$1` whose delivery no block tells.
SELECT id FROM unnest($1::bigint[]) AS asked (id)
WHERE NOT EXISTS (
    SELECT FROM (SELECT last_id FROM link_blocks WHERE first_id <= id ORDER BY first_id DESC LIMIT 1) nearest WHERE last_id >= id
)
ORDER BY id

-- name: find_messages
-- Which of the messages `$2` are those of delivery `$1`, with their references.
SELECT id, reference FROM messages WHERE delivery_id = $1 AND id = ANY($2::bigint[])
