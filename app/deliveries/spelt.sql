-- Other spellings of a phone.

-- name: list_standing
-- The targets of delivery `$1` that stand for the addresses `$2`: as messages, or as exclusions that are no doubles.
SELECT l.address, l.position, l.recipient_id FROM unnest($2::text[]) AS a (address)
CROSS JOIN LATERAL (
    SELECT m.address, m.position, m.recipient_id FROM messages m
    WHERE (m.address, m.delivery_id) BETWEEN (a.address, $1::bigint) AND (a.address, $1::bigint) AND NOT m.proof LIMIT 1
) l
UNION ALL
SELECT l.address, l.position, l.recipient_id FROM unnest($2::text[]) AS a (address)
CROSS JOIN LATERAL (
    SELECT e.address, e.position, e.recipient_id FROM exclusions e
    WHERE (e.address, e.delivery_id) BETWEEN (a.address, $1::bigint) AND (a.address, $1::bigint)
        AND e.reason NOT IN ('address_not_specified', 'invalid_address', 'double') LIMIT 1
) l

-- name: count_messages
-- By address, how many messages of other deliveries than `$1` the names `$2` got since `$3`.
SELECT l.address, count(*) AS messages FROM messages l
JOIN message_state s ON s.message_id = l.id
JOIN deliveries d ON d.id = l.delivery_id
WHERE l.address = ANY($2::text[]) AND l.delivery_id <> $1 AND NOT l.proof AND {counts_at} > $3
GROUP BY l.address
