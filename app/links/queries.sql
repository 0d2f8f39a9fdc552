-- name: record_clicks
-- Makes facts of the claimed clicks (`click_batch`); one that came before, over the spool, is no new one. A click less than
-- `$1` seconds after the sending is a machine's, if the sender told when that was: else we only know when we heard of it.
-- Returns the new ones' ids and messages, and the bursts, which are left to the caller.
WITH judged AS MATERIALIZED (
    SELECT DISTINCT ON (t.id) t.*, coalesce(t.clicked_at >= s.submitted_at
        AND t.clicked_at < s.submitted_at + make_interval(secs => $1), false) AS too_soon,
        CASE WHEN NOT t.visit ? 'counted' AND t.visit <> '{}' THEN visitor_id(t.agent, t.visit) END AS visitor
    FROM click_batch t CROSS JOIN LATERAL (SELECT min(l.submitted_at) AS submitted_at FROM submissions l
        WHERE l.message_id = t.message_id AND l.submitted_at < l.recorded_at) s
    WHERE NOT (t.reasons @> ARRAY['burst'] AND t.visit ? 'counted')
    ORDER BY t.id, t.seq
),
-- What their browsers said stands once. Those that are known are held, so that nobody takes them away before the commit; in
-- the order of their ids, so that two who take them up do not wait for each other.
said AS MATERIALIZED (
    SELECT DISTINCT ON (visitor) visitor AS id, agent, visit FROM judged WHERE visitor IS NOT NULL ORDER BY visitor
),
known AS MATERIALIZED (
    SELECT id FROM visitors WHERE id = ANY (ARRAY(SELECT id FROM said)) ORDER BY id FOR KEY SHARE
),
unheard AS (
    INSERT INTO visitors (id, agent, visit)
    SELECT id, agent, visit FROM said WHERE id <> ALL (ARRAY(SELECT id FROM known)) ORDER BY id
    ON CONFLICT (id) DO UPDATE SET agent = excluded.agent
),
facts AS (
    INSERT INTO clicks (id, message_id, delivery_id, link, clicked_at, human, reasons, device, agent, visit, visitor, network,
        rules_version)
    SELECT id, message_id, delivery_id, link, clicked_at, human AND NOT too_soon,
        CASE WHEN too_soon THEN array_append(reasons, 'too_soon') ELSE reasons END, device,
        CASE WHEN visitor IS NULL THEN agent ELSE '' END, CASE WHEN visitor IS NULL THEN visit ELSE '{}' END, visitor, network,
        rules_version
    FROM judged
    ON CONFLICT (id) DO NOTHING
    RETURNING id, message_id
)
SELECT array_agg(id) AS ids, array_agg(message_id) AS messages,
    (SELECT array_agg(t) FROM (SELECT id, message_id, delivery_id, link, clicked_at, network, rules_version, visit -> 'counted'
        FROM click_batch WHERE reasons @> ARRAY['burst'] AND visit ? 'counted' ORDER BY seq) t) AS bursts
FROM facts

-- name: find_bursts
-- What is counted of the bursts `$1`, process by process. Lock the states of their messages first.
SELECT id, visit -> 'counted' AS counted FROM clicks WHERE id = ANY($1::bigint[])

-- name: put_bursts
-- Writes bursts: arrays of id, message, delivery, link, minute, network, rules' version, what they hold, count.
INSERT INTO clicks (id, message_id, delivery_id, link, clicked_at, network, rules_version, visit, times, human, reasons, device, agent)
SELECT b.*, false, ARRAY['burst'], 'other', '' FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::smallint[], $5::timestamptz[],
    $6::text[], $7::smallint[], $8::jsonb[], $9::int[]) AS b
ON CONFLICT (id) DO UPDATE SET visit = excluded.visit, times = excluded.times

-- name: settle_bursts
-- Machines' clicks that were added: arrays of message, delivery, link, number. Proofs never count.
WITH added AS MATERIALIZED (
    SELECT a.* FROM unnest($1::bigint[], $2::bigint[], $3::smallint[], $4::int[]) AS a (message_id, delivery_id, link, value)
    JOIN messages m ON m.id = a.message_id AND NOT m.proof
),
written AS (
    INSERT INTO message_clicks AS k (message_id, delivery_id, human, machine, first_human_at, doubtful)
    SELECT message_id, delivery_id, 0, sum(value)::int, NULL, false FROM added GROUP BY 1, 2 ORDER BY 1
    ON CONFLICT (message_id) DO UPDATE SET machine = k.machine + excluded.machine
)
{into_counters}
SELECT delivery_id, 'clicks', 0, 'machine', link::bigint, sum(value) FROM added GROUP BY 1, 5 ORDER BY 1, 5
{added_up}

-- name: lock_states
-- Holds the states of the messages `$1` until the commit, in the fold's order: a click and a change of status wait for each
-- other, so that `doubtful` sees both, and two clicks on one message count one after the other.
{locked_states}

-- name: settle_clicks
-- Moves what is counted by the clicks `$1`; `$2` says of each whether it counted as a person's before, null for a new one.
-- Proofs never count. Call `lock_states` first, in a statement of its own.
WITH sides AS MATERIALIZED (
    SELECT c.message_id, c.delivery_id, c.link, c.clicked_at, s.human, s.sign
    FROM unnest($1::bigint[], $2::boolean[]) AS t (id, was)
    JOIN clicks c ON c.id = t.id
    JOIN messages m ON m.id = c.message_id
    CROSS JOIN LATERAL (VALUES (c.human, 1), (t.was, -1)) AS s (human, sign)
    WHERE s.human IS NOT NULL AND NOT m.proof
),
added AS MATERIALIZED (
    SELECT message_id, delivery_id, coalesce(sum(sign) FILTER (WHERE human), 0)::int AS human,
        coalesce(sum(sign) FILTER (WHERE NOT human), 0)::int AS machine,
        min(clicked_at) FILTER (WHERE human AND sign = 1) AS first_human_at
    FROM sides GROUP BY message_id, delivery_id
),
written AS (
    INSERT INTO message_clicks AS k (message_id, delivery_id, human, machine, first_human_at, doubtful)
    SELECT a.message_id, a.delivery_id, a.human, a.machine, a.first_human_at,
        a.human > 0 AND s.status IN {not_come}
    FROM added a JOIN message_state s USING (message_id) ORDER BY a.message_id
    ON CONFLICT (message_id) DO UPDATE SET human = k.human + excluded.human, machine = k.machine + excluded.machine,
        first_human_at = CASE WHEN k.human + excluded.human > 0 THEN least(k.first_human_at, excluded.first_human_at) END,
        doubtful = k.human + excluded.human > 0
            AND (SELECT s.status IN {not_come} FROM message_state s WHERE s.message_id = k.message_id)
    RETURNING k.message_id, k.delivery_id, k.human
),
-- How many more messages have a person's click than before: 1, 0 or -1 each.
turned AS MATERIALIZED (
    SELECT w.message_id, w.delivery_id, w.human - a.human AS before,
        (w.human > 0)::int - (w.human - a.human > 0)::int AS value
    FROM written w JOIN added a USING (message_id)
),
-- The same by link. Who clicked before may have clicked on this link before: that is looked up, as far as it must be.
by_link AS MATERIALIZED (
    SELECT p.delivery_id, p.link, (f.found > 0)::int - (f.found > p.human)::int AS value
    FROM (
        SELECT message_id, delivery_id, link, sum(sign)::int AS human FROM sides WHERE human GROUP BY 1, 2, 3 HAVING sum(sign) <> 0
    ) p
    JOIN turned t USING (message_id)
    CROSS JOIN LATERAL (
        SELECT CASE WHEN t.before = 0 THEN p.human ELSE (
            SELECT count(*) FROM (
                SELECT FROM clicks c WHERE c.message_id = p.message_id AND c.link = p.link AND c.human LIMIT greatest(p.human, 0) + 1
            ) enough
        ) END AS found
    ) f
),
moved AS (
    SELECT delivery_id, 'clicks' AS metric, 0 AS gateway_id, CASE WHEN human THEN 'human' ELSE 'machine' END AS label,
        link::bigint AS bucket, sum(sign) AS value
    FROM sides GROUP BY 1, 4, 5
    UNION ALL
    SELECT delivery_id, 'history', 0, 'clicks', floor(date_part('epoch', clicked_at) / 60)::bigint, sum(sign)
    FROM sides WHERE human GROUP BY 1, 5
    UNION ALL
    SELECT delivery_id, 'unique_clicks', 0, '', 0, sum(value) FROM turned GROUP BY 1
    UNION ALL
    SELECT delivery_id, 'unique_link_clicks', 0, '', link, sum(value) FROM by_link GROUP BY 1, 5
    UNION ALL
    -- Judged after the join: the planner may still believe that no message has failed, and begin with all that have.
    SELECT s.delivery_id, 'doubtful', coalesce(s.gateway_id, 0), s.status::text, coalesce(s.qualification_id, 0),
        sum(t.value) FILTER (WHERE s.status IN {not_come})
    FROM turned t JOIN message_state s USING (message_id) GROUP BY 1, 3, 4, 5
)
{into_counters}
SELECT delivery_id, metric, gateway_id, label, bucket, value FROM moved WHERE value <> 0 ORDER BY 1, 2, 3, 4, 5
{added_up}

-- name: forget_networks
-- The next `$2` clicks from before `$1` (an id: ids follow time) lose the network they came from. How far that is done is
-- kept, so that nothing is looked through twice; returns how many were looked at.
WITH mark AS MATERIALIZED (
    SELECT value::bigint AS id FROM platform WHERE key = 'click_networks_forgotten' FOR UPDATE
),
stretch AS MATERIALIZED (
    SELECT s.id FROM mark CROSS JOIN LATERAL (SELECT id FROM clicks WHERE id > mark.id AND id < $1 ORDER BY id LIMIT $2) s
),
cleared AS (
    UPDATE clicks c SET network = NULL FROM stretch s WHERE c.id = s.id AND c.network IS NOT NULL
),
moved AS (
    UPDATE platform SET value = (SELECT max(id) FROM stretch)::text
    WHERE key = 'click_networks_forgotten' AND EXISTS (SELECT FROM stretch)
)
SELECT count(*) FROM stretch

-- name: forget_header_texts
-- The next `$2` clicks from before `$1` lose what their visitors' browsers said: their verdicts stay, and are judged by no rules
-- any more. How far that is done is kept; returns how many were looked at. A burst has no such texts, and keeps its counts.
-- What stands once for many goes with the last of them: see `app/visitors.py`.
WITH mark AS MATERIALIZED (
    SELECT value::bigint AS id FROM platform WHERE key = 'click_texts_forgotten' FOR UPDATE
),
stretch AS MATERIALIZED (
    SELECT s.id FROM mark CROSS JOIN LATERAL (SELECT id FROM clicks WHERE id > mark.id AND id < $1 ORDER BY id LIMIT $2) s
),
cleared AS (
    UPDATE clicks c SET agent = '', visit = '{}', visitor = NULL FROM stretch s
    WHERE c.id = s.id AND (c.visitor IS NOT NULL OR NOT c.visit ? 'counted' AND c.visit <> '{}')
),
moved AS (
    UPDATE platform SET value = (SELECT max(id) FROM stretch)::text
    WHERE key = 'click_texts_forgotten' AND EXISTS (SELECT FROM stretch)
)
SELECT count(*) FROM stretch

-- name: list_clicks
-- The next `$3` clicks behind `$2`, of delivery `$1` or all, with what they are judged by. A burst stays what it was counted as,
-- and so does a click whose texts were forgotten or erased.
SELECT c.id, c.message_id, c.human, c.reasons, c.device, coalesce(v.agent, c.agent) AS agent, coalesce(v.visit, c.visit) AS visit,
    c.rules_version, extract(epoch FROM c.clicked_at - s.submitted_at)::float8 AS seconds
FROM clicks c LEFT JOIN visitors v ON v.id = c.visitor
CROSS JOIN LATERAL (SELECT min(l.submitted_at) AS submitted_at FROM submissions l
    WHERE l.message_id = c.message_id AND l.submitted_at < l.recorded_at) s
WHERE c.id > $2 AND (v.id IS NOT NULL OR NOT c.visit ? 'counted' AND c.visit <> '{}')
    AND ($1::bigint IS NULL OR c.delivery_id = $1)
ORDER BY c.id LIMIT $3

-- name: rewrite_clicks
-- Writes verdicts: arrays of click, human, reasons (slugs between blanks), device. Lock the states of their messages
-- first. Returns those whose `human` changed, as it was.
WITH before AS (SELECT id, human FROM clicks WHERE id = ANY($1::bigint[])),
now AS (
    UPDATE clicks c SET human = n.human, device = n.device, rules_version = $5,
        reasons = string_to_array(n.reasons, ' ')
    FROM unnest($1::bigint[], $2::boolean[], $3::text[], $4::text[]) AS n (id, human, reasons, device)
    WHERE c.id = n.id RETURNING c.id, c.human
)
SELECT n.id, b.human AS was FROM now n JOIN before b USING (id) WHERE b.human <> n.human

-- name: refresh_first_clicks
-- The first person's click on each of the messages `$1`, read anew from the clicks.
UPDATE message_clicks k SET first_human_at = (SELECT min(c.clicked_at) FROM clicks c WHERE c.message_id = k.message_id AND c.human)
WHERE k.message_id = ANY($1::bigint[])

-- name: list_clicked_messages
-- Messages of delivery `$1` with a click, or with a row that says so.
SELECT message_id FROM clicks WHERE delivery_id = $1
UNION
SELECT message_id FROM message_clicks WHERE delivery_id = $1

-- name: mend_message_clicks
-- Sets `message_clicks` of delivery `$1` to what its clicks give; returns how many rows were wrong. Lock the states first.
WITH right_ones AS MATERIALIZED (
    SELECT c.message_id, count(*) FILTER (WHERE c.human)::int AS human,
        coalesce(sum(c.times) FILTER (WHERE NOT c.human), 0)::int AS machine,
        min(c.clicked_at) FILTER (WHERE c.human) AS first_human_at,
        bool_or(c.human) AND bool_or(s.status IN {not_come}) AS doubtful
    FROM clicks c
    JOIN messages m ON m.id = c.message_id AND NOT m.proof
    JOIN message_state s ON s.message_id = c.message_id
    WHERE c.delivery_id = $1 GROUP BY c.message_id
),
wrong AS MATERIALIZED (
    SELECT message_id, r.human, r.machine, r.first_human_at, r.doubtful
    FROM right_ones r FULL JOIN (SELECT * FROM message_clicks WHERE delivery_id = $1) k USING (message_id)
    WHERE (r.human, r.machine, r.first_human_at, r.doubtful) IS DISTINCT FROM (k.human, k.machine, k.first_human_at, k.doubtful)
),
gone AS (
    DELETE FROM message_clicks k USING wrong w WHERE k.message_id = w.message_id AND w.human IS NULL
),
written AS (
    INSERT INTO message_clicks (message_id, delivery_id, human, machine, first_human_at, doubtful)
    SELECT message_id, $1, human, machine, first_human_at, doubtful FROM wrong WHERE human IS NOT NULL ORDER BY message_id
    ON CONFLICT (message_id) DO UPDATE SET human = excluded.human, machine = excluded.machine,
        first_human_at = excluded.first_human_at, doubtful = excluded.doubtful
)
SELECT count(*) FROM wrong

-- name: list_token_keys
-- The secrets of tokens, and the number of the current one.
SELECT key, value FROM platform WHERE key LIKE 'token_key_%'

-- name: list_blocks
-- Blocks of message ids: whose messages they are.
SELECT first_id, last_id, delivery_id FROM link_blocks ORDER BY first_id

-- name: list_blocks_since
-- Those that were added since `$1`.
SELECT first_id, last_id, delivery_id FROM link_blocks WHERE added_at >= $1 ORDER BY added_at

-- name: find_block
-- The block that message `$1` stands in, if there is one.
SELECT first_id, last_id, delivery_id FROM (
    SELECT * FROM link_blocks WHERE first_id <= $1 ORDER BY first_id DESC LIMIT 1
) nearest WHERE last_id >= $1

-- name: find_delivery
-- Whose a message is that stands in no block, a proof say.
SELECT delivery_id FROM messages WHERE id = $1

-- name: list_routes
-- Deliveries with links, each with its links.
SELECT d.id, d.status::text AS status, d.started_at, l.links
FROM deliveries d
CROSS JOIN LATERAL (
    SELECT jsonb_agg(jsonb_build_array(number, source_url, template, params)) AS links FROM links WHERE delivery_id = d.id
) l
WHERE l.links IS NOT NULL

-- name: list_routes_since
-- Those of them that changed since `$1`.
{list_routes} AND d.updated_at >= $1

-- name: find_routes
-- The deliveries `$1`, as far as they have links.
{list_routes} AND d.id = ANY($1::bigint[])

-- name: find_values
-- What the placeholders of a message's URLs are filled with: a proof has its own, others those of their target.
SELECT coalesce(m.params -> 'params', t.params, '{}'::jsonb) AS params
FROM messages m LEFT JOIN targets t ON t.delivery_id = m.delivery_id AND t.position = m.position
WHERE m.id = $1

-- name: list_values
-- The same of the messages `$1`.
SELECT m.id, coalesce(m.params -> 'params', t.params, '{}'::jsonb) AS params
FROM messages m LEFT JOIN targets t ON t.delivery_id = m.delivery_id AND t.position = m.position
WHERE m.id = ANY($1::bigint[])

-- name: list_given_out
-- The next `$3` messages of delivery `$1` behind `$2`, proofs left out, with what fills their URLs.
SELECT m.id, coalesce(t.params, '{}'::jsonb) AS params
FROM messages m LEFT JOIN targets t ON t.delivery_id = m.delivery_id AND t.position = m.position
WHERE m.delivery_id = $1 AND m.id > $2 AND NOT m.proof ORDER BY m.id LIMIT $3

-- name: list_erased_since
-- Messages to numbers that were erased since `$1`.
SELECT m.id FROM erased e JOIN messages m ON m.address = e.pseudonym WHERE e.erased_at >= $1
