-- name: counted
-- What the rows of message_state in `sides` add to the counters (`sign` 1) or take away (-1); every number of a summary
-- is a sum of these. History is by minute since 1970. Latency classes grow by 5 %: class n holds seconds from 1.05^n to
-- 1.05^(n+1), and everything under 0.1 s is in the first. Cost is in millionths of the currency.
(SELECT delivery_id, metric, gateway_id, label, bucket, value::bigint AS value FROM (
    SELECT delivery_id, 'status' AS metric, coalesce(gateway_id, 0) AS gateway_id, status::text AS label,
        coalesce(qualification_id, 0)::bigint AS bucket, sum(sign) AS value
    FROM sides GROUP BY 1, 3, 4, 5
    UNION ALL
    SELECT 0, 'qualification', 0, '', qualification_id, sum(sign) FROM sides WHERE qualification_id IS NOT NULL GROUP BY 5
    UNION ALL
    SELECT delivery_id, 'history', 0, 'accepted', floor(date_part('epoch', accepted_at) / 60)::bigint, sum(sign)
    FROM sides WHERE accepted_at IS NOT NULL GROUP BY 1, 5
    UNION ALL
    SELECT delivery_id, 'history', 0, 'sent', floor(date_part('epoch', sent_at) / 60)::bigint, sum(sign)
    FROM sides WHERE sent_at IS NOT NULL GROUP BY 1, 5
    UNION ALL
    SELECT delivery_id, 'history', 0, 'failed', floor(date_part('epoch', failed_at) / 60)::bigint, sum(sign)
    FROM sides WHERE failed_at IS NOT NULL AND status = 'failed' GROUP BY 1, 5
    UNION ALL
    SELECT delivery_id, 'history', 0, 'received', floor(date_part('epoch', received_at) / 60)::bigint, sum(sign)
    FROM sides WHERE received_at IS NOT NULL AND status = 'received' GROUP BY 1, 5
    UNION ALL
    SELECT delivery_id, 'latency', 0, '',
        floor(ln(greatest(date_part('epoch', received_at - submitted_at), 0.1)) / ln(1.05::float8))::bigint, sum(sign)
    FROM sides WHERE status = 'received' AND submitted_at IS NOT NULL GROUP BY 1, 5
    UNION ALL
    SELECT delivery_id, 'parts', 0, '', 0, sum(sign * parts) FROM sides GROUP BY 1
    UNION ALL
    SELECT delivery_id, 'parts_received', 0, '', 0, sum(sign * parts_received) FROM sides GROUP BY 1
    UNION ALL
    SELECT delivery_id, 'contradictory', coalesce(gateway_id, 0), '', 0, sum(sign * contradictory::int) FROM sides GROUP BY 1, 3
    UNION ALL
    SELECT delivery_id, 'unknown_receipts', 0, '', 0, sum(sign * unknown_receipts) FROM sides GROUP BY 1
    UNION ALL
    -- A person opened a link of a message that is said not to have come. In the same cells as `status`.
    SELECT s.delivery_id, 'doubtful', coalesce(s.gateway_id, 0), s.status::text, coalesce(s.qualification_id, 0)::bigint, sum(s.sign)
    FROM sides s CROSS JOIN LATERAL (
        SELECT FROM message_clicks l WHERE l.message_id = s.message_id AND l.human > 0 OFFSET 0
    ) clicked
    WHERE s.status IN {not_come} GROUP BY 1, 3, 4, 5
    UNION ALL
    SELECT delivery_id, 'cost', 0, coalesce(currency, ''), 0, sum(sign * (price * 1000000)::bigint)
    FROM sides WHERE price IS NOT NULL GROUP BY 1, 4
) every_metric WHERE value <> 0)

-- name: verdict
-- The fold, set-based: the state of the messages `$1` from their facts alone. `messages/states.py` says the same in Python.
subject AS MATERIALIZED (
    SELECT m.id AS message_id, m.delivery_id, m.proof, m.cancelled_at, m.expired_at, m.created_at,
        coalesce(h.gateway_id, m.gateway_id, d.gateway_id) AS gateway_id,
        h.submitted_at,
        h.submitted_at + make_interval(secs => d.validity_seconds) AS deadline,
        coalesce(h.with_id, false) AS with_id, coalesce(h.with_error, false) AS with_error,
        greatest(
            'pending'::message_status,
            CASE WHEN m.cancelled_at IS NOT NULL THEN 'cancelled'::message_status END,
            CASE WHEN h.submitted_at IS NOT NULL THEN 'submitted'::message_status END,
            CASE WHEN h.with_id THEN 'accepted'::message_status END
        ) AS handed,
        CASE WHEN h.with_id THEN h.with_id_at END AS handed_accepted_at
    FROM unnest($1::bigint[]) AS asked (id)
    JOIN messages m ON m.id = asked.id
    JOIN deliveries d ON d.id = m.delivery_id
    LEFT JOIN LATERAL (
        SELECT min(s.submitted_at) AS submitted_at,
            bool_or(cardinality(s.provider_message_ids) > 0) AS with_id,
            min(s.submitted_at) FILTER (WHERE cardinality(s.provider_message_ids) > 0) AS with_id_at,
            bool_or(s.error_code IS NOT NULL OR s.error_text IS NOT NULL) AS with_error,
            CASE WHEN count(*) = 1 THEN min(s.gateway_id) ELSE (
                SELECT l.gateway_id FROM submissions l WHERE l.message_id = m.id ORDER BY l.submitted_at DESC, l.id DESC LIMIT 1
            ) END AS gateway_id
        FROM submissions s WHERE s.message_id = m.id
    ) h ON true
),
-- Every key by which a message is known. A part is an id that a submission gave; where none gave any, each id that a
-- receipt brought with our reference. All other keys speak for the message as a whole.
known AS MATERIALIZED (
    SELECT u.message_id, u.submitted_at, c.id AS correlation_id,
        c.kind = 'id' AND (c.origin = 'submission' OR NOT u.with_id) AND (g.options ->> 'receipts_per') IS DISTINCT FROM 'message'
            AS is_part
    FROM subject u
    CROSS JOIN LATERAL (
        SELECT l.id, l.kind, l.origin, l.gateway_id FROM correlations l WHERE l.message_id = u.message_id OFFSET 0
    ) c
    JOIN gateways g ON g.id = c.gateway_id
),
-- Each distinct receipt once, the first of its repeats, with their time when it is sane and ours when it is not.
evidence AS MATERIALIZED (
    SELECT DISTINCT ON (k.correlation_id, r.fingerprint)
        k.message_id, CASE WHEN k.is_part THEN k.correlation_id ELSE 0 END AS part, r.id, r.status, r.qualification_id,
        CASE WHEN r.occurred_at <= r.received_at + interval '10 minutes'
                AND (k.submitted_at IS NULL OR r.occurred_at >= k.submitted_at)
            THEN r.occurred_at ELSE r.received_at END AS at,
        r.price, r.currency
    FROM known k
    CROSS JOIN LATERAL (SELECT * FROM receipts l WHERE l.correlation_id = k.correlation_id OFFSET 0) r
    ORDER BY k.correlation_id, r.fingerprint, r.id
),
-- A submission that failed outright is evidence about the whole message; its id is negative, below every receipt.
testimony AS MATERIALIZED (
    SELECT message_id, part, id, status, qualification_id, at, price, currency FROM evidence
    UNION ALL
    SELECT s.message_id, 0, -s.id, 'failed', s.qualification_id, s.submitted_at, NULL, NULL
    FROM subject u
    CROSS JOIN LATERAL (SELECT * FROM submissions l WHERE l.message_id = u.message_id OFFSET 0) s
    WHERE u.with_error AND (s.error_code IS NOT NULL OR s.error_text IS NOT NULL)
),
-- Per message and part: the strongest evidence (rank, then time, then id), and when each status was first reached.
heard AS MATERIALIZED (
    SELECT message_id, part, max(status) AS status,
        min(at) FILTER (WHERE status = 'accepted') AS accepted_at,
        min(at) FILTER (WHERE status = 'sent') AS sent_at,
        min(at) FILTER (WHERE status = 'failed') AS failed_at,
        min(at) FILTER (WHERE status = 'received') AS received_at,
        count(*) FILTER (WHERE status IS NULL) AS unknown_receipts,
        (array_agg(price ORDER BY at DESC, id DESC) FILTER (WHERE price IS NOT NULL))[1] AS price,
        (array_agg(currency ORDER BY at DESC, id DESC) FILTER (WHERE price IS NOT NULL))[1] AS currency
    FROM testimony GROUP BY message_id, part
),
listed AS MATERIALIZED (
    SELECT message_id, count(*) FILTER (WHERE is_part) AS parts FROM known GROUP BY message_id
),
rolled AS MATERIALIZED (
    SELECT u.message_id, coalesce(l.parts, 0) AS parts,
        count(*) FILTER (WHERE h.part > 0 AND h.status = 'received') AS parts_received,
        CASE
            WHEN bool_or(h.part > 0 AND h.status = 'failed') THEN 'failed'
            WHEN count(*) FILTER (WHERE h.part > 0 AND h.status IS NOT NULL) < coalesce(l.parts, 0)
                THEN least(min(h.status) FILTER (WHERE h.part > 0), u.handed)
            ELSE min(h.status) FILTER (WHERE h.part > 0)
        END AS by_parts,
        max(h.status) FILTER (WHERE h.part = 0) AS as_whole,
        min(h.accepted_at) AS accepted_at, min(h.sent_at) AS sent_at, min(h.failed_at) AS failed_at,
        max(h.received_at) FILTER (WHERE h.part > 0) AS parts_received_at,
        min(h.received_at) FILTER (WHERE h.part = 0) AS whole_received_at,
        coalesce(sum(h.unknown_receipts), 0) AS unknown_receipts,
        sum(h.price) AS price, max(h.currency) AS currency
    FROM subject u
    LEFT JOIN listed l USING (message_id)
    LEFT JOIN heard h USING (message_id)
    GROUP BY u.message_id, u.handed, l.parts
),
settled AS MATERIALIZED (
    SELECT u.message_id, u.delivery_id, u.gateway_id, u.proof, u.submitted_at, u.deadline, u.created_at, u.expired_at,
        greatest(r.by_parts, r.as_whole, u.handed,
            CASE WHEN u.expired_at IS NOT NULL THEN 'no_receipt'::message_status END) AS status,
        greatest(r.parts, 1) AS parts,
        CASE WHEN r.as_whole = 'received' THEN greatest(r.parts, 1) ELSE r.parts_received END AS parts_received,
        least(r.accepted_at, u.handed_accepted_at) AS accepted_at, r.sent_at, r.failed_at,
        CASE WHEN r.by_parts = 'received' THEN least(r.parts_received_at, r.whole_received_at)
            ELSE r.whole_received_at END AS received_at,
        r.unknown_receipts, r.price, r.currency
    FROM subject u JOIN rolled r USING (message_id)
),
-- The receipt that decided: the latest among those that say what the message's status says.
decisive AS MATERIALIZED (
    SELECT DISTINCT ON (t.message_id) t.message_id, t.id, t.qualification_id, t.at
    FROM settled s JOIN testimony t ON t.message_id = s.message_id AND t.status = s.status
    ORDER BY t.message_id, t.at DESC, t.id DESC
),
verdict AS MATERIALIZED (
    SELECT s.message_id, s.delivery_id, s.gateway_id, s.proof, s.status,
        CASE WHEN s.status = 'failed' THEN d.qualification_id END AS qualification_id,
        CASE WHEN d.id > 0 THEN d.id END AS receipt_id,
        coalesce(d.at, CASE WHEN s.status = 'no_receipt' THEN s.expired_at END, s.submitted_at, s.created_at) AS occurred_at,
        s.submitted_at, s.deadline, s.parts::smallint AS parts, s.parts_received::smallint AS parts_received,
        s.accepted_at, s.sent_at, s.failed_at, s.received_at,
        s.status = 'received' AND s.failed_at IS NOT NULL AS contradictory,
        s.unknown_receipts::int AS unknown_receipts, s.price::numeric(18, 6) AS price, s.currency
    FROM settled s LEFT JOIN decisive d USING (message_id)
)

-- name: lock_states
-- Holds the states of the messages `$1` until the commit, in one order for everybody, so that folds never overlap.
{locked_states}

-- name: refold_messages
-- Folds the messages `$1` anew and moves the counters by what changed; a fold that changes nothing counts for nothing.
-- Call `lock_states` first, in a statement of its own: this one must see what the former holders committed.
WITH {verdict},
before AS MATERIALIZED (
    SELECT s.* FROM message_state s WHERE s.message_id = ANY($1::bigint[])
),
changed AS (
    INSERT INTO message_state AS s (
        message_id, delivery_id, gateway_id, proof, status, qualification_id, receipt_id, occurred_at, updated_at,
        submitted_at, deadline, parts, parts_received, accepted_at, sent_at, failed_at, received_at, contradictory,
        unknown_receipts, price, currency)
    SELECT v.message_id, v.delivery_id, v.gateway_id, v.proof, v.status, v.qualification_id, v.receipt_id, v.occurred_at,
        $2::timestamptz, v.submitted_at, v.deadline, v.parts, v.parts_received, v.accepted_at, v.sent_at, v.failed_at,
        v.received_at, v.contradictory, v.unknown_receipts, v.price, v.currency
    FROM verdict v LEFT JOIN before b USING (message_id)
    WHERE b.message_id IS NULL OR (
        v.gateway_id, v.status, v.qualification_id, v.receipt_id, v.occurred_at, v.submitted_at, v.deadline, v.parts,
        v.parts_received, v.accepted_at, v.sent_at, v.failed_at, v.received_at, v.contradictory, v.unknown_receipts,
        v.price, v.currency)
        IS DISTINCT FROM (
        b.gateway_id, b.status, b.qualification_id, b.receipt_id, b.occurred_at, b.submitted_at, b.deadline, b.parts,
        b.parts_received, b.accepted_at, b.sent_at, b.failed_at, b.received_at, b.contradictory, b.unknown_receipts,
        b.price, b.currency)
    ORDER BY v.message_id
    ON CONFLICT (message_id) DO UPDATE SET
        gateway_id = excluded.gateway_id, status = excluded.status, qualification_id = excluded.qualification_id,
        receipt_id = excluded.receipt_id, occurred_at = excluded.occurred_at, updated_at = excluded.updated_at,
        submitted_at = excluded.submitted_at, deadline = excluded.deadline, parts = excluded.parts,
        parts_received = excluded.parts_received, accepted_at = excluded.accepted_at, sent_at = excluded.sent_at,
        failed_at = excluded.failed_at, received_at = excluded.received_at, contradictory = excluded.contradictory,
        unknown_receipts = excluded.unknown_receipts, price = excluded.price, currency = excluded.currency
    RETURNING s.*
),
-- The same is said of the message where it is looked up; few messages come to these statuses or leave them.
shaken AS MATERIALIZED (
    SELECT c.message_id, c.status IN {not_come} AS not_come FROM changed c LEFT JOIN before b USING (message_id)
    WHERE c.status IN {not_come} OR b.status IN {not_come}
),
doubted AS (
    UPDATE message_clicks k SET doubtful = s.not_come FROM shaken s
    WHERE k.message_id = ANY (ARRAY(SELECT message_id FROM shaken)) AND k.message_id = s.message_id
        AND k.human > 0 AND k.doubtful <> s.not_come
),
sides AS MATERIALIZED (
    SELECT s.*, 1 AS sign FROM changed s WHERE NOT s.proof
    UNION ALL
    SELECT s.*, -1 FROM before s WHERE NOT s.proof AND s.message_id IN (SELECT message_id FROM changed)
),
moved AS {counted},
booked AS (
    {into_counters}
    SELECT delivery_id, metric, gateway_id, label, bucket, value FROM moved ORDER BY 1, 2, 3, 4, 5
    {added_up}
    RETURNING 1
)
SELECT c.delivery_id, c.gateway_id, count(*) AS changed, count(*) FILTER (WHERE c.receipt_id IS NOT NULL AND NOT c.proof) AS by_receipt,
    count(*) FILTER (WHERE c.status IN {final} AND coalesce(b.status NOT IN {final}, true)) AS finals,
    array_agg(c.message_id) FILTER (WHERE c.status = 'failed' OR b.status = 'failed') AS failures,
    array_agg(c.message_id) FILTER (WHERE c.status = 'failed'
        AND (b.status, b.qualification_id) IS DISTINCT FROM (c.status, c.qualification_id)) AS new_failures,
    array_agg(c.message_id) FILTER (WHERE c.status = 'received' AND b.status IS DISTINCT FROM 'received') AS successes,
    array_agg(c.message_id) FILTER (WHERE b.status = 'received'
        AND (b.status, b.received_at, b.receipt_id) IS DISTINCT FROM (c.status, c.received_at, c.receipt_id)) AS revised,
    (SELECT count(*) FROM booked) AS counters
FROM changed c LEFT JOIN before b USING (message_id) GROUP BY c.delivery_id, c.gateway_id

-- name: list_click_counters
-- The counters that the clicks of delivery `$1` give: people's and machines' by link, messages and messages of a link that
-- a person clicked on, people's clicks by minute. Proofs never count.
WITH visits AS MATERIALIZED (
    SELECT c.delivery_id, c.message_id, c.link, c.human, c.clicked_at, c.times
    FROM clicks c JOIN messages m ON m.id = c.message_id WHERE c.delivery_id = $1 AND NOT m.proof
)
SELECT delivery_id, 'clicks' AS metric, 0 AS gateway_id, CASE WHEN human THEN 'human' ELSE 'machine' END AS label,
    link::bigint AS bucket, sum(times)::bigint AS value FROM visits GROUP BY 1, 4, 5
UNION ALL
SELECT delivery_id, 'history', 0, 'clicks', floor(date_part('epoch', clicked_at) / 60)::bigint, count(*)
FROM visits WHERE human GROUP BY 1, 5
UNION ALL
SELECT delivery_id, 'unique_clicks', 0, '', 0, count(DISTINCT message_id) FROM visits WHERE human GROUP BY 1
UNION ALL
SELECT delivery_id, 'unique_link_clicks', 0, '', link, count(DISTINCT message_id) FROM visits WHERE human GROUP BY 1, 5

-- name: beside
-- Which counters do not come from the fold.
metric IN ('excluded', 'new_quarantines', 'replies', 'kept_away', 'clicks', 'unique_clicks', 'unique_link_clicks')
    OR metric = 'history' AND label = 'clicks'

-- name: list_counters_beside
-- What stands beside the messages of delivery `$1` in its counters: exclusions, addresses that its receipts put away, replies,
-- messages that the outbox kept away, clicks.
SELECT delivery_id, 'excluded' AS metric, 0 AS gateway_id, reason AS label, 0::bigint AS bucket, count(*) AS value
FROM exclusions WHERE delivery_id = $1 GROUP BY 1, 4
UNION ALL
SELECT delivery_id, 'new_quarantines', 0, status::text, 0, count(*)
FROM quarantine WHERE delivery_id = $1 AND status IN ('quarantined', 'denylisted') GROUP BY 1, 4
UNION ALL
SELECT delivery_id, 'replies', 0, coalesce(action, 'unmatched'), 0, count(*) FROM inbound WHERE delivery_id = $1 GROUP BY 1, 4
UNION ALL
SELECT delivery_id, 'kept_away', 0, cancelled_for, 0, count(*) FROM messages
WHERE delivery_id = $1 AND cancelled_for IS NOT NULL GROUP BY 1, 4
UNION ALL
SELECT delivery_id, metric, gateway_id, label, bucket, value FROM ({list_click_counters}) clicked

-- name: mend_counters
-- Sets the counters of delivery `$1` to what its states give, and returns the sum of all differences found.
-- The caller holds the delivery's row and has refolded its messages.
WITH sides AS NOT MATERIALIZED (
    SELECT s.*, 1 AS sign FROM message_state s WHERE s.delivery_id = $1 AND NOT s.proof
),
right_ones AS MATERIALIZED (
    SELECT * FROM {counted} c WHERE c.delivery_id = $1
    UNION ALL
    SELECT * FROM ({list_counters_beside}) b
),
compared AS MATERIALIZED (
    SELECT delivery_id, metric, gateway_id, label, bucket, coalesce(r.value, 0) AS value,
        coalesce(r.value, 0) - coalesce(t.value, 0) AS difference
    FROM right_ones r
    FULL JOIN (SELECT * FROM counters WHERE delivery_id = $1) t USING (delivery_id, metric, gateway_id, label, bucket)
),
mended AS (
    {into_counters}
    SELECT delivery_id, metric, gateway_id, label, bucket, value FROM compared WHERE difference <> 0 ORDER BY 1, 2, 3, 4, 5
    {put_right}
)
SELECT coalesce(sum(abs(difference)), 0) FROM compared

-- name: list_status_counters
-- Messages of delivery `$1` by status.
SELECT label, sum(value) AS value FROM counters WHERE delivery_id = $1 AND metric = 'status' GROUP BY label ORDER BY label

-- name: mend_clicks
-- Sets the counters of delivery `$1` that come from clicks to what those give; returns the ones that were wrong.
WITH compared AS MATERIALIZED (
    SELECT metric, gateway_id, label, bucket, coalesce(t.value, 0) AS before, coalesce(r.value, 0) AS after
    FROM ({list_click_counters}) r
    FULL JOIN (
        SELECT * FROM counters
        WHERE delivery_id = $1 AND ({beside}) AND metric NOT IN ('excluded', 'new_quarantines', 'replies', 'kept_away')
    ) t USING (delivery_id, metric, gateway_id, label, bucket)
    WHERE coalesce(t.value, 0) <> coalesce(r.value, 0)
),
mended AS (
    {into_counters}
    SELECT $1, metric, gateway_id, label, bucket, after FROM compared ORDER BY 2, 3, 4, 5
    {put_right}
)
SELECT * FROM compared ORDER BY 1, 2, 3, 4

-- name: create_former
-- Moves the projections of delivery `$1` out of the way, to be compared with those built anew. Several statements.
CREATE TEMPORARY TABLE former_state ON COMMIT DROP AS SELECT * FROM message_state WHERE false;
CREATE TEMPORARY TABLE former_counters ON COMMIT DROP AS SELECT * FROM counters WHERE false

-- name: take_states
WITH gone AS (DELETE FROM message_state WHERE delivery_id = $1 RETURNING *) INSERT INTO former_state SELECT * FROM gone

-- name: take_counters
-- Those of the messages; what stands beside them does not come from the fold.
WITH gone AS (
    DELETE FROM counters WHERE delivery_id = $1 AND NOT ({beside}) RETURNING *
)
INSERT INTO former_counters SELECT * FROM gone

-- name: take_qualified
-- The platform counts messages by error, too: what the states set apart had added there goes.
UPDATE counters t SET value = t.value - q.messages FROM (
    SELECT qualification_id, count(*) AS messages FROM former_state WHERE qualification_id IS NOT NULL AND NOT proof GROUP BY 1
) q
WHERE t.delivery_id = 0 AND t.metric = 'qualification' AND t.bucket = q.qualification_id

-- name: compare_states
-- Messages of delivery `$1` whose state is not what it was, apart from when it was last written.
SELECT coalesce(f.message_id, s.message_id) AS message_id, f.status::text AS before, s.status::text AS after
FROM former_state f FULL JOIN (SELECT * FROM message_state WHERE delivery_id = $1) s USING (message_id)
WHERE to_jsonb(f) - 'updated_at' IS DISTINCT FROM to_jsonb(s) - 'updated_at'
ORDER BY 1

-- name: compare_counters
-- Counters of delivery `$1` that are not what they were.
SELECT metric, gateway_id, label, bucket, coalesce(f.value, 0) AS before, coalesce(t.value, 0) AS after
FROM former_counters f
FULL JOIN (SELECT * FROM counters WHERE delivery_id = $1 AND NOT ({beside})) t
    USING (delivery_id, metric, gateway_id, label, bucket)
WHERE coalesce(f.value, 0) <> coalesce(t.value, 0)
ORDER BY 1, 2, 3, 4

-- name: lock_delivery
-- Nobody changes delivery `$1`, or ends it, until the commit.
SELECT 1 FROM deliveries WHERE id = $1 FOR UPDATE

-- name: list_ids
SELECT id FROM messages WHERE delivery_id = $1 AND id > $2 ORDER BY id LIMIT $3
