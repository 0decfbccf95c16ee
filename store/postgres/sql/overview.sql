-- What operators see of the tables, by name. Each count goes to a limit: it is asked every few seconds.

-- server
SELECT current_setting('server_version'), current_setting('max_connections')::integer,
    (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')

-- unsettled
SELECT order_id, cart_id, placed_at
FROM orders
WHERE settled_at IS NULL
ORDER BY placed_at, order_id
LIMIT %(limit)s

-- count_unsettled
SELECT count(*) FROM (SELECT FROM orders WHERE settled_at IS NULL LIMIT %(limit)s) AS counted

-- open_merges
SELECT merge_id, guest, into_cart, began_at, attended_at, handed_over_at
FROM merges
WHERE is_open
ORDER BY attended_at
LIMIT %(limit)s

-- count_open_merges
SELECT count(*) FROM (SELECT FROM merges WHERE is_open LIMIT %(limit)s) AS counted

-- unsettled_transfers
SELECT count(*), min(decided_at)
FROM (
    SELECT decided_at FROM merge_transfers WHERE settled_at IS NULL ORDER BY decided_at LIMIT %(limit)s
) AS counted

-- left_behind
SELECT cart_id, idle_since, abandoned_at, currency, subtotal, lines
FROM abandoned_carts
WHERE recovered_at IS NULL AND erased_at IS NULL AND abandoned_at > now() - interval '24 hours'
ORDER BY abandoned_at DESC
LIMIT %(limit)s

-- count_left_behind
SELECT count(*)
FROM (
    SELECT FROM abandoned_carts
    WHERE recovered_at IS NULL AND erased_at IS NULL AND abandoned_at > now() - interval '24 hours'
    LIMIT %(limit)s
) AS counted

-- mails_waiting
SELECT count(*), min(created_at)
FROM (
    SELECT created_at FROM post_checkout_tasks WHERE done_at IS NULL LIMIT %(limit)s
) AS counted
