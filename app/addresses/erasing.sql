-- Where a number stands, and its pseudonym in its place. `$1` of what looks at every row is a pattern that finds all spellings;
-- in large tables only rows that hold the last digits, whatever marks stand between them, are found.

-- name: add_erased
-- The number of pseudonym `$1` counts as erased, from its first erasure (`$2`) on; held until the commit.
INSERT INTO erased (pseudonym, erased_at, certificate) VALUES ($1, $2, $3)
ON CONFLICT (pseudonym) DO UPDATE SET returned_as = NULL
RETURNING certificate

-- name: set_certificate
UPDATE erased SET certificate = $2 WHERE pseudonym = $1

-- name: list_certificates
-- The newest `$3`, before (`$1`, `$2`).
SELECT pseudonym, erased_at, certificate FROM erased
WHERE $1::timestamptz IS NULL OR (erased_at, pseudonym) < ($1, $2) ORDER BY erased_at DESC, pseudonym DESC LIMIT $3

-- name: find_certificate
SELECT pseudonym, erased_at, certificate FROM erased WHERE pseudonym = $1

-- name: list_message_ids
SELECT id FROM messages WHERE address = ANY($1::text[]) ORDER BY id

-- name: lock_deliveries
-- Deliveries `$1` that are being prepared: until the commit nobody turns their targets into messages.
SELECT id FROM deliveries WHERE id = ANY($1::bigint[]) AND status = 'preparing' ORDER BY id FOR UPDATE

-- name: rename_quarantine
-- But what stands under the pseudonym for the same sender already, of another spelling: the health is computed after that.
UPDATE quarantine q SET address = $2
WHERE q.address = $1 AND NOT EXISTS (SELECT FROM quarantine o WHERE o.address = $2 AND o.sender = q.sender)

-- name: rename_held
UPDATE held SET address = $2 WHERE address = $1

-- name: rename_to_examine
WITH gone AS (DELETE FROM to_examine WHERE address = $1 RETURNING 1)
INSERT INTO to_examine (address) SELECT $2 FROM gone ON CONFLICT DO NOTHING

-- --- where the number may stand: rows by their keys ---------------------------------------------------------------
-- What begins with `scan_` looks at every row of a table, for `$1`, a pattern; the rest goes by an index.

-- name: scan_inbox
SELECT id FROM inbox
WHERE encode(raw, 'escape') ~ $1 OR concat_ws(' ', provider_message_id, raw_message_id, reference, status_text, error_code,
    error_text, network, failure_key, details::text) ~ $1

-- name: scan_rejected
SELECT id FROM rejected WHERE encode(raw, 'escape') ~ $1 OR concat_ws(' ', reason, request::text) ~ $1

-- name: scan_receipts
-- Receipts that nobody's message is known of, and so not whose they are: closely. Those of others: by the last digits.
SELECT r.id FROM correlations c JOIN receipts r ON r.correlation_id = c.id
WHERE c.message_id IS NULL AND c.bearing AND (encode(r.raw, 'escape') ~ $1
    OR concat_ws(' ', r.status_text, r.error_code, r.error_text, r.network, r.details::text) ~ $1)
UNION
SELECT id FROM receipts WHERE position(convert_to($2::text, 'UTF8') IN raw) > 0
    OR translate(concat_ws(' ', status_text, error_code, error_text, network, details::text), E' -.()/_\t\u00a0', '')
        LIKE '%' || $2::text || '%'

-- name: scan_correlations
-- Keys that nobody has told a message of, and those of others, by the last digits.
SELECT id FROM correlations
WHERE translate(value || ' ' || raw, E' -.()/_\t\u00a0', '') LIKE '%' || $2::text || '%'
    OR message_id IS NULL AND (value ~ $1 OR raw ~ $1)

-- name: scan_inbound
-- What others wrote about the number, or what came from it in a form that is no possible number.
SELECT id FROM inbound
WHERE encode(raw, 'escape') ~ $1 OR concat_ws(' ', address, recipient, text, provider_message_id, part_reference) ~ $1

-- name: scan_deliveries
SELECT id FROM deliveries WHERE concat_ws(' ', label, content, metadata::text) ~ $1

-- name: scan_exclusions
-- Addresses that could not be read are kept as they were given; and those of others that speak of the number.
SELECT delivery_id, position FROM exclusions
WHERE reason = 'invalid_address' AND address ~ $1
    OR translate(concat_ws(' ', recipient_id, detail::text), E' -.()/_\t\u00a0', '') LIKE '%' || $2::text || '%'

-- name: scan_qualifications
SELECT id FROM qualifications WHERE concat_ws(' ', status, error_code, first_text) ~ $1

-- name: scan_breakers
SELECT id FROM breakers WHERE note ~ $1

-- name: scan_decisions
SELECT id FROM decisions WHERE note ~ $1

-- name: scan_preparations
SELECT delivery_id FROM preparations WHERE concat_ws(' ', findings::text, figures::text) ~ $1

-- name: scan_targets
-- Targets that are the number, prepared or not, and those of others that speak of it.
SELECT delivery_id, position FROM targets
WHERE translate(concat_ws(' ', given, recipient_id, params::text), E' -.()/_\t\u00a0', '') LIKE '%' || $1::text || '%'

-- name: scan_messages
-- Messages to others that speak of the number.
SELECT id FROM messages
WHERE translate(concat_ws(' ', recipient_id, reference, params::text), E' -.()/_\t\u00a0', '') LIKE '%' || $1::text || '%'

-- name: scan_submissions
SELECT id FROM submissions
WHERE translate(concat_ws(' ', array_to_string(provider_message_ids, ' '), error_code, error_text), E' -.()/_\t\u00a0', '')
    LIKE '%' || $1::text || '%'

-- name: scan_other_clicks
SELECT id FROM clicks WHERE translate(concat_ws(' ', agent, visit::text), E' -.()/_\t\u00a0', '') LIKE '%' || $1::text || '%'

-- name: scan_visitors
SELECT id FROM visitors WHERE concat_ws(' ', agent, visit::text) ~ $1

-- name: scan_gateways
SELECT id FROM gateways WHERE concat_ws(' ', label, reply_rules::text) ~ $1

-- name: scan_idempotency
SELECT owner, key FROM idempotency WHERE key ~ $1

-- name: scan_counters
-- Words of gateways that nobody knows are counted by what they are.
SELECT delivery_id, metric, gateway_id, label, bucket FROM counters WHERE label ~ $1

-- name: rename_counter
-- The figure (`$1` to `$5`) counts for `$6`.
WITH gone AS (
    DELETE FROM counters WHERE delivery_id = $1 AND metric = $2 AND gateway_id = $3 AND label = $4 AND bucket = $5
    RETURNING delivery_id, metric, gateway_id, bucket, value
)
{into_counters}
SELECT delivery_id, metric, gateway_id, $6, bucket, value FROM gone
{added_up}

-- name: scan_journals
SELECT chain, seq, text, data FROM audit WHERE text ~ $1 OR data::text ~ $1 ORDER BY chain, seq

-- name: scan_private
-- Values beside the journals' chains: closely; and those of entries about the number of pseudonym `$2`.
SELECT p.chain, p.seq, p.name, p.value, a.data ->> 'pseudonym' = $2 AND a.code <> 'ADR-ERASED' AS about
FROM audit_private p JOIN audit a ON a.chain = p.chain AND a.seq = p.seq
WHERE p.value ~ $1 OR a.data ->> 'pseudonym' = $2 ORDER BY p.chain, p.seq, p.name

-- name: delete_private
DELETE FROM audit_private p USING unnest($1::bigint[], $2::bigint[], $3::text[]) AS k (chain, seq, name)
WHERE p.chain = k.chain AND p.seq = k.seq AND p.name = k.name

-- name: list_own_exclusions
SELECT delivery_id, position FROM exclusions WHERE address = ANY($1::text[])

-- name: list_own_targets
SELECT delivery_id, position FROM messages WHERE address = ANY($1::text[]) AND position IS NOT NULL
UNION
SELECT delivery_id, position FROM exclusions WHERE address = ANY($1::text[])

-- name: list_own_submissions
SELECT id FROM submissions WHERE message_id = ANY($1::bigint[])

-- name: list_own_correlations
-- Keys of its messages, and the references that came with those.
SELECT id FROM correlations WHERE message_id = ANY($1::bigint[])
UNION
SELECT via FROM correlations WHERE message_id = ANY($1::bigint[]) AND via IS NOT NULL

-- name: lock_keys
-- Held until the commit.
SELECT id, kind::text AS kind, value, raw FROM correlations WHERE id = ANY($1::bigint[]) ORDER BY id FOR UPDATE

-- name: list_own_receipts
SELECT r.id FROM correlations c JOIN receipts r ON r.correlation_id = c.id WHERE c.message_id = ANY($1::bigint[])

-- name: list_own_inbound
SELECT id FROM inbound WHERE address = ANY($1::text[]) AND applied_at IS NOT NULL

-- name: list_own_decisions
SELECT id FROM decisions WHERE address = ANY($1::text[])

-- name: list_own_clicks
SELECT id FROM clicks WHERE message_id = ANY($1::bigint[])

-- name: list_own_visitors
SELECT DISTINCT visitor FROM clicks WHERE message_id = ANY($1::bigint[]) AND visitor IS NOT NULL

-- name: list_own_waiting_clicks
SELECT seq FROM click_inbox WHERE message_id = ANY($1::bigint[])

-- name: list_own_preparations
-- Of deliveries in which it stands: what was found names the longest values.
SELECT delivery_id FROM preparations WHERE delivery_id IN (
    SELECT delivery_id FROM messages WHERE address = ANY($1::text[])
    UNION SELECT delivery_id FROM exclusions WHERE address = ANY($1::text[]))

-- name: list_said
-- What is known of the person by its messages and exclusions.
SELECT recipient_id, reference, params FROM messages WHERE address = ANY($1::text[])
UNION ALL
SELECT recipient_id, NULL, NULL FROM exclusions WHERE address = ANY($1::text[])

-- name: list_said_in
-- What targets (`$1` deliveries, `$2` positions) say, and those around the first of them (`own` false).
SELECT t.delivery_id, t.given, t.recipient_id, t.params, true AS own
FROM unnest($1::bigint[], $2::int[]) AS k (delivery_id, position) JOIN targets t USING (delivery_id, position)
UNION ALL
SELECT t.delivery_id, t.given, t.recipient_id, t.params, false FROM (
    SELECT delivery_id, position FROM unnest($1::bigint[], $2::int[]) AS k (delivery_id, position) LIMIT 20) f
JOIN targets t ON t.delivery_id = f.delivery_id AND t.position BETWEEN f.position - 200 AND f.position + 200
    AND t.position <> f.position

-- name: has_unapplied
SELECT EXISTS (SELECT FROM inbound WHERE address = ANY($1::text[]) AND applied_at IS NULL)

-- name: scan_clicks
SELECT seq FROM click_inbox WHERE concat_ws(' ', agent, visit::text, network) ~ $1

-- name: scan_links
SELECT delivery_id, number FROM links WHERE concat_ws(' ', label, source_url, params::text) ~ $1

-- name: list_regions
SELECT id, default_region FROM deliveries WHERE id = ANY($1::bigint[])

-- name: count_erased
SELECT count(*) FROM erased

-- name: lock_place
-- The rows of a place with these keys, held until the commit: an array each column of the key.
SELECT {names} FROM {table} t JOIN unnest({arrays}) AS k ({key}) USING ({key}) ORDER BY {key} FOR UPDATE OF t

-- name: set_place
UPDATE {table} SET ({columns}) = ROW ({values}) WHERE ({key}) = ({its})
