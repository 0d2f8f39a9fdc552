-- name: find_delivery
-- Delivery `$1` as it is read, with its gateway and its preparation.
SELECT d.*, g.key AS gateway, p.started_at AS preparation_started_at, p.finished_at AS preparation_finished_at,
    p.total AS preparation_total, p.done AS preparation_done,
    p.findings AS preparation_findings, p.figures AS preparation_figures
FROM deliveries d
LEFT JOIN gateways g ON g.id = d.gateway_id
LEFT JOIN preparations p ON p.delivery_id = d.id
WHERE d.id = $1

-- name: lock_delivery
{find_delivery} FOR UPDATE OF d

-- name: lock_preparation
-- Whether the preparation of delivery `$1` is ours as long as this connection lives or until `unlock_preparation`.
SELECT pg_try_advisory_lock({PREPARING}, hashint8($1))

-- name: unlock_preparation
SELECT pg_advisory_unlock({PREPARING}, hashint8($1))

-- name: begin_preparation
-- A new preparation of delivery `$1` with all its targets, from now (`$2`) on, for `$3`. `total` is the last one's position.
INSERT INTO preparations (delivery_id, actor, started_at, step, total, done, findings, figures)
SELECT id, $3, $2, 'discarding', (SELECT coalesce(max(t.position), 0) FROM targets t WHERE t.delivery_id = $1), 0, '[]', '{}'
FROM deliveries WHERE id = $1
ON CONFLICT (delivery_id) DO UPDATE SET
    actor = excluded.actor, started_at = excluded.started_at, finished_at = NULL, step = excluded.step,
    total = excluded.total, done = 0, first_message_id = NULL, findings = '[]', figures = '{}'

-- name: list_waiting
-- Deliveries to be prepared, the oldest wish first.
SELECT d.id FROM deliveries d JOIN preparations p ON p.delivery_id = d.id WHERE d.status = 'preparing' ORDER BY p.started_at

-- name: find_preparation
-- The preparation of delivery `$1` and what it works by.
SELECT p.*, d.sender, d.content, d.gateway_id, d.default_region, d.tracking, d.rules
FROM preparations p JOIN deliveries d ON d.id = p.delivery_id WHERE d.id = $1

-- name: lock_preparing
-- Holds delivery `$1` until the commit if it is being prepared and step `$2` is as far as target `$3`; else no row.
SELECT 1 FROM deliveries d JOIN preparations p ON p.delivery_id = d.id
WHERE d.id = $1 AND d.status = 'preparing' AND p.step = $2 AND p.done = $3 FOR UPDATE OF d

-- name: discard_messages
-- Takes back `$3` messages behind `$2` that an earlier preparation of delivery `$1` made, with their states and figures.
WITH gone AS MATERIALIZED (
    DELETE FROM messages WHERE id IN (
        SELECT id FROM messages WHERE delivery_id = $1 AND id > $2 AND NOT proof ORDER BY id LIMIT $3
    ) RETURNING id
),
stateless AS MATERIALIZED (
    DELETE FROM message_state WHERE message_id IN (SELECT id FROM gone)
    RETURNING coalesce(gateway_id, 0) AS gateway_id, status::text AS label, parts
),
unbooked AS (
    UPDATE counters t SET value = t.value - m.value FROM (
        SELECT 'status' AS metric, gateway_id, label, count(*) AS value FROM stateless GROUP BY 2, 3
        UNION ALL
        SELECT 'parts', 0, '', sum(parts) FROM stateless HAVING count(*) > 0
    ) m
    WHERE t.delivery_id = $1 AND t.metric = m.metric AND t.gateway_id = m.gateway_id AND t.label = m.label AND t.bucket = 0
)
SELECT count(*) AS rows, max(id) AS last FROM gone

-- name: discard_exclusions
-- Takes back `$3` exclusions behind target `$2` of delivery `$1` with their figures.
WITH gone AS MATERIALIZED (
    DELETE FROM exclusions WHERE delivery_id = $1 AND position IN (
        SELECT position FROM exclusions WHERE delivery_id = $1 AND position > $2::bigint ORDER BY position LIMIT $3
    ) RETURNING position, reason
),
unbooked AS (
    UPDATE counters t SET value = t.value - g.value
    FROM (SELECT reason, count(*) AS value FROM gone GROUP BY 1) g
    WHERE t.delivery_id = $1 AND t.metric = 'excluded' AND t.gateway_id = 0 AND t.label = g.reason AND t.bucket = 0
)
SELECT count(*) AS rows, max(position) AS last FROM gone

-- name: begin_targets
-- Nothing of an earlier result of delivery `$1` is left: its targets are next, with a block of new message ids.
-- `$2` is what was counted so far.
UPDATE preparations SET step = 'targets', done = 0, figures = $2, first_message_id = reserve_message_ids(total)
WHERE delivery_id = $1 RETURNING first_message_id

-- name: list_targets
-- The next `$3` targets of delivery `$1` behind position `$2`; some between them may be taken out.
SELECT position, given, recipient_id, params, control FROM targets
WHERE delivery_id = $1 AND position > $2::int ORDER BY position LIMIT $3::int

-- name: decide_outcomes
-- Turns one chunk of targets of delivery `$1` into messages or exclusions, each into exactly one, and books them.
-- `$2` now, `$3` the message id of target 1, `$4` gateway, `$5` sender, `$6`/`$7` most messages in so many days (or none),
-- `$8` since when, `$9` positions, `$10` addresses, `$11` recipients, `$12` another name of the phone (empty when none has
-- one): its pseudonym, or another spelling; what the numbers, the rules and the texts alone say: `$13` a reason before all
-- others (doubles in another spelling, too), `$14` one after the quarantine (too many messages to all spellings, too), `$15` details, `$16` parts of the text, `$17` a
-- placeholder without a value. The rules stand in the order of domain.md §7; the first that matches gives the reason. Answers
-- how many targets ended how, none as reason: as messages.
WITH chunk AS MATERIALIZED (
    SELECT *, first_value(position) OVER same AS first_here, first_value(recipient_id) OVER same AS recipient_here
    FROM unnest($9::int[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::jsonb[],
        $16::int[], $17::text[]) AS c (position, address, recipient_id, other, early, late, detail, parts, missing)
    WINDOW same AS (PARTITION BY address, early IS NULL ORDER BY position)
),
-- Of each address the first target of the chunk looks for one of an earlier chunk, and tells its repeats. An address has at
-- most one exclusion that is no double: the first. Pairs are compared as pairs because no other index can serve that: with
-- small tables any index on the delivery looks as good, and the plan is kept while the tables grow.
met AS MATERIALIZED (
    SELECT c.*, coalesce(m.position, e.position) AS stands,
        CASE WHEN m.position IS NOT NULL THEN m.recipient_id ELSE e.recipient_id END AS recipient_there
    FROM chunk c
    LEFT JOIN LATERAL (
        SELECT l.position, l.recipient_id FROM messages l
        WHERE c.early IS NULL AND c.first_here = c.position AND NOT l.proof
            AND (l.address, l.delivery_id) BETWEEN (c.address, $1::bigint) AND (c.address, $1::bigint)
        LIMIT 1
    ) m ON true
    LEFT JOIN LATERAL (
        SELECT l.position, l.recipient_id FROM exclusions l
        WHERE c.early IS NULL AND c.first_here = c.position AND m.position IS NULL
            AND (l.address, l.delivery_id) BETWEEN (c.address, $1::bigint) AND (c.address, $1::bigint)
            AND l.reason NOT IN ('address_not_specified', 'invalid_address', 'double')
        LIMIT 1
    ) e ON true
),
known AS MATERIALIZED (
    SELECT *, first_value(stands) OVER same AS standing, first_value(recipient_there) OVER same AS recipient_standing
    FROM met WINDOW same AS (PARTITION BY address, early IS NULL ORDER BY position)
),
decided AS MATERIALIZED (
    SELECT c.position, c.address, c.recipient_id, c.parts, found.reason,
        CASE WHEN found.reason IS NULL THEN c.missing END AS missing,
        CASE
            WHEN found.reason IS NULL THEN NULL
            WHEN c.early IS NOT NULL OR c.late = found.reason THEN c.detail
            WHEN found.reason = 'double' THEN jsonb_build_object(
                'position', coalesce(c.standing, c.first_here),
                'recipient_id', CASE WHEN c.standing IS NULL THEN c.recipient_here ELSE c.recipient_standing END)
            WHEN found.reason IN ('denylisted', 'quarantined') THEN
                jsonb_build_object('reason', q.reason, 'origin', q.origin, 'since', q.since, 'sender', q.sender)
            WHEN found.reason = 'excluded_by_arbitration' THEN
                jsonb_build_object('messages', a.messages, 'limit', $6::int, 'days', $7::int)
            ELSE c.detail
        END AS detail
    FROM known c
    LEFT JOIN LATERAL (
        SELECT l.status::text AS status, l.reason, l.origin, l.since, l.sender
        FROM quarantine l
        WHERE c.early IS NULL AND l.address IN (c.address, c.other) AND l.sender IN ('', $5)
            AND l.status::text IN ('quarantined', 'denylisted')  -- as text: no index by status may seem to serve this
        ORDER BY l.status::text = 'denylisted' DESC LIMIT 1
    ) q ON true
    LEFT JOIN LATERAL (
        SELECT count(*) AS messages FROM messages l
        JOIN message_state s ON s.message_id = l.id
        JOIN deliveries d ON d.id = l.delivery_id
        WHERE $6::int IS NOT NULL AND c.early IS NULL AND l.address IN (c.address, c.other) AND l.delivery_id <> $1
            AND NOT l.proof AND {counts_at} > $8
    ) a ON true
    CROSS JOIN LATERAL (
        SELECT CASE
            WHEN c.early IS NOT NULL THEN c.early
            WHEN c.first_here < c.position OR c.standing IS NOT NULL THEN 'double'
            WHEN q.status IS NOT NULL THEN q.status
            WHEN c.late IN ('control_group', 'excluded_by_rule') THEN c.late
            WHEN a.messages >= $6 THEN 'excluded_by_arbitration'
            ELSE c.late
        END AS reason
    ) found
),
made AS (
    INSERT INTO messages (id, delivery_id, address, recipient_id, gateway_id, position, created_at)
    SELECT $3::bigint + position - 1, $1, address, recipient_id, $4, position, $2 FROM decided WHERE reason IS NULL
    ORDER BY position
),
stated AS (
    INSERT INTO message_state (
        message_id, delivery_id, gateway_id, proof, status, occurred_at, updated_at, parts, parts_received, contradictory,
        unknown_receipts)
    SELECT $3::bigint + position - 1, $1, $4, false, 'pending', $2, $2, 1, 0, false, 0 FROM decided WHERE reason IS NULL
    ORDER BY position
),
left_out AS (
    INSERT INTO exclusions (delivery_id, position, address, recipient_id, reason, detail, excluded_at)
    SELECT $1, position, address, recipient_id, reason, detail, $2 FROM decided WHERE reason IS NOT NULL
    ORDER BY position
),
counted AS MATERIALIZED (
    SELECT reason, missing, count(*) AS targets, sum(parts) AS parts,
        CASE WHEN missing IS NOT NULL THEN (array_agg(position ORDER BY position))[1:10] ELSE '{}' END AS first_ones
    FROM decided GROUP BY 1, 2
),
booked AS (
    {into_counters}
    SELECT $1, metric, gateway_id, label, 0, value FROM (
        SELECT 'excluded' AS metric, 0 AS gateway_id, reason AS label, targets AS value FROM counted WHERE reason IS NOT NULL
        UNION ALL
        SELECT 'parts', 0, '', sum(targets) FROM counted WHERE reason IS NULL HAVING count(*) > 0
        UNION ALL
        SELECT 'status', coalesce($4::int, 0), 'pending', sum(targets) FROM counted WHERE reason IS NULL HAVING count(*) > 0
    ) every_metric ORDER BY metric, gateway_id, label
    {added_up}
)
SELECT reason, missing, targets, parts, first_ones FROM counted

-- name: note_progress
-- Targets of delivery `$1` up to `$2` have their outcome; `$3` is what was counted so far.
UPDATE preparations SET done = $2, figures = $3 WHERE delivery_id = $1

-- name: finish_preparation
-- Delivery `$1` is prepared, now (`$2`), with these findings (`$3`) and figures (`$4`). The caller holds it.
WITH told AS (UPDATE preparations SET step = 'finished', finished_at = $2, findings = $3, figures = $4 WHERE delivery_id = $1)
UPDATE deliveries SET status = 'prepared', updated_at = $2 WHERE id = $1

-- name: fail_preparation
-- Gives the preparation of delivery `$1` up for good, now (`$2`), unless it is over already.
UPDATE deliveries SET status = 'failed', updated_at = $2, scheduled_at = NULL WHERE id = $1 AND status = 'preparing' RETURNING id

-- name: set_targets
-- Delivery `$1` has `$2` targets now (`$3`) and is to be prepared (again). The caller holds it.
UPDATE deliveries SET targets = $2, status = 'editing', updated_at = $3, scheduled_at = NULL WHERE id = $1

-- name: delete_targets
DELETE FROM targets WHERE delivery_id = $1

-- name: find_targets_state
-- How many targets delivery `$1` has, and the last one's position.
SELECT status::text AS status, targets, (SELECT coalesce(max(t.position), 0) FROM targets t WHERE t.delivery_id = $1) AS last_position
FROM deliveries WHERE id = $1

-- name: find_target
-- Target `$2` of delivery `$1`.
SELECT position, given, recipient_id, coalesce(params, '{}'::jsonb) AS params, control FROM targets
WHERE delivery_id = $1 AND position = $2

-- name: find_targets_of
-- The first target of delivery `$1` with each of the recipient ids `$2`. The audience is gone through once for all of them: no
-- index serves this rare question.
SELECT DISTINCT ON (recipient_id) recipient_id, coalesce(params, '{}'::jsonb) AS params FROM targets
WHERE delivery_id = $1 AND recipient_id = ANY($2::text[]) ORDER BY recipient_id, position

-- name: take_out_target
DELETE FROM targets WHERE delivery_id = $1 AND position = $2

-- name: update_target
UPDATE targets SET given = $3, recipient_id = $4, params = $5, control = $6 WHERE delivery_id = $1 AND position = $2

-- name: find_step
SELECT step, done FROM preparations WHERE delivery_id = $1

-- name: cancel_pending
-- Marks the next `$4` messages of delivery `$1` behind `$3` that are still `pending` as cancelled.
WITH waiting AS MATERIALIZED (
    SELECT message_id FROM message_state
    WHERE delivery_id = $1 AND (status, message_id) > ('pending', $3) AND status <= 'pending'
    ORDER BY status, message_id LIMIT $4 FOR UPDATE
)
UPDATE messages m SET cancelled_at = $2 FROM waiting w WHERE m.id = w.message_id RETURNING m.id

-- name: list_all_proofs
SELECT id FROM messages WHERE delivery_id = $1 AND proof ORDER BY id
