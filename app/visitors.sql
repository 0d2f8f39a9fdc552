-- name: lock_unused
-- Of the visitors `$1` those that no click refers to, held until the commit. Who is just taking one holds it, too: that one is
-- left alone. Visitor by visitor, so that it costs the same however many clicks there are.
SELECT v.id FROM visitors v
WHERE v.id = ANY($1::uuid[]) AND (SELECT true FROM clicks c WHERE c.visitor = v.id LIMIT 1) IS NULL
ORDER BY v.id FOR UPDATE SKIP LOCKED

-- name: delete_unused
-- Those of the visitors `$1`, whom the caller holds, that still nobody refers to: a statement of its own, which sees what was
-- committed before they were held.
DELETE FROM visitors v
WHERE v.id = ANY($1::uuid[]) AND (SELECT true FROM clicks c WHERE c.visitor = v.id LIMIT 1) IS NULL

-- name: list_visitors
-- The next `$2` visitors behind `$1`.
SELECT id FROM visitors WHERE id > $1 ORDER BY id LIMIT $2

-- name: put_visitor
INSERT INTO visitors (id, agent, visit) VALUES (visitor_id($1::text, $2::jsonb), $1, $2)
ON CONFLICT (id) DO UPDATE SET agent = excluded.agent RETURNING id

-- name: move_clicks
-- The clicks of visitor `$1` are those of `$2`.
UPDATE clicks SET visitor = $2 WHERE visitor = $1
