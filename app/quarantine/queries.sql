-- name: lock_addresses
-- Nobody else examines the addresses `$1` until the commit. By classes of addresses, so that a thousand of them take
-- few locks, and in one order for everybody.
SELECT pg_advisory_xact_lock({ADDRESSES}, class) FROM (
    SELECT DISTINCT (hashtext(address) & 255) AS class FROM unnest($1::text[]) AS a (address) ORDER BY 1
) classes

-- name: find_erased
SELECT pseudonym, returned_as FROM erased WHERE pseudonym = ANY($1::text[])

-- name: note_return
-- Numbers `$1` of pseudonyms `$2`: that there are facts about them again, if there are.
UPDATE erased e SET returned_as = n.address FROM unnest($1::text[], $2::text[]) AS n (address, pseudonym)
WHERE e.pseudonym = n.pseudonym AND e.returned_as IS DISTINCT FROM n.address
    AND (EXISTS (SELECT FROM messages m WHERE m.address = n.address)
        OR EXISTS (SELECT FROM decisions d WHERE d.address = n.address))

-- name: list_outcomes
-- What the messages to the addresses `$1` came to. Of an address with very many messages those of its newest deliveries.
-- States are looked up by message, and judged after that: while a delivery's first receipts come in, the planner still
-- believes that no message has an answer, and would begin with all that have.
-- `since`: a failure is held that was received while a breaker was open, unless an operator applied it.
-- `at`: a failure stands at the earlier of its own time and our hearing of it: the other side's clock may be ahead, and what
-- is decided after we know of the failure comes after it.
SELECT m.address, m.id, d.sender, CASE WHEN m.proof THEN NULL ELSE m.delivery_id END AS delivery_id, s.status::text AS status,
    CASE WHEN s.status = 'failed' THEN least({failed_at}, (
        SELECT min(h.received_at) FROM (SELECT id FROM correlations WHERE message_id = m.id OFFSET 0) c
        CROSS JOIN LATERAL (SELECT * FROM receipts WHERE correlation_id = c.id OFFSET 0) h WHERE h.status = 'failed'
    ), (
        SELECT min(h.recorded_at) FROM submissions h
        WHERE h.message_id = m.id AND (h.error_code IS NOT NULL OR h.error_text IS NOT NULL)
    )) ELSE coalesce(s.received_at, s.occurred_at) END AS at,
    s.gateway_id, s.qualification_id, coalesce(r.verified, true) AS verified,
    q.failure_type::text AS failure_type, q.reason, q.state::text AS state,
    s.status = 'failed' AND EXISTS (
        SELECT FROM breakers b
        WHERE b.gateway_id = s.gateway_id AND b.qualification_id = s.qualification_id AND r.received_at >= b.opened_at
            AND (b.closed_at IS NULL OR r.received_at < b.closed_at) AND b.decision IS DISTINCT FROM 'apply') AS held
FROM unnest($1::text[]) AS a (address)
CROSS JOIN LATERAL (
    SELECT l.* FROM messages l WHERE l.address = a.address ORDER BY l.delivery_id DESC LIMIT $2
) m
CROSS JOIN LATERAL (SELECT * FROM message_state WHERE message_id = m.id OFFSET 0) s
JOIN deliveries d ON d.id = m.delivery_id
LEFT JOIN receipts r ON r.id = s.receipt_id
LEFT JOIN qualifications q ON q.id = s.qualification_id
WHERE s.status IN {final}

-- name: list_decisions
SELECT * FROM decisions WHERE address = ANY($1::text[])

-- name: list_meanings
-- How the errors `$1` were qualified over time; those that never changed have no rows.
SELECT qualification_id, since, failure_type::text AS failure_type, reason, state::text AS state
FROM meanings WHERE qualification_id = ANY($1::int[]) ORDER BY qualification_id, id

-- name: find_standing
SELECT * FROM quarantine WHERE address = ANY($1::text[])

-- name: delete_rows
-- Rows of the addresses `$1` and senders `$2` that no longer hold.
DELETE FROM quarantine q USING unnest($1::text[], $2::text[]) AS g (address, sender)
WHERE q.address = g.address AND q.sender = g.sender

-- name: put_rows
-- Writes rows of the quarantine: one array a column.
INSERT INTO quarantine AS q (address, sender, status, reason, origin, errors, since, last_error_at, clears_at, delivery_id,
    message_id, gateway_id, qualification_id, decision_id, updated_at)
SELECT * FROM unnest($1::text[], $2::text[], $3::quarantine_status[], $4::text[], $5::text[], $6::smallint[],
    $7::timestamptz[], $8::timestamptz[], $9::timestamptz[], $10::bigint[], $11::bigint[], $12::int[], $13::int[],
    $14::bigint[], $15::timestamptz[])
ON CONFLICT (address, sender) DO UPDATE SET status = excluded.status, reason = excluded.reason, origin = excluded.origin,
    errors = excluded.errors, since = excluded.since, last_error_at = excluded.last_error_at, clears_at = excluded.clears_at,
    delivery_id = excluded.delivery_id, message_id = excluded.message_id, gateway_id = excluded.gateway_id,
    qualification_id = excluded.qualification_id, decision_id = excluded.decision_id, updated_at = excluded.updated_at

-- name: move_counters
-- Moves counters: arrays of delivery, metric, gateway, label, bucket, difference.
{into_counters}
SELECT * FROM unnest($1::bigint[], $2::text[], $3::int[], $4::text[], $5::bigint[], $6::bigint[]) AS m (a, b, c, d, e, f)
ORDER BY 1, 2, 3, 4, 5
{added_up}

-- name: find_touched
-- Addresses to examine because of successes: of the messages `$1`, received now, those that have errors (a success from
-- before a quarantine may undo it: it restarts the count); of the messages `$2`, received once and not as before, all. Maybe
-- those that begin as `$3`: their phone may have errors in another spelling.
SELECT m.address, q.address IS NULL AS maybe FROM messages m LEFT JOIN quarantine q ON q.address = m.address AND q.errors > 0
WHERE m.id = ANY($1::bigint[]) AND (q.address IS NOT NULL OR left(m.address, 3) = ANY($3::text[]))
UNION
SELECT m.address, false FROM messages m WHERE m.id = ANY($2::bigint[])

-- name: list_failures
-- The messages `$1`, each of which failed or had failed before, with what a breaker needs to know.
SELECT s.message_id, m.address, s.gateway_id, s.qualification_id, s.status::text AS status, r.received_at,
    q.failure_type::text AS failure_type, q.state::text AS state, coalesce(r.verified, true) AS verified
FROM message_state s
JOIN messages m ON m.id = s.message_id
LEFT JOIN receipts r ON r.id = s.receipt_id
LEFT JOIN qualifications q ON q.id = s.qualification_id
WHERE s.message_id = ANY($1::bigint[])

-- name: list_due
-- Up to `$2` addresses whose errors are forgotten at `$1`, or for which a decision for a time is over.
SELECT DISTINCT address FROM quarantine WHERE clears_at < $1 LIMIT $2

-- name: list_addresses
SELECT m.address FROM message_state s JOIN messages m ON m.id = s.message_id WHERE s.delivery_id = $1 AND s.status = 'failed'
UNION
SELECT address FROM quarantine WHERE delivery_id = $1
ORDER BY 1

-- name: list_failed_with
-- Addresses to which a message failed with error `$1` since `$2`, delivery by delivery through its index.
SELECT DISTINCT m.address
FROM (
    SELECT DISTINCT d.id FROM deliveries d CROSS JOIN (SELECT 0 AS id UNION ALL SELECT id FROM gateways) g
    JOIN counters c ON c.delivery_id = d.id AND c.metric = 'status' AND c.gateway_id = g.id AND c.label = 'failed' AND c.bucket = $1
) d
JOIN message_state s ON s.delivery_id = d.id AND s.qualification_id = $1 AND s.status = 'failed'
    AND {failed_at} >= $2
JOIN messages m ON m.id = s.message_id

-- name: enqueue_failed_with
INSERT INTO to_examine (address) SELECT address FROM ({list_failed_with}) f ORDER BY 1 ON CONFLICT DO NOTHING

-- name: enqueue_addresses
INSERT INTO to_examine (address) SELECT DISTINCT unnest($1::text[]) ORDER BY 1 ON CONFLICT DO NOTHING

-- name: dequeue_addresses
-- Takes up to `$1` addresses to examine that nobody else has. They come back if the transaction fails.
DELETE FROM to_examine WHERE address = ANY (ARRAY(
    SELECT address FROM to_examine ORDER BY address LIMIT $1 FOR UPDATE SKIP LOCKED)) RETURNING address

-- name: list_open_breakers
SELECT id, gateway_id, qualification_id FROM breakers WHERE closed_at IS NULL

-- name: lock_open_breakers
-- Those of the breakers `$1` that are open still, and stay so until the commit: whoever decides waits for what we hold.
SELECT id, gateway_id, qualification_id, opened_at FROM breakers WHERE id = ANY($1::int[]) AND closed_at IS NULL
ORDER BY id FOR SHARE

-- name: count_window
-- Failures with error `$2` of gateway `$1`, and all its messages with a final answer, from minute `$3` up to before `$4`.
SELECT
    coalesce((SELECT sum(value) FROM counters WHERE delivery_id = 0 AND metric = 'failures' AND gateway_id = $1
        AND label = $2::text AND bucket >= $3 AND bucket < $4), 0)::bigint AS failures,
    coalesce((SELECT sum(value) FROM counters WHERE delivery_id = 0 AND metric = 'finals' AND gateway_id = $1
        AND label = '' AND bucket >= $3 AND bucket < $4), 0)::bigint AS finals

-- name: open_breaker
-- Opens a breaker for gateway `$1` and error `$2`, that holds from `$3` on but nothing that an operator decided about.
-- Not after one for the same was applied later than `$7`: then it is no surprise.
INSERT INTO breakers (gateway_id, qualification_id, opened_at, failures, finals, usual_share)
SELECT $1, $2, greatest($3, max(closed_at)), $4, $5, $6
FROM (SELECT closed_at, decision FROM breakers WHERE gateway_id = $1 AND qualification_id = $2) b
HAVING NOT coalesce(bool_or(decision = 'apply' AND closed_at > $7), false)
ON CONFLICT (gateway_id, qualification_id) WHERE closed_at IS NULL DO NOTHING
RETURNING id, opened_at

-- name: hold_earlier
-- Breaker `$1`, for gateway `$2` and error `$3`, holds what was received from `$4` on before it opened. Delivery by
-- delivery through its index; those finished long ago have no such receipts. A state is not older than its receipt.
INSERT INTO held (breaker_id, message_id, address)
SELECT $1, m.id, m.address
FROM deliveries d
JOIN counters c ON c.delivery_id = d.id AND c.metric = 'status' AND c.gateway_id = $2 AND c.label = 'failed' AND c.bucket = $3
JOIN message_state s ON s.delivery_id = d.id AND s.qualification_id = $3 AND s.status = 'failed' AND s.gateway_id = $2
    AND s.updated_at >= $4::timestamptz - interval '10 minutes'
JOIN receipts r ON r.id = s.receipt_id AND r.received_at >= $4 AND r.verified
JOIN messages m ON m.id = s.message_id
WHERE c.value > 0 AND coalesce(d.finished_at, 'infinity') > $4 - interval '30 days'
ON CONFLICT (breaker_id, message_id) DO NOTHING
RETURNING address

-- name: hold_messages
INSERT INTO held (breaker_id, message_id, address) SELECT * FROM unnest($1::int[], $2::bigint[], $3::text[])
ON CONFLICT (breaker_id, message_id) DO NOTHING

-- name: release_messages
-- Of the messages `$2` those that did not fail after all, or not so, are held by the breakers `$1` no longer.
DELETE FROM held h USING message_state s, breakers b
WHERE h.breaker_id = ANY($1::int[]) AND h.message_id = ANY($2::bigint[]) AND s.message_id = h.message_id AND b.id = h.breaker_id
    AND (s.status, s.gateway_id, s.qualification_id) IS DISTINCT FROM ('failed', b.gateway_id, b.qualification_id)

-- name: forget_minutes
-- Counts by minute that are older than any comparison needs, some at a time.
DELETE FROM counters WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM counters WHERE delivery_id = 0 AND metric IN ('failures', 'finals') AND bucket < $1 LIMIT 5000))

-- name: close_breaker
UPDATE breakers SET closed_at = $2, decision = $3, decided_by = $4, note = $5 WHERE id = $1 AND closed_at IS NULL RETURNING *

-- name: take_held
-- What breaker `$1` held, which is forgotten here.
WITH gone AS (DELETE FROM held WHERE breaker_id = $1 RETURNING message_id, address)
SELECT g.address, m.delivery_id FROM gone g JOIN messages m ON m.id = g.message_id

-- name: add_decision
INSERT INTO decisions (address, sender, kind, at, recorded_at, reason, origin, actor, note, until)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)

-- name: add_meaning
INSERT INTO meanings (qualification_id, changed_at, since, failure_type, reason, state) VALUES ($1, $2, $3, $4, $5, $6)

-- name: has_waiting
SELECT EXISTS (SELECT FROM to_examine)

-- name: find_statuses
-- What holds longest comes last.
SELECT address, sender, status::text AS status, clears_at FROM quarantine WHERE address = ANY($1::text[])
ORDER BY clears_at NULLS LAST
