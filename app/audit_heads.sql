-- name: lock_due
-- Up to `$2` chains that grew since they were signed, and were not since `$1`; those of deliveries that are over at once.
SELECT h.chain FROM audit_heads h LEFT JOIN deliveries d ON d.id = h.chain
WHERE h.signed_seq < h.seq
    AND (h.signed_at IS NULL OR h.signed_at < $1 OR d.status IN ('finished', 'cancelled', 'failed'))
ORDER BY h.chain LIMIT $2 FOR UPDATE OF h SKIP LOCKED

-- name: lock_head
SELECT seq, hash FROM audit_heads WHERE chain = $1 FOR UPDATE

-- name: add_signature
INSERT INTO audit_signatures (chain, seq, hash, at, key_id, signature) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING

-- name: note_signed
UPDATE audit_heads SET signed_seq = $2, signed_at = $3 WHERE chain = $1

-- name: find_signature
SELECT * FROM audit_signatures WHERE chain = $1 AND seq = $2 AND hash = $3

-- name: list_signatures
SELECT * FROM audit_signatures WHERE chain = $1 ORDER BY seq
