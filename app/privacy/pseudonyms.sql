-- name: has_erased
SELECT EXISTS (SELECT FROM erased)
