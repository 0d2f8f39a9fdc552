-- What several rooms say in SQL, once: each is put where `{its_name}` stands (`db.load_queries`). Words of `message_status` are
-- listed here alone; tests/test_sql.py holds them against `messages/states.py`.

-- name: final
-- Statuses that are an answer: the gateway said how it ended.
('failed', 'received')

-- name: in_transit
-- Statuses of messages that were handed over and wait for their answer.
('submitted', 'accepted', 'sent')

-- name: not_come
-- Statuses that say a message did not come: a person's click on one of its links makes them doubtful.
('failed', 'no_receipt')

-- name: failed_at
-- When the message of state `s` failed: a submission that failed has no time of its own.
coalesce(s.failed_at, s.occurred_at)

-- name: counts_at
-- When the message of state `s` and delivery `d` counts among those that a phone got: what waits to be sent always does.
CASE s.status
    WHEN 'cancelled' THEN '-infinity'
    WHEN 'pending' THEN CASE WHEN d.status IN ('prepared', 'in_progress') THEN timestamptz 'infinity' ELSE '-infinity' END
    ELSE coalesce(s.submitted_at, s.occurred_at) END

-- name: into_counters
INSERT INTO counters AS t (delivery_id, metric, gateway_id, label, bucket, value)

-- name: added_up
-- After `into_counters`: figures that stand already grow by what comes.
ON CONFLICT (delivery_id, metric, gateway_id, label, bucket) DO UPDATE SET value = t.value + excluded.value

-- name: put_right
-- After `into_counters`: figures that stand already become what comes.
ON CONFLICT (delivery_id, metric, gateway_id, label, bucket) DO UPDATE SET value = excluded.value

-- name: locked_states
-- The states of the messages `$1`, held until the commit, in one order for everybody, so that nobody waits in a circle.
SELECT message_id FROM message_state WHERE message_id = ANY($1::bigint[]) ORDER BY message_id FOR UPDATE
