-- name: count_unmatched
SELECT count(*) AS waiting, min(created_at) AS oldest FROM correlations WHERE message_id IS NULL AND bearing

-- name: count_unlike
SELECT count(*) FROM rejected WHERE kind IN ('receipt', 'reply') AND request = '{}'
