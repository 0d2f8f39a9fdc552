-- name: list_entries
-- A chain whole, in order, with what stands beside it.
SELECT a.*, (SELECT array_agg((p.name, p.salt, p.value)) FROM audit_private p WHERE p.chain = a.chain AND p.seq = a.seq) AS beside
FROM audit a WHERE a.chain = $1 ORDER BY a.seq

-- name: lock_head
-- Waits for others that append to the same chain.
INSERT INTO audit_heads (chain, seq, hash) VALUES ($1, 0, $2) ON CONFLICT (chain) DO UPDATE SET seq = audit_heads.seq
RETURNING seq, hash

-- name: add_entry
INSERT INTO audit (chain, seq, at, level, code, text, actor, data, hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)

-- name: set_head
UPDATE audit_heads SET seq = $2, hash = $3 WHERE chain = $1

-- name: put_private
INSERT INTO audit_private (chain, seq, name, salt, value) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (chain, seq, name) DO UPDATE SET salt = excluded.salt, value = excluded.value

-- name: find_head
SELECT seq, hash FROM audit_heads WHERE chain = $1
