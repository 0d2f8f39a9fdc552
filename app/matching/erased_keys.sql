-- name: find_values
SELECT id, value FROM correlations WHERE id = ANY($1::bigint[]) AND value NOT LIKE 'erased:%' ORDER BY id

-- name: disguise_batch
-- Keys `$1` of the batch become `$2`.
UPDATE batch b SET
    provider_message_id = coalesce((SELECT k.name FROM unnest($1::text[], $2::text[]) AS k (value, name)
        WHERE k.value = b.provider_message_id), b.provider_message_id),
    raw_message_id = CASE WHEN b.provider_message_id = ANY($1::text[]) THEN NULL ELSE b.raw_message_id END,
    reference = coalesce((SELECT k.name FROM unnest($1::text[], $2::text[]) AS k (value, name)
        WHERE k.value = b.reference), b.reference)
WHERE b.provider_message_id = ANY($1::text[]) OR b.reference = ANY($1::text[])
