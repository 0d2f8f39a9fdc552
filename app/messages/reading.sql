-- The delivery log (`reading.py`), through SQLAlchemy: `:name` is a parameter. Each statement is in a plan test.

-- name: list_cells
-- The counters of status of delivery `delivery`, each with what its gateway and its error mean; one row without any for a
-- delivery that has no messages, none for no delivery.
SELECT c.label AS status, c.gateway_id, c.bucket AS qualification_id, c.value AS count, g.key AS gateway,
    q.failure_type::text AS failure_type, q.reason, q.error_code, coalesce(o.value, 0) AS doubtful
FROM deliveries d
LEFT JOIN counters c ON c.delivery_id = d.id AND c.metric = 'status' AND c.value > 0
LEFT JOIN counters o ON o.delivery_id = d.id AND o.metric = 'doubtful'
    AND o.gateway_id = c.gateway_id AND o.label = c.label AND o.bucket = c.bucket
LEFT JOIN gateways g ON g.id = c.gateway_id
LEFT JOIN qualifications q ON q.id = c.bucket
WHERE d.id = :delivery

-- name: in_cells
-- Whether the state `s` lies in one of the cells asked for.
EXISTS (
        SELECT FROM unnest(
            CAST(:statuses AS message_status[]), CAST(:gateways AS int[]), CAST(:qualifications AS int[])
        ) AS c (status, gateway_id, qualification_id)
        WHERE c.status = s.status AND c.gateway_id = coalesce(s.gateway_id, 0)
            AND c.qualification_id = coalesce(s.qualification_id, 0))

-- name: list_ids
-- A delivery's messages in order. The row comparison leaves the planner no index but (delivery_id, id).
SELECT m.id FROM messages m
WHERE (m.delivery_id, m.id) > (:delivery, :after) AND m.delivery_id <= :delivery AND NOT m.proof
ORDER BY m.delivery_id, m.id LIMIT :limit

-- name: in_time
-- Whether what decided the status happened then.
AND s.occurred_at >= :occurred_after AND s.occurred_at < :occurred_before

-- name: list_ids_of_named
-- Of some messages of the delivery those that fit the other filters.
SELECT s.message_id FROM unnest(CAST(:ids AS bigint[])) AS asked (id)
JOIN message_state s ON s.message_id = asked.id
WHERE s.delivery_id = :delivery AND NOT s.proof {in_time}
    AND (CAST(:contradictory AS boolean) IS NULL OR s.contradictory = CAST(:contradictory AS boolean))
    AND (CAST(:doubtful AS boolean) IS NULL OR CAST(:doubtful AS boolean) = EXISTS (
        SELECT FROM message_clicks k WHERE k.message_id = s.message_id AND k.doubtful))
    AND {in_cells}
ORDER BY s.message_id

-- name: one_gateway
AND s.gateway_id = r.gateway

-- name: no_gateway
AND s.gateway_id IS NULL

-- name: unqualified
AND s.qualification_id IS NULL

-- name: consistent
AND NOT s.contradictory

-- name: credible
AND NOT EXISTS (SELECT FROM message_clicks k WHERE k.message_id = s.message_id AND k.doubtful OFFSET 0)

-- name: list_ids_in_ranges
-- The lowest ids in the ranges `keys` of an index that begins with the delivery and `{column}` (of type `{kind}`), each narrowed
-- to one of `gateways` and by `{narrowed}`. The order by key and id, though the key is one, and the row comparison leave the planner only
-- such indexes. Else it takes the primary key where it thinks that rows are many, and reads all for a few.
SELECT p.message_id
FROM unnest(CAST(:keys AS {kind}[]), CAST(:gateways AS int[])) AS r (key, gateway)
CROSS JOIN LATERAL (
    SELECT s.message_id FROM message_state s
    WHERE s.delivery_id = :delivery AND (s.{column}, s.message_id) > (r.key, :after) AND s.{column} <= r.key
        AND NOT s.proof {narrowed}
    ORDER BY s.{column}, s.message_id LIMIT :limit
) p
ORDER BY p.message_id LIMIT :limit

-- name: list_doubtful_ids
-- Messages that a person clicked on though they are said not to have come.
SELECT k.message_id FROM message_clicks k JOIN message_state s ON s.message_id = k.message_id
WHERE (k.delivery_id, k.message_id) > (:delivery, :after) AND k.delivery_id <= :delivery AND k.doubtful
    AND {in_cells} {narrowed}
ORDER BY k.delivery_id, k.message_id LIMIT :limit

-- name: list_contradictory_ids
-- Messages that failed before they were received.
SELECT s.message_id FROM message_state s
WHERE s.delivery_id = :delivery AND (s.delivery_id, s.message_id) > (:delivery, :after)
    AND s.contradictory AND NOT s.proof AND coalesce(s.gateway_id, 0) = ANY(CAST(:gateways AS int[])) {narrowed}
ORDER BY s.delivery_id, s.message_id LIMIT :limit

-- name: count_contradictory
-- How many those are.
SELECT coalesce(sum(value), 0) FROM counters
WHERE delivery_id = :delivery AND metric = 'contradictory' AND gateway_id = ANY(CAST(:gateways AS int[]))

-- name: list_details
-- The messages `ids` with all that a list shows of them.
SELECT s.message_id AS id, s.delivery_id, m.address, m.recipient_id, m.reference, s.status::text AS status,
    s.parts, s.parts_received, g.key AS gateway, s.submitted_at, s.occurred_at, s.updated_at, s.accepted_at, s.sent_at,
    s.failed_at, s.received_at, s.contradictory, s.price, s.currency, s.unknown_receipts, s.deadline,
    q.failure_type::text AS failure_type, coalesce(q.reason, CASE WHEN s.status = 'cancelled' THEN m.cancelled_for END) AS reason,
    q.sentence, q.implementation, q.status AS error_status, q.error_code, m.created_at, m.cancelled_at, m.cancelled_for, m.expired_at, m.proof,
    m.proof OR m.position IS NOT NULL AS ours,
    coalesce(k.human, 0) AS clicks, coalesce(k.machine, 0) AS machine_clicks, coalesce(k.doubtful, false) AS doubtful
FROM unnest(CAST(:ids AS bigint[])) AS asked (id)
JOIN message_state s ON s.message_id = asked.id
JOIN messages m ON m.id = asked.id
LEFT JOIN gateways g ON g.id = s.gateway_id
LEFT JOIN qualifications q ON q.id = s.qualification_id
LEFT JOIN message_clicks k ON k.message_id = asked.id
ORDER BY asked.id

-- name: find_metadata
-- What whoever recorded the message `id`, sent elsewhere, said of it besides.
SELECT m.params FROM messages m WHERE m.id = :id AND NOT m.proof AND m.position IS NULL

-- name: list_labels
SELECT id, label FROM deliveries WHERE id = ANY(CAST(:deliveries AS bigint[]))

-- name: qualified
-- What an error means.
q.failure_type::text AS failure_type, q.reason, q.sentence, q.implementation, q.status AS error_status,
    q.error_code AS failure_code

-- name: list_submissions
SELECT s.*, g.key AS gateway, {qualified}
FROM submissions s
LEFT JOIN gateways g ON g.id = s.gateway_id
LEFT JOIN qualifications q ON q.id = s.qualification_id
WHERE s.message_id = :message ORDER BY s.id LIMIT {most_submissions}

-- name: list_correlations
SELECT c.id, c.gateway_id, c.kind::text AS kind, c.raw, c.origin::text AS origin, c.part,
    g.options ->> 'receipts_per' AS receipts_per
FROM correlations c JOIN gateways g ON g.id = c.gateway_id
WHERE c.message_id = :message ORDER BY c.id

-- name: receipt_columns
-- Of a receipt all but what may be long.
r.id, r.correlation_id, r.gateway_id, r.received_at, r.status, r.status_text, r.error_code, r.error_text,
    r.occurred_at, r.part, r.parts, r.price, r.currency, r.network, r.fingerprint, r.verified, r.qualification_id,
    octet_length(r.raw) AS raw_bytes

-- name: list_receipts
-- What may be long is cut here: a gateway's callback can have a megabyte, and all of them would be sent.
SELECT {receipt_columns}, substring(r.raw FROM 1 FOR {fetched}) AS raw,
    CASE WHEN length(r.details::text) <= {most_details} THEN r.details END AS details,
    c.raw AS key_raw, c.kind::text AS key_kind, g.key AS gateway, {qualified}
FROM correlations c
JOIN receipts r ON r.correlation_id = c.id
LEFT JOIN gateways g ON g.id = r.gateway_id
LEFT JOIN qualifications q ON q.id = r.qualification_id
WHERE c.message_id = :message ORDER BY r.id LIMIT {most_receipts}

-- name: find_receipt
SELECT {receipt_columns}, r.raw, r.details, c.raw AS key_raw, c.kind::text AS key_kind, g.key AS gateway, {qualified}
FROM receipts r
JOIN correlations c ON c.id = r.correlation_id AND c.message_id = :message
LEFT JOIN gateways g ON g.id = r.gateway_id
LEFT JOIN qualifications q ON q.id = r.qualification_id
WHERE r.id = :receipt

-- name: count_left_out
-- Facts of a message behind those that are shown, up to `most_counted` of a kind.
SELECT (SELECT count(*) FROM (SELECT FROM correlations c JOIN receipts r ON r.correlation_id = c.id
        WHERE c.message_id = :message ORDER BY r.id OFFSET {most_receipts} LIMIT {most_counted}) t)
    + (SELECT count(*) FROM (SELECT FROM submissions s WHERE s.message_id = :message
        OFFSET {most_submissions} LIMIT {most_counted}) t)
    + (SELECT count(*) FROM (SELECT FROM clicks c WHERE c.message_id = :message
        OFFSET {most_clicks} LIMIT {most_counted}) t)

-- name: list_clicks
SELECT c.id, c.link, l.label, c.clicked_at, c.human, c.reasons, c.device, coalesce(v.agent, c.agent) AS agent, c.network
FROM clicks c LEFT JOIN links l ON l.delivery_id = c.delivery_id AND l.number = c.link
LEFT JOIN visitors v ON v.id = c.visitor
WHERE c.message_id = :message ORDER BY c.id LIMIT {most_clicks}
