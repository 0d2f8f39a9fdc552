-- name: meet_keys
-- Makes sure that every key of the batch exists and, where nobody has told its message yet, holds it until the commit:
-- a submission that brings the answer waits for us or we for it, so that one of the two always sees the other.
WITH wanted AS (
    SELECT b.gateway_id, 'id'::correlation_kind AS kind, b.provider_message_id AS value,
        coalesce(b.raw_message_id, b.provider_message_id) AS raw, b.part, true AS bearing, b.received_at
    FROM batch b WHERE b.provider_message_id IS NOT NULL
    UNION ALL
    SELECT b.gateway_id, 'reference', b.reference, b.reference, NULL, b.provider_message_id IS NULL, b.received_at
    FROM batch b WHERE b.reference IS NOT NULL AND (b.provider_message_id IS NULL OR NOT EXISTS (
        SELECT FROM correlations c
        WHERE c.gateway_id = b.gateway_id AND c.kind = 'id' AND c.value = b.provider_message_id AND c.message_id IS NOT NULL))
),
missing AS (
    SELECT w.gateway_id, w.kind, w.value, min(w.raw) AS raw, min(w.part) AS part, bool_or(w.bearing) AS bearing,
        min(w.received_at) AS first_seen, max(w.received_at) AS last_seen
    FROM wanted w
    WHERE NOT EXISTS (
        SELECT FROM correlations c
        WHERE c.gateway_id = w.gateway_id AND c.kind = w.kind AND c.value = w.value AND c.message_id IS NOT NULL)
    GROUP BY w.gateway_id, w.kind, w.value
)
INSERT INTO correlations AS c (gateway_id, kind, value, raw, part, origin, bearing, created_at, seen_at)
SELECT gateway_id, kind, value, raw, part, 'receipt', bearing, first_seen, last_seen FROM missing
ORDER BY gateway_id, kind, value
ON CONFLICT (gateway_id, kind, value) DO UPDATE SET
    bearing = c.bearing OR excluded.bearing, seen_at = greatest(c.seen_at, excluded.seen_at)
RETURNING c.id

-- name: link_keys
-- Receipts that came with an unknown id and our reference: from now on the id belongs to the reference's message. Nothing is
-- looked up for a batch without such ones, and each key by itself: a plan that rests on statistics is wrong on a fresh database.
WITH told AS MATERIALIZED (
    SELECT DISTINCT gateway_id, provider_message_id, reference FROM batch
    WHERE provider_message_id IS NOT NULL AND reference IS NOT NULL
),
pairs AS MATERIALIZED (
    SELECT DISTINCT ON (i.id) i.id, r.id AS via, r.message_id
    FROM told b
    CROSS JOIN LATERAL (
        SELECT l.id, l.message_id FROM correlations l
        WHERE l.gateway_id = b.gateway_id AND l.kind = 'id' AND l.value = b.provider_message_id OFFSET 0
    ) i
    CROSS JOIN LATERAL (
        SELECT l.id, l.message_id FROM correlations l
        WHERE l.gateway_id = b.gateway_id AND l.kind = 'reference' AND l.value = b.reference OFFSET 0
    ) r
    WHERE i.message_id IS NULL
    ORDER BY i.id, r.message_id NULLS LAST, r.id
)
UPDATE correlations c SET via = coalesce(c.via, p.via), message_id = p.message_id FROM pairs p
WHERE c.id = p.id AND (c.via IS NULL OR p.message_id IS NOT NULL)

-- name: list_unqualified
-- Errors of the batch that nobody has a row for yet.
SELECT g.kind, g.implementation, upper(b.status_text) AS status, b.failure_key AS error_code, min(b.error_text) AS first_text
FROM batch b JOIN gateways g ON g.id = b.gateway_id
WHERE b.status = 'failed' AND NOT EXISTS (
    SELECT FROM qualifications q
    WHERE q.implementation = g.implementation AND q.status = upper(b.status_text) AND q.error_code = b.failure_key)
GROUP BY 1, 2, 3, 4 ORDER BY 2, 3, 4

-- name: note_seen
-- First and last time of each error of the batch; errors seen within the last minute are left alone.
UPDATE qualifications q SET last_seen_at = e.last_at, first_seen_at = coalesce(q.first_seen_at, e.first_at),
    first_text = coalesce(q.first_text, e.first_text)
FROM (
    SELECT g.implementation, upper(b.status_text) AS status, b.failure_key AS error_code, min(b.received_at) AS first_at,
        max(b.received_at) AS last_at, min(b.error_text) AS first_text
    FROM batch b JOIN gateways g ON g.id = b.gateway_id WHERE b.status = 'failed' GROUP BY 1, 2, 3
) e
WHERE q.id = ANY (ARRAY(
    SELECT k.id FROM qualifications k WHERE (k.implementation, k.status, k.error_code) = (e.implementation, e.status, e.error_code)
        AND coalesce(k.last_seen_at, '-infinity') < e.last_at - interval '1 minute'
    FOR UPDATE SKIP LOCKED))

-- name: record_receipts
-- The claimed receipts become facts, each once, under the key that finds their message. Says how many, and of which messages.
WITH found AS MATERIALIZED (
    SELECT b.*, c.correlation_id, c.message_id
    FROM batch b
    CROSS JOIN LATERAL (
        SELECT l.id AS correlation_id, l.message_id FROM correlations l
        WHERE l.gateway_id = b.gateway_id
            AND l.kind = CASE WHEN b.provider_message_id IS NULL THEN 'reference' ELSE 'id' END::correlation_kind
            AND l.value = coalesce(b.provider_message_id, b.reference)
        OFFSET 0
    ) c
),
recorded AS (
    INSERT INTO receipts (id, correlation_id, qualification_id, gateway_id, received_at, status, status_text, error_code,
        error_text, occurred_at, part, parts, price, currency, network, fingerprint, verified, raw, details)
    SELECT f.id, f.correlation_id, q.id, f.gateway_id, f.received_at, f.status, f.status_text, f.error_code, f.error_text,
        f.occurred_at, f.part, f.parts, f.price, f.currency, f.network, f.fingerprint, f.verified, f.raw, f.details
    FROM found f
    JOIN gateways g ON g.id = f.gateway_id
    LEFT JOIN qualifications q ON f.status = 'failed'
        AND q.implementation = g.implementation AND q.status = upper(f.status_text) AND q.error_code = f.failure_key
)
SELECT count(*) AS recorded, array_agg(DISTINCT message_id) FILTER (WHERE message_id IS NOT NULL) AS messages FROM found

-- name: note_first_receipts
-- Which of the deliveries `$1` have their first receipt now (`$2`). One that somebody is changing is left to a later batch.
UPDATE deliveries SET first_receipt_at = $2 WHERE id = ANY (ARRAY(
    SELECT id FROM deliveries WHERE id = ANY($1::bigint[]) AND first_receipt_at IS NULL ORDER BY id FOR UPDATE SKIP LOCKED))
RETURNING id

-- name: add_platform_figures
-- The platform's own counters: receipts taken and words not known, by gateway.
{into_counters}
SELECT 0, metric, gateway_id, label, 0, value FROM (
    SELECT 'receipts' AS metric, gateway_id, '' AS label, count(*) AS value FROM batch GROUP BY gateway_id
    UNION ALL
    SELECT 'unknown', gateway_id, left(status_text, 40), count(*) FROM batch WHERE status IS NULL GROUP BY 2, 3
) moved
ORDER BY 2, 3, 4
{added_up}

-- name: expire_messages
-- Up to `$2` messages whose deadline passed before `$1` while nothing final was known. Clocks share the work.
WITH due AS MATERIALIZED (
    SELECT message_id FROM message_state
    WHERE status IN {in_transit} AND deadline < $1
    ORDER BY deadline LIMIT $2 FOR UPDATE SKIP LOCKED
)
UPDATE messages m SET expired_at = $1 FROM due WHERE m.id = due.message_id AND m.expired_at IS NULL RETURNING m.id

-- name: list_running
-- The next `$2` deliveries in progress behind `$1`.
SELECT id FROM deliveries WHERE status = 'in_progress' AND id > $1 ORDER BY id LIMIT $2

-- name: list_over
-- Those of the deliveries `$2` in progress without a message that could still change by itself; those that were never handed
-- over (`pending`) keep one open until its validity period is over, which pauses make longer.
SELECT d.id, sum(c.value) AS messages, coalesce(sum(c.value) FILTER (WHERE c.label = 'pending'), 0) AS pending
FROM deliveries d
JOIN counters c ON c.delivery_id = d.id AND c.metric = 'status'
WHERE d.status = 'in_progress' AND d.id = ANY($2::bigint[])
GROUP BY d.id
HAVING sum(c.value) > 0
    AND coalesce(sum(c.value) FILTER (WHERE c.label IN {in_transit}), 0) = 0
    AND (coalesce(sum(c.value) FILTER (WHERE c.label = 'pending'), 0) = 0
        OR d.paused_at IS NULL AND d.started_at + make_interval(secs => d.validity_seconds + d.paused_seconds) < $1)

-- name: lock_over
-- Those of them to which nobody is recording anything now, nor can before the commit.
SELECT o.id FROM ({list_over} OFFSET 0) o WHERE pg_try_advisory_xact_lock({RECORDING}, hashint8(o.id))

-- name: finish_deliveries
-- Ends those of `$2` that are over. Call `lock_over` first: this one sees what was recorded until then.
UPDATE deliveries d SET status = 'finished', finished_at = $1, updated_at = $1, paused_at = NULL
FROM ({list_over}) o
WHERE d.id = o.id AND d.id = ANY($2::bigint[]) AND d.status = 'in_progress' RETURNING d.id, o.messages, o.pending

-- name: find_oldest_unmatched
SELECT created_at FROM correlations WHERE message_id IS NULL AND bearing ORDER BY id LIMIT 1

-- name: lock_survey
-- Whether the survey is ours until the commit; nobody waits for it.
SELECT pg_try_advisory_xact_lock({SURVEYING}, 0)

-- name: count_unmatched_by_gateway
-- Of the next `$2` unmatched keys behind `$1`: how many each gateway has, and the last one.
WITH chunk AS MATERIALIZED (
    SELECT gateway_id, id FROM correlations WHERE message_id IS NULL AND bearing AND id > $1 ORDER BY id LIMIT $2
)
SELECT gateway_id, count(*) AS rows, (SELECT max(id) FROM chunk) AS last_id FROM chunk GROUP BY gateway_id

-- name: set_waiting_figures
-- The platform's figure `$1`, arrays of gateway and value; those of other gateways are nothing.
WITH counted AS (SELECT * FROM unnest($2::int[], $3::bigint[]) AS c (gateway_id, value)),
emptied AS (
    SELECT t.gateway_id, 0::bigint AS value FROM counters t
    WHERE t.delivery_id = 0 AND t.metric = $1 AND t.value <> 0 AND t.gateway_id <> ALL($2::int[])
)
{into_counters}
SELECT 0, $1, gateway_id, '', 0, value FROM (SELECT * FROM counted UNION ALL SELECT * FROM emptied) figures ORDER BY gateway_id
{put_right} WHERE t.value <> excluded.value

-- name: same_message
-- That `l` is a piece of the same long message as `i`. References are short, and used again: pieces come within minutes.
l.address = i.address AND l.part_reference = i.part_reference AND l.gateway_id = i.gateway_id AND l.parts = i.parts
            AND l.recipient IS NOT DISTINCT FROM i.recipient
            AND l.received_at BETWEEN i.received_at - interval '10 minutes' AND i.received_at + interval '10 minutes'

-- name: list_replies
-- The claimed replies with their gateways' rules. One that repeats another names it: same gateway, same id of the gateway's (or
-- same piece of the same long message), same phone, same text (ids alone are used again by some). `whole` is the text of all
-- pieces that have come so far, as much of it as is judged, `from_first` whether their first is among them; `judged` a piece that
-- stands for them already. Only so many are looked at, so that whoever sends one id or one piece for ever holds nobody up.
SELECT i.id, i.gateway_id, g.key AS gateway, g.reply_rules, g.options->>'country' AS country, i.received_at, i.address, i.recipient, i.text,
    i.verified, i.opt_out, i.part_reference, i.parts, coalesce(w.text, i.text) AS whole, coalesce(w.from_first, true) AS from_first,
    w.judged, w.judged_action, w.piece_again,
    (SELECT min(o.id) FROM (
        SELECT * FROM inbound l
        WHERE l.gateway_id = i.gateway_id AND l.provider_message_id = i.provider_message_id AND l.address = i.address
        LIMIT 1000) o
        WHERE o.text = i.text AND o.part IS NOT DISTINCT FROM i.part AND o.id <> i.id AND o.repeat_of IS NULL
            AND (o.applied_at IS NOT NULL OR o.id < i.id)
    ) AS repeat_of
FROM reply_batch i
JOIN gateways g ON g.id = i.gateway_id
LEFT JOIN LATERAL (
    WITH piece AS MATERIALIZED (
        SELECT l.* FROM (
            (SELECT * FROM inbound WHERE i.part_reference IS NOT NULL AND address = i.address AND id <= i.id ORDER BY id DESC LIMIT 300)
            UNION ALL
            (SELECT * FROM inbound WHERE i.part_reference IS NOT NULL AND address = i.address AND id > i.id ORDER BY id LIMIT 300)
        ) l WHERE {same_message}
    )
    SELECT known.text, known.from_first, j.id AS judged, j.action AS judged_action,
        (SELECT min(p.id) FROM piece p WHERE p.part = i.part AND p.text = i.text AND p.id < i.id AND p.repeat_of IS NULL) AS piece_again
    FROM (
        SELECT left(string_agg(k.text, '' ORDER BY k.part), 5000) AS text, min(k.part) = 1 AS from_first FROM (
            SELECT DISTINCT ON (p.part) p.part, p.text FROM piece p
            ORDER BY p.part, abs(extract(epoch FROM p.received_at - i.received_at)), p.id
        ) k
    ) known
    LEFT JOIN (
        SELECT p.id, p.action FROM piece p
        WHERE p.id <> i.id AND p.applied_at IS NOT NULL AND p.repeat_of IS NULL AND p.part_of IS NULL
        ORDER BY p.part <> i.part, p.id DESC LIMIT 1
    ) j ON true
) w ON i.part_reference IS NOT NULL
ORDER BY i.id

-- name: find_answered
-- Which message each of the claimed replies `$1` most likely answers (`$2`: a name of its phone, one row each): of the newest 50 to
-- each name, one that was sent from the number written to, by the gateway that the reply came by, and last. One that nobody
-- reported yet may be on its way.
SELECT DISTINCT ON (i.id) i.id, m.id AS message_id, m.delivery_id
FROM unnest($1::bigint[], $2::text[]) AS phone (id, name)
JOIN reply_batch i ON i.id = phone.id
CROSS JOIN LATERAL (
    SELECT l.id, l.delivery_id, l.proof, l.created_at FROM messages l WHERE l.address = phone.name
    ORDER BY l.delivery_id DESC, l.id DESC LIMIT 50
) m
CROSS JOIN LATERAL (SELECT * FROM message_state WHERE message_id = m.id OFFSET 0) s
JOIN deliveries d ON d.id = m.delivery_id
WHERE NOT m.proof AND s.status <> 'cancelled' AND (s.status <> 'pending' OR d.status = 'in_progress')
    AND coalesce(s.submitted_at, m.created_at) <= i.received_at + interval '10 minutes'
ORDER BY i.id, ltrim(d.sender, '+') = ltrim(coalesce(i.recipient, ''), '+') DESC, s.status <> 'pending' DESC,
    coalesce(s.gateway_id = i.gateway_id, false) DESC, coalesce(s.submitted_at, m.created_at) DESC, m.id DESC

-- name: add_decisions
-- What replies decided: arrays of address, sender, kind, time, reason, gateway's key, reply.
INSERT INTO decisions (address, sender, kind, at, reason, actor, inbound_id, origin, recorded_at)
SELECT d.*, 'reply', $8 FROM unnest($1::text[], $2::text[], $3::decision_kind[], $4::timestamptz[], $5::text[], $6::text[],
    $7::bigint[]) AS d (address, sender, kind, at, reason, actor, inbound_id)

-- name: note_verdicts
-- What came of the claimed replies `$1`: arrays of keyword, action, the reply that each one repeats, the one that it is a piece of,
-- message and delivery that it answers.
UPDATE reply_batch b SET keyword = a.keyword, action = a.action, repeat_of = a.repeat_of, part_of = a.part_of,
    message_id = a.message_id, delivery_id = a.delivery_id
FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[])
    AS a (id, keyword, action, repeat_of, part_of, message_id, delivery_id)
WHERE b.id = a.id

-- name: add_inbound_figures
-- Figures of replies: arrays of delivery (0: the platform's, by gateway), gateway, what they are counted as, how many.
{into_counters}
SELECT b.delivery_id, CASE WHEN b.delivery_id = 0 THEN 'inbound' ELSE 'replies' END, b.gateway_id, b.label, 0, b.value
FROM unnest($1::bigint[], $2::int[], $3::text[], $4::bigint[]) AS b (delivery_id, gateway_id, label, value)
ORDER BY 1, 2, 3, 4
{added_up}
