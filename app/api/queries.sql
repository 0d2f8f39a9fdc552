-- name: list_weighed
-- The rows of `{query}` without those behind `{page_bytes}` of `{weight}`, in their `{order}`; `fetched`: how many it found before.
WITH found AS MATERIALIZED ({query}),
weighed AS (
    SELECT found.*, count(*) OVER () AS fetched,
        sum({weight}) OVER (ORDER BY {order} ROWS UNBOUNDED PRECEDING) - ({weight}) AS bytes_before
    FROM found
)
SELECT * FROM weighed WHERE bytes_before < {page_bytes} ORDER BY {order}

-- name: set_answer
UPDATE idempotency SET status = $3, answer = $4 WHERE owner = $1 AND key = $2

-- name: add_request
-- No row when the key stands already; waits for who is at it.
INSERT INTO idempotency (owner, key, request_hash, status, answer, created_at) VALUES ($1, $2, $3, 0, '', $4)
ON CONFLICT (owner, key) DO NOTHING RETURNING true

-- name: find_answer
SELECT request_hash, status, answer FROM idempotency WHERE owner = $1 AND key = $2

-- name: forget_answers
DELETE FROM idempotency
WHERE ctid = ANY (ARRAY(SELECT ctid FROM idempotency WHERE created_at < $1 LIMIT 100 FOR UPDATE SKIP LOCKED))

-- name: add_figures
INSERT INTO uploads AS u (id, chain, code, actor, figures, started_at, touched_at)
VALUES ($1, $2, $3, $4, $5::jsonb || $6::jsonb, $7, $7)
ON CONFLICT (id) DO UPDATE SET touched_at = excluded.touched_at, figures = u.figures || (
    SELECT jsonb_object_agg(f.key, coalesce((u.figures ->> f.key)::bigint, 0) + f.value::bigint)
    FROM jsonb_each_text($5::jsonb) f) || $6::jsonb

-- name: delete_ended
DELETE FROM uploads
WHERE id = ANY (ARRAY(SELECT id FROM uploads WHERE touched_at < $1 ORDER BY touched_at LIMIT $2 FOR UPDATE SKIP LOCKED))
RETURNING chain, code, actor, figures

-- name: delete_upload
DELETE FROM uploads WHERE id = $1 RETURNING figures
