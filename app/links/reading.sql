-- Links and clicks (`reading.py`), through SQLAlchemy: `:name` is a parameter. Each statement is in a plan test.

-- name: list_links
-- A delivery's links with their figures; one row without a number when it has none.
SELECT l.number, l.label, l.source_url, l.template, l.tracked, l.params, l.in_content, coalesce(c.human, 0) AS clicks,
    coalesce(c.uniques, 0) AS unique_clicks, coalesce(c.machine, 0) AS machine_clicks
FROM deliveries d
LEFT JOIN links l ON l.delivery_id = d.id
LEFT JOIN LATERAL (
    SELECT sum(t.value) FILTER (WHERE t.metric = 'clicks' AND t.label = 'human') AS human,
        sum(t.value) FILTER (WHERE t.metric = 'clicks' AND t.label = 'machine') AS machine,
        sum(t.value) FILTER (WHERE t.metric = 'unique_link_clicks') AS uniques
    FROM counters t
    WHERE t.delivery_id = d.id AND t.metric IN ('clicks', 'unique_link_clicks') AND t.gateway_id = 0 AND t.bucket = l.number
) c ON true
WHERE d.id = :delivery ORDER BY l.number

-- name: count_clicks
-- How many clicks of `human` (or all) on link `link` (or all) the counters know of.
SELECT coalesce((
    SELECT sum(value) FROM counters t
    WHERE t.delivery_id = d.id AND t.metric = 'clicks' AND t.gateway_id = 0
        AND (CAST(:human AS boolean) IS NULL OR t.label = CASE WHEN CAST(:human AS boolean) THEN 'human' ELSE 'machine' END)
        AND (CAST(:link AS bigint) IS NULL OR t.bucket = CAST(:link AS bigint))
), 0)
FROM deliveries d WHERE d.id = :delivery

-- name: list_clicks
-- The row comparison leaves the planner no index but (delivery_id, id): a delivery's clicks in order.
SELECT c.id, c.message_id, m.address, m.recipient_id, c.link, l.label, c.clicked_at, c.human, c.reasons, c.device,
    coalesce(v.agent, c.agent) AS agent, c.network, c.times AS count
FROM clicks c
JOIN messages m ON m.id = c.message_id AND NOT m.proof
LEFT JOIN visitors v ON v.id = c.visitor
LEFT JOIN links l ON l.delivery_id = c.delivery_id AND l.number = c.link
WHERE (c.delivery_id, c.id) < (:delivery, :before) AND c.delivery_id >= :delivery
    AND (CAST(:human AS boolean) IS NULL OR c.human = CAST(:human AS boolean))
    AND (CAST(:link AS smallint) IS NULL OR c.link = CAST(:link AS smallint))
ORDER BY c.delivery_id DESC, c.id DESC LIMIT :limit
