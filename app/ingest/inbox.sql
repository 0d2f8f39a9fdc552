-- name: open_receipt
-- The claimed receipts of one transaction, on this connection only; emptied at its end.
CREATE TEMPORARY TABLE IF NOT EXISTS batch (LIKE inbox) ON COMMIT DELETE ROWS

-- name: open_reply
CREATE TEMPORARY TABLE IF NOT EXISTS reply_batch (LIKE inbound) ON COMMIT DELETE ROWS

-- name: open_click
CREATE TEMPORARY TABLE IF NOT EXISTS click_batch (LIKE click_inbox) ON COMMIT DELETE ROWS

-- name: claim_receipt
-- Holds the oldest `$1` receipts that nobody else holds, but those of `$2`; of `$3` (or all). They stay where they are until
-- they are finished, and nobody else can claim them until the commit.
INSERT INTO batch SELECT * FROM inbox
WHERE id <> ALL($2::bigint[]) AND ($3::bigint[] IS NULL OR id = ANY($3)) ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED

-- name: claim_reply
-- The same of replies, which stand among the facts from the start.
INSERT INTO reply_batch SELECT * FROM inbound
WHERE applied_at IS NULL AND id <> ALL($2::bigint[]) AND ($3::bigint[] IS NULL OR id = ANY($3))
ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED

-- name: claim_click
-- The same of clicks.
INSERT INTO click_batch SELECT * FROM click_inbox
WHERE seq <> ALL($2::bigint[]) AND ($3::bigint[] IS NULL OR seq = ANY($3)) ORDER BY seq LIMIT $1 FOR UPDATE SKIP LOCKED

-- name: delete_receipt
DELETE FROM inbox WHERE id = ANY (ARRAY(SELECT id FROM batch))

-- name: delete_reply
DELETE FROM inbound WHERE id = ANY (ARRAY(SELECT id FROM reply_batch))

-- name: delete_click
DELETE FROM click_inbox WHERE seq = ANY (ARRAY(SELECT seq FROM click_batch))

-- name: keep_reply
-- The claimed replies are applied: what came of each stands in the batch.
UPDATE inbound i SET keyword = b.keyword, action = b.action, repeat_of = b.repeat_of, part_of = b.part_of,
    message_id = b.message_id, delivery_id = b.delivery_id, applied_at = now()
FROM reply_batch b WHERE i.id = b.id

-- name: list_receipt
-- The places of the oldest `$1` receipts but those of `$2`.
SELECT id AS place FROM inbox WHERE id <> ALL($2::bigint[]) ORDER BY id LIMIT $1

-- name: list_reply
SELECT id AS place FROM inbound WHERE applied_at IS NULL AND id <> ALL($2::bigint[]) ORDER BY id LIMIT $1

-- name: list_click
SELECT seq AS place FROM click_inbox WHERE seq <> ALL($2::bigint[]) ORDER BY seq LIMIT $1

-- name: find_receipt
SELECT * FROM inbox WHERE id = $1

-- name: find_reply
SELECT * FROM inbound WHERE id = $1

-- name: find_click
SELECT * FROM click_inbox WHERE seq = $1

-- name: has_only_reads
-- A server that is in recovery or read-only takes connections, and no receipts.
SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean

-- name: find_last_place
-- Of the last row that this connection appended.
SELECT lastval()

-- name: count_backlog
-- How many receipts wait (counted up to `$1`; beyond that by their ids), and since when.
SELECT CASE WHEN c.rows < $1 THEN c.rows
        ELSE greatest(c.rows, (SELECT max(id) FROM inbox) - (SELECT min(id) FROM inbox) + 1) END AS rows,
    (SELECT received_at FROM inbox ORDER BY id LIMIT 1) AS oldest
FROM (SELECT count(*) AS rows FROM (SELECT FROM inbox LIMIT $1) few) c

-- name: count_set_aside
-- How many of each of the kinds `$1` were set aside, each counted up to `$2`. In the order of one index, and of no other: a
-- planner that knows of one kind only would read all rows to find none of the rest.
SELECT k.kind, (SELECT count(*) FROM (
    SELECT FROM rejected r WHERE r.kind BETWEEN k.kind AND k.kind ORDER BY r.kind, r.received_at, r.id LIMIT $2) few) AS rows
FROM unnest($1::text[]) AS k (kind)
